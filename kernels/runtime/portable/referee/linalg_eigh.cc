// docs/numerics/linalg.md, 5.6: the symmetric eigenproblem.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "linalg.h"

namespace referee {
namespace {

constexpr double kEps = 0x1p-52;

// Step 2. The reflectors stay in the columns of `a` from row k+2 on.
void tridiagonalise(Matrix<double>& a, std::vector<double>& d, std::vector<double>& e, std::vector<double>& taus) {
  const int64_t n = a.rows;
  for (int64_t k = 0; k + 2 < n; ++k) {
    std::vector<double> u = column(a, k, k + 1);
    const double tau = reflector(u);
    e[k] = u[0];
    taus.push_back(tau);
    set_column(a, k, k + 1, u);
    if (tau == 0) continue;
    u[0] = 1;
    u.insert(u.begin(), k + 1, 0.0);
    const auto product = [&](const std::vector<double>& x) { return column_product(x, u, k + 1); };
    std::vector<double> w(n);
    for (int64_t i = k + 1; i < n; ++i) w[i] = tau * product(column(a, i, 0));
    const double h = (0.5 * tau) * product(w);
    for (int64_t i = k + 1; i < n; ++i) w[i] = std::fma(-h, u[i], w[i]);
    for (int64_t i = k + 1; i < n; ++i)
      for (int64_t j = k + 1; j <= i; ++j) {
        a(i, j) = std::fma(-w[i], u[j], std::fma(-u[i], w[j], a(i, j)));
        a(j, i) = a(i, j);
      }
  }
  for (int64_t k = 0; k < n; ++k) d[k] = a(k, k);
  if (n >= 2) e[n - 2] = a(n - 1, n - 2);
}

// Step 3.
Matrix<double> vectors(const Matrix<double>& a, const std::vector<double>& taus) {
  const int64_t n = a.rows;
  Matrix<double> z = identity<double>(n, n);
  if (n < 2) return z;
  Matrix<double> reflectors(n - 1, n - 1);
  for (int64_t i = 1; i < n; ++i)
    for (int64_t j = 0; j < n - 1; ++j) reflectors(i - 1, j) = a(i, j);
  const Matrix<double> product = householder_product(reflectors, taus);
  for (int64_t i = 1; i < n; ++i)
    for (int64_t j = 1; j < n; ++j) z(i, j) = product(i - 1, j - 1);
  return z;
}

// Step 4.
bool iterate(std::vector<double>& d, std::vector<double>& e, Matrix<double>& z) {
  const int64_t n = z.rows;
  int64_t turns = 0;
  for (int64_t l = 0; l < n; ++l) {
    for (;;) {
      int64_t m = l;
      while (m != n - 1 && !(std::fabs(e[m]) <= kEps * (std::fabs(d[m]) + std::fabs(d[m + 1])))) ++m;
      if (m == l) break;
      if (++turns > 30 * n) return false;
      double g = (d[l + 1] - d[l]) / (2 * e[l]);
      const double one = turn(g, 1).r;
      g = (d[m] - d[l]) + e[l] / (g + std::copysign(one, g));
      double s = 1, c = 1, p = 0;
      bool again = false;
      for (int64_t i = m - 1; i >= l; --i) {
        const double f = s * e[i], b = c * e[i];
        const Turn t = turn(f, g);
        e[i + 1] = t.r;
        if (t.r == 0) {
          d[i + 1] = d[i + 1] - p;
          e[m] = 0;
          again = true;
          break;
        }
        s = t.c;
        c = t.s;
        g = d[i + 1] - p;
        const double r = std::fma(d[i] - g, s, 2 * (c * b));
        p = s * r;
        d[i + 1] = g + p;
        g = std::fma(c, r, -b);
        rotate(z, i + 1, i, c, s);
      }
      if (again) continue;
      d[l] = d[l] - p;
      e[l] = g;
      e[m] = 0;
    }
  }
  return true;
}

template <typename T>
void one_eigh(ffi::AnyBuffer operand, ffi::AnyBuffer v, ffi::AnyBuffer w, int64_t index, int64_t n, bool lower) {
  Matrix<double> a = load<T, double>(operand, index, n, n);
  bool finite = true;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < i; ++j) (lower ? a(j, i) : a(i, j)) = lower ? a(i, j) : a(j, i);
  for (double value : a.values) finite = finite && std::isfinite(value);
  std::vector<double> d(n), e(n), taus, values(n, kNot);
  std::vector<int64_t> order;
  Matrix<double> z(n, n);
  if (finite) {
    const int exponent = exponent_of(a.values);
    for (double& value : a.values) value = std::ldexp(value, -exponent);
    tridiagonalise(a, d, e, taus);
    z = vectors(a, taus);
    const std::vector<double> diagonal = d, beside = e;
    finite = iterate(d, e, z);
    order.resize(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return d[i] < d[j]; });
    for (int64_t j = 0; j < n; ++j) values[j] = d[order[j]];
    if (sizeof(T) == 8 && finite) refine(diagonal, beside, 0, values);
    for (double& value : values) value = finite ? std::ldexp(value, exponent) : kNot;
  }
  Matrix<double> columns(n, n);
  columns.values.assign(n * n, kNot);
  if (finite) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < n; ++i) columns(i, j) = z(i, order[j]);
      if (points_down(columns, j)) negate(columns, j);
    }
  }
  store<T>(v, index, columns.values);
  store<T>(w, index, values);
}

ffi::Error run_eigh(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> v, ffi::Result<ffi::AnyBuffer> w, bool lower) {
  Arithmetic arithmetic;
  const Batch batch(a);
  for (int64_t b = 0; b < batch.count; ++b) {
    if (a.element_type() == ffi::F32)
      one_eigh<float>(a, *v, *w, b, batch.rows, lower);
    else
      one_eigh<double>(a, *v, *w, b, batch.rows, lower);
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace referee

CALL_EXPORT(eigh, referee::run_eigh, "lower")
