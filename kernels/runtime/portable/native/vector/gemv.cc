// Few rows: the right operand is read once, from where it lies. One function per way in which it can lie.
#include "native/gemv.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "native/block_sum.h"
#include "native/gemm_kernel.h"
#include "native/gemm_pack.h"
#include "native/gemm_scratch.h"
#include "native/gemv_one_row.h"
#include "native/simd.h"

namespace portable {
namespace {

constexpr int64_t kFew = 8;  // rows; with more, packing pays

template <typename T>
constexpr Format kOwn = std::is_same_v<T, float> ? Format::kFloat : Format::kDouble;

// Functions are compiled for R = 1, 2, 4 or 8 rows, and the other numbers of rows computed by the next greater of them:
// compiling every one took a quarter of the library's time. Rows to spare cost little where memory is what takes time.
// Left elements stand this far apart.
template <int R>
constexpr int kStride = R == 2 ? 4 : R;

// Left elements of one batch element as [inner][kStride<R>]: as they lie, if they lie so, for copying a vector would
// cost a piece as much as half a register of rows.
template <typename T, int R>
const T* left_of(const Contraction& problem, int64_t batch) {
  const Operand& lhs = problem.lhs;
  if (R == 1 && lhs.format == kOwn<T> && lhs.inner.unit()) {
    return static_cast<const T*>(lhs.data) + lhs.batch[batch] + lhs.free[0] + lhs.inner[0];
  }
  const int64_t inner = lhs.inner.size();
  T* left = scratch<T, Slot::kLeft>(kStride<R> * inner + Simd<T>::kLanes);
  pack<T, kStride<R>>(lhs, Part{lhs.batch[batch], 0, lhs.free.size(), 0, inner}, left);
  return left;
}

// A block's chains of some columns on their way through memory, a row for each of R.
template <typename T>
struct Rows {
  T* const* chains;
  T* const* sums;
  bool opens, closes;  // whether these steps are the first and the last ones of a block
  bool first, last;    // whether the block is the first that is added to the sums, and the last one of all
};

// kSteps steps of R chains, for `count` columns: right[s] are rows of elements.
template <typename T, int R, int kSteps>
void stream_steps(const T* const* right, const T* left, const Rows<T>& rows, int64_t count) {
  using S = Simd<T>;
  for (int64_t j = 0; j < count; j += S::kLanes) {
    const int64_t rest = count - j;
    const bool whole = rest >= S::kLanes;
    const auto load = [&](const T* from) { return whole ? S::load(from + j) : S::load_part(from + j, rest); };
    typename S::V column[kSteps];
    for (int s = 0; s < kSteps; ++s) column[s] = load(right[s]);
    for (int r = 0; r < R; ++r) {
      typename S::V sum = rows.opens ? S::zero() : load(rows.chains[r]);
      for (int s = 0; s < kSteps; ++s) sum = S::fma(S::set(left[s * kStride<R> + r]), column[s], sum);
      if (rows.closes) {
        sum = (rows.first ? S::zero() : load(rows.sums[r])) + sum;
        if (rows.last) sum = S::canonical(sum);
      }
      T* to = (rows.closes ? rows.sums : rows.chains)[r] + j;
      if (whole) {
        S::store(to, sum);
      } else {
        S::store_part(to, rest, sum);
      }
    }
  }
}

// sums = sums + more, or what is +0 before it.
template <typename T>
void add_row(T* sums, const T* more, int64_t count, bool first, bool last) {
  for (int64_t j = 0; j < count; ++j) {
    const T sum = (first ? T{0} : sums[j]) + more[j];
    sums[j] = last ? canonical(sum) : sum;
  }
}

// Columns that follow one another, `count` from `column` on: right rows are read as they lie, sums stay in L1.
template <typename T, int R>
void stream(const Contraction& problem, int64_t batch, const T* left, int64_t column, int64_t count) {
  constexpr int kSteps = R == 1 ? 8 : 4;
  static_assert(kBlock % kSteps == 0);
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch] + problem.rhs.free[column];
  const int64_t* inner = problem.rhs.inner.at(0);
  const int64_t steps = problem.rhs.inner.size();
  const int64_t used = problem.result.rows.size();
  const bool panels = steps > kPanel, spans = steps > kSpan;
  T* own = scratch<T, Slot::kSums>(3 * R * count);
  T *chains[R], *of_panel[R], *of_span[R], *result[R];
  for (int r = 0; r < R; ++r) {
    result[r] = r < used ? static_cast<T*>(problem.result.data) + problem.result.batch[batch] +
                               problem.result.rows[r] + problem.result.columns[column]
                         : nullptr;
    chains[r] = own + r * count;
    of_panel[r] = panels || r >= used ? own + (R + r) * count : result[r];
    of_span[r] = spans ? own + (2 * R + r) * count : result[r];
  }
  const T* rows[kSteps];
  for (int64_t k = 0; k < steps;) {
    const int taken = steps - k >= kSteps ? kSteps : 1;
    for (int s = 0; s < taken; ++s) rows[s] = right + inner[k + s];
    const int64_t end = k + taken;
    const bool last = end == steps;
    const Rows<T> now{chains, of_panel, k % kBlock == 0, end % kBlock == 0 || last, k % kPanel < kBlock, last && !panels};
    if (taken == kSteps) {
      stream_steps<T, R, kSteps>(rows, left + k * kStride<R>, now, count);
    } else {
      stream_steps<T, R, 1>(rows, left + k * kStride<R>, now, count);
    }
    k = end;
    if (panels && (k % kPanel == 0 || last)) {
      const bool first = (k - 1) % kSpan < kPanel;
      for (int r = 0; r < used; ++r) add_row(of_span[r], of_panel[r], count, first, last && !spans);
    }
    if (spans && (k % kSpan == 0 || last)) {
      for (int r = 0; r < used; ++r) add_row(result[r], of_span[r], count, k <= kSpan, last);
    }
  }
}

// How many registers of columns dots() has at once: enough to hide the latency of a chain, no more streams than that
// (two of 512 bits were 10 to 30 % slower than one on a matrix of 256 to 4096).
template <typename T, int R>
constexpr int kRegisters = R > 4 || sizeof(typename Simd<T>::V) == 64 ? 1 : 2;

// Inner elements that follow one another: registers of columns are made by transposing, `count` columns fill them.
template <typename T, int R>
void dots(const Contraction& problem, int64_t batch, const T* left, int64_t column, int64_t count) {
  using S = Simd<T>;
  using V = typename S::V;
  constexpr int kVectors = kRegisters<T, R>, kWidth = kVectors * S::kLanes;
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch] + problem.rhs.inner[0];
  const int64_t steps = problem.rhs.inner.size();
  const T* lanes[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) lanes[i] = right + problem.rhs.free[column + (i < count ? i : 0)];
  keep_in_memory(lanes);
  BlockSum<S> sums[R][kVectors];
  for (int64_t k = 0; k < steps;) {
    const int64_t end = std::min(k + kBlock, steps);
    V chains[R][kVectors];
    for_each<R, kVectors>([&](int r, int v) { chains[r][v] = S::zero(); });
    for (; k + S::kSteps <= end; k += S::kSteps) {
      for (int v = 0; v < kVectors; ++v) {
        V elements[S::kSteps];
        S::transpose(lanes + v * S::kLanes, k, elements);
        for (int s = 0; s < S::kSteps; ++s) {
          for (int r = 0; r < R; ++r)
            chains[r][v] = S::fma(S::set(left[(k + s) * kStride<R> + r]), elements[s], chains[r][v]);
        }
      }
    }
    for (; k < end; ++k) {  // the last ones of a row
      for (int v = 0; v < kVectors; ++v) {
        const V elements = gathered<T>(lanes + v * S::kLanes, k);
        for (int r = 0; r < R; ++r) chains[r][v] = S::fma(S::set(left[k * kStride<R> + r]), elements, chains[r][v]);
      }
    }
    for_each<R, kVectors>([&](int r, int v) { sums[r][v].add(chains[r][v], end); });
  }
  for (int r = 0; r < problem.result.rows.size(); ++r) {
    T row[kWidth];
    for (int v = 0; v < kVectors; ++v) S::store(row + v * S::kLanes, S::canonical(sums[r][v].value()));
    T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch] + problem.result.rows[r];
    for (int64_t i = 0; i < count; ++i) result[problem.result.columns[column + i]] = row[i];
  }
}

