// Householder reflectors, docs/numerics/linalg.md, 5.4.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_block.h"

namespace portable::linalg {

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

// Reflectors as lists: v of reflector j starts at vectors + j * length, from row `row(j)` on, its own 1 not read.
template <typename T>
struct Reflectors {
  int64_t count, length;
  std::vector<T> vectors;  // [count][length], element i of list j belongs to row i
  std::vector<T> taus;

  // Those of the columns of a factorisation (length x count), the 1 of reflector j being in row j.
  Reflectors(View<const T> factors, int64_t length, int64_t count, const T* tau)
      : count(count), length(length), vectors(count * length), taus(tau, tau + count) {
    transpose<T>(length, count, factors, {vectors.data(), length, 1});
  }
  const T* vector(int64_t j) const { return vectors.data() + j * length; }
};

// Applies the reflectors, from the first to the last or back, to every column of y (length x columns, the columns next
// to each other).
template <typename T>
void reflect(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, bool backwards, int64_t columns, View<T> y);

// geqrf of an m x n matrix with rows next to each other, in place.
template <typename T>
void geqrf(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, T* taus);

// householder_product: writes m x n.
template <typename T>
void householder_product(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, int64_t n, View<T> q);

}  // namespace portable::linalg
