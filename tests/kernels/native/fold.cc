// Sums of rows, each from left to right with one IEEE rounding per addition: an order that no vector width, thread
// count or blocking can change.

#include <cstddef>
#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

static ffi::Error SumRows(ffi::Buffer<ffi::F32> rows, ffi::ResultBuffer<ffi::F32> sums) {
  const auto dimensions = rows.dimensions();
  if (dimensions.size() != 2) {
    return ffi::Error(ffi::ErrorCode::kInvalidArgument, "sum_rows takes a matrix");
  }
  const float* values = rows.typed_data();
  for (std::int64_t row = 0; row < dimensions[0]; ++row) {
    float sum = 0.0f;
    for (std::int64_t column = 0; column < dimensions[1]; ++column) {
      sum += *values++;
    }
    sums->typed_data()[row] = sum;
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(sum_rows, SumRows,
                              ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>());
