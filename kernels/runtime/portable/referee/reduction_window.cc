// R5 and R6 of docs/numerics/reduction.md. The operand is dilated and padded in so many words first.
#include "referee/reduction.h"

namespace referee {
namespace {

using Sizes = ffi::Span<const int64_t>;

// The dilated and padded operand: for each element the operand's flat index, or -1 in a hole or in the padding.
struct Padded {
  Index shape;
  std::vector<int64_t> origin;
};

Padded pad(const Index& operand, Sizes padding, const Index& holes) {
  Padded out;
  for (size_t i = 0; i < operand.size(); ++i) {
    const int64_t dilated = operand[i] == 0 ? 0 : (operand[i] - 1) * holes[i] + 1;
    out.shape.push_back(std::max<int64_t>(0, dilated + padding[2 * i] + padding[2 * i + 1]));
  }
  for (int64_t flat = 0; flat < size_of(out.shape); ++flat) {
    Index index = index_of(flat, out.shape);
    bool inside = true;
    for (size_t i = 0; i < index.size(); ++i) {
      index[i] -= padding[2 * i];
      inside = inside && index[i] >= 0 && index[i] % holes[i] == 0 && index[i] / holes[i] < operand[i];
      index[i] /= holes[i];
    }
    out.origin.push_back(inside ? flat_of(index, operand) : -1);
  }
  return out;
}

// For each element of the window at j, in order: the operand's flat index or -1.
std::vector<int64_t> window_at(const Padded& padded, const Index& j, Sizes window, Sizes step, const Index& spread) {
  std::vector<int64_t> out;
  const Index sizes(window.begin(), window.end());
  for (int64_t k = 0; k < size_of(sizes); ++k) {
    Index index = index_of(k, sizes);
    for (size_t i = 0; i < index.size(); ++i) index[i] = j[i] * step[i] + index[i] * spread[i];
    out.push_back(padded.origin[flat_of(index, padded.shape)]);
  }
  return out;
}

Index listed(Sizes sizes) { return Index(sizes.begin(), sizes.end()); }

ffi::Error Window(ffi::AnyBuffer operand, ffi::AnyBuffer initial, ffi::Result<ffi::AnyBuffer> out, int32_t operation,
                  Sizes window, Sizes step, Sizes padding, Sizes holes, Sizes spread) {
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand);
    const T v = elements<T>(initial)[0];
    const Padded padded = pad(shape_of(operand), padding, listed(holes));
    for (int64_t result = 0; result < static_cast<int64_t>(out->element_count()); ++result) {
      T acc = v;
      for (int64_t at : window_at(padded, index_of(result, shape_of(*out)), window, step, listed(spread))) {
        if (at >= 0) acc = combine(operation, acc, x[at]);
      }
      set(*out, result, acc);
    }
  });
}

template <typename T>
int64_t chosen_of(const std::vector<int64_t>& window, const std::vector<T>& x, bool greater) {
  int64_t chosen = -1;
  for (int64_t c : window) {
    if (c < 0) continue;
    if (chosen < 0) {
      chosen = c;
      continue;
    }
    const bool holds = greater ? x[chosen] >= x[c] : x[chosen] <= x[c];
    if (!holds) chosen = c;
  }
  return chosen;
}

ffi::Error Gather(ffi::AnyBuffer tangents, ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out, bool greater,
                  Sizes window, Sizes step, Sizes padding, Sizes holes, Sizes spread) {
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand);
    const Padded padded = pad(shape_of(operand), padding, listed(holes));
    const size_t count = out->element_count();
    if (count == 0) return;
    const size_t size = out->size_bytes() / count;
    for (size_t result = 0; result < count; ++result) {
      const Index j = index_of(static_cast<int64_t>(result), shape_of(*out));
      const int64_t chosen = chosen_of(window_at(padded, j, window, step, listed(spread)), x, greater);
      char* to = static_cast<char*>(out->untyped_data()) + result * size;
      if (chosen < 0) {
        std::memset(to, 0, size);
      } else {
        std::memcpy(to, static_cast<const char*>(tangents.untyped_data()) + chosen * size, size);
      }
    }
  });
}

ffi::Error Scatter(ffi::AnyBuffer source, ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out, bool greater,
                   Sizes window, Sizes step, Sizes padding) {
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand), from = elements<T>(source);
    const Index ones(window.size(), 1);
    const Padded padded = pad(shape_of(operand), padding, ones);
    std::vector<T> sums(x.size(), 0);
    for (int64_t s = 0; s < static_cast<int64_t>(from.size()); ++s) {
      const Index j = index_of(s, shape_of(source));
      const int64_t chosen = chosen_of(window_at(padded, j, window, step, ones), x, greater);
      if (chosen >= 0) sums[chosen] = sums[chosen] + from[s];
    }
    for (size_t i = 0; i < sums.size(); ++i) set(*out, static_cast<int64_t>(i), sums[i]);
  });
}

}  // namespace

CALL_EXPORT(window, Window, "operation", "window", "step", "padding", "holes", "spread")

CALL_EXPORT(window_gather, Gather, "greater", "window", "step", "padding", "holes", "spread")

CALL_EXPORT(window_scatter, Scatter, "greater", "window", "step", "padding")

}  // namespace referee
