// The tokenizer of a model.
#pragma once

#include <memory>

#include "formats/model.h"

namespace bitsmith {

// As make_tokenizer() of the model's files; errors name the model.
std::unique_ptr<Tokenizer> tokenizer_of(const Model& model);

}  // namespace bitsmith
