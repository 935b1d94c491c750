// What R1 to R8 of docs/numerics/reduction.md share: elements of any format as T, and indices into arrays.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "referee/common.h"

namespace referee {

// An array's elements in the computing format of its type; what the specification calls T.
template <typename T>
T element(ffi::DataType type, const void* data, int64_t i) {
  switch (type) {
    case ffi::F32: return static_cast<T>(static_cast<const float*>(data)[i]);
    case ffi::F64: return static_cast<T>(static_cast<const double*>(data)[i]);
    case ffi::BF16: return static_cast<T>(from_bfloat16(static_cast<const uint16_t*>(data)[i]));
    default: return static_cast<T>(from_binary16(static_cast<const uint16_t*>(data)[i]));
  }
}

template <typename T>
std::vector<T> elements(const ffi::AnyBuffer& x) {
  std::vector<T> out;
  for (int64_t i = 0; i < static_cast<int64_t>(x.element_count()); ++i) {
    out.push_back(element<T>(x.element_type(), x.untyped_data(), i));
  }
  return out;
}

// Rounded once to the format of the result, with the one NaN.
template <typename T>
void set(ffi::AnyBuffer& out, int64_t i, T value) {
  void* data = out.untyped_data();
  switch (out.element_type()) {
    case ffi::F32: static_cast<float*>(data)[i] = one_nan(static_cast<float>(value)); break;
    case ffi::F64: static_cast<double*>(data)[i] = one_nan(static_cast<double>(value)); break;
    case ffi::BF16: static_cast<uint16_t*>(data)[i] = to_bfloat16(static_cast<float>(value)); break;
    default: static_cast<uint16_t*>(data)[i] = to_binary16(static_cast<float>(value)); break;
  }
}

inline bool is_float(ffi::DataType type) {
  return type == ffi::F32 || type == ffi::F64 || type == ffi::BF16 || type == ffi::F16;
}

using Index = std::vector<int64_t>;

inline Index shape_of(const ffi::AnyBuffer& x) { return Index(x.dimensions().begin(), x.dimensions().end()); }

inline int64_t size_of(const Index& shape) {
  int64_t n = 1;
  for (int64_t one : shape) n *= one;
  return n;
}

// G5, both ways.
inline Index index_of(int64_t flat, const Index& shape) {
  Index index(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}
inline int64_t flat_of(const Index& index, const Index& shape) {
  int64_t flat = 0;
  for (size_t i = 0; i < shape.size(); ++i) flat = flat * shape[i] + index[i];
  return flat;
}

// R2 for two, and the four operations in the order in which attributes number them.
template <typename T>
T greater(T a, T b) {
  if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
  if (a == 0 && b == 0) return std::signbit(a) ? b : a;
  return a > b ? a : b;
}
template <typename T>
T lesser(T a, T b) {
  if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
  if (a == 0 && b == 0) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}
template <typename T>
T combine(int operation, T a, T b) {
  switch (operation) {
    case 0: return a + b;
    case 1: return a * b;
    case 2: return greater(a, b);
    default: return lesser(a, b);
  }
}
template <typename T>
T neutral(int operation) {
  const T infinity = std::numeric_limits<T>::infinity();
  const T values[] = {0, 1, -infinity, infinity};
  return values[operation];
}

// Calls f with a value of T.
template <typename F>
ffi::Error with_computing(ffi::DataType type, const F& f) {
  if (!is_float(type)) return ffi::Error::InvalidArgument("no such element type in the specification");
  Arithmetic arithmetic;
  if (type == ffi::F64) {
    f(double{});
  } else {
    f(float{});
  }
  return ffi::Error::Success();
}

}  // namespace referee
