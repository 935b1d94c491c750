// R4 of docs/numerics/reduction.md.
#include "referee/reduction.h"

namespace referee {
namespace {

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
      T acc = neutral<T>(operation);
      for (int64_t i = 0; i < shape[axis]; ++i) {
        index[axis] = reverse ? shape[axis] - 1 - i : i;
        acc = combine(operation, acc, x[flat_of(index, shape)]);
        set(*out, flat_of(index, shape), acc);
      }
    }
  });
}

ffi::Error Recur(ffi::AnyBuffer decay, ffi::AnyBuffer term, ffi::Result<ffi::AnyBuffer> out, int64_t axis,
                 bool reverse) {
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
        index[axis] = reverse ? shape[axis] - 1 - i : i;
        const int64_t at = flat_of(index, shape);
        s = std::fma(s, d[at], t[at]);
        set(*out, at, s);
      }
    }
  });
}

}  // namespace

CALL_EXPORT(recur, Recur, "axis", "reverse")

CALL_EXPORT(scan, Cumulate, "operation", "axis", "reverse")

}  // namespace referee
