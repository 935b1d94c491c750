// R4 of docs/numerics/reduction.md.
#include "referee/reduction.h"

namespace referee {
namespace {

template <typename T>
std::vector<T> cumulated(int operation, const std::vector<T>& x) {
  std::vector<T> y, totals;
  T acc;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % 16 == 0) acc = neutral<T>(operation);
    acc = combine(operation, acc, x[i]);
    y.push_back(acc);
    if (i % 16 == 15 && i + 1 < x.size()) totals.push_back(acc);
  }
  if (totals.empty()) return y;
  const std::vector<T> before = cumulated(operation, totals);
  for (size_t i = 16; i < x.size(); ++i) y[i] = combine(operation, before[i / 16 - 1], y[i]);
  return y;
}

ffi::Error Cumulate(ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out, int32_t operation, int64_t axis,
                    bool reverse) {
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand);
    const Index shape = shape_of(operand);
    Index first = shape;
    first[axis] = 1;
    for (int64_t chain = 0; chain < size_of(first) && shape[axis] > 0; ++chain) {
      Index index = index_of(chain, first);
      auto at = [&](int64_t i) {
        index[axis] = reverse ? shape[axis] - 1 - i : i;
        return flat_of(index, shape);
      };
      std::vector<T> list;
      for (int64_t i = 0; i < shape[axis]; ++i) list.push_back(x[at(i)]);
      const std::vector<T> y = cumulated(operation, list);
      for (int64_t i = 0; i < shape[axis]; ++i) set(*out, at(i), y[i]);
    }
  });
}

// s = s·d + t.
ffi::Error Recur(ffi::AnyBuffer decay, ffi::AnyBuffer term, ffi::Result<ffi::AnyBuffer> out, int64_t axis) {
  return with_computing(decay.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> d = elements<T>(decay), t = elements<T>(term);
    const Index shape = shape_of(decay);
    Index first = shape;
    first[axis] = 1;
    for (int64_t chain = 0; chain < size_of(first); ++chain) {
      Index index = index_of(chain, first);
      T s = 0;
      for (int64_t i = 0; i < shape[axis]; ++i) {
        index[axis] = i;
        const int64_t at = flat_of(index, shape);
        s = s * d[at] + t[at];
        set(*out, at, s);
      }
    }
  });
}

}  // namespace

CALL_EXPORT(recur, Recur, "axis")

CALL_EXPORT(scan, Cumulate, "operation", "axis", "reverse")

}  // namespace referee
