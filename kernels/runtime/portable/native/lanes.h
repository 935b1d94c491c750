// The specification's reduction of one contiguous row (docs/numerics/reduction.md, R1 and R2), for any vector width.
//
// 64 lanes of binary32, or 32 of binary64, are 256 bytes: four registers of AVX-512, eight of AVX2, sixteen of NEON.
// Whoever calls holds an `Ieee` (common.h). The results here are not yet canonical: call canonical() on what leaves.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace portable {

template <typename T>
inline constexpr int kLanes = static_cast<int>(256 / sizeof(T));

// Elements of a lane that are one chain; a chunk has two chains of each lane.
inline constexpr int kChain = 4;
template <typename T>
inline constexpr int64_t kChunk = 2 * kChain * kLanes<T>;

namespace lanes {

#if defined(__AVX512F__)
inline constexpr int kBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif

template <typename T, int bytes = kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(bytes)));
};
template <typename T, int bytes = kBytes>
using Vector = typename VectorOf<T, bytes>::type;

template <typename T>
using Bits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

template <typename T>
inline constexpr int kWide = static_cast<int>(kBytes / sizeof(T));

template <typename T>
inline Vector<T> load(const T* from) {
  Vector<T> out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

// The first `count` elements, no more than a vector's, the rest being `fill`; nothing beyond them is read.
template <typename T>
inline Vector<T> load_some(const T* from, int count, T fill) {
#if defined(__AVX512F__)
  if constexpr (std::is_same_v<T, float>) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), static_cast<__mmask16>((1u << count) - 1), from);
  } else {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), static_cast<__mmask8>((1u << count) - 1), from);
  }
#elif defined(__AVX2__)
  alignas(32) static constexpr int32_t kWords[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  const int words = count * static_cast<int>(sizeof(T) / 4);
  const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kWords + 8 - words));
  if constexpr (std::is_same_v<T, float>) {
    const __m256 some = _mm256_maskload_ps(from, mask);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), some, _mm256_castsi256_ps(mask));
  } else {
    const __m256d some = _mm256_maskload_pd(from, mask);
    return _mm256_blendv_pd(_mm256_set1_pd(fill), some, _mm256_castsi256_pd(mask));
  }
#else
  T buffer[kWide<T>];
  for (int i = 0; i < kWide<T>; ++i) buffer[i] = i < count ? from[i] : fill;
  return load(buffer);
#endif
}

struct Sum {
  template <typename T>
  static constexpr T kStart = T(0);
  template <typename V>
  static V apply(V a, V b) {
    return a + b;
  }
};

struct Product {
  template <typename T>
  static constexpr T kStart = T(1);
  template <typename V>
  static V apply(V a, V b) {
    return a * b;
  }
};

// Of numbers that are not NaN, and of zeros either one: extremum_row sees to both.
struct Greater {
  template <typename V>
  static V apply(V a, V b) {
    return b > a ? b : a;
  }
};

struct Less {
  template <typename V>
  static V apply(V a, V b) {
    return b < a ? b : a;
  }
};

// R1's tree over the lanes of one vector: lane[i] = lane[i] op lane[i + s], s halving.
template <typename Op, typename T, int bytes>
inline T tree(Vector<T, bytes> lane) {
  if constexpr (bytes > 16) {
    Vector<T, bytes / 2> half[2];
    std::memcpy(half, &lane, sizeof lane);
    return tree<Op, T, bytes / 2>(Op::apply(half[0], half[1]));
  } else if constexpr (sizeof(T) == 4) {
    return Op::apply(Op::apply(lane[0], lane[2]), Op::apply(lane[1], lane[3]));
  } else {
    return Op::apply(lane[0], lane[1]);
  }
}

// A vector more, of which perhaps only `left` elements are there, or none.
template <typename Op, typename T>
inline Vector<T> take(Vector<T> lane, const T* from, int64_t left) {
  if (left >= kWide<T>) return Op::apply(lane, load(from));
  return left > 0 ? Op::apply(lane, load_some(from, static_cast<int>(left), Op::template kStart<T>)) : lane;
}

// One chunk: at most kChunk elements. A lane or a chain without elements still holds the start, which changes nothing:
// a lane of a sum is never -0 (it started from +0), and 1·x is x. So a lane's only chain is the lane.
template <typename Op, typename T>
inline T fold_chunk(const T* x, int64_t n) {
  constexpr int kCount = kLanes<T> / kWide<T>;
  constexpr int64_t kStep = kChain * kLanes<T>;
  constexpr T kStart = Op::template kStart<T>;
  if (n <= kWide<T>) {
    return tree<Op, T, kBytes>(Op::apply(Vector<T>{} + kStart, load_some(x, static_cast<int>(n), kStart)));
  }
  Vector<T> lane[kCount];
  for (auto& one : lane) one = Vector<T>{} + kStart;
  int64_t at = 0;
  if (n <= kStep) {
    for (; at + kLanes<T> <= n; at += kLanes<T>) {
      for (int v = 0; v < kCount; ++v) lane[v] = Op::apply(lane[v], load(x + at + v * kWide<T>));
    }
    if (at < n) {
#pragma GCC unroll 16
      for (int v = 0; v < kCount; ++v) lane[v] = take<Op>(lane[v], x + at + v * kWide<T>, n - at - v * kWide<T>);
    }
  } else {
    for (; at < n; at += kStep) {
      const int64_t left = n - at;
#pragma GCC unroll 16
      for (int v = 0; v < kCount; ++v) {
        const T* from = x + at + v * kWide<T>;
        Vector<T> chain = Vector<T>{} + kStart;
        if (left >= kStep) {
          for (int i = 0; i < kChain; ++i) chain = Op::apply(chain, load(from + i * kLanes<T>));
        } else {
          for (int64_t i = v * kWide<T>; i < left; i += kLanes<T>) chain = take<Op>(chain, x + at + i, left - i);
        }
        lane[v] = Op::apply(lane[v], chain);
      }
    }
  }
#pragma GCC unroll 4
  for (int half = kCount / 2; half > 0; half /= 2) {
    for (int v = 0; v < half; ++v) lane[v] = Op::apply(lane[v], lane[v + half]);
  }
  return tree<Op, T, kBytes>(lane[0]);
}

