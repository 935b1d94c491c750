// Few rows: the right operand is read once, from where it lies. One function per way in which it can lie.
#include "native/gemv.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "native/gemm_kernel.h"
#include "native/gemm_pack.h"
#include "native/gemm_scratch.h"
#include "native/simd.h"

namespace portable {
namespace {

constexpr int64_t kFew = 8;               // rows; with more, packing pays
constexpr int64_t kWorthwhile = 1 << 16;  // chain steps, of memory's speed rather than the cache's

template <typename T>
constexpr Format kOwn = std::is_same_v<T, float> ? Format::kFloat : Format::kDouble;

template <typename T>
T chain(T a, T b, T sum) {
  if constexpr (std::is_same_v<T, float>) return __builtin_fmaf(a, b, sum);
  if constexpr (std::is_same_v<T, double>) return __builtin_fma(a, b, sum);
}

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

// kSteps steps of R chains, for `count` columns: right[s] and result[r] are rows of elements.
template <typename T, int R, int kSteps>
void stream_steps(const T* const* right, const T* left, T* const* result, int64_t count, bool first, bool last) {
  using S = Simd<T>;
  for (int64_t j = 0; j < count; j += S::kLanes) {
    const int64_t rest = count - j;
    const bool whole = rest >= S::kLanes;
    typename S::V column[kSteps];
    for (int s = 0; s < kSteps; ++s) column[s] = whole ? S::load(right[s] + j) : S::load_part(right[s] + j, rest);
    for (int r = 0; r < R; ++r) {
      typename S::V sum = first ? S::zero() : whole ? S::load(result[r] + j) : S::load_part(result[r] + j, rest);
      for (int s = 0; s < kSteps; ++s) sum = S::fma(S::set(left[s * kStride<R> + r]), column[s], sum);
      if (last) sum = S::canonical(sum);
      if (whole) {
        S::store(result[r] + j, sum);
      } else {
        S::store_part(result[r] + j, rest, sum);
      }
    }
  }
}

// Columns that follow one another, `count` from `column` on: right rows are read as they lie, sums stay in L1.
template <typename T, int R>
void stream(const Contraction& problem, int64_t batch, const T* left, int64_t column, int64_t count) {
  constexpr int kSteps = R == 1 ? 8 : 4;
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch] + problem.rhs.free[column];
  const int64_t* inner = problem.rhs.inner.at(0);
  const int64_t steps = problem.rhs.inner.size();
  const int64_t used = problem.result.rows.size();
  T* result[R];
  for (int r = 0; r < used; ++r) {
    result[r] = static_cast<T*>(problem.result.data) + problem.result.batch[batch] + problem.result.rows[r] +
                problem.result.columns[column];
  }
  if (used < R) std::fill(result + used, result + R, scratch<T, Slot::kSums>(count));
  if (steps == 0) {
    for (T* row : result) std::fill(row, row + count, T{0});
  }
  const T* rows[kSteps];
  for (int64_t k = 0; k < steps;) {
    const int taken = steps - k >= kSteps ? kSteps : 1;
    for (int s = 0; s < taken; ++s) rows[s] = right + inner[k + s];
    const bool first = k == 0, last = k + taken == steps;
    if (taken == kSteps) {
      stream_steps<T, R, kSteps>(rows, left + k * kStride<R>, result, count, first, last);
    } else {
      stream_steps<T, R, 1>(rows, left + k * kStride<R>, result, count, first, last);
    }
    k += taken;
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
  constexpr int kWidth = kRegisters<T, R> * S::kLanes;
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch] + problem.rhs.inner[0];
  const int64_t steps = problem.rhs.inner.size();
  const T* lanes[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) lanes[i] = right + problem.rhs.free[column + (i < count ? i : 0)];
  keep_in_memory(lanes);
  typename S::V sums[R][kRegisters<T, R>];
  for_each<R, kRegisters<T, R>>([&](int r, int v) { sums[r][v] = S::zero(); });
  int64_t k = 0;
  for (; k + S::kSteps <= steps; k += S::kSteps) {
    for (int v = 0; v < kRegisters<T, R>; ++v) {
      typename S::V elements[S::kSteps];
      S::transpose(lanes + v * S::kLanes, k, elements);
      for (int s = 0; s < S::kSteps; ++s) {
        for (int r = 0; r < R; ++r)
          sums[r][v] = S::fma(S::set(left[(k + s) * kStride<R> + r]), elements[s], sums[r][v]);
      }
    }
  }
  for (int r = 0; r < problem.result.rows.size(); ++r) {
    T row[kWidth];
    for (int v = 0; v < kRegisters<T, R>; ++v) S::store(row + v * S::kLanes, sums[r][v]);
    T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch] + problem.result.rows[r];
    for (int64_t i = 0; i < count; ++i) {
      T sum = row[i];
      for (int64_t rest = k; rest < steps; ++rest) sum = chain(left[rest * kStride<R> + r], lanes[i][rest], sum);
      result[problem.result.columns[column + i]] = canonical(sum);
    }
  }
}

