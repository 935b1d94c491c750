// R7 of docs/numerics/reduction.md: one update after the other.
#include "referee/reduction.h"

namespace referee {
namespace {

using Sizes = ffi::Span<const int64_t>;

bool in(const Sizes& list, int64_t one) { return std::find(list.begin(), list.end(), one) != list.end(); }

// An index of any integer type; what int64 can't hold lies outside every operand, and so does its greatest number.
int64_t integer(const ffi::AnyBuffer& x, int64_t i) {
  const unsigned char* data = static_cast<const unsigned char*>(x.untyped_data());
  const size_t size = x.size_bytes() / x.element_count();
  const ffi::DataType type = x.element_type();
  const bool has_sign = type == ffi::S8 || type == ffi::S16 || type == ffi::S32 || type == ffi::S64;
  uint64_t value = 0;
  for (size_t byte = size; byte-- > 0;) value = value << 8 | data[i * size + byte];
  if (has_sign && size < 8 && (value >> (8 * size - 1)) != 0) value |= ~uint64_t{0} << (8 * size);
  if (!has_sign && (value >> 63) != 0) return std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(value);
}

template <typename T>
T updated(int32_t update, T r, T u) {
  switch (update) {
    case 0: return r + u;
    case 1: return r - u;
    case 2: return r * u;
    case 3: return greater(r, u);
    default: return lesser(r, u);
  }
}

// Calls apply(element of the operand, element of the updates) for the updates in order, but those left out.
template <typename Apply>
void each_update(const ffi::AnyBuffer& operand, const ffi::AnyBuffer& indices, const ffi::AnyBuffer& updates, bool clip,
                 Sizes window, Sizes inserted, Sizes indexed, Sizes batch, Sizes index_batch, const Apply& apply) {
  const Index shape = shape_of(operand), given = shape_of(updates), list = shape_of(indices);
  for (int64_t u = 0; u < size_of(given); ++u) {
    const Index index = index_of(u, given);
    Index scattered;
    for (size_t i = 0; i < given.size(); ++i) {
      if (!in(window, static_cast<int64_t>(i))) scattered.push_back(index[i]);
    }
    Index start(shape.size(), 0), offset(shape.size(), 0), extent(shape.size(), 1);
    for (size_t d = 0; d < indexed.size(); ++d) {
      Index where = scattered;
      where.push_back(static_cast<int64_t>(d));
      start[indexed[d]] = integer(indices, flat_of(where, list));
    }
    for (size_t b = 0; b < batch.size(); ++b) start[batch[b]] = scattered[index_batch[b]];
    size_t next = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      const int64_t dimension = static_cast<int64_t>(i);
      if (in(inserted, dimension) || in(batch, dimension)) continue;
      offset[i] = index[window[next]];
      extent[i] = given[window[next]];
      ++next;
    }
    bool inside = true;
    for (size_t i = 0; i < shape.size(); ++i) {
      const int64_t most = shape[i] - extent[i];
      if (clip) start[i] = std::max<int64_t>(0, std::min(start[i], most));
      inside = inside && start[i] >= 0 && start[i] <= most;
    }
    if (!inside) continue;
    for (size_t i = 0; i < shape.size(); ++i) start[i] += offset[i];
    apply(flat_of(start, shape), u);
  }
}

ffi::Error Scatter(ffi::AnyBuffer operand, ffi::AnyBuffer indices, ffi::AnyBuffer updates,
                   ffi::Result<ffi::AnyBuffer> out, int32_t update, bool clip, Sizes window, Sizes inserted,
                   Sizes indexed, Sizes batch, Sizes index_batch) {
  if (update == 5) {
    std::memcpy(out->untyped_data(), operand.untyped_data(), operand.size_bytes());
    each_update(operand, indices, updates, clip, window, inserted, indexed, batch, index_batch,
                [&](int64_t element, int64_t u) {
                  const size_t size = operand.size_bytes() / operand.element_count();
                  std::memcpy(static_cast<char*>(out->untyped_data()) + element * size,
                              static_cast<const char*>(updates.untyped_data()) + u * size, size);
                });
    return ffi::Error::Success();
  }
  return with_computing(operand.element_type(), [&](auto zero) {
    using T = decltype(zero);
    std::vector<T> r = elements<T>(operand);
    const std::vector<T> given = elements<T>(updates);
    each_update(operand, indices, updates, clip, window, inserted, indexed, batch, index_batch,
                [&](int64_t element, int64_t u) { r[element] = updated(update, r[element], given[u]); });
    for (size_t i = 0; i < r.size(); ++i) set(*out, static_cast<int64_t>(i), r[i]);
  });
}

}  // namespace

CALL_EXPORT(scatter, Scatter, "update", "clip", "window", "inserted", "indexed", "batch", "index_batch")

}  // namespace referee
