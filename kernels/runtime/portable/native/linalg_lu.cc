// docs/numerics/linalg.md, 5.3, by blocks of columns: factor a panel, exchange rows elsewhere, solve, update.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_block.h"

namespace portable::linalg {
namespace {

// A panel of at most kBlock columns, not more than its rows, which are `ld` apart: each element's sum is made when its
// column comes.
template <typename T>
struct Panel {
  int64_t m, width, ld;
  std::vector<T> values;
  T* column(int64_t j) { return values.data() + j * ld; }

  // Rows i ... of column k, as many as registers hold, less what the columns before it take away.
  template <int kParts>
  void reduce_rows(int64_t i, int64_t k) {
    using S = Simd<T>;
    T* x = column(k);
    typename S::V sum[kParts];
    for (int p = 0; p < kParts; ++p) sum[p] = S::zero();
    for (int64_t j = 0; j < k; ++j) {
      const typename S::V u = S::set(x[j]);
      const T* l = column(j) + i;
      for (int p = 0; p < kParts; ++p) sum[p] = S::fma(S::load(l + p * S::kLanes), u, sum[p]);
    }
    for (int p = 0; p < kParts; ++p)
      S::store(x + i + p * S::kLanes, S::load(x + i + p * S::kLanes) - sum[p]);
  }

  void reduce(int64_t k) {
    T *x = column(k), top[kBlock] = {};
    for (int64_t j = 0; j < k; ++j) {
      const T* __restrict l = column(j);
      const T u = x[j] = x[j] - top[j];
      for (int64_t i = j + 1; i < k; ++i) top[i] = std::fma(l[i], u, top[i]);
    }
    constexpr int64_t kLanes = Simd<T>::kLanes;
    int64_t i = k;
    for (; i + 4 * kLanes <= m; i += 4 * kLanes) reduce_rows<4>(i, k);
    for (; i < m; i += kLanes) reduce_rows<1>(i, k);  // what lies behind the last row is room
  }

  // All columns; exchanges its own rows. Pivots count from its top.
  void factor(int32_t* pivots) {
    for (int64_t k = 0; k < width; ++k) {
      reduce(k);
      T* __restrict x = column(k);
      int64_t p = k;
      for (int64_t i = k + 1; i < m; ++i)
        if (std::fabs(x[i]) > std::fabs(x[p])) p = i;
      pivots[k] = static_cast<int32_t>(p);
      for (int64_t j = 0; j < width && p != k; ++j) std::swap(column(j)[k], column(j)[p]);
      const T pivot = x[k];
      for (int64_t i = k + 1; i < m && pivot != 0; ++i) x[i] = x[i] / pivot;
    }
  }
};

template <typename T>
void factor(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, int32_t* pivots) {
  const View<T> x{a, n, 1};
  const View<const T> seen{a, n, 1};
  const int64_t steps = std::min(m, n);
  Panel<T> panel;
  for (int64_t start = 0; start < steps; start += kBlock) {
    const int64_t end = std::min(steps, start + kBlock), width = end - start, height = m - start;
    panel.m = height, panel.width = width, panel.ld = height + Simd<T>::kLanes;
    panel.values.resize(panel.ld * width);
    transpose<T>(height, width, seen.from(start, start), {panel.column(0), panel.ld, 1});
    panel.factor(pivots + start);
    transpose<T>(width, height, {panel.column(0), panel.ld, 1}, x.from(start, start));
    for (int64_t k = start; k < end; ++k) {
      pivots[k] += static_cast<int32_t>(start);
      const int64_t p = pivots[k];
      if (p == k) continue;
      std::swap_ranges(&x(k, 0), &x(k, 0) + start, &x(p, 0));
      std::swap_ranges(&x(k, 0) + end, &x(k, 0) + n, &x(p, 0) + end);
    }
    if (end == n) continue;
    solve_lower<T>(pool, width, n - end, {panel.column(0), 1, panel.ld}, true, x.from(start, end));
    subtract_product<T>(pool, m - end, n - end, width, seen.from(end, start), seen.from(start, end), x.from(end, end));
  }
}

template <typename T>
ffi::Error each_lu(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, ffi::Result<ffi::AnyBuffer>& lu, int32_t* pivots) {
  const Batch batch(a);
  const int64_t m = batch.rows, n = batch.columns, steps = std::min(m, n);
  if (steps == 0) return ffi::Error::Success();
  each(pool, batch.count, static_cast<double>(m * n * steps), [&](ffi::ThreadPool* inner, int64_t i) {
    T* to = matrix<T>(lu, i, m * n);
    std::copy_n(matrix<T>(a, i, m * n), m * n, to);
    factor(inner, m, n, to, pivots + i * steps);
    canonicalise(to, m * n);
  });
  return ffi::Error::Success();
}

ffi::Error Lu(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> lu,
              ffi::Result<ffi::AnyBuffer> pivots) {
  int32_t* chosen = static_cast<int32_t*>(pivots->untyped_data());
  return a.element_type() == ffi::F32 ? each_lu<float>(pool, a, lu, chosen) : each_lu<double>(pool, a, lu, chosen);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(lu, portable::linalg::Lu)
