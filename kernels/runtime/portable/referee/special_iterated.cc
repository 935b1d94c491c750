// The special functions that go on until a term no longer counts (docs/numerics/special.md, E9), in the page's words.
#include <limits>

#include "referee/common.h"
#include "referee/elementwise_functions.h"
#include "referee/elementwise_pair.h"
#include "referee/special_functions.h"
#include "referee/special_tables.h"

namespace referee {
namespace {

using std::fabs;
using std::fma;

const double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();
const int LIMIT = 20000;

double log(double x) { return function64(115)(x, 0); }
double digamma(double x) { return special_function(134)(x, 0); }
double pow(double x, double y) { return function64(28)(x, y); }

double whole(Pair X) {
  const Power e = power(X);
  return times((Pair(1) + e.P).h, e.k);
}
Pair log_gamma(double a) { return a >= 0x1p-60 ? gamma(a) : -log_pair(a); }
Pair bounded(Pair G) {
  if (G.h != G.h || G.h < -746) return -746;
  if (G.h > 710) return 710;
  return G;
}
double weight(double a, double x) {
  return whole(bounded((Pair(a) * log_pair(x) - Pair(x)) - log_gamma(a)));
}
double least(double d) { return fabs(d) < 0x1p-900 ? 0x1p-900 : d; }

double series(double a, double x) {
  double r = a, c = 1, s = 1;
  int times = 0;
  do {
    r = r + 1;
    c = c * (x / r);
    s = s + c;
  } while (!(c <= s * 0x1p-53) && ++times < LIMIT);
  return s;
}

double fraction(double a, double x) {
  double b = (x + 1) - a, c = infinity, d = 1 / b, h = d, e;
  int i = 0;
  do {
    ++i;
    const double n = -static_cast<double>(i) * (i - a);
    b = b + 2;
    d = 1 / least(fma(n, d, b));
    c = least(b + n / c);
    e = c * d;
    h = h * e;
  } while (!(fabs(e - 1) <= 0x1p-52) && i < LIMIT);
  return h;
}

struct Shares {
  double P, Q;
};
Shares shares(double a, double x) {
  if (a != a || x != x || a < 0 || x < 0 || (a == 0 && x == 0)) return {nan, nan};
  if (x == 0) return {0, 1};
  if (x == infinity || a == 0) return {1, 0};
  if (a > 0x1p60 || x > 0x1p60) return x > a ? Shares{1, 0} : Shares{0, 1};
  if (x <= a || x <= 1) {
    const double P = std::min(weight(a, x) * series(a, x) / a, 1.0);
    return {P, 1 - P};
  }
  const double Q = std::min(weight(a, x) * fraction(a, x), 1.0);
  return {1 - Q, Q};
}
double igamma(double a, double x) { return shares(a, x).P; }
double igammac(double a, double x) { return shares(a, x).Q; }

double igamma_grad_a(double a, double x) {
  if (a != a || x != x || x < 0 || a <= 0) return nan;
  if (x == 0 || a > 0x1p60 || x > 0x1p60) return 0;
  int steps = 0;
  if (x <= a || x <= 1) {
    double r = a, c = 1, s = 1, p = 0, t = 0;
    do {
      r = r + 1;
      p = p * (x / r) - (c * x) / (r * r);
      t = t + p;
      c = c * (x / r);
      s = s + c;
    } while (!(fabs(p) <= fabs(t) * 0x1p-53) && ++steps < LIMIT);
    return weight(a, x) * (s * (log(x) - digamma(a + 1)) + t) / a;
  }
  double y = 1 - a, z = (x + y) + 1, k = 0, g;
  double p2 = 1, q2 = x, p1 = x + 1, q1 = z * x, dp2 = 0, dq2 = 0, dp1 = 0, dq1 = -x;
  double h = p1 / q1, t = (dp1 - h * dq1) / q1;
  do {
    k = k + 1;
    y = y + 1;
    z = z + 2;
    const double w = y * k;
    const double p = p1 * z - p2 * w, dp = ((dp1 * z - p1) - dp2 * w) + p2 * k;
    const double q = q1 * z - q2 * w, dq = ((dq1 * z - q1) - dq2 * w) + q2 * k;
    h = p / q;
    const double v = (dp - h * dq) / q;
    g = fabs(v - t);
    t = v;
    p2 = p1, q2 = q1, dp2 = dp1, dq2 = dq1;
    p1 = p, q1 = q, dp1 = dp, dq1 = dq;
    if (fabs(p) > 0x1p52) {
      for (double* each : {&p1, &q1, &dp1, &dq1, &p2, &q2, &dp2, &dq2}) *each = *each * 0x1p-52;
    }
  } while (!(g <= 0x1p-52) && ++steps < LIMIT);
  return -weight(a, x) * (h * (log(x) - digamma(a)) + t);
}

bool is_whole(double x) { return std::isinf(x) || std::trunc(x) == x; }
bool is_even(double x) { return ::fmod(x, 2) == 0; }

double zeta(double x, double q) {
  if (x != x || q != q || x < 1 || x == infinity) return nan;
  if (x == 1) return infinity;
  if (q == infinity) return 0;
  if (q <= 0 && is_whole(q)) return is_even(x) ? infinity : nan;
  if (q < 0 && !is_whole(x)) return nan;
  double s = pow(q, -x), w = q, b = 0;
  for (int i = 1; i <= LIMIT; ++i) {
    w = w + 1;
    b = pow(w, -x);
    s = s + b;
    if (fabs(b) <= fabs(s) * 0x1p-53) return s;
    if (i >= 9 && w > 9) break;
  }
  s = s + b * w / (x - 1);
  s = s - 0.5 * b;
  double f = 1, k = 0;
  for (double c : ZETA) {
    f = f * (x + k);
    b = b / w;
    const double t = f * b * c;
    s = s + t;
    if (fabs(t) <= fabs(s) * 0x1p-53) return s;
    k = k + 1;
    f = f * (x + k);
    b = b / w;
    k = k + 1;
  }
  return s;
}

double polygamma(double m, double x) {
  if (m == 0) return digamma(x);
  if (m != m || m < 0 || m == infinity || !is_whole(m)) return nan;
  const double y = whole(bounded(gamma(m + 1))) * zeta(m + 1, x);
  return is_even(m) ? -y : y;
}

}  // namespace

double regularized_incomplete_beta(double a, double b, double x) {
  if (a != a || b != b || x != x || a < 0 || b < 0 || x < 0 || x > 1) return nan;
  const bool no_a = a == 0 || b > 0x1p60, no_b = b == 0 || a > 0x1p60;
  if (no_a && no_b) return nan;
  if (x == 0 || (no_b && x != 1)) return 0;
  if (x == 1 || no_a) return 1;
  Pair U = log_pair(x), rest = sum(1, -x), V = log_pair(rest.h) + Pair(rest.l / rest.h);
  double y = x;
  const bool exchanged = !(x < (a + 1) / ((a + b) + 2));
  if (exchanged) {
    std::swap(a, b);
    std::swap(U, V);
    y = 1 - x;
  }
  const Pair t = sum(a, b);
  const Pair B = (log_gamma(a) + log_gamma(b)) - (log_gamma(t.h) + Pair(t.l * log_pair(t.h).h));
  const double w = whole(bounded((Pair(a) * U + Pair(b) * V) - B));
  const double s = a + b, u = a + 1, v = a - 1;
  double c = 1, d = 1 / least(1 - s * y / u), h = d, e;
  int m = 0;
  do {
    ++m;
    const double k = 2.0 * m;
    double n = m * (b - m) * y / ((v + k) * (a + k));
    d = 1 / least(fma(n, d, 1));
    c = least(1 + n / c);
    h = h * (c * d);
    n = -((a + m) * (s + m) * y / ((a + k) * (u + k)));
    d = 1 / least(fma(n, d, 1));
    c = least(1 + n / c);
    e = c * d;
    h = h * e;
  } while (!(fabs(e - 1) <= 0x1p-52) && m < LIMIT);
  const double part = std::min(w * h / a, 1.0);
  return exchanged ? 1 - part : part;
}

Function iterated_function(int64_t number) {
  static const Function all[] = {igamma, igammac, igamma_grad_a, zeta, polygamma};
  const int64_t count = sizeof all / sizeof *all;
  return number >= 150 && number < 150 + count ? all[number - 150] : nullptr;
}

}  // namespace referee