// The results of chunks, one after the other: a sum keeps apart what its additions lose, which is exact. Of an infinity
// that is NaN.
template <typename Op, typename V>
struct Joined {
  V value, lost;

  void add(V more) {
    const V next = Op::apply(value, more);
    if constexpr (std::is_same_v<Op, Sum>) {
      const V taken = next - value;
      lost = lost + ((value - (next - taken)) + (more - taken));
    }
    value = next;
  }

  V get() const {
    if constexpr (!std::is_same_v<Op, Sum>) return value;
    return lost == lost ? value + lost : value;
  }
};

// More than a chunk. Not inlined: most rows are short.
template <typename Op, typename T>
[[gnu::noinline]] T fold_chunks(const T* x, int64_t n) {
  Joined<Op, T> all = {Op::template kStart<T>, T(0)};
  for (int64_t at = 0; at < n; at += kChunk<T>) all.add(fold_chunk<Op>(x + at, std::min(kChunk<T>, n - at)));
  return all.get();
}

// Any number of elements.
template <typename Op, typename T>
inline T fold_row(const T* x, int64_t n) {
  return n <= kChunk<T> ? fold_chunk<Op>(x, n) : fold_chunks<Op>(x, n);
}

template <typename T>
inline T from_bits(Bits<T> bits) {
  T out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

// R2's maximum (sign = 1) or minimum (sign = -1): NaN if there is one, and +0 above -0. Order can't change it, so it
// takes no chunks. The vectors compare as numbers, and what that leaves open is settled afterwards: NaN by the greatest
// magnitude's bits, a zero's sign by looking for the one that wins.
template <int sign, typename T>
inline T extremum_row(const T* x, int64_t n) {
  using V = Vector<T>;
  using I = Bits<T>;
  using W = Vector<I>;
  using Better = std::conditional_t<(sign > 0), Greater, Less>;
  constexpr int kCount = 4;
  constexpr T kStart = -sign * std::numeric_limits<T>::infinity();
  constexpr I kMagnitude = std::numeric_limits<I>::max();
  V best[kCount];
  W most[kCount];
  for (auto& one : best) one = V{} + kStart;
  for (auto& one : most) one = W{};
  auto take = [&](int v, V more) {
    best[v] = Better::apply(best[v], more);
    W bits;
    std::memcpy(&bits, &more, sizeof bits);
    bits &= kMagnitude;
    most[v] = Greater::apply(most[v], bits);
  };
  int64_t at = 0;
  for (; at + kCount * kWide<T> <= n; at += kCount * kWide<T>) {
    for (int v = 0; v < kCount; ++v) take(v, load(x + at + v * kWide<T>));
  }
  for (; at + kWide<T> <= n; at += kWide<T>) take(0, load(x + at));
  if (at < n) take(0, load_some(x + at, static_cast<int>(n - at), kStart));
  for (int half = kCount / 2; half > 0; half /= 2) {
    for (int v = 0; v < half; ++v) {
      best[v] = Better::apply(best[v], best[v + half]);
      most[v] = Greater::apply(most[v], most[v + half]);
    }
  }
  const T out = tree<Better, T, kBytes>(best[0]);
  const I greatest = tree<Greater, I, kBytes>(most[0]);
  const T top = from_bits<T>(greatest);
  if (top != top) return std::numeric_limits<T>::quiet_NaN();
  if (out != T(0)) return out;
  const T winner = sign > 0 ? T(0) : -T(0);
  for (int64_t i = 0; i < n; ++i) {
    if (std::memcmp(x + i, &winner, sizeof winner) == 0) return winner;
  }
  return -winner;
}

}  // namespace lanes

// Rows of any length, 0 included.
template <typename T>
inline T sum_row(const T* x, int64_t n) {
  return lanes::fold_row<lanes::Sum>(x, n);
}
template <typename T>
inline T prod_row(const T* x, int64_t n) {
  return lanes::fold_row<lanes::Product>(x, n);
}
template <typename T>
inline T max_row(const T* x, int64_t n) {
  return lanes::extremum_row<1>(x, n);
}
template <typename T>
inline T min_row(const T* x, int64_t n) {
  return lanes::extremum_row<-1>(x, n);
}

// Whether one is there.
template <typename T>
bool any_nan(const T* x, int64_t n) {
  using V = lanes::Vector<T>;
  constexpr int kWide = lanes::kWide<T>;
  int64_t i = 0;
#if defined(__AVX512F__)
  unsigned found = 0;
  for (; i + 2 * kWide <= n; i += 2 * kWide) {
    const V a = lanes::load(x + i), b = lanes::load(x + i + kWide);
    if constexpr (sizeof(T) == 4) {
      found |= _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q);
    } else {
      found |= _mm512_cmp_pd_mask(a, b, _CMP_UNORD_Q);
    }
  }
  bool out = found != 0;
#else
  decltype(V{} != V{}) found{};
  for (; i + kWide <= n; i += kWide) {
    const V a = lanes::load(x + i);
    found |= a != a;
  }
  bool out = false;
  for (int k = 0; k < kWide; ++k) out |= found[k] != 0;
#endif
  for (; i < n; ++i) out |= x[i] != x[i];
  return out;
}

}  // namespace portable
