// What the tests of all rooms share: where the project and real data lie, folders that go away,
// expected errors. Only for tests: BITSMITH_SOURCE_DIR is defined for them alone.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "core/error.h"

namespace bitsmith::testing {

inline std::filesystem::path source_folder() { return BITSMITH_SOURCE_DIR; }

// A file or folder of real models and texts, such as "llm/classics-7m", in $BITSMITH_DATA or else
// in ../shared/data beside the project. Empty if it is not there; the test then skips by name:
//   if (folder.empty()) GTEST_SKIP() << "llm/classics-7m is not there (BITSMITH_DATA)";
inline std::filesystem::path shared_data(const std::string& name) {
  const char* given = std::getenv("BITSMITH_DATA");
  const std::filesystem::path root =
      given != nullptr ? std::filesystem::path(given) : source_folder() / ".." / "shared" / "data";
  const std::filesystem::path path = root / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

// A new folder that is removed at the end of the test.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(
      const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string name = (parent / "bitsmith-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The message of the Error that `body` throws, which must be of `code`.
template <class Body>
std::string error_of(ErrorCode code, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

}  // namespace bitsmith::testing
