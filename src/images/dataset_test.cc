#include "images/dataset.h"

#include "images/array_dataset.h"
#include "images/cifar.h"
#include "images/cifar_pickle.h"
#include "images/decode_image.h"
#include "core/gzip.h"
#include "images/idx.h"
#include "images/images_testing.h"
#include "images/labels.h"
#include "images/npy.h"
#include "images/subset.h"
#include "images/tar.h"

namespace bitsmith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Idx, ImagesAndLabels) {
  const TemporaryFolder folder;
  write_bytes(folder / "images", idx_text({3, 2, 4}));
  write_bytes(folder / "labels", idx_text({3}));
  const auto dataset = open_images({folder / "images", folder / "labels", {}});
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_EQ(dataset->label(2), 2);
  const Image image = dataset->image(1);
  EXPECT_EQ(image.height, 2);
  EXPECT_EQ(image.width, 4);
  EXPECT_EQ(image.channels, 1);
  EXPECT_THAT(image.pixels, ElementsAre(8, 9, 10, 11, 12, 13, 14, 15));
  write_bytes(folder / "two", idx_text({2}));
  EXPECT_THAT(error_of(ErrorCode::kCorrupt,
                       [&] {
                         open_images({folder / "images", folder / "two", {}});
                       }),
              HasSubstr("2 labels for the 3 images"));
  expect_never_crashes(idx_text({3, 2, 4}), 1000,
                       [](std::span<const std::byte> bytes) { read_idx(bytes, "file"); });
}

TEST(Subset, IsSpreadOverAllImages) {
  const TemporaryFolder folder;
  write_bytes(folder / "images", idx_text({10, 2, 4}));
  write_bytes(folder / "labels", idx_text({10}));
  const auto open = [&] { return open_images({folder / "images", folder / "labels", {}}); };
  const auto some = spread_images(open(), 4);
  ASSERT_EQ(some->size(), 4);
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 4; ++i) labels.push_back(some->label(i));
  EXPECT_THAT(labels, ElementsAre(0, 2, 5, 7));
  EXPECT_EQ(some->image(2).pixels, open()->image(5).pixels);
  EXPECT_EQ(spread_images(open(), 11)->size(), 10);
}

TEST(Gzip, InflatesUpToItsLimit) {
  // "hello\n" by gzip.
  const unsigned char bytes[] = {0x1f, 0x8b, 8,    0,    0,    0,    0,    0, 0,
                                 3,    0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0xe7, 2, 0,
                                 0x20, 0x30, 0x3a, 0x36, 6,    0,    0,    0};
  const std::string file(std::begin(bytes), std::end(bytes));
  const auto text = [](const std::vector<std::byte>& content) {
    return std::string(reinterpret_cast<const char*>(content.data()), content.size());
  };
  EXPECT_EQ(text(inflate_gzip(as_bytes(file), 100, "file")), "hello\n");
  error_of(ErrorCode::kCorrupt, [&] { inflate_gzip(as_bytes(file), 5, "file"); });
  error_of(ErrorCode::kCorrupt, [&] { inflate_gzip(as_bytes(file + "x"), 100, "file"); });
  expect_never_crashes(
      file, 500, [](std::span<const std::byte> damaged) { inflate_gzip(damaged, 100, "file"); });
}

