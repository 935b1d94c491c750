// A dense row-major operand seen as kept and reduced dimensions, and how to walk either kind.
#pragma once

#include <cstdint>
#include <vector>

namespace portable {

struct Extent {
  int64_t size;
  int64_t stride;  // in elements
};

// Dimensions in order, the last varying fastest.
using Extents = std::vector<Extent>;

inline int64_t count(const Extents& extents) {
  int64_t n = 1;
  for (const Extent& one : extents) n *= one.size;
  return n;
}

// Where the element of this row-major index lies.
inline int64_t offset(const Extents& extents, int64_t index) {
  int64_t at = 0;
  for (size_t i = extents.size(); i-- > 0;) {
    at += index % extents[i].size * extents[i].stride;
    index /= extents[i].size;
  }
  return at;
}

// Appends a dimension, making one of two that lie behind one another without a gap.
inline void append(Extents& extents, Extent more) {
  if (more.size == 1) return;
  if (!extents.empty() && extents.back().stride == more.size * more.stride) {
    extents.back() = {extents.back().size * more.size, more.stride};
  } else {
    extents.push_back(more);
  }
}

struct Split {
  Extents kept;
  Extents reduced;
};

template <typename Dimensions, typename Axes>
Split split(const Dimensions& dimensions, const Axes& axes) {
  const int rank = static_cast<int>(dimensions.size());
  std::vector<int64_t> strides(rank, 1);
  for (int i = rank - 2; i >= 0; --i) strides[i] = strides[i + 1] * dimensions[i + 1];
  Split out;
  for (int i = 0; i < rank; ++i) {
    bool reduced = false;
    for (const int64_t axis : axes) reduced |= axis == i;
    append(reduced ? out.reduced : out.kept, {dimensions[i], strides[i]});
  }
  return out;
}

}  // namespace portable
