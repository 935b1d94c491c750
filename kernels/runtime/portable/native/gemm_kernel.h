// The register-blocked inner product: R rows times kVectors registers of columns, one chain at a time per element.
#pragma once

#include <cstdint>
#include <utility>

#include "native/block_sum.h"
#include "native/simd.h"

namespace portable {

// Block shapes. Registers: kRows x kVectors accumulators, kVectors of the right operand, one of the left.
template <typename T>
struct Shape {
#if defined(__AVX512F__)
  static constexpr int kRows = 12, kVectors = 2;  // 24 + 2 + 1 of 32
#elif defined(__AVX2__)
  static constexpr int kRows = 6, kVectors = 2;  // 12 + 2 + 1 of 16
#else
  static constexpr int kRows = 8, kVectors = 3;  // 24 + 3 + 1 of 32
#endif
  static constexpr int kColumns = kVectors * Simd<T>::kLanes;
};

// A tile of a span's sums: row i starts at data + rows[i].
template <typename T>
struct Tile {
  T* data;
  const int64_t* rows;
  int64_t columns;  // 1 … kVectors * kLanes; nothing beyond is read or written
  bool first;       // no panel of the span came before: start from +0
  bool last;        // none comes after at all: NaN becomes the one NaN
};

// work(row, vector) for all of a tile, unrolled.
template <int R, int kVectors, typename Work>
inline void for_each(const Work& work) {
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) work(i, v);
  }
}

// Adds a panel of C2 to a tile. left: [inner][Shape::kRows], right: [inner][stride], with all lanes of all vectors
// readable. The panel's sums are in memory of this function's own: there are no registers for them, and the rows of a
// result, far apart, would share a few sets of the first cache.
//
// +0 is added but once, at the end: without it a sum may be -0 where C2 has +0, and is the same from then on.
template <typename T, int R, int kVectors>
void multiply(int64_t inner, const T* left, const T* right, int64_t stride, const Tile<T>& tile) {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kLanes = S::kLanes;
  alignas(64) T panel[R * kVectors * kLanes];
  const auto of_panel = [&panel](int i, int v) { return panel + (i * kVectors + v) * kLanes; };
  V sums[R][kVectors];
  const auto step = [&](const auto& work) {  // work(row, vector, left element, right elements)
    V column[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) column[v] = S::load(right + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const V element = S::set(left[i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) work(i, v, element, column[v]);
    }
    left += Shape<T>::kRows;
    right += stride;
  };
  const auto open = [&](int i, int v, V a, V b) { sums[i][v] = a * b; };
  const auto chain = [&](int i, int v, V a, V b) { sums[i][v] = S::fma(a, b, sums[i][v]); };
  const auto add = [&](int i, int v) { sums[i][v] = S::load(of_panel(i, v)) + sums[i][v]; };
  const auto keep = [&](int i, int v) { S::store(of_panel(i, v), sums[i][v]); };
  int64_t block = 0;
  for (; block + kBlock < inner; block += kBlock) {
    keep_in_memory(panel);
    step(open);
    if constexpr (R == Shape<T>::kRows) {
      // Whole tiles without a loop, and each sum on its way as its chain ends: 4 % of AVX-512's time, 10 % of AVX2's.
#pragma GCC unroll 32
      for (int64_t k = 1; k < kBlock - 1; ++k) step(chain);
      if (block == 0) {
        step([&](int i, int v, V a, V b) { chain(i, v, a, b), keep(i, v); });
      } else {
        step([&](int i, int v, V a, V b) { chain(i, v, a, b), add(i, v), keep(i, v); });
      }
    } else {
      for (int64_t k = 1; k < kBlock; ++k) step(chain);
      if (block != 0) for_each<R, kVectors>(add);
      for_each<R, kVectors>(keep);
    }
  }
  for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::zero(); });
  for (; block < inner; ++block) step(chain);
  if (inner > kBlock) for_each<R, kVectors>(add);
  const int64_t rest = tile.columns - (kVectors - 1) * kLanes;  // lanes of the last vector
  const auto place = [&tile](int i, int v) { return tile.data + tile.rows[i] + v * kLanes; };
  if (tile.first) {
    for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::zero() + sums[i][v]; });
  } else if (rest == kLanes) {
    for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::load(place(i, v)) + sums[i][v]; });
  } else {
    for_each<R, kVectors>([&](int i, int v) {
      sums[i][v] = (v < kVectors - 1 ? S::load(place(i, v)) : S::load_part(place(i, v), rest)) + sums[i][v];
    });
  }
  if (tile.last) for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::canonical(sums[i][v]); });
  if (rest == kLanes) {
    for_each<R, kVectors>([&](int i, int v) { S::store(place(i, v), sums[i][v]); });
  } else {
    for_each<R, kVectors>([&](int i, int v) {
      v < kVectors - 1 ? S::store(place(i, v), sums[i][v]) : S::store_part(place(i, v), rest, sums[i][v]);
    });
  }
}

template <typename T>
using Kernel = void (*)(int64_t, const T*, const T*, int64_t, const Tile<T>&);

// The kernel for a number of rows and of vectors, by table.
template <typename T, int... kIndex>
Kernel<T> kernel_of(int rows, int vectors, std::integer_sequence<int, kIndex...>) {
  constexpr int kVectors = Shape<T>::kVectors;
  static constexpr Kernel<T> kernels[] = {&multiply<T, kIndex / kVectors + 1, kIndex % kVectors + 1>...};
  return kernels[(rows - 1) * kVectors + vectors - 1];
}
template <typename T>
Kernel<T> kernel(int rows, int vectors) {
  return kernel_of<T>(rows, vectors, std::make_integer_sequence<int, Shape<T>::kRows * Shape<T>::kVectors>());
}

}  // namespace portable
