// R1 and R2 over any axes of a dense operand, without moving it first.
//
// If the last dimension is reduced, a result reads runs of memory and vectors lie along them (reduce_rows). If it is
// kept, vectors lie across neighbouring results (reduce_columns), with a lane for each of R1's in memory. Neither can
// be seen in the result. Both cut the list of reduced elements into R1's chunks, which are what threads share. Only the
// innermost loops are compiled for each operation (Loops); the walks around them, once for each computing format.
#pragma once

#include <cmath>
#include <memory>
#include <vector>

#include "native/lanes.h"
#include "native/strided.h"
#include "native/widen.h"

namespace portable {

// The two-operand form of R2, for vectors of numbers: equal operands differ at most in a zero's sign.
template <int sign>
struct Extremum {
  template <typename T>
  static constexpr T kStart = -sign * std::numeric_limits<T>::infinity();
  template <typename T>
  static T scalar(T a, T b) {
    if (a != a) return a;
    if (a == b) return std::signbit(a) == (sign > 0) ? b : a;
    return (sign > 0 ? a > b : a < b) ? a : b;
  }
  template <typename V>
  static V apply(V a, V b) {
    if constexpr (std::is_floating_point_v<V>) {
      return scalar(a, b);
    } else {
      decltype(a == b) p, q;
      std::memcpy(&p, &a, sizeof p);
      std::memcpy(&q, &b, sizeof q);
      if constexpr (sign > 0) {
        p &= q;
      } else {
        p |= q;
      }
      V same;
      std::memcpy(&same, &p, sizeof same);
      const V other = a == b ? same : b;
      return ((sign > 0 ? a > b : a < b) | (a != a)) ? a : other;
    }
  }
};
using Maximum = Extremum<1>;
using Minimum = Extremum<-1>;

// As the attributes of the handlers number them.
enum Operation : int32_t { kSum, kProduct, kMaximum, kMinimum };

template <typename T>
T apply(int32_t operation, T a, T b) {
  switch (operation) {
    case kSum: return a + b;
    case kProduct: return a * b;
    case kMaximum: return Maximum::apply(a, b);
    default: return Minimum::apply(a, b);
  }
}

// lane[i] = lane[i] op (rows[0][i] op rows[1][i] …) for i < n, the rows' chain being made first; a fresh lane starts
// here. A sum's chain needs no +0 to start from: the lane is never -0.
template <typename Op, int rows_here, bool fresh, typename T>
void fold_rows(T* __restrict lane, const T* const* rows, int64_t n) {
  using V = lanes::Vector<T>;
  constexpr int kWide = lanes::kWide<T>;
  constexpr T kStart = Op::template kStart<T>;
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    V chain = lanes::load(rows[0] + i);
    for (int r = 1; r < rows_here; ++r) chain = Op::apply(chain, lanes::load(rows[r] + i));
    const V v = Op::apply(fresh ? V{} + kStart : lanes::load(lane + i), chain);
    std::memcpy(lane + i, &v, sizeof v);
  }
  for (; i < n; ++i) {
    T chain = rows[0][i];
    for (int r = 1; r < rows_here; ++r) chain = Op::apply(chain, rows[r][i]);
    lane[i] = Op::apply(fresh ? kStart : lane[i], chain);
  }
}

// The extremum of numbers but for a zero's sign, passing over NaN: one instruction where Extremum takes seven.
template <typename Op>
struct Loose {
  template <typename T>
  static constexpr T kStart = Op::template kStart<T>;
  template <typename V>
  static V apply(V a, V b) {
    if constexpr (std::is_same_v<Op, Maximum>) {
      return b > a ? b : a;
    } else {
      return b < a ? b : a;
    }
  }
};

