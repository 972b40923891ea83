#include "images/folder.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/mapped_file.h"
#include "images/decode_image.h"
#include "images/tar.h"

namespace bitsmith {
namespace {

namespace fs = std::filesystem;

struct Entry {
  std::string path;                                 // from the top, '/' between folders
  std::optional<std::span<const std::byte>> bytes;  // in an archive; else the file is opened
  int64_t label = ImageDataset::kNoLabel;
};

class FolderDataset final : public ImageDataset {
 public:
  FolderDataset(fs::path top, std::vector<Entry> entries, std::vector<std::string> classes,
                std::shared_ptr<MappedFile> archive)
      : top_(std::move(top)),
        entries_(std::move(entries)),
        classes_(std::move(classes)),
        archive_(std::move(archive)) {}

  int64_t size() const override { return static_cast<int64_t>(entries_.size()); }
  int64_t label(int64_t i) const override { return entry(i).label; }
  std::vector<std::string> classes() const override { return classes_; }

  Image image(int64_t i) const override {
    if (entry(i).bytes) return decode_image(*entry(i).bytes, name(i));
    const MappedFile file(top_ / entry(i).path);
    return decode_image(file.bytes(), name(i));
  }

  std::string name(int64_t i) const override {
    return entry(i).bytes ? top_.string() + ":" + entry(i).path : (top_ / entry(i).path).string();
  }

 private:
  const Entry& entry(int64_t i) const { return entries_[static_cast<size_t>(i)]; }

  fs::path top_;
  std::vector<Entry> entries_;
  std::vector<std::string> classes_;
  std::shared_ptr<MappedFile> archive_;
};

// The name of the folder that a file lies in; empty at the top.
std::string folder_name(const std::string& path) {
  return fs::path(path).parent_path().filename().string();
}

std::vector<std::string> label_by_folder(std::vector<Entry>& entries) {
  std::set<std::string> names;
  for (const Entry& entry : entries) names.insert(folder_name(entry.path));
  if (names.contains("")) return {};  // images at the top have no class
  const std::vector<std::string> classes(names.begin(), names.end());
  for (Entry& entry : entries) {
    entry.label = std::ranges::lower_bound(classes, folder_name(entry.path)) - classes.begin();
  }
  return classes;
}

void label_by_list(const Labels& labels, const std::string& where, std::vector<Entry>& entries) {
  if (labels.names.empty()) {
    if (labels.labels.size() != entries.size()) {
      fail(ErrorCode::kCorrupt, "there are {} labels for the {} images of '{}'",
           labels.labels.size(), entries.size(), where);
    }
    for (size_t i = 0; i < entries.size(); ++i) entries[i].label = labels.labels[i];
    return;
  }
  std::map<std::string, const Entry*> by_path;
  for (const Entry& entry : entries) by_path[entry.path] = &entry;
  // Paths may start at another folder: then the end of the path decides, if only one image has it.
  std::map<std::string, const Entry*> by_file;
  for (const Entry& entry : entries) {
    auto [found, added] = by_file.emplace(fs::path(entry.path).filename().string(), &entry);
    if (!added) found->second = nullptr;
  }
  std::vector<Entry> kept;
  for (size_t i = 0; i < labels.names.size(); ++i) {
    const fs::path name = fs::path(labels.names[i]).lexically_normal();
    const auto exact = by_path.find(name.generic_string());
    const auto file = by_file.find(name.filename().string());
    const Entry* entry = exact != by_path.end()                             ? exact->second
                         : file != by_file.end() && file->second != nullptr ? file->second
                                                                            : nullptr;
    if (entry == nullptr) {
      fail(ErrorCode::kNotFound, "'{}' has no image '{}', which the labels name", where,
           labels.names[i]);
    }
    kept.push_back(*entry);
    kept.back().label = labels.labels[i];
  }
  entries = std::move(kept);
}

std::unique_ptr<ImageDataset> make_dataset(const fs::path& path, std::vector<Entry> entries,
                                           const Labels* labels,
                                           std::shared_ptr<MappedFile> archive) {
  if (entries.empty()) {
    fail(ErrorCode::kNotFound, "'{}' holds no .jpg, .jpeg or .png files", path.string());
  }
  std::ranges::sort(entries, {}, &Entry::path);
  std::vector<std::string> classes;
  if (labels != nullptr) {
    label_by_list(*labels, path.string(), entries);
  } else {
    classes = label_by_folder(entries);
  }
  return std::make_unique<FolderDataset>(path, std::move(entries), std::move(classes),
                                         std::move(archive));
}

}  // namespace

std::unique_ptr<ImageDataset> open_folder(const fs::path& path, const Labels* labels) {
  std::vector<Entry> entries;
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(path, error);
       !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (!it->is_regular_file(error) || !is_image_name(it->path().filename().string())) continue;
    entries.push_back({it->path().lexically_relative(path).generic_string(), std::nullopt,
                       ImageDataset::kNoLabel});
  }
  if (error) {
    fail(ErrorCode::kEnvironment, "cannot list '{}': {}", path.string(), error.message());
  }
  return make_dataset(path, std::move(entries), labels, nullptr);
}

std::unique_ptr<ImageDataset> open_tar(const fs::path& path, const Labels* labels) {
  auto archive = std::make_shared<MappedFile>(path);
  std::vector<Entry> entries;
  for (const TarEntry& file : read_tar(archive->bytes(), path.string())) {
    if (!is_image_name(file.path)) continue;
    entries.push_back({fs::path(file.path).lexically_normal().generic_string(), file.bytes,
                       ImageDataset::kNoLabel});
  }
  return make_dataset(path, std::move(entries), labels, std::move(archive));
}

}  // namespace bitsmith
