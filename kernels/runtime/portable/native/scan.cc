// cumsum, cumprod, cummax, cummin, and the recurrence in cumlogsumexp (spec R4): along the axis, for each of the other
// indices, chains of kBlock elements, each taken further by what is before its block.
//
// Vectors go across neighbouring indices where the axis is not the last. Where it is, the chains of a strip are made
// before any of them is taken further: none waits for another, and the rest is vectors along the axis.
#include <memory>
#include <vector>

#include "native/reduce.h"

namespace portable {
namespace {

constexpr int64_t kBlock = 16;
constexpr int64_t kStrip = 512;  // elements of a row whose chains are made together
constexpr int64_t kAcross = 512;

template <typename T>
struct Scan {
  Source<T> x;
  int64_t length;  // of the axis
  int64_t width;   // elements from one of the axis to the next
  bool reverse;

  int64_t row(int64_t step) const { return (reverse ? length - 1 - step : step) * width; }
};

template <typename T>
lanes::Vector<T> one_nan(lanes::Vector<T> x) {
  return x == x ? x : lanes::Vector<T>{} + std::numeric_limits<T>::quiet_NaN();
}

// A chain's next element for each of n, and that after what is before the chain.
template <typename Op, typename T>
void follow(T* __restrict chain, const T* __restrict x, const T* __restrict before, T* __restrict out, int64_t n) {
  constexpr int kWide = lanes::kWide<T>;
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    const lanes::Vector<T> next = Op::apply(lanes::load(chain + i), lanes::load(x + i));
    const lanes::Vector<T> all = one_nan<T>(Op::apply(lanes::load(before + i), next));
    std::memcpy(chain + i, &next, sizeof next);
    std::memcpy(out + i, &all, sizeof all);
  }
  for (; i < n; ++i) {
    chain[i] = Op::apply(chain[i], x[i]);
    out[i] = canonical(Op::apply(before[i], chain[i]));
  }
}

// The elements of one chain after what is before it.
template <typename Op, typename T>
[[gnu::always_inline]] inline void raise(T* x, int64_t n, T before) {
  constexpr int kWide = lanes::kWide<T>;
  const lanes::Vector<T> same = before - lanes::Vector<T>{};  // plus would lose the sign of -0
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    const lanes::Vector<T> all = one_nan<T>(Op::apply(same, lanes::load(x + i)));
    std::memcpy(x + i, &all, sizeof all);
  }
  for (; i < n; ++i) x[i] = canonical(Op::apply(before, x[i]));
}

// What is before a block, for `width` neighbouring indices: the totals of the blocks cumulated as elements are, in
// blocks of them, which have totals again.
template <typename Op, typename T>
class Before {
 public:
  Before(int64_t length, int64_t width) : width_(width) {
    for (; length > kBlock; length = (length + kBlock - 1) / kBlock) ++levels_;
    held_.resize(levels_);
    values_.resize((1 + 2 * levels_) * width);
  }

  void restart() {
    std::fill(held_.begin(), held_.end(), 0);
    std::fill(values_.begin(), values_.end(), Op::template kStart<T>);
  }

  const T* get() const { return values_.data(); }

  // After one more block, with this total; never after the last one.
  void add(const T* total) { add(0, total, values_.data()); }

 private:
  void add(int64_t level, const T* total, T* out) {
    T *chain = values_.data() + (1 + 2 * level) * width_, *before = chain + width_;
    if (width_ == 1) {  // inlined, for along a row this is a large part of the work
      *chain = Op::apply(*chain, *total);
      *out = Op::apply(*before, *chain);
    } else {
      follow<Op>(chain, total, before, out, width_);
    }
    if (++held_[level] < kBlock || level + 1 == levels_) return;
    add(level + 1, chain, before);
    std::fill_n(chain, width_, Op::template kStart<T>);
    held_[level] = 0;
  }

  int64_t width_, levels_ = 0;
  std::vector<int64_t> held_;  // by level: totals in its chain
  std::vector<T> values_;      // what is before the block; by level, the chain and what is before it
};

// The chains of `blocks` blocks, side by side: each would wait for itself.
template <typename Op, int blocks, int step, typename S, typename T>
void chains(const S* x, int64_t size, T* out) {
  T acc[blocks];
  for (T& one : acc) one = Op::template kStart<T>;
  for (int64_t i = 0; i < size; ++i) {
#pragma GCC unroll 8
    for (int b = 0; b < blocks; ++b) {
      const int64_t at = (b * kBlock + i) * step;
      out[at] = acc[b] = Op::apply(acc[b], load(x[at]));
    }
  }
}

