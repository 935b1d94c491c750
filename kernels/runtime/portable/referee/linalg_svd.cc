// docs/numerics/linalg.md, 5.7: the singular value decomposition.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "linalg.h"

namespace referee {
namespace {

constexpr double kEps = 0x1p-52, kTiny = 0x1p-966;

struct Bidiagonal {
  std::vector<double> d, e;
  Matrix<double> u, v;
};

// Step 3's application to a row: the list (1, v) with elements from `from` on.
void reflect_row(double tau, const std::vector<double>& v, Matrix<double>& a, int64_t i, int64_t from) {
  if (tau == 0) return;
  double lane[8] = {};
  for (size_t j = 0; j < v.size(); ++j) lane[j % 8] = std::fma(j == 0 ? 1.0 : v[j], a(i, from + j), lane[j % 8]);
  for (int s = 4; s >= 1; s /= 2)
    for (int l = 0; l < s; ++l) lane[l] = lane[l] + lane[l + s];
  const double t = tau * lane[0];
  for (size_t j = 0; j < v.size(); ++j) a(i, from + j) = std::fma(-t, j == 0 ? 1.0 : v[j], a(i, from + j));
}

// Steps 3 and 4.
Bidiagonal bidiagonalise(Matrix<double> a) {
  const int64_t n = a.rows;
  Bidiagonal result{std::vector<double>(n), std::vector<double>(n), identity<double>(n, n), identity<double>(n, n)};
  Matrix<double> left(n, n), right(std::max<int64_t>(n - 1, 0), std::max<int64_t>(n - 1, 0));
  std::vector<double> left_taus, right_taus;
  for (int64_t k = 0; k < n; ++k) {
    std::vector<double> u = column(a, k, k);
    const double tau = reflector(u);
    left_taus.push_back(tau);
    set_column(left, k, k, u);
    result.d[k] = u[0];
    for (int64_t j = k + 1; j < n; ++j) {
      std::vector<double> y = column(a, j, 0);
      reflect(tau, unit_vector(left, k), k, y);
      set_column(a, j, 0, y);
    }
    if (k == n - 2) result.e[k] = a(k, k + 1);
    if (k >= n - 2) continue;
    std::vector<double> v;
    for (int64_t j = k + 1; j < n; ++j) v.push_back(a(k, j));
    const double row_tau = reflector(v);
    right_taus.push_back(row_tau);
    set_column(right, k, k, v);
    result.e[k] = v[0];
    for (int64_t i = k + 1; i < n; ++i) reflect_row(row_tau, v, a, i, k + 1);
  }
  result.u = householder_product(left, left_taus);
  const Matrix<double> product = householder_product(right, right_taus);
  for (int64_t i = 1; i < n; ++i)
    for (int64_t j = 1; j < n; ++j) result.v(i, j) = product(i - 1, j - 1);
  return result;
}

// Step 5.
bool iterate(Bidiagonal& b) {
  std::vector<double>&d = b.d, &e = b.e;
  const int64_t n = static_cast<int64_t>(d.size());
  int64_t turns = 0;
  for (int64_t top = n; top > 0;) {  // P in the specification
    int64_t k = top - 2;
    for (; k >= 0; --k)
      if (std::fabs(e[k]) <= kTiny + kEps * (std::fabs(d[k]) + std::fabs(d[k + 1]))) {
        e[k] = 0;
        break;
      }
    if (k == top - 2) {
      if (std::signbit(d[top - 1])) {
        d[top - 1] = -d[top - 1];
        negate(b.v, top - 1);
      }
      --top;
      continue;
    }
    int64_t q = top - 1;
    for (; q > k; --q) {
      const double right = q < top - 1 ? std::fabs(e[q]) : 0, left = q > k + 1 ? std::fabs(e[q - 1]) : 0;
      if (std::fabs(d[q]) <= kTiny + kEps * (right + left)) {
        d[q] = 0;
        break;
      }
    }
    if (q == top - 1) {
      double f = e[top - 2];
      e[top - 2] = 0;
      for (int64_t j = top - 2; j > k; --j) {
        const Turn t = turn(d[j], f);
        d[j] = t.r;
        if (j > k + 1) {
          f = -t.s * e[j - 1];
          e[j - 1] = t.c * e[j - 1];
        }
        rotate(b.v, j, top - 1, t.c, t.s);
      }
      continue;
    }
    if (q > k) {
      double f = e[q];
      e[q] = 0;
      for (int64_t j = q + 1; j < top; ++j) {
        const Turn t = turn(d[j], f);
        d[j] = t.r;
        if (j < top - 1) {
          f = -t.s * e[j];
          e[j] = t.c * e[j];
        }
        rotate(b.u, j, q, t.c, t.s);
      }
      continue;
    }
    if (++turns > 60 * n) return false;
    const int64_t low = k + 1;  // b in the specification
    const double z = std::max({std::fabs(d[top - 1]), std::fabs(d[top - 2]), std::fabs(e[top - 2]), std::fabs(d[low]),
                               std::fabs(e[low])});
    const double x = d[top - 1] / z, y = d[top - 2] / z, t = e[top - 2] / z;
    double f = d[low] / z, g = e[low] / z, shift = 0;
    const double h = 0.5 * std::fma(y + x, y - x, t * t), w = (x * t) * (x * t);
    if (!(h == 0 && w == 0)) {
      const double r = std::sqrt(std::fma(h, h, w));
      shift = w / (h + (h < 0 ? -r : r));
    }
    const double first = std::fma(f + x, f - x, shift);
    g = f * g;
    f = first;
    for (int64_t j = low; j < top - 1; ++j) {
      Turn a = turn(f, g);
      if (j > low) e[j - 1] = a.r;
      f = std::fma(a.c, d[j], a.s * e[j]);
      e[j] = std::fma(a.c, e[j], -(a.s * d[j]));
      g = a.s * d[j + 1];
      d[j + 1] = a.c * d[j + 1];
      rotate(b.v, j, j + 1, a.c, a.s);
      a = turn(f, g);
      d[j] = a.r;
      f = std::fma(a.c, e[j], a.s * d[j + 1]);
      d[j + 1] = std::fma(a.c, d[j + 1], -(a.s * e[j]));
      if (j < top - 2) {
        g = a.s * e[j + 1];
        e[j + 1] = a.c * e[j + 1];
      }
      rotate(b.u, j, j + 1, a.c, a.s);
    }
    e[top - 2] = f;
  }
  return true;
}

struct Svd {
  std::vector<double> s;
  Matrix<double> u, v;  // columns
};

// For rows >= columns; `wide` says whether the operand is binary64.
bool decompose(Matrix<double> a, bool full, bool wide, Svd& out) {
  const int64_t m = a.rows, n = a.columns;
  const int exponent = exponent_of(a.values);
  for (double& value : a.values) value = std::ldexp(value, -exponent);
  std::vector<double> taus;
  Matrix<double> square(n, n);
  if (m > n) taus = geqrf(a);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) square(i, j) = m > n && i > j ? 0 : a(i, j);
  Bidiagonal b = bidiagonalise(square);
  std::vector<double> beside;
  for (int64_t j = 0; j < n; ++j) {
    beside.push_back(b.d[j]);
    beside.push_back(b.e[j]);
  }
  if (!iterate(b)) return false;
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return b.d[i] > b.d[j]; });
  for (int64_t j = n - 1; j >= 0; --j) out.s.push_back(b.d[order[j]]);
  if (wide) refine(std::vector<double>(2 * n), beside, n, out.s);
  std::reverse(out.s.begin(), out.s.end());
  for (double& value : out.s) value = value < 0 ? 0 : std::ldexp(value, exponent);
  out.u = identity<double>(m, full ? m : n);
  out.v = Matrix<double>(n, n);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < n; ++i) {
      out.u(i, j) = b.u(i, order[j]);
      out.v(i, j) = b.v(i, order[j]);
    }
  }
  for (int64_t first = last_panel(static_cast<int64_t>(taus.size())); first >= 0; first -= 4)
    reflect_panel(a, taus, first, true, out.u, 0);
  for (int64_t c = 0; c < out.u.columns; ++c) {
    if (points_down(out.u, c)) {
      negate(out.u, c);
      if (c < n) negate(out.v, c);
    }
  }
  return true;
}