// The innermost loops of one operation.
template <typename T>
struct Loops {
  T start;
  bool ordered;  // whether the order of the elements can be seen; if not, one lane does
  bool loose;    // whether a NaN or a zero is beyond it
  T (*row)(const T* x, int64_t n);
  // fold_rows of 1 … kChain rows.
  void (*fold)(T* lane, const T* const* rows, int count, bool fresh, int64_t n);
  // The results of the chunks (of other operations: the parts) that follow one another, `width` side by side.
  void (*join)(const T* partial, int64_t count, int64_t width, T* out);
  const Loops* first;  // loose ones that are tried first, if there are any
};

template <typename Op, typename T>
void fold(T* lane, const T* const* rows, int count, bool fresh, int64_t n) {
  static_assert(kChain == 4);
  switch (count) {
    case 1: return fresh ? fold_rows<Op, 1, true>(lane, rows, n) : fold_rows<Op, 1, false>(lane, rows, n);
    case 2: return fresh ? fold_rows<Op, 2, true>(lane, rows, n) : fold_rows<Op, 2, false>(lane, rows, n);
    case 3: return fresh ? fold_rows<Op, 3, true>(lane, rows, n) : fold_rows<Op, 3, false>(lane, rows, n);
    default: return fresh ? fold_rows<Op, 4, true>(lane, rows, n) : fold_rows<Op, 4, false>(lane, rows, n);
  }
}

template <typename Op, typename T>
void join(const T* partial, int64_t count, int64_t width, T* out) {
  using V = lanes::Vector<T>;
  constexpr int kWide = lanes::kWide<T>;
  constexpr T kStart = Op::template kStart<T>;
  int64_t i = 0;
  for (; i + kWide <= width; i += kWide) {
    lanes::Joined<Op, V> all = {V{} + kStart, V{}};
    for (int64_t c = 0; c < count; ++c) all.add(lanes::load(partial + c * width + i));
    const V v = all.get();
    std::memcpy(out + i, &v, sizeof v);
  }
  for (; i < width; ++i) {
    lanes::Joined<Op, T> all = {kStart, T(0)};
    for (int64_t c = 0; c < count; ++c) all.add(partial[c * width + i]);
    out[i] = all.get();
  }
}

template <typename Op, typename T>
inline constexpr Loops<T> kOrdered = {
    Op::template kStart<T>, true, false, lanes::fold_row<Op, T>, fold<Op, T>, join<Op, T>, nullptr};
template <typename Op, typename T>
inline constexpr Loops<T> kLoose = {Op::template kStart<T>, false, true, nullptr, fold<Loose<Op>, T>, nullptr, nullptr};
template <int sign, typename T>
inline constexpr Loops<T> kExtremum = {
    Extremum<sign>::template kStart<T>, false, false, lanes::extremum_row<sign, T>, fold<Extremum<sign>, T>,
    join<Extremum<sign>, T>, &kLoose<Extremum<sign>, T>};

template <typename T>
const Loops<T>& loops(int32_t operation) {
  switch (operation) {
    case kSum: return kOrdered<lanes::Sum, T>;
    case kProduct: return kOrdered<lanes::Product, T>;
    case kMaximum: return kExtremum<1, T>;
    default: return kExtremum<-1, T>;
  }
}

// Elements of a row that are one piece of work; whole chunks of any type.
inline constexpr int64_t kRun = 4096;

// Elements that one piece of work should read at least, for threads to pay.
inline constexpr int64_t kPiece = 32768;

