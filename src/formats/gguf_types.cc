#include "formats/gguf_types.h"

#include <algorithm>
#include <array>

namespace bitsmith {
namespace {

// Ids that are missing were removed from ggml. Those of other projects (ik_llama.cpp) are above 42.
constexpr std::array<GgmlType, 35> kTypes = {{
    {0, "F32", "f32", 1, 4},
    {1, "F16", "f16", 1, 2},
    {2, "Q4_0", "q4_0", 32, 18},
    {3, "Q4_1", "q4_1", 32, 20},
    {6, "Q5_0", "q5_0", 32, 22},
    {7, "Q5_1", "q5_1", 32, 24},
    {8, "Q8_0", "q8_0", 32, 34},
    {9, "Q8_1", "", 32, 36},
    {10, "Q2_K", "q2_k", 256, 84},
    {11, "Q3_K", "q3_k", 256, 110},
    {12, "Q4_K", "q4_k", 256, 144},
    {13, "Q5_K", "q5_k", 256, 176},
    {14, "Q6_K", "q6_k", 256, 210},
    {15, "Q8_K", "", 256, 292},
    {16, "IQ2_XXS", "", 256, 66},
    {17, "IQ2_XS", "", 256, 74},
    {18, "IQ3_XXS", "", 256, 98},
    {19, "IQ1_S", "", 256, 50},
    {20, "IQ4_NL", "iq4_nl", 32, 18},
    {21, "IQ3_S", "", 256, 110},
    {22, "IQ2_S", "", 256, 82},
    {23, "IQ4_XS", "iq4_xs", 256, 136},
    {24, "I8", "", 1, 1},
    {25, "I16", "", 1, 2},
    {26, "I32", "", 1, 4},
    {27, "I64", "", 1, 8},
    {28, "F64", "", 1, 8},
    {29, "IQ1_M", "", 256, 56},
    {30, "BF16", "bf16", 1, 2},
    {34, "TQ1_0", "tq1_0", 256, 54},
    {35, "TQ2_0", "tq2_0", 256, 66},
    {39, "MXFP4", "mxfp4_ggml", 32, 17},
    {40, "NVFP4", "nvfp4_ggml", 64, 36},
    {41, "Q1_0", "", 128, 18},
    {42, "Q2_0", "", 64, 18},
}};

struct ValueType {
  std::string_view name;
  int64_t bytes;
};
constexpr std::array<ValueType, 13> kValueTypes = {{{"u8", 1},
                                                    {"i8", 1},
                                                    {"u16", 2},
                                                    {"i16", 2},
                                                    {"u32", 4},
                                                    {"i32", 4},
                                                    {"f32", 4},
                                                    {"bool", 1},
                                                    {"string", 0},
                                                    {"array", 0},
                                                    {"u64", 8},
                                                    {"i64", 8},
                                                    {"f64", 8}}};

}  // namespace

const GgmlType* find_ggml_type(uint32_t id) {
  const auto* found = std::ranges::find(kTypes, id, &GgmlType::id);
  return found == kTypes.end() ? nullptr : found;
}

const GgmlType* find_ggml_type(std::string_view codec) {
  if (codec.empty()) return nullptr;
  const auto* found = std::ranges::find(kTypes, codec, &GgmlType::codec);
  return found == kTypes.end() ? nullptr : found;
}

const GgmlType* find_ggml_type_named(std::string_view name) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  const auto* found = std::ranges::find_if(kTypes, [&](const GgmlType& type) {
    return std::ranges::equal(type.name, name, {}, lower, lower);
  });
  return found == kTypes.end() ? nullptr : found;
}

int64_t size_bytes(GgufType type) { return kValueTypes[static_cast<size_t>(type)].bytes; }
std::string_view to_string(GgufType type) { return kValueTypes[static_cast<size_t>(type)].name; }

}  // namespace bitsmith
