// math32_fast.h in vectors of AVX-512: the same operations in the same order, but that 2^k is one instruction, which
// rounds once as the specification's two products do together, and that a NaN becomes the one NaN on the way.
#pragma once

#include "native/common.h"
#include "native/math32_fast.h"

#if defined(__AVX512F__)
#include <immintrin.h>

namespace portable::f32::wide {

using V = __m512;

inline V all(float x) { return _mm512_set1_ps(x); }
inline V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
inline V minus_fma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
inline V magnitude(V x) { return _mm512_andnot_ps(all(-0.0f), x); }
inline V the_nan() { return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(kNan32))); }
// By masks of all lanes, since GCC 12 warns of some intrinsics without (bug 105593). Of two equal numbers, or where
// either is NaN, these give the second: fast::clamped.
constexpr __mmask16 kAll = 0xffff;
inline V greater(V a, V b) { return _mm512_maskz_max_ps(kAll, a, b); }
inline V lesser(V a, V b) { return _mm512_maskz_min_ps(kAll, a, b); }
inline V times_two_to(V x, V k) { return _mm512_maskz_scalef_ps(kAll, x, k); }
inline __mmask16 numbers(V x) { return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q); }

// e^x = 2^k·(1 + part + tail), and what `rounder`, a whole number near kRounder, was added to. Any gives the same k: x
// times LOG2E never lies in the middle between two whole numbers, since LOG2E is an odd number of 2^-23.
struct Power {
  V part, tail, k, whole;
};

inline Power power(V x, float rounder = fast::kRounder) {
  const V whole = fma(x, all(fast::kLog2E), all(rounder)), k = whole - all(rounder);
  const V rest = minus_fma(k, all(fast::kLn2High), x);
  const V r = minus_fma(k, all(fast::kLn2Low), rest);
  const V lost = minus_fma(k, all(fast::kLn2Low), rest - r);
  V q = fma(all(fast::kTail[5]), r, all(fast::kTail[4]));
#pragma GCC unroll 4
  for (int i = 3; i >= 0; --i) q = fma(q, r, all(fast::kTail[i]));
  return {r, fma(r * r, q, lost), k, whole};
}

inline V one_plus(const Power& e) {
  const V high = all(1.0f) + e.part;
  const V low = (all(1.0f) - high) + e.part;
  return high + (low + e.tail);
}

inline V exp(V x) {
  const Power e = power(lesser(all(89.0f), greater(all(-104.0f), x)));
  return _mm512_mask_scalef_ps(the_nan(), numbers(x), one_plus(e), e.k);
}

inline V tanh(V x) {
  const V a = lesser(all(10.0f), magnitude(x));
  const Power e = power(a + a, fast::kRounder + 127.0f);  // whose low bits are the exponent's of 2^k
  const V scale = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, _mm512_castps_si512(e.whole), 23));
  const V less = scale - all(1.0f);
  const V n = fma(e.part, scale, less);
  const V low = fma(e.part, scale, less - n);
  const V m = n + fma(e.tail, scale, low);
  const __mmask16 some = numbers(x);
  const V y = _mm512_mask_div_ps(the_nan(), some, m, m + all(2.0f));
  const __m512i signed_one = _mm512_mask_ternarylogic_epi32(
      _mm512_castps_si512(y), some, _mm512_castps_si512(x), _mm512_castps_si512(all(-0.0f)), 0xf8);  // y | (x & sign)
  return _mm512_castsi512_ps(signed_one);
}

inline V logistic(V x) {
  const V down = greater(all(-104.0f), _mm512_or_ps(x, all(-0.0f)));
  const Power e = power(down);
  const V z = times_two_to(one_plus(e), e.k);
  const V above = _mm512_mask_mov_ps(all(1.0f), _mm512_cmp_ps_mask(x, all(0.0f), _CMP_LT_OQ), z);
  const V below = all(1.0f) + z;
  const V lost = (all(1.0f) - below) + z;
  const V inverse = all(1.0f) / below;
  const V y = above * inverse;
  const V rest = minus_fma(y, lost, minus_fma(y, below, above));
  return _mm512_mask_mov_ps(the_nan(), numbers(x), fma(rest, inverse, y));
}

// out[i] = work(x[i]); `out` may be `x`.
template <typename Work>
inline void each(const float* x, float* out, int64_t n, const Work& work) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(out + i, work(_mm512_loadu_ps(x + i)));
  if (i < n) {
    const __mmask16 part = static_cast<__mmask16>((1u << (n - i)) - 1);
    _mm512_mask_storeu_ps(out + i, part, work(_mm512_maskz_loadu_ps(part, x + i)));
  }
}

}  // namespace portable::f32::wide

#endif