TEST(Npy, ImagesOfBytesAndInputsOfFloats) {
  const TemporaryFolder folder;
  write_bytes(folder / "u8.npy", npy_text("|u1", "(2, 1, 2, 3)", "abcdefghijkl"));
  const auto pixels = open_images({folder / "u8.npy", {}, {}});
  ASSERT_EQ(pixels->size(), 2);
  EXPECT_EQ(pixels->label(0), ImageDataset::kNoLabel);
  EXPECT_THAT(pixels->image(1).pixels, ElementsAre('g', 'h', 'i', 'j', 'k', 'l'));
  const float values[] = {1, -2, 3, 4};
  const std::string raw(reinterpret_cast<const char*>(values), sizeof(values));
  write_bytes(folder / "f4.npy", npy_text("<f4", "(2, 2)", raw));
  write_bytes(folder / "labels.npy",
              npy_text("<i8", "(2,)", std::string("\7\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16)));
  const auto inputs = open_images({folder / "f4.npy", folder / "labels.npy", {}});
  EXPECT_THAT(inputs->image(1).values, ElementsAre(3, 4));
  EXPECT_EQ(inputs->label(0), 7);
}

TEST(Npy, HostileHeadersAreErrors) {
  const auto message = [](ErrorCode code, const std::string& text) {
    return error_of(code, [&] { read_npy(as_bytes(text), "file"); });
  };
  EXPECT_THAT(message(ErrorCode::kUnsupported, npy_text("|u1", "(1, 1)", "a", "True")),
              HasSubstr("Fortran order"));
  EXPECT_THAT(message(ErrorCode::kUnsupported, npy_text(">f4", "(1,)", "aaaa")),
              HasSubstr("'>f4'"));
  EXPECT_THAT(message(ErrorCode::kCorrupt, npy_text("|u1", "(5,)", "a")), HasSubstr("holds 1"));
  message(ErrorCode::kCorrupt, npy_text("|u1", "(99999999999, 99999999999)", "a"));
  message(ErrorCode::kCorrupt, npy_text("|u1", "(-1,)", "a"));
  expect_never_crashes(npy_text("|u1", "(2, 1, 2, 3)", "abcdefghijkl"), 3000,
                       [](std::span<const std::byte> bytes) { read_npy(bytes, "file"); });
}

TEST(Labels, FromTextWithAndWithoutNames) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text) {
    write_bytes(folder / "labels.txt", text);
    return read_labels(folder / "labels.txt");
  };
  EXPECT_THAT(read("3\n1\r\n\n2").labels, ElementsAre(3, 1, 2));
  const Labels named = read("./data/a b.JPEG, 472\n./data/c.JPEG, 5\n");
  EXPECT_THAT(named.names, ElementsAre("./data/a b.JPEG", "./data/c.JPEG"));
  EXPECT_THAT(named.labels, ElementsAre(472, 5));
  EXPECT_THAT(read("x.bin,10,7\n").labels, ElementsAre(7));
  EXPECT_THAT(read("x.png 4\n").names, ElementsAre("x.png"));
  const auto message = [&](const std::string& text) {
    return error_of(ErrorCode::kCorrupt, [&] { read(text); });
  };
  EXPECT_THAT(message("1\nx\n"), HasSubstr("line 2"));
  EXPECT_THAT(message("-1\n"), HasSubstr("line 1"));
  EXPECT_THAT(message("99999999999999999999\n"), HasSubstr("line 1"));
  EXPECT_THAT(message("1\nx 2\n"), HasSubstr("some lines name an image"));
}

TEST(Folder, ClassesAreFoldersInAlphabeticalOrder) {
  const TemporaryFolder folder;
  for (const char* name : {"test/dog/1.png", "test/cat/2.PNG", "test/cat/1.png"}) {
    std::filesystem::create_directories((folder / name).parent_path());
    write_bytes(folder / name, small_png());
  }
  write_bytes(folder / "test/cat/readme.txt", "no image");
  const auto dataset = open_images({folder / "test", {}, {}});
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_THAT(dataset->classes(), ElementsAre("cat", "dog"));
  EXPECT_EQ(dataset->label(0), 0);
  EXPECT_EQ(dataset->label(2), 1);
  EXPECT_THAT(dataset->name(2), HasSubstr("dog/1.png"));
  const Image image = dataset->image(0);
  EXPECT_THAT(image.pixels, ElementsAre(255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255));

  // Labels that name images choose and order them, by path or by the name alone.
  write_bytes(folder / "labels.txt", "./elsewhere/2.PNG, 8\ndog/1.png, 9\n");
  const auto named = open_images({folder / "test", folder / "labels.txt", {}});
  ASSERT_EQ(named->size(), 2);
  EXPECT_THAT(named->name(0), HasSubstr("cat/2.PNG"));
  EXPECT_EQ(named->label(0), 8);
  EXPECT_EQ(named->label(1), 9);
  // 1.png lies in two folders.
  write_bytes(folder / "labels.txt", "1.png 8\n");
  EXPECT_THAT(error_of(ErrorCode::kNotFound,
                       [&] {
                         open_images({folder / "test", folder / "labels.txt", {}});
                       }),
              HasSubstr("no image '1.png'"));
}

TEST(Tar, IsReadWhereItLies) {
  const TemporaryFolder folder;
  const std::string deep = "test/" + std::string(120, 'd') + "/x.png";
  const std::string text =
      tar_text({{"test/b/1.png", small_png()}, {"test/a/7.png", small_png()}, {deep, small_png()}});
  write_bytes(folder / "images.tar", text);
  const auto dataset = open_images({folder / "images.tar", {}, {}});
  ASSERT_EQ(dataset->size(), 3);
  EXPECT_THAT(dataset->classes(), ElementsAre("a", "b", std::string(120, 'd')));
  EXPECT_EQ(dataset->label(1), 1);
  EXPECT_EQ(dataset->image(1).pixels[0], 255);
  const std::string small = tar_text({{"a", "xyz"}});
  const auto read = [](std::span<const std::byte> bytes) { read_tar(bytes, "file"); };
  // A prefix that ends between the last two blocks of zeros is whole.
  error_of(ErrorCode::kCorrupt, [&] { read(as_bytes(small).first(1024)); });
  for (size_t size = 0; size < 1024; ++size) {
    EXPECT_THROW(read(as_bytes(small).first(size)), Error) << size;
  }
  std::string damaged = small;
  damaged[124] = '7';
  EXPECT_THAT(error_of(ErrorCode::kCorrupt, [&] { read(as_bytes(damaged)); }),
              HasSubstr("damaged"));
}

// An image that lacks only its end may still open.
TEST(DecodeImage, HostileBytesAreErrors) {
  const std::string png = small_png();
  Random random(1);
  for (size_t i = 0; i < 2000; ++i) {
    std::string damaged = png.substr(0, i < png.size() ? i : png.size());
    if (i >= png.size()) {
      damaged[random.below(png.size())] ^= static_cast<char>(1 << random.below(8));
    }
    const std::vector<char> exact(damaged.begin(), damaged.end());
    try {
      const Image image = decode_image(std::as_bytes(std::span(exact)), "file");
      EXPECT_EQ(image.pixels.size(), static_cast<size_t>(image.height * image.width * 3));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
      EXPECT_THAT(error.what(), HasSubstr("'file'"));
    }
  }
  // A PNG that claims 65,000 x 65,000 pixels.
  std::string huge = small_png();
  huge[18] = static_cast<char>(0xfd);
  huge[22] = static_cast<char>(0xfd);
  error_of(ErrorCode::kCorrupt, [&] { decode_image(as_bytes(huge), "file"); });
}

TEST(Cifar, BinaryBatch) {
  const TemporaryFolder folder;
  std::string text(2 * 3073, '\0');
  text[0] = 9;
  text[1 + 5] = 10;         // red of pixel 5
  text[1 + 1024 + 5] = 20;  // green
  text[1 + 2048 + 5] = 30;  // blue
  text[3073] = 4;
  write_bytes(folder / "test_batch.bin", text);
  const auto dataset = open_images({folder / "test_batch.bin", {}, {}});
  ASSERT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->label(0), 9);
  EXPECT_EQ(dataset->label(1), 4);
  EXPECT_EQ(dataset->classes()[9], "truck");
  const Image image = dataset->image(0);
  EXPECT_EQ(image.height, 32);
  EXPECT_EQ(image.pixels[15], 10);
  EXPECT_EQ(image.pixels[16], 20);
  EXPECT_EQ(image.pixels[17], 30);
}

