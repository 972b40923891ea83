// `bitsmith-compiler`: the commands that need torch. `bitsmith` starts it; the command line is the
// same, so that nobody has to know that there are two programs.
#include "compress_options.h"
#include "program.h"

int main(int argc, char** argv) {
  return bitsmith::run_program([&] {
    CLI::App app("The part of bitsmith that compresses.", "bitsmith");
    app.require_subcommand(1);
    bitsmith::add_compress(app);
    bitsmith::add_plan(app);
    bitsmith::add_sweep(app);
    bitsmith::add_compare(app);
    bitsmith::add_imatrix(app);
    bitsmith::parse(app, argc, argv);
  });
}
