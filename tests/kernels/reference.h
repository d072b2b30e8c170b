#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "base/half.h"
#include "base/random.h"
#include "kernels/attention.h"

// Plain double-precision forms of the kernels, and buffers of either type that are filled from doubles.
namespace gavel::testing_kernels {

/** Values of one type with their exact doubles; guard bytes behind them catch writes past the end. */
class Buffer {
 public:
  Buffer(DType type, int64_t size) : type_(type), size_(size) {
    bytes_.assign(static_cast<size_t>(size) * byte_size(type) + kGuard, 0xa5);
  }
  static Buffer random(DType type, int64_t size, uint64_t seed, double scale = 1) {
    Buffer buffer(type, size);
    Random random(seed);
    for (int64_t i = 0; i < size; ++i) buffer.set(i, (random.uniform() * 2 - 1) * scale);
    return buffer;
  }
  ~Buffer() {
    for (size_t i = bytes_.size() - kGuard; i < bytes_.size(); ++i)
      EXPECT_EQ(bytes_[i], 0xa5) << "written past the end";
  }
  Buffer(const Buffer&) = default;

  void set(int64_t i, double value) {
    const auto rounded = static_cast<float>(value);
    if (type_ == DType::kF32) {
      std::memcpy(&bytes_[static_cast<size_t>(i) * 4], &rounded, 4);
    } else {
      const uint16_t half = type_ == DType::kF16 ? f32_to_f16(rounded) : f32_to_bf16(rounded);
      std::memcpy(&bytes_[static_cast<size_t>(i) * 2], &half, 2);
    }
  }
  double operator[](int64_t i) const {
    if (type_ == DType::kF32) {
      float value;
      std::memcpy(&value, &bytes_[static_cast<size_t>(i) * 4], 4);
      return value;
    }
    uint16_t value;
    std::memcpy(&value, &bytes_[static_cast<size_t>(i) * 2], 2);
    return type_ == DType::kF16 ? f16_to_f32(value) : bf16_to_f32(value);
  }
  DType type() const { return type_; }
  int64_t size() const { return size_; }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  const float* floats() const { return reinterpret_cast<const float*>(bytes_.data()); }
  bool same_bits(const Buffer& other) const { return bytes_ == other.bytes_; }
  std::vector<double> doubles() const {
    std::vector<double> out;
    for (int64_t i = 0; i < size_; ++i) out.push_back((*this)[i]);
    return out;
  }

 private:
  static constexpr size_t kGuard = 64;
  DType type_;
  int64_t size_;
  std::vector<uint8_t> bytes_;
};

/** Largest difference over the largest size of the reference: what rounding of operands and sums bounds. */
inline double relative_error(const Buffer& found, const std::vector<double>& wanted) {
  EXPECT_EQ(found.size(), static_cast<int64_t>(wanted.size()));
  double size = 0, error = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double value = found[static_cast<int64_t>(i)];
    if (!std::isfinite(value)) return HUGE_VAL;
    size = std::max(size, std::abs(wanted[i]));
    error = std::max(error, std::abs(value - wanted[i]));
  }
  return size > 0 ? error / size : error;
}

/** float32: sums of a few hundred terms; bf16: one rounding of each operand and of the result (2^-9 each). */
inline double tolerance(DType type) {
  return type == DType::kF32 ? 2e-6 : 1.2e-2;
}

/** c[m, n] = a[m, k] b[k, n], with either one transposed in memory. */
inline std::vector<double> matmul(const std::vector<double>& a, const std::vector<double>& b, int64_t m, int64_t n,
                                  int64_t k, bool a_transposed = false, bool b_transposed = false) {
  std::vector<double> c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += a[static_cast<size_t>(a_transposed ? l * m + i : i * k + l)] *
               b[static_cast<size_t>(b_transposed ? j * k + l : l * n + j)];
      c[static_cast<size_t>(i * n + j)] = sum;
    }
  return c;
}

