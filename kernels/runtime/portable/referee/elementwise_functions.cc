// The functions of binary32 (docs/numerics/elementwise.md, E6), one element at a time, in the page's own words.
#include "referee/elementwise_functions.h"

#include <limits>
#include <vector>

#include "referee/common.h"
#include "referee/elementwise_tables.h"

namespace referee {
namespace {

using std::fabs;
using std::fma;
using std::sqrt;

const double infinity = std::numeric_limits<double>::infinity();
const double nan = std::numeric_limits<double>::quiet_NaN();
const double LN2 = 0x1.62e42fefa39efp-1, LOG2E = 0x1.71547652b82fep+0, M = 0x1.8p52;
const double PI = 0x1.921fb54442d18p+1, HALF_PI = 0x1.921fb54442d18p+0, HALF_PI_REST = 0x1.1a62633145c07p-54;
const double TWO_OVER_PI = 0x1.45f306dc9c883p-1;

double value(uint64_t word) { return binary64(word); }

double at(const Table& table, double x) {
  double p = table.back();
  for (int i = static_cast<int>(table.size()) - 2; i >= 0; --i) p = fma(p, x, table[i]);
  return p;
}

// The sign of a NaN does not matter, and copysign takes any.
double copysign(double x, double s) { return value((bits(x) << 1 >> 1) | (bits(s) >> 63 << 63)); }

double clamped(double x, double low, double high) {
  if (x < low) return low;
  if (x > high) return high;
  return x;
}

struct Parts {
  double p, s;
};

Parts power(double x) {
  const double t = fma(x, LOG2E, M);
  const double r = fma(-(t - M), LN2, x);
  return {r * at(EXP, r), value((bits(t) << 52) + 0x3ff0000000000000u)};
}
double whole(double x) {
  const Parts e = power(x);
  return fma(e.p, e.s, e.s);
}
double less(double x) {
  const Parts e = power(x);
  return fma(e.p, e.s, e.s - 1);
}

}  // namespace

double reciprocal(double d) {
  double y = value(0x7fde600000000000u - bits(d));
  for (int i = 0; i < 2; ++i) {
    const double e = fma(-d, y, 1);
    y = fma(y, fma(e, e, e), y);
  }
  return y;
}

double log_inside(double x) {
  const uint64_t k = (bits(x) + 0x4000000000000000u - 0x3fe6a09e00000000u) >> 52;
  const double f = value(bits(x) - ((k - 1024) << 52)) - 1;
  return fma(static_cast<double>(static_cast<int64_t>(k) - 1024), LN2, f * at(LOG, f));
}

namespace {

double log_all(double x) {
  if (x < 0 || x != x) return nan;
  if (x == 0) return -infinity;
  if (x == infinity) return infinity;
  return log_inside(x);
}

double log1p_wide(double t) {
  const double v = 1 + t;
  if (v < 0 || v != v) return nan;
  if (v == 0) return -infinity;
  if (v == infinity) return infinity;
  return log_inside(v) + (t - (v - 1)) / v;
}

double exp2(double x, double) {
  const double c = clamped(x, -160, 140), t = c + M, r = c - (t - M);
  const double p = r * at(EXP2, r), s = value((bits(t) << 52) + 0x3ff0000000000000u);
  return fma(p, s, s);
}

double expm1(double x, double) { return copysign(less(clamped(x, -110, 100)), x); }
double log(double x, double) { return log_all(x); }
double log1p(double x, double) { return fabs(x) < 0x1p-28 ? fma(-0.5, x * x, x) : log_all(1 + x); }

double sinh(double x, double) {
  const double n = less(fabs(x) > 100 ? 100 : fabs(x));
  return copysign(0.5 * (n + n / (n + 1)), x);
}

double cosh(double x, double) {
  const double n = whole(fabs(x) > 100 ? 100 : fabs(x));
  return 0.5 * (n + 1 / n);
}

double asinh(double x, double) {
  const double a = fabs(x);
  if (!(a < infinity)) return x;
  return copysign(log1p_wide(a + a * a / (1 + sqrt(fma(a, a, 1)))), x);
}

double acosh(double x, double) {
  if (x < 1) return nan;
  const double t = x - 1;
  return log1p_wide(t + sqrt(t * (t + 2)));
}

double atanh(double x, double) {
  const double a = fabs(x);
  return copysign(0.5 * log1p_wide((a + a) / (1 - a)), x);
}

bool is_whole(double y) { return std::isinf(y) || y == std::trunc(y); }
bool is_odd(double y) { return std::isfinite(y) && is_whole(y) && ::fmod(y, 2) != 0; }

double pow(double x, double y) {
  if (y == 0 || x == 1) return 1;
  if (x != x || y != y) return nan;
  const double a = fabs(x);
  const double q = a == 1 ? 0 : y * log_all(a);
  const double z = whole(clamped(q, -110, 110));
  if (-infinity < x && x < 0 && !is_whole(y)) return nan;
  return is_odd(y) ? copysign(z, x) : z;
}

double rsqrt(double x, double) {
  if (x == infinity) return 0;
  if (x == 0) return copysign(infinity, x);
  if (!(x > 0)) return nan;
  double y = value(0x5fe6e90000000000u - (bits(x) >> 1));
  for (int i = 0; i < 2; ++i) {
    const double e = fma(-(x * y), y, 1);
    y = fma(y * e, fma(0.375, e, 0.5), y);
  }
  return y;
}

double cbrt(double x, double) {
  if (x == 0 || !std::isfinite(x)) return x;
  const double a = fabs(x);
  double y = value((0x553ee800u - (((bits(a) >> 32) * 0x55555556u) >> 32)) << 32);
  for (int i = 0; i < 3; ++i) {
    const double e = fma(-(a * y), y * y, 1);
    y = fma(y * e, fma(0x1.c71c71c71c71cp-3, e, 0x1.5555555555555p-2), y);
  }
  return copysign(a * y * y, x);
}

struct Angle {
  double r;
  uint64_t q;
};

// The first binary digits of 2/π after the point, 32 at a time.
const uint32_t digits_of_two_over_pi[] = {
    0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561,
    0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484,
    0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f,
    0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b,
    0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab, 0xf0cfbc20, 0x9af4361d};
int digit(int i) {  // i from 1; 0 before the first
  if (i < 1) return 0;
  return digits_of_two_over_pi[(i - 1) / 32] >> (31 - (i - 1) % 32) & 1;
}

// Numbers of 256 bits, one bit an element, the lowest first: slow and without a carry to get wrong.
using Long = std::vector<int>;

}  // namespace

void far_angle(double x, double& high, double& low, uint64_t& q) {
  int e;
  const uint64_t m = static_cast<uint64_t>(std::ldexp(std::frexp(fabs(x), &e), 53));
  e -= 53;
  Long f(192, 0);  // m·W mod 2^192
  for (int bit = 0; bit < 53; ++bit) {
    if (!(m >> bit & 1)) continue;
    int carry = 0;
    for (int i = bit; i < 192; ++i) {
      // bit i - bit of W is its digit number 192 - (i - bit), which is digit e - 2 + that of 2/π
      const int sum = f[i] + digit(e - 2 + 192 - (i - bit)) + carry;
      f[i] = sum & 1;
      carry = sum >> 1;
    }
  }
  q = 2 * f[191] + f[190];
  const bool negative = f[189];
  q += negative;
  Long g(f.begin(), f.begin() + 190);
  if (negative) {  // 2^190 - g
    int carry = 1;
    for (int& b : g) {
      b = 1 - b + carry;
      carry = b >> 1;
      b &= 1;
    }
  }
  int top = 189;
  while (top >= 0 && !g[top]) --top;
  high = low = 0;
  if (top < 0) return;
  auto digit_of = [&](int i) { return i >= 0 && i > top - 128 ? g[i] : 0; };  // 128 digits are kept
  for (int i = top; i > top - 53; --i) high += std::ldexp(digit_of(i), i - 190);
  bool beyond = false;  // after the one that decides
  for (int i = top - 54; i > top - 128; --i) beyond = beyond || digit_of(i);
  const bool up = digit_of(top - 53) && (beyond || digit_of(top - 52));
  if (up) high += std::ldexp(1, top - 52 - 190);
  // What is left, below zero if high was rounded up: digits top - 53 … top - 127, 75 of them, rounded to 53.
  std::vector<int> rest;
  for (int i = top - 127; i <= top - 53; ++i) rest.push_back(digit_of(i));
  if (up) {  // 2^75 less that
    int carry = 1;
    for (int& b : rest) {
      b = 1 - b + carry;
      carry = b >> 1;
      b &= 1;
    }
  }
  int first = 74;
  while (first >= 0 && !rest[first]) --first;
  for (int i = first; i >= 0 && i > first - 53; --i) low += std::ldexp(rest[i], top - 127 + i - 190);
  bool more = false;
  for (int i = 0; i < first - 53; ++i) more = more || rest[i];
  if (first >= 53 && rest[first - 53] && (more || rest[first - 52])) {
    low += std::ldexp(1, top - 127 + first - 52 - 190);
  }
  if (up) low = -low;
  if (negative) {
    high = -high;
    low = -low;
  }
  if (x < 0) {
    high = -high;
    low = -low;
    q = -q;
  }
}

namespace {

Angle angle(double x) {
  if (fabs(x) <= 0x1p30) {
    const double t = fma(x, TWO_OVER_PI, M), k = t - M;
    return {fma(-k, HALF_PI_REST, fma(-k, HALF_PI, x)), bits(t)};
  }
  double high, low;
  uint64_t q;
  far_angle(x, high, low, q);
  return {high * HALF_PI, q};
}

double S(double r) { return fma(r * r * at(SIN, r * r), r, r); }
double C(double r) { return fma(r * r, at(COS, r * r), 1); }
double turn(double r, uint64_t q) {
  const double y = q % 2 == 1 ? C(r) : S(r);
  return q & 2 ? -y : y;
}

double sin(double x, double) {
  if (x == 0) return x;
  if (!std::isfinite(x)) return nan;
  const Angle a = angle(x);
  return turn(a.r, a.q);
}
double cos(double x, double) {
  if (!std::isfinite(x)) return nan;
  const Angle a = angle(x);
  return turn(a.r, a.q + 1);
}
double tan(double x, double) {
  if (x == 0) return x;
  if (!std::isfinite(x)) return nan;
  const Angle a = angle(x);
  return a.q % 2 == 1 ? -C(a.r) / S(a.r) : S(a.r) / C(a.r);
}

double atan2(double y, double x) {
  if (x != x || y != y) return nan;
  const double a = fabs(y), b = fabs(x);
  const double t = a == b ? (a == 0 ? 0 : 1) : std::min(a, b) / std::max(a, b);
  double p = t * at(ATAN, t * t);
  if (a > b) p = HALF_PI - p;
  if (std::signbit(x)) p = PI - p;
  return copysign(p, y);
}
double atan(double x, double) { return atan2(x, 1); }
double asin(double x, double) { return atan2(x, sqrt((1 - x) * (1 + x))); }
double acos(double x, double) { return atan2(sqrt((1 - x) * (1 + x)), x); }

// The three of binary32 throughout.
const float M32 = 0x1.8p23f, LOG2E32 = 0x1.715476p+0f, HIGH = 0x1.62e4p-1f, LOW = 0x1.7f7d1cp-20f;
const float Q32[] = {0x1p-1f, 0x1.555556p-3f, 0x1.5554e8p-5f, 0x1.1110ep-7f, 0x1.6d436p-10f, 0x1.a12528p-13f};

struct Power32 {
  float r, t, w;
};

Power32 power32(float x) {
  const float w = fma(x, LOG2E32, M32), k = w - M32;
  const float h = fma(-k, HIGH, x), r = fma(-k, LOW, h);
  float q = Q32[5];
  for (int i = 4; i >= 0; --i) q = fma(q, r, Q32[i]);
  return {r, fma(r * r, q, fma(-k, LOW, h - r)), w};
}

float exp32(float x) {
  if (x < -104) x = -104;
  if (x > 89) x = 89;
  const Power32 e = power32(x);
  const float h = 1 + e.r, y = h + (((1 - h) + e.r) + e.t);
  const uint32_t b = bits(e.w) - 0x4b400000u + 254, c = b >> 1;
  return y * binary32(c << 23) * binary32((b - c) << 23);
}

double exp(double x, double) { return exp32(static_cast<float>(x)); }

double tanh(double x, double) {
  const float a = fabs(x) > 10 ? 10 : static_cast<float>(fabs(x));
  const Power32 e = power32(a + a);
  const float s = binary32((bits(e.w) + 127) << 23);
  const float n = fma(e.r, s, s - 1), l = fma(e.r, s, (s - 1) - n), m = n + fma(e.t, s, l);
  return copysign(m / (m + 2), x);
}

double logistic(double x, double) {
  const float z = exp32(-static_cast<float>(fabs(x)));
  const float n = x < 0 ? z : 1, d = 1 + z, l = (1 - d) + z, i = 1 / d, y = n * i;
  return fma(fma(-y, l, fma(-y, d, n)), i, y);
}

double erf(double x, double) {
  const double a = fabs(x) > 3.93 ? 3.93 : fabs(x), z = a * a;
  return copysign(a * at(ERF_P, z) * reciprocal(at(ERF_Q, z)), x);
}

double erfc(double x, double) {
  const double a = fabs(x) > 10.2 ? 10.2 : fabs(x);
  const double z = whole(-(a * a)) * (at(ERFC_P, a) / at(ERFC_Q, a));
  return x < 0 ? 2 - z : z;
}

double erf_inv(double x, double) {
  if (fabs(x) == 1) return copysign(infinity, x);
  if (!(fabs(x) < 1)) return nan;
  const double w = -log_inside(fma(-x, x, 1)), inside = w > 16.7 ? 16.7 : w;
  return x * at(ERF_INV_P, inside) * reciprocal(at(ERF_INV_Q, inside));
}

}  // namespace

double cbrt32(double x) { return cbrt(x, 0); }

Function function(int64_t number) {
  static const Function all[] = {rsqrt, cbrt, exp,  exp2, expm1, log,  log1p, tanh,  logistic, sin, cos,  tan,
                                 asin,  acos, atan, sinh, cosh,  asinh, acosh, atanh, erf,      erfc, erf_inv};
  const int64_t count = sizeof all / sizeof *all;
  if (number == 28) return pow;
  if (number == 29) return atan2;
  return number >= 110 && number < 110 + count ? all[number - 110] : special_function(number);
}

}  // namespace referee
