// Llama 1, 2, 3 and 3.x, and models of the same shape (TinyLlama, SmolLM, ...).
#include "families/decoder.h"
#include "families/family.h"

namespace bitsmith {
namespace {

class Llama final : public Family {
 public:
  const PartInfo& info() const override {
    static const PartInfo kInfo{
        "llama", "Llama 1, 2, 3 and 3.x, and models of the same shape (TinyLlama, SmolLM, ...)",
        "Touvron et al. 2023, arXiv 2302.13971; Grattafiori et al. 2024, arXiv 2407.21783"};
    return kInfo;
  }

  Graph build(const nlohmann::json& config) const override { return build_decoder(config, {}); }
};

const Registration<Family, Llama> registration;

}  // namespace
}  // namespace bitsmith
