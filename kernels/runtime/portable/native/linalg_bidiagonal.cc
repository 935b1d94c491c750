#include "native/linalg_bidiagonal.h"

#include <algorithm>
#include <cmath>

#include "native/linalg_reflect.h"

namespace portable::linalg {
namespace {

constexpr double kEps = 0x1p-52, kTiny = 0x1p-966;

// (I - tau u u') a for a rows x columns block with rows n apart, its row 0 being row `top`; u[0] is 1.
void reflect_columns(double tau, const double* u, int64_t top, int64_t rows, int64_t columns, int64_t n, double* a,
                     std::vector<double>& room) {
  if (tau == 0) return;
  room.resize(columns);
  double* __restrict w = room.data();
  column_products(u, a, top, rows, columns, n, w);
  for (int64_t j = 0; j < columns; ++j) w[j] = tau * w[j];
  for (int64_t i = 0; i < rows; ++i) {
    const double x = -u[i];
    double* __restrict row = a + i * n;
    for (int64_t j = 0; j < columns; ++j) row[j] = std::fma(x, w[j], row[j]);
  }
}

// The product of two lists in 8 lanes, as 5.7 has it.
double in_lanes(int64_t size, const double* v, const double* y) {
  using S = Simd<double>;
  constexpr int kParts = 8 / S::kLanes;
  S::V acc[kParts];
  for (S::V& part : acc) part = S::zero();
  int64_t j = 0;
  for (; j + 8 <= size; j += 8)
    for (int p = 0; p < kParts; ++p)
      acc[p] = S::fma(S::load(v + j + p * S::kLanes), S::load(y + j + p * S::kLanes), acc[p]);
  double lane[8];
  for (int p = 0; p < kParts; ++p) S::store(lane + p * S::kLanes, acc[p]);
  for (int l = 0; j < size; ++j, ++l) lane[l] = std::fma(v[j], y[j], lane[l]);
  for (int s = 4; s >= 1; s /= 2)
    for (int l = 0; l < s; ++l) lane[l] = lane[l] + lane[l + s];
  return lane[0];
}

// a (I - tau v v'), v[0] being 1.
void reflect_rows(double tau, const double* v, int64_t rows, int64_t columns, int64_t n, double* a) {
  if (tau == 0) return;
  for (int64_t i = 0; i < rows; ++i) {
    double* __restrict row = a + i * n;
    const double t = -(tau * in_lanes(columns, v, row));
    for (int64_t j = 0; j < columns; ++j) row[j] = std::fma(t, v[j], row[j]);
  }
}

void make_vectors(ffi::ThreadPool* pool, const Reflectors<double>& reflectors, View<double> to) {
  const int64_t n = reflectors.length;
  std::vector<double> product(n * n);
  householder_product<double>(pool, reflectors, n, {product.data(), n, 1});
  transpose<double>(n, n, {product.data(), n, 1}, to);
}

}  // namespace

void bidiagonalise(ffi::ThreadPool* pool, int64_t n, double* a, Bidiagonal& to) {
  std::vector<double> left_taus(n), right_taus(n), u(n), v(n), room;
  for (int64_t k = 0; k < n; ++k) {
    double* corner = a + k * n + k;
    for (int64_t i = 0; i < n - k; ++i) u[i] = corner[i * n];
    left_taus[k] = reflector<double>(n - k, u.data(), 1);
    to.d[k] = u[0];
    for (int64_t i = 0; i < n - k; ++i) corner[i * n] = u[i];
    u[0] = 1;
    reflect_columns(left_taus[k], u.data(), k, n - k, n - k - 1, n, corner + 1, room);
    if (k == n - 2) to.e[k] = corner[1];
    if (k >= n - 2) continue;
    const int64_t size = n - k - 1;
    right_taus[k] = reflector<double>(size, corner + 1, 1);
    to.e[k] = corner[1];
    std::copy_n(corner + 1, size, v.data());
    v[0] = 1;
    reflect_rows(right_taus[k], v.data(), size, size, n, corner + n + 1);
  }
  if (!to.vectors) return;
  make_vectors(pool, Reflectors<double>({a, n, 1}, n, n, left_taus.data()), to.u.view());
  to.v.row(0)[0] = 1;
  if (n > 1)  // the right reflectors are rows of a, from column k + 1 on
    make_vectors(pool, Reflectors<double>({a + 1, 1, n}, n - 1, std::max<int64_t>(n - 2, 0), right_taus.data()),
                 to.v.view().from(1, 1));
}

namespace {

class Iteration {
 public:
  explicit Iteration(Bidiagonal& b) : b_(b), d_(b.d.data()), e_(b.e.data()) {}

