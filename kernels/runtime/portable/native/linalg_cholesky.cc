// docs/numerics/linalg.md, 5.1, by blocks of columns: factor the diagonal block, solve for what is below, update.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_block.h"

namespace portable::linalg {
namespace {

constexpr int64_t kSquare = 64;  // products of a sum

// The block's factor, transposed, in `u` (size x size, rows next to each other); reads and leaves its upper triangle.
// `sums` has the same size: what each element is to take away.
template <typename T>
bool factor_block(int64_t size, T* u, T* sums) {
  std::fill(sums, sums + size * size, T(0));
  for (int64_t k = 0; k < size; ++k) {
    T* __restrict pivot_row = u + k * size;
    const T* __restrict less = sums + k * size;
    for (int64_t j = k; j < size; ++j) pivot_row[j] = pivot_row[j] - less[j];
    if (!(pivot_row[k] > 0)) return false;
    const T pivot = std::sqrt(pivot_row[k]);
    pivot_row[k] = pivot;
    for (int64_t j = k + 1; j < size; ++j) pivot_row[j] = pivot_row[j] / pivot;
    for (int64_t i = k + 1; i < size; ++i) {
      T* __restrict row = sums + i * size;
      const T factor = pivot_row[i];
      for (int64_t j = i; j < size; ++j) row[j] = std::fma(factor, pivot_row[j], row[j]);
    }
  }
  return true;
}

template <typename T>
bool factor(ffi::ThreadPool* pool, int64_t n, T* a) {
  const View<T> l{a, n, 1};
  const int64_t square = std::min(n, kSquare);
  std::vector<T> block(square * square), sums(square * square), panel;
  for (int64_t start = 0; start < n; start += kSquare) {
    const int64_t end = std::min(n, start + kSquare), size = end - start, rest = n - end;
    const View<T> u{block.data(), size, 1};
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = i; j < size; ++j) u(i, j) = l(start + j, start + i);
    if (!factor_block(size, block.data(), sums.data())) return false;
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j < i; ++j) u(i, j) = 0;
      for (int64_t j = 0; j < size; ++j) l(start + i, start + j) = j > i ? T(0) : u(j, i);
      std::fill(&l(start + i, start) + size, a + (start + i + 1) * n, T(0));
    }
    if (rest == 0) break;
    panel.resize(size * rest);  // the transpose of the rows below
    const View<T> below{panel.data(), rest, 1};
    const View<const T> done{panel.data(), rest, 1};
    transpose<T>(rest, size, {&l(end, start), n, 1}, below);
    solve_lower<T, kSquare>(pool, size, rest, {block.data(), 1, size}, false, below);
    transpose<T>(size, rest, done, l.from(end, start));
    for (int64_t j = 0; j < rest; j += kSquare) {  // block columns, each from its diagonal block down
      const int64_t width = std::min(kSquare, rest - j);
      subtract_product<T>(pool, rest - j, width, size, done.from(0, j).transposed(), done.from(0, j),
                          l.from(end + j, end + j));
    }
  }
  return true;
}

template <typename T>
ffi::Error each_cholesky(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, ffi::Result<ffi::AnyBuffer>& l) {
  const Batch batch(a);
  const int64_t n = batch.rows;
  if (n == 0) return ffi::Error::Success();
  each(pool, batch.count, static_cast<double>(n * n * n) / 3, [&](ffi::ThreadPool* inner, int64_t i) {
    T* to = matrix<T>(l, i, n * n);
    std::copy_n(matrix<T>(a, i, n * n), n * n, to);
    if (!factor(inner, n, to)) std::fill(to, to + n * n, static_cast<T>(__builtin_nan("")));
    canonicalise(to, n * n);
  });
  return ffi::Error::Success();
}

ffi::Error Cholesky(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> l) {
  return a.element_type() == ffi::F32 ? each_cholesky<float>(pool, a, l) : each_cholesky<double>(pool, a, l);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(cholesky, portable::linalg::Cholesky)
