// docs/methods.md: which claims of papers were reproduced.
#pragma once

#include <string>

namespace bitsmith {

// The built-in recipes with their papers' claims, by verdict, as Markdown.
std::string methods_page();

}  // namespace bitsmith
