// Speed and size of the entropy coders, one thread.
//
//     encoding_bench [MODEL]
//
// On codes of a Gaussian source, on the exponents of its bfloat16 numbers, and, given a model, on
// its own tensors. Symbols per second are bytes of output per second; memory is read at a fraction
// of that.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "encoding/coded_storage.h"
#include "encoding/encoding_testing.h"
#include "encoding/symbol_blocks.h"
#include "formats/model.h"
#include "tensor/dtype.h"

namespace bitsmith {
namespace {

// The shortest of several runs: other work on the machine only adds time.
double best_seconds(const std::function<void()>& run) {
  double best = 1e30;
  for (int i = 0; i < 7; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::min(best, seconds.count());
  }
  return best;
}

void measure(const std::string& name, int bits, const std::vector<uint8_t>& symbols) {
  const auto count = static_cast<double>(symbols.size());
  for (const EntropyCoder* coder : Registry<EntropyCoder>::instance().all()) {
    std::vector<std::byte> bytes;
    const double encode = best_seconds([&] {
      bytes.clear();
      encode_block(*coder, bits, symbols, bytes);
    });
    std::vector<uint8_t> decoded(symbols.size());
    const double decode = best_seconds([&] { decode_block(*coder, bits, bytes, decoded); });
    const double ideal = entropy_bits(count_symbols(symbols)) / 8;
    fmt::print(
        "{:<24} {:<8} {:6.3f} bits/symbol {:+6.2f} % over entropy  encode {:5.2f} GB/s  "
        "decode {:5.2f} GB/s\n",
        name, coder->info().id, 8 * static_cast<double>(bytes.size()) / count,
        100 * (static_cast<double>(bytes.size()) / ideal - 1), count / encode * 1e-9,
        count / decode * 1e-9);
  }
}

void measure_model(const std::string& path) {
  const Model model = open_model(path);
  ThreadPool pool(1);
  for (const EntropyCoder* coder : Registry<EntropyCoder>::instance().all()) {
    uint64_t packed = 0;
    uint64_t stored = 0;
    double encode = 0;
    double decode = 0;
    for (const auto& [name, tensor] : model.parameters) {
      std::vector<std::byte> coded;
      encode += best_seconds([&] { coded = encode_storage(tensor, *coder, pool); });
      std::vector<std::byte> bytes(tensor.bytes.size());
      decode += best_seconds([&] { decode_storage(tensor, coded, *coder, pool, bytes); });
      packed += tensor.bytes.size();
      stored += coded.size();
    }
    const auto total = static_cast<double>(packed);
    fmt::print("{} {}: {} -> {} bytes ({:.2f} %), encode {:.2f} GB/s, decode {:.2f} GB/s\n", path,
               coder->info().id, packed, stored, 100 * static_cast<double>(stored) / total,
               total / encode * 1e-9, total / decode * 1e-9);
  }
}

}  // namespace
}  // namespace bitsmith

int main(int argc, char** argv) {
  using namespace bitsmith;
  try {
    const auto count = static_cast<size_t>(kBlockSymbols);
    for (const int bits : {2, 3, 4, 8}) {
      measure(fmt::format("Gaussian, {} bits", bits), bits,
              testing::gaussian_codes(count, bits, 1));
    }
    Random random(2);
    std::vector<uint8_t> exponents(count);
    for (uint8_t& e : exponents) {
      e = static_cast<uint8_t>(float_to_bf16(static_cast<float>(0.02 * random.normal())) >> 7);
    }
    measure("bf16 exponents", 8, exponents);
    for (int i = 1; i < argc; ++i) measure_model(argv[i]);
  } catch (const std::exception& error) {
    fmt::print(stderr, "encoding_bench: {}\n", error.what());
    return 1;
  }
}
