#include "nn/dropout.h"

#include <cmath>

#include "graph/ops.h"

namespace gavel {

namespace {

/** Multipliers of the token hash; any odd numbers with well-mixed bits do. */
constexpr double kRowMultiplier = 0x9E3779B1u;
constexpr double kPlaceMultiplier = 0x85EBCA77u;
constexpr double kFeatureMultiplier = 0xC2B2AE3Du;
constexpr double kModuleMultiplier = 0x27D4EB2Fu;

/** MurmurHash3's 32-bit finaliser (Appleby): every bit of the result depends on every bit of h. */
Value mix32(Value h) {
  h = bit_xor(h, shift_right_logical(h, full_like(h, 16)));
  h = mul(h, full_like(h, 0x85EBCA6Bu));
  h = bit_xor(h, shift_right_logical(h, full_like(h, 13)));
  h = mul(h, full_like(h, 0xC2B2AE35u));
  return bit_xor(h, shift_right_logical(h, full_like(h, 16)));
}

}  // namespace

Value token_hash(const Value& dropout_rows, const Value& positions) {
  const int64_t tokens = positions.dim(0) * positions.dim(1);
  auto flat = [&](const Value& v) { return convert(reshape(v, {tokens}), DType::kU32); };
  return mix32(add(mul(flat(dropout_rows), kRowMultiplier), mul(flat(positions), kPlaceMultiplier)));
}

Value Dropout::operator()(const Value& x) const {
  if (!token_hash || p <= 0) return x;
  Value place = add(mul(convert(layer, DType::kU32), 8), static_cast<double>(module + 1));
  Value key = mix32(add(step_key, mul(place, kModuleMultiplier)));
  Value token = mix32(add(token_hash, broadcast_scalar(key, token_hash.shape())));
  Value feature = mul(iota(x.graph(), DType::kU32, x.shape(), 1), kFeatureMultiplier);
  Value bits = mix32(add(broadcast(token, x.shape(), {0}), feature));
  Value kept = compare(Compare::kGe, bits, full_like(bits, std::floor(p * 4294967296.0)));
  return select(kept, mul(x, 1 / (1 - p)), full_like(x, 0));
}

}  // namespace gavel
