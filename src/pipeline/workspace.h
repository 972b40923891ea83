// The folder beside the output that makes a long run resumable.
#pragma once

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

namespace bitsmith {

// Makes a folder if it is not there, and keeps other processes from taking it while it lives.
// Throws kEnvironment if one has it.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

// Holds what finished steps have produced. Every record appears whole or not at all, so a run that
// was killed at any moment goes on from the last record. The folder belongs to one job, named by
// its key: a folder with another key is emptied, since its records would not fit.
class Workspace {
 public:
  // `folder` is made if it is not there, and removed again by the destructor if no step finished in
  // it. Throws kEnvironment if another process works in it.
  //   restart: records of the same job are dropped too
  Workspace(std::filesystem::path folder, const nlohmann::json& key, bool restart = false);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const std::filesystem::path& folder() const { return folder_; }
  bool resumed() const { return resumed_; }  // it held records of the same job
  // How long earlier runs of the job worked until their last record; what they did after it is
  // lost.
  double earlier_seconds() const { return earlier_seconds_; }

  std::optional<nlohmann::json> load(const std::string& name) const;
  void save(const std::string& name, const nlohmann::json& record);
  std::filesystem::path save_bytes(const std::string& name, std::span<const std::byte> bytes);

  // Removes the folder: the job is done.
  void remove();

 private:
  void write(const std::string& name, const nlohmann::json& record) const;

  std::filesystem::path folder_;
  FolderLock lock_;
  bool resumed_ = false;
  bool empty_ = true;  // nothing was saved but the job itself
  double earlier_seconds_ = 0;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
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
