// Section 5's matrices and reflectors, shared by the referee's linear algebra.
#pragma once

#include <cstdint>
#include <vector>

#include "common.h"

namespace referee {

// A dense matrix, row-major.
template <typename T>
struct Matrix {
  int64_t rows, columns;
  std::vector<T> values;
  Matrix(int64_t rows, int64_t columns) : rows(rows), columns(columns), values(rows * columns, T(0)) {}
  T& operator()(int64_t i, int64_t j) { return values[i * columns + j]; }
  T operator()(int64_t i, int64_t j) const { return values[i * columns + j]; }
};

template <typename T>
Matrix<T> identity(int64_t rows, int64_t columns) {
  Matrix<T> eye(rows, columns);
  for (int64_t i = 0; i < std::min(rows, columns); ++i) eye(i, i) = 1;
  return eye;
}

// How many matrices stand in a buffer, and their rows and columns.
struct Batch {
  int64_t count = 1, rows, columns;
  explicit Batch(const ffi::AnyBuffer& buffer) {
    const auto dims = buffer.dimensions();
    for (size_t i = 0; i + 2 < dims.size(); ++i) count *= dims[i];
    rows = dims[dims.size() - 2];
    columns = dims[dims.size() - 1];
  }
};

template <typename T, typename U = T>
Matrix<U> load(const ffi::AnyBuffer& buffer, int64_t index, int64_t rows, int64_t columns) {
  Matrix<U> matrix(rows, columns);
  const T* from = static_cast<const T*>(buffer.untyped_data()) + index * rows * columns;
  for (int64_t i = 0; i < rows * columns; ++i) matrix.values[i] = static_cast<U>(from[i]);
  return matrix;
}

// Writes list `index` of a batch of lists, rounding to T, with the one NaN.
template <typename T, typename U>
void store(const ffi::AnyBuffer& buffer, int64_t index, const std::vector<U>& values) {
  T* to = static_cast<T*>(buffer.untyped_data()) + index * static_cast<int64_t>(values.size());
  for (size_t i = 0; i < values.size(); ++i) to[i] = one_nan(static_cast<T>(values[i]));
}

// 5.4: reflector(column `column` from row `row` on), written over it; gives tau. Binary32 is computed in binary64.
template <typename T>
T reflector(std::vector<T>& x) {
  double greatest = 0;
  for (T value : x)
    if (std::fabs(static_cast<double>(value)) > greatest) greatest = std::fabs(static_cast<double>(value));
  double scale = 1;
  if (sizeof(T) == 8 && greatest != 0 && !std::isinf(greatest))
    scale = std::ldexp(1.0, -std::clamp(std::ilogb(greatest), -1000, 1000));
  const double alpha = x[0] * scale;
  double sum = 0;
  for (size_t i = 1; i < x.size(); ++i) sum = std::fma(x[i] * scale, x[i] * scale, sum);
  if (sum == 0) return 0;
  const double b = -std::copysign(std::sqrt(std::fma(alpha, alpha, sum)), alpha);
  const double q = alpha - b;
  x[0] = static_cast<T>(b / scale);
  for (size_t i = 1; i < x.size(); ++i) x[i] = static_cast<T>(x[i] * scale / q);
  return static_cast<T>((b - alpha) / b);
}

// Part of a column, read and written back.
template <typename T>
std::vector<T> column(const Matrix<T>& a, int64_t j, int64_t from) {
  std::vector<T> x;
  for (int64_t i = from; i < a.rows; ++i) x.push_back(a(i, j));
  return x;
}
template <typename T>
void set_column(Matrix<T>& a, int64_t j, int64_t from, const std::vector<T>& x) {
  for (int64_t i = from; i < a.rows; ++i) a(i, j) = x[i - from];
}

// 5.4: the sum of x(i)*y(i) over rows `from` to the last, by blocks of 8 rows.
template <typename T>
T column_product(const std::vector<T>& x, const std::vector<T>& y, int64_t from) {
  T sum = 0;
  for (int64_t block = from / 8; block * 8 < static_cast<int64_t>(x.size()); ++block) {
    T part = 0;
    for (int64_t i = block * 8; i < block * 8 + 8; ++i)
      if (i >= from && i < static_cast<int64_t>(x.size())) part = std::fma(x[i], y[i], part);
    sum = sum + part;
  }
  return sum;
}

// u of reflector k of a factorisation, in all its rows.
template <typename T>
std::vector<T> unit_vector(const Matrix<T>& a, int64_t k) {
  std::vector<T> u(a.rows, T(0));
  u[k] = 1;
  for (int64_t i = k + 1; i < a.rows; ++i) u[i] = a(i, k);
  return u;
}

// Applies reflector k to a column y.
template <typename T>
void reflect(T tau, const std::vector<T>& u, int64_t k, std::vector<T>& y) {
  if (tau == 0) return;
  const T t = tau * column_product(u, y, k);
  for (size_t i = k; i < y.size(); ++i) y[i] = std::fma(-u[i], t, y[i]);
}

// Applies the reflectors of a panel of a factorisation, those from `first` on, to the columns of y from `from` on.
template <typename T>
void reflect_panel(const Matrix<T>& a, const std::vector<T>& taus, int64_t first, bool backwards, Matrix<T>& y,
                   int64_t from) {
  std::vector<int64_t> panel;
  std::vector<std::vector<T>> u(4);
  T z[4][4];
  for (int64_t j = 0; j < 4 && first + j < static_cast<int64_t>(taus.size()); ++j) {
    u[j] = unit_vector(a, first + j);
    if (taus[first + j] != 0) panel.push_back(j);
  }
  for (int64_t i : panel)
    for (int64_t j : panel) z[i][j] = column_product(u[i], u[j], first);
  std::vector<int64_t> order = panel;
  if (backwards) std::reverse(order.begin(), order.end());
  for (int64_t c = from; c < y.columns; ++c) {
    std::vector<T> values = column(y, c, 0);
    T x[4];
    for (auto j = order.begin(); j != order.end(); ++j) {
      T t = column_product(u[*j], values, first);
      for (auto i = order.begin(); i != j; ++i) t = std::fma(-z[*i][*j], x[*i], t);
      x[*j] = taus[first + *j] * t;
    }
    for (int64_t i = first; i < y.rows; ++i) {
      T sum = 0;
      for (int64_t j : panel) sum = std::fma(u[j][i], x[j], sum);
      y(i, c) = values[i] - sum;
    }
  }
}

// Where the last panel of so many reflectors begins; negative if there are none.
inline int64_t last_panel(int64_t count) { return (count + 3) / 4 * 4 - 4; }

template <typename T>
std::vector<T> geqrf(Matrix<T>& a) {
  std::vector<T> taus;
  const int64_t steps = std::min(a.rows, a.columns);
  for (int64_t k = 0; k < steps; ++k) {
    std::vector<T> v = column(a, k, k);
    taus.push_back(reflector(v));
    set_column(a, k, k, v);
    const int64_t first = k / 4 * 4, end = std::min(first + 4, steps);
    for (int64_t j = k + 1; j < end; ++j) {
      std::vector<T> y = column(a, j, 0);
      reflect(taus[k], unit_vector(a, k), k, y);
      set_column(a, j, 0, y);
    }
    if (k + 1 == end) reflect_panel(a, taus, first, false, a, end);
  }
  return taus;
}

template <typename T>
Matrix<T> householder_product(const Matrix<T>& a, const std::vector<T>& taus) {
  Matrix<T> q = identity<T>(a.rows, a.columns);
  for (int64_t first = last_panel(static_cast<int64_t>(taus.size())); first >= 0; first -= 4)
    reflect_panel(a, taus, first, true, q, first);
  return q;
}

// 5.5
struct Turn {
  double r, c, s;
};
inline Turn turn(double f, double g) {
  const double greatest = std::max(std::fabs(f), std::fabs(g));
  if (greatest == 0) return {0, 1, 0};
  const double scale = std::ldexp(1.0, -std::clamp(std::ilogb(greatest), -1000, 1000));
  const double a = f * scale, b = g * scale, r = std::sqrt(std::fma(a, a, b * b));
  return {r / scale, a / r, b / r};
}
inline void rotate(Matrix<double>& z, int64_t x, int64_t y, double c, double s) {
  for (int64_t i = 0; i < z.rows; ++i) {
    const double old_x = z(i, x), old_y = z(i, y);
    z(i, x) = std::fma(c, old_x, s * old_y);
    z(i, y) = std::fma(c, old_y, -(s * old_x));
  }
}

// 5.6, step 1: the exponent that the matrix is divided by.
inline int exponent_of(const std::vector<double>& values) {
  double greatest = 0;
  for (double value : values) greatest = std::max(greatest, std::fabs(value));
  return greatest == 0 ? 0 : std::clamp(std::ilogb(greatest), -1000, 1000);
}

// 5.6, step 6: better ones of the eigenvalues `first` and on, ascending, of a symmetric tridiagonal matrix.
inline void refine(const std::vector<double>& diagonal, const std::vector<double>& beside, int64_t first,
                   std::vector<double>& values) {
  double greatest = 0;
  for (double value : values) greatest = std::max(greatest, std::fabs(value));
  if (greatest == 0) return;
  const double unit = std::ldexp(1.0, std::ilogb(greatest));
  for (size_t j = 0; j < values.size(); ++j) {
    double x = values[j];
    for (int step = -46; step >= -53; --step) {
      int64_t below = 0;
      double q = 0;
      for (size_t i = 0; i < diagonal.size(); ++i) {
        q = i == 0 ? diagonal[i] - x : (diagonal[i] - x) - beside[i - 1] * beside[i - 1] / q;
        if (std::fabs(q) < 0x1p-900) q = -0x1p-900;
        if (q < 0) ++below;
      }
      const double by = std::ldexp(unit, step);
      x = below <= first + static_cast<int64_t>(j) ? x + by : x - by;
    }
    if (std::fabs(x - values[j]) > std::ldexp(unit, -52)) values[j] = x;
  }
  for (size_t j = 1; j < values.size(); ++j) values[j] = std::max(values[j], values[j - 1]);
}

// Whether the element of largest magnitude, the first of equals, is negative.
inline bool points_down(const Matrix<double>& z, int64_t j) {
  int64_t largest = 0;
  for (int64_t i = 1; i < z.rows; ++i)
    if (std::fabs(z(i, j)) > std::fabs(z(largest, j))) largest = i;
  return z.rows > 0 && z(largest, j) < 0;
}
inline void negate(Matrix<double>& z, int64_t j) {
  for (int64_t i = 0; i < z.rows; ++i) z(i, j) = -z(i, j);
}

inline constexpr double kNot = __builtin_nan("");

}  // namespace referee
