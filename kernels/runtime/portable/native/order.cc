// argmax and argmin (spec R3).
#include "native/order.h"

#include <memory>

#include "native/lanes.h"
#include "native/widen.h"

namespace portable {
namespace {

constexpr int64_t kAcross = 256;

template <int sign, typename T>
int64_t find(const T* x, int64_t n) {
  const T best = lanes::extremum_row<sign>(x, n);
  int64_t i = 0;
  if (best != best) {
    while (x[i] == x[i]) ++i;
  } else {
    while (x[i] != best) ++i;
  }
  return i;
}

template <int sign, typename T, typename I>
void run(ffi::ThreadPool& pool, const Source<T>& x, const Lines& axes, I* out) {
  if (axes.stride == 1) {
    return parallel(pool, axes.count, 32768 / axes.length, [&](int64_t begin, int64_t end) {
      std::unique_ptr<T[]> buffer(x.widen == nullptr ? nullptr : new T[axes.length]);
      for (int64_t line = begin; line < end; ++line) {
        out[line] = static_cast<I>(find<sign>(x.read(line * axes.length, axes.length, buffer.get()), axes.length));
      }
    });
  }
  const int64_t blocks = (axes.stride + kAcross - 1) / kAcross;
  parallel(pool, axes.count / axes.stride * blocks, 1, [&](int64_t begin, int64_t end) {
    T best[kAcross], buffer[kAcross];
    int32_t at[kAcross];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t column = task % blocks * kAcross, here = std::min(kAcross, axes.stride - column);
      const int64_t outer = task / blocks, base = outer * axes.length * axes.stride + column;
      std::copy_n(x.read(base, here, buffer), here, best);
      std::fill_n(at, here, 0);
      for (int64_t i = 1; i < axes.length; ++i) {
        const T* more = x.read(base + i * axes.stride, here, buffer);
        for (int64_t j = 0; j < here; ++j) {
          const bool beyond = sign > 0 ? more[j] > best[j] : more[j] < best[j];
          const bool better = beyond | ((more[j] != more[j]) & (best[j] == best[j]));
          best[j] = better ? more[j] : best[j];
          at[j] = better ? static_cast<int32_t>(i) : at[j];
        }
      }
      for (int64_t j = 0; j < here; ++j) out[outer * axes.stride + column + j] = static_cast<I>(at[j]);
    }
  });
}

template <typename I>
ffi::Error index(ffi::ThreadPool& pool, const ffi::AnyBuffer& x, ffi::AnyBuffer& out, int64_t axis, bool greatest) {
  const bool known = with_storage(x.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    if (x.element_count() == 0) return;
    const auto source = Source<T>::template of<S>(x.untyped_data());
    const Lines axes = lines(x.dimensions(), axis);
    I* to = static_cast<I*>(out.untyped_data());
    if (greatest) {
      run<1>(pool, source, axes, to);
    } else {
      run<-1>(pool, source, axes, to);
    }
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("argextremum: no such element type");
}

ffi::Error Argextremum(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> out, int64_t axis,
                       bool greatest) {
  if (out->element_type() == ffi::S64) return index<int64_t>(pool, x, *out, axis, greatest);
  return index<int32_t>(pool, x, *out, axis, greatest);
}

}  // namespace

CALL_EXPORT(argextremum, Argextremum, "axis", "greatest")

}  // namespace portable
