#include "io/gguf_blocks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "base/half.h"
#include "io/gguf_unpack.h"

namespace gavel {

namespace {

using Codes = Quantisation::Codes;

constexpr int64_t kBlock = 32;
constexpr int64_t kSuperBlock = 256;
constexpr uint16_t kHalfSign = 0x8000;

/** A block of a file's type: a weight is code * (factor * scale) - (minima * minimum). */
struct Apart {
  int8_t codes[kSuperBlock] = {};
  uint16_t factor = 0, minima = 0;  // float16
  // Of each group, where there are several.
  int scales[16] = {1}, minimums[16] = {1};
};

/** Codes of 32 weights, the second half of them in the upper bits. */
template <class Code>
void halves(const uint8_t* q, int8_t* codes, const Code& code) {
  for (int64_t j = 0; j < kBlock / 2; ++j) {
    codes[j] = static_cast<int8_t>(code(q[j] & 15, j));
    codes[j + kBlock / 2] = static_cast<int8_t>(code(q[j] >> 4, j + kBlock / 2));
  }
}

/** Q4_0, Q4_1, Q5_0, Q5_1. A minimum is added in the file. */
void take_q45(const uint8_t* p, bool five, bool with_minimum, Apart& to) {
  to.factor = read_u16(p);
  p += 2;
  if (with_minimum) {
    to.minima = read_u16(p) ^ kHalfSign;
    p += 2;
  }
  uint32_t fifth = 0;
  if (five) {
    fifth = uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24;
    p += 4;
  }
  const int below = with_minimum ? 0 : five ? 16 : 8;
  halves(p, to.codes,
         [&](int nibble, int64_t place) { return (nibble | static_cast<int>((fifth >> place & 1) << 4)) - below; });
}

/** Q4_K, Q5_K. */
void take_qk45(const uint8_t* p, bool five, Apart& to) {
  to.factor = read_u16(p);
  to.minima = read_u16(p + 2);
  const uint8_t* high = p + 16;
  const uint8_t* q = five ? p + 48 : p + 16;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum packed = scale_and_minimum(p + 4, group);
    to.scales[group] = packed.scale;
    to.minimums[group] = packed.minimum;
    for (int64_t l = 0; l < kBlock; ++l) {
      const uint8_t pair = q[group / 2 * kBlock + l];
      const int nibble = group % 2 == 0 ? pair & 15 : pair >> 4, top = five ? high[l] >> group & 1 : 0;
      to.codes[group * kBlock + l] = static_cast<int8_t>(nibble | top << 4);
    }
  }
}

void take_q6_k(const uint8_t* p, Apart& to) {
  to.factor = read_u16(p + 208);
  for (int group = 0; group < 16; ++group) to.scales[group] = static_cast<int8_t>(p[192 + group]);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    const int64_t half = i / 128, quarter = i % 128 / 32, l = i % 32;
    const uint8_t packed = p[half * 64 + quarter % 2 * 32 + l];
    const int nibble = quarter < 2 ? packed & 15 : packed >> 4, top = p[128 + half * 32 + l] >> (2 * quarter) & 3;
    to.codes[i] = static_cast<int8_t>((nibble | top << 4) - 32);
  }
}

