#include "kernels/product.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/gemm.h"

namespace gavel {
namespace {

/** How a product is cut: blocks of rows, and of columns where there are too few rows for all threads. */
struct Grid {
  int64_t row_block, row_blocks, column_block, column_blocks;
  Grid(int64_t rows, int64_t columns, int threads) {
    // 512 rows amortise oneDNN's packing of the weights to about 1 %; more blocks than threads let a thread
    // that was held up do less.
    const int64_t wanted = int64_t{threads} * 4;
    row_block = std::clamp<int64_t>((rows + wanted - 1) / wanted, std::min<int64_t>(rows, 128), 512);
    row_block = (row_block + 31) / 32 * 32;
    row_blocks = (rows + row_block - 1) / row_block;
    column_block = columns;
    if (row_blocks < threads) {
      const int64_t parts = std::min<int64_t>((threads + row_blocks - 1) / row_blocks, (columns + 63) / 64);
      column_block = ((columns + parts - 1) / parts + 31) / 32 * 32;
    }
    column_blocks = (columns + column_block - 1) / column_block;
  }
  int64_t tasks() const { return row_blocks * column_blocks; }
};

/** One row block times one range of columns, on the calling worker. */
class ProductTask {
 public:
  ProductTask(const Product& product, int64_t row, int64_t rows, int64_t first, int64_t last)
      : p_(product), row_(row), rows_(rows), first_(first), last_(last) {
    augmented_ = p_.rank > 0 && p_.type == DType::kBF16;
    depth_ = augmented_ ? p_.k + p_.rank : p_.k;
    copy_x_ = augmented_ || p_.x.dtype != p_.type;
    copy_w_ = p_.w.dtype != p_.type;
    copy_y_ = p_.type == DType::kF32 && p_.y.dtype == DType::kBF16;
    // Weights converted on the way stay in the second-level cache while a block of rows passes.
    tile_ = copy_w_ || copy_y_ ? std::min(last - first, std::max<int64_t>(64, 131072 / p_.k / 32 * 32))
                               : last - first;
  }

  void run(KernelCall& call, int worker) {
    Carver plan(nullptr);
    carve(plan);
    Carver memory(call.local(worker, plan.used()));
    carve(memory);

    GemmOperand a{p_.type, element(p_.x, row_ * p_.k), depth_};
    if (copy_x_) {
      copy_block(p_.x.dtype, a.data, p_.k, p_.type, x_, depth_, rows_, p_.k);
      if (augmented_)
        copy_block(DType::kF32, p_.left + row_ * p_.rank, p_.rank, p_.type, x_ + 2 * p_.k, depth_, rows_,
                   p_.rank);
      a.data = x_;
    }
    for (int64_t column = first_; column < last_; column += tile_)
      columns(a, column, std::min(tile_, last_ - column));
  }

 private:
  void carve(Carver& carver) {
    const auto size = static_cast<int64_t>(byte_size(p_.type));
    if (copy_x_) x_ = carver.take<char>(rows_ * depth_ * size);
    if (copy_w_) w_ = carver.take<char>(tile_ * depth_ * size);
    if (copy_y_) y_ = carver.take<float>(rows_ * tile_);
  }

