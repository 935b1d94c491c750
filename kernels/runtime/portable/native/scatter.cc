// scatter, scatter-add, -sub, -mul, -max, -min (spec R7).
//
// Updates are applied in order of the updates array. Where whole aligned runs of memory are updated, threads share the
// runs, and each goes through all updates for its own; so the order at each element of the result is the same.
#include <memory>
#include <vector>

#include "native/reduce.h"
#include "native/window.h"

namespace portable {
namespace {

enum Update : int32_t { kAdd, kSubtract, kMultiply, kGreater, kLess, kSet };

struct Numbers {
  Sizes window;        // update_window_dims
  Sizes inserted;      // inserted_window_dims
  Sizes indexed;       // scatter_dims_to_operand_dims
  Sizes batch;         // operand_batching_dims
  Sizes index_batch;   // scatter_indices_batching_dims
};

bool has(const Sizes& list, int64_t one) { return std::find(list.begin(), list.end(), one) != list.end(); }

int64_t index_at(const ffi::AnyBuffer& indices, int64_t i) {
  const void* data = indices.untyped_data();
  switch (indices.element_type()) {
    case ffi::S8: return static_cast<const int8_t*>(data)[i];
    case ffi::S16: return static_cast<const int16_t*>(data)[i];
    case ffi::S32: return static_cast<const int32_t*>(data)[i];
    case ffi::S64: return static_cast<const int64_t*>(data)[i];
    case ffi::U8: return static_cast<const uint8_t*>(data)[i];
    case ffi::U16: return static_cast<const uint16_t*>(data)[i];
    case ffi::U32: return static_cast<const uint32_t*>(data)[i];
    default: {  // U64: what no dimension reaches lies outside as a negative index does
      const uint64_t value = static_cast<const uint64_t*>(data)[i];
      return value > INT64_MAX ? INT64_MAX / 2 : static_cast<int64_t>(value);
    }
  }
}

// Where the updates go: an update's element lies at start[s] + w, with s and w linear in its index.
struct Plan {
  std::vector<int64_t> sizes;    // of the updates
  std::vector<int64_t> windows;  // step of w for each of their dimensions, 0 for scattered ones
  std::vector<int64_t> places;   // step of s, 0 for window dimensions
  std::vector<int64_t> start;    // -1: left out
  int64_t run = 1;               // trailing elements of the updates that lie side by side in the result
  bool aligned = true;           // each run begins at a multiple of its length
};

Plan make_plan(const ffi::AnyBuffer& operand, const ffi::AnyBuffer& indices, const ffi::AnyBuffer& updates,
               const Numbers& numbers, bool clip) {
  const auto shape = operand.dimensions(), list = indices.dimensions(), given = updates.dimensions();
  const int64_t rank = static_cast<int64_t>(shape.size()), depth = list.back();
  Plan plan;
  plan.sizes.assign(given.begin(), given.end());
  plan.windows.assign(given.size(), 0);
  plan.places.assign(given.size(), 0);
  std::vector<int64_t> strides(rank, 1), extent(rank, 1);
  for (int64_t i = rank - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  size_t next = 0;
  for (int64_t i = 0; i < rank; ++i) {
    if (has(numbers.inserted, i) || has(numbers.batch, i)) continue;
    const int64_t dimension = numbers.window[next++];
    extent[i] = given[dimension];
    plan.windows[dimension] = strides[i];
  }
  int64_t places = 1;
  for (size_t i = given.size(); i-- > 0;) {
    if (has(numbers.window, static_cast<int64_t>(i))) continue;
    plan.places[i] = places;
    places *= given[i];
  }
  std::vector<int64_t> limits(list.begin(), list.end() - 1), at(limits.size(), 0);
  plan.start.resize(places);
  for (int64_t s = 0; s < places; ++s) {
    std::vector<int64_t> first(rank, 0);
    for (int64_t d = 0; d < depth; ++d) first[numbers.indexed[d]] = index_at(indices, s * depth + d);
    for (size_t b = 0; b < numbers.batch.size(); ++b) first[numbers.batch[b]] = at[numbers.index_batch[b]];
    int64_t offset = 0;
    for (int64_t i = 0; i < rank && offset >= 0; ++i) {
      if (clip) first[i] = std::clamp<int64_t>(first[i], 0, std::max<int64_t>(0, shape[i] - extent[i]));
      offset = first[i] < 0 || first[i] > shape[i] - extent[i] ? -1 : offset + first[i] * strides[i];
    }
    plan.start[s] = offset;
    advance(at, limits);
  }
  for (size_t i = given.size(); i-- > 0 && plan.windows[i] == plan.run;) plan.run *= given[i];
  for (int64_t one : plan.start) plan.aligned &= one < 0 || one % plan.run == 0;
  for (int64_t one : plan.windows) plan.aligned &= one < plan.run || one % plan.run == 0;
  return plan;
}

// Calls apply(target, first, n) for the runs of updates, in order; those of one of `parts` owners, or of all.
template <typename Apply>
void walk(const Plan& plan, int64_t part, int64_t parts, const Apply& apply) {
  std::vector<int64_t> limits = plan.sizes;
  int64_t run = 1;
  while (!limits.empty() && run < plan.run) {
    run *= limits.back();
    limits.pop_back();
  }
  if (run == 0) return;
  std::vector<int64_t> index(limits.size(), 0);
  int64_t first = 0;
  do {
    int64_t s = 0, w = 0;
    for (size_t i = 0; i < index.size(); ++i) {
      s += index[i] * plan.places[i];
      w += index[i] * plan.windows[i];
    }
    const int64_t start = plan.start[s];
    if (start >= 0 && (parts == 1 || (start + w) / run % parts == part)) apply(start + w, first, run);
    first += run;
  } while (advance(index, limits));
}

template <typename Apply>
void share(ffi::ThreadPool& pool, const Plan& plan, int64_t updates, const Apply& apply) {
  if (updates == 0) return;
  const bool shared = plan.aligned && plan.run >= 16 && updates >= kPiece;
  const int64_t parts = shared ? std::max<int64_t>(1, pool.num_threads()) : 1;
  parallel(pool, parts, 1, [&](int64_t begin, int64_t end) {
    if (begin == 0 && end == parts) return walk(plan, 0, 1, apply);
    for (int64_t part = begin; part < end; ++part) walk(plan, part, parts, apply);
  });
}

struct Subtraction {
  template <typename V>
  static V apply(V a, V b) {
    return a - b;
  }
};

template <typename Op, typename S, typename T>
void compute(ffi::ThreadPool& pool, const Plan& plan, const S* updates, int64_t n, T* result) {
  share(pool, plan, n, [&](int64_t target, int64_t first, int64_t run) {
    T* to = result + target;
    const S* from = updates + first;
    for (int64_t i = 0; i < run; ++i) to[i] = canonical(Op::apply(to[i], load(from[i])));
  });
}

template <typename S>
void accumulate(ffi::ThreadPool& pool, const Plan& plan, int32_t update, const ffi::AnyBuffer& operand,
                const ffi::AnyBuffer& updates, ffi::AnyBuffer& out) {
  using T = Computing<S>;
  const int64_t n = static_cast<int64_t>(operand.element_count()), m = static_cast<int64_t>(updates.element_count());
  const S* from = static_cast<const S*>(operand.untyped_data());
  const S* more = static_cast<const S*>(updates.untyped_data());
  S* to = static_cast<S*>(out.untyped_data());
  std::unique_ptr<T[]> wide(std::is_same_v<S, T> ? nullptr : new T[n]);
  T* result = std::is_same_v<S, T> ? reinterpret_cast<T*>(to) : wide.get();
  parallel(pool, n, kPiece, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) result[i] = canonical(load(from[i]));
  });
  switch (update) {
    case kAdd: compute<lanes::Sum>(pool, plan, more, m, result); break;
    case kSubtract: compute<Subtraction>(pool, plan, more, m, result); break;
    case kMultiply: compute<lanes::Product>(pool, plan, more, m, result); break;
    case kGreater: compute<Maximum>(pool, plan, more, m, result); break;
    default: compute<Minimum>(pool, plan, more, m, result); break;
  }
  if constexpr (!std::is_same_v<S, T>) {
    parallel(pool, n, kPiece, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = store<S>(result[i]);
    });
  }
}

