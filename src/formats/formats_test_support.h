// What the tests of this room share: small models, encoding, damaged files.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "codecs/codec.h"
#include "core/random.h"
#include "core/testing.h"
#include "formats/checkpoint.h"
#include "graph/operators.h"

namespace bitsmith {

using testing::error_of;
using testing::read_bytes;
using testing::shared_data;
using testing::TemporaryFolder;
using testing::write_bytes;

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// The text of a safetensors file.
inline std::string safetensors_text(std::string_view header, std::string_view data = "") {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(uint64_t{header.size()} >> (8 * i));
  return text.append(header).append(data);
}

// Calls `read` for every prefix of `file` and for `flips` files with one to three random bits
// changed, each in memory of its exact size. Anything but an Error fails.
template <class Read>
void expect_never_crashes(const std::string& file, int flips, const Read& read) {
  const auto attempt = [&](const std::string& text) {
    const std::vector<char> exact(text.begin(), text.end());
    try {
      read(std::as_bytes(std::span(exact)));
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  ASSERT_TRUE(attempt(file));
  for (size_t size = 0; size < file.size(); ++size) {
    ASSERT_FALSE(attempt(file.substr(0, size))) << "opened " << size << " bytes of " << file.size();
  }
  Random random(7);
  for (int i = 0; i < flips; ++i) {
    std::string damaged = file;
    for (uint64_t n = 1 + random.below(3); n > 0; --n) {
      const size_t at = random.below(damaged.size());
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.below(8)));
    }
    attempt(damaged);
  }
}

inline std::vector<float> normal_values(const Shape& shape, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(static_cast<size_t>(*element_count(shape)));
  for (float& value : values) value = static_cast<float>(random.normal());
  return values;
}

// Nearest codes for `values` [shape], row-major.
inline std::vector<std::byte> encode(const Scheme& scheme, const Shape& shape,
                                     const std::vector<float>& values) {
  const MatrixShape m = matrix_shape(shape);
  const auto encoder = scheme.codec->encoder(m, scheme.options);
  ThreadPool pool(1);
  encoder->prepare(values, {}, pool);
  std::vector<float> columns(values.size());
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int64_t c = 0; c < m.cols; ++c) {
      columns[static_cast<size_t>(c * m.rows + r)] = values[static_cast<size_t>(r * m.cols + c)];
    }
  }
  std::vector<float> decoded(columns.size());
  const int64_t group = encoder->group_cols();
  for (int64_t g = 0; g * group < m.cols; ++g) {
    const int64_t end = std::min(m.cols, (g + 1) * group);
    encoder->fit_group(g, 0, m.rows, columns.data() + g * group * m.rows, m.rows, {});
    for (int64_t c = g * group; c < end; c += encoder->block_cols()) {
      encoder->quantize(c, 0, m.rows, columns.data() + c * m.rows, decoded.data() + c * m.rows,
                        m.rows);
    }
  }
  std::vector<std::byte> bytes(scheme.codec->encoded_bytes(m, scheme.options));
  encoder->finish(bytes);
  return bytes;
}

// A two-layer network over a vocabulary of 11, with a tensor of each way of lying in a file. Owns
// the bytes that `contents` points into.
struct SmallModel {
  CheckpointContents contents;
  std::vector<std::vector<std::byte>> bytes;

  void add(const std::string& name, const Shape& shape, const Scheme& scheme) {
    bytes.push_back(encode(scheme, shape, normal_values(shape, bytes.size() + 1)));
    contents.parameters[name] = {name, shape, scheme, bytes.back()};
  }

  SmallModel() {
    Graph& graph = contents.graph;
    const ValueId tokens = graph.add_input("tokens", {kBatch, kTime});
    const ValueId table = graph.add_parameter("embed", {11, 6}, "embedding");
    const ValueId norm = graph.add_parameter("norm", {6}, "norm");
    const ValueId up = graph.add_parameter("up", {19, 6}, "mlp.up");
    const ValueId down = graph.add_parameter("down", {5, 19}, "mlp.down");
    const ValueId bias = graph.add_parameter("bias", {5}, "bias");
    const ValueId x = ops::embedding(graph, "x", tokens, table);
    const ValueId y = ops::rms_norm(graph, "y", x, norm, 1e-5);
    const ValueId z = ops::linear(graph, "z", y, up);
    graph.outputs = {ops::linear(graph, "logits", z, down, bias)};

    add("embed", {11, 6}, Scheme("int", {{"bits", 8}, {"group", 0}, {"symmetric", true}}));
    add("norm", {6}, Scheme("f32", nlohmann::json::object()));
    add("up", {19, 6}, Scheme("int", {{"bits", 3}, {"group", 4}, {"symmetric", false}}));
    add("down", {5, 19}, Scheme("bf16", nlohmann::json::object()));
    add("bias", {5}, Scheme("f16", nlohmann::json::object()));
    contents.config = {{"model_type", "test"}};
    contents.metadata = {{"recipe", {{"codec", "int"}}}, {"quality", {{"kl_nats", 0.25}}}};
    contents.tokenizer_files = {{"tokenizer.json", "{}"},
                                {"tokenizer.model", std::string(70, '\0')}};
  }
};

}  // namespace bitsmith
