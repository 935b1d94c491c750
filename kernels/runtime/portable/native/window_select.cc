// select_and_gather_add and select_and_scatter_add (spec R6): what pooling by extrema differentiates to.
#include <memory>

#include "native/reduce.h"
#include "native/window.h"

namespace portable {
namespace {

// For a row of results, the offset of the chosen element of each, -1 if it has none, and its value.
template <bool greater, typename T>
void choose(const Rows& rows, const std::vector<int64_t>& j, const T* x, T* best, int64_t* chosen) {
  std::fill_n(chosen, rows.last.result, -1);
  rows.meet(j, [&](int64_t offset) {
    const T* row = x + offset;
    auto consider = [&](int64_t i, int64_t element) {
      const T more = row[element];
      const bool better = (chosen[i] < 0) | !(greater ? best[i] >= more : best[i] <= more);
      best[i] = better ? more : best[i];
      chosen[i] = better ? offset + element : chosen[i];
    };
    for (int64_t k = 0; k < rows.last.window; ++k) {
      rows.along(
          k,
          [&](int64_t first, int64_t last, int64_t shift) {
            for (int64_t i = first; i < last; ++i) consider(i, i + shift);
          },
          consider);
    }
  });
}

// Calls found(result, chosen) for the results of the rows begin … end - 1, in order.
template <typename T, typename Found>
void each(const Rows& rows, bool greater, const T* x, int64_t begin, int64_t end, const Found& found) {
  const int64_t length = rows.last.result;
  std::vector<T> best(length);
  std::vector<int64_t> chosen(length), j = unravel(begin, rows.results);
  for (int64_t at = begin; at < end; ++at) {
    if (greater) {
      choose<true>(rows, j, x, best.data(), chosen.data());
    } else {
      choose<false>(rows, j, x, best.data(), chosen.data());
    }
    for (int64_t i = 0; i < length; ++i) found(at * length + i, chosen[i]);
    advance(j, rows.results);
  }
}

template <typename S, typename T>
const T* computing(const ffi::AnyBuffer& x, std::unique_ptr<T[]>& wide) {
  const int64_t n = static_cast<int64_t>(x.element_count());
  const Source<T> source = Source<T>::template of<S>(x.untyped_data());
  if (source.widen != nullptr) wide.reset(new T[n]);
  return source.read(0, n, wide.get());
}

ffi::Error Gather(ffi::ThreadPool pool, ffi::AnyBuffer tangents, ffi::AnyBuffer operand,
                  ffi::Result<ffi::AnyBuffer> out, bool greater, Sizes window, Sizes step, Sizes padding, Sizes holes,
                  Sizes spread) {
  const Windows axes = windows(operand.dimensions(), out->dimensions(), window, step, padding, holes, spread);
  const bool known = with_storage(operand.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    std::unique_ptr<T[]> wide;
    const T* x = computing<S>(operand, wide);
    const S* from = static_cast<const S*>(tangents.untyped_data());
    S* to = static_cast<S*>(out->untyped_data());
    const Rows rows(axes);
    if (out->element_count() == 0) return;
    parallel(pool, rows.count, 4096 / rows.last.result, [&](int64_t begin, int64_t end) {
      each(rows, greater, x, begin, end, [&](int64_t at, int64_t chosen) { to[at] = chosen < 0 ? S{} : from[chosen]; });
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
  const Rows rows(axes);
  int64_t apart = 1;
  for (size_t i = 0; i + 1 < axes.size(); ++i) {
    const Axis& axis = axes[i];
    if (axis.window != 1 || axis.step != 1 || axis.padding != 0 || axis.result != axis.size) break;
    apart *= axis.size;
  }
  const bool known = with_storage(operand.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    const int64_t n = static_cast<int64_t>(out->element_count()), share = rows.count / std::max<int64_t>(1, apart);
    if (n == 0) return;
    std::unique_ptr<T[]> wide_operand, wide_source, sums(new T[n]);
    const T* x = computing<S>(operand, wide_operand);
    const T* from = computing<S>(source, wide_source);
    S* to = static_cast<S*>(out->untyped_data());
    parallel(pool, apart, 1, [&](int64_t begin, int64_t end) {
      std::fill(sums.get() + begin * (n / apart), sums.get() + end * (n / apart), T(0));
      each(rows, greater, x, begin * share, end * share, [&](int64_t at, int64_t chosen) {
        if (chosen >= 0) sums[chosen] += from[at];
      });
      for (int64_t i = begin * (n / apart); i < end * (n / apart); ++i) to[i] = store<S>(sums[i]);
    });
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("window_scatter: no such element type");
}

}  // namespace

CALL_EXPORT(window_gather, Gather, "greater", "window", "step", "padding", "holes", "spread")

CALL_EXPORT(window_scatter, Scatter, "greater", "window", "step", "padding")

}  // namespace portable