struct AttentionReference {
  std::vector<double> o, lse, dq, dk, dv;
};

/** ScoreRule's scale and softcap, and AttentionMask's window, as they are said there. */
struct AttentionReferenceRule {
  double scale = 1, softcap = 0;
  int64_t window = 0;
  bool prefixes = false;
};

/** Row by row, from the definition; with d_o empty only the forward pass. */
inline AttentionReference attention_reference(const AttentionShape& s, const AttentionReferenceRule& rule,
                                              const std::vector<double>& q, const std::vector<double>& k,
                                              const std::vector<double>& v, const std::vector<int32_t>& key_segments,
                                              const std::vector<int32_t>& query_segments,
                                              const std::vector<int32_t>& positions, const std::vector<double>& d_o) {
  const auto zeros = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n), 0.0); };
  const int64_t q_size = s.batch * s.queries * s.heads * s.head_dim;
  const int64_t k_size = s.batch * s.keys * s.kv_heads * s.head_dim;
  AttentionReference out{zeros(q_size), zeros(s.batch * s.heads * s.queries), zeros(q_size), zeros(k_size),
                         zeros(k_size)};
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.queries; ++i) {
        const auto row = static_cast<size_t>(b * s.queries + i);
        if (query_segments[row] == 0) continue;
        const auto at_q =
            (row * static_cast<size_t>(s.heads) + static_cast<size_t>(h)) * static_cast<size_t>(s.head_dim);
        const auto at_k = [&](int64_t j) {
          return static_cast<size_t>(((b * s.keys + j) * s.kv_heads + h / (s.heads / s.kv_heads)) * s.head_dim);
        };
        const auto dot = [&](const double* x, const double* y) {
          double sum = 0;
          for (int64_t e = 0; e < s.head_dim; ++e) sum += x[e] * y[e];
          return sum;
        };
        std::vector<int64_t> seen;
        std::vector<double> p, slopes;
        double most = -HUGE_VAL, total = 0;
        for (int64_t j = 0; j <= positions[row] && j < s.keys; ++j) {
          const int32_t key = key_segments[static_cast<size_t>(b * s.keys + j)], query = query_segments[row];
          if (key == 0 || (key != query && !(rule.prefixes && key == query / 4 * 4))) continue;
          if (rule.window > 0 && positions[row] - j >= rule.window) continue;
          seen.push_back(j);
          const double score = rule.scale * dot(&q[at_q], &k[at_k(j)]);
          const double bent = rule.softcap > 0 ? std::tanh(score / rule.softcap) : 0;
          p.push_back(rule.softcap > 0 ? rule.softcap * bent : score);
          slopes.push_back(1 - bent * bent);
          most = std::max(most, p.back());
        }
        if (seen.empty()) continue;
        for (double& x : p) total += x = std::exp(x - most);
        out.lse[static_cast<size_t>((b * s.heads + h) * s.queries + i)] = most + std::log(total);
        for (size_t n = 0; n < seen.size(); ++n) {
          p[n] /= total;
          for (int64_t e = 0; e < s.head_dim; ++e)
            out.o[at_q + static_cast<size_t>(e)] += p[n] * v[at_k(seen[n]) + static_cast<size_t>(e)];
        }
        if (d_o.empty()) continue;
        const double delta = dot(&out.o[at_q], &d_o[at_q]);
        for (size_t n = 0; n < seen.size(); ++n) {
          const size_t key = at_k(seen[n]);
          const double ds = p[n] * (dot(&d_o[at_q], &v[key]) - delta) * rule.scale * slopes[n];
          for (size_t e = 0; e < static_cast<size_t>(s.head_dim); ++e) {
            out.dq[at_q + e] += ds * k[key + e];
            out.dk[key + e] += ds * q[at_q + e];
            out.dv[key + e] += p[n] * d_o[at_q + e];
          }
        }
      }
  return out;
}

}  // namespace gavel::testing_kernels
