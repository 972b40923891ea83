// What a run keeps on disk: records that appear whole or not at all, activations that spill.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "core/random.h"
#include "core/testing.h"
#include "pipeline/activations.h"
#include "pipeline/workspace.h"

namespace bitsmith {
namespace {

using nlohmann::json;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::TemporaryFolder;
using testing::write_bytes;

size_t file_count(const std::filesystem::path& folder) {
  const std::filesystem::directory_iterator files(folder);
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Workspace, KeepsTheRecordsOfItsJob) {
  const TemporaryFolder folder;
  const json key = {{"recipe", "a"}, {"seed", 1}};
  {
    Workspace workspace(folder / "deep" / "w", key);
    EXPECT_FALSE(workspace.resumed());
    EXPECT_EQ(workspace.load("one"), std::nullopt);
    workspace.save("one", {{"losses", {0.1, 1e-300, 3.0}}});
    workspace.save("one", {{"losses", {0.1, 1e-300, 2.5}}});
    const auto path = workspace.save_bytes("tensor", bytes_of("some bytes"));
    EXPECT_EQ(read_bytes(path), "some bytes");
  }
  Workspace workspace(folder / "deep" / "w", key);
  EXPECT_TRUE(workspace.resumed());
  EXPECT_EQ(workspace.load("one"), (json{{"losses", {0.1, 1e-300, 2.5}}}));  // bit by bit
  EXPECT_EQ(read_bytes(workspace.folder() / "tensor.bin"), "some bytes");
  workspace.remove();
  EXPECT_FALSE(std::filesystem::exists(folder / "deep" / "w"));
}

TEST(Workspace, AnotherJobEmptiesIt) {
  const TemporaryFolder folder;
  {
    Workspace workspace(folder / "w", {{"seed", 1}});
    workspace.save("one", 1);
    workspace.save_bytes("tensor", bytes_of("x"));
    write_bytes(folder / "w" / "tensor-0001.bin.tmp4711", "half of it");  // from a kill
  }
  {
    Workspace workspace(folder / "w", {{"seed", 2}});
    EXPECT_FALSE(workspace.resumed());
    EXPECT_EQ(workspace.load("one"), std::nullopt);
    EXPECT_EQ(file_count(folder / "w"), 1u);  // its own key
    workspace.save("one", 2);
  }
  EXPECT_TRUE(Workspace(folder / "w", {{"seed", 2}}).resumed());
  EXPECT_FALSE(Workspace(folder / "w", {{"seed", 2}}, true).resumed());  // if it is told to forget
}

TEST(Workspace, LeavesNothingIfNoStepFinished) {
  const TemporaryFolder folder;
  { const Workspace workspace(folder / "w", 1); }
  EXPECT_FALSE(std::filesystem::exists(folder / "w"));
}

TEST(Workspace, BelongsToOneProcessAtATime) {
  const TemporaryFolder folder;
  {
    const Workspace workspace(folder / "w", 1);
    EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { Workspace(folder / "w", 1); }),
                HasSubstr("another process"));
    EXPECT_TRUE(std::filesystem::exists(folder / "w" / "job.json"));
  }
  EXPECT_NO_THROW(Workspace(folder / "w", 1));
}

TEST(Workspace, CountsTheTimeOfEarlierRuns) {
  const TemporaryFolder folder;
  double before = 0;
  for (int run = 0; run < 3; ++run) {
    Workspace workspace(folder / "w", 1);
    EXPECT_EQ(workspace.earlier_seconds(), before);
    workspace.save("one", run);
    before = workspace.load("time")->at("seconds");
    EXPECT_GT(before, workspace.earlier_seconds());
  }
}

TEST(Workspace, TouchesNoFilesOfOthers) {
  const TemporaryFolder folder;
  for (const char* name : {"letter.txt", "photographs"}) {
    const auto place = folder / (std::string("of ") + name);
    std::filesystem::create_directories(place);
    write_bytes(place / "a.json", "{}");
    if (std::string_view(name) == "photographs") {
      std::filesystem::create_directories(place / name);
    } else {
      write_bytes(place / name, "dear");
    }
    EXPECT_THAT(error_of(ErrorCode::kEnvironment,
                         [&] {
                           Workspace(place, {{"seed", 1}});
                         }),
                HasSubstr(name));
    EXPECT_EQ(file_count(place), 2u);
  }
  write_bytes(folder / "file", "x");
  EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { Workspace(folder / "file", 1); }),
              HasSubstr("cannot make the folder"));
}

TEST(Workspace, ADamagedRecordIsNone) {
  const TemporaryFolder folder;
  {
    Workspace workspace(folder / "w", 1);
    workspace.save("one", {{"a", 1}});
    for (const char* damage : {"", "{\"a\": ", "{\"a\": 1}}", "\xff\xfe"}) {
      write_bytes(folder / "w" / "one.json", damage);
      EXPECT_EQ(workspace.load("one"), std::nullopt) << damage;
    }
  }
  write_bytes(folder / "w" / "job.json", "{");  // the key itself: nothing is trusted
  EXPECT_FALSE(Workspace(folder / "w", 1).resumed());
}

