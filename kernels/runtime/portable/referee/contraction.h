// What the referee's two contractions share: elements of any floating-point format, and the sum of C2.
#pragma once

#include <cstdint>
#include <vector>

#include "referee/common.h"

namespace referee {

using Numbers = ffi::Span<const int64_t>;
using Index = std::vector<int64_t>;

inline bool is_floating(ffi::DataType type) {
  return type == ffi::DataType::F32 || type == ffi::DataType::F64 || type == ffi::DataType::F16 ||
         type == ffi::DataType::BF16;
}

// Row-major place of an index.
inline int64_t place_of(const Index& index, Numbers sizes) {
  int64_t place = 0;
  for (size_t d = 0; d < index.size(); ++d) place = place * sizes[d] + index[d];
  return place;
}

// Steps to the next index in order (G5); false after the last, leaving all zeros.
inline bool next(Index& index, const Index& sizes) {
  for (size_t d = index.size(); d-- > 0;) {
    if (++index[d] < sizes[d]) return true;
    index[d] = 0;
  }
  return false;
}

// An element as binary64, which holds the values of every format.
inline double element(const ffi::AnyBuffer& buffer, int64_t place) {
  const void* data = buffer.untyped_data();
  switch (buffer.element_type()) {
    case ffi::DataType::F64:
      return static_cast<const double*>(data)[place];
    case ffi::DataType::F32:
      return static_cast<const float*>(data)[place];
    case ffi::DataType::F16:
      return from_binary16(static_cast<const uint16_t*>(data)[place]);
    default:
      return from_bfloat16(static_cast<const uint16_t*>(data)[place]);
  }
}

// C1 and C2: the sum of pairs, in one of the two formats.
class Sum {
 public:
  explicit Sum(bool wide) : wide_(wide) {}

  void add(double a, double b) {
    if (wide_) {
      sum64_.add(a, b);
    } else {
      sum32_.add(static_cast<float>(a), static_cast<float>(b));
    }
  }

  void write(ffi::AnyBuffer& buffer, int64_t place) const {
    void* data = buffer.untyped_data();
    switch (buffer.element_type()) {
      case ffi::DataType::F64:
        static_cast<double*>(data)[place] = one_nan(sum64_.value());
        break;
      case ffi::DataType::F32:
        static_cast<float*>(data)[place] = one_nan(sum32_.value());
        break;
      case ffi::DataType::F16:
        static_cast<uint16_t*>(data)[place] = to_binary16(sum32_.value());
        break;
      default:
        static_cast<uint16_t*>(data)[place] = to_bfloat16(sum32_.value());
    }
  }

 private:
  template <typename T>
  struct Levels {
    int64_t pairs = 0;
    T block = 0, panel = 0, span = 0, total = 0;

    void add(T a, T b) {
      block = std::fma(a, b, block);
      ++pairs;
      if (pairs % 32 == 0) {
        panel = panel + block;
        block = 0;
      }
      if (pairs % 256 == 0) {
        span = span + panel;
        panel = 0;
      }
      if (pairs % 8192 == 0) {
        total = total + span;
        span = 0;
      }
    }
    // The last block, panel and span may have begun.
    T value() const {
      const T last_panel = pairs % 32 == 0 ? panel : panel + block;
      const T last_span = pairs % 256 == 0 ? span : span + last_panel;
      return pairs % 8192 == 0 ? total : total + last_span;
    }
  };

  bool wide_;
  Levels<float> sum32_;
  Levels<double> sum64_;
};

// C1: floating-point formats, and binary64 operands only for a binary64 result.
inline bool defined(const ffi::AnyBuffer& lhs, const ffi::AnyBuffer& rhs, const ffi::AnyBuffer& out) {
  const bool wide = lhs.element_type() == ffi::DataType::F64 || rhs.element_type() == ffi::DataType::F64;
  return is_floating(lhs.element_type()) && is_floating(rhs.element_type()) && is_floating(out.element_type()) &&
         (!wide || out.element_type() == ffi::DataType::F64);
}

}  // namespace referee
