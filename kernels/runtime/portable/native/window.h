// Windows over an operand (spec R5): where their elements lie.
#pragma once

#include <cstdint>
#include <vector>

#include "native/common.h"

namespace portable {

using Sizes = ffi::Span<const int64_t>;

struct Axis {
  int64_t size;    // of the operand
  int64_t stride;  // of the operand, in elements
  int64_t result;  // windows along it
  int64_t window;
  int64_t step;    // from one window to the next
  int64_t padding;  // before the first element
  int64_t holes;    // base dilation
  int64_t spread;   // window dilation

  // The operand's index of the element k of window j; -1 in a hole or in the padding.
  int64_t element(int64_t j, int64_t k) const {
    const int64_t at = j * step + k * spread - padding;
    if (at < 0 || at % holes != 0 || at / holes >= size) return -1;
    return at / holes;
  }
};

using Windows = std::vector<Axis>;

// The attributes as JAX has them; padding is low, high, low, high …
template <typename Dimensions>
Windows windows(const Dimensions& operand, const Dimensions& result, Sizes window, Sizes step, Sizes padding, Sizes holes,
                Sizes spread) {
  Windows out(operand.size());
  int64_t stride = 1;
  for (size_t i = operand.size(); i-- > 0;) {
    out[i] = {operand[i], stride, result[i], window[i], step[i], padding[2 * i], holes[i], spread[i]};
    stride *= operand[i];
  }
  return out;
}

// Counts through the indices below `limits` in order; false after the last.
inline bool advance(std::vector<int64_t>& index, const std::vector<int64_t>& limits) {
  for (size_t i = index.size(); i-- > 0;) {
    if (++index[i] < limits[i]) return true;
    index[i] = 0;
  }
  return false;
}

inline std::vector<int64_t> unravel(int64_t flat, const std::vector<int64_t>& limits) {
  std::vector<int64_t> index(limits.size());
  for (size_t i = limits.size(); i-- > 0;) {
    index[i] = flat % limits[i];
    flat /= limits[i];
  }
  return index;
}

}  // namespace portable
