// docs/numerics/linalg.md, 5.8: the transforms as passes over one axis after the other, lines in groups.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "native/common.h"
#include "native/fft_pass.h"
#include "native/fft_plan.h"

namespace portable::fourier {
namespace {

enum Kind { kForward, kInverse, kReal, kRealInverse };

template <typename T>
inline constexpr int64_t kLines = 64 / sizeof(T);

constexpr int64_t kPiece = 8192;  // elements that are worth waking a thread for: some 30 microseconds

// A group of lines in memory: element k of line l is at k * element + l * line.
struct Place {
  int64_t count, element, line;
};

template <typename T>
void load(const T* __restrict x, const Place& at, int64_t n, T* __restrict re, T* __restrict im) {
  if (at.line == 1 || at.count == 1) {
    for (int64_t k = 0; k < n; ++k, x += 2 * at.element, re += at.count, im += at.count)
      for (int64_t l = 0; l < at.count; ++l) {
        re[l] = x[2 * l];
        im[l] = x[2 * l + 1];
      }
    return;
  }
  for (int64_t l = 0; l < at.count; ++l)
    for (int64_t k = 0; k < n; ++k) {
      re[k * at.count + l] = x[2 * (k * at.element + l * at.line)];
      im[k * at.count + l] = x[2 * (k * at.element + l * at.line) + 1];
    }
}

// Of neighbouring elements: what load() and store() do for one long line.
template <typename T>
void load_line(const T* __restrict x, int64_t n, T* __restrict re, T* __restrict im) {
  for (int64_t k = 0; k < n; ++k) {
    re[k] = x[2 * k];
    im[k] = x[2 * k + 1];
  }
}

template <bool kDivide, typename T>
T finished(T x, T divisor) {
  return canonical(kDivide ? x / divisor : x);
}

template <bool kDivide, typename T>
void store_line(const T* __restrict re, const T* __restrict im, int64_t n, T divisor, T* __restrict y) {
  for (int64_t k = 0; k < n; ++k) {
    y[2 * k] = finished<kDivide>(re[k], divisor);
    y[2 * k + 1] = finished<kDivide>(im[k], divisor);
  }
}

template <bool kDivide, typename T>
void store(const T* __restrict re, const T* __restrict im, const Place& at, int64_t n, T divisor, T* __restrict y) {
  if (at.count == 1 && at.element == 1) return store_line<kDivide>(re, im, n, divisor, y);
  if (at.line == 1) {
    for (int64_t k = 0; k < n; ++k, y += 2 * at.element)
      store_line<kDivide>(re + k * at.count, im + k * at.count, at.count, divisor, y);
    return;
  }
  for (int64_t l = 0; l < at.count; ++l)
    for (int64_t k = 0; k < n; ++k) {
      T* to = y + 2 * (k * at.element + l * at.line);
      to[0] = finished<kDivide>(re[k * at.count + l], divisor);
      to[1] = finished<kDivide>(im[k * at.count + l], divisor);
    }
}

// A thread's room for one group. What is large is given back.
template <typename T>
class Room {
 public:
  explicit Room(int64_t size) : own_(size > kKept ? size : 0) {
    static thread_local std::vector<T> kept;
    if (size <= kKept && kept.size() < static_cast<size_t>(size)) kept.resize(size);
    data_ = size > kKept ? own_.data() : kept.data();
  }
  T* data() const { return data_; }

 private:
  static constexpr int64_t kKept = int64_t{1} << 18;
  std::vector<T> own_;
  T* data_;
};

// A group at work: room for `plan`, with `more` elements per line and part behind it.
template <typename T>
struct Work {
  const Plan<T>& plan;
  int64_t size;
  Room<T> room;
  Lines<T> lines;
  T* more;
  Work(const Plan<T>& plan, int64_t count, int64_t extra)
      : plan(plan),
        size((plan.longer ? plan.longer->n : plan.n) * count),
        room(4 * size + extra * count),
        lines{room.data(), room.data() + size, room.data() + 2 * size, room.data() + 3 * size, count},
        more(room.data() + 4 * size) {}

