#include "formats/model_tokenizer.h"

#include "core/error_context.h"

namespace bitsmith {

std::unique_ptr<Tokenizer> tokenizer_of(const Model& model) {
  return with_context(model.path.string(), [&] { return make_tokenizer(model.tokenizer_files); });
}

}  // namespace bitsmith
