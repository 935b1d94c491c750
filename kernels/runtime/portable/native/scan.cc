// cumsum, cumprod, cummax, cummin, and the recurrence in cumlogsumexp (spec R4): one chain of operations along the axis
// for each of the other indices.
//
// A chain can't be cut, so vectors and threads go across chains: over neighbouring ones where the axis is not the last,
// and over kSide rows at once where it is, whose latencies then overlap.
#include <memory>
#include <vector>

#include "native/reduce.h"

namespace portable {
namespace {

constexpr int64_t kSide = 8;
constexpr int64_t kAcross = 512;

template <typename T>
struct Scan {
  Source<T> x;
  int64_t length;  // of the axis
  int64_t width;   // elements from one of the axis to the next
  bool reverse;

  int64_t row(int64_t step) const { return (reverse ? length - 1 - step : step) * width; }
};

// `rows` chains, each one contiguous.
template <typename Op, typename S, typename T>
void scan_rows(const Scan<T>& scan, int64_t first, int64_t rows, S* out) {
  T acc[kSide];
  std::fill_n(acc, kSide, Op::template kStart<T>);
  const S* x = reinterpret_cast<const S*>(scan.x.data) + first * scan.length;
  S* to = out + first * scan.length;
  auto step = [&](int64_t i, int64_t r) {
    acc[r] = Op::apply(acc[r], load(x[r * scan.length + i]));
    to[r * scan.length + i] = store<S>(acc[r]);
  };
  for (int64_t at = 0; at < scan.length; ++at) {
    const int64_t i = scan.row(at);
    if (rows == kSide) {
      for (int64_t r = 0; r < kSide; ++r) step(i, r);
    } else {
      for (int64_t r = 0; r < rows; ++r) step(i, r);
    }
  }
}

// `here` neighbouring chains from this element on.
template <typename Op, typename S, typename T>
void scan_across(const Scan<T>& scan, int64_t first, int64_t here, S* out, T* acc, T* buffer) {
  std::fill_n(acc, here, Op::template kStart<T>);
  for (int64_t at = 0; at < scan.length; ++at) {
    const int64_t place = first + scan.row(at);
    const T* more = scan.x.read(place, here, buffer);
    fold_rows<Op, 1, false>(acc, &more, here);
    for (int64_t i = 0; i < here; ++i) out[place + i] = store<S>(acc[i]);
  }
}

template <typename Op, typename S, typename T>
void run(ffi::ThreadPool& pool, const Scan<T>& scan, int64_t outer, S* out) {
  if (scan.width == 1) {
    const int64_t groups = (outer + kSide - 1) / kSide;
    return parallel(pool, groups, kPiece / (kSide * scan.length), [&](int64_t begin, int64_t end) {
      for (int64_t g = begin; g < end; ++g) {
        scan_rows<Op>(scan, g * kSide, std::min(kSide, outer - g * kSide), out);
      }
    });
  }
  const int64_t blocks = (scan.width + kAcross - 1) / kAcross;
  const int64_t reads = scan.length * std::min(scan.width, kAcross);
  parallel(pool, outer * blocks, kPiece / reads, [&](int64_t begin, int64_t end) {
    T acc[kAcross], buffer[kAcross];
    for (int64_t at = begin; at < end; ++at) {
      const int64_t column = at % blocks * kAcross;
      const int64_t first = at / blocks * scan.length * scan.width + column;
      scan_across<Op>(scan, first, std::min(kAcross, scan.width - column), out, acc, buffer);
    }
  });
}

ffi::Error Cumulate(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> out, int32_t operation,
                    int64_t axis, bool reverse) {
  const auto dimensions = x.dimensions();
  int64_t outer = 1, width = 1;
  for (int64_t i = 0; i < static_cast<int64_t>(dimensions.size()); ++i) {
    if (i < axis) outer *= dimensions[i];
    if (i > axis) width *= dimensions[i];
  }
  const bool known = with_storage(x.element_type(), [&](auto storage) {
    using S = decltype(storage);
    using T = Computing<S>;
    Ieee ieee;
    if (x.element_count() == 0) return;
    const Scan<T> scan = {Source<T>::template of<S>(x.untyped_data()), dimensions[axis], width, reverse};
    S* to = static_cast<S*>(out->untyped_data());
    switch (operation) {
      case kSum: return run<lanes::Sum>(pool, scan, outer, to);
      case kProduct: return run<lanes::Product>(pool, scan, outer, to);
      case kMaximum: return run<Maximum>(pool, scan, outer, to);
      default: return run<Minimum>(pool, scan, outer, to);
    }
  });
  return known ? ffi::Error::Success() : ffi::Error::InvalidArgument("scan: no such element type");
}

// s = fma(s, d, t), from +0.
template <typename T>
void recur_chains(ffi::ThreadPool& pool, const T* d, const T* t, int64_t outer, int64_t length, int64_t width,
                  bool reverse, T* out) {
  parallel(pool, outer * width, kPiece / length, [&](int64_t begin, int64_t end) {
    for (int64_t chain = begin; chain < end; ++chain) {
      T s = 0;
      for (int64_t i = 0; i < length; ++i) {
        const int64_t row = chain / width * length + (reverse ? length - 1 - i : i), at = row * width + chain % width;
        s = std::fma(s, d[at], t[at]);
        out[at] = canonical(s);
      }
    }
  });
}

ffi::Error Recur(ffi::ThreadPool pool, ffi::AnyBuffer d, ffi::AnyBuffer t, ffi::Result<ffi::AnyBuffer> out,
                 int64_t axis, bool reverse) {
  const auto dimensions = d.dimensions();
  int64_t outer = 1, width = 1;
  for (int64_t i = 0; i < static_cast<int64_t>(dimensions.size()); ++i) {
    if (i < axis) outer *= dimensions[i];
    if (i > axis) width *= dimensions[i];
  }
  Ieee ieee;
  if (d.element_count() == 0) return ffi::Error::Success();
  switch (d.element_type()) {
    case ffi::F32:
      recur_chains(pool, d.typed_data<float>(), t.typed_data<float>(), outer, dimensions[axis], width, reverse,
                   out->typed_data<float>());
      return ffi::Error::Success();
    case ffi::F64:
      recur_chains(pool, d.typed_data<double>(), t.typed_data<double>(), outer, dimensions[axis], width, reverse,
                   out->typed_data<double>());
      return ffi::Error::Success();
    default: return ffi::Error::InvalidArgument("recur: no such element type in the specification");
  }
}

}  // namespace

CALL_EXPORT(recur, Recur, "axis", "reverse")

CALL_EXPORT(scan, Cumulate, "operation", "axis", "reverse")

}  // namespace portable
