// The functions of binary64 (docs/numerics/elementwise.md, E7), one element at a time, in the page's own words.
#include <limits>

#include "referee/common.h"
#include "referee/elementwise_functions.h"
#include "referee/elementwise_pair.h"

namespace referee {
namespace {

using std::copysign;
using std::fabs;
using std::fma;

const double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();

const double M = 0x1.8p52, LOG2E = 0x1.71547652b82fep+0, TWO_OVER_PI = 0x1.45f306dc9c883p-1;
const double LN2_HIGH = 0x1.62e42fefa3800p-1, LN2_LOW = 0x1.ef35793c76730p-45;
const Pair LN2(0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56), PI(0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53);
const Pair HALF_PI(0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54);
const double HALF_PI_3 = -0x1.f1976b7ed8fbcp-110;
const Pair F3(0x1.5555555555555p-3, 0x1.5555555555555p-57), F4(0x1.5555555555555p-5, 0x1.5555555555555p-59);
const Pair F5(0x1.1111111111111p-7, 0x1.1111111111111p-63);
const double THIRD = 0x1.5555555555555p-2, SIXTH = 0x1.5555555555555p-3;

double clamped(double x, double low, double high) {
  if (x < low) return low;
  if (x > high) return high;
  return x;
}

Pair less_inside(Pair R) {
  Pair G = F5 + R * Pair(at(EXP64, R.h));
  G = F4 + R * G;
  G = F3 + R * G;
  G = Pair(0.5) + R * G;
  return R + (R * R) * G;
}

}  // namespace

Power power(Pair X) {
  const double w = fma(X.h, LOG2E, M), k = w - M;
  const Pair R = sum(fma(-k, LN2_HIGH, X.h), X.l) + product(-k, LN2_LOW);
  return {less_inside(R), k == k ? static_cast<int64_t>(k) : 0};
}

double times(double y, int64_t k) {
  const int64_t c = k >= 0 ? k / 2 : -((1 - k) / 2);
  return y * std::ldexp(1.0, static_cast<int>(c)) * std::ldexp(1.0, static_cast<int>(k - c));
}

namespace {

double whole(Pair X) {
  const Power e = power(X);
  return times((Pair(1) + e.P).h, e.k);
}
Pair less(Power e) { return sum(e.s(), -1) + by_power(e.P, e.s()); }

double exp(double x, double) { return whole(clamped(x, -746, 710)); }
double exp2(double x, double) { return whole(Pair(clamped(x, -1076, 1024)) * LN2); }

double expm1(double x, double) {
  if (x == 0) return x;
  const double c = clamped(x, -50, 710);
  return c > 100 ? whole(c) : less(power(c)).h;
}

double tanh(double x, double) {
  const double a = fabs(x) > 20 ? 20 : fabs(x);
  if (a < 0x1p-30) return copysign(fma(-a, a * a * THIRD, a), x);
  const Pair E = less(power(a + a));
  return copysign((E / (E + Pair(2))).h, x);
}

double logistic(double x, double) {
  const double a = fabs(x) > 746 ? 746 : fabs(x);
  const Power e = power(-a);
  const Pair N = Pair(1) + e.P, D = Pair(1) + by_power(N, fabs(x) > 600 ? 0 : e.s());
  return x < 0 ? times((N / D).h, e.k) : (Pair(1) / D).h;
}

double sinh(double x, double) {
  const double a = fabs(x) > 711 ? 711 : fabs(x);
  if (a < 0x1p-30) return copysign(fma(a, a * a * SIXTH, a), x);
  const Power e = power(a);
  if (a > 40) return copysign(times((Pair(1) + e.P).h, e.k - 1), x);
  const Pair N = less(e);
  return copysign(0.5 * (N + N / (N + Pair(1))).h, x);
}

double cosh(double x, double) {
  const double a = fabs(x) > 711 ? 711 : fabs(x);
  const Power e = power(a);
  if (a > 40) return times((Pair(1) + e.P).h, e.k - 1);
  const Pair N = by_power(Pair(1) + e.P, e.s());
  return 0.5 * (N + Pair(1) / N).h;
}

}  // namespace

Pair log_pair(double x) {
  const bool small = x < 0x1p-1022;
  const uint64_t word = bits(small ? x * 0x1p54 : x);
  const uint64_t k = (word + 0x4000000000000000u - 0x3fe6a09e00000000u) >> 52;
  const double f = binary64(word - ((k - 1024) << 52)) - 1;
  const double n = static_cast<double>(static_cast<int64_t>(k) - 1024 - (small ? 54 : 0));
  const double y = f * at(LOG, f);
  const Pair P = less_inside(-y);
  return Pair(n) * LN2 + (Pair(y) + ((Pair(f) + P) + Pair(f) * P));
}

namespace {

bool in_domain(double x) { return x > 0 && x < infinity; }
double special(double x) { return x == infinity ? infinity : x == 0 ? -infinity : nan; }

double log(double x, double) { return in_domain(x) ? log_pair(x).h : special(x); }

double log_of_sum(Pair u) { return in_domain(u.h) ? (log_pair(u.h) + Pair(u.l / u.h)).h : special(u.h); }
double log1p(double x, double) { return fabs(x) < 0x1p-50 ? fma(-0.5, x * x, x) : log_of_sum(sum(1, x)); }
double log1p_pair(Pair T) { return log_of_sum(Pair(1) + T); }

double asinh(double x, double) {
  const double a = fabs(x);
  if (!(a < infinity)) return x;
  if (a > 0x1p30) return copysign((log_pair(a) + LN2).h, x);
  if (a < 0x1p-30) return copysign(fma(-a, a * a * SIXTH, a), x);
  const Pair Q = product(a, a);
  return copysign(log1p_pair(Pair(a) + Q / (Pair(1) + root(Q + Pair(1)))), x);
}

double acosh(double x, double) {
  if (!(x >= 1)) return nan;
  if (x == 1) return 0;
  if (x == infinity) return infinity;
  if (x > 0x1p30) return (log_pair(x) + LN2).h;
  const Pair T = sum(x, -1);
  return log1p_pair(T + root(T * (T + Pair(2))));
}

double atanh(double x, double) {
  const double a = fabs(x);
  if (!(a <= 1)) return nan;
  if (a == 1) return copysign(infinity, x);
  if (a < 0x1p-30) return copysign(fma(a, a * a * THIRD, a), x);
  return copysign(0.5 * log1p_pair(Pair(a + a) / sum(1, -a)), x);
}

double rsqrt(double x, double) {
  if (x == 0) return copysign(infinity, x);
  if (x == infinity) return 0;
  if (!(x > 0)) return nan;
  if (x < 0x1p-900) return (Pair(1) / root(x * 0x1p200)).h * 0x1p100;
  return (Pair(1) / root(x)).h;
}

double cbrt(double x, double) {
  if (x == 0 || !std::isfinite(x)) return x;
  const bool small = fabs(x) < 0x1p-700;
  const double b = small ? fabs(x) * 0x1p300 : fabs(x);
  const double y = fabs(cbrt32(b));
  const Pair S = product(y, y), C = S * Pair(y);
  const double z = y - ((C.h - b) + C.l) / (3 * S.h);
  return copysign(small ? z * 0x1p-100 : z, x);
}

bool is_whole(double y) { return std::isinf(y) || y == std::trunc(y); }
bool is_odd(double y) { return std::isfinite(y) && is_whole(y) && ::fmod(y, 2) != 0; }

double pow(double x, double y) {
  if (y == 0 || x == 1) return 1;
  if (x != x || y != y) return nan;
  const double a = fabs(x);
  const double g = a == 1 ? 0 : y * log(a, 0);
  Pair Z = clamped(g, -800, 800);
  if (fabs(g) < 800 && a != 1 && 0x1p-100 < fabs(y) && fabs(y) < 0x1p100) Z = Pair(y) * log_pair(a);
  if (Z.h < -746) Z = -746;
  if (Z.h > 710) Z = 710;
  const double z = whole(Z);
  if (-infinity < x && x < 0 && !is_whole(y)) return nan;
  return is_odd(y) ? copysign(z, x) : z;
}

}  // namespace

Pair S(Pair R) {
  const Pair Z = R * R;
  Pair G = F5 + Pair(Z.h * at(SIN64, Z.h));
  G = -F3 + Z * G;
  return R + (Z * R) * G;
}
Pair C(Pair R) {
  const Pair Z = R * R;
  Pair G = F4 + Pair(Z.h * at(COS64, Z.h));
  G = Pair(-0.5) + Z * G;
  return Pair(1) + Z * G;
}

namespace {

Pair angle(double x, uint64_t& q) {
  if (fabs(x) <= 0x1p20) {
    const double w = fma(x, TWO_OVER_PI, M), k = w - M;
    q = bits(w);
    const Pair p = product(-k, HALF_PI.h);
    return ((sum(x, p.h) + Pair(p.l)) + product(-k, HALF_PI.l)) + Pair(-k * HALF_PI_3);
  }
  double high, low;
  far_angle(x, high, low, q);
  return Pair(high, low) * HALF_PI;
}

double turn(Pair R, uint64_t q) {
  const double y = (q % 2 == 1 ? C(R) : S(R)).h;
  return q & 2 ? -y : y;
}
double sin(double x, double) {
  if (x == 0) return x;
  if (!std::isfinite(x)) return nan;
  uint64_t q;
  const Pair R = angle(x, q);
  return turn(R, q);
}
double cos(double x, double) {
  if (!std::isfinite(x)) return nan;
  uint64_t q;
  const Pair R = angle(x, q);
  return turn(R, q + 1);
}
double tan(double x, double) {
  if (x == 0) return x;
  if (!std::isfinite(x)) return nan;
  uint64_t q;
  const Pair R = angle(x, q);
  return (q % 2 == 1 ? -C(R) / S(R) : S(R) / C(R)).h;
}

double atan2_pair(Pair Y, Pair X) {
  if (Y.h != Y.h || X.h != X.h) return nan;
  const Pair A = Y.h < 0 ? -Y : Y, B = X.h < 0 ? -X : X;
  const double a = fabs(A.h), b = fabs(B.h);
  const Pair L = a > b ? B : A, H = a > b ? A : B;
  Pair T = 0;
  if (a == b && A.l == B.l) {
    T = a == 0 ? 0 : 1;
  } else {
    const double g = fabs(H.h) > 0x1p500 ? 0x1p-600 : fabs(H.h) < 0x1p-500 ? 0x1p600 : 1;
    T = by_power(L, g) / by_power(H, g);
    if (T.l != T.l || fabs(T.h) < 0x1p-400) T = fabs(L.h) / fabs(H.h);
  }
  const double y = T.h * at(ATAN, T.h * T.h);
  const Pair s = S(y), c = C(y);
  Pair U = T.h < 0x1p-200 ? T : sum(y, (T * c - s).h / (c + T * s).h);
  if (a > b) U = HALF_PI - U;
  if (std::signbit(X.h)) U = PI - U;
  return copysign(U.h, Y.h);
}

Pair other_leg(double x) { return fabs(x) == 1 ? Pair(0) : root(sum(1, -x) * sum(1, x)); }
double atan2(double y, double x) { return atan2_pair(y, x); }
double atan(double x, double) { return atan2_pair(x, 1); }
double asin(double x, double) { return atan2_pair(x, other_leg(x)); }
double acos(double x, double) { return atan2_pair(other_leg(x), x); }

}  // namespace

Function function64(int64_t number) {
  static const Function all[] = {rsqrt, cbrt, exp,  exp2, expm1, log,  log1p, tanh,  logistic, sin,
                                 cos,   tan,  asin, acos, atan,  sinh, cosh,  asinh, acosh,    atanh};
  const int64_t count = sizeof all / sizeof *all;
  if (number == 28) return pow;
  if (number == 29) return atan2;
  return number >= 110 && number < 110 + count ? all[number - 110] : special_function(number);
}

}  // namespace referee