  void forward() {
    if (plan.longer)
      bluestein();
    else
      run_passes(plan, lines);
  }
  void exchange() { std::swap(lines.re, lines.im); }

 private:
  static void times(T* __restrict re, T* __restrict im, const Parts<T>& w, int64_t n, int64_t count) {
    if (count == 1) {
      const T *__restrict all_wr = w.re.data(), *__restrict all_wi = w.im.data();
      for (int64_t i = 0; i < n; ++i) {
        const T xr = re[i], xi = im[i];
        re[i] = std::fma(xr, all_wr[i], -(xi * all_wi[i]));
        im[i] = std::fma(xr, all_wi[i], xi * all_wr[i]);
      }
      return;
    }
    for (int64_t k = 0; k < n; ++k) {
      const T wr = w.re[k], wi = w.im[k];
      for (int64_t i = k * count; i < (k + 1) * count; ++i) {
        const T xr = re[i], xi = im[i];
        re[i] = std::fma(xr, wr, -(xi * wi));
        im[i] = std::fma(xr, wi, xi * wr);
      }
    }
  }
  void bluestein() {
    const int64_t n = plan.n, count = lines.count;
    times(lines.re, lines.im, plan.chirp, n, count);
    std::fill(lines.re + n * count, lines.re + size, T(0));
    std::fill(lines.im + n * count, lines.im + size, T(0));
    run_passes(*plan.longer, lines);
    times(lines.re, lines.im, plan.response, plan.longer->n, count);
    exchange();
    run_passes(*plan.longer, lines);
    exchange();
    const T length = static_cast<T>(plan.longer->n);
    for (int64_t i = 0; i < n * count; ++i) {
      lines.re[i] = lines.re[i] / length;
      lines.im[i] = lines.im[i] / length;
    }
    times(lines.re, lines.im, plan.chirp, n, count);
  }
};

// One group of complex lines; x may be y.
template <typename T>
void complex_group(const Plan<T>& plan, bool inverse, const Place& at, const T* x, T* y) {
  Work<T> work(plan, at.count, 0);
  if (inverse) work.exchange();
  if (at.count == 1 && at.element == 1)
    load_line(x, plan.n, work.lines.re, work.lines.im);
  else
    load(x, at, plan.n, work.lines.re, work.lines.im);
  if (inverse) work.exchange();  // what was loaded as (im, re) now is (re, im) of the exchanged data
  work.forward();
  if (inverse) work.exchange();
  const T n = static_cast<T>(plan.n);
  if (inverse)
    store<true>(work.lines.re, work.lines.im, at, plan.n, n, y);
  else
    store<false>(work.lines.re, work.lines.im, at, plan.n, n, y);
}

template <typename T>
void complex_axis(ffi::ThreadPool& pool, const T* x, T* y, int64_t outer, int64_t n, int64_t inner, bool inverse) {
  if (outer * n * inner == 0) return;
  const auto shared = plan<T>(n);
  const bool across = inner > 1;
  const int64_t most = across ? inner : outer, wanted = across || n < 64 ? kLines<T> : 1;
  const int64_t groups = (most + wanted - 1) / wanted, width = (most + groups - 1) / groups;
  const int64_t total = groups * (across ? outer : 1);
  parallel(pool, total, std::max<int64_t>(1, kPiece / (shared->work() * width)), [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g % groups * width, count = std::min(width, most - first);
      if (count <= 0) continue;
      const Place at = across ? Place{count, inner, 1} : Place{count, 1, n};
      const int64_t start = across ? g / groups * n * inner + first : first * n;
      complex_group(*shared, inverse, at, x + 2 * start, y + 2 * start);
    }
  });
}

// The even real transforms' step from the half-length transform to the result; element k takes those at k and h - k.
template <typename T>
void untangle(const T* __restrict zr, const T* __restrict zi, const Parts<T>& w, int64_t h, int64_t count,
              T* __restrict re, T* __restrict im) {
  const T *__restrict all_wr = w.re.data(), *__restrict all_wi = w.im.data();
  for (int64_t l = 0; l < count; ++l) {  // k = 0 and k = h take the same two, and have no imaginary part
    const T er = zr[l] + zr[l], fr = zi[l] + zi[l], fi = zr[l] - zr[l];
    re[l] = T(0.5) * (er + std::fma(fr, all_wr[0], -(fi * all_wi[0])));
    re[h * count + l] = T(0.5) * (er + std::fma(fr, all_wr[h], -(fi * all_wi[h])));
    im[l] = im[h * count + l] = 0;
  }
  if (count == 1) {
    for (int64_t k = 1; k < h; ++k) {
      const T er = zr[k] + zr[h - k], ei = zi[k] - zi[h - k], fr = zi[k] + zi[h - k], fi = zr[h - k] - zr[k];
      re[k] = T(0.5) * (er + std::fma(fr, all_wr[k], -(fi * all_wi[k])));
      im[k] = T(0.5) * (ei + std::fma(fr, all_wi[k], fi * all_wr[k]));
    }
    return;
  }
  for (int64_t k = 1; k < h; ++k) {
    const T wr = all_wr[k], wi = all_wi[k];
    for (int64_t l = k * count, far = (h - k) * count; l < (k + 1) * count; ++l, ++far) {
      const T er = zr[l] + zr[far], ei = zi[l] - zi[far], fr = zi[l] + zi[far], fi = zr[far] - zr[l];
      re[l] = T(0.5) * (er + std::fma(fr, wr, -(fi * wi)));
      im[l] = T(0.5) * (ei + std::fma(fr, wi, fi * wr));
    }
  }
}

template <typename T>
void tangle(const T* __restrict xr, const T* __restrict xi, const Parts<T>& w, int64_t h, int64_t count,
            T* __restrict zr, T* __restrict zi) {
  const T *__restrict all_wr = w.re.data(), *__restrict all_wi = w.im.data();
  if (count == 1) {
    for (int64_t k = 0; k < h; ++k) {
      const T er = xr[k] + xr[h - k], ei = xi[k] - xi[h - k], dr = xr[k] - xr[h - k], di = xi[k] + xi[h - k];
      zr[k] = er - std::fma(di, all_wr[k], -(dr * all_wi[k]));
      zi[k] = ei + std::fma(dr, all_wr[k], di * all_wi[k]);
    }
    return;
  }
  for (int64_t k = 0; k < h; ++k) {
    const T wr = all_wr[k], wi = all_wi[k];
    for (int64_t l = k * count, far = (h - k) * count; l < (k + 1) * count; ++l, ++far) {
      const T er = xr[l] + xr[far], ei = xi[l] - xi[far], dr = xr[l] - xr[far], di = xi[l] + xi[far];
      zr[l] = er - std::fma(di, wr, -(dr * wi));
      zi[l] = ei + std::fma(dr, wr, di * wi);
    }
  }
}

template <typename T>
void real_group(const Plan<T>& plan, int64_t n, int64_t count, const T* x, T* y) {
  const int64_t h = n / 2;
  const Place out{count, 1, h + 1};
  Work<T> work(plan, count, 2 * (h + 1));
  Lines<T>& lines = work.lines;
  if (n % 2 == 1) {
    for (int64_t l = 0; l < count; ++l)
      for (int64_t k = 0; k < n; ++k) lines.re[k * count + l] = x[l * n + k];
    std::fill(lines.im, lines.im + n * count, T(0));
    work.forward();
    return store<false>(lines.re, lines.im, out, h + 1, T(1), y);
  }
  if (count == 1)
    load_line(x, h, lines.re, lines.im);
  else
    load(x, {count, 1, h}, h, lines.re, lines.im);
  work.forward();
  T *re = work.more, *im = work.more + (h + 1) * count;
  untangle(lines.re, lines.im, *real_turns<T>(n), h, count, re, im);
  store<false>(re, im, out, h + 1, T(1), y);
}

template <typename T>
void real_inverse_group(const Plan<T>& plan, int64_t n, int64_t count, const T* x, T* y) {
  const int64_t h = n / 2;
  Work<T> work(plan, count, 2 * (h + 1));
  Lines<T>& lines = work.lines;
  T *re = work.more, *im = work.more + (h + 1) * count;
  if (count == 1)
    load_line(x, h + 1, re, im);
  else
    load(x, {count, 1, h + 1}, h + 1, re, im);
  std::fill(im, im + count, T(0));
  const T length = static_cast<T>(n);
  if (n % 2 == 1) {
    std::copy(re, re + (h + 1) * count, lines.im);  // exchanged
    std::copy(im, im + (h + 1) * count, lines.re);
    for (int64_t k = 1; k <= h; ++k)
      for (int64_t l = 0; l < count; ++l) {
        lines.im[(n - k) * count + l] = re[k * count + l];
        lines.re[(n - k) * count + l] = -im[k * count + l];
      }
    work.forward();
    for (int64_t l = 0; l < count; ++l)
      for (int64_t k = 0; k < n; ++k) y[l * n + k] = finished<true>(lines.im[k * count + l], length);
    return;
  }
  std::fill(im + h * count, im + (h + 1) * count, T(0));
  tangle(re, im, *real_turns<T>(n), h, count, lines.im, lines.re);  // exchanged
  work.forward();
  store<true>(lines.im, lines.re, {count, 1, h}, h, length, y);
}

// The real transforms of `outer` lines of n real elements; Group is one of the two above.
template <typename T, typename Group>
void real_axis(ffi::ThreadPool& pool, int64_t outer, int64_t n, const Group& group) {
  const auto shared = plan<T>(n % 2 == 0 ? n / 2 : n);
  const int64_t wanted = n < 128 ? kLines<T> : 1;
  const int64_t groups = (outer + wanted - 1) / wanted;
  parallel(pool, groups, std::max<int64_t>(1, kPiece / (shared->work() * wanted)), [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g)
      group(*shared, g * wanted, std::min(wanted, outer - g * wanted));
  });
}

