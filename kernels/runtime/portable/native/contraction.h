// What dot.cc and conv.cc share on their way from XLA's buffers to gemm.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "native/gemm.h"

namespace portable {

inline std::optional<Format> format_of(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32:
      return Format::kFloat;
    case ffi::DataType::F64:
      return Format::kDouble;
    case ffi::DataType::BF16:
      return Format::kBfloat;
    case ffi::DataType::F16:
      return Format::kHalf;
    default:
      return std::nullopt;
  }
}

// In elements, of a row-major array.
template <typename Sizes>
std::vector<int64_t> strides_of(const Sizes& sizes) {
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0; stride *= sizes[i]) strides[i] = stride;
  return strides;
}

// Whether C1 defines a contraction of these formats.
inline bool defined(ffi::DataType lhs, ffi::DataType rhs, ffi::DataType out) {
  if (!format_of(lhs) || !format_of(rhs) || !format_of(out)) return false;
  return out == ffi::DataType::F64 || (lhs != ffi::DataType::F64 && rhs != ffi::DataType::F64);
}

// C1: binary64 if the result is.
inline void contract_in(ffi::ThreadPool& pool, Contraction& problem) {
  if (problem.result.format == Format::kDouble) {
    contract<double>(pool, problem);
  } else {
    contract<float>(pool, problem);
  }
}

}  // namespace portable
