// docs/numerics/linalg.md, 5.8: the fast Fourier transform.
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "common.h"

namespace referee {
namespace {

template <typename T>
struct Complex {
  T re, im;
};
template <typename T>
using List = std::vector<Complex<T>>;

template <typename T>
Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename T>
Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
// The product (x·w), data first.
template <typename T>
Complex<T> operator*(Complex<T> x, Complex<T> w) {
  return {std::fma(x.re, w.re, -(x.im * w.im)), std::fma(x.re, w.im, x.im * w.re)};
}
template <typename T>
Complex<T> exchanged(Complex<T> a) {
  return {a.im, a.re};
}
template <typename T>
Complex<T> conjugate(Complex<T> a) {
  return {a.re, -a.im};
}

struct Angle {
  double cos, sin;
};

Angle angle(int64_t k, int64_t n) {
  constexpr double kHigh = 0x1.921fb54442d18p+2, kLow = 0x1.1a62633145c07p-52;
  constexpr double kSin[] = {-0x1.5555555555549p-3,  0x1.111111110f8a6p-7,  -0x1.a01a019c161d5p-13,
                             0x1.71de357b1fe7dp-19, -0x1.ae5e68a2b9cebp-26, 0x1.5d93a5acfd57cp-33};
  constexpr double kCos[] = {0x1.555555555554cp-5,   -0x1.6c16c16c15177p-10, 0x1.a01a019cb159p-16,
                             -0x1.27e4f809c52adp-22, 0x1.1ee9ebdb4b1c4p-29,  -0x1.8fae9be8838d4p-37};
  const int64_t whole = 8 * n;
  int64_t part = 8 * k;
  bool negative_sin = false, negative_cos = false, exchange = false;
  if (part > whole / 2) part = whole - part, negative_sin = true;
  if (part > whole / 4) part = whole / 2 - part, negative_cos = true;
  if (part > whole / 8) part = whole / 4 - part, exchange = true;
  const double a = static_cast<double>(part), all = static_cast<double>(whole);
  const double q = a / all, rho = std::fma(-q, all, a) / all;
  const double theta = kHigh * q;
  double delta = std::fma(kHigh, q, -theta);
  delta = std::fma(kLow, q, delta);
  delta = std::fma(kHigh, rho, delta);
  const double z = theta * theta;
  double s = kSin[5], c = kCos[5];
  for (int i = 4; i >= 0; --i) {
    s = std::fma(z, s, kSin[i]);
    c = std::fma(z, c, kCos[i]);
  }
  double sin = theta + std::fma(z * theta, s, std::fma(-0.5 * z, delta, delta));
  const double h = 0.5 * z, w = 1 - h;
  double cos = w + (((1 - w) - h) + std::fma(z * z, c, -(theta * delta)));
  if (exchange) std::swap(sin, cos);
  return {negative_cos ? -cos : cos, negative_sin ? -sin : sin};
}

template <typename T>
Complex<T> twiddle(int64_t k, int64_t n) {
  const Angle a = angle(k, n);
  return {static_cast<T>(a.cos), static_cast<T>(-a.sin)};
}

template <typename T>
List<T> small(const List<T>& a) {
  const int64_t r = static_cast<int64_t>(a.size());
  List<T> b(r);
  if (r == 2) return {a[0] + a[1], a[0] - a[1]};
  if (r == 4) {
    const Complex<T> t0 = a[0] + a[2], t1 = a[0] - a[2], t2 = a[1] + a[3], t3 = a[1] - a[3];
    return {t0 + t2, {t1.re + t3.im, t1.im - t3.re}, t0 - t2, {t1.re - t3.im, t1.im + t3.re}};
  }
  b[0] = a[0];
  for (int64_t j = 1; j <= (r - 1) / 2; ++j) b[0] = b[0] + (a[j] + a[r - j]);
  for (int64_t k = 1; k <= (r - 1) / 2; ++k) {
    Complex<T> even = a[0], odd = {0, 0};
    for (int64_t j = 1; j <= (r - 1) / 2; ++j) {
      const Complex<T> u = a[j] + a[r - j], v = a[j] - a[r - j];
      const Angle at = angle(j * k % r, r);
      const T cos = static_cast<T>(at.cos), sin = static_cast<T>(at.sin);
      even = {std::fma(u.re, cos, even.re), std::fma(u.im, cos, even.im)};
      odd = {std::fma(v.re, sin, odd.re), std::fma(v.im, sin, odd.im)};
    }
    b[k] = {even.re + odd.im, even.im - odd.re};
    b[r - k] = {even.re - odd.im, even.im + odd.re};
  }
  return b;
}

std::vector<int64_t> factors(int64_t n) {
  std::vector<int64_t> found;
  for (; n % 4 == 0; n /= 4) found.push_back(4);
  for (int64_t p = 2; n > 1; ++p)
    for (; n % p == 0; n /= p) found.push_back(p);
  return found;
}

template <typename T>
List<T> forward(List<T> x);

template <typename T>
List<T> inverse(List<T> x) {
  for (Complex<T>& value : x) value = exchanged(value);
  x = forward(std::move(x));
  const T n = static_cast<T>(x.size());
  for (Complex<T>& value : x) value = {value.im / n, value.re / n};
  return x;
}

template <typename T>
List<T> bluestein(const List<T>& x) {
  const int64_t n = static_cast<int64_t>(x.size());
  int64_t size = 1;
  while (size < 2 * n - 1) size *= 2;
  List<T> a(size, {0, 0}), h(size, {0, 0}), chirp(n);
  for (int64_t k = 0; k < n; ++k) {
    chirp[k] = twiddle<T>(k * k % (2 * n), 2 * n);
    a[k] = x[k] * chirp[k];
    h[k] = h[(size - k) % size] = conjugate(chirp[k]);
  }
  a = forward(a);
  h = forward(h);
  for (int64_t k = 0; k < size; ++k) a[k] = a[k] * h[k];
  a = inverse(a);
  a.resize(n);
  for (int64_t k = 0; k < n; ++k) a[k] = a[k] * chirp[k];
  return a;
}

template <typename T>
List<T> forward(List<T> x) {
  const int64_t n = static_cast<int64_t>(x.size());
  const std::vector<int64_t> radices = factors(n);
  if (!radices.empty() && radices.back() > 61) return bluestein(x);
  int64_t s = 1;
  for (int64_t r : radices) {
    const int64_t m = n / (s * r);
    List<T> y(n);
    for (int64_t p = 0; p < m; ++p)
      for (int64_t q = 0; q < s; ++q) {
        List<T> a(r);
        for (int64_t j = 0; j < r; ++j) a[j] = x[q + s * (p + j * m)];
        const List<T> b = small(a);
        for (int64_t k = 0; k < r; ++k)
          y[q + s * (r * p + k)] = k * p == 0 ? b[k] : b[k] * twiddle<T>(p * k, m * r);
      }
    x = y;
    s *= r;
  }
  return x;
}

template <typename T>
List<T> real_forward(const std::vector<T>& x) {
  const int64_t n = static_cast<int64_t>(x.size()), h = n / 2;
  List<T> z;
  if (n % 2 == 1) {
    for (T value : x) z.push_back({value, 0});
    z = forward(z);
    z.resize(h + 1);
    return z;
  }
  for (int64_t k = 0; k < h; ++k) z.push_back({x[2 * k], x[2 * k + 1]});
  z = forward(z);
  List<T> result(h + 1);
  for (int64_t k = 0; k <= h; ++k) {
    const Complex<T> p = z[k % h], q = z[(h - k) % h], w = twiddle<T>(k, n);
    const Complex<T> even = {p.re + q.re, p.im - q.im}, odd = {p.im + q.im, q.re - p.re};
    const Complex<T> turned = odd * w;
    result[k] = {T(0.5) * (even.re + turned.re), T(0.5) * (even.im + turned.im)};
  }
  result[0].im = result[h].im = 0;
  return result;
}

template <typename T>
std::vector<T> real_inverse(List<T> x, int64_t n) {
  const int64_t h = n / 2;
  x[0].im = 0;
  if (n % 2 == 0) x[h].im = 0;
  std::vector<T> result;
  if (n % 2 == 1) {
    x.resize(n);
    for (int64_t k = 1; k <= h; ++k) x[n - k] = conjugate(x[k]);
    for (Complex<T> value : inverse(x)) result.push_back(value.re);
    return result;
  }
  List<T> z;
  for (int64_t k = 0; k < h; ++k) {
    const Complex<T> p = x[k], q = x[h - k], w = twiddle<T>(k, n);
    const Complex<T> even = {p.re + q.re, p.im - q.im}, d = {p.re - q.re, p.im + q.im};
    const Complex<T> odd = {std::fma(d.re, w.re, d.im * w.im), std::fma(d.im, w.re, -(d.re * w.im))};
    z.push_back(exchanged(Complex<T>{even.re - odd.im, even.im + odd.re}));
  }
  for (Complex<T> value : forward(z)) {
    result.push_back(value.im / static_cast<T>(n));
    result.push_back(value.re / static_cast<T>(n));
  }
  return result;
}

enum Kind { kForward, kInverse, kReal, kRealInverse };

// Every line along the axis that has `inner` elements after it, as `Line` turns it.
template <typename In, typename Out, typename Line>
std::vector<Out> along(const std::vector<In>& x, int64_t length, int64_t inner, const Line& line) {
  const int64_t outer = static_cast<int64_t>(x.size()) / (length * inner);
  std::vector<Out> y;
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      std::vector<In> one;
      for (int64_t k = 0; k < length; ++k) one.push_back(x[(o * length + k) * inner + i]);
      const std::vector<Out> turned = line(one);
      const int64_t made = static_cast<int64_t>(turned.size());
      y.resize(outer * made * inner);
      for (int64_t k = 0; k < made; ++k) y[(o * made + k) * inner + i] = turned[k];
    }
  return y;
}

template <typename T>
ffi::Error transform(ffi::AnyBuffer operand, ffi::AnyBuffer result, int64_t kind, ffi::Span<const int64_t> lengths) {
  using C = Complex<T>;
  if (result.element_count() == 0) return ffi::Error::Success();
  const auto complex_line = [&](List<T> x) { return kind == kForward || kind == kReal ? forward(x) : inverse(x); };
  const int64_t last = lengths.back();
  List<T> x;
  std::vector<T> reals;
  if (kind == kReal) {
    const T* from = static_cast<const T*>(operand.untyped_data());
    reals.assign(from, from + operand.element_count());
    x = along<T, C>(reals, last, 1, [](const std::vector<T>& line) { return real_forward(line); });
  } else {
    const C* from = static_cast<const C*>(operand.untyped_data());
    x.assign(from, from + operand.element_count());
    if (kind != kRealInverse) x = along<C, C>(x, last, 1, complex_line);
  }
  int64_t inner = kind == kReal || kind == kRealInverse ? last / 2 + 1 : last;
  for (size_t axis = lengths.size() - 1; axis-- > 0; inner *= lengths[axis])
    x = along<C, C>(x, lengths[axis], inner, complex_line);
  T* to = static_cast<T*>(result.untyped_data());
  if (kind == kRealInverse) {
    reals = along<C, T>(x, last / 2 + 1, 1, [&](const List<T>& line) { return real_inverse(line, last); });
    for (T value : reals) *to++ = one_nan(value);
  } else {
    for (C value : x) {
      *to++ = one_nan(value.re);
      *to++ = one_nan(value.im);
    }
  }
  return ffi::Error::Success();
}

ffi::Error run_fft(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, int64_t kind, ffi::Span<const int64_t> lengths) {
  Arithmetic arithmetic;
  const bool single = x.element_type() == ffi::F32 || x.element_type() == ffi::C64;
  return single ? transform<float>(x, *y, kind, lengths) : transform<double>(x, *y, kind, lengths);
}

}  // namespace
}  // namespace referee

CALL_EXPORT(fft, referee::run_fft, "kind", "lengths")
