// Errors that say which file they are about.
#pragma once

#include <string>

#include "core/error.h"

namespace bitsmith {

// Runs `body`; the message of an Error begins with the file: "'models/x': config.json: ...".
template <class Body>
auto with_context(const std::string& file, const Body& body) {
  try {
    return body();
  } catch (const Error& error) {
    fail(error.code(), "'{}': {}", file, error.what());
  }
}

}  // namespace bitsmith
