#include "kernels/column_product.h"

#include <algorithm>
#include <vector>

#include "kernels/product.h"

namespace gavel {

std::vector<ColumnTask> column_tasks(int64_t rows, int64_t n, int threads) {
  const int64_t panels = panel_parts(0, n, true), whole = panels / threads * threads;
  std::vector<ColumnTask> tasks;
  for (int64_t panel = 0; panel < whole; ++panel) tasks.push_back({panel, 0, rows});
  const int64_t left = panels - whole, cuts = left > 0 ? (threads + left - 1) / left : 1;
  const int64_t share = (rows + cuts - 1) / cuts;
  for (int64_t panel = whole; panel < panels; ++panel)
    for (int64_t row = 0; row < rows; row += share) tasks.push_back({panel, row, std::min(share, rows - row)});
  return tasks;
}

bool goes_by_columns(DType type, int64_t rows, int64_t k, int64_t n, int threads) {
  constexpr size_t kMost = 2 << 20;
  return static_cast<size_t>(rows * k) * byte_size(type) <= kMost && panel_parts(k, n, true) >= threads;
}

void multiply_by_columns(KernelCall& call, DType type, int64_t rows, int64_t n, std::span<const ColumnTerm> terms,
                         Matrix y, const float* bias, ConstMatrix addend) {
  const std::vector<ColumnTask> tasks = column_tasks(rows, n, call.threads());
  call.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const ColumnTask& task = tasks[static_cast<size_t>(index)];
    const int64_t row = task.row, column = task.column(), columns = std::min(kPanelColumns, n - column);
    std::vector<PanelTerm> parts;
    size_t bytes = 0;
    for (const ColumnTerm& term : terms) bytes += panel_bytes(type, term.k, columns);
    auto* memory = static_cast<char*>(call.local(worker, bytes));
    for (const ColumnTerm& term : terms) {
      pack_panel(type, term.k, n, term.b, task.panel, memory);
      parts.push_back({term.k, element({type, term.a}, row * term.k), term.k, memory});
      memory += panel_bytes(type, term.k, columns);
    }
    panel_product(type, task.rows, columns, parts,
                  {{y.dtype, element(y, row * n + column)},
                   n,
                   bias ? bias + column : nullptr,
                   addend.data ? ConstMatrix(addend.dtype, element(addend, row * n + column)) : ConstMatrix()});
  });
}

}  // namespace gavel
