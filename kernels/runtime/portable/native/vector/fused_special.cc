// The special functions of one number as loops (docs/numerics/special.md, E8). Each is compiled once, for binary64;
// binary32 goes through it, block by block, and is rounded once.
#include "native/fused.h"
#include "native/special64.h"

namespace portable::fused {
namespace {

using Wide = void (*)(double* out, const double* x, int64_t n);

// A loop over calls is no loop over vectors: everything goes into it.
template <double (*work)(double)>
__attribute__((flatten)) void wide(double* out, const double* x, int64_t n) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = work(x[i]);
}

template <Wide work>
void of_double(const Call& c) {
  work(static_cast<double*>(c.out), static_cast<const double*>(c.in[0]), c.n);
}

template <Wide work>
void of_float(const Call& c) {
  constexpr int64_t kBlock = 128;
  const float* x = static_cast<const float*>(c.in[0]);
  float* out = static_cast<float*>(c.out);
  double from[kBlock], to[kBlock];
  for (int64_t begin = 0; begin < c.n; begin += kBlock) {
    const int64_t n = c.n - begin < kBlock ? c.n - begin : kBlock;
    for (int64_t i = 0; i < n; ++i) from[i] = x[begin + i];
    work(to, from, n);
    for (int64_t i = 0; i < n; ++i) out[begin + i] = static_cast<float>(to[i]);
  }
}

template <Wide work>
Kernel either(int64_t type) {
  return type == kDouble ? of_double<work> : of_float<work>;
}

}  // namespace

Kernel special(int64_t op, int64_t type) {
  switch (op) {
    case kErf:
      return of_double<wide<f64::erf>>;
    case kErfc:
      return of_double<wide<f64::erfc>>;
    case kErfInv:
      return of_double<wide<f64::erf_inv>>;
    case kLgamma:
      return either<wide<f64::lgamma>>(type);
    case kDigamma:
      return either<wide<f64::digamma>>(type);
    case kBesselI0e:
      return either<wide<f64::bessel_i0e>>(type);
    case kBesselI1e:
      return either<wide<f64::bessel_i1e>>(type);
    default:
      return nullptr;
  }
}

}  // namespace portable::fused
