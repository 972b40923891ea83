// Helpers of tests: files, and bytes written by hand.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "formats/formats_test_support.h"
#include "images/dataset.h"

namespace bitsmith {

inline std::string big_endian(uint32_t value) {
  std::string text;
  for (int i = 3; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

// An idx file of these extents with the elements 0, 1, 2, ...
inline std::string idx_text(const std::vector<uint32_t>& extents) {
  std::string text("\0\0\x08", 3);
  text += static_cast<char>(extents.size());
  size_t count = 1;
  for (const uint32_t extent : extents) {
    text += big_endian(extent);
    count *= extent;
  }
  for (size_t i = 0; i < count; ++i) text += static_cast<char>(i);
  return text;
}

inline std::string npy_text(const std::string& type, const std::string& shape,
                            const std::string& elements, const std::string& order = "False") {
  std::string header =
      "{'descr': '" + type + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::string text = "\x93NUMPY";
  text += std::string("\1\0", 2);
  text += static_cast<char>(header.size() & 0xff);
  text += static_cast<char>(header.size() >> 8);
  return text + header + elements;
}

// A tar archive of regular files, as GNU tar writes it.
inline std::string tar_text(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string text;
  const auto entry = [&](const std::string& name, const std::string& content, char type) {
    std::string header(512, '\0');
    const auto put = [&](size_t at, const std::string& value) {
      header.replace(at, value.size(), value);
    };
    put(0, name.substr(0, 100));
    put(100, "0000644");
    put(124, fmt::format("{:011o}", content.size()));
    put(148, "        ");
    header[156] = type;
    put(257, "ustar  ");
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
    text += header + content;
    text.resize((text.size() + 511) / 512 * 512);
  };
  for (const auto& [name, content] : files) {
    if (name.size() > 100) entry("././@LongLink", name + std::string(1, '\0'), 'L');
    entry(name, content, '0');
  }
  text.append(1024, '\0');
  return text;
}

// A PNG of 2 x 2 pixels: red, green / blue, white. Made by Python's zlib.
inline std::string small_png() {
  const std::string digits =
      "89504e470d0a1a0a0000000d4948445200000002000000020802000000fdd49a73000000124944415478da63f8"
      "cfc0c000c20cff8100001fee05fbf1abba770000000049454e44ae426082";
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

}  // namespace bitsmith