template <typename T>
void reduce_rows(ffi::ThreadPool& pool, const Loops<T>& op, Source<T> x, const Split& split, T* out) {
  const int64_t results = count(split.kept), n = count(split.reduced);
  const int64_t pieces = (n + kRun - 1) / kRun, chunks = (n + kChunk<T> - 1) / kChunk<T>;
  const int64_t run = split.reduced.back().size;
  const Extents outer(split.reduced.begin(), split.reduced.end() - 1);
  std::unique_ptr<T[]> partial(pieces > 1 ? new T[results * chunks] : nullptr);
  const bool dense = outer.empty() && (split.kept.empty() || (split.kept.size() == 1 && split.kept[0].stride == n));
  parallel(pool, results * pieces, kPiece / std::min(n, kRun), [&](int64_t begin, int64_t end) {
    alignas(64) T buffer[kRun];  // else each vector of it may lie in two lines of the cache
    if (dense && pieces == 1) {  // short rows are many: nothing to divide
      for (int64_t at = begin; at < end; ++at) out[at] = op.row(x.read(at * n, n, buffer), n);
      return;
    }
    for (int64_t at = begin; at < end; ++at) {
      const int64_t result = at / pieces, first = at % pieces * kRun, size = std::min(kRun, n - first);
      const Source<T> base = x + offset(split.kept, result);
      const T* list = buffer;
      if (first / run == (first + size - 1) / run) {
        list = base.read(offset(outer, first / run) + first % run, size, buffer);
      } else {
        for (int64_t i = 0; i < size;) {
          const int64_t index = first + i, step = std::min(size - i, run - index % run);
          base.copy(offset(outer, index / run) + index % run, step, buffer + i);
          i += step;
        }
      }
      if (pieces == 1) {
        out[at] = op.row(list, size);
      } else {
        T* into = partial.get() + result * chunks + first / kChunk<T>;
        for (int64_t i = 0; i < size; i += kChunk<T>) *into++ = op.row(list + i, std::min(kChunk<T>, size - i));
      }
    }
  });
  if (pieces == 1) return;
  parallel(pool, results, kPiece / chunks, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) op.join(partial.get() + at * chunks, chunks, 1, out + at);
  });
}

// Results side by side whose lanes are made together. Wide, so that a row of the operand is read in long runs: 128 of
// them took 1.3 times as long, where each row was a page. One row of results needs no lanes, and may be wider still.
inline int64_t block_width(bool ordered, int64_t width, int threads) {
  if (!ordered) return std::min<int64_t>(width, 4096);
  const int64_t fair = (width / std::max(threads, 1) + 63) / 64 * 64;
  return width <= 256 ? width : std::clamp<int64_t>(fair, 128, 512);
}

// One chunk of `rows` rows, each `width` neighbouring results wide and lying where `row` says; `flat` if they lie
// behind one another, so that all the lanes are one run of memory. The result is left in lane[0 … width - 1].
// The buffer holds kChain times what the lanes do. False if the operation is loose and there is a NaN or a zero, where
// that is not enough.
template <typename T, typename Row>
bool fold_columns(const Loops<T>& op, const Source<T>& x, const Row& row, int64_t rows, int64_t width, bool flat,
                  T* lane, T* buffer) {
  const int64_t depth = op.ordered || flat ? kLanes<T> : 1, used = std::min(rows, depth);
  bool nan = false;
  for (int64_t at = 0; at < rows; at += kChain * depth) {
    // Lanes of as many rows: all, or those that have one of the last row's and those that have not.
    const int64_t here = std::min(rows - at, kChain * depth), whole = here / depth, longer = here % depth;
    auto fold = [&](int64_t first, int64_t deep, int64_t groups) {
      const T* from[kChain];
      const int64_t n = deep * width;
      for (int64_t g = 0; g < groups; ++g) {
        from[g] = x.read(row(at + first + g * depth), n, buffer + g * n);
        if (op.loose) nan |= any_nan(from[g], n);
      }
      op.fold(lane + first * width, from, static_cast<int>(groups), at == 0, n);
    };
    if (flat) {
      if (longer > 0) fold(0, longer, whole + 1);
      if (whole > 0) fold(longer, depth - longer, whole);
    } else {
      for (int64_t l = 0; l < std::min(here, depth); ++l) fold(l, 1, whole + (l < longer));
    }
  }
  for (int64_t s = depth / 2; s > 0; s /= 2) {
    const int64_t n = std::min(s, used - s);  // a lane that holds the start changes nothing
    if (n <= 0) continue;
    const T* upper = lane + s * width;
    op.fold(lane, &upper, 1, false, n * width);
  }
  if (op.loose) {
    for (int64_t i = 0; i < width; ++i) nan |= lane[i] == T(0);
  }
  return !nan;
}

