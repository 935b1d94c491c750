// dot_general (docs/numerics/contraction.md, C5).
#include <algorithm>
#include <cstdint>

#include "native/contraction.h"
#include "native/gemm.h"

namespace portable {
namespace {

using Dimensions = ffi::Span<const int64_t>;

// The tables of an operand; free dimensions are those that are named in neither list.
Operand operand_of(const ffi::AnyBuffer& buffer, Dimensions contracting, Dimensions batch) {
  Operand operand{buffer.untyped_data(), *format_of(buffer.element_type()), {}, {}, {}};
  const Dimensions sizes = buffer.dimensions();
  const std::vector<int64_t> strides = strides_of(sizes);
  for (const int64_t dimension : batch) operand.batch.append(sizes[dimension], strides[dimension]);
  for (const int64_t dimension : contracting) operand.inner.append(sizes[dimension], strides[dimension]);
  for (int64_t dimension = 0; dimension < static_cast<int64_t>(sizes.size()); ++dimension) {
    const auto named = [dimension](Dimensions list) {
      return std::find(list.begin(), list.end(), dimension) != list.end();
    };
    if (!named(batch) && !named(contracting)) operand.free.append(sizes[dimension], strides[dimension]);
  }
  return operand;
}

ffi::Error Dot(ffi::ThreadPool pool, ffi::AnyBuffer lhs, ffi::AnyBuffer rhs, ffi::Result<ffi::AnyBuffer> out,
               Dimensions lhs_contracting, Dimensions rhs_contracting, Dimensions lhs_batch, Dimensions rhs_batch) {
  if (!defined(lhs.element_type(), rhs.element_type(), out->element_type())) {
    return ffi::Error::InvalidArgument("dot: formats that the specification does not define");
  }
  Contraction problem{operand_of(lhs, lhs_contracting, lhs_batch), operand_of(rhs, rhs_contracting, rhs_batch), {}};
  Result& result = problem.result;
  result.data = out->untyped_data();
  result.format = *format_of(out->element_type());
  const int64_t rows = problem.lhs.free.size(), columns = problem.rhs.free.size();
  result.batch.append(problem.lhs.batch.size(), rows * columns);
  result.rows.append(rows, columns);
  result.columns.append(columns, 1);
  if (static_cast<int64_t>(out->element_count()) != result.batch.size() * rows * columns ||
      problem.lhs.inner.size() != problem.rhs.inner.size() || problem.lhs.batch.size() != problem.rhs.batch.size()) {
    return ffi::Error::InvalidArgument("dot: shapes that do not belong together");
  }
  contract_in(pool, problem);
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(dot, Dot, "lhs_contracting", "rhs_contracting", "lhs_batch", "rhs_batch")

}  // namespace portable
