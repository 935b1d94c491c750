// A square matrix as U B V' with B upper bidiagonal, and B's singular values: docs/numerics/linalg.md, 5.7, steps 3 to
// 5.
#pragma once

#include <cstdint>
#include <vector>

#include "native/linalg_rotate.h"

namespace portable::linalg {

struct Bidiagonal {
  std::vector<double> d, e;
  Rotated u, v;  // row j is column j of U and V
  Bidiagonal(ffi::ThreadPool* pool, int64_t n, bool vectors)
      : d(n), e(n), u(pool, vectors ? n : 0, vectors ? n : 0), v(pool, vectors ? n : 0, vectors ? n : 0),
        vectors(vectors) {}
  const bool vectors;  // whether U and V are made at all
};

// Steps 3 and 4, of the n x n matrix a, which is overwritten.
void bidiagonalise(ffi::ThreadPool* pool, int64_t n, double* a, Bidiagonal& to);

// Step 5; whether it came to its end.
bool iterate(Bidiagonal& b);

}  // namespace portable::linalg
