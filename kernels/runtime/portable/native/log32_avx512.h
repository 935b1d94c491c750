// The logarithm of binary32 (docs/numerics/elementwise.md, E6) by a shorter way that gives the same bits. The
// specification's binary64 sequence is within 2^-40 of log(x), and so is this one, which has a table and half the
// polynomial: rounded to binary32 they can differ only next to the middle between two numbers. Lanes there, one in eight
// thousand, and those that are no positive finite number are done as the specification says.
#pragma once

#include "native/math32.h"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace portable::f32 {

// By the four leading bits of a significand z in [0.75, 1.5): c near 1/z, 1 next to 1; and -log(c), to which log(2) is
// added below 1, where the exponent is one less than that of x / z.
alignas(64) inline constexpr double kLogScale[] = {
    0x1.00p+0, 0x1.d4p-1,  0x1.bbp-1,  0x1.a4p-1,  0x1.90p-1,  0x1.7dp-1,  0x1.6cp-1,  0x1.5dp-1,
    0x1.4e8p+0, 0x1.418p+0, 0x1.35p+0, 0x1.2ap+0, 0x1.1f8p+0, 0x1.158p+0, 0x1.0c8p+0, 0x1.00p+0};
alignas(64) inline constexpr double kLogOfScale[] = {
    0x0p+0, 0x1.700d30aeac0e1p-4, 0x1.28753bc11aba5p-3, 0x1.95a5adcf7017fp-3, 0x1.f991c6cb3b379p-3,
    0x1.2e9e2bce12286p-2, 0x1.5d5bddf595f30p-2, 0x1.8873658327ccfp-2, 0x1.b3e77d046d727p-2, 0x1.dc7eb3d1919ebp-2,
    0x1.028d2d6a963f4p-1, 0x1.151c3f6f29612p-1, 0x1.2779e1ec93ecap-1, 0x1.399a157a603e7p-1, 0x1.4a7b87bf1fa82p-1,
    0x1.62e42fefa39efp-1};

// log(1 + r) / r for -1/32 <= r <= 1/16, to 2^-39.7
inline constexpr double kLogShort[] = {0x1.0000000000edbp+0, -0x1.fffffffe76f21p-2, 0x1.555554a3399edp-2,
    -0x1.000011d2d2514p-2, 0x1.99a4bde61caa9p-3, -0x1.554142de1c90dp-3, 0x1.0c72daa0d2fb4p-3};

// The logarithms of positive finite numbers. (Masks of all lanes, since GCC 12 warns of some intrinsics without: bug
// 105593.)
inline __m512d log_near(__m512d x) {
  constexpr __mmask8 kAll = 0xff;
  const __m512d scale[] = {_mm512_load_pd(kLogScale), _mm512_load_pd(kLogScale + 8)};
  const __m512d of_scale[] = {_mm512_load_pd(kLogOfScale), _mm512_load_pd(kLogOfScale + 8)};
  const __m512d exponent = _mm512_maskz_getexp_pd(kAll, x);
  const __m512d z = _mm512_maskz_getmant_pd(kAll, x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
  const __m512i at = _mm512_maskz_srli_epi64(kAll, _mm512_castpd_si512(z), 48);
  const __m512d r = _mm512_fmadd_pd(z, _mm512_permutex2var_pd(scale[0], at, scale[1]), _mm512_set1_pd(-1.0));
  __m512d p = _mm512_set1_pd(kLogShort[6]);
#pragma GCC unroll 6
  for (int i = 5; i >= 0; --i) p = _mm512_fmadd_pd(p, r, _mm512_set1_pd(kLogShort[i]));
  const __m512d whole =
      _mm512_fmadd_pd(exponent, _mm512_set1_pd(kLn2), _mm512_permutex2var_pd(of_scale[0], at, of_scale[1]));
  return _mm512_fmadd_pd(r, p, whole);
}

// Eight of them.
inline __m512d log_near(const float* x) { return log_near(_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(x))); }

// Sixteen, rounded; `out` may be `x`.
inline void log_sixteen(const float* x, float* out) {
  const __m512d low = log_near(x), high = log_near(x + 8);
  const __m512 given = _mm512_loadu_ps(x);
  // Positive and finite: words from 1 to that of the greatest number
  const __m512i word = _mm512_sub_epi32(_mm512_castps_si512(given), _mm512_set1_epi32(1));
  const __mmask16 other = _mm512_cmpge_epu32_mask(word, _mm512_set1_epi32(0x7f7fffff));
  // Of the 29 bits that binary32 lacks: less than 2^15 from the middle, where the specification's may round another way
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i rest = _mm512_permutex2var_epi32(_mm512_castpd_si512(low), even, _mm512_castpd_si512(high));
  const __m512i moved = _mm512_add_epi32(rest, _mm512_set1_epi32((1 << 15) - (1 << 28)));
  const __mmask16 doubtful = _mm512_testn_epi32_mask(moved, _mm512_set1_epi32((1 << 29) - (1 << 16)));
  const __mmask16 slow = _kor_mask16(other, doubtful);
  _mm256_storeu_ps(out, _mm512_maskz_cvtpd_ps(0xff, low));
  _mm256_storeu_ps(out + 8, _mm512_maskz_cvtpd_ps(0xff, high));
  if (__builtin_expect(!_kortestz_mask16_u8(slow, slow), 0)) {
    alignas(64) float before[16];
    _mm512_store_ps(before, given);
    for (unsigned left = slow; left != 0; left &= left - 1) {
      const int lane = __builtin_ctz(left);
      out[lane] = static_cast<float>(log(before[lane]));
    }
  }
}

inline void logs(const float* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) log_sixteen(x + i, out + i);
  for (; i < n; ++i) out[i] = static_cast<float>(log(x[i]));
}

}  // namespace portable::f32

#endif
