#include "formats/resident.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/system_memory.h"
#include "graph/operators.h"

namespace bitsmith {
namespace {

constexpr int64_t kWide = 512;

// A table, two matrices that share a buffer in memory, and one that has its own.
struct BufferedModel {
  Model model;
  std::shared_ptr<std::vector<std::byte>> shared = buffer(2);
  std::shared_ptr<std::vector<std::byte>> own = buffer(3);

  BufferedModel() {
    Graph& graph = model.graph;
    const ValueId tokens = graph.add_input("tokens", {kBatch, kTime});
    ValueId x = ops::embedding(graph, "x", tokens, add("table", *shared));
    for (const char* name : {"first", "second"})
      x = ops::linear(graph, std::string(name) + ".y", x, add(name, *shared));
    graph.outputs = {ops::linear(graph, "y", x, add("third", *own))};
    model.buffers = {shared, own};
  }

  static std::shared_ptr<std::vector<std::byte>> buffer(int step) {
    auto bytes = std::make_shared<std::vector<std::byte>>(kWide * kWide * 2);
    int n = 0;
    for (std::byte& b : *bytes) b = static_cast<std::byte>(n += step);
    return bytes;
  }

  ValueId add(const std::string& name, std::span<const std::byte> bytes) {
    model.parameters[name] = {name, {kWide, kWide}, Scheme("f16", nlohmann::json::object()), bytes};
    return model.graph.add_parameter(name, {kWide, kWide}, name);
  }
};

TEST(Resident, CopiesMatricesThatShareABuffer) {
  BufferedModel m;
  const std::vector<std::byte> shared = *m.shared;
  const std::vector<std::byte> own = *m.own;
  const auto data = [&](const char* name) { return m.model.parameter(name).bytes.data(); };
  const std::byte* table = data("table");
  ThreadPool pool(2);
  ASSERT_TRUE(make_resident(m.model, pool));
  for (const char* name : {"table", "first", "second"}) {
    EXPECT_TRUE(std::ranges::equal(m.model.parameter(name).bytes, shared)) << name;
  }
  EXPECT_TRUE(std::ranges::equal(m.model.parameter("third").bytes, own));
  EXPECT_EQ(data("table"), table);
  EXPECT_NE(data("first"), table);
  // The table still lies in its buffer; the other one is not needed any more.
  ASSERT_EQ(m.model.buffers.size(), 1U);
  EXPECT_EQ(m.model.buffers[0], m.shared);
}

// More than half of the memory that is available, which nothing touches.
TEST(Resident, LeavesALargeModelWhereItIs) {
  BufferedModel m;
  CodedTensor& third = m.model.parameters.at("third");
  const std::byte* before = third.bytes.data();
  third.bytes = {before, static_cast<size_t>(available_memory_bytes())};
  ThreadPool pool(1);
  EXPECT_FALSE(make_resident(m.model, pool));
  EXPECT_EQ(m.model.parameter("third").bytes.data(), before);
  EXPECT_EQ(m.model.resident, nullptr);
}

}  // namespace
}  // namespace bitsmith
