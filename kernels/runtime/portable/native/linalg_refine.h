// Eigenvalues of symmetric tridiagonal matrices by counting, docs/numerics/linalg.md, 5.6, step 6.
#pragma once

#include <cstdint>
#include <vector>

namespace portable::linalg {

// `values` are about the ascending eigenvalues from number `first` on of the matrix with this diagonal, and these squares
// of the elements beside it. Replaces them by better ones.
void refine(const std::vector<double>& diagonal, const std::vector<double>& squares, int64_t first,
            std::vector<double>& values);

}  // namespace portable::linalg
