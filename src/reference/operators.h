// What the reference operators share. They compute what graph/operators_*.h say, in torch.
#pragma once

#include <initializer_list>
#include <memory>

#include "reference/executor.h"

namespace bitsmith::reference {

using Inputs = std::vector<at::Tensor>;  // undefined: not given
using Function = at::Tensor (*)(const Node& node, const Inputs& in);

// At namespace scope: registers functions under their operators' ids.
struct Operators {
  struct Entry {
    const char* id;
    Function compute;
    uint64_t (*scratch_bytes)(const Node& node, uint64_t length) = nullptr;
  };

  Operators(std::initializer_list<Entry> entries) {
    for (const Entry& entry : entries) {
      auto op = std::make_unique<ReferenceOperator>();
      op->part = {entry.id, "", "", {}};
      op->compute = entry.compute;
      op->scratch_bytes = entry.scratch_bytes;
      Registry<ReferenceOperator>::instance().add(std::move(op));
    }
  }
};

}  // namespace bitsmith::reference
