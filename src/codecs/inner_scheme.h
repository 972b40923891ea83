// Codecs that hand a part of the weights to another codec.
#pragma once

#include <string>
#include <string_view>

#include "codecs/codec.h"

namespace bitsmith {

// The option `inner` of the codec `owner`: {"codec": name, "options": {...}}. kInvalidArgument for
// text that is none, or names a codec that has an inner one again.
Scheme parse_inner_scheme(std::string_view owner, const std::string& text);

// kInvalidArgument if the encoder codes several columns as one.
void expect_single_columns(std::string_view owner, const Scheme& inner, const Encoder& encoder);

}  // namespace bitsmith
