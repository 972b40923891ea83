// `bitsmith-compiler`: the commands that need torch. `bitsmith` starts it; the command line is the
// same, so that nobody has to know that there are two programs.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "compress_options.h"
#include "core/error.h"

int main(int argc, char** argv) {
  CLI::App app("The part of bitsmith that compresses.", "bitsmith");
  app.require_subcommand(1);
  bitsmith::add_compress(app);
  bitsmith::add_plan(app);
  bitsmith::add_sweep(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : static_cast<int>(bitsmith::ErrorCode::kInvalidArgument);
  } catch (const bitsmith::Error& error) {
    fmt::print(stderr, "bitsmith: {}\n", error.what());
    if (error.code() == bitsmith::ErrorCode::kInterrupted) {
      fmt::print(stderr, "bitsmith: the same command goes on from the last finished step\n");
    }
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "bitsmith: out of memory; try a smaller --ram\n");
    return static_cast<int>(bitsmith::ErrorCode::kEnvironment);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bitsmith bug: {}\n", error.what());
    return 1;
  }
  return 0;
}
