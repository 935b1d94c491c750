// The order of values (spec R8) as that of unsigned integers, and where the elements of one axis lie.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "native/narrow.h"

namespace portable {

// A float's key from its bits: equal for both zeros, the greatest for every NaN.
template <typename U>
U float_key(U bits, U infinity) {
  constexpr U kSign = U(1) << (8 * sizeof(U) - 1);
  const U magnitude = bits & static_cast<U>(~kSign);
  if (magnitude > infinity) return static_cast<U>(~U(0));
  if (magnitude == 0) return kSign;
  return (bits & kSign) != 0 ? static_cast<U>(~bits) : static_cast<U>(bits | kSign);
}

template <typename U>
U bits_at(const void* data, int64_t i) {
  U bits;
  std::memcpy(&bits, static_cast<const char*>(data) + i * sizeof(U), sizeof bits);
  return bits;
}

// The bytes of a key, 0 if elements of this type have none.
inline int key_size(ffi::DataType type) {
  switch (type) {
    case ffi::PRED:
    case ffi::S8:
    case ffi::U8: return 1;
    case ffi::S16:
    case ffi::U16:
    case ffi::F16:
    case ffi::BF16: return 2;
    case ffi::S32:
    case ffi::U32:
    case ffi::F32: return 4;
    case ffi::S64:
    case ffi::U64:
    case ffi::F64: return 8;
    default: return 0;
  }
}

// Calls f(key_of), where key_of(i) is the key of element i: uint32_t, or uint64_t where one of 8 bytes needs it.
template <typename F>
void with_key(ffi::DataType type, const void* data, const F& f) {
  switch (type) {
    case ffi::PRED:
    case ffi::U8: return f([=](int64_t i) { return uint32_t{bits_at<uint8_t>(data, i)}; });
    case ffi::S8: return f([=](int64_t i) { return uint32_t{bits_at<uint8_t>(data, i)} ^ 0x80u; });
    case ffi::U16: return f([=](int64_t i) { return uint32_t{bits_at<uint16_t>(data, i)}; });
    case ffi::S16: return f([=](int64_t i) { return uint32_t{bits_at<uint16_t>(data, i)} ^ 0x8000u; });
    case ffi::F16:
      return f([=](int64_t i) { return uint32_t{float_key<uint16_t>(bits_at<uint16_t>(data, i), 0x7c00)}; });
    case ffi::BF16:
      return f([=](int64_t i) { return uint32_t{float_key<uint16_t>(bits_at<uint16_t>(data, i), 0x7f80)}; });
    case ffi::U32: return f([=](int64_t i) { return bits_at<uint32_t>(data, i); });
    case ffi::S32: return f([=](int64_t i) { return bits_at<uint32_t>(data, i) ^ 0x80000000u; });
    case ffi::F32: return f([=](int64_t i) { return float_key<uint32_t>(bits_at<uint32_t>(data, i), 0x7f800000); });
    case ffi::U64: return f([=](int64_t i) { return bits_at<uint64_t>(data, i); });
    case ffi::S64: return f([=](int64_t i) { return bits_at<uint64_t>(data, i) ^ (uint64_t{1} << 63); });
    default:
      return f([=](int64_t i) { return float_key<uint64_t>(bits_at<uint64_t>(data, i), 0x7ff0000000000000); });
  }
}

struct Lines {
  int64_t count;   // of lines along the axis
  int64_t length;  // of one
  int64_t stride;  // between its elements
  // Where the line begins, in an array whose axis has `length` elements.
  int64_t begin(int64_t line, int64_t length) const { return line / stride * stride * length + line % stride; }
};

template <typename Dimensions>
Lines lines(const Dimensions& dimensions, int64_t axis) {
  Lines out{1, dimensions[axis], 1};
  for (int64_t i = 0; i < static_cast<int64_t>(dimensions.size()); ++i) {
    if (i != axis) out.count *= dimensions[i];
    if (i > axis) out.stride *= dimensions[i];
  }
  return out;
}

}  // namespace portable
