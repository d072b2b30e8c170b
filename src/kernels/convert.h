#pragma once
#include <cstddef>
#include <cstdint>

namespace gavel {

/** bf16 to float32; exact. The arrays must not overlap. */
void widen(const uint16_t* from, float* to, size_t count);
/** float32 times `scale` to bf16, rounded to nearest even; on some processors denormals become zero. The arrays must not
 * overlap. */
void narrow(const float* from, uint16_t* to, size_t count, float scale = 1);

/** True when the processor has instructions for bf16 (AVX-512 BF16): it rounds to it, and multiplies pairs of bf16 twice as
 * fast as float32. */
bool has_native_bf16();

}  // namespace gavel
