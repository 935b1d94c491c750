// The functions of binary64 (docs/numerics/elementwise.md, E7): in pairs of binary64, whose sum is the value, to some
// 2^-65. Written without branches, so that loops over them vectorise.
#pragma once

#include "native/angle.h"
#include "native/math32.h"

namespace portable::f64 {

using f32::absolute;
using f32::clamped;
using f32::fma;
using f32::horner;
using f32::kInf;
using f32::kNaN;
using f32::kRounder;
using f32::signed_as;

struct Pair {
  double high, low;
};

inline constexpr double kLn2High = 0x1.62e42fefa3800p-1;  // 42 bits
inline constexpr double kLn2Low = 0x1.ef35793c76730p-45;
inline constexpr Pair kLn2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};
inline constexpr Pair kPi = {0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53};
inline constexpr Pair kHalfPi = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
inline constexpr double kHalfPiThird = -0x1.f1976b7ed8fbcp-110;
inline constexpr Pair kThird = {0x1.5555555555555p-3, 0x1.5555555555555p-57};  // 1/3!, then 1/4! and 1/5!
inline constexpr Pair kFourth = {0x1.5555555555555p-5, 0x1.5555555555555p-59};
inline constexpr Pair kFifth = {0x1.1111111111111p-7, 0x1.1111111111111p-63};
inline constexpr double kExp[] = {0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-16,
                                  0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22, 0x1.ae64567f544e4p-26,
                                  0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33, 0x1.93974a8c07c9dp-37,
                                  0x1.ae7f3e733b81fp-41, 0x1.ae7f3e733b81fp-45};
inline constexpr double kSin[] = {-0x1.a01a01a01a01ap-13, 0x1.71de3a556c734p-19,  -0x1.ae64567f544e4p-26,
                                  0x1.6124613a86d09p-33,  -0x1.ae7f3e733b81fp-41, 0x1.952c77030ad4ap-49,
                                  -0x1.2f49b46814157p-57};
inline constexpr double kCos[] = {-0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-16,  -0x1.27e4fb7789f5cp-22,
                                  0x1.1eed8eff8d898p-29,  -0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-45,
                                  -0x1.6827863b97d97p-53, 0x1.e542ba4020225p-62};

