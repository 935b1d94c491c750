// Runs of elements from their storage format to the computing format, exactly (spec G3).
#pragma once

#include <cstring>
#include <type_traits>

#include "native/narrow.h"

namespace portable {

template <typename S>
using Computing = decltype(load(S{}));

inline void widen(const float* from, float* to, int64_t n) { std::memcpy(to, from, n * sizeof *to); }
inline void widen(const double* from, double* to, int64_t n) { std::memcpy(to, from, n * sizeof *to); }
inline void widen(const Bfloat* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = load(from[i]);
}
inline void widen(const Half* from, float* to, int64_t n) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
#endif
  for (; i < n; ++i) to[i] = load(from[i]);
}

// Calls f with a value of the storage type of this element type; false if there is none.
template <typename F>
bool with_storage(ffi::DataType type, const F& f) {
  switch (type) {
    case ffi::F32: f(float{}); return true;
    case ffi::F64: f(double{}); return true;
    case ffi::BF16: f(Bfloat{}); return true;
    case ffi::F16: f(Half{}); return true;
    default: return false;
  }
}

// Elements in memory in any format that computes in T. One type for all of them, so that an operation is compiled once
// for each T and not once for each format.
template <typename T>
struct Source {
  const char* data;
  int64_t size;                                      // of an element
  void (*widen)(const char* from, T* to, int64_t n);  // null: they are T already

  template <typename S>
  static Source of(const void* data) {
    const auto widen = [](const char* from, T* to, int64_t n) {
      portable::widen(reinterpret_cast<const S*>(from), to, n);
    };
    return {static_cast<const char*>(data), sizeof(S), std::is_same_v<S, T> ? nullptr : +widen};
  }

  Source operator+(int64_t elements) const { return {data + elements * size, size, widen}; }

  // n elements: where they lie, or else in the buffer.
  const T* read(int64_t at, int64_t n, T* buffer) const {
    const char* from = data + at * size;
    if (widen == nullptr) return reinterpret_cast<const T*>(from);
    widen(from, buffer, n);
    return buffer;
  }

  // n elements into the buffer.
  void copy(int64_t at, int64_t n, T* buffer) const {
    const char* from = data + at * size;
    if (widen == nullptr) {
      std::memcpy(buffer, from, n * sizeof *buffer);
    } else {
      widen(from, buffer, n);
    }
  }
};

}  // namespace portable
