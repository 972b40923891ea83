// The special tokens that go before and after every text.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "text/tokenizer.h"

namespace bitsmith::text {

struct Affixes {
  std::vector<TokenId> prefix, suffix;
};

// json: the "post_processor" object of tokenizer.json, or null. For one text, not for pairs.
Affixes read_post_processor(const nlohmann::json& json);

}  // namespace bitsmith::text
