// docs/numerics/linalg.md, 5.2: triangular solves of every side and transposition, as one kind of solve.
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/linalg_batch.h"
#include "native/linalg_block.h"

namespace portable::linalg {
namespace {

template <typename T>
void solve(ffi::ThreadPool* pool, int64_t n, const T* a, int64_t rows, int64_t columns, T* x, bool left_side,
           bool lower, bool transpose_a, bool unit) {
  const bool flipped = left_side == transpose_a;  // M is A's transpose
  View<const T> m{a, n, 1};
  if (flipped) m = m.transposed();
  const bool upwards = lower != flipped;
  if (!upwards) m = {m.data + (n - 1) * (m.row + m.column), -m.row, -m.column};
  const auto ordered = [&](View<T> side) {
    return upwards ? side : View<T>{side.data + (n - 1) * side.row, -side.row, side.column};
  };
  if (left_side) {
    solve_lower<T>(pool, n, columns, m, unit, ordered({x, columns, 1}));
  } else {
    std::vector<T> turned(rows * columns);
    const View<T> rows_of_x{x, columns, 1}, columns_of_x{turned.data(), rows, 1};
    transpose<T>(rows, columns, {x, columns, 1}, columns_of_x);
    solve_lower<T>(pool, n, rows, m, unit, ordered(columns_of_x));
    transpose<T>(columns, rows, {turned.data(), rows, 1}, rows_of_x);
  }
  canonicalise(x, rows * columns);
}

template <typename T>
ffi::Error each_solve(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, const ffi::AnyBuffer& b,
                      ffi::Result<ffi::AnyBuffer>& x, bool left_side, bool lower, bool transpose_a, bool unit) {
  const Batch triangles(a), sides(b);
  const int64_t n = triangles.rows, size = sides.rows * sides.columns;
  if (size == 0) return ffi::Error::Success();
  each(pool, triangles.count, static_cast<double>(size * n), [&](ffi::ThreadPool* inner, int64_t i) {
    T* to = matrix<T>(x, i, size);
    std::copy_n(matrix<T>(b, i, size), size, to);
    solve(inner, n, matrix<T>(a, i, n * n), sides.rows, sides.columns, to, left_side, lower, transpose_a, unit);
  });
  return ffi::Error::Success();
}

ffi::Error TriangularSolve(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> x,
                           bool left_side, bool lower, bool transpose_a, bool unit_diagonal) {
  if (a.element_type() == ffi::F32)
    return each_solve<float>(pool, a, b, x, left_side, lower, transpose_a, unit_diagonal);
  return each_solve<double>(pool, a, b, x, left_side, lower, transpose_a, unit_diagonal);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(triangular_solve, portable::linalg::TriangularSolve, "left_side", "lower", "transpose_a", "unit_diagonal")
