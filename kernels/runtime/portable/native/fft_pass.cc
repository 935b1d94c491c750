#include "native/fft_pass.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "native/simd.h"

namespace portable::fourier {
namespace {

// Elements that are worked on between two looks at the factors.
template <typename T>
inline constexpr int kBlock = static_cast<int>(256 / sizeof(T));

template <typename T>
struct Source {
  const T *re, *im;
  int64_t step;  // between the inputs of one small transform
};

// D_2, D_4 and D_odd of `count` neighbours, b[k] at k kBlock.
template <typename T>
void small2(const Source<T>& x, int count, T* __restrict br, T* __restrict bi) {
  for (int i = 0; i < count; ++i) {
    const T ar = x.re[i], ai = x.im[i], cr = x.re[i + x.step], ci = x.im[i + x.step];
    br[i] = ar + cr;
    bi[i] = ai + ci;
    br[i + kBlock<T>] = ar - cr;
    bi[i + kBlock<T>] = ai - ci;
  }
}

template <typename T>
void small4(const Source<T>& x, int count, T* __restrict br, T* __restrict bi) {
  const int64_t s = x.step;
  for (int i = 0; i < count; ++i) {
    const T t0r = x.re[i] + x.re[i + 2 * s], t0i = x.im[i] + x.im[i + 2 * s];
    const T t1r = x.re[i] - x.re[i + 2 * s], t1i = x.im[i] - x.im[i + 2 * s];
    const T t2r = x.re[i + s] + x.re[i + 3 * s], t2i = x.im[i + s] + x.im[i + 3 * s];
    const T t3r = x.re[i + s] - x.re[i + 3 * s], t3i = x.im[i + s] - x.im[i + 3 * s];
    br[i] = t0r + t2r;
    bi[i] = t0i + t2i;
    br[i + kBlock<T>] = t1r + t3i;
    bi[i + kBlock<T>] = t1i - t3r;
    br[i + 2 * kBlock<T>] = t0r - t2r;
    bi[i + 2 * kBlock<T>] = t0i - t2i;
    br[i + 3 * kBlock<T>] = t1r - t3i;
    bi[i + 3 * kBlock<T>] = t1i + t3r;
  }
}

constexpr int kMostHalf = 30;  // of the largest radix, 61

template <typename T>
void small_odd(const Pass<T>& pass, const Source<T>& x, int count, T* __restrict br, T* __restrict bi) {
  const int half = static_cast<int>((pass.radix - 1) / 2);
  constexpr int kRow = kBlock<T>;
  T ur[kMostHalf * kRow], ui[kMostHalf * kRow], vr[kMostHalf * kRow], vi[kMostHalf * kRow];
  for (int i = 0; i < count; ++i) {
    br[i] = x.re[i];
    bi[i] = x.im[i];
  }
  for (int j = 1; j <= half; ++j) {
    const int64_t near = j * x.step, far = (pass.radix - j) * x.step;
    const int row = (j - 1) * kRow;
    for (int i = 0; i < count; ++i) {
      ur[row + i] = x.re[i + near] + x.re[i + far];
      ui[row + i] = x.im[i + near] + x.im[i + far];
      vr[row + i] = x.re[i + near] - x.re[i + far];
      vi[row + i] = x.im[i + near] - x.im[i + far];
      br[i] = br[i] + ur[row + i];
      bi[i] = bi[i] + ui[row + i];
    }
  }
  for (int k = 1; k <= half; ++k) {
    T er[kRow], ei[kRow], fr[kRow] = {}, fi[kRow] = {};
    std::memcpy(er, x.re, count * sizeof(T));
    std::memcpy(ei, x.im, count * sizeof(T));
    for (int j = 0; j < half; ++j) {
      const T cos = pass.roots.re[(k - 1) * half + j], sin = pass.roots.im[(k - 1) * half + j];
      for (int i = 0; i < count; ++i) {
        er[i] = std::fma(ur[j * kRow + i], cos, er[i]);
        ei[i] = std::fma(ui[j * kRow + i], cos, ei[i]);
        fr[i] = std::fma(vr[j * kRow + i], sin, fr[i]);
        fi[i] = std::fma(vi[j * kRow + i], sin, fi[i]);
      }
    }
    const int64_t near = k * kRow, far = (pass.radix - k) * kRow;
    for (int i = 0; i < count; ++i) {
      br[near + i] = er[i] + fi[i];
      bi[near + i] = ei[i] - fr[i];
      br[far + i] = er[i] - fi[i];
      bi[far + i] = ei[i] + fr[i];
    }
  }
}

template <typename T>
void small(const Pass<T>& pass, const Source<T>& x, int count, T* br, T* bi) {
  if (pass.radix == 4)
    small4(x, count, br, bi);
  else if (pass.radix == 2)
    small2(x, count, br, bi);
  else
    small_odd(pass, x, count, br, bi);
}

// One p, whose run of outputs has one factor each (none for p = 0).
template <typename T>
void wide(const Pass<T>& pass, int64_t p, int64_t run, const Lines<T>& lines) {
  T br[61 * kBlock<T>], bi[61 * kBlock<T>];
  for (int64_t q = 0; q < run; q += kBlock<T>) {
    const int count = static_cast<int>(std::min<int64_t>(kBlock<T>, run - q));
    small(pass, {lines.re + run * p + q, lines.im + run * p + q, run * pass.m}, count, br, bi);
    for (int64_t k = 0; k < pass.radix; ++k) {
      T* __restrict yr = lines.spare_re + run * (pass.radix * p + k) + q;
      T* __restrict yi = lines.spare_im + run * (pass.radix * p + k) + q;
      const T *cr = br + k * kBlock<T>, *ci = bi + k * kBlock<T>;
      if (k * p == 0) {
        std::memcpy(yr, cr, count * sizeof(T));
        std::memcpy(yi, ci, count * sizeof(T));
        continue;
      }
      const T wr = pass.turns.re[(k - 1) * pass.m + p], wi = pass.turns.im[(k - 1) * pass.m + p];
      for (int i = 0; i < count; ++i) {
        yr[i] = std::fma(cr[i], wr, -(ci[i] * wi));
        yi[i] = std::fma(cr[i], wi, ci[i] * wr);
      }
    }
  }
}

// One element, with what Simd<T> has for a register of them.
template <typename T>
struct One {
  using V = T;
  static constexpr int kLanes = 1;
  static V set(T x) { return x; }
  static V load(const T* p) { return *p; }
  static void store(T* p, V v) { *p = v; }
  static V fma(V a, V b, V c) { return std::fma(a, b, c); }
};

// D_r, r known to the compiler, of elements or registers.
template <int kRadix, typename U, typename V>
inline void butterfly(const V* ar, const V* ai, const V* cos, const V* sin, V* br, V* bi) {
  if constexpr (kRadix == 2) {
    br[0] = ar[0] + ar[1], bi[0] = ai[0] + ai[1];
    br[1] = ar[0] - ar[1], bi[1] = ai[0] - ai[1];
  } else if constexpr (kRadix == 4) {
    const V t0r = ar[0] + ar[2], t0i = ai[0] + ai[2], t1r = ar[0] - ar[2], t1i = ai[0] - ai[2];
    const V t2r = ar[1] + ar[3], t2i = ai[1] + ai[3], t3r = ar[1] - ar[3], t3i = ai[1] - ai[3];
    br[0] = t0r + t2r, bi[0] = t0i + t2i;
    br[1] = t1r + t3i, bi[1] = t1i - t3r;
    br[2] = t0r - t2r, bi[2] = t0i - t2i;
    br[3] = t1r - t3i, bi[3] = t1i + t3r;
  } else {
    constexpr int kHalf = (kRadix - 1) / 2;
    V ur[kHalf], ui[kHalf], vr[kHalf], vi[kHalf];
    br[0] = ar[0], bi[0] = ai[0];
#pragma GCC unroll 8
    for (int j = 1; j <= kHalf; ++j) {
      ur[j - 1] = ar[j] + ar[kRadix - j], ui[j - 1] = ai[j] + ai[kRadix - j];
      vr[j - 1] = ar[j] - ar[kRadix - j], vi[j - 1] = ai[j] - ai[kRadix - j];
      br[0] = br[0] + ur[j - 1], bi[0] = bi[0] + ui[j - 1];
    }
#pragma GCC unroll 8
    for (int k = 1; k <= kHalf; ++k) {
      V er = ar[0], ei = ai[0], fr = U::set(0), fi = U::set(0);
#pragma GCC unroll 8
      for (int j = 0; j < kHalf; ++j) {
        const V c = cos[(k - 1) * kHalf + j], s = sin[(k - 1) * kHalf + j];
        er = U::fma(ur[j], c, er);
        ei = U::fma(ui[j], c, ei);
        fr = U::fma(vr[j], s, fr);
        fi = U::fma(vi[j], s, fi);
      }
      br[k] = er + fi, bi[k] = ei - fr;
      br[kRadix - k] = er - fi, bi[kRadix - k] = ei + fr;
    }
  }
}

// Elements q ... of one p's run, as many as fill registers (U = Simd<T>) or all (U = One<T>); gives where it stopped.
template <int kRadix, bool kTurned, typename U, typename T>
int64_t stretch(const Pass<T>& pass, int64_t p, int64_t run, int64_t q, const Lines<T>& lines) {
  using V = typename U::V;
  constexpr int kHalf = (kRadix - 1) / 2, kRoots = kRadix % 2 == 1 ? kHalf * kHalf : 1;
  if (q + U::kLanes > run) return q;
  const int64_t s = run * pass.m;
  const T *xr = lines.re + run * p, *xi = lines.im + run * p;
  T *yr = lines.spare_re + run * kRadix * p, *yi = lines.spare_im + run * kRadix * p;
  V wr[kRadix], wi[kRadix], cos[kRoots], sin[kRoots];
  for (int k = 1; k < kRadix && kTurned; ++k) {
    wr[k] = U::set(pass.turns.re[(k - 1) * pass.m + p]);
    wi[k] = U::set(pass.turns.im[(k - 1) * pass.m + p]);
  }
  for (int k = 0; k < kRoots && kRadix % 2 == 1; ++k) {
    cos[k] = U::set(pass.roots.re[k]);
    sin[k] = U::set(pass.roots.im[k]);
  }
  for (; q + U::kLanes <= run; q += U::kLanes) {
    V ar[kRadix], ai[kRadix], br[kRadix], bi[kRadix];
#pragma GCC unroll 8
    for (int j = 0; j < kRadix; ++j) {
      ar[j] = U::load(xr + q + j * s);
      ai[j] = U::load(xi + q + j * s);
    }
    butterfly<kRadix, U>(ar, ai, cos, sin, br, bi);
    U::store(yr + q, br[0]);
    U::store(yi + q, bi[0]);
#pragma GCC unroll 8
    for (int k = 1; k < kRadix; ++k) {
      U::store(yr + q + k * run, kTurned ? U::fma(br[k], wr[k], -(bi[k] * wi[k])) : br[k]);
      U::store(yi + q + k * run, kTurned ? U::fma(br[k], wi[k], bi[k] * wr[k]) : bi[k]);
    }
  }
  return q;
}

// The same as wide() without the way over br and bi, for the radices that most lengths are made of.
template <int kRadix, bool kTurned, typename T>
void direct(const Pass<T>& pass, int64_t p, int64_t run, const Lines<T>& lines) {
  const int64_t q = stretch<kRadix, kTurned, Simd<T>>(pass, p, run, 0, lines);
  stretch<kRadix, kTurned, One<T>>(pass, p, run, q, lines);
}

template <typename T>
void runs(const Pass<T>& pass, int64_t begin, int64_t end, int64_t run, const Lines<T>& lines) {
  for (int64_t p = begin; p < end; ++p) {
    const bool turned = p > 0;
    switch (pass.radix) {
      case 2: turned ? direct<2, true>(pass, p, run, lines) : direct<2, false>(pass, p, run, lines); break;
      case 3: turned ? direct<3, true>(pass, p, run, lines) : direct<3, false>(pass, p, run, lines); break;
      case 4: turned ? direct<4, true>(pass, p, run, lines) : direct<4, false>(pass, p, run, lines); break;
      case 5: turned ? direct<5, true>(pass, p, run, lines) : direct<5, false>(pass, p, run, lines); break;
      case 7: turned ? direct<7, true>(pass, p, run, lines) : direct<7, false>(pass, p, run, lines); break;
      default: wide(pass, p, run, lines);
    }
  }
}

template <typename T, int kRadix, int kRun>
void lay(const T* __restrict b, int count, T* __restrict y) {
  for (int i = 0; i < count; i += kRun)
    for (int k = 0; k < kRadix; ++k)
      for (int q = 0; q < kRun; ++q) y[i * kRadix + k * kRun + q] = b[k * kBlock<T> + i + q];
}

// Writes b, of `count` neighbours from the start of a run on, to where it belongs.
template <typename T>
void lay_out(int radix, int run, const T* __restrict b, int count, T* __restrict y) {
  if (radix == 4 && run == 1) return lay<T, 4, 1>(b, count, y);
  if (radix == 4 && run == 4) return lay<T, 4, 4>(b, count, y);
  if (radix == 2 && run == 4) return lay<T, 2, 4>(b, count, y);
  if (radix == 5 && run == 4) return lay<T, 5, 4>(b, count, y);
  if (radix == 5 && run == 8) return lay<T, 5, 8>(b, count, y);
  if (radix == 3 && run == 4) return lay<T, 3, 4>(b, count, y);
  for (int i = 0; i < count; i += run)
    for (int k = 0; k < radix; ++k)
      for (int q = 0; q < run; ++q) y[i * radix + k * run + q] = b[k * kBlock<T> + i + q];
}

// All p > 0 of one line whose runs are short: across their ends.
template <typename T>
void narrow(const Pass<T>& pass, const Lines<T>& lines) {
  const int64_t run = pass.s, total = pass.m * run;
  const int step = static_cast<int>(kBlock<T> / run * run);
  T br[61 * kBlock<T>], bi[61 * kBlock<T>];
  for (int64_t t = run; t < total; t += step) {
    const int count = static_cast<int>(std::min<int64_t>(step, total - t));
    small(pass, {lines.re + t, lines.im + t, total}, count, br, bi);
    for (int64_t k = 1; k < pass.radix; ++k) {
      T* __restrict cr = br + k * kBlock<T>;
      T* __restrict ci = bi + k * kBlock<T>;
      const T* __restrict wr = pass.spread.re.data() + (k - 1) * total + t;
      const T* __restrict wi = pass.spread.im.data() + (k - 1) * total + t;
      for (int i = 0; i < count; ++i) {
        const T re = std::fma(cr[i], wr[i], -(ci[i] * wi[i])), im = std::fma(cr[i], wi[i], ci[i] * wr[i]);
        cr[i] = re;
        ci[i] = im;
      }
    }
    lay_out(static_cast<int>(pass.radix), static_cast<int>(run), br, count, lines.spare_re + t * pass.radix);
    lay_out(static_cast<int>(pass.radix), static_cast<int>(run), bi, count, lines.spare_im + t * pass.radix);
  }
}

}  // namespace

template <typename T>
void run_passes(const Plan<T>& plan, Lines<T>& lines) {
  for (const Pass<T>& pass : plan.passes) {
    const int64_t run = pass.s * lines.count;
    const bool narrow_runs = lines.count == 1 && run < kNarrow;
    runs(pass, 0, narrow_runs ? 1 : pass.m, run, lines);
    if (narrow_runs) narrow(pass, lines);
    std::swap(lines.re, lines.spare_re);
    std::swap(lines.im, lines.spare_im);
  }
}

template void run_passes<float>(const Plan<float>&, Lines<float>&);
template void run_passes<double>(const Plan<double>&, Lines<double>&);

}  // namespace portable::fourier
