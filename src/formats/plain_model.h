// Language models that other engines know by their config.json alone.
#pragma once

#include "formats/model.h"

namespace bitsmith {

// Throws kUnsupported, with `purpose` ("GGUF files hold"), unless the model is a language model
// whose graph is the one that its config.json describes: transformed ones are not, networks of
// images neither.
void check_is_plain(const Model& model, std::string_view purpose);

}  // namespace bitsmith
