// Names of tensors in GGUF files, and in the order of rows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitsmith {

// The name in a GGUF file of architecture `architecture` ("llama") of the tensor that Hugging Face
// calls `name`: "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight". Nothing for a
// name that is not in the table.
std::optional<std::string> gguf_tensor_name(std::string_view name, std::string_view architecture);

// Architecture "llama" turns neighbouring pairs of each head of q and k, where Hugging Face turns
// row i with row i + head_dim / 2. So its files hold those rows in another order:
//     row 2 i + s of a head  is  row s head_dim / 2 + i  of Hugging Face,  s = 0, 1
// Whether the tensor is one of those, weight or bias.
bool has_paired_rows(std::string_view name, std::string_view architecture);

// row_order[r] is the row of a GGUF file that is row r of Hugging Face's tensor, or the other way
// round. rows is a multiple of head_dim, head_dim is even.
std::vector<int64_t> rows_from_gguf(int64_t rows, int64_t head_dim);
std::vector<int64_t> rows_to_gguf(int64_t rows, int64_t head_dim);

}  // namespace bitsmith
