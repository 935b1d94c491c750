// docs/numerics/linalg.md, 5.7: the singular value decomposition, in binary64.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_bidiagonal.h"
#include "native/linalg_refine.h"
#include "native/linalg_reflect.h"

namespace portable::linalg {
namespace {

// Where one matrix's results go: U (rows x columns of U) and V' (with n columns), or neither.
template <typename T>
struct Results {
  T *s, *u, *vt;
};

// Of a, m x n with m >= n >= 1, rows next to each other. U gets `wide` columns. A transposed problem's views are
// transposed, so that its results are written where they belong.
template <typename T>
bool decompose(ffi::ThreadPool* pool, int64_t m, int64_t n, std::vector<double>& a, int64_t wide, T* s, View<T> u,
               View<T> vt) {
  const bool vectors = u.data != nullptr;
  if (!all_finite(a.data(), m * n)) return false;
  const int exponent = scale_of(a.data(), m * n);
  const double scale = std::ldexp(1.0, -exponent);
  for (double& value : a) value = value * scale;
  std::vector<double> taus(n), square(n * n);
  if (m > n) geqrf(pool, m, n, a.data(), taus.data());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = m > n ? i : 0; j < n; ++j) square[i * n + j] = a[i * n + j];
  Bidiagonal b(pool, n, vectors);
  bidiagonalise(pool, n, square.data(), b);
  std::vector<double> squares(2 * n - 1), values(n);
  for (int64_t j = 0; j < n; ++j) {
    squares[2 * j] = b.d[j] * b.d[j];
    if (j < n - 1) squares[2 * j + 1] = b.e[j] * b.e[j];
  }
  if (!iterate(b)) return false;

  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return b.d[i] > b.d[j]; });
  for (int64_t j = 0; j < n; ++j) values[n - 1 - j] = b.d[order[j]];
  if (sizeof(T) == 8) refine(std::vector<double>(2 * n), squares, n, values);
  for (int64_t j = 0; j < n; ++j)
    s[j] = canonical(static_cast<T>(std::ldexp(std::max(values[n - 1 - j], 0.0), exponent)));
  if (!vectors) return true;

  std::vector<double> left(m * wide);
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < n; ++i) left[i * wide + j] = b.u.row(order[j])[i];
  for (int64_t j = n; j < wide; ++j) left[j * wide + j] = 1;
  if (m > n) {
    const Reflectors<double> reflectors({a.data(), n, 1}, m, n, taus.data());
    reflect<double>(pool, reflectors.panels, true, wide, {left.data(), wide, 1});
  }
  for (int64_t j = 0; j < wide; ++j) {
    const double sign = points_down(left.data() + j, m, wide) ? -1 : 1;  // times it is exact
    for (int64_t i = 0; i < m; ++i) u(i, j) = canonical(static_cast<T>(sign * left[i * wide + j]));
    for (int64_t i = 0; i < n && j < n; ++i) vt(j, i) = canonical(static_cast<T>(sign * b.v.row(order[j])[i]));
  }
  return true;
}

template <typename T>
void one(ffi::ThreadPool* pool, int64_t m, int64_t n, bool full, const T* operand, const Results<T>& to) {
  const int64_t rank = std::min(m, n), u_columns = full ? m : rank, vt_rows = full ? n : rank;
  if (rank == 0) {
    for (int64_t i = 0; to.u != nullptr && i < m * u_columns; ++i) to.u[i] = i / u_columns == i % u_columns ? 1 : 0;
    for (int64_t i = 0; to.vt != nullptr && i < vt_rows * n; ++i) to.vt[i] = i / n == i % n ? 1 : 0;
    return;
  }
  std::vector<double> a(m * n);
  const View<T> u{to.u, u_columns, 1}, vt{to.vt, n, 1};
  bool done;
  if (m >= n) {
    std::copy_n(operand, m * n, a.data());
    done = decompose(pool, m, n, a, u_columns, to.s, u, vt);
  } else {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) a[j * m + i] = operand[i * n + j];
    done = decompose(pool, n, m, a, vt_rows, to.s, vt.transposed(), u.transposed());
  }
  if (done) return;
  const T nan = canonical(static_cast<T>(__builtin_nan("")));
  std::fill(to.s, to.s + rank, nan);
  if (to.u == nullptr) return;
  std::fill(to.u, to.u + m * u_columns, nan);
  std::fill(to.vt, to.vt + vt_rows * n, nan);
}

template <typename T>
ffi::Error each_svd(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, ffi::RemainingRets& results, bool full) {
  const Batch batch(a);
  const int64_t m = batch.rows, n = batch.columns, rank = std::min(m, n);
  T* parts[3] = {};
  for (size_t i = 0; i < results.size(); ++i) {
    parts[i] = results[i].typed_data<T>();
  }
  const bool vectors = results.size() > 1;
  const double cost = 20.0 * static_cast<double>(m * n * rank);
  each(pool, batch.count, cost, [&](ffi::ThreadPool* inner, int64_t i) {
    const Results<T> to{parts[0] + i * rank, vectors ? parts[1] + i * m * (full ? m : rank) : nullptr,
                        vectors ? parts[2] + i * n * (full ? n : rank) : nullptr};
    one(inner, m, n, full, matrix<T>(a, i, m * n), to);
  });
  return ffi::Error::Success();
}

ffi::Error Svd(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::RemainingRets results, bool full_matrices) {
  return a.element_type() == ffi::F32 ? each_svd<float>(pool, a, results, full_matrices)
                                      : each_svd<double>(pool, a, results, full_matrices);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(svd, portable::linalg::Svd, "full_matrices")
