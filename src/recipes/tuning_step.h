// What a [[tune]] table of a recipe may say: the steps of fine-tuning and their options.
#pragma once

#include "core/registry.h"

namespace bitsmith {

// A step of fine-tuning, as recipes name it. What it does is in tuning/steps.cc, under the same id;
// it needs torch, which those who only read recipes do not.
struct TuningStep {
  static const char* kind() { return "tuning step"; }
  PartInfo part;
  const PartInfo& info() const { return part; }
};

}  // namespace bitsmith