int two_bits(const uint8_t* q, int64_t i) {
  return q[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
}

void take_q2_k(const uint8_t* p, Apart& to) {
  to.factor = read_u16(p + 80);
  to.minima = read_u16(p + 82);
  for (int group = 0; group < 16; ++group) {
    to.scales[group] = p[group] & 15;
    to.minimums[group] = p[group] >> 4;
  }
  for (int64_t i = 0; i < kSuperBlock; ++i) to.codes[i] = static_cast<int8_t>(two_bits(p + 16, i));
}

void take_q3_k(const uint8_t* p, Apart& to) {
  to.factor = read_u16(p + 108);
  for (int group = 0; group < 16; ++group) to.scales[group] = q3_k_scale(p + 96, group);
  for (int64_t i = 0; i < kSuperBlock; ++i) {
    const bool high = (p[i % 32] >> (i / 32) & 1) != 0;
    to.codes[i] = static_cast<int8_t>(two_bits(p + 32, i) - (high ? 0 : 4));
  }
}

void take_iq4_nl(const uint8_t* q, int8_t* codes) {
  halves(q, codes, [](int nibble, int64_t) { return kNonLinear[nibble]; });
}

void take_iq4_xs(const uint8_t* p, Apart& to) {
  to.factor = read_u16(p);
  for (int group = 0; group < 8; ++group) {
    to.scales[group] = iq4_xs_scale(read_u16(p + 2), p + 4, group);
    take_iq4_nl(p + 8 + group * 16, to.codes + group * kBlock);
  }
}

Apart take_block(GgmlType type, const uint8_t* p) {
  Apart to;
  switch (type) {
    case GgmlType::kQ4_0:
      take_q45(p, false, false, to);
      break;
    case GgmlType::kQ4_1:
      take_q45(p, false, true, to);
      break;
    case GgmlType::kQ5_0:
      take_q45(p, true, false, to);
      break;
    case GgmlType::kQ5_1:
      take_q45(p, true, true, to);
      break;
    case GgmlType::kQ8_0:
      to.factor = read_u16(p);
      for (int64_t j = 0; j < kBlock; ++j) to.codes[j] = static_cast<int8_t>(p[2 + j]);
      break;
    case GgmlType::kQ2_K:
      take_q2_k(p, to);
      break;
    case GgmlType::kQ3_K:
      take_q3_k(p, to);
      break;
    case GgmlType::kQ4_K:
      take_qk45(p, false, to);
      break;
    case GgmlType::kQ5_K:
      take_qk45(p, true, to);
      break;
    case GgmlType::kQ6_K:
      take_q6_k(p, to);
      break;
    case GgmlType::kIQ4_NL:
      to.factor = read_u16(p);
      take_iq4_nl(p + 2, to.codes);
      break;
    case GgmlType::kIQ4_XS:
      take_iq4_xs(p, to);
      break;
    case GgmlType::kTQ1_0:
      to.factor = read_u16(p + 52);
      each_ternary_digit(p, [&](int64_t place, int digit) { to.codes[place] = static_cast<int8_t>(digit); });
      break;
    case GgmlType::kTQ2_0:
      to.factor = read_u16(p + 64);
      for (int64_t i = 0; i < kSuperBlock; ++i) to.codes[i] = static_cast<int8_t>(two_bits(p, i) - 1);
      break;
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kMXFP4:
      fail("take_apart: {} has no blocks that are held", ggml_block(static_cast<uint32_t>(type))->name);
  }
  return to;
}

/** A whole number as float16. */
uint16_t half_of(int number) {
  return f32_to_f16(static_cast<float>(number));
}

void write_codes(const Apart& block, int64_t count, Codes codes, uint8_t* to) {
  if (codes == Codes::kInt8) {
    std::copy_n(reinterpret_cast<const uint8_t*>(block.codes), count, to);
    return;
  }
  const int above = codes == Codes::kInt4 ? kSignedCodesAbove : 0;
  for (int64_t i = 0; i < count; i += 2)
    to[i / 2] = static_cast<uint8_t>((block.codes[i] + above) << 4 | (block.codes[i + 1] + above));
}

}  // namespace

