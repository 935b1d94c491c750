// bfloat16 and binary16 in memory, binary32 in arithmetic (spec G3).
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

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

// `count` elements that follow one another.
template <typename T, typename S>
inline void widen(const S* from, int64_t count, T* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(load(from[i]));
}
#if defined(__F16C__)
template <>
inline void widen<float, Half>(const Half* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  for (int64_t left = count - i; left > 0; --left, ++i) to[i] = load(from[i]);
}
#endif

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
// `count` elements that follow one another.
template <typename S>
inline void round_row(const float* from, int64_t count, S* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = store<S>(from[i]);
}
#if defined(__F16C__)
template <>
inline void round_row<Half>(const float* from, int64_t count, Half* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 x = _mm256_loadu_ps(from + i);
    const __m128i halves = _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
    const __m256i nans = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m128i which = _mm_packs_epi32(_mm256_castsi256_si128(nans), _mm256_extracti128_si256(nans, 1));
    const __m128i one = _mm_blendv_epi8(halves, _mm_set1_epi16(static_cast<int16_t>(kNanHalf)), which);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), one);
  }
  for (; i < count; ++i) to[i] = store<Half>(from[i]);
}
#endif

template <typename T>
T store(double x) {
  static_assert(sizeof(T) == sizeof(double), "binary64 is never rounded to a narrower format in an operation");
  return canonical(x);
}

}  // namespace portable
