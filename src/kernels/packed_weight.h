#pragma once
#include <memory>
#include <span>
#include <vector>

#include "kernels/panels.h"
#include "kernels/thread_pool.h"

namespace gavel {

/** A weight b[k, n] in panels, in the shared memory of a KernelCall; pack_weights fills it. Weights are packed
 * anew in each call, about as fast as they can be read: a copy that outlived the call would double the base weights'
 * memory. */
class PackedWeight {
 public:
  PackedWeight(DType type, int64_t k, int64_t n) : type_(type), k_(k), n_(n) {}

  int64_t k() const { return k_; }
  int64_t n() const { return n_; }
  size_t bytes() const { return (panel_bytes(type_, k_, n_) + 63) / 64 * 64; }
  /** a[rows, k], whose rows are `leading` elements apart, as a term of a product with this weight, or with its columns
   * from `column` on (a multiple of kPanelColumns). */
  PanelTerm term(const void* a, int64_t leading, int64_t column = 0) const {
    return {k_, a, leading, static_cast<const char*>(memory_) + panel_bytes(type_, k_, column)};
  }
  /** c[rows, n] = a[rows, k] b (+ bias), on the calling thread. a has the weight's type; c is either. */
  void multiply(int64_t rows, const void* a, Matrix c, const float* bias = nullptr) const {
    const PanelTerm one = term(a, k_);
    panel_product(type_, rows, n_, {&one, 1}, {c, n_, bias, {}});
  }

 private:
  friend void* pack_weights(KernelCall& call, std::span<const struct Packing> packings, size_t more);
  DType type_;
  int64_t k_, n_;
  void* memory_ = nullptr;
};

/** One weight that is to be packed. */
struct Packing {
  PackedWeight* to;
  PanelSource from;
};
/** Packs weights with all threads of the call, into its shared memory. Returns the address of `more` further bytes there,
 * since a call has only one shared memory. */
void* pack_weights(KernelCall& call, std::span<const Packing> packings, size_t more = 0);

/** A weight b[k, n] of few columns, such as LoRA's: kept as rows where that is faster than panels (is_narrow), packed by
 * the calling thread, and never one of several terms of a product. */
class LowRankWeight {
 public:
  LowRankWeight(DType type, int64_t k, int64_t n, const PanelSource& from);
  /** c[rows, n] = a[rows, k] b in float32, on the calling thread. a has the weight's type and no gaps. */
  void multiply(int64_t rows, const void* a, float* c) const;

 private:
  DType type_;
  int64_t k_, n_;
  bool narrow_;
  std::unique_ptr<float[]> memory_;
};

/** How rows of a product of `type` are shared out to threads: in blocks of about `most` rows, then in smaller ones, so that
 * at the end no thread waits long for another. All but the last are multiples of 12, so that panel_product's inner loop,
 * which takes 6 rows at a time, seldom meets a remainder. With matrix tiles (tiles.h) blocks are multiples of their rows, and
 * larger, since reading the weight would take longer than multiplying. */
class RowBlocks {
 public:
  RowBlocks(DType type, int64_t rows, int threads, int64_t most = 48);

  struct Block {
    int64_t first, rows;
  };
  int64_t count() const { return static_cast<int64_t>(blocks_.size()); }
  const Block& operator[](int64_t task) const { return blocks_[static_cast<size_t>(task)]; }

 private:
  std::vector<Block> blocks_;
};

}  // namespace gavel
