// Runs networks by ONNX Runtime, for tests.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/testing.h"
#include "reference/reference_testing.h"

namespace bitsmith::reference_testing {

// Networks are added, then run by one process: starting one takes longer than most networks.
class OnnxRuntime {
 public:
  static constexpr const char* kMissing = "ONNX Runtime is not there: make clients";

  // `folder`: where inputs and outputs of the networks may lie.
  explicit OnnxRuntime(std::filesystem::path folder) : folder_(std::move(folder)) {}

  static bool is_there() {
    return std::system(fmt::format("node '{}' - >/dev/null 2>&1", script()).c_str()) == 0;
  }

  //   input: of the network's only input;  outputs: tensors of the shapes of its outputs
  void add(const std::filesystem::path& network, const at::Tensor& input,
           const std::vector<at::Tensor>& outputs) {
    const size_t i = shapes_.size();
    const std::filesystem::path file = part("input", i);
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.contiguous().data_ptr<float>()),
               input.numel() * 4);
    list_ += fmt::format("{}\t{}\t{}\t{}\n", network.string(), file.string(),
                         part("output", i).string(), fmt::join(input.sizes().vec(), "\t"));
    auto& shapes = shapes_.emplace_back();
    for (const at::Tensor& y : outputs) shapes.push_back(y.sizes().vec());
  }

  // The outputs of the networks, in the order of add().
  std::vector<std::vector<at::Tensor>> run() const {
    const std::filesystem::path list = folder_ / "list";
    testing::write_bytes(list, list_);
    const std::string command = fmt::format("node '{}' '{}'", script(), list.string());
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    std::vector<std::vector<at::Tensor>> results;
    for (size_t i = 0; i < shapes_.size(); ++i) {
      std::ifstream file(part("output", i), std::ios::binary);
      auto& outputs = results.emplace_back();
      for (const Shape& shape : shapes_[i]) {
        std::vector<float> numbers(static_cast<size_t>(*element_count(shape)));
        file.read(reinterpret_cast<char*>(numbers.data()),
                  static_cast<std::streamsize>(numbers.size() * sizeof(float)));
        outputs.push_back(float_tensor(numbers, shape));
      }
      EXPECT_TRUE(file.good() && file.peek() == EOF) << part("output", i);
    }
    return results;
  }

 private:
  static std::string script() { return (testing::source_folder() / "tests/onnx/run.js").string(); }
  std::filesystem::path part(const char* what, size_t i) const {
    return folder_ / fmt::format("{}-{}", what, i);
  }

  std::filesystem::path folder_;
  std::string list_;
  std::vector<std::vector<Shape>> shapes_;  // of outputs
};

}  // namespace bitsmith::reference_testing
