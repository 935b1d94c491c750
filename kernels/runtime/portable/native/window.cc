// reduce_window_sum, _max, _min and reduce_window (spec R5).
//
// A row of results along the last dimension is made at once: for each element of the window in order, that element is
// taken into every result of the row. So vectors run along the row, and each result still sees its window in order.
#include "native/window.h"

#include <memory>

#include "native/reduce.h"

namespace portable {
namespace {

template <typename Op, typename S, typename T>
void run(ffi::ThreadPool& pool, const Windows& axes, const T* x, T v, S* out) {
  const Rows rows(axes);
  const int64_t length = rows.last.result;
  if (rows.count == 0 || length == 0) return;
  const int64_t work = std::max<int64_t>(1, static_cast<int64_t>(rows.tables.size()) * rows.last.window * length);
  parallel(pool, rows.count, kPiece / work, [&](int64_t begin, int64_t end) {
    std::unique_ptr<T[]> acc(new T[length]);
    std::vector<int64_t> j = unravel(begin, rows.results);
    for (int64_t at = begin; at < end; ++at) {
      std::fill_n(acc.get(), length, v);
      rows.meet(j, [&](int64_t offset) {
        const T* row = x + offset;
        for (int64_t k = 0; k < rows.last.window; ++k) {
          rows.along(
              k,
              [&](int64_t first, int64_t last, int64_t shift) {
                const T* from = row + first + shift;
                fold_rows<Op, 1, false>(acc.get() + first, &from, last - first);
              },
              [&](int64_t i, int64_t element) { acc[i] = Op::apply(acc[i], row[element]); });
        }
      });
      for (int64_t i = 0; i < length; ++i) out[at * length + i] = store<S>(acc[i]);
      advance(j, rows.results);
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
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("window: no such element type");
}

}  // namespace

CALL_EXPORT(window, Window, "operation", "window", "step", "padding", "holes", "spread")

}  // namespace portable
