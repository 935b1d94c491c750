// R1 and R2 of docs/numerics/reduction.md, as they are written there.
#include "referee/reduction.h"

namespace referee {
namespace {

template <typename T>
T chunk(int operation, const std::vector<T>& x) {
  const size_t count = sizeof(T) == 4 ? 64 : 32;
  std::vector<T> lane(count, neutral<T>(operation));
  for (size_t k = 0; k < 2; ++k) {
    std::vector<T> chain(count, neutral<T>(operation));
    for (size_t i = 4 * count * k; i < std::min(x.size(), 4 * count * (k + 1)); ++i) {
      chain[i % count] = combine(operation, chain[i % count], x[i]);
    }
    for (size_t l = 0; l < count; ++l) lane[l] = combine(operation, lane[l], chain[l]);
  }
  for (size_t s = count / 2; s >= 1; s /= 2) {
    for (size_t i = 0; i < s; ++i) lane[i] = combine(operation, lane[i], lane[i + s]);
  }
  return lane[0];
}

template <typename T>
T reduction(int operation, const std::vector<T>& x) {
  const size_t most = sizeof(T) == 4 ? 512 : 256;
  T v = neutral<T>(operation), r = 0;
  for (size_t c = 0; c < x.size(); c += most) {
    const T y = chunk(operation, std::vector<T>(x.begin() + c, x.begin() + std::min(x.size(), c + most)));
    const T w = combine(operation, v, y), z = w - v;
    r = r + ((v - (w - z)) + (y - z));
    v = w;
  }
  return operation == 0 && r == r ? v + r : v;
}

ffi::Error Reduce(ffi::RemainingArgs args, ffi::Result<ffi::AnyBuffer> out, int32_t operation,
                  ffi::Span<const int64_t> axes) {
  const ffi::AnyBuffer operand = args[0];
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand);
    const Index shape = shape_of(operand);
    Index kept, reduced;
    for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i) {
      const bool named = std::find(axes.begin(), axes.end(), i) != axes.end();
      (named ? reduced : kept).push_back(i);
    }
    Index kept_shape, reduced_shape;
    for (int64_t axis : kept) kept_shape.push_back(shape[axis]);
    for (int64_t axis : reduced) reduced_shape.push_back(shape[axis]);
    for (int64_t result = 0; result < size_of(kept_shape); ++result) {
      const Index here = index_of(result, kept_shape);
      std::vector<T> list;
      for (int64_t i = 0; i < size_of(reduced_shape); ++i) {
        const Index there = index_of(i, reduced_shape);
        Index index(shape.size());
        for (size_t k = 0; k < kept.size(); ++k) index[kept[k]] = here[k];
        for (size_t k = 0; k < reduced.size(); ++k) index[reduced[k]] = there[k];
        list.push_back(x[flat_of(index, shape)]);
      }
      T value = reduction(operation, list);
      if (args.size() == 2) value = combine(operation, elements<T>(args[1])[0], value);
      set(*out, result, value);
    }
  });
}

}  // namespace

CALL_EXPORT(reduce, Reduce, "operation", "axes")

}  // namespace referee