// A batch as Python 2 pickled it, with text strings, and NumPy's array.
std::string cifar_pickle(const std::string& data, const std::string& labels) {
  const auto u32 = [](size_t n) {
    std::string text;
    for (int i = 0; i < 4; ++i) text += static_cast<char>(n >> (8 * i));
    return text;
  };
  const auto text = [](const std::string& t) {
    return "U" + std::string(1, static_cast<char>(t.size())) + t;
  };
  std::string list = "]q\4(";
  for (const char label : labels) list += std::string("K") + label;
  list += "e";
  std::string array = "cnumpy.core.multiarray\n_reconstruct\nq\5cnumpy\nndarray\nq\6K";
  array += std::string("\0\x85", 2) + text("b") + "\x87R(K\1K";
  array += static_cast<char>(data.size() / 3072);
  array += std::string("M\0\x0c\x86", 4) + "cnumpy\ndtype\n" + text("u1");
  array += std::string("K\0K\1\x87R(K\3", 9) + text("|") + "NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK";
  array += std::string("\0tb\x89T", 5) + u32(data.size()) + data + "tb";
  return std::string("\x80\2}q\1(", 6) + text("batch_label") + "q\2" +
         text("testing batch 1 of 1") + text("labels") + list + text("data") + array +
         text("filenames") + "]" + "(" + text("a.png") + "eu.";
}

