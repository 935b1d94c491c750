// The special functions that go on until a term no longer counts (docs/numerics/special.md, E9).
#pragma once

#include <initializer_list>

#include "native/special64.h"

namespace portable::f64 {

inline constexpr int kMostSteps = 20000;
inline constexpr double kTooLarge = 0x1p60;
inline constexpr double kLastBit = 0x1p-53, kLastStep = 0x1p-52;

inline Pair log_gamma_of(double a) { return a >= kLeastGamma ? log_gamma(a) : negative(log_pair(a)); }

inline Pair bounded(Pair g) {
  if (!(g.high >= -746.0)) return {-746.0, 0.0};
  return g.high > 710.0 ? Pair{710.0, 0.0} : g;
}

inline double weight(double a, double x) {
  const Pair most = add(mul(one_number(a), log_pair(x)), one_number(-x));
  return power_of(bounded(add(most, negative(log_gamma_of(a)))));
}

inline double least(double d) { return absolute(d) < 0x1p-900 ? 0x1p-900 : d; }

inline double at_most_one(double p) { return p > 1.0 ? 1.0 : p; }

inline double gamma_series(double a, double x) {
  double r = a, c = 1.0, s = 1.0;
  for (int i = 0; i < kMostSteps; ++i) {
    r += 1.0;
    c *= x / r;
    s += c;
    if (c <= s * kLastBit) break;
  }
  return s;
}

inline double gamma_fraction(double a, double x) {
  double b = (x + 1.0) - a, c = kInf, d = 1.0 / b, h = d;
  for (int i = 1; i <= kMostSteps; ++i) {
    const double n = -i * (i - a);
    b += 2.0;
    d = 1.0 / least(fma(n, d, b));
    c = least(b + n / c);
    const double e = c * d;
    h *= e;
    if (absolute(e - 1.0) <= kLastStep) break;
  }
  return h;
}

// The incomplete gamma function, or what is left of it to one.
inline double incomplete_gamma(double a, double x, bool rest) {
  if (!(a >= 0.0 && x >= 0.0) || (a == 0.0 && x == 0.0)) return kNaN;
  double p;
  if (x == 0.0) {
    p = 0.0;
  } else if (x == kInf || a == 0.0) {
    p = 1.0;
  } else if (a > kTooLarge || x > kTooLarge) {
    p = x > a ? 1.0 : 0.0;
  } else if (x <= a || x <= 1.0) {
    p = at_most_one(weight(a, x) * gamma_series(a, x) / a);
  } else {
    const double q = at_most_one(weight(a, x) * gamma_fraction(a, x));
    return rest ? q : 1.0 - q;
  }
  return rest ? 1.0 - p : p;
}
inline double igamma(double a, double x) { return incomplete_gamma(a, x, false); }
inline double igammac(double a, double x) { return incomplete_gamma(a, x, true); }

inline double slope_by_series(double a, double x) {
  double r = a, c = 1.0, s = 1.0, p = 0.0, t = 0.0;
  for (int i = 0; i < kMostSteps; ++i) {
    r += 1.0;
    p = p * (x / r) - (c * x) / (r * r);
    t += p;
    c *= x / r;
    s += c;
    if (absolute(p) <= absolute(t) * kLastBit) break;
  }
  return weight(a, x) * (s * (log(x) - digamma(a + 1.0)) + t) / a;
}

// A numerator or denominator of the continued fraction, and its slope.
struct Convergent {
  double value, slope;
};
inline Convergent next_convergent(Convergent one, Convergent two, double z, double w, double k) {
  return {one.value * z - two.value * w, ((one.slope * z - one.value) - two.slope * w) + two.value * k};
}

inline double slope_by_fraction(double a, double x) {
  double y = 1.0 - a, z = (x + y) + 1.0;
  Convergent p2 = {1.0, 0.0}, q2 = {x, 0.0}, p1 = {x + 1.0, 0.0}, q1 = {z * x, -x};
  double h = p1.value / q1.value, t = (p1.slope - h * q1.slope) / q1.value;
  for (int i = 1; i <= kMostSteps; ++i) {
    const double k = i;
    y += 1.0;
    z += 2.0;
    const Convergent p = next_convergent(p1, p2, z, y * k, k), q = next_convergent(q1, q2, z, y * k, k);
    h = p.value / q.value;
    const double v = (p.slope - h * q.slope) / q.value, gap = absolute(v - t);
    t = v;
    p2 = p1;
    q2 = q1;
    p1 = p;
    q1 = q;
    if (absolute(p.value) > 0x1p52) {
      for (Convergent* each : {&p1, &p2, &q1, &q2}) *each = {each->value * kLastStep, each->slope * kLastStep};
    }
    if (gap <= kLastStep) break;
  }
  return -weight(a, x) * (h * (log(x) - digamma(a)) + t);
}

inline double igamma_grad_a(double a, double x) {
  if (!(a > 0.0 && x >= 0.0)) return kNaN;
  if (x == 0.0 || a > kTooLarge || x > kTooLarge) return 0.0;
  return x <= a || x <= 1.0 ? slope_by_series(a, x) : slope_by_fraction(a, x);
}

inline double beta_fraction(double a, double b, double y) {
  const double s = a + b, u = a + 1.0, v = a - 1.0;
  double c = 1.0, d = 1.0 / least(1.0 - s * y / u), h = d;
  for (int i = 1; i <= kMostSteps; ++i) {
    const double m = i, k = m + m;
    double n = m * (b - m) * y / ((v + k) * (a + k));
    d = 1.0 / least(fma(n, d, 1.0));
    c = least(1.0 + n / c);
    h *= c * d;
    n = -((a + m) * (s + m) * y / ((a + k) * (u + k)));
    d = 1.0 / least(fma(n, d, 1.0));
    c = least(1.0 + n / c);
    const double e = c * d;
    h *= e;
    if (absolute(e - 1.0) <= kLastStep) break;
  }
  return h;
}

inline double regularized_incomplete_beta(double a, double b, double x) {
  if (!(a >= 0.0 && b >= 0.0 && x >= 0.0 && x <= 1.0)) return kNaN;
  const bool no_a = a == 0.0 || b > kTooLarge, no_b = b == 0.0 || a > kTooLarge;
  if (no_a && no_b) return kNaN;
  if (x == 0.0 || (no_b && x != 1.0)) return 0.0;
  if (x == 1.0 || no_a) return 1.0;
  const bool direct = x < (a + 1.0) / ((a + b) + 2.0);
  const Pair log_x = log_pair(x), log_rest = log_of(sum(1.0, -x));
  const Pair u = direct ? log_x : log_rest, v = direct ? log_rest : log_x;
  const double first = direct ? a : b, second = direct ? b : a, y = direct ? x : 1.0 - x;
  const Pair t = sum(first, second);
  const Pair whole = add(log_gamma_of(t.high), one_number(t.low * log_pair(t.high).high));
  const Pair beta = add(add(log_gamma_of(first), log_gamma_of(second)), negative(whole));
  const Pair powers = add(mul(one_number(first), u), mul(one_number(second), v));
  const double w = power_of(bounded(add(powers, negative(beta))));
  const double part = at_most_one(w * beta_fraction(first, second, y) / first);
  return direct ? part : 1.0 - part;
}

inline bool is_whole(double x) { return __builtin_trunc(x) == x; }

inline double zeta(double x, double q) {
  if (!(x >= 1.0) || q != q || x == kInf) return kNaN;
  if (x == 1.0) return kInf;
  if (q == kInf) return 0.0;
  if (q <= 0.0 && is_whole(q)) return is_whole(0.5 * x) ? kInf : kNaN;
  if (q < 0.0 && !is_whole(x)) return kNaN;
  double s = pow(q, -x), w = q, b = 0.0;
  for (int i = 1; i <= kMostSteps; ++i) {
    w += 1.0;
    b = pow(w, -x);
    s += b;
    if (absolute(b) <= absolute(s) * kLastBit) return s;
    if (i >= 9 && w > 9.0) break;
  }
  s += b * w / (x - 1.0);
  s -= 0.5 * b;
  double f = 1.0, k = 0.0;
  for (const double c : kZeta) {
    f *= x + k;
    b /= w;
    const double t = f * b * c;
    s += t;
    if (absolute(t) <= absolute(s) * kLastBit) return s;
    k += 1.0;
    f *= x + k;
    b /= w;
    k += 1.0;
  }
  return s;
}

inline double polygamma(double m, double x) {
  if (m == 0.0) return digamma(x);
  if (!(m > 0.0 && m < kInf) || !is_whole(m)) return kNaN;
  const double y = power_of(bounded(log_gamma(m + 1.0))) * zeta(m + 1.0, x);
  return is_whole(0.5 * m) ? -y : y;
}

}  // namespace portable::f64
