// The functions of binary32 as loops (docs/numerics/elementwise.md, E6).
#include "native/angle.h"
#include "native/fast32_avx512.h"
#include "native/fused_loops.h"
#include "native/log32_avx512.h"
#include "native/math32.h"
#include "native/math32_fast.h"

namespace portable::fused {
namespace {

#define FUNCTION(op, name) \
  case op:                 \
    return [](const Call& c) { unary<float, float>(c, [](float x) { return static_cast<float>(f32::name(x)); }); }

#if defined(__AVX512F__)
#define FAST(op, name)                                                                                  \
  case op:                                                                                              \
    return [](const Call& c) {                                                                          \
      const float* x = static_cast<const float*>(c.in[0]);                                              \
      f32::wide::each(x, static_cast<float*>(c.out), c.n, [](__m512 v) { return f32::wide::name(v); }); \
    }
#else
#define FAST(op, name) \
  case op:             \
    return [](const Call& c) { unary<float, float>(c, [](float x) { return f32::fast::name(x); }); }
#endif

// Angles beyond kNearAngles need hundreds of digits of 2/π: a second pass sees to them, where there are any.
template <typename Work>
void circular(const Call& c, const Work& work) {
  unary<float, float>(c, [&](float x) { return static_cast<float>(work(f32::near_angle(x), x)); });
  const float* x = static_cast<const float*>(c.in[0]);
  float* out = static_cast<float*>(c.out);
  int far = 0;
  for (int64_t i = 0; i < c.n; ++i) far |= !(__builtin_fabsf(x[i]) <= static_cast<float>(f32::kNearAngles));
  if (!far) return;
  for (int64_t i = 0; i < c.n; ++i) {
    if (__builtin_fabsf(x[i]) <= static_cast<float>(f32::kNearAngles)) continue;
    if (!(__builtin_fabsf(x[i]) < __builtin_inff())) {
      out[i] = __builtin_nanf("");
      continue;
    }
    const Turn turn = far_angle(x[i]);
    out[i] = static_cast<float>(work(f32::Angle{turn.high * f32::kHalfPi, turn.quadrant}, x[i]));
  }
}

}  // namespace

bool one_nan32(int64_t op) {
  switch (op) {
    case kLog:
    case kLog1p:
    case kRsqrt:
      return true;
#if defined(__AVX512F__)
    case kExp:
    case kTanh:
    case kLogistic:
      return true;
#endif
    default:
      return false;
  }
}

Kernel function32(int64_t op) {
  switch (op) {
    FUNCTION(kRsqrt, rsqrt);
    FUNCTION(kCbrt, cbrt);
    FAST(kExp, exp);
    FUNCTION(kExp2, exp2);
    FUNCTION(kExpm1, expm1);
#if defined(__AVX512F__)
    case kLog:
      return [](const Call& c) { f32::logs(static_cast<const float*>(c.in[0]), static_cast<float*>(c.out), c.n); };
#else
    FUNCTION(kLog, log);
#endif
    FUNCTION(kLog1p, log1p);
    FAST(kTanh, tanh);
    FAST(kLogistic, logistic);
    FUNCTION(kAsin, asin);
    FUNCTION(kAcos, acos);
    FUNCTION(kAtan, atan);
    FUNCTION(kSinh, sinh);
    FUNCTION(kCosh, cosh);
    FUNCTION(kAsinh, asinh);
    FUNCTION(kAcosh, acosh);
    FUNCTION(kAtanh, atanh);
    FUNCTION(kErf, erf);
    FUNCTION(kErfc, erfc);
    FUNCTION(kErfInv, erf_inv);
    case kSin:
      return [](const Call& c) {
        circular(c, [](f32::Angle a, float x) { return x == 0.0f ? x : f32::sin_of(a); });
      };
    case kCos:
      return [](const Call& c) { circular(c, [](f32::Angle a, float) { return f32::cos_of(a); }); };
    case kTan:
      return [](const Call& c) {
        circular(c, [](f32::Angle a, float x) { return x == 0.0f ? x : f32::tan_of(a); });
      };
    case kPow:
      return [](const Call& c) {
        binary<float, float>(c, [](float x, float y) { return static_cast<float>(f32::pow(x, y)); });
      };
    case kAtan2:
      return [](const Call& c) {
        binary<float, float>(c, [](float y, float x) { return static_cast<float>(f32::atan2(y, x)); });
      };
    default:
      return nullptr;
  }
}

}  // namespace portable::fused
