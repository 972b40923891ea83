// The option --products: how layers on integers come by their products.
#pragma once

#include <CLI/CLI.hpp>

#include "runtime/network/arithmetic.h"
#include "runtime/network/products.h"

namespace bitsmith {

CLI::Option* add_products_option(CLI::App& command, Products& products);

// kInvalidArgument if there is no layer that the option could be about.
void check_products(Products products, const NetworkArithmetic& arithmetic);

}  // namespace bitsmith
