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

// The attributes as JAX has them; padding is low, high, low, high …
template <typename Dimensions>
Windows windows(const Dimensions& operand, const Dimensions& result, Sizes window, Sizes step, Sizes padding,
                Sizes holes, Sizes spread) {
  Windows out(operand.size());
  int64_t stride = 1;
  for (size_t i = operand.size(); i-- > 0;) {
    out[i] = {operand[i], stride, result[i], window[i], step[i], padding[2 * i], holes[i], spread[i]};
    stride *= operand[i];
  }
  return out;
}

// The results' rows along the last dimension, and for each the rows of the operand that its windows meet.
struct Rows {
  Axis last;
  std::vector<int64_t> results;  // the other dimensions
  int64_t count = 1;
  // For each element of the window without its last dimension, and each of the other dimensions: its element of
  // result index j, times the stride, at [j]; -1 in a hole or in the padding.
  std::vector<std::vector<std::vector<int64_t>>> tables;

  explicit Rows(const Windows& axes) : last(axes.back()) {
    std::vector<int64_t> window;
    for (size_t i = 0; i + 1 < axes.size(); ++i) {
      results.push_back(axes[i].result);
      window.push_back(axes[i].window);
      count *= axes[i].result;
    }
    int64_t elements = 1;
    for (const int64_t one : window) elements *= one;
    for (int64_t flat = 0; flat < elements; ++flat) {
      const std::vector<int64_t> k = unravel(flat, window);
      auto& table = tables.emplace_back(k.size());
      for (size_t i = 0; i < k.size(); ++i) {
        for (int64_t j = 0; j < axes[i].result; ++j) {
          const int64_t element = axes[i].element(j, k[i]);
          table[i].push_back(element < 0 ? -1 : element * axes[i].stride);
        }
      }
    }
  }

  // Calls take(offset) for the operand's rows that the windows of the row of results at j meet, in order.
  template <typename Take>
  void meet(const std::vector<int64_t>& j, const Take& take) const {
    for (const auto& table : tables) {
      int64_t at = 0;
      for (size_t i = 0; i < j.size() && at >= 0; ++i) at = table[i][j[i]] < 0 ? -1 : at + table[i][j[i]];
      if (at >= 0) take(at);
    }
  }

  // Calls range(begin, end, shift) or single(j, element), which together cover the windows of a row that
  // have an element k: those of begin … end - 1 have it at their own index plus the shift.
  template <typename Range, typename Single>
  void along(int64_t k, const Range& range, const Single& single) const {
    if (last.step != 1 || last.holes != 1) {
      for (int64_t j = 0; j < last.result; ++j) {
        const int64_t at = last.element(j, k);
        if (at >= 0) single(j, at);
      }
      return;
    }
    const int64_t shift = k * last.spread - last.padding;
    const int64_t begin = std::clamp<int64_t>(-shift, 0, last.result);
    const int64_t end = std::clamp<int64_t>(last.size - shift, begin, last.result);
    if (begin < end) range(begin, end, shift);
  }
};

}  // namespace portable