Matrix<double> transposed(const Matrix<double>& a) {
  Matrix<double> result(a.columns, a.rows);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < a.columns; ++j) result(j, i) = a(i, j);
  return result;
}

template <typename T>
void one_svd(ffi::AnyBuffer operand, ffi::RemainingRets results, int64_t index, bool full) {
  const Batch batch(operand);
  const int64_t m = batch.rows, n = batch.columns;
  Matrix<double> a = load<T, double>(operand, index, m, n);
  bool good = true;
  for (double value : a.values) good = good && std::isfinite(value);
  Svd svd{{}, Matrix<double>(0, 0), Matrix<double>(0, 0)};
  if (m * n == 0) {
    svd.u = identity<double>(m, full ? m : 0);
    svd.v = identity<double>(n, full ? n : 0);
  } else if (good) {
    good = decompose(m < n ? transposed(a) : a, full, sizeof(T) == 8, svd);
    if (m < n) std::swap(svd.u, svd.v);
  }
  const int64_t rank = std::min(m, n);
  if (!good) {
    svd.s.assign(rank, kNot);
    svd.u = Matrix<double>(m, full ? m : rank);
    svd.v = Matrix<double>(n, full ? n : rank);
    svd.u.values.assign(svd.u.values.size(), kNot);
    svd.v.values.assign(svd.v.values.size(), kNot);
  }
  store<T>(results[0], index, svd.s);
  if (results.size() == 1) return;
  store<T>(results[1], index, svd.u.values);
  store<T>(results[2], index, transposed(svd.v).values);
}

ffi::Error run_svd(ffi::AnyBuffer a, ffi::RemainingRets results, bool full_matrices) {
  Arithmetic arithmetic;
  const Batch batch(a);
  for (int64_t b = 0; b < batch.count; ++b) {
    if (a.element_type() == ffi::F32)
      one_svd<float>(a, results, b, full_matrices);
    else
      one_svd<double>(a, results, b, full_matrices);
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace referee

CALL_EXPORT(svd, referee::run_svd, "full_matrices")
