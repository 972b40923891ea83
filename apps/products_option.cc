#include "products_option.h"

#include <map>
#include <string>

#include "core/error.h"

namespace bitsmith {

CLI::Option* add_products_option(CLI::App& command, Products& products) {
  static const std::map<std::string, Products> kNames = {
      {"auto", Products::kAuto}, {"multiply", Products::kMultiply}, {"shift", Products::kShift}};
  return command
      .add_option_function<std::string>(
          "--products", [&products](const std::string& name) { products = kNames.at(name); },
          "networks on integers: multiply, shift (and add) or auto, the faster one")
      ->default_str("auto")
      ->check(CLI::IsMember(kNames));
}

void check_products(Products products, const NetworkArithmetic& arithmetic) {
  if (products == Products::kAuto || arithmetic.integer_multiply_adds > 0) return;
  fail(
      ErrorCode::kInvalidArgument,
      "--products is about layers on integers, the network has none: compress it with a recipe "
      "that quantizes activations, such as w8a8{}",
      products == Products::kMultiply ? "; weights of more than 8 bits need --products shift" : "");
}

}  // namespace bitsmith
