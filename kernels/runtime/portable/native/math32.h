// The functions of binary32, in binary64 (docs/numerics/elementwise.md, E6): a fixed sequence each, which the caller
// rounds once. Written without branches, so that loops over them vectorise; selections come last.
#pragma once

#include <cstddef>

#include "native/bits.h"
#include "native/math32_tables.h"

namespace portable::f32 {

inline constexpr double kInf = __builtin_inf();
inline constexpr double kNaN = __builtin_nan("");
inline constexpr double kRounder = 0x1.8p52;  // adding it rounds to a whole number, which its low bits then are
inline constexpr double kLn2 = 0x1.62e42fefa39efp-1;
inline constexpr double kLog2E = 0x1.71547652b82fep+0;
inline constexpr double kPi = 0x1.921fb54442d18p+1;
inline constexpr double kHalfPi = 0x1.921fb54442d18p+0;
inline constexpr double kHalfPiRest = 0x1.1a62633145c07p-54;
inline constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline double absolute(double x) { return to_value(to_word(x) & ~kSignBit<double>); }
inline double signed_as(double x, double sign) {
  return to_value((to_word(x) & ~kSignBit<double>) | (to_word(sign) & kSignBit<double>));
}

// Horner's scheme, unrolled whatever the compiler thinks of it.
template <size_t at, size_t n>
inline double horner_from(const double (&c)[n], double x) {
  if constexpr (at + 1 == n) {
    return c[at];
  } else {
    return fma(horner_from<at + 1>(c, x), x, c[at]);
  }
}
template <size_t n>
inline double horner(const double (&c)[n], double x) {
  return horner_from<0>(c, x);
}

// 1/d of a positive normal d to 2^-38: a guess by exponent arithmetic, and two steps of third order. A division
// instruction takes four times as long.
inline double reciprocal_step(double d, double y) {
  const double e = fma(-d, y, 1.0);
  return fma(y, fma(e, e, e), y);
}
inline double reciprocal(double d) {
  const double guess = to_value(uint64_t{0x7fde600000000000} - to_word(d));
  return reciprocal_step(d, reciprocal_step(d, guess));
}

struct Power {
  double part;   // e^r - 1
  double scale;  // 2^k
};

inline Power power_of_two(double rounder, double part) {
  return {part, to_value((to_word(rounder) << 52) + 0x3ff0000000000000)};
}

// e^x = scale·(1 + part), for |x| < 700
inline Power exponential(double x) {
  const double rounder = fma(x, kLog2E, kRounder);
  const double r = fma(-(rounder - kRounder), kLn2, x);
  return power_of_two(rounder, r * horner(kExp, r));
}

// NaN stays.
inline double clamped(double x, double low, double high) {
  const double above = x < low ? low : x;
  return above > high ? high : above;
}

inline double exp2(double x) {
  const double inside = clamped(x, -160.0, 140.0);
  const double rounder = inside + kRounder;
  const double r = inside - (rounder - kRounder);
  const Power e = power_of_two(rounder, r * horner(kExp2, r));
  return fma(e.part, e.scale, e.scale);
}

inline double expm1(double x) {
  const Power e = exponential(clamped(x, -110.0, 100.0));
  return signed_as(fma(e.part, e.scale, e.scale - 1.0), x);
}

// Of a positive normal number.
inline double log_inside(double x) {
  const uint64_t word = to_word(x);
  const uint64_t k = (word + (0x4000000000000000 - 0x3fe6a09e00000000)) >> 52;  // the exponent and 1024
  const double exponent = to_value(k | 0x4330000000000000) - (0x1p52 + 1024.0);
  const double f = to_value(word - ((k - 1024) << 52)) - 1.0;
  return fma(exponent, kLn2, f * horner(kLog, f));
}

inline double log(double x) {
  const double y = log_inside(x);
  const double top = x == kInf ? kInf : y;
  const double low = x == 0.0 ? -kInf : kNaN;
  return x > 0.0 ? top : low;
}

// log(1 + t) where t is any binary64: what 1 + t loses is put back.
inline double log1p_wide(double t) {
  const double v = 1.0 + t;
  const double rest = t - (v - 1.0);
  const double y = log_inside(v) + rest / v;
  const double top = v == kInf ? kInf : y;
  const double low = v == 0.0 ? -kInf : kNaN;
  return v > 0.0 ? top : low;
}

// 1 + x is exact from 2^-28 up, x having 24 bits.
inline double log1p(double x) {
  const double y = log(1.0 + x);
  return absolute(x) < 0x1p-28 ? fma(-0.5, x * x, x) : y;
}

inline double rsqrt_step(double x, double y) {
  const double e = fma(-(x * y), y, 1.0);
  return fma(y * e, fma(0.375, e, 0.5), y);
}
inline double rsqrt(double x) {
  const double guess = to_value(uint64_t{0x5fe6e90000000000} - (to_word(x) >> 1));
  const double y = rsqrt_step(x, rsqrt_step(x, guess));
  const double top = x == kInf ? 0.0 : y;
  const double low = x == 0.0 ? signed_as(kInf, x) : kNaN;
  return x > 0.0 ? top : low;
}

inline double rcbrt_step(double a, double y) {
  const double e = fma(-(a * y), y * y, 1.0);
  return fma(y * e, fma(0x1.c71c71c71c71cp-3, e, 0x1.5555555555555p-2), y);
}
inline double cbrt(double x) {
  const double a = absolute(x);
  const uint64_t third = ((to_word(a) >> 32) * 0x55555556) >> 32;
  const double guess = to_value((uint64_t{0x553ee800} - third) << 32);  // a^(-1/3)
  const double y = rcbrt_step(a, rcbrt_step(a, rcbrt_step(a, guess)));
  const double root = a * y * y;
  return a > 0.0 && a < kInf ? signed_as(root, x) : x;
}

// r and quadrant: x = quadrant·π/2 + r
struct Angle {
  double r;
  uint64_t quadrant;
};

inline constexpr double kNearAngles = 0x1p30;

inline Angle near_angle(double x) {
  const double rounder = fma(x, kTwoOverPi, kRounder);
  const double k = rounder - kRounder;
  return {fma(-k, kHalfPiRest, fma(-k, kHalfPi, x)), to_word(rounder)};
}

inline double sine(double r) { return fma(r * r * horner(kSin, r * r), r, r); }
inline double cosine(double r) { return fma(r * r, horner(kCos, r * r), 1.0); }

inline double sin_of(Angle a) {
  const double y = a.quadrant & 1 ? cosine(a.r) : sine(a.r);
  return a.quadrant & 2 ? -y : y;
}
inline double cos_of(Angle a) { return sin_of({a.r, a.quadrant + 1}); }
inline double tan_of(Angle a) {
  const double s = sine(a.r), c = cosine(a.r);
  const double top = a.quadrant & 1 ? -c : s;
  const double below = a.quadrant & 1 ? s : c;
  return top / below;
}

inline double atan2(double y, double x) {
  const double a = absolute(y), b = absolute(x);
  const double small = a < b ? a : b, large = a < b ? b : a;
  const double quotient = small / large;
  const double equal = large == 0.0 ? 0.0 : 1.0;
  const double t = small == large ? equal : quotient;
  const double near = t * horner(kAtan, t * t);
  const double turned = a > b ? kHalfPi - near : near;
  const double whole = to_word(x) >> 63 ? kPi - turned : turned;
  return x != x || y != y ? kNaN : signed_as(whole, y);
}

inline double atan(double x) { return atan2(x, 1.0); }
inline double asin(double x) { return atan2(x, __builtin_sqrt((1.0 - x) * (1.0 + x))); }
inline double acos(double x) { return atan2(__builtin_sqrt((1.0 - x) * (1.0 + x)), x); }

inline double sinh(double x) {
  const double size = absolute(x);
  const Power e = exponential(size > 100.0 ? 100.0 : size);
  const double n = fma(e.part, e.scale, e.scale - 1.0);
  return signed_as(0.5 * (n + n / (n + 1.0)), x);
}

inline double cosh(double x) {
  const double size = absolute(x);
  const Power e = exponential(size > 100.0 ? 100.0 : size);
  const double n = fma(e.part, e.scale, e.scale);
  return 0.5 * (n + 1.0 / n);
}

inline double asinh(double x) {
  const double a = absolute(x);
  const double y = log1p_wide(a + a * a / (1.0 + __builtin_sqrt(fma(a, a, 1.0))));
  return a < kInf ? signed_as(y, x) : x;
}

inline double acosh(double x) {
  const double t = x - 1.0;
  const double y = log1p_wide(t + __builtin_sqrt(t * (t + 2.0)));
  return x < 1.0 ? kNaN : y;
}

inline double atanh(double x) {
  const double a = absolute(x);
  return signed_as(0.5 * log1p_wide((a + a) / (1.0 - a)), x);
}

inline double erf(double x) {
  const double size = absolute(x);
  const double a = size > 3.93 ? 3.93 : size;
  const double z = a * a;
  return signed_as(a * horner(kErfP, z) * reciprocal(horner(kErfQ, z)), x);
}

inline double erfc(double x) {
  const double size = absolute(x);
  const double a = size > 10.2 ? 10.2 : size;
  const Power e = exponential(-(a * a));
  const double y = fma(e.part, e.scale, e.scale) * (horner(kErfcP, a) / horner(kErfcQ, a));
  return x < 0.0 ? 2.0 - y : y;
}

inline double erf_inv(double x) {
  const double a = absolute(x);
  const double w = -log_inside(fma(-a, a, 1.0));
  const double inside = w > 16.7 ? 16.7 : w;
  const double y = x * horner(kErfInvP, inside) * reciprocal(horner(kErfInvQ, inside));
  const double edge = a == 1.0 ? signed_as(kInf, x) : kNaN;
  return a < 1.0 ? y : edge;
}

// C's pow. y·log|x| is right to 2^-34 wherever the result is finite.
inline double pow(double x, double y) {
  const double a = absolute(x);
  const double product = y * log(a);
  const double one = a == 1.0 ? 0.0 : product;  // whatever y is
  const Power e = exponential(clamped(one, -110.0, 110.0));
  const double size = fma(e.part, e.scale, e.scale);
  const double half = 0.5 * y;
  const bool whole = __builtin_trunc(y) == y, odd = whole && __builtin_trunc(half) != half;
  const double turned = odd ? signed_as(size, x) : size;
  const double real = x < 0.0 && a < kInf && !whole ? kNaN : turned;
  const double number = x != x || y != y ? kNaN : real;
  return y == 0.0 || x == 1.0 ? 1.0 : number;
}

}  // namespace portable::f32
