#pragma once
#include <initializer_list>
#include <vector>

#include "kernels/linear.h"
#include "kernels/thread_pool.h"

// What the kernels that multiply share; for this folder alone.
namespace gavel {

/** Throws Error unless the sizes make a product and every type is float32 or bfloat16. */
void check_linear(const LinearShape& shape, std::initializer_list<DType> types);

/** Throws Error unless the weight is of float32, of bfloat16, or quantised in groups (and blocks) that divide its rows of
 * `in`. */
void check_weight(const FrozenWeight& weight, int64_t in);

/** The type in which this processor multiplies, k products to a sum. bf16 are taken in pairs, so an odd k means float32.
 */
DType product_type(Compute compute, int64_t k);

/** A bias or a norm's weight in float32; empty for a null one. */
std::vector<float> widened_vector(ConstMatrix bias, int64_t size);

/** The address of the value number `index` of a matrix. */
inline const char* element(const ConstMatrix& m, int64_t index) {
  return static_cast<const char*>(m.data) + index * static_cast<int64_t>(byte_size(m.dtype));
}
inline char* element(Matrix m, int64_t index) {
  return static_cast<char*>(m.data) + index * static_cast<int64_t>(byte_size(m.dtype));
}

/** to[r, c] = from[r, c] * scale, with float32 or bf16 on each side; rows are `leading` elements apart. A scale other than
 * 1 only from float32. */
void copy_block(DType from_type, const void* from, int64_t from_leading, DType to_type, void* to, int64_t to_leading,
                int64_t rows, int64_t columns, float scale = 1);

/** The bytes of `copy` that as_type needs for `count` values of type `from`: none where the types are the same. */
int64_t copy_bytes(DType type, DType from, int64_t count);
/** The address of `count` values of `from` as `type`: where they are, or converted into `copy`. */
const void* as_type(DType type, ConstMatrix from, int64_t count, void* copy);

}  // namespace gavel
