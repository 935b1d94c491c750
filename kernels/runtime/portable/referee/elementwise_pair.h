// The pairs of docs/numerics/elementwise.md, E7, and the parts of it that special functions use.
#pragma once

#include <cmath>
#include <cstdint>

#include "referee/elementwise_tables.h"

namespace referee {

struct Pair {
  double h, l;
  Pair(double x) : h(x), l(0) {}  // NOLINT: a number stands for a pair
  Pair(double high, double low) : h(high), l(low) {}
};

inline Pair sum(double a, double b) {
  const double s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
inline Pair quick(double a, double b) {
  const double s = a + b;
  return {s, b - (s - a)};
}
inline Pair product(double a, double b) {
  const double p = a * b;
  return {p, std::fma(a, b, -p)};
}
inline Pair operator+(Pair A, Pair B) {
  const Pair s = sum(A.h, B.h);
  return quick(s.h, s.l + (A.l + B.l));
}
inline Pair operator*(Pair A, Pair B) {
  const Pair p = product(A.h, B.h);
  return quick(p.h, std::fma(A.h, B.l, std::fma(A.l, B.h, p.l)));
}
inline Pair operator/(Pair A, Pair B) {
  const double q = A.h / B.h;
  return quick(q, std::fma(-q, B.l, std::fma(-q, B.h, A.h) + A.l) / B.h);
}
inline Pair operator-(Pair A) { return {-A.h, -A.l}; }
inline Pair operator-(Pair A, Pair B) { return A + -B; }
inline Pair root(Pair A) {
  const double s = std::sqrt(A.h);
  return quick(s, (std::fma(-s, s, A.h) + A.l) / (s + s));
}
inline Pair by_power(Pair A, double s) { return {A.h * s, A.l * s}; }

inline double at(const Table& table, double x) {
  double p = table.back();
  for (int i = static_cast<int>(table.size()) - 2; i >= 0; --i) p = std::fma(p, x, table[i]);
  return p;
}

// e^X = 2^k·(1 + P)
struct Power {
  Pair P;
  int64_t k;
  double s() const { return std::ldexp(1.0, static_cast<int>(k)); }
};
Power power(Pair X);
double times(double y, int64_t k);
Pair log_pair(double x);
Pair S(Pair R);
Pair C(Pair R);

}  // namespace referee
