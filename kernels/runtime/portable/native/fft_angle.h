// The angles of docs/numerics/linalg.md, 5.8: cosine and sine of a rational part of a turn.
#pragma once

#include <cmath>
#include <cstdint>
#include <utility>

namespace portable::fourier {

struct Angle {
  double cos, sin;
};

// Of 2 pi k / n, 0 <= k < n.
inline Angle angle(int64_t k, int64_t n) {
  const int64_t whole = 8 * n;
  int64_t part = 8 * k;
  const bool below = part > 4 * n;
  if (below) part = whole - part;
  const bool left = part > 2 * n;
  if (left) part = 4 * n - part;
  const bool steep = part > n;
  if (steep) part = 2 * n - part;

  const double a = static_cast<double>(part), all = static_cast<double>(whole);
  const double q = a / all, rest = std::fma(-q, all, a) / all;
  constexpr double kTurn = 0x1.921fb54442d18p+2, kTurnRest = 0x1.1a62633145c07p-52;
  const double t = kTurn * q;
  const double d = std::fma(kTurn, rest, std::fma(kTurnRest, q, std::fma(kTurn, q, -t)));

  const double z = t * t;
  double s = std::fma(z, 0x1.5d93a5acfd57cp-33, -0x1.ae5e68a2b9cebp-26);
  s = std::fma(z, s, 0x1.71de357b1fe7dp-19);
  s = std::fma(z, s, -0x1.a01a019c161d5p-13);
  s = std::fma(z, s, 0x1.111111110f8a6p-7);
  s = std::fma(z, s, -0x1.5555555555549p-3);
  double c = std::fma(z, -0x1.8fae9be8838d4p-37, 0x1.1ee9ebdb4b1c4p-29);
  c = std::fma(z, c, -0x1.27e4f809c52adp-22);
  c = std::fma(z, c, 0x1.a01a019cb159p-16);
  c = std::fma(z, c, -0x1.6c16c16c15177p-10);
  c = std::fma(z, c, 0x1.555555555554cp-5);
  double sine = t + std::fma(z * t, s, std::fma(-0.5 * z, d, d));
  const double half = 0.5 * z, w = 1 - half;
  double cosine = w + (((1 - w) - half) + std::fma(z * z, c, -(t * d)));
  if (steep) std::swap(sine, cosine);
  return {left ? -cosine : cosine, below ? -sine : sine};
}

}  // namespace portable::fourier