void replace(ffi::ThreadPool& pool, const Plan& plan, const ffi::AnyBuffer& operand, const ffi::AnyBuffer& updates,
             ffi::AnyBuffer& out) {
  if (operand.element_count() == 0) return;
  const int64_t size = static_cast<int64_t>(operand.size_bytes() / operand.element_count());
  char* to = static_cast<char*>(out.untyped_data());
  const char* from = static_cast<const char*>(updates.untyped_data());
  std::memcpy(to, operand.untyped_data(), operand.size_bytes());
  share(pool, plan, static_cast<int64_t>(updates.element_count()), [&](int64_t target, int64_t first, int64_t run) {
    std::memcpy(to + target * size, from + first * size, run * size);
  });
}

ffi::Error Scatter(ffi::ThreadPool pool, ffi::AnyBuffer operand, ffi::AnyBuffer indices, ffi::AnyBuffer updates,
                   ffi::Result<ffi::AnyBuffer> out, int32_t update, bool clip, Sizes window, Sizes inserted,
                   Sizes indexed, Sizes batch, Sizes index_batch) {
  const Plan plan = make_plan(operand, indices, updates, {window, inserted, indexed, batch, index_batch}, clip);
  if (update == kSet) {
    replace(pool, plan, operand, updates, *out);
    return ffi::Error::Success();
  }
  const bool known = with_storage(operand.element_type(), [&](auto storage) {
    Ieee ieee;
    accumulate<decltype(storage)>(pool, plan, update, operand, updates, *out);
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("scatter: no such element type");
}

}  // namespace

CALL_EXPORT(scatter, Scatter, "update", "clip", "window", "inserted", "indexed", "batch", "index_batch")

}  // namespace portable
