#include "native/linalg_rotate.h"

namespace portable::linalg {
namespace {

using S = Simd<double>;
constexpr int kParts = 4;
constexpr int64_t kStrip = kParts * S::kLanes;

inline void turn_scalar(double* x, double* y, double c, double s) {
  const double old_x = *x, old_y = *y;
  *x = std::fma(c, old_x, s * old_y);
  *y = std::fma(c, old_y, -(s * old_x));
}

// s x, rounded; a product of its own, as fma(s, x, -0) is for every x (and keeps the sign of zero).
inline S::V times(S::V s, S::V x) { return S::fma(s, x, S::set(-0.0)); }

}  // namespace

// Columns begin ... end of all rows.
void Rotated::apply(int64_t begin, int64_t end) {
  int64_t at = begin;
  for (; at + kStrip <= end; at += kStrip) {
    S::V y[kParts] = {};  // a sweep goes from neighbour to neighbour: its y is the next x
    int32_t held = -1;
    for (const Rotation& turn : noted_) {
      S::V x[kParts];
      double *to_x = row(turn.x) + at, *to_y = row(turn.y) + at;
      if (held == turn.x) {
        for (int i = 0; i < kParts; ++i) x[i] = y[i];
      } else {
        if (held >= 0)
          for (int i = 0; i < kParts; ++i) S::store(row(held) + at + i * S::kLanes, y[i]);
        for (int i = 0; i < kParts; ++i) x[i] = S::load(to_x + i * S::kLanes);
      }
      const S::V c = S::set(turn.c), s = S::set(turn.s), less = S::set(-turn.s);
      for (int i = 0; i < kParts; ++i) {
        const S::V other = S::load(to_y + i * S::kLanes);
        S::store(to_x + i * S::kLanes, S::fma(c, x[i], times(s, other)));
        y[i] = S::fma(c, other, times(less, x[i]));
      }
      held = turn.y;
    }
    if (held >= 0)
      for (int i = 0; i < kParts; ++i) S::store(row(held) + at + i * S::kLanes, y[i]);
  }
  for (const Rotation& turn : noted_)
    for (int64_t i = at; i < end; ++i) turn_scalar(row(turn.x) + i, row(turn.y) + i, turn.c, turn.s);
}

void Rotated::flush() {
  if (!noted_.empty()) {
    const int64_t strips = (length_ + kStrip - 1) / kStrip;
    const auto work = [&](int64_t begin, int64_t end) { apply(begin * kStrip, std::min(length_, end * kStrip)); };
    if (pool_ != nullptr && noted_.size() * static_cast<size_t>(length_) > 100000)
      parallel(*pool_, strips, 1, work);
    else
      work(0, strips);
  }
  noted_.clear();
}

}  // namespace portable::linalg
