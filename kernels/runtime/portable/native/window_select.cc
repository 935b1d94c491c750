// select_and_gather_add and select_and_scatter_add (spec R6): what pooling by extrema differentiates to.
#include <memory>

#include "native/reduce.h"
#include "native/window.h"

namespace portable {
namespace {

// The chosen element of the window at result index j, as an offset into the operand; -1 if it has none.
template <bool greater, typename T>
int64_t choose(const Windows& axes, const std::vector<int64_t>& limits, const std::vector<int64_t>& j,
               std::vector<int64_t>& k, const T* x) {
  int64_t chosen = -1;
  std::fill(k.begin(), k.end(), 0);
  do {
    int64_t at = 0;
    for (size_t i = 0; i < axes.size() && at >= 0; ++i) {
      const int64_t element = axes[i].element(j[i], k[i]);
      at = element < 0 ? -1 : at + element * axes[i].stride;
    }
    if (at >= 0 && (chosen < 0 || !(greater ? x[chosen] >= x[at] : x[chosen] <= x[at]))) chosen = at;
  } while (advance(k, limits));
  return chosen;
}

// Calls found(result, chosen) for the results begin … end - 1, in order.
template <typename T, typename Found>
void each(const Windows& axes, bool greater, const T* x, int64_t begin, int64_t end, const Found& found) {
  if (begin >= end) return;
  std::vector<int64_t> limits, results, k(axes.size());
  for (const Axis& axis : axes) {
    limits.push_back(axis.window);
    results.push_back(axis.result);
  }
  std::vector<int64_t> j = unravel(begin, results);
  for (int64_t at = begin; at < end; ++at) {
    found(at, greater ? choose<true>(axes, limits, j, k, x) : choose<false>(axes, limits, j, k, x));
    advance(j, results);
  }
}

template <typename S, typename T>
const T* computing(const ffi::AnyBuffer& x, std::unique_ptr<T[]>& wide) {
  const int64_t n = static_cast<int64_t>(x.element_count());
  const Source<T> source = Source<T>::template of<S>(x.untyped_data());
  if (source.widen != nullptr) wide.reset(new T[n]);
  return source.read(0, n, wide.get());
}

ffi::Error Gather(ffi::ThreadPool pool, ffi::AnyBuffer tangents, ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out,
                  bool greater, Sizes window, Sizes step, Sizes padding, Sizes holes, Sizes spread) {
  const Windows axes = windows(operand.dimensions(), out->dimensions(), window, step, padding, holes, spread);
  const bool known = with_storage(operand.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    std::unique_ptr<T[]> wide;
    const T* x = computing<S>(operand, wide);
    const S* from = static_cast<const S*>(tangents.untyped_data());
    S* to = static_cast<S*>(out->untyped_data());
    parallel(pool, static_cast<int64_t>(out->element_count()), 1024, [&](int64_t begin, int64_t end) {
      each(axes, greater, x, begin, end, [&](int64_t at, int64_t chosen) { to[at] = chosen < 0 ? S{} : from[chosen]; });
    });
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("window_gather: no such element type");
}

ffi::Error Scatter(ffi::ThreadPool pool, ffi::AnyBuffer source, ffi::AnyBuffer operand, ffi::Result<ffi::AnyBuffer> out,
                   bool greater, Sizes window, Sizes step, Sizes padding) {
  const std::vector<int64_t> none(window.size(), 1);
  const Sizes ones(none.data(), none.size());
  const Windows axes = windows(operand.dimensions(), source.dimensions(), window, step, padding, ones, ones);
  // Leading dimensions of windows of one element keep their results apart: threads share those.
  int64_t apart = 1;
  for (const Axis& axis : axes) {
    if (axis.window != 1 || axis.step != 1 || axis.padding != 0 || axis.result != axis.size) break;
    apart *= axis.size;
  }
  const bool known = with_storage(operand.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    const int64_t n = static_cast<int64_t>(out->element_count()), sources = static_cast<int64_t>(source.element_count());
    if (n == 0) return;
    std::unique_ptr<T[]> wide_operand, wide_source, sums(new T[n]);
    const T* x = computing<S>(operand, wide_operand);
    const T* from = computing<S>(source, wide_source);
    S* to = static_cast<S*>(out->untyped_data());
    parallel(pool, apart, 1, [&](int64_t begin, int64_t end) {
      std::fill(sums.get() + begin * (n / apart), sums.get() + end * (n / apart), T(0));
      each(axes, greater, x, begin * (sources / apart), end * (sources / apart), [&](int64_t at, int64_t chosen) {
        if (chosen >= 0) sums[chosen] += from[at];
      });
      for (int64_t i = begin * (n / apart); i < end * (n / apart); ++i) to[i] = store<S>(sums[i]);
    });
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("window_scatter: no such element type");
}

}  // namespace

PORTABLE_EXPORT(window_gather, Gather,
                ffi::Ffi::Bind()
                    .Ctx<ffi::ThreadPool>()
                    .Arg<ffi::AnyBuffer>()
                    .Arg<ffi::AnyBuffer>()
                    .Ret<ffi::AnyBuffer>()
                    .Attr<bool>("greater")
                    .Attr<Sizes>("window")
                    .Attr<Sizes>("step")
                    .Attr<Sizes>("padding")
                    .Attr<Sizes>("holes")
                    .Attr<Sizes>("spread"));

PORTABLE_EXPORT(window_scatter, Scatter,
                ffi::Ffi::Bind()
                    .Ctx<ffi::ThreadPool>()
                    .Arg<ffi::AnyBuffer>()
                    .Arg<ffi::AnyBuffer>()
                    .Ret<ffi::AnyBuffer>()
                    .Attr<bool>("greater")
                    .Attr<Sizes>("window")
                    .Attr<Sizes>("step")
                    .Attr<Sizes>("padding"));

}  // namespace portable
