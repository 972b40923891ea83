// Speed and size of the entropy coders, one thread.
//
//     encoding_bench [MODEL...]
//
// On codes of a Gaussian source, on the exponents of its bfloat16 numbers, and on the tensors of
// models: as they lie, and, if they are numbers, their matrices under several codecs. Symbols per
// second are bytes of output per second; memory is read at a fraction of that. Of models, bytes are
// those of the codec. "over H": the coded streams above the entropy of their symbols; "long ones":
// of streams from 16,384 symbols on, beside which frequencies and fixed costs are small. What is
// decoded is compared, byte for byte.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "codecs/codec_testing.h"
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

// Tensors that are coded together, and what owns their bytes.
struct Tensors {
  std::string what;
  std::vector<CodedTensor> list;
  std::vector<std::vector<std::byte>> bytes;
};

// Streams of symbols and their coded sizes, in bytes.
struct Sizes {
  double entropy = 0;  // of each stream by its own frequencies, without what would tell them
  double coded = 0;

  double excess() const { return entropy > 0 ? 100 * (coded / entropy - 1) : 0; }
};

// Of streams of at least `least` symbols.
Sizes stream_sizes(const Tensors& tensors, const EntropyCoder& coder, int64_t least,
                   ThreadPool& pool) {
  Sizes sizes;
  for (const CodedTensor& tensor : tensors.list) {
    const Codec& codec = *tensor.scheme.codec;
    const Options& options = tensor.scheme.options;
    const auto streams = codec.symbol_streams(tensor.matrix(), options);
    for (size_t s = 0; s < streams.size(); ++s) {
      if (streams[s].count < least) continue;
      std::vector<uint8_t> symbols(static_cast<size_t>(streams[s].count));
      codec.split_symbols(tensor.matrix(), options, tensor.bytes, s, 0, symbols);
      sizes.entropy += entropy_bits(count_symbols(symbols)) / 8;
      const auto read = [&](int64_t begin, std::span<uint8_t> part) {
        std::copy_n(symbols.begin() + begin, part.size(), part.begin());
      };
      sizes.coded += static_cast<double>(
          encode_stream(coder, streams[s].bits, streams[s].count, read, pool).size());
    }
  }
  return sizes;
}

// Codes `tensors`, compares what is decoded; the time is of decoding all of them.
struct Storage {
  double coded = 0;  // bytes
  double seconds = 0;
};
Storage store(const Tensors& tensors, const EntropyCoder& coder, ThreadPool& pool) {
  Storage storage;
  for (const CodedTensor& tensor : tensors.list) {
    const std::vector<std::byte> coded = encode_storage(tensor, coder, pool);
    std::vector<std::byte> bytes(tensor.bytes.size());
    storage.seconds += best_seconds([&] {
      std::ranges::fill(bytes, std::byte{0});
      decode_storage(tensor, coded, coder, pool, bytes);
    });
    if (!std::ranges::equal(bytes, tensor.bytes)) {
      fail(ErrorCode::kCorrupt, "{}: '{}' comes back changed", coder.info().id, tensor.name);
    }
    storage.coded += static_cast<double>(coded.size());
  }
  return storage;
}

constexpr int64_t kLongStream = 1 << 14;

void measure(const Tensors& tensors) {
  ThreadPool pool(1);
  double packed = 0;
  for (const CodedTensor& tensor : tensors.list) packed += static_cast<double>(tensor.bytes.size());
  for (const EntropyCoder* coder : Registry<EntropyCoder>::instance().all()) {
    const Storage storage = store(tensors, *coder, pool);
    fmt::print("  {:<18}{:<8}{:>11.0f}{:>11.0f}{:>7.1f} %{:>+9.2f} %{:>+9.2f} %{:>8.2f}\n",
               tensors.what, coder->info().id, packed, storage.coded, 100 * storage.coded / packed,
               stream_sizes(tensors, *coder, 0, pool).excess(),
               stream_sizes(tensors, *coder, kLongStream, pool).excess(),
               packed / storage.seconds * 1e-9);
  }
}

bool is_plain(const CodedTensor& tensor) {
  const std::string id = tensor.scheme.codec->info().id;
  return id == "f32" || id == "f16" || id == "bf16";
}

Tensors as_it_lies(const Model& model) {
  Tensors tensors{"as it lies", {}, {}};
  for (const auto& [name, tensor] : model.parameters) tensors.list.push_back(tensor);
  return tensors;
}

// Matrices of at least 1,024 weights, by nearest codes.
Tensors coded(const Model& model, const std::string& id, const nlohmann::json& options) {
  Tensors tensors;
  const Scheme scheme(id, options);
  tensors.what = scheme.label();
  ThreadPool pool(1);
  for (const auto& [name, tensor] : model.parameters) {
    const MatrixShape shape = tensor.matrix();
    if (tensor.shape.size() < 2 || shape.rows * shape.cols < 1024) continue;
    tensors.bytes.push_back(testing::encode(scheme, shape, tensor.decode_all(), pool).bytes);
    tensors.list.push_back({name, tensor.shape, scheme, {}});
  }
  for (size_t i = 0; i < tensors.list.size(); ++i) tensors.list[i].bytes = tensors.bytes[i];
  return tensors;
}

void measure_model(const std::string& path) {
  const Model model = open_model(path);
  fmt::print("{}\n  {:<18}{:<8}{:>11}{:>11}{:>9}{:>11}{:>11}{:>8}\n", path, "codes", "coder",
             "bytes", "coded", "", "over H", "long ones", "GB/s");
  measure(as_it_lies(model));
  for (const auto& [name, tensor] : model.parameters) {
    if (!is_plain(tensor)) return;
  }
  for (const int bits : {8, 4, 3, 2}) {
    measure(coded(model, "int", {{"bits", bits}, {"group", 0}, {"symmetric", true}}));
  }
  measure(coded(model, "int", {{"bits", 4}, {"group", 64}}));
  measure(coded(model, "codebook", {{"bits", 4}, {"scope", "tensor"}, {"symbols", "codes"}}));
  measure(coded(model, "pot", {{"bits", 4}, {"group", 0}}));
  measure(coded(model, "ternary", {{"group", 0}}));
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
