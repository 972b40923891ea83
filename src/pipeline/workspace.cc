#include "pipeline/workspace.h"

#include <unistd.h>

#include "core/error.h"
#include "core/output_file.h"

namespace bitsmith {
namespace {

constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 30;

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
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const std::string extension = entry.path().extension();
    if (extension != ".json" && extension != ".bin" && extension.rfind(".tmp", 0) != 0) {
      fail(ErrorCode::kEnvironment,
           "'{}' holds files that are not bitsmith's ('{}'); move it away or choose another output",
           folder_.string(), entry.path().filename().string());
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    std::filesystem::remove(entry.path());
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
    : workspace(std::filesystem::temp_directory_path() /
                    fmt::format("bitsmith-{}-{}", purpose, ::getpid()),
                nlohmann::json::object()) {}

}  // namespace bitsmith