// Results side by side, `width` of them for each element of `outer`.
template <typename T>
void reduce_columns(ffi::ThreadPool& pool, const Loops<T>& op, Source<T> x, const Extents& outer,
                    const Extents& reduced, int64_t width, T* out) {
  const int64_t deep = op.ordered ? kChunk<T> : 512;  // rows in one piece of work
  const int64_t n = count(reduced), pieces = (n + deep - 1) / deep, results = count(outer);
  const int64_t block = block_width(op.ordered, width, static_cast<int>(pool.num_threads()));
  const int64_t blocks = (width + block - 1) / block;
  const bool dense = reduced.size() == 1;
  const bool flat = dense && reduced[0].stride == width && width <= 256;
  const int64_t held = block * (op.ordered || flat ? std::min<int64_t>(n, kLanes<T>) : 1);
  std::unique_ptr<T[]> partial(pieces > 1 ? new T[results * pieces * width] : nullptr);
  T* into = pieces > 1 ? partial.get() : out;
  parallel(pool, results * pieces * blocks, kPiece / (std::min(n, deep) * block), [&](int64_t begin, int64_t end) {
    std::unique_ptr<T[]> scratch(new T[(x.widen == nullptr ? 1 : 1 + kChain) * held]);
    std::vector<int64_t> offsets(dense ? 0 : std::min(n, deep));
    int64_t known = -1;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t row_of_results = at / blocks, column = at % blocks * block;
      const int64_t piece = row_of_results % pieces, first = piece * deep, rows = std::min(deep, n - first);
      const int64_t here = std::min(block, width - column);
      if (!dense && known != piece) {
        for (int64_t r = 0; r < rows; ++r) offsets[r] = offset(reduced, first + r);
        known = piece;
      }
      auto row = [&](int64_t r) { return dense ? (first + r) * reduced[0].stride : offsets[r]; };
      T *lane = scratch.get(), *buffer = lane + held;
      const Source<T> base = x + (offset(outer, row_of_results / pieces) + column);
      if (op.first == nullptr || !fold_columns(*op.first, base, row, rows, here, flat, lane, buffer)) {
        fold_columns(op, base, row, rows, here, flat, lane, buffer);
      }
      std::copy_n(lane, here, into + row_of_results * width + column);
    }
  });
  if (pieces == 1) return;
  parallel(pool, results, kPiece / (pieces * width), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      op.join(partial.get() + at * pieces * width, pieces, width, out + at * width);
    }
  });
}

// The results in T and not yet canonical.
template <typename T>
void reduce_any(ffi::ThreadPool& pool, const Loops<T>& op, Source<T> x, Split split, T* out) {
  const int64_t results = count(split.kept), n = count(split.reduced);
  if (results == 0) return;
  if (n == 0) {
    std::fill_n(out, results, op.start);
  } else if (n == 1) {
    parallel(pool, results, kPiece, [&](int64_t begin, int64_t end) {
      T buffer[kRun];
      for (; begin < end; begin += kRun) {
        const int64_t here = std::min(kRun, end - begin);
        const T* from = x.read(begin, here, buffer);
        op.fold(out + begin, &from, 1, true, here);
      }
    });
  } else if (split.kept.empty() || split.kept.back().stride > split.reduced.back().stride) {
    reduce_rows<T>(pool, op, x, split, out);
  } else {
    const int64_t width = split.kept.back().size;
    split.kept.pop_back();
    reduce_columns<T>(pool, op, x, split.kept, split.reduced, width, out);
  }
}

}  // namespace portable
