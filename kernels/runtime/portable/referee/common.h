// What the referee's operations share. Nothing here, or in this folder, is of native/: the referee is a second reading
// of docs/numerics/, plain and slow.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "call.h"

namespace referee {

namespace ffi = ::call;

// G1: rounding to nearest and gradual underflow, for as long as this lives; XLA's threads flush subnormals.
class Arithmetic {
 public:
#if defined(__x86_64__)
  Arithmetic() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~Arithmetic() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  Arithmetic() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" ::"r"(uint64_t{0}));
  }
  ~Arithmetic() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

 private:
  uint64_t before_;
#endif
};

inline uint32_t bits(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}
inline uint64_t bits(double x) {
  uint64_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}
inline float binary32(uint32_t word) {
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}
inline double binary64(uint64_t word) {
  double x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

// G2: the one NaN.
inline float one_nan(float x) { return x == x ? x : binary32(0x7fc00000u); }
inline double one_nan(double x) { return x == x ? x : binary64(0x7ff8000000000000u); }

// G3: the values of bfloat16 and binary16, exactly.
inline float from_bfloat16(uint16_t half) { return binary32(static_cast<uint32_t>(half) << 16); }
inline float from_binary16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const int exponent = (half >> 10) & 31;
  const int fraction = half & 1023;
  if (exponent == 31) return binary32(sign | 0x7f800000u | static_cast<uint32_t>(fraction) << 13);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return binary32(sign | bits(static_cast<float>(magnitude)));
}

// G3: one rounding of a binary32 value to a format of `digits` significant bits, least exponent `least` (of a normal
// number's leading bit) and most `most`; what overflows becomes infinite. Gives the value, as a double.
inline double rounded(double x, int digits, int least, int most) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), least) - (digits - 1);  // of one unit in the last place
  const double units = std::nearbyint(std::ldexp(x, -exponent));       // to nearest even, as G1 has it
  const double value = std::ldexp(units, exponent);
  return std::fabs(value) >= std::ldexp(1.0, most + 1) ? std::copysign(HUGE_VAL, x) : value;
}
inline uint16_t to_bfloat16(float x) {
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>(bits(static_cast<float>(rounded(x, 8, -126, 127))) >> 16);
}
inline uint16_t to_binary16(float x) {
  if (x != x) return 0x7e00;
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(rounded(x, 11, -14, 15));
  if (std::isinf(magnitude)) return sign | 0x7c00;
  if (magnitude < std::ldexp(1.0, -14)) return sign | static_cast<uint16_t>(std::ldexp(magnitude, 24));
  const int exponent = std::ilogb(magnitude);
  const double fraction = std::ldexp(magnitude, 10 - exponent) - 1024;
  return static_cast<uint16_t>(sign | ((exponent + 15) << 10) | static_cast<int>(fraction));
}

}  // namespace referee
