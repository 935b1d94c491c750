// The special functions of one number (docs/numerics/special.md, E8), written without branches like those of math64.h.
#pragma once

#include "native/special_tables.h"

namespace portable::f64 {

inline Pair one_number(double x) { return {x, 0.0}; }
inline Pair chosen(bool which, Pair yes, Pair no) {
  return {which ? yes.high : no.high, which ? yes.low : no.low};
}
inline Pair log_of(Pair a) { return add(log_pair(a.high), one_number(a.low / a.high)); }

// erf(a) for a < 0.5
inline Pair erf_inner(double a) {
  const double z = a * a;
  return add(mul(one_number(a), kTwoOverRootPi), one_number(a * z * horner(kErf, z)));
}

// e^(a·a)·erfc(a) for a >= 0.5
inline Pair erf_outer(double a) {
  const Pair t = div(sum(a, -4.0), sum(a, 4.0));
  return div(add(kErfcFirst, mul(t, one_number(horner(kErfc, t.high)))), sum(1.0, a + a));
}

// erfc(a) = 2^k·part
inline Power erf_under(double a) {
  const Power e = power(negative(product(a, a)));
  return {mul(erf_outer(a), add({1.0, 0.0}, e.part)), e.rounder};
}

inline double erf(double x) {
  const double size = absolute(x);
  const double a = size > 6.0 ? 6.0 : size;
  const Power u = erf_under(a);
  const double far = add({1.0, 0.0}, negative(scaled(u.part, two_to(u.rounder)))).high;
  return signed_as(a < 0.5 ? erf_inner(a).high : far, x);
}

inline double erfc(double x) {
  const double size = absolute(x), most = x < 0.0 ? 6.0 : 27.3;
  const double a = size > most ? most : size;
  const Power u = erf_under(a);
  const double above = times_two_to(u.part.high, u.rounder);
  const double below = add({2.0, 0.0}, negative(scaled(u.part, two_to(u.rounder)))).high;
  const Pair inner = erf_inner(a);
  const double middle = add({1.0, 0.0}, x < 0.0 ? inner : negative(inner)).high;
  const double outside = x < 0.0 ? below : above;
  return a < 0.5 ? middle : outside;
}

// binary32's, and one step of Halley's method
inline double erf_inv(double x) {
  const double a = absolute(x);
  const double w = -f32::log_inside(fma(-a, a, 1.0));
  const double near = a * horner(f32::kErfInvP, w) * f32::reciprocal(horner(f32::kErfInvQ, w));
  const double y = w > 16.7 ? horner(kErfInvFar, __builtin_sqrt(w)) : near;
  const Power p = power(product(y, y));
  const Pair e = scaled(add({1.0, 0.0}, p.part), two_to(p.rounder));
  const Pair inside = mul(add(erf_inner(y), one_number(-a)), e);
  const Pair outside = add(mul(sum(1.0, -a), e), negative(erf_outer(y)));
  const double u = kHalfRootPi * (a < 0.5 ? inside.high : outside.high);
  const double edge = a == 1.0 ? kInf : kNaN;
  return signed_as(a < 1.0 ? y - u / fma(y, u, 1.0) : edge, x);
}

inline constexpr double kLeastGamma = 0x1p-60;
inline constexpr double kMostGamma = 0x1.754d9278b51a7p+1014;

// log of the gamma function of a >= kLeastGamma
inline Pair log_gamma(double a) {
  const bool small = a < 10.0;
  const double within = small ? a : 1.0;
  Pair q = one_number(within);
#pragma GCC unroll 9
  for (int i = 1; i < 10; ++i) q = mul(q, sum(within, i));
  const Pair y = chosen(small, sum(a, 10.0), one_number(a));
  const double r = 1.0 / y.high, z = r * r;
  const Pair w = add(div(kTwelfth, y), one_number(r * z * horner(kStirling, z)));
  const Pair most = mul(add(y, {-0.5, 0.0}), add(log_of(y), {-1.0, 0.0}));
  return add(add(add(most, kLogRoot), w), negative(log_of(chosen(small, q, {1.0, 0.0}))));
}

// The sine and cosine of pi·a, but for their signs; those are of the fraction.
struct HalfTurn {
  Pair sine, cosine;
  double fraction;
};
inline HalfTurn half_turn(double a) {
  const double f = a - __builtin_rint(a), q = absolute(f);
  const bool steep = q > 0.25;
  const Pair r = mul(kPi, one_number(steep ? 0.5 - q : q));
  const Pair s = sine(r), c = cosine(r);
  return {chosen(steep, c, s), chosen(steep, s, c), f};
}

inline double lgamma(double x) {
  const double a = absolute(x);
  const bool one = absolute(x - 1.0) <= 0.25, two = absolute(x - 2.0) <= 0.25;
  const double t = x - (two ? 2.0 : 1.0);
  const double rest = two ? horner(kGammaTwo, t) : horner(kGammaOne, t);
  const Pair lead = chosen(two, kOneLessEuler, negative(kEuler));
  const double near = add(mul(lead, one_number(t)), one_number(t * t * rest)).high;
  const Pair g = log_gamma(a < kLeastGamma ? kLeastGamma : a);
  const HalfTurn turn = half_turn(a);
  const double reflected = add(log_of(div(kPi, mul(one_number(a), turn.sine))), negative(g)).high;
  const double far = x < 0.0 ? reflected : g.high;
  const double any = one | two ? near : far;
  const double y = a < kLeastGamma ? -log_pair(a).high : any;
  const bool pole = ((x <= 0.0) & (turn.fraction == 0.0)) | (a > kMostGamma);
  return x != x ? kNaN : (pole ? kInf : y);
}

// The logarithmic derivative of the gamma function at a >= kLeastGamma.
inline Pair psi(double a) {
  const bool small = a < 10.0;
  const double within = small ? a : 1.0;
  Pair d = div({1.0, 0.0}, one_number(within));
#pragma GCC unroll 9
  for (int i = 1; i < 10; ++i) d = add(d, div({1.0, 0.0}, sum(within, i)));
  const Pair y = chosen(small, sum(a, 10.0), one_number(a));
  const double r = 1.0 / y.high, z = r * r;
  const Pair main = add(add(log_of(y), negative(div({0.5, 0.0}, y))), one_number(-(z * horner(kPsi, z))));
  return add(main, negative(chosen(small, d, {0.0, 0.0})));
}

inline double digamma(double x) {
  const double a = absolute(x);
  const Pair p = psi(a < kLeastGamma ? kLeastGamma : a);
  const HalfTurn turn = half_turn(a);
  const Pair slope = mul(kPi, div(turn.cosine, turn.sine));
  const Pair reflected =
      add(add(p, div({1.0, 0.0}, one_number(a))), turn.fraction < 0.0 ? negative(slope) : slope);
  const double far = x < 0.0 ? reflected.high : p.high;
  const double y = a < kLeastGamma ? -1.0 / x : far;
  const bool pole = (x <= 0.0) & (turn.fraction == 0.0);
  return x == kInf ? kInf : (pole | (x != x) | (x == -kInf) ? kNaN : y);
}

inline double bessel_i0e(double x) {
  const double a = absolute(x);
  const double h = 0.5 * a, z = h * h;
  const Power e = power(one_number(-(a > 8.0 ? 8.0 : a)));
  const Pair v = mul(sum(1.0, z * horner(kBessel0, z)), add({1.0, 0.0}, e.part));
  const double near = scaled(v, two_to(e.rounder)).high;
  const double t = 16.0 / a - 1.0;
  const double far = div(add(kBessel0First, one_number(t * horner(kBessel0Far, t))), root(one_number(a))).high;
  return a == kInf ? 0.0 : (a > 8.0 ? far : near);
}

inline double bessel_i1e(double x) {
  const double a = absolute(x);
  const double h = 0.5 * a, z = h * h;
  const Power e = power(one_number(-(a > 8.0 ? 8.0 : a)));
  const Pair v = mul(mul(one_number(h), sum(1.0, z * horner(kBessel1, z))), add({1.0, 0.0}, e.part));
  const double near = scaled(v, two_to(e.rounder)).high;
  const double t = 16.0 / a - 1.0;
  const double far = div(add(kBessel1First, one_number(t * horner(kBessel1Far, t))), root(one_number(a))).high;
  return signed_as(a == kInf ? 0.0 : (a > 8.0 ? far : near), x);
}

}  // namespace portable::f64
