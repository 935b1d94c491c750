// One matrix after another, or many side by side: how a batch is spread over threads.
#pragma once

#include <cstdint>

#include "native/common.h"

namespace portable::linalg {

struct Batch {
  int64_t count = 1, rows, columns;
  explicit Batch(const ffi::AnyBuffer& buffer) {
    const auto dims = buffer.dimensions();
    for (size_t i = 0; i + 2 < dims.size(); ++i) count *= dims[i];
    rows = dims[dims.size() - 2];
    columns = dims[dims.size() - 1];
  }
};

// Calls work(pool or null, index) for every matrix: side by side without a pool of their own if there are enough of
// them, else one by one with the whole pool. `cost` is about the operations that one takes.
template <typename Work>
void each(ffi::ThreadPool& pool, int64_t count, double cost, const Work& work) {
  if (count >= pool.num_threads() && count > 1) {
    const double grain = 1e5 / std::max(cost, 1.0);
    parallel(pool, count, std::max<int64_t>(1, static_cast<int64_t>(grain)), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) work(static_cast<ffi::ThreadPool*>(nullptr), i);
    });
    return;
  }
  Ieee ieee;
  for (int64_t i = 0; i < count; ++i) work(&pool, i);
}

template <typename T>
const T* matrix(const ffi::AnyBuffer& buffer, int64_t index, int64_t size) {
  return static_cast<const T*>(buffer.untyped_data()) + index * size;
}
template <typename T>
T* matrix(ffi::Result<ffi::AnyBuffer>& buffer, int64_t index, int64_t size) {
  return static_cast<T*>(buffer->untyped_data()) + index * size;
}

template <typename T>
void canonicalise(T* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = canonical(values[i]);
}

}  // namespace portable::linalg
