// reduce_sum, reduce_prod, reduce_max, reduce_min over any axes (spec R1, R2).
#include "native/reduce.h"

namespace portable {
namespace {

// The operand, and perhaps an initial value v: the results are then v op r.
ffi::Error Reduce(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::Result<ffi::AnyBuffer> out, int32_t operation,
                  ffi::Span<const int64_t> axes) {
  const ffi::AnyBuffer x = args[0];
  const bool known = with_storage(x.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    S* to = static_cast<S*>(out->untyped_data());
    const int64_t results = static_cast<int64_t>(out->element_count());
    std::unique_ptr<T[]> wide(std::is_same_v<S, T> ? nullptr : new T[results]);
    T* value = std::is_same_v<S, T> ? reinterpret_cast<T*>(to) : wide.get();
    const auto source = Source<T>::template of<S>(x.untyped_data());
    reduce_any(pool, loops<T>(operation), source, split(x.dimensions(), axes), value);
    if (args.size() == 2) {
      const T v = load(*static_cast<const S*>(args[1].untyped_data()));
      for (int64_t i = 0; i < results; ++i) value[i] = apply(operation, v, value[i]);
    }
    parallel(pool, results, kPiece, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = store<S>(value[i]);
    });
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("reduce: no such element type");
}

}  // namespace

CALL_EXPORT(reduce, Reduce, "operation", "axes")

}  // namespace portable