template <typename Op, int step, typename S, typename T>
void scan_row(int64_t length, const S* x, Before<Op, T>& before, S* out) {
  if constexpr (std::is_same_v<Op, Maximum> || std::is_same_v<Op, Minimum>) {  // whose order can't be seen
    T acc = Op::template kStart<T>;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t at = step < 0 ? length - 1 - i : i;
      out[at] = store<S>(acc = Op::apply(acc, load(x[at])));
    }
    return;
  }
  constexpr int kTogether = 8;
  T buffer[kStrip];
  before.restart();
  for (int64_t at = 0; at < length; at += kStrip) {
    const int64_t n = std::min(kStrip, length - at), start = step < 0 ? length - at - n : at;
    T* made = buffer;
    if constexpr (std::is_same_v<S, T>) made = out + start;
    const int64_t begin = step < 0 ? n - 1 : 0;
    for (int64_t block = 0; block < n;) {
      const int64_t here = begin + block * step;
      if (block + kTogether * kBlock <= n) {
        chains<Op, kTogether, step>(x + start + here, kBlock, made + here);
        block += kTogether * kBlock;
      } else {
        chains<Op, 1, step>(x + start + here, std::min(kBlock, n - block), made + here);
        block += kBlock;
      }
    }
    for (int64_t block = 0; block < n; block += kBlock) {
      const int64_t size = std::min(kBlock, n - block), first = begin + block * step, last = first + (size - 1) * step;
      const T all = *before.get();
      if (at + block + size < length) before.add(made + last);
      T* low = made + std::min(first, last);
      size == kBlock ? raise<Op>(low, kBlock, all) : raise<Op>(low, size, all);
    }
    if constexpr (!std::is_same_v<S, T>) {
      for (int64_t i = 0; i < n; ++i) out[start + i] = store<S>(made[i]);
    }
  }
}

// `here` neighbouring indices from this element on.
template <typename Op, typename S, typename T>
void scan_across(const Scan<T>& scan, int64_t first, int64_t here, Before<Op, T>& before, S* out) {
  T chain[kAcross], buffer[kAcross], wide[kAcross];
  before.restart();
  for (int64_t at = 0; at < scan.length; ++at) {
    if (at % kBlock == 0) {
      if (at > 0) before.add(chain);
      std::fill_n(chain, kAcross, Op::template kStart<T>);
    }
    const int64_t place = first + scan.row(at);
    const T* more = scan.x.read(place, here, buffer);
    if constexpr (std::is_same_v<S, T>) {
      follow<Op>(chain, more, before.get(), out + place, here);
    } else {
      follow<Op>(chain, more, before.get(), wide, here);
      for (int64_t i = 0; i < here; ++i) out[place + i] = store<S>(wide[i]);
    }
  }
}

template <typename Op, typename S, typename T>
void run(ffi::ThreadPool& pool, const Scan<T>& scan, int64_t outer, S* out) {
  if (scan.width == 1) {
    const S* x = reinterpret_cast<const S*>(scan.x.data);
    return parallel(pool, outer, kPiece / scan.length, [&](int64_t begin, int64_t end) {
      Before<Op, T> before(scan.length, 1);
      for (int64_t at = begin * scan.length; at < end * scan.length; at += scan.length) {
        if (scan.reverse) {
          scan_row<Op, -1>(scan.length, x + at, before, out + at);
        } else {
          scan_row<Op, 1>(scan.length, x + at, before, out + at);
        }
      }
    });
  }
  const int64_t blocks = (scan.width + kAcross - 1) / kAcross;
  const int64_t reads = scan.length * std::min(scan.width, kAcross);
  parallel(pool, outer * blocks, kPiece / reads, [&](int64_t begin, int64_t end) {
    Before<Op, T> before(scan.length, std::min(scan.width, kAcross));
    for (int64_t at = begin; at < end; ++at) {
      const int64_t column = at % blocks * kAcross;
      const int64_t first = at / blocks * scan.length * scan.width + column;
      scan_across<Op>(scan, first, std::min(kAcross, scan.width - column), before, out);
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

// s = s·d + t, from +0.
template <typename T>
void recur_chains(ffi::ThreadPool& pool, const T* d, const T* t, int64_t outer, int64_t length, int64_t width,
                  T* out) {
  parallel(pool, outer, kPiece / (length * width), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin * length * width; at < end * length * width; at += length * width) {
      T s = 0;
      for (int64_t i = at; i < at + (width == 1 ? length : 0); ++i) out[i] = s = canonical(s * d[i] + t[i]);
      if (width == 1) continue;
      for (int64_t i = at; i < at + width; ++i) out[i] = canonical(s * d[i] + t[i]);
      for (int64_t i = at + width; i < at + length * width; ++i) out[i] = canonical(out[i - width] * d[i] + t[i]);
    }
  });
}

ffi::Error Recur(ffi::ThreadPool pool, ffi::AnyBuffer d, ffi::AnyBuffer t, ffi::Result<ffi::AnyBuffer> out,
                 int64_t axis) {
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
      recur_chains(pool, d.typed_data<float>(), t.typed_data<float>(), outer, dimensions[axis], width,
                   out->typed_data<float>());
      return ffi::Error::Success();
    case ffi::F64:
      recur_chains(pool, d.typed_data<double>(), t.typed_data<double>(), outer, dimensions[axis], width,
                   out->typed_data<double>());
      return ffi::Error::Success();
    default: return ffi::Error::InvalidArgument("recur: no such element type in the specification");
  }
}

}  // namespace

CALL_EXPORT(recur, Recur, "axis")

CALL_EXPORT(scan, Cumulate, "operation", "axis", "reverse")

}  // namespace portable