template <typename T>
ffi::Error transform(ffi::ThreadPool& pool, const T* x, T* y, int64_t kind, int64_t elements,
                     ffi::Span<const int64_t> lengths) {
  const int64_t last = lengths.back(), half = last / 2 + 1;
  const bool real = kind == kReal || kind == kRealInverse;
  int64_t all = 1;
  for (int64_t length : lengths) all *= length;
  const int64_t batch = elements / (all / last * (kind == kReal ? half : last)), outer = batch * (all / last);
  std::vector<T> between;  // what IRFFT transforms before the last axis
  T* now = y;
  if (kind == kRealInverse && lengths.size() > 1) {
    between.assign(x, x + 2 * outer * half);
    now = between.data();
  }
  if (kind == kReal)
    real_axis<T>(pool, outer, last, [&](const Plan<T>& plan, int64_t line, int64_t count) {
      real_group(plan, last, count, x + line * last, y + 2 * line * half);
    });
  else if (kind != kRealInverse)
    complex_axis(pool, x, y, outer, last, 1, kind == kInverse);
  int64_t inner = real ? half : last, over = outer;
  for (size_t axis = lengths.size() - 1; axis-- > 0; inner *= lengths[axis]) {
    over /= lengths[axis];
    complex_axis(pool, now, now, over, lengths[axis], inner, kind == kInverse || kind == kRealInverse);
  }
  if (kind == kRealInverse) {
    const T* from = lengths.size() > 1 ? between.data() : x;
    real_axis<T>(pool, outer, last, [&](const Plan<T>& plan, int64_t line, int64_t count) {
      real_inverse_group(plan, last, count, from + 2 * line * half, y + line * last);
    });
  }
  return ffi::Error::Success();
}

ffi::Error Fft(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t kind,
               ffi::Span<const int64_t> lengths) {
  if (y->element_count() == 0) return ffi::Error::Success();
  const int64_t count = static_cast<int64_t>(y->element_count());
  if (x.element_type() == ffi::F32 || x.element_type() == ffi::C64)
    return transform(pool, static_cast<const float*>(x.untyped_data()), static_cast<float*>(y->untyped_data()), kind,
                     count, lengths);
  return transform(pool, static_cast<const double*>(x.untyped_data()), static_cast<double*>(y->untyped_data()), kind,
                   count, lengths);
}

}  // namespace
}  // namespace portable::fourier

CALL_EXPORT(fft, portable::fourier::Fft, "kind", "lengths")