// Batch elements that follow one another, one row: registers hold batch elements (a depthwise convolution, features
// last). kColumns chains share the left element.
template <typename T, int kColumns>
void across(const Contraction& problem, int64_t column, int64_t batch, int64_t count) {
  using S = Simd<T>;
  const T* left = static_cast<const T*>(problem.lhs.data) + problem.lhs.batch[batch] + problem.lhs.free[0];
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch];
  T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch] + problem.result.rows[0];
  const int64_t* columns = problem.rhs.free.at(column);
  const int64_t steps = problem.rhs.inner.size();
  for (int64_t j = 0; j < count; j += S::kLanes) {
    const int64_t rest = count - j;
    const bool whole = rest >= S::kLanes;
    typename S::V sums[kColumns];
    for (auto& sum : sums) sum = S::zero();
    for (int64_t k = 0; k < steps; ++k) {
      const T* weight = left + problem.lhs.inner[k] + j;
      const T* place = right + problem.rhs.inner[k] + j;
      const typename S::V element = whole ? S::load(weight) : S::load_part(weight, rest);
      for (int c = 0; c < kColumns; ++c) {
        const typename S::V other = whole ? S::load(place + columns[c]) : S::load_part(place + columns[c], rest);
        sums[c] = S::fma(element, other, sums[c]);
      }
    }
    for (int c = 0; c < kColumns; ++c) {
      T* to = result + problem.result.columns[column + c] + j;
      if (whole) {
        S::store(to, S::canonical(sums[c]));
      } else {
        S::store_part(to, rest, S::canonical(sums[c]));
      }
    }
  }
}

// One row and one column, inner elements that follow one another on both sides: registers hold batch elements.
template <typename T>
void paired(const Contraction& problem, int64_t batch, int64_t count) {
  using S = Simd<T>;
  const int64_t steps = problem.rhs.inner.size();
  const T* left[S::kLanes];
  const T* right[S::kLanes];
  for (int64_t i = 0; i < S::kLanes; ++i) {
    const int64_t at = batch + (i < count ? i : 0);
    left[i] = static_cast<const T*>(problem.lhs.data) + problem.lhs.batch[at] + problem.lhs.free[0];
    right[i] = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[at] + problem.rhs.free[0];
    left[i] += problem.lhs.inner[0];
    right[i] += problem.rhs.inner[0];
  }
  keep_in_memory(left);
  keep_in_memory(right);
  T sums[S::kLanes] = {};
  int64_t k = 0;
  if (count > 1) {
    typename S::V wide = S::zero();
    for (; k + S::kSteps <= steps; k += S::kSteps) {
      typename S::V a[S::kSteps], b[S::kSteps];
      S::transpose(left, k, a);
      S::transpose(right, k, b);
      for (int s = 0; s < S::kSteps; ++s) wide = S::fma(a[s], b[s], wide);
    }
    S::store(sums, wide);
  }
  for (int64_t i = 0; i < count; ++i) {
    T sum = sums[i];
    for (int64_t rest = k; rest < steps; ++rest) sum = chain(left[i][rest], right[i][rest], sum);
    T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch + i];
    result[problem.result.rows[0] + problem.result.columns[0]] = canonical(sum);
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
  // Sums of a piece take 16 KiB at most; each thread gets one if they are many enough.
  const int64_t most = 16384 / static_cast<int64_t>(sizeof(T)) / R;
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

template <typename T>
void across_all(ffi::ThreadPool& pool, const Contraction& problem) {
  const int64_t columns = problem.result.columns.size(), batch = problem.result.batch.size();
  const int64_t steps = batch * std::max<int64_t>(1, problem.lhs.inner.size());
  parallel(pool, columns, std::max<int64_t>(4, kWorthwhile / steps / 4 * 4), [&](int64_t begin, int64_t end) {
    for (; begin + 4 <= end; begin += 4) across<T, 4>(problem, begin, 0, batch);
    for (; begin < end; ++begin) across<T, 1>(problem, begin, 0, batch);
  });
}

template <typename T>
void paired_all(ffi::ThreadPool& pool, const Contraction& problem) {
  const int64_t batch = problem.result.batch.size(), inner = problem.lhs.inner.size();
  const int64_t grain = std::max<int64_t>(1, kWorthwhile / inner / Simd<T>::kLanes) * Simd<T>::kLanes;
  parallel(pool, batch, grain, [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += Simd<T>::kLanes) {
      paired<T>(problem, begin, std::min<int64_t>(Simd<T>::kLanes, end - begin));
    }
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
