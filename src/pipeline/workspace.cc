#include "pipeline/workspace.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/output_file.h"

namespace bitsmith {
namespace {

constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 30;

// A folder that nobody else has: names made from the number of the process come again, and with
// them the records of a process that was killed.
std::filesystem::path new_folder(const std::string& purpose) {
  std::error_code error;
  const auto parent = std::filesystem::temp_directory_path(error);
  std::string name = (parent / fmt::format("bitsmith-{}-XXXXXX", purpose)).string();
  if (error || ::mkdtemp(name.data()) == nullptr) {
    fail(ErrorCode::kEnvironment, "cannot make a temporary folder '{}': {}", name,
         error ? error.message() : std::strerror(errno));
  }
  return name;
}

}  // namespace

Workspace::Workspace(std::filesystem::path folder, const nlohmann::json& key)
    : folder_(std::move(folder)) {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) {
    fail(ErrorCode::kEnvironment, "cannot make the folder '{}': {}", folder_.string(),
         error.message());
  }
  const auto found = load("job");
  if (found && *found == key) {
    resumed_ = true;
    return;
  }
  std::vector<std::filesystem::path> old;
  for (auto it = std::filesystem::directory_iterator(folder_, error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    old.push_back(it->path());
    const std::string extension = it->path().extension();
    if (extension != ".json" && extension != ".bin" && extension.rfind(".tmp", 0) != 0) {
      fail(ErrorCode::kEnvironment,
           "'{}' holds files that are not bitsmith's ('{}'); move it away or choose another output",
           folder_.string(), it->path().filename().string());
    }
  }
  for (size_t i = 0; i < old.size() && !error; ++i) std::filesystem::remove(old[i], error);
  if (error) {
    fail(ErrorCode::kEnvironment, "cannot empty the folder '{}': {}", folder_.string(),
         error.message());
  }
  save("job", key);
}

std::optional<nlohmann::json> Workspace::load(const std::string& name) const {
  const auto path = folder_ / (name + ".json");
  if (!std::filesystem::exists(path)) return std::nullopt;
  nlohmann::json record = nlohmann::json::parse(read_file(path, kMaxRecordBytes), nullptr, false);
  if (record.is_discarded()) return std::nullopt;  // damaged: made again
  return record;
}

void Workspace::save(const std::string& name, const nlohmann::json& record) {
  OutputFile file(folder_ / (name + ".json"));
  file.write(record.dump());
  file.commit();
}

std::filesystem::path Workspace::save_bytes(const std::string& name,
                                            std::span<const std::byte> bytes) {
  const auto path = folder_ / (name + ".bin");
  OutputFile file(path);
  file.write(bytes);
  file.commit();
  return path;
}

void Workspace::remove() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

TemporaryWorkspace::TemporaryWorkspace(const std::string& purpose)
    : workspace(new_folder(purpose), nlohmann::json::object()) {}

}  // namespace bitsmith
