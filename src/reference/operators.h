// What the reference operators share. They compute what graph/operators_*.h say, in torch.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>

#include "reference/executor.h"

namespace bitsmith::reference {

using Inputs = std::vector<at::Tensor>;  // undefined: not given
using Function = at::Tensor (*)(const Node& node, const Inputs& in);

// At namespace scope: registers functions under their operators' ids.
struct Operators {
  Operators(std::initializer_list<std::pair<const char*, Function>> functions) {
    for (const auto& [id, function] : functions) {
      auto op = std::make_unique<ReferenceOperator>();
      op->part = {id, "", "", {}};
      op->compute = function;
      Registry<ReferenceOperator>::instance().add(std::move(op));
    }
  }
};

}  // namespace bitsmith::reference
