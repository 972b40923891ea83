// What there is to compress in a graph: its matrices and how each is used.
#pragma once

#include <vector>

#include "formats/model.h"
#include "recipes/recipe.h"

namespace bitsmith {

// One use of a matrix by a node.
struct MatrixUse {
  size_t node = 0;
  size_t block = 0;
  bool table = false;  // rows are looked up by token id; else multiplied by what `input` holds
  ValueId input = kNoValue;
  // The first node that multiplies the same rows of numbers: they share their second moment.
  // Linear layers that read one value do, convolutions if their windows are the same too.
  size_t operand = 0;
  int64_t positions = 1;  // for each token, or for each image: pixels of a convolution's output
  int64_t groups = 1;     // of a convolution: rows of numbers at each position
};

class OutputFormat;

// One matrix parameter. Tied embeddings have two uses; it is coded when the first is reached.
// Convolutions multiply the patches under their kernels by a matrix [O, C / groups * taps]; groups
// share the mean of their second moments.
struct MatrixTask {
  ValueId id = kNoValue;
  const CodedTensor* tensor = nullptr;  // as it is in the model
  std::vector<MatrixUse> uses;          // in order of node
  // What it may be coded with: the recipe's candidates, then the tensor as it is, or as the output
  // format keeps it. A candidate that cannot hold this shape is replaced by what the format has
  // instead.
  std::vector<Scheme> schemes;
  std::vector<uint64_t> bytes;  // [schemes], in the file, padding included
  std::string restriction;      // why candidates were replaced, or empty
  // Of a recipe's residual: the tasks, by index, of the parameters that stand beside this one and
  // are coded together with it; and whether this is such a parameter, which has one scheme.
  std::vector<size_t> residual;
  bool of_residual = false;

  size_t block() const { return uses.front().block; }
  bool linear() const { return !uses.front().table; }
  bool stays(size_t scheme) const {  // as it is
    return !of_residual && schemes[scheme].codec == tensor->scheme.codec &&
           schemes[scheme].options == tensor->scheme.options;
  }
  MatrixShape shape() const { return tensor->matrix(); }
};

const OutputFormat& checkpoint_format();

std::vector<MatrixTask> find_matrices(const Model& model, const std::vector<Block>& blocks,
                                      const std::vector<Scheme>& candidates,
                                      const OutputFormat& format = checkpoint_format());

// Sets schemes, bytes and restriction of a task.
void set_candidates(MatrixTask& task, const std::vector<Scheme>& candidates,
                    const OutputFormat& format);

// The bytes of all parameters that are not among the tasks (norms, biases): kept as they are.
uint64_t untouched_bytes(const Model& model, const std::vector<MatrixTask>& tasks,
                         const OutputFormat& format = checkpoint_format());

// Matrices that are multiplied use the recipe's solver for matrices, tables that are only looked up
// the one for tables.
const Chosen<Solver>& solver_for(const Recipe& recipe, const MatrixTask& task);

// The blocks of a graph; the last one ends with the logits, before a softmax over all classes.
std::vector<Block> find_blocks_to_logits(const Graph& graph);

// One past the node of the block that makes `value`, or the block's begin if it comes from outside.
size_t producer_end(const Graph& graph, const Block& block, ValueId value);

}  // namespace bitsmith
