#include "native/linalg_refine.h"

#include <algorithm>
#include <cmath>

namespace portable::linalg {
namespace {

constexpr double kTiny = 0x1p-900;
constexpr int64_t kLanes = 16;  // values side by side: a count is one division after the other

// How many eigenvalues are below each x.
void count(const std::vector<double>& diagonal, const std::vector<double>& squares, const double* __restrict x,
           double* __restrict below) {
  double q[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) {
    q[l] = 1;
    below[l] = 0;
  }
  for (size_t i = 0; i < diagonal.size(); ++i) {
    const double d = diagonal[i], s = i == 0 ? 0 : squares[i - 1];
    for (int64_t l = 0; l < kLanes; ++l) {
      const double next = (d - x[l]) - s / q[l];
      q[l] = std::fabs(next) < kTiny ? -kTiny : next;
      below[l] += q[l] < 0 ? 1.0 : 0.0;
    }
  }
}

}  // namespace

void refine(const std::vector<double>& diagonal, const std::vector<double>& squares, int64_t first,
            std::vector<double>& values) {
  double greatest = 0;
  for (const double value : values) greatest = std::max(greatest, std::fabs(value));
  if (greatest == 0) return;
  const double unit = std::ldexp(1.0, std::ilogb(greatest));
  const int64_t size = static_cast<int64_t>(values.size());
  for (int64_t at = 0; at < size; at += kLanes) {
    double x[kLanes], below[kLanes];
    for (int64_t l = 0; l < kLanes; ++l) x[l] = values[std::min(at + l, size - 1)];
    for (double step = unit * 0x1p-46; step >= unit * 0x1p-53; step = step / 2) {
      count(diagonal, squares, x, below);
      for (int64_t l = 0; l < kLanes; ++l)
        x[l] = below[l] <= static_cast<double>(first + at + l) ? x[l] + step : x[l] - step;
    }
    for (int64_t l = 0; l < std::min(kLanes, size - at); ++l)
      if (std::fabs(x[l] - values[at + l]) > unit * 0x1p-52) values[at + l] = x[l];
  }
  for (int64_t j = 1; j < size; ++j) values[j] = std::max(values[j], values[j - 1]);
}

}  // namespace portable::linalg