  void columns(const GemmOperand& a, int64_t column, int64_t count) {
    const bool t = p_.w_transposed;
    GemmOperand b{p_.type, element(p_.w, t ? column * depth_ : column), t ? depth_ : p_.n, t};
    if (copy_w_) {
      const int64_t leading = t ? p_.k : count;
      copy_block(p_.w.dtype, b.data, b.leading, p_.type, w_, leading, t ? count : p_.k, leading);
      b.data = w_;
      b.leading = leading;
    }
    void* target = copy_y_ ? static_cast<void*>(y_) : element(p_.y, row_ * p_.n + column);
    const DType target_type = copy_y_ ? DType::kF32 : p_.y.dtype;
    const int64_t leading = copy_y_ ? count : p_.n;
    gemm(rows_, count, depth_, a, b, target_type, target, leading, false,
         p_.bias ? p_.bias + column : nullptr);
    if (p_.rank > 0 && !augmented_) {
      const GemmOperand left{DType::kF32, p_.left + row_ * p_.rank, p_.rank};
      const GemmOperand right{DType::kF32, p_.right + (t ? column * p_.rank : column), t ? p_.rank : p_.n, t};
      gemm(rows_, count, p_.rank, left, right, target_type, target, leading, true);
    }
    if (copy_y_)
      copy_block(DType::kF32, y_, count, DType::kBF16, element(p_.y, row_ * p_.n + column), p_.n, rows_,
                 count);
  }

  const Product& p_;
  int64_t row_, rows_, first_, last_;
  bool augmented_, copy_x_, copy_w_, copy_y_;
  int64_t depth_, tile_;
  char* x_ = nullptr;
  char* w_ = nullptr;
  float* y_ = nullptr;
};

}  // namespace

void check_linear(const LinearShape& shape, std::initializer_list<DType> types) {
  if (shape.rows < 0 || shape.in < 1 || shape.out < 1)
    fail("linear: {} rows, {} inputs, {} outputs: expected at least 0, 1 and 1", shape.rows, shape.in,
         shape.out);
  for (DType type : types)
    if (type != DType::kF32 && type != DType::kBF16)
      fail("linear: expected float32 or bfloat16 operands, found {}", dtype_name(type));
}

DType product_type(Compute compute, DType a, DType b) {
  if (compute == Compute::kF32 || !has_native_bf16()) return DType::kF32;
  if (compute == Compute::kBF16) return DType::kBF16;
  return a == DType::kBF16 || b == DType::kBF16 ? DType::kBF16 : DType::kF32;
}

std::vector<float> widened_vector(ConstMatrix bias, int64_t size) {
  if (bias.data == nullptr) return {};
  if (bias.dtype != DType::kF32 && bias.dtype != DType::kBF16)
    fail("expected a bias or weight in float32 or bfloat16, found {}", dtype_name(bias.dtype));
  std::vector<float> result(static_cast<size_t>(size));
  copy_block(bias.dtype, bias.data, size, DType::kF32, result.data(), size, 1, size);
  return result;
}

void copy_block(DType from_type, const void* from, int64_t from_leading, DType to_type, void* to,
                int64_t to_leading, int64_t rows, int64_t columns, float scale) {
  if (from_leading == columns && to_leading == columns && rows > 0) {
    columns *= rows;
    rows = 1;
  }
  const auto n = static_cast<size_t>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const void* source = element(ConstMatrix(from_type, from), r * from_leading);
    void* target = element(Matrix{to_type, to}, r * to_leading);
    if (from_type == DType::kBF16) {
      if (to_type == DType::kBF16)
        std::memcpy(target, source, n * sizeof(uint16_t));
      else
        widen(static_cast<const uint16_t*>(source), static_cast<float*>(target), n);
    } else if (to_type == DType::kBF16) {
      narrow(static_cast<const float*>(source), static_cast<uint16_t*>(target), n, scale);
    } else {
      for (size_t i = 0; i < n; ++i)
        static_cast<float*>(target)[i] = static_cast<const float*>(source)[i] * scale;
    }
  }
}

void run_product(KernelCall& call, const Product& product) {
  if (product.m == 0) return;
  const Grid grid(product.m, product.n, call.threads());
  call.run(grid.tasks(), [&](int64_t task, int worker) {
    const int64_t row = task / grid.column_blocks * grid.row_block;
    const int64_t column = task % grid.column_blocks * grid.column_block;
    ProductTask(product, row, std::min(grid.row_block, product.m - row), column,
                std::min(product.n, column + grid.column_block))
        .run(call, worker);
  });
}

}  // namespace gavel
