#pragma once
#include "base/tensor.h"
namespace gavel { struct Batch { HostTensor input_ids, positions, segment_ids, dropout_rows, last_index, labels, weights; int64_t num_rows=0,num_tokens=0,num_real_tokens=0; std::vector<int64_t> row_indices; }; }
