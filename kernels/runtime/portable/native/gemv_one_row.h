// Contractions of one row whose right operand is another one for each batch element, or that are lone dot products.
#pragma once

#include <cstdint>

#include "native/gemm.h"
#include "native/simd.h"

namespace portable {

inline constexpr int64_t kWorthwhile = 1 << 16;  // chain steps, of memory's speed rather than the cache's

// One element of each row.
template <typename T>
typename Simd<T>::V gathered(const T* const* rows, int64_t at) {
  T lanes[Simd<T>::kLanes];
  for (int i = 0; i < Simd<T>::kLanes; ++i) lanes[i] = rows[i][at];
  return Simd<T>::load(lanes);
}

// One row; batch elements follow one another in both operands and in the result.
template <typename T>
void across_all(ffi::ThreadPool& pool, const Contraction& problem);

// One row and one column; inner elements follow one another on both sides.
template <typename T>
void paired_all(ffi::ThreadPool& pool, const Contraction& problem);

extern template void across_all<float>(ffi::ThreadPool&, const Contraction&);
extern template void across_all<double>(ffi::ThreadPool&, const Contraction&);
extern template void paired_all<float>(ffi::ThreadPool&, const Contraction&);
extern template void paired_all<double>(ffi::ThreadPool&, const Contraction&);

}  // namespace portable
