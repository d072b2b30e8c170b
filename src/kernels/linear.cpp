#include "kernels/linear.h"

#include <vector>

#include "kernels/product.h"

namespace gavel {

void linear_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix w, ConstMatrix bias, Matrix y,
                    Compute compute) {
  check_linear(shape, {x.dtype, w.dtype, y.dtype});
  const std::vector<float> bias_f32 = widened_vector(bias, shape.out);
  KernelCall call;
  run_product(call, {.m = shape.rows,
                     .n = shape.out,
                     .k = shape.in,
                     .x = x,
                     .w = w,
                     .w_transposed = true,
                     .bias = bias.data ? bias_f32.data() : nullptr,
                     .y = y,
                     .type = product_type(compute, x.dtype, w.dtype)});
}

void linear_input_gradient(const LinearShape& shape, ConstMatrix dy, ConstMatrix w, Matrix dx,
                           Compute compute) {
  check_linear(shape, {dy.dtype, w.dtype, dx.dtype});
  KernelCall call;
  run_product(call, {.m = shape.rows,
                     .n = shape.in,
                     .k = shape.out,
                     .x = dy,
                     .w = w,
                     .w_transposed = false,
                     .y = dx,
                     .type = product_type(compute, dy.dtype, w.dtype)});
}

}  // namespace gavel