// Every batch element's columns in pieces of `width`, as work(batch, left, column, count).
template <typename T, int R, typename Work>
void over_columns(ffi::ThreadPool& pool, const Contraction& problem, int64_t width, const Work& work) {
  const int64_t columns = problem.result.columns.size(), inner = std::max<int64_t>(1, problem.lhs.inner.size());
  const int64_t pieces = (columns + width - 1) / width;
  const int64_t steps = width * inner * R, tasks = problem.result.batch.size() * pieces;
  // Four turns a thread at most: each of them packs the left elements again.
  const int64_t turn = tasks / (4 * std::max<int64_t>(1, pool.num_threads()));
  parallel(pool, tasks, std::max({int64_t{1}, kWorthwhile / steps, turn}), [&](int64_t begin, int64_t end) {
    const T* left = nullptr;
    for (int64_t task = begin; task < end; ++task) {
      if (left == nullptr || task % pieces == 0) left = left_of<T, R>(problem, task / pieces);
      const int64_t column = task % pieces * width;
      work(task / pieces, left, column, std::min(width, columns - column));
    }
  });
}

template <typename T, int R>
void stream_all(ffi::ThreadPool& pool, const Contraction& problem) {
  const int64_t columns = problem.result.columns.size();
  // Chains and sums of a piece take 8 KiB at each level at most; each thread gets one if they are many enough.
  const int64_t most = 8192 / static_cast<int64_t>(sizeof(T)) / R;
  const int64_t shared = (columns / std::max<int64_t>(1, pool.num_threads()) / 64 + 1) * 64;
  over_columns<T, R>(pool, problem, std::min(most, std::max<int64_t>(shared, 256)),
                     [&](int64_t batch, const T* left, int64_t column, int64_t count) {
                       for (int64_t end = column + count; column < end;) {
                         const int64_t run = std::min(problem.rhs.free.run(column), problem.result.columns.run(column));
                         const int64_t taken = std::min(run, end - column);
                         stream<T, R>(problem, batch, left, column, taken);
                         column += taken;
                       }
                     });
}

