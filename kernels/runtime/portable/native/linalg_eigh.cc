// docs/numerics/linalg.md, 5.6: the symmetric eigenproblem by a tridiagonal matrix and implicit QL, in binary64.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_refine.h"
#include "native/linalg_reflect.h"
#include "native/linalg_rotate.h"

namespace portable::linalg {
namespace {

constexpr double kEps = 0x1p-52;

// p = a u over a size x size block whose rows are n apart, the first of them row `top`: down the columns, as a is
// symmetric.
void multiply(ffi::ThreadPool* pool, int64_t top, int64_t size, int64_t n, const double* a, const double* u, double* p) {
  const auto columns = [&](int64_t begin, int64_t end) {
    column_products(u, a + begin, top, size, end - begin, n, p + begin);
  };
  if (pool != nullptr && size > 512)
    parallel(*pool, size, 32, columns);
  else
    columns(0, size);
}

// a(i,j) for j <= i from both products in their order, and the mirrored ones the same.
void update(ffi::ThreadPool* pool, int64_t size, int64_t n, double* a, const double* __restrict u,
            const double* __restrict w) {
  const auto rows = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double* __restrict row = a + i * n;
      const double ui = -u[i], wi = -w[i], vi = u[i], xi = w[i];
      for (int64_t j = 0; j <= i; ++j) row[j] = std::fma(wi, u[j], std::fma(ui, w[j], row[j]));
      for (int64_t j = i + 1; j < size; ++j) row[j] = std::fma(-w[j], vi, std::fma(-u[j], xi, row[j]));
    }
  };
  if (pool != nullptr && size > 512)
    parallel(*pool, size, 64, rows);
  else
    rows(0, size);
}

// Step 2; the reflectors stay in the columns of a, from row k + 2 on.
void tridiagonalise(ffi::ThreadPool* pool, int64_t n, double* a, double* d, double* e, double* taus) {
  std::vector<double> u(n), w(n);
  for (int64_t k = 0; k + 2 < n; ++k) {
    const int64_t size = n - k - 1;
    double* corner = a + (k + 1) * n + k + 1;
    for (int64_t i = 0; i < size; ++i) u[i] = a[(k + 1 + i) * n + k];
    const double tau = taus[k] = reflector<double>(size, u.data(), 1);
    e[k] = u[0];
    for (int64_t i = 0; i < size; ++i) a[(k + 1 + i) * n + k] = u[i];
    if (tau == 0) continue;
    u[0] = 1;
    multiply(pool, k + 1, size, n, corner, u.data(), w.data());
    for (int64_t i = 0; i < size; ++i) w[i] = tau * w[i];
    double s;
    column_products(u.data(), w.data(), k + 1, size, 1, 1, &s);
    const double h = (0.5 * tau) * s;
    for (int64_t i = 0; i < size; ++i) w[i] = std::fma(-h, u[i], w[i]);
    update(pool, size, n, corner, u.data(), w.data());
  }
  for (int64_t k = 0; k < n; ++k) d[k] = a[k * n + k];
  if (n >= 2) e[n - 2] = a[(n - 1) * n + n - 2];
}

// Step 4; row j of z is column j of Z.
bool iterate(int64_t n, double* d, double* e, Rotated& z) {
  int64_t turns = 0;
  for (int64_t l = 0; l < n; ++l) {
    for (;;) {
      int64_t m = l;
      while (m < n - 1 && std::fabs(e[m]) > kEps * (std::fabs(d[m]) + std::fabs(d[m + 1]))) ++m;
      if (m == l) break;
      if (++turns > 30 * n) return false;
      double g = (d[l + 1] - d[l]) / (2 * e[l]);
      g = (d[m] - d[l]) + e[l] / (g + std::copysign(turn(g, 1).r, g));
      double s = 1, c = 1, p = 0;
      int64_t i = m - 1;
      for (; i >= l; --i) {
        const double b = c * e[i];
        const Turn next = turn(s * e[i], g);
        e[i + 1] = next.r;
        if (next.r == 0) break;
        s = next.c;
        c = next.s;
        g = d[i + 1] - p;
        const double r = std::fma(d[i] - g, s, 2 * (c * b));
        p = s * r;
        d[i + 1] = g + p;
        g = std::fma(c, r, -b);
        z.rotate(i + 1, i, c, s);
      }
      if (i >= l) {
        d[i + 1] = d[i + 1] - p;
      } else {
        d[l] = d[l] - p;
        e[l] = g;
      }
      e[m] = 0;
    }
  }
  return true;
}

