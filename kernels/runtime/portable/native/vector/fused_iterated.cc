// The special functions of two and three numbers, one element after another: each has as many steps as it needs
// (docs/numerics/special.md, E9). None of their operands is one element for all.
#include "native/fused.h"
#include "native/special64_iterated.h"

namespace portable::fused {
namespace {

using Two = double (*)(double, double);
using Three = double (*)(double, double, double);

template <typename T, Two work>
void of_two(const Call& c) {
  const T *a = static_cast<const T*>(c.in[0]), *b = static_cast<const T*>(c.in[1]);
  T* out = static_cast<T*>(c.out);
  for (int64_t i = 0; i < c.n; ++i) out[i] = static_cast<T>(work(a[i], b[i]));
}

template <typename T, Three work>
void of_three(const Call& c) {
  const T *a = static_cast<const T*>(c.in[0]), *b = static_cast<const T*>(c.in[1]);
  const T* x = static_cast<const T*>(c.in[2]);
  T* out = static_cast<T*>(c.out);
  for (int64_t i = 0; i < c.n; ++i) out[i] = static_cast<T>(work(a[i], b[i], x[i]));
}

template <Two work>
Kernel either(int64_t type) {
  return type == kDouble ? of_two<double, work> : of_two<float, work>;
}

// Not inlined into both formats' loops.
#define FUNCTION(name) \
  __attribute__((noinline)) double name(double a, double b) { return f64::name(a, b); }
FUNCTION(igamma)
FUNCTION(igammac)
FUNCTION(igamma_grad_a)
FUNCTION(zeta)
FUNCTION(polygamma)
__attribute__((noinline)) double incomplete_beta(double a, double b, double x) {
  return f64::regularized_incomplete_beta(a, b, x);
}

}  // namespace

Kernel iterated(int64_t op, int64_t type) {
  switch (op) {
    case kIgamma:
      return either<igamma>(type);
    case kIgammac:
      return either<igammac>(type);
    case kIgammaGradA:
      return either<igamma_grad_a>(type);
    case kZeta:
      return either<zeta>(type);
    case kPolygamma:
      return either<polygamma>(type);
    case kIncompleteBeta:
      return type == kDouble ? of_three<double, incomplete_beta> : of_three<float, incomplete_beta>;
    default:
      return nullptr;
  }
}

}  // namespace portable::fused
