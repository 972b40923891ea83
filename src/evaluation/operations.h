// What computing a network of images takes: products, shifts, additions, an estimate of energy.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "formats/model.h"

namespace bitsmith {

// Of the convolutions, linear layers and matrix products for one image, if hardware did what the
// codes allow: ProductCost of the weights' codecs, activations of as many bits as they are
// quantized to (else 32). Functions, pools and additions of activations are not counted: they are
// few.
struct OperationCount {
  int64_t products = 0;  // of the network if it were dense: multiply-adds
  int64_t skipped = 0;   // of these, by weights that codes say are 0
  int64_t multiplications = 0;
  int64_t shifts = 0;
  int64_t additions = 0;  // those that add up products included
  // Width of the weight times width of the activation for each multiplication (as in HAWQ-V3, Yao
  // et al. 2021, arXiv 2011.10680, section 3), width of the activation for each shift and addition
  // of terms; sums are not counted.
  int64_t bit_operations = 0;
  // In 45 nm, of arithmetic alone (memory takes more). Horowitz 2014 (ISSCC), fig. 1.1.9, pJ:
  // multiplication 0.2 (8 bits), 1.1 (binary16), 3.1 (32 bits), 3.7 (binary32); addition 0.03 (8
  // bits), 0.1 (32 bits), 0.9 (binary32). A shift takes 0.024 (8 bits), 0.13 (32 bits): You et al.
  // 2020 (ShiftAddNet), arXiv 2010.12785, table 1. Integers are summed in 32 bits; a shift of a
  // binary32 number is an addition of 8 bits.
  double energy_pj = 0;

  std::string text() const;  // "40.6 M shifts, ..."
  nlohmann::json to_json() const;
};

// Decodes the tensors whose codecs skip zeros.
OperationCount count_operations(const Model& model);

}  // namespace bitsmith
