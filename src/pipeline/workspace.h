// The folder beside the output that makes a long run resumable.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

namespace bitsmith {

// Holds what finished steps have produced. Every record appears whole or not at all, so a run that
// was killed at any moment goes on from the last record. The folder belongs to one job, named by
// its key: a folder with another key is emptied, since its records would not fit.
class Workspace {
 public:
  // `folder` is made if it is not there.
  Workspace(std::filesystem::path folder, const nlohmann::json& key);

  const std::filesystem::path& folder() const { return folder_; }
  bool resumed() const { return resumed_; }  // it held records of the same job

  std::optional<nlohmann::json> load(const std::string& name) const;
  void save(const std::string& name, const nlohmann::json& record);
  std::filesystem::path save_bytes(const std::string& name, std::span<const std::byte> bytes);

  // Removes the folder: the job is done.
  void remove();

 private:
  std::filesystem::path folder_;
  bool resumed_ = false;
};

// A workspace in the folder for temporary files, removed when it goes out of scope: for work that
// leaves nothing behind.
struct TemporaryWorkspace {
  explicit TemporaryWorkspace(const std::string& purpose);
  ~TemporaryWorkspace() { workspace.remove(); }
  TemporaryWorkspace(const TemporaryWorkspace&) = delete;
  TemporaryWorkspace& operator=(const TemporaryWorkspace&) = delete;

  Workspace workspace;
};

}  // namespace bitsmith
