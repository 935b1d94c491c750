// docs/numerics/linalg.md, 5.1 to 5.4: factorisations and solves that take a fixed number of steps.
#include <cmath>
#include <vector>

#include "linalg.h"

namespace referee {
namespace {

// t less the products of `count` pairs.
template <int64_t block = 32, typename T, typename Left, typename Right>
T less(T t, int64_t count, const Left& left, const Right& right) {
  for (int64_t start = 0; start < count; start += block) {
    T sum = 0;
    for (int64_t k = start; k < std::min(count, start + block); ++k) sum = std::fma(left(k), right(k), sum);
    t = t - sum;
  }
  return t;
}

template <typename T>
bool cholesky(Matrix<T>& a) {
  const int64_t n = a.rows;
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j; i < n; ++i) {
      const T t = less<64>(a(i, j), j, [&](int64_t k) { return a(i, k); }, [&](int64_t k) { return a(j, k); });
      if (i == j && !(t > 0)) return false;
      a(i, j) = i == j ? std::sqrt(t) : t / a(j, j);
    }
    for (int64_t i = 0; i < j; ++i) a(i, j) = 0;
  }
  return true;
}

template <typename T>
ffi::Error each_cholesky(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> l) {
  const Batch batch(a);
  for (int64_t b = 0; b < batch.count; ++b) {
    Matrix<T> matrix = load<T>(a, b, batch.rows, batch.columns);
    if (!cholesky(matrix)) matrix.values.assign(matrix.values.size(), static_cast<T>(kNot));
    store<T>(*l, b, matrix.values);
  }
  return ffi::Error::Success();
}

ffi::Error run_cholesky(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> l) {
  Arithmetic arithmetic;
  return a.element_type() == ffi::F32 ? each_cholesky<float>(a, l) : each_cholesky<double>(a, l);
}

template <typename T>
ffi::Error each_solve(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> x, bool left_side, bool lower,
                      bool transpose_a, bool unit_diagonal) {
  const Batch triangles(a), sides(b);
  const int64_t n = triangles.rows;
  for (int64_t index = 0; index < triangles.count; ++index) {
    const Matrix<T> matrix = load<T>(a, index, n, n);
    Matrix<T> side = load<T>(b, index, sides.rows, sides.columns);
    const bool flipped = left_side == transpose_a;  // M is the transpose of A
    const auto m = [&](int64_t i, int64_t k) { return flipped ? matrix(k, i) : matrix(i, k); };
    const bool upwards = lower != flipped;
    for (int64_t c = 0; c < (left_side ? sides.columns : sides.rows); ++c) {
      const auto at = [&](int64_t i) -> T& { return left_side ? side(i, c) : side(c, i); };
      for (int64_t step = 0; step < n; ++step) {
        const int64_t i = upwards ? step : n - 1 - step;
        const auto solved = [&](int64_t k) { return upwards ? k : n - 1 - k; };
        const T t = less(at(i), step, [&](int64_t k) { return m(i, solved(k)); },
                         [&](int64_t k) { return at(solved(k)); });
        at(i) = unit_diagonal ? t : t / m(i, i);
      }
    }
    store<T>(*x, index, side.values);
  }
  return ffi::Error::Success();
}

ffi::Error run_solve(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> x, bool left_side, bool lower,
                     bool transpose_a, bool unit_diagonal) {
  Arithmetic arithmetic;
  return a.element_type() == ffi::F32 ? each_solve<float>(a, b, x, left_side, lower, transpose_a, unit_diagonal)
                                      : each_solve<double>(a, b, x, left_side, lower, transpose_a, unit_diagonal);
}

template <typename T>
ffi::Error each_lu(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> lu, ffi::Result<ffi::AnyBuffer> pivots) {
  const Batch batch(a);
  const int64_t m = batch.rows, n = batch.columns, steps = std::min(m, n);
  for (int64_t b = 0; b < batch.count; ++b) {
    Matrix<T> x = load<T>(a, b, m, n);
    const auto reduce = [&](int64_t i, int64_t j) {
      x(i, j) = less(x(i, j), std::min(i, j), [&](int64_t k) { return x(i, k); }, [&](int64_t k) { return x(k, j); });
    };
    for (int64_t k = 0; k < steps; ++k) {
      for (int64_t i = k; i < m; ++i) reduce(i, k);
      int64_t p = k;
      for (int64_t i = k + 1; i < m; ++i)
        if (std::fabs(x(i, k)) > std::fabs(x(p, k))) p = i;
      pivots->typed_data<int32_t>()[b * steps + k] = static_cast<int32_t>(p);
      for (int64_t j = 0; j < n; ++j) std::swap(x(k, j), x(p, j));
      for (int64_t i = k + 1; i < m && x(k, k) != 0; ++i) x(i, k) = x(i, k) / x(k, k);
      for (int64_t j = k + 1; j < n; ++j) reduce(k, j);
    }
    store<T>(*lu, b, x.values);
  }
  return ffi::Error::Success();
}

ffi::Error run_lu(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> lu, ffi::Result<ffi::AnyBuffer> pivots) {
  Arithmetic arithmetic;
  return a.element_type() == ffi::F32 ? each_lu<float>(a, lu, pivots) : each_lu<double>(a, lu, pivots);
}

template <typename T>
ffi::Error each_geqrf(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> factors, ffi::Result<ffi::AnyBuffer> taus) {
  const Batch batch(a);
  for (int64_t b = 0; b < batch.count; ++b) {
    Matrix<T> x = load<T>(a, b, batch.rows, batch.columns);
    const std::vector<T> tau = geqrf(x);
    store<T>(*factors, b, x.values);
    store<T>(*taus, b, tau);
  }
  return ffi::Error::Success();
}

ffi::Error run_geqrf(ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> factors, ffi::Result<ffi::AnyBuffer> taus) {
  Arithmetic arithmetic;
  return a.element_type() == ffi::F32 ? each_geqrf<float>(a, factors, taus) : each_geqrf<double>(a, factors, taus);
}

template <typename T>
ffi::Error each_product(ffi::AnyBuffer a, ffi::AnyBuffer taus, ffi::Result<ffi::AnyBuffer> q) {
  const Batch batch(a);
  const auto dims = taus.dimensions();
  const int64_t count = dims[dims.size() - 1];
  for (int64_t b = 0; b < batch.count; ++b) {
    const T* tau = static_cast<const T*>(taus.untyped_data()) + b * count;
    store<T>(*q, b,
             householder_product(load<T>(a, b, batch.rows, batch.columns), std::vector<T>(tau, tau + count)).values);
  }
  return ffi::Error::Success();
}

ffi::Error run_product(ffi::AnyBuffer a, ffi::AnyBuffer taus, ffi::Result<ffi::AnyBuffer> q) {
  Arithmetic arithmetic;
  return a.element_type() == ffi::F32 ? each_product<float>(a, taus, q) : each_product<double>(a, taus, q);
}

}  // namespace
}  // namespace referee

CALL_EXPORT(cholesky, referee::run_cholesky)
CALL_EXPORT(triangular_solve, referee::run_solve, "left_side", "lower", "transpose_a", "unit_diagonal")
CALL_EXPORT(lu, referee::run_lu)
CALL_EXPORT(geqrf, referee::run_geqrf)
CALL_EXPORT(householder_product, referee::run_product)
