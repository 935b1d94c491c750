// The special functions of one number (docs/numerics/special.md, E8), in the page's own words.
#include <limits>

#include "referee/common.h"
#include "referee/elementwise_functions.h"
#include "referee/elementwise_pair.h"
#include "referee/special_functions.h"
#include "referee/special_tables.h"

namespace referee {
namespace {

using std::copysign;
using std::fabs;
using std::fma;

const double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();

const Pair PI(0x1.921fb54442d18p+1, 0x1.1a62633145c07p-53);
const Pair ERFC_FIRST(0x1.3ba5916e9fd7fp+0, -0x1.a72633ec82837p-55);
const Pair TWO_OVER_ROOT_PI(0x1.20dd750429b6dp+0, 0x1.1ae3a914fed8p-56);
const double HALF_ROOT_PI = 0x1.c5bf891b4ef6bp-1;
const Pair EULER(0x1.2788cfc6fb619p-1, -0x1.6cb90701fbfabp-58);
const Pair ONE_LESS_EULER(0x1.b0ee6072093cep-2, 0x1.6cb90701fbfabp-58);
const Pair TWELFTH(0x1.5555555555555p-4, 0x1.5555555555555p-58);
const Pair LOG_ROOT(0x1.acfe390c97d69p-2, 0x1.3494bc9001442p-56);
const double GAMMA_MOST = 0x1.754d9278b51a7p+1014, GAMMA_LEAST = 0x1p-60;
const Pair BESSEL0_FIRST(0x1.9bd428ad249a5p-2, -0x1.d52d7cc93e52dp-56);
const Pair BESSEL1_FIRST(0x1.8ebe783a8403p-2, -0x1.490e8996eba5fp-58);

Pair log_of(Pair A) { return log_pair(A.h) + Pair(A.l / A.h); }

Pair inner(double a) {
  const double z = a * a;
  return Pair(a) * TWO_OVER_ROOT_PI + Pair(a * z * at(ERF64, z));
}

Pair outer(double a) {
  const Pair T = sum(a, -4) / sum(a, 4);
  return (ERFC_FIRST + T * Pair(at(ERFC64, T.h))) / sum(1, a + a);
}

Power under(double a) {
  const Power e = power(-product(a, a));
  return {outer(a) * (Pair(1) + e.P), e.k};
}

double erf(double x, double) {
  if (x != x) return nan;
  const double a = std::min(fabs(x), 6.0);
  if (a < 0.5) return copysign(inner(a).h, x);
  const Power Y = under(a);
  return copysign((Pair(1) - by_power(Y.P, Y.s())).h, x);
}

double erfc(double x, double) {
  if (x != x) return nan;
  if (x >= 0.5) {
    const Power Y = under(std::min(x, 27.3));
    return times(Y.P.h, Y.k);
  }
  if (x <= -0.5) {
    const Power Y = under(std::min(-x, 6.0));
    return (Pair(2) - by_power(Y.P, Y.s())).h;
  }
  const Pair Y = inner(fabs(x));
  return x < 0 ? (Pair(1) + Y).h : (Pair(1) - Y).h;
}

double erf_inv(double x, double) {
  const double a = fabs(x);
  if (a == 1) return copysign(infinity, x);
  if (!(a < 1)) return nan;
  const double w = -log_inside(fma(-a, a, 1));
  const double y = w > 16.7 ? at(ERF_INV_FAR, std::sqrt(w))
                            : a * at(ERF_INV_P, w) * reciprocal(at(ERF_INV_Q, w));
  const Power e = power(product(y, y));
  const Pair E = by_power(Pair(1) + e.P, e.s());
  const Pair U = a < 0.5 ? (inner(y) - Pair(a)) * E : sum(1, -a) * E - outer(y);
  const double u = HALF_ROOT_PI * U.h;
  return copysign(y - u / fma(y, u, 1), x);
}

}  // namespace

Pair gamma(double a) {
  Pair Q = 1, Y = a;
  if (a < 10) {
    Q = a;
    for (int i = 1; i <= 9; ++i) Q = Q * sum(a, i);
    Y = sum(a, 10);
  }
  const double r = 1 / Y.h, z = r * r;
  const Pair W = TWELFTH / Y + Pair(r * z * at(STIRLING, z));
  return (((Y - Pair(0.5)) * (log_of(Y) - Pair(1)) + LOG_ROOT) + W) - log_of(Q);
}

namespace {

struct HalfTurn {
  Pair s, c;
  double f;
};
HalfTurn turn(double a) {
  const double f = a - std::nearbyint(a), q = fabs(f);
  const Pair R = PI * Pair(q <= 0.25 ? q : 0.5 - q);
  return q <= 0.25 ? HalfTurn{S(R), C(R), f} : HalfTurn{C(R), S(R), f};
}

bool is_pole(double x) { return x == 0 || (x < 0 && x == std::trunc(x)); }  // -∞ is one

double lgamma(double x, double) {
  if (x != x) return nan;
  if (is_pole(x) || x > GAMMA_MOST) return infinity;
  const double a = fabs(x);
  if (fabs(x - 1) <= 0.25) {
    const double t = x - 1;
    return (-EULER * Pair(t) + Pair(t * t * at(GAMMA_ONE, t))).h;
  }
  if (fabs(x - 2) <= 0.25) {
    const double t = x - 2;
    return (ONE_LESS_EULER * Pair(t) + Pair(t * t * at(GAMMA_TWO, t))).h;
  }
  if (a < GAMMA_LEAST) return -log_pair(a).h;
  if (x > 0) return gamma(x).h;
  return (log_of(PI / (Pair(a) * turn(a).s)) - gamma(a)).h;
}

Pair psi(double a) {
  Pair D = 0, Y = a;
  if (a < 10) {
    D = Pair(1) / Pair(a);
    for (int i = 1; i <= 9; ++i) D = D + Pair(1) / sum(a, i);
    Y = sum(a, 10);
  }
  const double r = 1 / Y.h, z = r * r;
  return ((log_of(Y) - Pair(0.5) / Y) - Pair(z * at(PSI, z))) - D;
}

double digamma(double x, double) {
  if (x != x || is_pole(x)) return nan;
  if (x == infinity) return infinity;
  const double a = fabs(x);
  if (a < GAMMA_LEAST) return -1 / x;
  if (x > 0) return psi(x).h;
  const HalfTurn t = turn(a);
  const Pair V = PI * (t.c / t.s);
  return ((psi(a) + Pair(1) / Pair(a)) + (t.f < 0 ? -V : V)).h;
}

double bessel(double x, bool first, const Table& near, Pair lead, const Table& far) {
  if (x != x) return nan;
  const double a = fabs(x);
  if (a == infinity) return 0;
  if (a > 8) {
    const double t = 16 / a - 1;
    return ((lead + Pair(t * at(far, t))) / root(Pair(a))).h;
  }
  const double h = 0.5 * a, z = h * h;
  const Pair V = sum(1, z * at(near, z));
  const Power e = power(Pair(-a));
  return by_power((first ? Pair(h) * V : V) * (Pair(1) + e.P), e.s()).h;
}
double bessel_i0e(double x, double) { return bessel(x, false, BESSEL0, BESSEL0_FIRST, BESSEL0_FAR); }
double bessel_i1e(double x, double) { return copysign(bessel(x, true, BESSEL1, BESSEL1_FIRST, BESSEL1_FAR), x); }

}  // namespace

Function special_function(int64_t number) {
  static const Function all[] = {erf, erfc, erf_inv, lgamma, digamma, bessel_i0e, bessel_i1e};
  const int64_t count = sizeof all / sizeof *all;
  return number >= 130 && number < 130 + count ? all[number - 130] : iterated_function(number);
}

}  // namespace referee
