// Weights in memory, for models that are run many times over.
#pragma once

#include "core/thread_pool.h"
#include "formats/model.h"

namespace bitsmith {

// Copies the matrices that are multiplied with (not tables that are only looked up, nor ggml's
// blocks, which kernels rearrange themselves) from the mapped file to memory of large pages, from
// which they are read faster; the file's own pages are given back. Does nothing and returns false
// if they would take more than half of the memory that is available: then a mapped file, whose
// pages the kernel may drop, is the better place. Afterwards the parameters must not be given to
// release_pages().
bool make_resident(Model& model, ThreadPool& pool);

}  // namespace bitsmith
