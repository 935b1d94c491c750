// reduce_window_sum, _max, _min and reduce_window (spec R5).
//
// A row of results along the last dimension is made at once: for each element of the window in order, that element is
// taken into every result of the row. So vectors run along the row, and each result still sees its window in order.
#include "native/window.h"

#include <memory>

#include "native/reduce.h"

namespace portable {
namespace {

// acc[j] = acc[j] op the row's element k of window j, where there is one.
template <typename Op, typename T>
void take(const Axis& last, int64_t k, const T* row, T* acc) {
  if (last.step != 1 || last.holes != 1) {
    for (int64_t j = 0; j < last.result; ++j) {
      const int64_t at = last.element(j, k);
      if (at >= 0) acc[j] = Op::apply(acc[j], row[at]);
    }
    return;
  }
  const int64_t shift = k * last.spread - last.padding;
  const int64_t begin = std::clamp<int64_t>(-shift, 0, last.result);
  const int64_t end = std::clamp<int64_t>(last.size - shift, begin, last.result);
  const T* from = row + begin + shift;
  fold_rows<Op, 1, false>(acc + begin, &from, end - begin);
}

template <typename Op, typename S, typename T>
void run(ffi::ThreadPool& pool, const Windows& axes, const T* x, T v, S* out) {
  const Axis& last = axes.back();
  std::vector<int64_t> results, window;
  int64_t rows = 1, elements = last.window;
  for (size_t i = 0; i + 1 < axes.size(); ++i) {
    results.push_back(axes[i].result);
    window.push_back(axes[i].window);
    rows *= axes[i].result;
    elements *= axes[i].window;
  }
  if (rows == 0 || last.result == 0) return;
  const int64_t work = std::max<int64_t>(1, elements * last.result);
  parallel(pool, rows, kPiece / work, [&](int64_t begin, int64_t end) {
    std::unique_ptr<T[]> acc(new T[last.result]);
    for (int64_t at = begin; at < end; ++at) {
      std::fill_n(acc.get(), last.result, v);
      const std::vector<int64_t> j = unravel(at, results);
      std::vector<int64_t> k(window.size(), 0);
      if (elements > 0) {
        do {
          const T* row = x;
          for (size_t i = 0; i < k.size() && row != nullptr; ++i) {
            const int64_t element = axes[i].element(j[i], k[i]);
            row = element < 0 ? nullptr : row + element * axes[i].stride;
          }
          if (row == nullptr) continue;
          for (int64_t inner = 0; inner < last.window; ++inner) take<Op>(last, inner, row, acc.get());
        } while (advance(k, window));
      }
      for (int64_t i = 0; i < last.result; ++i) out[at * last.result + i] = store<S>(acc[i]);
    }
  });
}

ffi::Error Window(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer initial, ffi::Result<ffi::AnyBuffer> out,
                  int32_t operation, Sizes window, Sizes step, Sizes padding, Sizes holes, Sizes spread) {
  const Windows axes = windows(x.dimensions(), out->dimensions(), window, step, padding, holes, spread);
  const bool known = with_storage(x.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    const int64_t n = static_cast<int64_t>(x.element_count());
    const Source<T> source = Source<T>::template of<S>(x.untyped_data());
    std::unique_ptr<T[]> wide(source.widen == nullptr ? nullptr : new T[n]);
    const T* from = source.read(0, n, wide.get());
    const T v = load(*static_cast<const S*>(initial.untyped_data()));
    S* to = static_cast<S*>(out->untyped_data());
    switch (operation) {
      case kSum: return run<lanes::Sum>(pool, axes, from, v, to);
      case kProduct: return run<lanes::Product>(pool, axes, from, v, to);
      case kMaximum: return run<Maximum>(pool, axes, from, v, to);
      default: return run<Minimum>(pool, axes, from, v, to);
    }
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("window: no such element type in the specification");
}

}  // namespace

PORTABLE_EXPORT(window, Window,
                ffi::Ffi::Bind()
                    .Ctx<ffi::ThreadPool>()
                    .Arg<ffi::AnyBuffer>()
                    .Arg<ffi::AnyBuffer>()
                    .Ret<ffi::AnyBuffer>()
                    .Attr<int32_t>("operation")
                    .Attr<Sizes>("window")
                    .Attr<Sizes>("step")
                    .Attr<Sizes>("padding")
                    .Attr<Sizes>("holes")
                    .Attr<Sizes>("spread"));

}  // namespace portable
