// conv_general_dilated as C6 to C8 have it: every place of every window is looked up by itself.
#include <algorithm>

#include "referee/contraction.h"

namespace referee {
namespace {

ffi::Error Conv(ffi::AnyBuffer lhs, ffi::AnyBuffer rhs, ffi::Result<ffi::AnyBuffer> result, Numbers lhs_spec,
                Numbers rhs_spec, Numbers out_spec, Numbers strides, Numbers padding, Numbers lhs_dilation,
                Numbers rhs_dilation, int64_t groups, int64_t batch_groups) {
  ffi::AnyBuffer out = *result;
  if (!defined(lhs, rhs, out))
    return ffi::Error::InvalidArgument("conv: formats that the specification does not define");
  Arithmetic arithmetic;
  const size_t rank = out_spec.size();
  const Numbers in_sizes = lhs.dimensions(), kernel_sizes = rhs.dimensions(), out_sizes = out.dimensions();
  const int64_t all_features = kernel_sizes[rhs_spec[0]];
  Index shape(out_sizes.begin(), out_sizes.end());
  if (std::count(shape.begin(), shape.end(), 0)) return ffi::Error::Success();
  Index window;  // kernel positions, then input features
  for (size_t j = 2; j < rank; ++j) window.push_back(kernel_sizes[rhs_spec[j]]);
  window.push_back(kernel_sizes[rhs_spec[1]]);
  const bool no_pairs = std::count(window.begin(), window.end(), 0);
  Index at(rank, 0);
  do {
    const int64_t feature = at[out_spec[1]];
    Index kernel(rank, 0), in(rank, 0);
    kernel[rhs_spec[0]] = feature;
    in[lhs_spec[0]] = at[out_spec[0]] + out_sizes[out_spec[0]] * (feature / (all_features / batch_groups));
    const int64_t first_feature = window.back() * (feature / (all_features / groups));
    Sum sum(out.element_type() == ffi::DataType::F64);
    Index k(window.size(), 0);
    if (!no_pairs) {
      do {
        bool hole = false;
        for (size_t j = 0; j + 2 < rank; ++j) {
          kernel[rhs_spec[j + 2]] = k[j];
          const int64_t stretched = at[out_spec[j + 2]] * strides[j] + k[j] * rhs_dilation[j] - padding[2 * j];
          const int64_t index = stretched / lhs_dilation[j];
          hole = hole || stretched < 0 || stretched % lhs_dilation[j] != 0 || index >= in_sizes[lhs_spec[j + 2]];
          in[lhs_spec[j + 2]] = index;
        }
        kernel[rhs_spec[1]] = k.back();
        in[lhs_spec[1]] = first_feature + k.back();
        const double value = hole ? 0.0 : element(lhs, place_of(in, in_sizes));
        sum.add(value, element(rhs, place_of(kernel, kernel_sizes)));
      } while (next(k, window));
    }
    sum.write(out, place_of(at, out_sizes));
  } while (next(at, shape));
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(conv, Conv,
            "lhs_spec", "rhs_spec", "out_spec", "strides", "padding", "lhs_dilation", "rhs_dilation", "groups",
            "batch_groups")

}  // namespace referee
