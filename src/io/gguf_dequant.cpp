// Block layouts of ggml's quantised types. Compiled without contraction to fused multiply-adds (see
// CMakeLists.txt), so that results do not depend on the compiler's target.
#include <cstring>

#include "base/dtype.h"
#include "io/gguf.h"

namespace gavel {

namespace {

constexpr int64_t kBlock = 32;
constexpr int64_t kSuperBlock = 256;

uint16_t read_u16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}
float read_half(const uint8_t* p) {
  return f16_to_f32(read_u16(p));
}

void q4(const uint8_t* p, bool with_minimum, float* out) {
  float d = read_half(p), m = with_minimum ? read_half(p + 2) : 0.0f;
  const uint8_t* q = p + (with_minimum ? 4 : 2);
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    int low = q[j] & 15, high = q[j] >> 4;
    out[j] = with_minimum ? d * static_cast<float>(low) + m : d * static_cast<float>(low - 8);
    out[j + kBlock / 2] = with_minimum ? d * static_cast<float>(high) + m : d * static_cast<float>(high - 8);
  }
}

void q5(const uint8_t* p, bool with_minimum, float* out) {
  float d = read_half(p), m = with_minimum ? read_half(p + 2) : 0.0f;
  const uint8_t* bits = p + (with_minimum ? 4 : 2);
  uint32_t fifth = uint32_t{bits[0]} | uint32_t{bits[1]} << 8 | uint32_t{bits[2]} << 16 | uint32_t{bits[3]} << 24;
  const uint8_t* q = bits + 4;
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    int low = (q[j] & 15) | static_cast<int>((fifth >> j & 1) << 4);
    int high = (q[j] >> 4) | static_cast<int>((fifth >> (j + 16) & 1) << 4);
    out[j] = with_minimum ? d * static_cast<float>(low) + m : d * static_cast<float>(low - 16);
    out[j + kBlock / 2] = with_minimum ? d * static_cast<float>(high) + m : d * static_cast<float>(high - 16);
  }
}

void q8_0(const uint8_t* p, float* out) {
  float d = read_half(p);
  for (int64_t j = 0; j < kBlock; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(p[2 + j]));
}

/** The 6-bit scale and minimum number `j` of 8, packed in 12 bytes. */
void scale_and_minimum(const uint8_t* q, int j, float& scale, float& minimum) {
  if (j < 4) {
    scale = static_cast<float>(q[j] & 63);
    minimum = static_cast<float>(q[j + 4] & 63);
  } else {
    scale = static_cast<float>((q[j + 4] & 15) | (q[j - 4] >> 6) << 4);
    minimum = static_cast<float>((q[j + 4] >> 4) | (q[j] >> 6) << 4);
  }
}

/** Q4_K, and with `high` bits Q5_K. */
void qk45(const uint8_t* p, bool five, float* out) {
  float d = read_half(p), dmin = read_half(p + 2);
  const uint8_t* scales = p + 4;
  const uint8_t* high = p + 16;
  const uint8_t* q = five ? p + 48 : p + 16;
  for (int group = 0; group < 8; ++group) {
    float scale = 0, minimum = 0;
    scale_and_minimum(scales, group, scale, minimum);
    float factor = d * scale, offset = dmin * minimum;
    for (int64_t l = 0; l < kBlock; ++l) {
      int value = group % 2 == 0 ? q[l] & 15 : q[l] >> 4;
      if (five) value += (high[l] >> group & 1) << 4;
      out[group * kBlock + l] = factor * static_cast<float>(value) - offset;
    }
    if (group % 2 == 1) q += kBlock;
  }
}

void q6_k(const uint8_t* p, float* out) {
  const uint8_t* low = p;
  const uint8_t* high = p + 128;
  const uint8_t* scales = p + 192;
  float d = read_half(p + 208);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    int64_t half = i / 128, within = i % 128, quarter = within / 32, l = within % 32;
    uint8_t packed = low[half * 64 + (quarter % 2) * 32 + l];
    int nibble = quarter < 2 ? packed & 15 : packed >> 4;
    int top = high[half * 32 + l] >> (2 * quarter) & 3;
    float scale = d * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = scale * static_cast<float>((nibble | top << 4) - 32);
  }
}

}  // namespace

std::optional<GgmlBlock> ggml_block(uint32_t type) {
  switch (static_cast<GgmlType>(type)) {
    case GgmlType::kF32:
      return GgmlBlock{"F32", 1, 4};
    case GgmlType::kF16:
      return GgmlBlock{"F16", 1, 2};
    case GgmlType::kBF16:
      return GgmlBlock{"BF16", 1, 2};
    case GgmlType::kQ4_0:
      return GgmlBlock{"Q4_0", kBlock, 18};
    case GgmlType::kQ4_1:
      return GgmlBlock{"Q4_1", kBlock, 20};
    case GgmlType::kQ5_0:
      return GgmlBlock{"Q5_0", kBlock, 22};
    case GgmlType::kQ5_1:
      return GgmlBlock{"Q5_1", kBlock, 24};
    case GgmlType::kQ8_0:
      return GgmlBlock{"Q8_0", kBlock, 34};
    case GgmlType::kQ4_K:
      return GgmlBlock{"Q4_K", kSuperBlock, 144};
    case GgmlType::kQ5_K:
      return GgmlBlock{"Q5_K", kSuperBlock, 176};
    case GgmlType::kQ6_K:
      return GgmlBlock{"Q6_K", kSuperBlock, 210};
  }
  return std::nullopt;
}

void dequantize(GgmlType type, const uint8_t* data, int64_t count, float* out) {
  GgmlBlock block = *ggml_block(static_cast<uint32_t>(type));
  if (count % block.elements != 0)
    fail("dequantize: {} elements of {}, expected a multiple of {}", count, block.name, block.elements);
  if (type == GgmlType::kF32) {
    if (count > 0) std::memcpy(out, data, static_cast<size_t>(count) * 4);
    return;
  }
  for (int64_t i = 0; i < count; i += block.elements, data += block.bytes) {
    switch (type) {
      case GgmlType::kF32:
        break;  // above
      case GgmlType::kF16:
        out[i] = read_half(data);
        break;
      case GgmlType::kBF16:
        out[i] = bf16_to_f32(read_u16(data));
        break;
      case GgmlType::kQ4_0:
        q4(data, false, out + i);
        break;
      case GgmlType::kQ4_1:
        q4(data, true, out + i);
        break;
      case GgmlType::kQ5_0:
        q5(data, false, out + i);
        break;
      case GgmlType::kQ5_1:
        q5(data, true, out + i);
        break;
      case GgmlType::kQ8_0:
        q8_0(data, out + i);
        break;
      case GgmlType::kQ4_K:
        qk45(data, false, out + i);
        break;
      case GgmlType::kQ5_K:
        qk45(data, true, out + i);
        break;
      case GgmlType::kQ6_K:
        q6_k(data, out + i);
        break;
    }
  }
}

}  // namespace gavel
