// conv_general_dilated (docs/numerics/contraction.md, C6 to C8): the padded input is laid out once, if there are holes,
// and then a convolution is a contraction whose places are sums of strides.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "native/contraction.h"
#include "native/gemm.h"
#include "native/gemm_scratch.h"

namespace portable {
namespace {

using Dimensions = ffi::Span<const int64_t>;

// One dimension of the input on its way into the padded one: element i goes to place i * step + low, if that is there.
struct Stretch {
  int64_t elements, places, step, low;
};

// Lays out lines [begin, end) of the padded input; a line is all of the last dimension. Elements are only moved.
template <typename S>
void lay_out(const S* from, const std::vector<Stretch>& dimensions, int64_t begin, int64_t end, S* to) {
  const Stretch last = dimensions.back();
  const int64_t first_element = last.low < 0 ? (-last.low + last.step - 1) / last.step : 0;
  const int64_t count =
      std::min(last.elements, last.places > last.low ? (last.places - 1 - last.low) / last.step + 1 : 0) -
      first_element;
  for (int64_t line = begin; line < end; ++line) {
    S* out = to + line * last.places;
    std::memset(out, 0, last.places * sizeof(S));
    int64_t rest = line, source = 0, stride = 1;
    bool inside = count > 0;
    for (size_t d = dimensions.size() - 1; d-- > 0;) {
      const int64_t place = rest % dimensions[d].places - dimensions[d].low;
      rest /= dimensions[d].places;
      const int64_t element = place / dimensions[d].step;
      inside = inside && place >= 0 && place % dimensions[d].step == 0 && element < dimensions[d].elements;
      source += element * stride;
      stride *= dimensions[d].elements;
    }
    if (!inside) continue;
    const S* in = from + source * last.elements + first_element;
    out += first_element * last.step + last.low;
    if (last.step == 1) {
      std::memcpy(out, in, count * sizeof(S));
    } else {
      for (int64_t i = 0; i < count; ++i) out[i * last.step] = in[i];
    }
  }
}

template <typename S>
const void* padded(ffi::ThreadPool& pool, const void* from, const std::vector<Stretch>& dimensions) {
  int64_t lines = 1;
  for (size_t d = 0; d + 1 < dimensions.size(); ++d) lines *= dimensions[d].places;
  const int64_t length = dimensions.back().places;
  S* to = scratch<S, Slot::kInput>(lines * length);
  parallel(pool, lines, (1 << 16) / (length + 16) + 1,
           [&](int64_t begin, int64_t end) { lay_out(static_cast<const S*>(from), dimensions, begin, end, to); });
  return to;
}

// An untouched last dimension is one line with the one before it: three features of an image's row, say.
void merge(std::vector<Stretch>& dimensions) {
  while (dimensions.size() > 1) {
    const Stretch last = dimensions.back();
    Stretch& before = dimensions[dimensions.size() - 2];
    if (last.step != 1 || last.low != 0 || last.places != last.elements || before.step != 1) return;
    dimensions.pop_back();
    before = {before.elements * last.elements, before.places * last.elements, 1, before.low * last.elements};
  }
}

ffi::Error Conv(ffi::ThreadPool pool, ffi::AnyBuffer lhs, ffi::AnyBuffer rhs, ffi::Result<ffi::AnyBuffer> out,
                Dimensions lhs_spec, Dimensions rhs_spec, Dimensions out_spec, Dimensions strides, Dimensions padding,
                Dimensions lhs_dilation, Dimensions rhs_dilation, int64_t groups, int64_t batch_groups) {
  if (!defined(lhs.element_type(), rhs.element_type(), out->element_type())) {
    return ffi::Error::InvalidArgument("conv: formats that the specification does not define");
  }
  const size_t rank = lhs.dimensions().size(), spatial = rank - 2;
  if (rank < 2 || rhs.dimensions().size() != rank || out->dimensions().size() != rank || lhs_spec.size() != rank ||
      rhs_spec.size() != rank || out_spec.size() != rank || strides.size() != spatial ||
      padding.size() != 2 * spatial || lhs_dilation.size() != spatial || rhs_dilation.size() != spatial) {
    return ffi::Error::InvalidArgument("conv: dimensions that do not belong together");
  }
  if (out->element_count() == 0) return ffi::Error::Success();
  const Dimensions in_sizes = lhs.dimensions(), kernel_sizes = rhs.dimensions(), out_sizes = out->dimensions();

  // The places that windows reach, and whether all of them are elements already.
  std::vector<Stretch> stretches(rank);
  for (size_t d = 0; d < rank; ++d) stretches[d] = {in_sizes[d], in_sizes[d], 1, 0};
  bool whole = true;
  for (size_t j = 0; j < spatial; ++j) {
    const int64_t d = lhs_spec[j + 2];
    const int64_t last =
        (out_sizes[out_spec[j + 2]] - 1) * strides[j] + (kernel_sizes[rhs_spec[j + 2]] - 1) * rhs_dilation[j];
    stretches[d] = {in_sizes[d], last + 1, lhs_dilation[j], padding[2 * j]};
    whole = whole && lhs_dilation[j] == 1 && padding[2 * j] <= 0 && last - padding[2 * j] < in_sizes[d];
  }
  std::vector<int64_t> places(rank);
  for (size_t d = 0; d < rank; ++d) places[d] = whole ? in_sizes[d] : stretches[d].places;
  const std::vector<int64_t> in = strides_of(places), kernel = strides_of(kernel_sizes), to = strides_of(out_sizes);
  int64_t origin = 0;
  const void* data = lhs.untyped_data();
  if (whole) {
    for (size_t j = 0; j < spatial; ++j) origin -= padding[2 * j] * in[lhs_spec[j + 2]];
  } else {
    merge(stretches);
    switch (ffi::ByteWidth(lhs.element_type())) {
      case 2:
        data = padded<uint16_t>(pool, data, stretches);
        break;
      case 4:
        data = padded<uint32_t>(pool, data, stretches);
        break;
      default:
        data = padded<uint64_t>(pool, data, stretches);
    }
  }

  const int64_t features = kernel_sizes[rhs_spec[1]], all = groups * batch_groups;  // one of the two is 1
  const int64_t kernels = kernel_sizes[rhs_spec[0]] / all;
  Contraction problem{
      {static_cast<const char*>(data) + origin * static_cast<int64_t>(ffi::ByteWidth(lhs.element_type())),
       *format_of(lhs.element_type()),
       {},
       {},
       {}},
      {rhs.untyped_data(), *format_of(rhs.element_type()), {}, {}, {}},
      {out->untyped_data(), *format_of(out->element_type()), {}, {}, {}}};
  Operand &image = problem.lhs, &weights = problem.rhs;
  Result& result = problem.result;
  const int64_t batch = out_sizes[out_spec[0]];
  image.batch.append(groups, features * in[lhs_spec[1]]);
  image.batch.append(batch_groups, batch * in[lhs_spec[0]]);
  weights.batch.append(all, kernels * kernel[rhs_spec[0]]);
  result.batch.append(all, kernels * to[out_spec[1]]);
  weights.free.append(kernels, kernel[rhs_spec[0]]);
  result.columns.append(kernels, to[out_spec[1]]);
  // Rows, in the order of the result's memory: batch and positions.
  for (size_t d = 0; d < rank; ++d) {
    const size_t i = std::find(out_spec.begin(), out_spec.end(), static_cast<int64_t>(d)) - out_spec.begin();
    if (i == 1) continue;
    image.free.append(out_sizes[d], i == 0 ? in[lhs_spec[0]] : strides[i - 2] * in[lhs_spec[i]]);
    result.rows.append(out_sizes[d], to[d]);
  }
  for (size_t j = 0; j < spatial; ++j) {
    image.inner.append(kernel_sizes[rhs_spec[j + 2]], rhs_dilation[j] * in[lhs_spec[j + 2]]);
    weights.inner.append(kernel_sizes[rhs_spec[j + 2]], kernel[rhs_spec[j + 2]]);
  }
  image.inner.append(features, in[lhs_spec[1]]);
  weights.inner.append(features, kernel[rhs_spec[1]]);
  contract_in(pool, problem);
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(conv, Conv,
            "lhs_spec", "rhs_spec", "out_spec", "strides", "padding", "lhs_dilation", "rhs_dilation", "groups",
            "batch_groups")

}  // namespace portable
