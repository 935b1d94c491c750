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

// A tile of sums of blocks: row i starts at data + rows[i].
template <typename T>
struct Tile {
  T* data;
  const int64_t* rows;
  int64_t columns;  // 1 … kVectors * kLanes; nothing beyond is read or written
  bool first;       // no block came before: start from +0
  bool last;        // none comes after: NaN becomes the one NaN
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

// left: [inner][Shape::kRows], right: [inner][stride], with all lanes of all vectors readable. Blocks of C2 begin at
// multiples of kBlock. Their chains are added to the tile in memory, for which there are no registers.
template <typename T, int R, int kVectors>
void multiply(int64_t inner, const T* left, const T* right, int64_t stride, const Tile<T>& tile) {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kLanes = S::kLanes;
  T* rows[R];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) rows[i] = tile.data + tile.rows[i];
  const int64_t rest = tile.columns - (kVectors - 1) * kLanes;  // lanes of the last vector
  for (int64_t block = 0; block == 0 || block < inner; block += kBlock) {
    const int64_t steps = inner - block < kBlock ? inner - block : kBlock;
    V sums[R][kVectors];
    for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::zero(); });
#pragma GCC unroll 4
    for (int64_t k = 0; k < steps; ++k) {
      V column[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) column[v] = S::load(right + v * kLanes);
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) {
        const V element = S::set(left[i]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sums[i][v] = S::fma(element, column[v], sums[i][v]);
      }
      left += Shape<T>::kRows;
      right += stride;
    }
    if (tile.first && block == 0) {
      for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::zero() + sums[i][v]; });
    } else if (rest == kLanes) {
      for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::load(rows[i] + v * kLanes) + sums[i][v]; });
    } else {
      for_each<R, kVectors>([&](int i, int v) {
        const T* at = rows[i] + v * kLanes;
        sums[i][v] = (v < kVectors - 1 ? S::load(at) : S::load_part(at, rest)) + sums[i][v];
      });
    }
    if (tile.last && inner - block <= kBlock) {
      for_each<R, kVectors>([&](int i, int v) { sums[i][v] = S::canonical(sums[i][v]); });
    }
    if (rest == kLanes) {
      for_each<R, kVectors>([&](int i, int v) { S::store(rows[i] + v * kLanes, sums[i][v]); });
    } else {
      for_each<R, kVectors>([&](int i, int v) {
        T* at = rows[i] + v * kLanes;
        v < kVectors - 1 ? S::store(at, sums[i][v]) : S::store_part(at, rest, sums[i][v]);
      });
    }
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