inline Pair sum(double a, double b) {
  const double s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
inline Pair quick(double a, double b) {  // |a| >= |b|
  const double s = a + b;
  return {s, b - (s - a)};
}
inline Pair product(double a, double b) {
  const double p = a * b;
  return {p, fma(a, b, -p)};
}
inline Pair add(Pair a, Pair b) {
  const Pair s = sum(a.high, b.high);
  return quick(s.high, s.low + (a.low + b.low));
}
inline Pair mul(Pair a, Pair b) {
  const Pair p = product(a.high, b.high);
  return quick(p.high, fma(a.high, b.low, fma(a.low, b.high, p.low)));
}
inline Pair div(Pair a, Pair b) {
  const double q = a.high / b.high;
  return quick(q, fma(-q, b.low, fma(-q, b.high, a.high) + a.low) / b.high);
}
inline Pair root(Pair a) {
  const double s = __builtin_sqrt(a.high);
  return quick(s, (fma(-s, s, a.high) + a.low) / (s + s));
}
inline Pair negative(Pair a) { return {-a.high, -a.low}; }
inline Pair scaled(Pair a, double by) { return {a.high * by, a.low * by}; }

// e^r - 1 for |r| < 0.35
inline Pair less_inside(Pair r) {
  Pair g = add(kFifth, mul(r, {horner(kExp, r.high), 0.0}));
  g = add(kFourth, mul(r, g));
  g = add(kThird, mul(r, g));
  g = add({0.5, 0.0}, mul(r, g));
  return add(r, mul(mul(r, r), g));
}

// e^x = 2^k·(1 + part), for |x| < 1000; k is the rounder's low bits
struct Power {
  Pair part;
  uint64_t rounder;
};
inline Power power(Pair x) {
  const double rounder = fma(x.high, f32::kLog2E, kRounder);
  const double k = rounder - kRounder;
  const Pair r = add(sum(fma(-k, kLn2High, x.high), x.low), product(-k, kLn2Low));
  return {less_inside(r), to_word(rounder)};
}
inline double two_to(uint64_t rounder) { return to_value((rounder << 52) + 0x3ff0000000000000); }

// y·2^k in two factors, each of them normal: only the last product may be rounded.
inline double times_two_to(double y, uint64_t rounder) {
  const uint64_t both = rounder - 0x4338000000000000 + 2046, half = both >> 1;
  return y * to_value(half << 52) * to_value((both - half) << 52);
}

inline double power_of(Pair x) {
  const Power e = power(x);
  return times_two_to(add({1.0, 0.0}, e.part).high, e.rounder);
}

inline double exp(double x) { return power_of({clamped(x, -746.0, 710.0), 0.0}); }
inline double exp2(double x) { return power_of(mul({clamped(x, -1076.0, 1024.0), 0.0}, kLn2)); }

// e^x - 1 where 2^k is finite
inline Pair less(Power e) {
  const double scale = two_to(e.rounder);
  return add(sum(scale, -1.0), scaled(e.part, scale));
}

inline double expm1(double x) {
  const double c = clamped(x, -50.0, 710.0);
  const Power e = power({c, 0.0});
  const double large = times_two_to(add({1.0, 0.0}, e.part).high, e.rounder);
  const double y = c > 100.0 ? large : less(e).high;
  return x == 0.0 ? x : y;
}

inline double tanh(double x) {
  const double size = absolute(x);
  const double a = size > 20.0 ? 20.0 : size;
  const Pair e = less(power({a + a, 0.0}));
  const double y = div(e, add(e, {2.0, 0.0})).high;
  return signed_as(a < 0x1p-30 ? fma(-a, a * a * 0x1.5555555555555p-2, a) : y, x);
}

inline double logistic(double x) {
  const double size = absolute(x);
  const Power e = power({-(size > 746.0 ? 746.0 : size), 0.0});
  const double scale = size > 600.0 ? 0.0 : two_to(e.rounder);
  const Pair n = add({1.0, 0.0}, e.part);
  const Pair d = add({1.0, 0.0}, scaled(n, scale));
  return x < 0.0 ? times_two_to(div(n, d).high, e.rounder) : div({1.0, 0.0}, d).high;
}

inline double sinh(double x) {
  const double size = absolute(x);
  const double a = size > 711.0 ? 711.0 : size;
  const Power e = power({a, 0.0});
  const Pair n = less({e.part, a > 40.0 ? to_word(kRounder) : e.rounder});
  const double small = 0.5 * add(n, div(n, add(n, {1.0, 0.0}))).high;
  const double large = times_two_to(add({1.0, 0.0}, e.part).high, e.rounder - 1);
  const double y = a > 40.0 ? large : small;
  return signed_as(a < 0x1p-30 ? fma(a, a * a * 0x1.5555555555555p-3, a) : y, x);
}

inline double cosh(double x) {
  const double size = absolute(x);
  const double a = size > 711.0 ? 711.0 : size;
  const Power e = power({a, 0.0});
  const Pair n = scaled(add({1.0, 0.0}, e.part), two_to(a > 40.0 ? to_word(kRounder) : e.rounder));
  const double small = 0.5 * add(n, div({1.0, 0.0}, n)).high;
  const double large = times_two_to(add({1.0, 0.0}, e.part).high, e.rounder - 1);
  return a > 40.0 ? large : small;
}

// Of a positive finite number: binary32's logarithm, put right by the exponential of it.
inline Pair log_pair(double x) {
  const bool tiny = x < 0x1p-1022;
  const uint64_t word = to_word(tiny ? x * 0x1p54 : x);
  const uint64_t k = (word + (0x4000000000000000 - 0x3fe6a09e00000000)) >> 52;
  const double exponent = to_value(k | 0x4330000000000000) - (0x1p52 + 1024.0) - (tiny ? 54.0 : 0.0);
  const double f = to_value(word - ((k - 1024) << 52)) - 1.0;
  const double y = f * horner(f32::kLog, f);
  const Pair p = less_inside({-y, 0.0});
  const Pair rest = add(add({f, 0.0}, p), mul({f, 0.0}, p));
  return add(mul({exponent, 0.0}, kLn2), add({y, 0.0}, rest));
}

inline double log_special(double x, double y) {
  const double top = x == kInf ? kInf : y;
  const double low = x == 0.0 ? -kInf : kNaN;
  return x > 0.0 ? top : low;
}

inline double log(double x) { return log_special(x, log_pair(x).high); }

inline double log1p(double x) {
  const Pair u = sum(1.0, x);
  const double y = log_special(u.high, add(log_pair(u.high), {u.low / u.high, 0.0}).high);
  return absolute(x) < 0x1p-50 ? fma(-0.5, x * x, x) : y;
}

// log(1 + t)
inline double log1p_pair(Pair t) {
  const Pair u = add({1.0, 0.0}, t);
  return log_special(u.high, add(log_pair(u.high), {u.low / u.high, 0.0}).high);
}

inline double log_of_double(double x) { return add(log_pair(x), kLn2).high; }

inline double asinh(double x) {
  const double a = absolute(x);
  const Pair square = product(a, a);
  const Pair t = add({a, 0.0}, div(square, add({1.0, 0.0}, root(add(square, {1.0, 0.0})))));
  const double y = a > 0x1p30 ? log_of_double(a) : log1p_pair(t);
  const double some = a < 0x1p-30 ? fma(-a, a * a * 0x1.5555555555555p-3, a) : y;
  return a < kInf ? signed_as(some, x) : x;
}

inline double acosh(double x) {
  const Pair t = sum(x, -1.0);
  const Pair r = root(mul(t, add(t, {2.0, 0.0})));
  const double y = x > 0x1p30 ? log_of_double(x) : log1p_pair(add(t, r));
  const double top = x == 1.0 ? 0.0 : y;
  return x >= 1.0 && x < kInf ? top : (x == kInf ? kInf : kNaN);
}

inline double atanh(double x) {
  const double a = absolute(x);
  const double y = 0.5 * log1p_pair(div({a + a, 0.0}, sum(1.0, -a)));
  const double some = a < 0x1p-30 ? fma(a, a * a * 0x1.5555555555555p-2, a) : y;
  const double edge = a == 1.0 ? kInf : kNaN;
  return signed_as(a < 1.0 ? some : edge, x);
}

inline double rsqrt(double x) {
  const bool tiny = x < 0x1p-900;
  const double y = div({1.0, 0.0}, root({tiny ? x * 0x1p200 : x, 0.0})).high;
  const double top = x == kInf ? 0.0 : (tiny ? y * 0x1p100 : y);
  const double low = x == 0.0 ? signed_as(kInf, x) : kNaN;
  return x > 0.0 ? top : low;
}

inline double cbrt(double x) {
  const double a = absolute(x);
  const bool tiny = a < 0x1p-700;
  const double b = tiny ? a * 0x1p300 : a;
  const double y = absolute(f32::cbrt(b));
  const Pair square = product(y, y);
  const Pair cube = mul(square, {y, 0.0});
  const double root = y - ((cube.high - b) + cube.low) / (3.0 * square.high);
  return a > 0.0 && a < kInf ? signed_as(tiny ? root * 0x1p-100 : root, x) : x;
}

// C's pow.
inline double pow(double x, double y) {
  const double a = absolute(x);
  const Pair l = log_pair(a);
  const double guess = y * log_special(a, l.high);
  const double one = a == 1.0 ? 0.0 : guess;  // whatever y is
  const double inside = clamped(one, -800.0, 800.0);
  const Pair exact = mul({y, 0.0}, l);
  const bool within = absolute(one) < 800.0 && a != 1.0 && absolute(y) < 0x1p100 && absolute(y) > 0x1p-100;
  const Pair z = {within ? exact.high : inside, within ? exact.low : 0.0};
  const double limited = clamped(z.high, -746.0, 710.0);
  const double size = power_of({limited, limited == z.high ? z.low : 0.0});
  const double half = 0.5 * y;
  const bool whole = __builtin_trunc(y) == y, odd = whole && __builtin_trunc(half) != half;
  const double turned = odd ? signed_as(size, x) : size;
  const double real = x < 0.0 && a < kInf && !whole ? kNaN : turned;
  const double number = x != x || y != y ? kNaN : real;
  return y == 0.0 || x == 1.0 ? 1.0 : number;
}

struct Angle {
  Pair r;
  uint64_t quadrant;
};

inline constexpr double kNearAngles = 0x1p20;

inline Angle near_angle(double x) {
  const double rounder = fma(x, f32::kTwoOverPi, kRounder);
  const double k = rounder - kRounder;
  const Pair first = product(-k, kHalfPi.high);
  const Pair most = add(add(sum(x, first.high), {first.low, 0.0}), product(-k, kHalfPi.low));
  return {add(most, {-k * kHalfPiThird, 0.0}), to_word(rounder)};
}

inline Pair sine(Pair r) {
  const Pair z = mul(r, r);
  Pair g = add(kFifth, {z.high * horner(kSin, z.high), 0.0});
  g = add(negative(kThird), mul(z, g));
  return add(r, mul(mul(z, r), g));
}
inline Pair cosine(Pair r) {
  const Pair z = mul(r, r);
  Pair g = add(kFourth, {z.high * horner(kCos, z.high), 0.0});
  g = add({-0.5, 0.0}, mul(z, g));
  return add({1.0, 0.0}, mul(z, g));
}

inline double sin_of(Angle a) {
  const double y = a.quadrant & 1 ? cosine(a.r).high : sine(a.r).high;
  return a.quadrant & 2 ? -y : y;
}
inline double cos_of(Angle a) { return sin_of({a.r, a.quadrant + 1}); }
inline double tan_of(Angle a) {
  const Pair s = sine(a.r), c = cosine(a.r);
  return a.quadrant & 1 ? div(negative(c), s).high : div(s, c).high;
}

// Of y and a pair x: binary32's, put right by the sine and cosine of it.
inline double atan2_pair(Pair y, Pair x) {
  const double a = absolute(y.high), b = absolute(x.high);
  const bool steep = a > b;
  const Pair p = y.high < 0.0 ? negative(y) : y, q = x.high < 0.0 ? negative(x) : x;
  const double large = steep ? a : b;
  const double by = large > 0x1p500 ? 0x1p-600 : (large < 0x1p-500 ? 0x1p600 : 1.0);
  const Pair low = {(steep ? q.high : p.high) * by, (steep ? q.low : p.low) * by};
  const Pair high = {(steep ? p.high : q.high) * by, (steep ? p.low : q.low) * by};
  const Pair quotient = div(low, high);
  const bool equal = a == b && p.low == q.low;
  const double same = large == 0.0 ? 0.0 : 1.0;
  const bool plain = quotient.low == quotient.low && absolute(quotient.high) >= 0x1p-400;
  const double rough = (steep ? b : a) / large;  // scaling would have lost it
  const double first = equal ? same : (plain ? quotient.high : rough);
  const Pair t = {high.high == kInf && !equal ? 0.0 : first, equal || !plain ? 0.0 : quotient.low};
  const double guess = t.high * horner(f32::kAtan, t.high * t.high);
  const Pair s = sine({guess, 0.0}), c = cosine({guess, 0.0});
  const double rest = add(mul(t, c), negative(s)).high / add(c, mul(t, s)).high;
  const Pair turned = t.high < 0x1p-200 ? t : sum(guess, rest);
  const Pair up = add(kHalfPi, negative(turned));
  const Pair half = {steep ? up.high : turned.high, steep ? up.low : turned.low};
  const Pair back = add(kPi, negative(half));
  const double whole = to_word(x.high) >> 63 ? back.high : half.high;
  return x.high != x.high || y.high != y.high ? kNaN : signed_as(whole, y.high);
}

inline double atan2(double y, double x) { return atan2_pair({y, 0.0}, {x, 0.0}); }
inline double atan(double x) { return atan2(x, 1.0); }

// sqrt(1 - x·x)
inline Pair other_leg(double x) {
  const Pair r = root(mul(sum(1.0, -x), sum(1.0, x)));
  const bool edge = absolute(x) == 1.0;
  return {edge ? 0.0 : r.high, edge ? 0.0 : r.low};
}
inline double asin(double x) { return atan2_pair({x, 0.0}, other_leg(x)); }
inline double acos(double x) { return atan2_pair(other_leg(x), {x, 0.0}); }

}  // namespace portable::f64
