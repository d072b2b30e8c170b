#pragma once
#include <span>
#include <vector>

#include "kernels/panels.h"
#include "kernels/thread_pool.h"

namespace gavel {

/** One of several products that are added up: a[rows, k], whose rows have no gaps, times a transposed b[k, n]. */
struct ColumnTerm {
  int64_t k;
  const void* a;
  PanelSource b;
};

/** Whether b[k, n] is rather shared out to the threads by its columns than packed by all first (PackedWeight): where
 * all rows stay in the caches and there are panels for all threads. */
bool goes_by_columns(DType type, int64_t rows, int64_t k, int64_t n, int threads);

/** What one thread does: some rows times a panel of b, which it packs itself. */
struct ColumnTask {
  int64_t panel, row, rows;
  int64_t column() const { return panel * kPanelColumns; }
};
/** The tasks of a product [rows, n]: a panel with all rows each; the panels that are left when each thread had as many
 * are cut by rows, into one task or more for each thread. */
std::vector<ColumnTask> column_tasks(int64_t rows, int64_t n, int threads);

/** y[rows, n] = the terms' sum (+ bias, + what is to be added: of y's type and shape). Each thread packs some columns
 * of the weights into memory of its own and multiplies them with all rows at once: no thread waits for another's
 * panels, or fetches them from its cache. Has the bits of a product with PackedWeights. */
void multiply_by_columns(KernelCall& call, DType type, int64_t rows, int64_t n, std::span<const ColumnTerm> terms,
                         Matrix y, const float* bias, ConstMatrix addend = {});

}  // namespace gavel