  bool run() {
    const int64_t n = static_cast<int64_t>(b_.d.size());
    int64_t turns = 0;
    for (int64_t top = n; top > 0;) {
      const int64_t low = split(top) + 1;
      if (low == top - 1) {
        make_positive(--top);
        continue;
      }
      const int64_t zero = vanishing(low, top);
      if (zero == top - 1)
        chase_up(low, top);
      else if (zero >= 0)
        chase_down(zero, top);
      else if (++turns > 60 * n)
        return false;
      else
        step(low, top);
    }
    return true;
  }

 private:
  void rotate_u(int64_t x, int64_t y, const Turn& t) {
    if (b_.vectors) b_.u.rotate(x, y, t.c, t.s);
  }
  void rotate_v(int64_t x, int64_t y, const Turn& t) {
    if (b_.vectors) b_.v.rotate(x, y, t.c, t.s);
  }

  // The last k <= top - 2 whose e vanishes, or -1.
  int64_t split(int64_t top) {
    for (int64_t k = top - 2; k >= 0; --k)
      if (std::fabs(e_[k]) <= kTiny + kEps * (std::fabs(d_[k]) + std::fabs(d_[k + 1]))) {
        e_[k] = 0;
        return k;
      }
    return -1;
  }
  // The last index from low to top - 1 whose d vanishes, or -1.
  int64_t vanishing(int64_t low, int64_t top) {
    for (int64_t q = top - 1; q >= low; --q) {
      const double after = q < top - 1 ? std::fabs(e_[q]) : 0, before = q > low ? std::fabs(e_[q - 1]) : 0;
      if (std::fabs(d_[q]) <= kTiny + kEps * (after + before)) {
        d_[q] = 0;
        return q;
      }
    }
    return -1;
  }
  void make_positive(int64_t at) {
    if (!std::signbit(d_[at])) return;
    d_[at] = -d_[at];
    if (!b_.vectors) return;
    b_.v.flush();
    const int64_t n = static_cast<int64_t>(b_.d.size());
    for (int64_t i = 0; i < n; ++i) b_.v.row(at)[i] = -b_.v.row(at)[i];
  }
  void chase_up(int64_t low, int64_t top) {
    double f = e_[top - 2];
    e_[top - 2] = 0;
    for (int64_t j = top - 2; j >= low; --j) {
      const Turn t = turn(d_[j], f);
      d_[j] = t.r;
      if (j > low) {
        f = -t.s * e_[j - 1];
        e_[j - 1] = t.c * e_[j - 1];
      }
      rotate_v(j, top - 1, t);
    }
  }
  void chase_down(int64_t zero, int64_t top) {
    double f = e_[zero];
    e_[zero] = 0;
    for (int64_t j = zero + 1; j < top; ++j) {
      const Turn t = turn(d_[j], f);
      d_[j] = t.r;
      if (j < top - 1) {
        f = -t.s * e_[j];
        e_[j] = t.c * e_[j];
      }
      rotate_u(j, zero, t);
    }
  }
  void step(int64_t low, int64_t top) {
    double z = std::max(std::fabs(d_[top - 1]), std::fabs(d_[top - 2]));
    z = std::max(std::max(z, std::fabs(e_[top - 2])), std::max(std::fabs(d_[low]), std::fabs(e_[low])));
    const double x = d_[top - 1] / z, y = d_[top - 2] / z, t = e_[top - 2] / z, f0 = d_[low] / z, g0 = e_[low] / z;
    const double h = 0.5 * std::fma(y + x, y - x, t * t), w = (x * t) * (x * t);
    double shift = 0;
    if (h != 0 || w != 0) {
      const double r = std::sqrt(std::fma(h, h, w));
      shift = w / (h + (h < 0 ? -r : r));
    }
    double f = std::fma(f0 + x, f0 - x, shift), g = f0 * g0;
    for (int64_t j = low; j < top - 1; ++j) {
      const Turn right = turn(f, g);
      if (j > low) e_[j - 1] = right.r;
      f = std::fma(right.c, d_[j], right.s * e_[j]);
      e_[j] = std::fma(right.c, e_[j], -(right.s * d_[j]));
      g = right.s * d_[j + 1];
      d_[j + 1] = right.c * d_[j + 1];
      rotate_v(j, j + 1, right);
      const Turn left = turn(f, g);
      d_[j] = left.r;
      f = std::fma(left.c, e_[j], left.s * d_[j + 1]);
      d_[j + 1] = std::fma(left.c, d_[j + 1], -(left.s * e_[j]));
      if (j < top - 2) {
        g = left.s * e_[j + 1];
        e_[j + 1] = left.c * e_[j + 1];
      }
      rotate_u(j, j + 1, left);
    }
    e_[top - 2] = f;
  }

  Bidiagonal& b_;
  double *d_, *e_;
};

}  // namespace

bool iterate(Bidiagonal& b) {
  const bool done = Iteration(b).run();
  b.u.flush();
  b.v.flush();
  return done;
}

}  // namespace portable::linalg
