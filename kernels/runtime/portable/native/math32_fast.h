// The functions of binary32 that models spend their time in, in binary32 throughout (docs/numerics/elementwise.md, E6):
// twice the elements in a vector, where binary64 would be twice as slow as XLA. What the last addition would lose is
// kept and added back.
#pragma once

#include "native/math32.h"

namespace portable::f32::fast {

inline constexpr float kRounder = 0x1.8p23f;
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2High = 0x1.62e4p-1f;  // 15 bits: its product with a whole number below 2^9 is exact
inline constexpr float kLn2Low = 0x1.7f7d1cp-20f;
inline constexpr float kTail[] = {0x1p-1f,          0x1.555556p-3f, 0x1.5554e8p-5f,
                                  0x1.1110ep-7f, 0x1.6d436p-10f, 0x1.a12528p-13f};

inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// e^x = 2^k·(1 + part + tail): part and tail don't overlap much
struct Power {
  float part, tail;
  uint32_t k;
};

inline Power power(float x) {
  const float rounder = fma(x, kLog2E, kRounder);
  const float k = rounder - kRounder;
  const float whole = fma(-k, kLn2High, x);  // exact
  const float r = fma(-k, kLn2Low, whole);
  const float rest = fma(-k, kLn2Low, whole - r);
  float q = fma(kTail[5], r, kTail[4]);
  q = fma(q, r, kTail[3]);
  q = fma(q, r, kTail[2]);
  q = fma(q, r, kTail[1]);
  q = fma(q, r, kTail[0]);
  return {r, fma(r * r, q, rest), to_word(rounder)};
}

inline float two_to(uint32_t k) { return to_value((k + 127) << 23); }

inline float one_plus(Power e) {
  const float high = 1.0f + e.part;
  const float low = (1.0f - high) + e.part;
  return high + (low + e.tail);
}

// NaN stays.
inline float clamped(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

inline float exp(float x) {
  const Power e = power(clamped(x, -104.0f, 89.0f));
  // 2^k in two factors, each of them normal: only the last product may be rounded
  const uint32_t both = e.k - 0x4b400000 + 254;
  const uint32_t half = both >> 1;
  return one_plus(e) * to_value(half << 23) * to_value((both - half) << 23);
}

inline float tanh(float x) {
  const float size = to_value(to_word(x) & ~kSignBit<float>);
  const float a = size > 10.0f ? 10.0f : size;
  const Power e = power(a + a);
  const float scale = two_to(e.k);
  const float n = fma(e.part, scale, scale - 1.0f);
  const float low = fma(e.part, scale, (scale - 1.0f) - n);
  const float m = n + fma(e.tail, scale, low);
  const float y = m / (m + 2.0f);  // +0 or more: m is at least e^0 - 1
  return to_value(to_word(y) | (to_word(x) & kSignBit<float>));
}

inline float logistic(float x) {
  const float z = exp(-to_value(to_word(x) & ~kSignBit<float>));
  const float above = x < 0.0f ? z : 1.0f;
  const float below = 1.0f + z;
  const float lost = (1.0f - below) + z;
  const float inverse = 1.0f / below;
  const float y = above * inverse;
  return fma(fma(-y, lost, fma(-y, below, above)), inverse, y);
}

}  // namespace portable::f32::fast
