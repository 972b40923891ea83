// Codecs that hand a part of the weights to another codec.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codecs/codec.h"

namespace bitsmith {

// An option of the codec `owner`, of text: {"codec": name, "options": {...}}. kInvalidArgument for
// text that is none, or names a codec that has an inner one again.
Scheme parse_inner_scheme(std::string_view owner, const std::string& text,
                          std::string_view option = "inner");

// Whether a codec hands weights to another: it has an option `inner`.
bool has_inner_scheme(const Codec& codec);

// The option `inner` of the codec `owner` that is a list of schemes. They may have an inner scheme,
// but not be the codec itself.
std::vector<Scheme> parse_inner_schemes(std::string_view owner, const std::string& text);

// kInvalidArgument if the encoder codes several columns as one.
void expect_single_columns(std::string_view owner, const Scheme& inner, const Encoder& encoder);

}  // namespace bitsmith
