// docs/numerics/linalg.md, 5.3, by blocks of columns: factor a panel, exchange rows elsewhere, solve, update.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_block.h"

namespace portable::linalg {
namespace {

// All columns of an m x width panel with rows next to each other; exchanges its own rows. Pivots count from its top.
template <typename T>
void factor_panel(int64_t m, int64_t width, T* panel, int32_t* pivots) {
  const int64_t steps = std::min(m, width);
  for (int64_t k = 0; k < steps; ++k) {
    int64_t p = k;
    for (int64_t i = k + 1; i < m; ++i)
      if (std::fabs(panel[i * width + k]) > std::fabs(panel[p * width + k])) p = i;
    pivots[k] = static_cast<int32_t>(p);
    if (p != k) std::swap_ranges(panel + k * width, panel + (k + 1) * width, panel + p * width);
    const T* __restrict pivot_row = panel + k * width;
    const T pivot = pivot_row[k];
    for (int64_t i = k + 1; i < m; ++i) {
      T* __restrict row = panel + i * width;
      if (pivot != 0) row[k] = row[k] / pivot;
      const T factor = -row[k];
      for (int64_t j = k + 1; j < width; ++j) row[j] = std::fma(factor, pivot_row[j], row[j]);
    }
  }
}

template <typename T>
void factor(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, int32_t* pivots) {
  const int64_t block_size = std::min(m, n) < 384 ? 16 : 32;  // the panel is the slow part of a small matrix
  const View<T> x{a, n, 1};
  const View<const T> seen{a, n, 1};
  const int64_t steps = std::min(m, n);
  std::vector<T> panel;
  for (int64_t start = 0; start < steps; start += block_size) {
    const int64_t end = std::min(steps, start + block_size), width = end - start, height = m - start;
    panel.resize(height * width);
    for (int64_t i = 0; i < height; ++i) std::copy_n(&x(start + i, start), width, panel.data() + i * width);
    factor_panel(height, width, panel.data(), pivots + start);
    for (int64_t k = start; k < end; ++k) {
      pivots[k] += static_cast<int32_t>(start);
      const int64_t p = pivots[k];
      if (p == k) continue;
      std::swap_ranges(&x(k, 0), &x(k, 0) + start, &x(p, 0));
      std::swap_ranges(&x(k, 0) + end, &x(k, 0) + n, &x(p, 0) + end);
    }
    for (int64_t i = 0; i < height; ++i) std::copy_n(panel.data() + i * width, width, &x(start + i, start));
    if (end == n) continue;
    solve_lower<T>(pool, width, n - end, {panel.data(), width, 1}, true, x.from(start, end));
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
