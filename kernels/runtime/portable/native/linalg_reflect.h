// Householder reflectors, docs/numerics/linalg.md, 5.4.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_block.h"

namespace portable::linalg {

// Reflectors of a panel, and rows of a block of a sum down a column. Blocks start at rows that it divides.
inline constexpr int64_t kPanel = 4, kRows = 8;

// floor(log2 x) held to [-1000, 1000]; x positive and finite.
inline int exponent_of(double x) { return std::clamp(std::ilogb(x), -1000, 1000); }

// reflector(x[0]; x[1 ... size-1]), `step` apart, over which beta and v are written; gives tau.
template <typename T>
T reflector(int64_t size, T* x, int64_t step) {
  double scale = 1;
  if constexpr (sizeof(T) == 8) {
    double greatest = 0;
    for (int64_t i = 0; i < size; ++i)
      if (std::fabs(x[i * step]) > greatest) greatest = std::fabs(x[i * step]);
    if (greatest != 0 && !std::isinf(greatest)) scale = std::ldexp(1.0, -exponent_of(greatest));
  }
  double sum = 0;
  for (int64_t i = 1; i < size; ++i) {
    const double value = static_cast<double>(x[i * step]) * scale;
    sum = std::fma(value, value, sum);
  }
  if (sum == 0) return 0;
  const double alpha = static_cast<double>(x[0]) * scale;
  const double b = -std::copysign(std::sqrt(std::fma(alpha, alpha, sum)), alpha), q = alpha - b;
  x[0] = static_cast<T>(b / scale);
  for (int64_t i = 1; i < size; ++i) x[i * step] = static_cast<T>(static_cast<double>(x[i * step]) * scale / q);
  return static_cast<T>((b - alpha) / b);
}

// w(j) = u o column j of a, 5.4's sum, for columns next to each other and rows n apart, row 0 being row `top`.
void column_products(const double* u, const double* a, int64_t top, int64_t rows, int64_t columns, int64_t n, double* w);

// Reflectors `first` ... of a factorisation, at most kPanel. One that does nothing, tau being 0, has -0 for its u and +0
// for its x, which changes no bit of a sum.
template <typename T>
struct Panel {
  int64_t first, length;
  std::vector<T> u;  // rows of kPanel elements, from row `first` to row length - 1
  T taus[kPanel] = {}, products[kPanel][kPanel] = {};

  // The 1 of reflector j is in row j of the factors, v below; `taus` are those of all.
  Panel(View<const T> factors, int64_t length, int64_t first, int64_t count, const T* taus);

  // Applies them to 2 Simd<T>::kLanes columns next to each other, rows `stride` apart; y is row 0.
  void apply(bool backwards, T* y, int64_t stride) const;
};

// All reflectors of a factorisation (length x count).
template <typename T>
struct Reflectors {
  int64_t count, length;
  std::vector<Panel<T>> panels;

  Reflectors(View<const T> factors, int64_t length, int64_t count, const T* taus) : count(count), length(length) {
    for (int64_t first = 0; first < count; first += kPanel) panels.emplace_back(factors, length, first, count, taus);
  }
};

// Applies panels, from the first to the last or back, to every column of y, the columns next to each other.
template <typename T>
void reflect(ffi::ThreadPool* pool, const std::vector<Panel<T>>& panels, bool backwards, int64_t columns, View<T> y);

// geqrf of an m x n matrix with rows next to each other, in place.
template <typename T>
void geqrf(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, T* taus);

// householder_product: writes m x n.
template <typename T>
void householder_product(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, int64_t n, View<T> q);

}  // namespace portable::linalg
