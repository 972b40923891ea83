#include "pipeline/workspace.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

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

FolderLock::FolderLock(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    fail(ErrorCode::kEnvironment, "cannot make the folder '{}': {}", folder.string(),
         error.message());
  }
  fd_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) {
    fail(ErrorCode::kEnvironment, "cannot open the folder '{}': {}", folder.string(),
         std::strerror(errno));
  }
  // The system drops the lock when the process ends, however it ends. File systems without locks
  // are used without.
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd_);
    fail(ErrorCode::kEnvironment,
         "another process is working in '{}'; wait for it, or choose another output",
         folder.string());
  }
}

FolderLock::~FolderLock() { ::close(fd_); }

Workspace::Workspace(std::filesystem::path folder, const nlohmann::json& key, bool restart)
    : folder_(std::move(folder)), lock_(folder_) {
  const auto found = load("job");
  if (found && *found == key && !restart) {
    resumed_ = true;
    if (const auto time = load("time")) earlier_seconds_ = time->value("seconds", 0.0);
    return;
  }
  std::error_code error;
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
  write("job", key);
}

Workspace::~Workspace() {
  if (empty_ && !resumed_) remove();
}

std::optional<nlohmann::json> Workspace::load(const std::string& name) const {
  const auto path = folder_ / (name + ".json");
  if (!std::filesystem::exists(path)) return std::nullopt;
  nlohmann::json record = nlohmann::json::parse(read_file(path, kMaxRecordBytes), nullptr, false);
  if (record.is_discarded()) return std::nullopt;  // damaged: made again
  return record;
}

void Workspace::save(const std::string& name, const nlohmann::json& record) {
  write(name, record);
  empty_ = false;
  const std::chrono::duration<double> here = std::chrono::steady_clock::now() - start_;
  write("time", {{"seconds", earlier_seconds_ + here.count()}});
}

void Workspace::write(const std::string& name, const nlohmann::json& record) const {
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
  empty_ = false;
  return path;
}

void Workspace::remove() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

TemporaryWorkspace::TemporaryWorkspace(const std::string& purpose)
    : workspace(new_folder(purpose), nlohmann::json::object()) {}

}  // namespace bitsmith
