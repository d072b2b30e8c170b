#include "kernels/packed_weight.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/tiles.h"

namespace gavel {

void* pack_weights(KernelCall& call, std::span<const Packing> packings, size_t more) {
  size_t bytes = more;
  for (const Packing& packing : packings) bytes += packing.to->bytes();
  auto* memory = static_cast<char*>(call.shared(bytes));
  struct Part {
    const Packing* packing;
    int64_t index;
  };
  std::vector<Part> parts;
  for (const Packing& packing : packings) {
    const PackedWeight& to = *packing.to;
    packing.to->memory_ = memory;
    memory += to.bytes();
    for (int64_t i = 0; i < panel_parts(to.k_, to.n_, packing.from.transposed); ++i) parts.push_back({&packing, i});
  }
  call.run(static_cast<int64_t>(parts.size()), [&](int64_t task, int) {
    const auto& [packing, index] = parts[static_cast<size_t>(task)];
    const PackedWeight& to = *packing->to;
    pack_panels(to.type_, to.k_, to.n_, packing->from, to.memory_, index, 1);
  });
  return memory;
}

LowRankWeight::LowRankWeight(DType type, int64_t k, int64_t n, const PanelSource& from)
    : type_(type), k_(k), n_(n), narrow_(is_narrow(type, k, n)) {
  memory_ =
      std::make_unique_for_overwrite<float[]>((narrow_ ? narrow_bytes(k, n) : panel_bytes(type, k, n)) / sizeof(float));
  if (narrow_)
    pack_narrow(k, n, from, memory_.get());
  else
    pack_panels(type, k, n, from, memory_.get());
}

void LowRankWeight::multiply(int64_t rows, const void* a, float* c) const {
  if (narrow_) return narrow_product(rows, k_, n_, a, memory_.get(), c);
  const PanelTerm one{k_, a, k_, memory_.get()};
  panel_product(type_, rows, n_, {&one, 1}, {{DType::kF32, c}, n_, nullptr, {}});
}

RowBlocks::RowBlocks(DType type, int64_t rows, int threads, int64_t most) {
  const bool tiles = type == DType::kBF16 && has_tiles();
  const int64_t multiple = tiles ? kTileRows : 12;
  if (tiles) most = std::max<int64_t>(most, 4 * kTileRows);
  // A small block pays for reading the whole weight.
  const int64_t least = std::max(multiple, most / 4);
  for (int64_t first = 0; first < rows; first += blocks_.back().rows) {
    const int64_t left = rows - first, share = (left + 2 * threads - 1) / (2 * threads);
    const int64_t block = std::clamp(share, least, most);
    blocks_.push_back({first, std::min(left, (block + multiple - 1) / multiple * multiple)});
  }
}

}  // namespace gavel