// Files of this process may not grow beyond `bytes` while this lives, as on a disk that is full.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int) = nullptr;
};

TEST(Workspace, ARecordThatDoesNotFitLeavesTheOldOne) {
  const TemporaryFolder folder;
  Workspace workspace(folder / "w", 1);
  workspace.save("one", "old");
  workspace.save_bytes("bytes", bytes_of("old"));
  const std::string large(100000, 'x');
  {
    const FullDisk full(4096);
    EXPECT_THAT(error_of(ErrorCode::kEnvironment, [&] { workspace.save("one", large); }),
                HasSubstr("one.json"));
    EXPECT_THAT(
        error_of(ErrorCode::kEnvironment, [&] { workspace.save_bytes("bytes", bytes_of(large)); }),
        HasSubstr("bytes.bin"));
  }
  EXPECT_EQ(workspace.load("one"), json("old"));
  EXPECT_EQ(read_bytes(folder / "w" / "bytes.bin"), "old");
  EXPECT_EQ(file_count(folder / "w"), 4u);  // with job.json and the lock; no half of a file
}

TEST(TemporaryWorkspace, IsItsOwnAndGoesAway) {
  std::filesystem::path first_folder;
  {
    TemporaryWorkspace first("test");
    TemporaryWorkspace second("test");
    first_folder = first.workspace.folder();
    EXPECT_NE(first_folder, second.workspace.folder());
    first.workspace.save("survey", 1);
    EXPECT_EQ(second.workspace.load("survey"), std::nullopt);
    // What a killed process left is not taken for one's own.
    EXPECT_FALSE(first.workspace.resumed());
    EXPECT_FALSE(second.workspace.resumed());
  }
  EXPECT_FALSE(std::filesystem::exists(first_folder));
}

at::Tensor random_tensor(uint64_t seed) {
  Random random(seed);
  at::Tensor x = at::empty({1, 7, 33}, at::kFloat);
  for (int64_t i = 0; i < x.numel(); ++i) {
    x.data_ptr<float>()[i] = static_cast<float>(random.normal());
  }
  return x;
}

TEST(ActivationStore, HoldsTheSameInMemoryAndOnDisk) {
  const TemporaryFolder folder;
  constexpr int64_t kSequences = 40;  // no sequence fills pages of its own
  for (const uint64_t memory : {uint64_t{0}, uint64_t{1} << 30}) {
    ActivationStore store(folder.path(), memory);
    store.resize(kSequences, {1, 7, 33});
    EXPECT_EQ(store.shape(), (Shape{1, 7, 33}));
    for (int64_t i = 0; i < kSequences; ++i) {
      store.save(i, random_tensor(static_cast<uint64_t>(i)));
    }
    EXPECT_EQ(file_count(folder.path()), 0u);  // the file has no name that could be left behind
    store.resize(kSequences, {1, 33, 7});      // as large as before: nothing moves
    store.resize(kSequences, {1, 7, 33});
    for (int64_t i = 0; i < kSequences; ++i) {
      const at::Tensor expected = random_tensor(static_cast<uint64_t>(i));
      const at::Tensor got = store.load(i);
      ASSERT_EQ(got.sizes(), expected.sizes());
      ASSERT_EQ(std::memcmp(got.data_ptr(), expected.data_ptr(), 7 * 33 * sizeof(float)), 0) << i;
    }
    store.resize(2, {1, 3, 5});
    EXPECT_EQ(store.load(1).sizes(), (at::IntArrayRef{1, 3, 5}));
    EXPECT_ANY_THROW(store.load(2));
    EXPECT_ANY_THROW(store.load(-1));
  }
}

TEST(ActivationStore, SaysWhyItCannotSpill) {
  const TemporaryFolder folder;
  ActivationStore nowhere(folder / "nowhere", 0);
  EXPECT_THAT(error_of(ErrorCode::kEnvironment,
                       [&] {
                         nowhere.resize(4, {1, 1024, 1024});
                       }),
              ::testing::AllOf(HasSubstr("16 MB"), HasSubstr("nowhere")));
  ActivationStore store(folder.path(), 0);
  {
    const FullDisk full(4096);
    EXPECT_THAT(error_of(ErrorCode::kEnvironment,
                         [&] {
                           store.resize(4, {1, 1024, 1024});
                         }),
                HasSubstr(folder.path().string()));
  }
  store.resize(1, {1, 2, 3});  // and can still be used
  store.save(0, at::ones({1, 2, 3}));
}

}  // namespace
}  // namespace bitsmith
