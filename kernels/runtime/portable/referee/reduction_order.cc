// R3 and R8 of docs/numerics/reduction.md.
#include <numeric>

#include "referee/reduction.h"

namespace referee {
namespace {

// The flat indices of the elements of one line along the axis.
std::vector<int64_t> line_of(const Index& shape, int64_t axis, int64_t line) {
  Index first = shape;
  first[axis] = 1;
  Index index = index_of(line, first);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < shape[axis]; ++i) {
    index[axis] = i;
    out.push_back(flat_of(index, shape));
  }
  return out;
}

int64_t line_count(Index shape, int64_t axis) {
  shape[axis] = 1;
  return size_of(shape);
}

ffi::Error Argextremum(ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out, int64_t axis, bool greatest) {
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    const std::vector<T> x = elements<T>(operand);
    const Index shape = shape_of(operand);
    if (x.empty()) return;
    for (int64_t line = 0; line < line_count(shape, axis); ++line) {
      const std::vector<int64_t> at = line_of(shape, axis, line);
      int64_t best = 0;
      for (int64_t i = 1; i < static_cast<int64_t>(at.size()); ++i) {
        const T a = x[at[best]], b = x[at[i]];
        if (a != a) break;
        if (b != b || (greatest ? b > a : b < a)) best = i;
      }
      if (out->element_type() == ffi::S64) {
        static_cast<int64_t*>(out->untyped_data())[line] = best;
      } else {
        static_cast<int32_t*>(out->untyped_data())[line] = static_cast<int32_t>(best);
      }
    }
  });
}

// -1, 0 or 1 as element a is before, equal to or after element b of the array.
int compare(const ffi::AnyBuffer& x, int64_t a, int64_t b) {
  auto three = [](auto p, auto q) { return p < q ? -1 : p > q ? 1 : 0; };
  const void* data = x.untyped_data();
  switch (x.element_type()) {
    case ffi::PRED:
    case ffi::U8: return three(static_cast<const uint8_t*>(data)[a], static_cast<const uint8_t*>(data)[b]);
    case ffi::U16: return three(static_cast<const uint16_t*>(data)[a], static_cast<const uint16_t*>(data)[b]);
    case ffi::U32: return three(static_cast<const uint32_t*>(data)[a], static_cast<const uint32_t*>(data)[b]);
    case ffi::U64: return three(static_cast<const uint64_t*>(data)[a], static_cast<const uint64_t*>(data)[b]);
    case ffi::S8: return three(static_cast<const int8_t*>(data)[a], static_cast<const int8_t*>(data)[b]);
    case ffi::S16: return three(static_cast<const int16_t*>(data)[a], static_cast<const int16_t*>(data)[b]);
    case ffi::S32: return three(static_cast<const int32_t*>(data)[a], static_cast<const int32_t*>(data)[b]);
    case ffi::S64: return three(static_cast<const int64_t*>(data)[a], static_cast<const int64_t*>(data)[b]);
    default: break;
  }
  const double p = element<double>(x.element_type(), data, a), q = element<double>(x.element_type(), data, b);
  if (p != p || q != q) return three(p != p, q != q);
  return three(p, q);
}

void copy_element(const ffi::AnyBuffer& from, int64_t a, ffi::AnyBuffer& to, int64_t b) {
  const size_t size = from.size_bytes() / from.element_count();
  std::memcpy(static_cast<char*>(to.untyped_data()) + b * size,
              static_cast<const char*>(from.untyped_data()) + a * size, size);
}

ffi::Error Sort(ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t axis, int64_t keys) {
  Arithmetic arithmetic;
  std::vector<ffi::AnyBuffer> from;
  for (size_t i = 0; i < args.size(); ++i) from.push_back(args[i]);
  const Index shape = shape_of(from[0]);
  if (size_of(shape) == 0) return ffi::Error::Success();
  for (int64_t line = 0; line < line_count(shape, axis); ++line) {
    const std::vector<int64_t> at = line_of(shape, axis, line);
    std::vector<int64_t> order = at;
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      for (int64_t key = 0; key < keys; ++key) {
        const int outcome = compare(from[key], a, b);
        if (outcome != 0) return outcome < 0;
      }
      return false;
    });
    for (size_t k = 0; k < from.size(); ++k) {
      ffi::AnyBuffer to = rets[k];
      for (size_t i = 0; i < at.size(); ++i) copy_element(from[k], order[i], to, at[i]);
    }
  }
  return ffi::Error::Success();
}

ffi::Error TopK(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> values, ffi::Result<ffi::AnyBuffer> indices,
                int64_t axis) {
  Arithmetic arithmetic;
  const Index shape = shape_of(x), taken = shape_of(*values);
  if (size_of(taken) == 0) return ffi::Error::Success();
  for (int64_t line = 0; line < line_count(shape, axis); ++line) {
    const std::vector<int64_t> at = line_of(shape, axis, line), to = line_of(taken, axis, line);
    std::vector<int32_t> order(at.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return compare(x, at[a], at[b]) > 0; });
    for (size_t i = 0; i < to.size(); ++i) {
      copy_element(x, at[order[i]], *values, to[i]);
      static_cast<int32_t*>(indices->untyped_data())[to[i]] = order[i];
    }
  }
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(argextremum, Argextremum, "axis", "greatest")

CALL_EXPORT(sort, Sort, "axis", "keys")

CALL_EXPORT(top_k, TopK, "axis")

}  // namespace referee
