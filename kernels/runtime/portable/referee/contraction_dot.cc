// dot_general as C5 has it.
#include <algorithm>

#include "referee/contraction.h"

namespace referee {
namespace {

ffi::Error Dot(ffi::AnyBuffer lhs, ffi::AnyBuffer rhs, ffi::Result<ffi::AnyBuffer> result, Numbers lhs_contracting,
               Numbers rhs_contracting, Numbers lhs_batch, Numbers rhs_batch) {
  ffi::AnyBuffer out = *result;
  if (!defined(lhs, rhs, out))
    return ffi::Error::InvalidArgument("dot: formats that the specification does not define");
  Arithmetic arithmetic;
  const auto free_of = [](const ffi::AnyBuffer& buffer, Numbers contracting, Numbers batch) {
    Index free;
    for (int64_t d = 0; d < static_cast<int64_t>(buffer.dimensions().size()); ++d) {
      const bool taken =
          std::count(contracting.begin(), contracting.end(), d) + std::count(batch.begin(), batch.end(), d);
      if (!taken) free.push_back(d);
    }
    return free;
  };
  const Index lhs_free = free_of(lhs, lhs_contracting, lhs_batch), rhs_free = free_of(rhs, rhs_contracting, rhs_batch);
  Index shape, inner;
  for (const int64_t size : out.dimensions()) shape.push_back(size);
  for (const int64_t d : lhs_contracting) inner.push_back(lhs.dimensions()[d]);
  const bool nothing = std::count(shape.begin(), shape.end(), 0);
  const bool no_pairs = std::count(inner.begin(), inner.end(), 0);
  if (nothing) return ffi::Error::Success();
  Index at(shape.size(), 0);
  do {
    Index left(lhs.dimensions().size(), 0), right(rhs.dimensions().size(), 0);
    size_t d = 0;
    for (size_t i = 0; i < lhs_batch.size(); ++i, ++d) left[lhs_batch[i]] = right[rhs_batch[i]] = at[d];
    for (const int64_t free : lhs_free) left[free] = at[d++];
    for (const int64_t free : rhs_free) right[free] = at[d++];
    Sum sum(out.element_type() == ffi::DataType::F64);
    Index k(inner.size(), 0);
    if (!no_pairs) {
      do {
        for (size_t i = 0; i < k.size(); ++i) left[lhs_contracting[i]] = right[rhs_contracting[i]] = k[i];
        sum.add(element(lhs, place_of(left, lhs.dimensions())), element(rhs, place_of(right, rhs.dimensions())));
      } while (next(k, inner));
    }
    sum.write(out, place_of(at, out.dimensions()));
  } while (next(at, shape));
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(dot, Dot, "lhs_contracting", "rhs_contracting", "lhs_batch", "rhs_batch")

}  // namespace referee