template <typename T>
bool decompose(ffi::ThreadPool* pool, int64_t n, bool lower, const T* operand, T* vectors, T* values) {
  std::vector<double> a(n * n), d(n), e(n), taus(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j <= i; ++j) a[i * n + j] = a[j * n + i] = lower ? operand[i * n + j] : operand[j * n + i];
  if (!all_finite(a.data(), n * n)) return false;
  const int exponent = scale_of(a.data(), n * n);
  const double scale = std::ldexp(1.0, -exponent);
  for (double& value : a) value = value * scale;
  tridiagonalise(pool, n, a.data(), d.data(), e.data(), taus.data());

  Rotated z(pool, n, n);
  z.row(0)[0] = 1;
  if (n > 1) {
    const int64_t count = std::max<int64_t>(n - 2, 0);
    const Reflectors<double> reflectors({a.data() + n, n, 1}, n - 1, count, taus.data());
    std::vector<double> product((n - 1) * (n - 1));
    householder_product<double>(pool, reflectors, n - 1, {product.data(), n - 1, 1});
    transpose<double>(n - 1, n - 1, {product.data(), n - 1, 1}, z.view().from(1, 1));
  }
  const std::vector<double> diagonal = d;
  std::vector<double> squares(n), sorted(n);
  for (int64_t i = 0; i < n; ++i) squares[i] = e[i] * e[i];
  if (!iterate(n, d.data(), e.data(), z)) return false;
  z.flush();

  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return d[i] < d[j]; });
  for (int64_t j = 0; j < n; ++j) sorted[j] = d[order[j]];
  if (sizeof(T) == 8) refine(diagonal, squares, 0, sorted);
  for (int64_t j = 0; j < n; ++j) {
    const double* from = z.row(order[j]);
    values[j] = canonical(static_cast<T>(std::ldexp(sorted[j], exponent)));
    const bool down = points_down(from, n, 1);
    for (int64_t i = 0; i < n; ++i) vectors[i * n + j] = canonical(static_cast<T>(down ? -from[i] : from[i]));
  }
  return true;
}

template <typename T>
ffi::Error each_eigh(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, ffi::Result<ffi::AnyBuffer>& v,
                     ffi::Result<ffi::AnyBuffer>& w, bool lower) {
  const Batch batch(a);
  const int64_t n = batch.rows;
  if (n == 0) return ffi::Error::Success();
  each(pool, batch.count, 9.0 * static_cast<double>(n * n * n), [&](ffi::ThreadPool* inner, int64_t i) {
    T *vectors = matrix<T>(v, i, n * n), *values = matrix<T>(w, i, n);
    if (decompose(inner, n, lower, matrix<T>(a, i, n * n), vectors, values)) return;
    std::fill(vectors, vectors + n * n, canonical(static_cast<T>(__builtin_nan(""))));
    std::fill(values, values + n, canonical(static_cast<T>(__builtin_nan(""))));
  });
  return ffi::Error::Success();
}

ffi::Error Eigh(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> v, ffi::Result<ffi::AnyBuffer> w,
                bool lower) {
  return a.element_type() == ffi::F32 ? each_eigh<float>(pool, a, v, w, lower)
                                      : each_eigh<double>(pool, a, v, w, lower);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(eigh, portable::linalg::Eigh, "lower")