TEST(Cifar, PickledBatch) {
  const TemporaryFolder folder;
  std::string data(2 * 3072, '\0');
  data[3072 + 1024] = 77;  // green of the first pixel of image 1
  write_bytes(folder / "test_batch", cifar_pickle(data, "\3\7"));
  const auto dataset = open_images({folder / "test_batch", {}, {}});
  ASSERT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->label(0), 3);
  EXPECT_EQ(dataset->label(1), 7);
  const Image image = dataset->image(1);
  EXPECT_EQ(image.pixels[0], 0);
  EXPECT_EQ(image.pixels[1], 77);
  EXPECT_EQ(image.pixels[2], 0);
  EXPECT_EQ(image.pixels[4], 0);
}

TEST(Cifar, HostilePicklesAreErrors) {
  const std::string good = cifar_pickle(std::string(3072, '\0'), "\1");
  const auto read = [](const std::string& text) { read_cifar_pickle(as_bytes(text), "file"); };
  read(good);
  const auto message = [&](const std::string& text) {
    return error_of(ErrorCode::kCorrupt, [&] { read(text); });
  };
  EXPECT_THAT(message("\x80\2cos\nsystem\n."), HasSubstr("it asks for 'os.system'"));
  EXPECT_THAT(message(cifar_pickle(std::string(3072, '\0'), "\1\2")), HasSubstr("of one length"));
  message(std::string("\x80\2]q\1h\1a.", 9));                    // a list that holds itself
  message(std::string("\x80\2}q\1U\1xh\1s.", 12));               // a dictionary that does
  message(std::string("\x80\2)\x85\x85\x85\x85\x85\x85.", 10));  // deep tuples
  message("\x80\2" + std::string(1 << 21, 'N'));                 // a tall stack
  message(std::string("\x80\2U\xff", 4));                        // text beyond the end
  expect_never_crashes(good, 3000,
                       [](std::span<const std::byte> bytes) { read_cifar_pickle(bytes, "file"); });
}

TEST(Raw, NeedsAShape) {
  const TemporaryFolder folder;
  write_bytes(folder / "x.bin", "abcdefghijkl");
  const auto dataset = open_images({folder / "x.bin", {}, {1, 2, 3}});
  EXPECT_EQ(dataset->size(), 2);
  EXPECT_EQ(dataset->image(1).pixels[0], 'g');
  EXPECT_THAT(error_of(ErrorCode::kUnsupported,
                       [&] {
                         open_images({folder / "x.bin", {}, {}});
                       }),
              HasSubstr("raw bytes with a given shape"));
  error_of(ErrorCode::kCorrupt, [&] { open_images({folder / "x.bin", {}, {5, 1, 1}}); });
  error_of(ErrorCode::kCorrupt, [&] {
    open_images({folder / "x.bin", {}, {int64_t{1} << 40, int64_t{1} << 40, 3}});
  });
  error_of(ErrorCode::kNotFound, [&] { open_images({folder / "none", {}, {}}); });
}

// The shared datasets: their sizes, labels and first pixels.
TEST(RealImages, OpenWithTheirLabels) {
  const auto data = shared_data("images");
  if (data.empty()) GTEST_SKIP() << "the shared images are not there";
  const auto mnist = open_images(
      {data / "mnist/t10k-images-idx3-ubyte.gz", data / "mnist/t10k-labels-idx1-ubyte.gz", {}});
  EXPECT_EQ(mnist->size(), 10000);
  EXPECT_EQ(mnist->label(0), 7);
  EXPECT_EQ(mnist->image(0).width, 28);

  const auto ic = open_images({data / "mlperf-tiny-ic200/ic01_200x32x32x3_u8.bin",
                               data / "mlperf-tiny-ic200/y_labels.csv",
                               {32, 32, 3}});
  EXPECT_EQ(ic->size(), 200);
  EXPECT_EQ(ic->label(0), 7);

  const auto cifar = open_images({data / "cifar10-jpeg/test7000.tar", {}, {}});
  EXPECT_EQ(cifar->size(), 7000);
  EXPECT_EQ(cifar->classes().size(), 10U);
  EXPECT_EQ(cifar->classes()[1], "automobile");
  EXPECT_EQ(cifar->label(6999), 9);
  EXPECT_EQ(cifar->image(0).height, 32);

  const auto imagenet =
      open_images({data / "imagenet-val300", data / "imagenet-val300/labels.txt", {}});
  EXPECT_EQ(imagenet->size(), 300);
  EXPECT_EQ(imagenet->label(0), 472);
  EXPECT_EQ(imagenet->image(0).height, 227);
}

}  // namespace
}  // namespace bitsmith
