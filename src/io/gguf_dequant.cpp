// Block layouts of ggml's quantised types. Compiled without contraction to fused multiply-adds (see
// CMakeLists.txt), so that results do not depend on the compiler's target.
#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "base/dtype.h"
#include "io/gguf.h"
#include "io/gguf_unpack.h"

namespace gavel {

namespace {

constexpr int64_t kBlock = 32;
constexpr int64_t kSuperBlock = 256;

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

/** Q4_K, and with `high` bits Q5_K. */
void qk45(const uint8_t* p, bool five, float* out) {
  float d = read_half(p), dmin = read_half(p + 2);
  const uint8_t* scales = p + 4;
  const uint8_t* high = p + 16;
  const uint8_t* q = five ? p + 48 : p + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = scale_and_minimum(scales, group);
    float factor = d * static_cast<float>(packed.scale), offset = dmin * static_cast<float>(packed.minimum);
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

/** 16 scales and minima of 4 bits, then 2 bits an element. */
void q2_k(const uint8_t* p, float* out) {
  const uint8_t* scales = p;
  const uint8_t* q = p + 16;
  float d = read_half(p + 80), dmin = read_half(p + 82);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    uint8_t packed = scales[i / 16];
    float factor = d * static_cast<float>(packed & 15), offset = dmin * static_cast<float>(packed >> 4);
    out[i] = factor * static_cast<float>(q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - offset;
  }
}

/** A third bit of each element, 2 bits of each, then 16 scales of 6 bits in 12 bytes. */
void q3_k(const uint8_t* p, float* out) {
  const uint8_t* high = p;
  const uint8_t* q = p + 32;
  const uint8_t* scales = p + 96;
  float d = read_half(p + 108);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    float factor = d * static_cast<float>(q3_k_scale(scales, i / 16));
    int value = q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    // A bit that is set takes nothing away.
    if ((high[i % 32] >> (i / 32) & 1) == 0) value -= 4;
    out[i] = factor * static_cast<float>(value);
  }
}

/** Twice the values of OCP's 4-bit float e2m1. */
constexpr int kFloat4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/** 32 elements of 4 bits, the second half of them in the upper bits. */
void look_up(const uint8_t* q, const int (&values)[16], float factor, float* out) {
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    out[j] = factor * static_cast<float>(values[q[j] & 15]);
    out[j + kBlock / 2] = factor * static_cast<float>(values[q[j] >> 4]);
  }
}

void iq4_xs(const uint8_t* p, float* out) {
  float d = read_half(p);
  uint16_t high = read_u16(p + 2);
  const uint8_t* low = p + 4;
  for (int group = 0; group < 8; ++group)
    look_up(p + 8 + group * 16, kNonLinear, d * static_cast<float>(iq4_xs_scale(high, low, group)),
            out + group * kBlock);
}

void tq1_0(const uint8_t* p, float* out) {
  float d = read_half(p + 52);
  each_ternary_digit(p, [&](int64_t place, int digit) { out[place] = d * static_cast<float>(digit); });
}

void tq2_0(const uint8_t* p, float* out) {
  float d = read_half(p + 64);
  for (int64_t i = 0; i < kSuperBlock; ++i)
    out[i] = d * static_cast<float>((p[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1);
}

/** Half of 2^(e - 127). */
float half_power(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? uint32_t{0x00200000} << e : static_cast<uint32_t>(e - 1) << 23);
}

constexpr GgmlType kReadable[] = {
    GgmlType::kF32,  GgmlType::kF16,    GgmlType::kBF16,   GgmlType::kQ4_0,  GgmlType::kQ4_1,  GgmlType::kQ5_0,
    GgmlType::kQ5_1, GgmlType::kQ8_0,   GgmlType::kQ2_K,   GgmlType::kQ3_K,  GgmlType::kQ4_K,  GgmlType::kQ5_K,
    GgmlType::kQ6_K, GgmlType::kIQ4_NL, GgmlType::kIQ4_XS, GgmlType::kTQ1_0, GgmlType::kTQ2_0, GgmlType::kMXFP4};

struct TypeSize {
  uint32_t type;
  const char* name;
  int64_t elements;
  size_t bytes;
};
/** All of ggml's types, whose numbers and sizes are the format's. */
constexpr TypeSize kTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 40},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
};

}  // namespace

std::optional<GgmlBlock> ggml_block(uint32_t type) {
  for (const TypeSize& known : kTypes)
    if (known.type == type)
      return GgmlBlock{
          known.name, known.elements, known.bytes,
          std::find(std::begin(kReadable), std::end(kReadable), static_cast<GgmlType>(type)) != std::end(kReadable)};
  return std::nullopt;
}

std::string readable_ggml_types() {
  std::string names;
  for (GgmlType type : kReadable) names += (names.empty() ? "" : ", ") + ggml_block(static_cast<uint32_t>(type))->name;
  return names;
}

void split_q8_0(const uint8_t* data, int64_t count, int8_t* codes, float* scales) {
  const GgmlBlock block = *ggml_block(static_cast<uint32_t>(GgmlType::kQ8_0));
  if (count % block.elements != 0) fail("split_q8_0: {} elements, expected a multiple of {}", count, block.elements);
  for (int64_t i = 0; i < count; i += kBlock, data += block.bytes) {
    scales[i / kBlock] = read_half(data);
    std::memcpy(codes + i, data + 2, kBlock);
  }
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
      case GgmlType::kQ2_K:
        q2_k(data, out + i);
        break;
      case GgmlType::kQ3_K:
        q3_k(data, out + i);
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
      case GgmlType::kIQ4_NL:
        look_up(data + 2, kNonLinear, read_half(data), out + i);
        break;
      case GgmlType::kIQ4_XS:
        iq4_xs(data, out + i);
        break;
      case GgmlType::kTQ1_0:
        tq1_0(data, out + i);
        break;
      case GgmlType::kTQ2_0:
        tq2_0(data, out + i);
        break;
      case GgmlType::kMXFP4:
        look_up(data + 1, kFloat4, half_power(data[0]), out + i);
        break;
    }
  }
}

}  // namespace gavel
