// The functions of binary64 as loops (docs/numerics/elementwise.md, E7).
#include "native/fused_loops.h"
#include "native/math64.h"

namespace portable::fused {
namespace {

#define FUNCTION(op, name) \
  case op:                 \
    return [](const Call& c) { unary<double, double>(c, [](double x) { return f64::name(x); }); }
#define FUNCTION_OF_TWO(op, name) \
  case op:                        \
    return [](const Call& c) { binary<double, double>(c, [](double x, double y) { return f64::name(x, y); }); }

// Angles beyond kNearAngles need hundreds of digits of 2/π: a second pass sees to them, where there are any.
template <typename Work>
void circular(const Call& c, const Work& work) {
  unary<double, double>(c, [&](double x) { return work(f64::near_angle(x), x); });
  const double* x = static_cast<const double*>(c.in[0]);
  double* out = static_cast<double*>(c.out);
  for (int64_t i = 0; i < c.n; ++i) {
    if (f64::absolute(x[i]) <= f64::kNearAngles) continue;
    if (!(f64::absolute(x[i]) < f64::kInf)) {
      out[i] = f64::kNaN;
      continue;
    }
    const Turn turn = far_angle(x[i]);
    out[i] = work(f64::Angle{f64::mul({turn.high, turn.low}, f64::kHalfPi), turn.quadrant}, x[i]);
  }
}

}  // namespace

Kernel function64(int64_t op) {
  switch (op) {
    FUNCTION(kRsqrt, rsqrt);
    FUNCTION(kCbrt, cbrt);
    FUNCTION(kExp, exp);
    FUNCTION(kExp2, exp2);
    FUNCTION(kExpm1, expm1);
    FUNCTION(kLog, log);
    FUNCTION(kLog1p, log1p);
    FUNCTION(kTanh, tanh);
    FUNCTION(kLogistic, logistic);
    FUNCTION(kAsin, asin);
    FUNCTION(kAcos, acos);
    FUNCTION(kAtan, atan);
    FUNCTION(kSinh, sinh);
    FUNCTION(kCosh, cosh);
    FUNCTION(kAsinh, asinh);
    FUNCTION(kAcosh, acosh);
    FUNCTION(kAtanh, atanh);
    FUNCTION_OF_TWO(kPow, pow);
    FUNCTION_OF_TWO(kAtan2, atan2);
    case kSin:
      return [](const Call& c) {
        circular(c, [](f64::Angle a, double x) { return x == 0.0 ? x : f64::sin_of(a); });
      };
    case kCos:
      return [](const Call& c) { circular(c, [](f64::Angle a, double) { return f64::cos_of(a); }); };
    case kTan:
      return [](const Call& c) {
        circular(c, [](f64::Angle a, double x) { return x == 0.0 ? x : f64::tan_of(a); });
      };
    default:
      return nullptr;
  }
}

}  // namespace portable::fused