template <typename T, int R>
void dots_all(ffi::ThreadPool& pool, const Contraction& problem) {
  over_columns<T, R>(pool, problem, kRegisters<T, R> * Simd<T>::kLanes,
                     [&](int64_t batch, const T* left, int64_t column, int64_t count) {
                       dots<T, R>(problem, batch, left, column, count);
                     });
}

using Form = void (*)(ffi::ThreadPool&, const Contraction&);

// By number of rows.
template <typename T>
constexpr Form kStreams[kFew] = {stream_all<T, 1>, stream_all<T, 2>, stream_all<T, 4>, stream_all<T, 4>,
                                 stream_all<T, 8>, stream_all<T, 8>, stream_all<T, 8>, stream_all<T, 8>};
template <typename T>
constexpr Form kDots[kFew] = {dots_all<T, 1>, dots_all<T, 2>, dots_all<T, 4>, dots_all<T, 4>,
                              dots_all<T, 8>, dots_all<T, 8>, dots_all<T, 8>, dots_all<T, 8>};

// Whether the runs of columns fill registers, on average.
template <typename T>
bool streams(const Contraction& problem) {
  const int64_t columns = problem.result.columns.size();
  int64_t runs = 0;
  for (int64_t at = 0; at < columns; ++runs) {
    at += std::min(problem.rhs.free.run(at), problem.result.columns.run(at));
  }
  return columns >= runs * Simd<T>::kLanes;
}

}  // namespace

template <typename T>
bool contract_few(ffi::ThreadPool& pool, const Contraction& problem) {
  const Operand &lhs = problem.lhs, &rhs = problem.rhs;
  const Result& result = problem.result;
  const int64_t rows = result.rows.size(), columns = result.columns.size(), inner = lhs.inner.size();
  if (rows > kFew || inner == 0 || rhs.format != kOwn<T> || result.format != kOwn<T>) return false;
  const bool own = lhs.format == kOwn<T>;
  if (own && rows == 1 && result.batch.size() >= Simd<T>::kLanes && lhs.batch.unit() && rhs.batch.unit() &&
      result.batch.unit()) {
    across_all<T>(pool, problem);
  } else if (own && rows == 1 && columns == 1 && lhs.inner.unit() && rhs.inner.unit()) {
    paired_all<T>(pool, problem);
  } else if (streams<T>(problem)) {
    kStreams<T>[rows - 1](pool, problem);
  } else if (rhs.inner.unit() && columns > 1) {
    kDots<T>[rows - 1](pool, problem);
  } else {
    return false;
  }
  return true;
}

template bool contract_few<float>(ffi::ThreadPool&, const Contraction&);
template bool contract_few<double>(ffi::ThreadPool&, const Contraction&);

}  // namespace portable
