// bfloat16 and binary16 in memory, binary32 in arithmetic (spec G3).
#pragma once

#include <cstdint>
#include <cstring>

#include "native/common.h"

namespace portable {

// The storage of a narrow format; types of their own, so that templates can tell them apart.
struct Bfloat {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(Bfloat x) {
  const uint32_t word = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
inline float load(Half x) {
#if defined(__F16C__)
  return _cvtsh_ss(x.bits);
#else
  __fp16 value;
  std::memcpy(&value, &x, sizeof value);
  return value;
#endif
}

// To the format of T, to nearest even, with the one NaN.
template <typename T>
T store(float x);
template <>
inline float store<float>(float x) {
  return canonical(x);
}
template <>
inline Bfloat store<Bfloat>(float x) {
  if (x != x) return {kNanBfloat};
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  word += 0x7fff + ((word >> 16) & 1);  // half a unit, less one if the kept part is even
  return {static_cast<uint16_t>(word >> 16)};
}
template <>
inline Half store<Half>(float x) {
  if (x != x) return {kNanHalf};
#if defined(__F16C__)
  return {static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT))};
#else
  const __fp16 value = static_cast<__fp16>(x);
  Half half;
  std::memcpy(&half, &value, sizeof half);
  return half;
#endif
}
template <typename T>
T store(double x) {
  static_assert(sizeof(T) == sizeof(double), "binary64 is never rounded to a narrower format in an operation");
  return canonical(x);
}

}  // namespace portable