std::optional<Quantisation> block_quantisation(GgmlType type) {
  switch (type) {
    case GgmlType::kQ4_0:
      return Quantisation{Codes::kInt4, kBlock, kBlock};
    case GgmlType::kQ4_1:
      return Quantisation{Codes::kUint4, kBlock, kBlock, true};
    case GgmlType::kQ5_0:
    case GgmlType::kQ8_0:
    case GgmlType::kIQ4_NL:
      return Quantisation{Codes::kInt8, kBlock, kBlock};
    case GgmlType::kQ5_1:
      return Quantisation{Codes::kInt8, kBlock, kBlock, true};
    case GgmlType::kQ2_K:
      return Quantisation{Codes::kUint4, 16, kSuperBlock, true};
    case GgmlType::kQ3_K:
      return Quantisation{Codes::kInt4, 16, kSuperBlock};
    case GgmlType::kQ4_K:
      return Quantisation{Codes::kUint4, kBlock, kSuperBlock, true};
    case GgmlType::kQ5_K:
      return Quantisation{Codes::kInt8, kBlock, kSuperBlock, true};
    case GgmlType::kQ6_K:
      return Quantisation{Codes::kInt8, 16, kSuperBlock};
    case GgmlType::kIQ4_XS:
      return Quantisation{Codes::kInt8, kBlock, kSuperBlock};
    case GgmlType::kTQ1_0:
    case GgmlType::kTQ2_0:
      return Quantisation{Codes::kInt4, kSuperBlock, kSuperBlock};
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kMXFP4:  // its scales are powers of 2 from -128 to 126
      return std::nullopt;
  }
  return std::nullopt;
}

Quantisation holding_both(const Quantisation& one, const Quantisation& other) {
  Quantisation both = one;
  if (other.codes != one.codes) both.codes = Codes::kInt8;
  both.group = std::gcd(one.group, other.group);
  both.block = std::gcd(one.block, other.block);
  both.minimum = one.minimum || other.minimum;
  // Where one has scales that are multiples, so has what holds both, and then at least two in a block.
  if ((one.block != one.group || other.block != other.group) && both.block == both.group) both.group /= 2;
  return both;
}

FileStorage held_together(const std::vector<uint32_t>& types) {
  FileStorage held;
  std::set<std::string> names;
  bool first = true, blocks = true, numbers = true;
  for (uint32_t number : types) {
    names.insert(ggml_block(number)->name);
    const auto type = static_cast<GgmlType>(number);
    const bool bf16 = type == GgmlType::kBF16;
    numbers = numbers && (bf16 || type == GgmlType::kF16 || type == GgmlType::kF32);
    if (numbers)
      held.numbers = bf16 && held.numbers.value_or(DType::kBF16) == DType::kBF16 ? DType::kBF16 : DType::kF32;
    const std::optional<Quantisation> own = block_quantisation(type);
    blocks = blocks && own;
    if (blocks) held.quantisation = first ? *own : holding_both(*held.quantisation, *own);
    first = false;
  }
  if (!blocks) held.quantisation.reset();
  if (!numbers) held.numbers.reset();
  held.types = fmt::format("{}", fmt::join(names, ", "));
  return held;
}

void take_apart(GgmlType type, const uint8_t* data, int64_t count, const Quantisation& how, uint8_t* codes,
                uint16_t* scales) {
  const std::optional<Quantisation> own = block_quantisation(type);
  const GgmlBlock block = *ggml_block(static_cast<uint32_t>(type));
  if (!own || holding_both(how, *own) != how || count % block.elements != 0)
    fail("take_apart: {} elements of {} as {} in groups of {}", count, block.name, static_cast<int>(how.codes),
         how.group);
  const bool several = how.block_scales().groups > 1;
  for (int64_t first = 0; first < count; first += block.elements, data += block.bytes) {
    const Apart apart = take_block(type, data);
    write_codes(apart, block.elements, how.codes, codes);
    codes += block.elements / how.codes_in_a_byte();
    auto write = [&](uint16_t factor, const int* of_groups, int64_t begin) {
      *scales++ = factor;
      if (!several) return;
      for (int64_t at = begin; at < begin + how.block; at += how.group) *scales++ = half_of(of_groups[at / own->group]);
    };
    for (int64_t begin = 0; begin < block.elements; begin += how.block) {
      write(apart.factor, apart.scales, begin);
      if (how.minimum) write(apart.minima, apart.minimums, begin);
    }
  }
}

}  // namespace gavel
