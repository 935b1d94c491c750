// Vectors of the widest registers that the library's level has. Lanes always are different result elements, so that
// the width changes no bit (spec, "Why a chain").
#pragma once

#include <cstdint>
#include <cstring>

#include "native/common.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

namespace portable {

// For a local array: GCC 12 gives it registers where it can. It takes a loop's pointers out of a vector again for each
// use (a quarter of the time of a matrix of 256 by a vector), and copies sums that do not fit from stack to stack.
inline void keep_in_memory(const void* array) { asm volatile("" : : "r"(array) : "memory"); }

// Simd<T>: V, the register; kLanes of it; kSteps, how many elements of a row transpose() takes at once, and
//   load_part/store_part(p, n): the first n lanes (0 < n < kLanes), nothing beyond touched; loaded lanes past n are 0
//   transpose(rows, at, out): out[s] lane l = rows[l][at + s]; reads kSteps elements of each of kLanes rows
template <typename T>
struct Simd;

#if defined(__AVX512F__)

template <>
struct Simd<float> {
  using V = __m512;
  static constexpr int kLanes = 16, kSteps = 4;
  static V zero() { return _mm512_setzero_ps(); }
  static V set(float x) { return _mm512_set1_ps(x); }
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static __mmask16 part(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static V load_part(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(part(n), p); }
  static void store_part(float* p, int64_t n, V v) { _mm512_mask_storeu_ps(p, part(n), v); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V canonical(V v) {
    const V nan = _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(kNan32)));
    return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), nan);
  }
  static void transpose(const float* const* rows, int64_t at, V* out) {
    V x[4];
    for (int i = 0; i < 4; ++i) {
      x[i] = _mm512_castps128_ps512(_mm_loadu_ps(rows[i] + at));
      x[i] = _mm512_insertf32x4(x[i], _mm_loadu_ps(rows[4 + i] + at), 1);
      x[i] = _mm512_insertf32x4(x[i], _mm_loadu_ps(rows[8 + i] + at), 2);
      x[i] = _mm512_insertf32x4(x[i], _mm_loadu_ps(rows[12 + i] + at), 3);
    }
    // Not the intrinsics: GCC 12 warns of their undefined operands (bug 105593).
    const V a = __builtin_shufflevector(x[0], x[1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    const V b = __builtin_shufflevector(x[0], x[1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    const V c = __builtin_shufflevector(x[2], x[3], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
    const V d = __builtin_shufflevector(x[2], x[3], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    out[0] = __builtin_shufflevector(a, c, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    out[1] = __builtin_shufflevector(a, c, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    out[2] = __builtin_shufflevector(b, d, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
    out[3] = __builtin_shufflevector(b, d, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
};

template <>
struct Simd<double> {
  using V = __m512d;
  static constexpr int kLanes = 8, kSteps = 2;
  static V zero() { return _mm512_setzero_pd(); }
  static V set(double x) { return _mm512_set1_pd(x); }
  static V load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, V v) { _mm512_storeu_pd(p, v); }
  static __mmask8 part(int64_t n) { return static_cast<__mmask8>((1u << n) - 1); }
  static V load_part(const double* p, int64_t n) { return _mm512_maskz_loadu_pd(part(n), p); }
  static void store_part(double* p, int64_t n, V v) { _mm512_mask_storeu_pd(p, part(n), v); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  static V canonical(V v) {
    const V nan = _mm512_castsi512_pd(_mm512_set1_epi64(static_cast<int64_t>(kNan64)));
    return _mm512_mask_mov_pd(v, _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q), nan);
  }
  static void transpose(const double* const* rows, int64_t at, V* out) {
    V x[2];
    for (int i = 0; i < 2; ++i) {
      x[i] = _mm512_castpd128_pd512(_mm_loadu_pd(rows[i] + at));
      x[i] = _mm512_insertf64x2(x[i], _mm_loadu_pd(rows[2 + i] + at), 1);
      x[i] = _mm512_insertf64x2(x[i], _mm_loadu_pd(rows[4 + i] + at), 2);
      x[i] = _mm512_insertf64x2(x[i], _mm_loadu_pd(rows[6 + i] + at), 3);
    }
    out[0] = __builtin_shufflevector(x[0], x[1], 0, 8, 2, 10, 4, 12, 6, 14);
    out[1] = __builtin_shufflevector(x[0], x[1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
};

#elif defined(__AVX2__)

// The first n lanes of a mask: read from lane 8 - n on.
alignas(32) inline constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

template <>
struct Simd<float> {
  using V = __m256;
  static constexpr int kLanes = 8, kSteps = 4;
  static V zero() { return _mm256_setzero_ps(); }
  static V set(float x) { return _mm256_set1_ps(x); }
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static __m256i part(int64_t n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - n)); }
  static V load_part(const float* p, int64_t n) { return _mm256_maskload_ps(p, part(n)); }
  static void store_part(float* p, int64_t n, V v) { _mm256_maskstore_ps(p, part(n), v); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V canonical(V v) {
    const V nan = _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(kNan32)));
    return _mm256_blendv_ps(v, nan, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  static void transpose(const float* const* rows, int64_t at, V* out) {
    V x[4];
    for (int i = 0; i < 4; ++i) {
      x[i] = _mm256_castps128_ps256(_mm_loadu_ps(rows[i] + at));
      x[i] = _mm256_insertf128_ps(x[i], _mm_loadu_ps(rows[4 + i] + at), 1);
    }
    const V a = _mm256_unpacklo_ps(x[0], x[1]), b = _mm256_unpackhi_ps(x[0], x[1]);
    const V c = _mm256_unpacklo_ps(x[2], x[3]), d = _mm256_unpackhi_ps(x[2], x[3]);
    out[0] = _mm256_shuffle_ps(a, c, 0x44);
    out[1] = _mm256_shuffle_ps(a, c, 0xee);
    out[2] = _mm256_shuffle_ps(b, d, 0x44);
    out[3] = _mm256_shuffle_ps(b, d, 0xee);
  }
};

template <>
struct Simd<double> {
  using V = __m256d;
  static constexpr int kLanes = 4, kSteps = 2;
  static V zero() { return _mm256_setzero_pd(); }
  static V set(double x) { return _mm256_set1_pd(x); }
  static V load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, V v) { _mm256_storeu_pd(p, v); }
  static __m256i part(int64_t n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + 8 - 2 * n));
  }
  static V load_part(const double* p, int64_t n) { return _mm256_maskload_pd(p, part(n)); }
  static void store_part(double* p, int64_t n, V v) { _mm256_maskstore_pd(p, part(n), v); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_pd(a, b, c); }
  static V canonical(V v) {
    const V nan = _mm256_castsi256_pd(_mm256_set1_epi64x(static_cast<int64_t>(kNan64)));
    return _mm256_blendv_pd(v, nan, _mm256_cmp_pd(v, v, _CMP_UNORD_Q));
  }
  static void transpose(const double* const* rows, int64_t at, V* out) {
    V x[2];
    for (int i = 0; i < 2; ++i) {
      x[i] = _mm256_castpd128_pd256(_mm_loadu_pd(rows[i] + at));
      x[i] = _mm256_insertf128_pd(x[i], _mm_loadu_pd(rows[2 + i] + at), 1);
    }
    out[0] = _mm256_unpacklo_pd(x[0], x[1]);
    out[1] = _mm256_unpackhi_pd(x[0], x[1]);
  }
};

#elif defined(__aarch64__)

template <>
struct Simd<float> {
  using V = float32x4_t;
  static constexpr int kLanes = 4, kSteps = 4;
  static V zero() { return vdupq_n_f32(0); }
  static V set(float x) { return vdupq_n_f32(x); }
  static V load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, V v) { vst1q_f32(p, v); }
  static V load_part(const float* p, int64_t n) {
    float part[4] = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; ++i) part[i] = p[i];
    return vld1q_f32(part);
  }
  static void store_part(float* p, int64_t n, V v) {
    float part[4];
    vst1q_f32(part, v);
    for (int64_t i = 0; i < n; ++i) p[i] = part[i];
  }
  static V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static V canonical(V v) { return vbslq_f32(vceqq_f32(v, v), v, vreinterpretq_f32_u32(vdupq_n_u32(kNan32))); }
  static void transpose(const float* const* rows, int64_t at, V* out) {
    const V x0 = vld1q_f32(rows[0] + at), x1 = vld1q_f32(rows[1] + at);
    const V x2 = vld1q_f32(rows[2] + at), x3 = vld1q_f32(rows[3] + at);
    const float64x2_t a = vreinterpretq_f64_f32(vzip1q_f32(x0, x1)), b = vreinterpretq_f64_f32(vzip2q_f32(x0, x1));
    const float64x2_t c = vreinterpretq_f64_f32(vzip1q_f32(x2, x3)), d = vreinterpretq_f64_f32(vzip2q_f32(x2, x3));
    out[0] = vreinterpretq_f32_f64(vzip1q_f64(a, c));
    out[1] = vreinterpretq_f32_f64(vzip2q_f64(a, c));
    out[2] = vreinterpretq_f32_f64(vzip1q_f64(b, d));
    out[3] = vreinterpretq_f32_f64(vzip2q_f64(b, d));
  }
};

template <>
struct Simd<double> {
  using V = float64x2_t;
  static constexpr int kLanes = 2, kSteps = 2;
  static V zero() { return vdupq_n_f64(0); }
  static V set(double x) { return vdupq_n_f64(x); }
  static V load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, V v) { vst1q_f64(p, v); }
  static V load_part(const double* p, int64_t) { return vsetq_lane_f64(*p, vdupq_n_f64(0), 0); }
  static void store_part(double* p, int64_t, V v) { *p = vgetq_lane_f64(v, 0); }
  static V fma(V a, V b, V c) { return vfmaq_f64(c, a, b); }
  static V canonical(V v) { return vbslq_f64(vceqq_f64(v, v), v, vreinterpretq_f64_u64(vdupq_n_u64(kNan64))); }
  static void transpose(const double* const* rows, int64_t at, V* out) {
    const V x0 = vld1q_f64(rows[0] + at), x1 = vld1q_f64(rows[1] + at);
    out[0] = vzip1q_f64(x0, x1);
    out[1] = vzip2q_f64(x0, x1);
  }
};

#else
#error "no such vector unit in the specification's floor"
#endif

}  // namespace portable
