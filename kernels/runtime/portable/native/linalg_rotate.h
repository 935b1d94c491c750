// Plane rotations, docs/numerics/linalg.md, 5.5. An iteration notes them; they are applied to the vectors later, many
// at a time to a few elements of each vector, which stay in the cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_block.h"
#include "native/linalg_reflect.h"

namespace portable::linalg {

struct Turn {
  double r, c, s;
};

inline Turn turn(double f, double g) {
  const double large = std::max(std::fabs(f), std::fabs(g)), little = std::min(std::fabs(f), std::fabs(g));
  if (large == 0) return {0, 1, 0};
  // Between these bounds the squares neither overflow nor underflow, and scaling by a power of two changes no bit.
  if (large < 0x1p400 && (little > 0x1p-400 || (little == 0 && large > 0x1p-400))) {
    const double r = std::sqrt(std::fma(f, f, g * g));
    return {r, f / r, g / r};
  }
  const double scale = std::ldexp(1.0, -exponent_of(large));
  const double a = f * scale, b = g * scale, r = std::sqrt(std::fma(a, a, b * b));
  return {r / scale, a / r, b / r};
}

// The vectors that rotations act on, as rows, and those noted but not yet applied.
class Rotated {
 public:
  Rotated(ffi::ThreadPool* pool, int64_t count, int64_t length)
      : length_(length), stride_(((length + 7) / 8 | 1) * 8), pool_(pool), values_(count * stride_) {}

  double* row(int64_t i) { return values_.data() + i * stride_; }
  const double* row(int64_t i) const { return values_.data() + i * stride_; }
  View<double> view() { return {values_.data(), stride_, 1}; }

  // rotate(vector x, vector y, c, s)
  void rotate(int64_t x, int64_t y, double c, double s) {
    noted_.push_back({static_cast<int32_t>(x), static_cast<int32_t>(y), c, s});
    if (noted_.size() == kMost) flush();
  }
  // Carries out what was noted; before reading or changing rows.
  void flush();

 private:
  struct Rotation {
    int32_t x, y;
    double c, s;
  };
  static constexpr size_t kMost = 1 << 15;  // 768 KiB
  void apply(int64_t begin, int64_t end);

  int64_t length_;
  int64_t stride_;  // an odd number of cache lines: at 4096 bytes all rows would share a few sets of the first cache
  ffi::ThreadPool* pool_;
  std::vector<double> values_;
  std::vector<Rotation> noted_;
};

// Step 1 of 5.6: the exponent of the power of two that the largest element is divided by; finite elements.
inline int scale_of(const double* values, int64_t count) {
  double greatest = 0;
  for (int64_t i = 0; i < count; ++i) greatest = std::max(greatest, std::fabs(values[i]));
  return greatest == 0 ? 0 : exponent_of(greatest);
}

inline bool all_finite(const double* values, int64_t count) {
  double none = 0;
  for (int64_t i = 0; i < count; ++i) none += values[i] - values[i];
  return none == 0;
}

// Whether the element of largest magnitude, the first of equals, is negative.
inline bool points_down(const double* vector, int64_t length, int64_t step) {
  int64_t largest = 0;
  for (int64_t i = 1; i < length; ++i)
    if (std::fabs(vector[i * step]) > std::fabs(vector[largest * step])) largest = i;
  return length > 0 && vector[largest * step] < 0;
}

}  // namespace portable::linalg
