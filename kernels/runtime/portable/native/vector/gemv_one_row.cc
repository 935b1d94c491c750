// One row: registers hold batch elements, each with its own operands on both sides, or blocks of a lone dot product.
#include "native/gemv_one_row.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "native/block_sum.h"
#include "native/simd.h"

namespace portable {
namespace {

template <typename T>
T chain(T a, T b, T sum) {
  if constexpr (std::is_same_v<T, float>) return __builtin_fmaf(a, b, sum);
  if constexpr (std::is_same_v<T, double>) return __builtin_fma(a, b, sum);
}

// The chain of steps [k, end), lane by lane of rows on both sides.
template <typename T>
typename Simd<T>::V chain_of(const T* const* left, const T* const* right, int64_t k, int64_t end) {
  using S = Simd<T>;
  typename S::V sum = S::zero();
  for (; k + S::kSteps <= end; k += S::kSteps) {
    typename S::V a[S::kSteps], b[S::kSteps];
    S::transpose(left, k, a);
    S::transpose(right, k, b);
    for (int s = 0; s < S::kSteps; ++s) sum = S::fma(a[s], b[s], sum);
  }
  for (; k < end; ++k) sum = S::fma(gathered<T>(left, k), gathered<T>(right, k), sum);
  return sum;
}

// Batch elements that follow one another, one row: registers hold batch elements (a depthwise convolution, features
// last). kColumns chains share the left element.
template <typename T, int kColumns>
void across(const Contraction& problem, int64_t column, int64_t batch, int64_t count) {
  using S = Simd<T>;
  using V = typename S::V;
  const T* left = static_cast<const T*>(problem.lhs.data) + problem.lhs.batch[batch] + problem.lhs.free[0];
  const T* right = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch];
  T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch] + problem.result.rows[0];
  const int64_t* columns = problem.rhs.free.at(column);
  const int64_t steps = problem.rhs.inner.size();
  for (int64_t j = 0; j < count; j += S::kLanes) {
    const int64_t rest = count - j;
    const bool whole = rest >= S::kLanes;
    BlockSum<S> sums[kColumns];
    for (int64_t k = 0; k < steps;) {
      const int64_t end = std::min(k + kBlock, steps);
      V chains[kColumns];
      for (auto& chain : chains) chain = S::zero();
      for (; k < end; ++k) {
        const T* weight = left + problem.lhs.inner[k] + j;
        const T* place = right + problem.rhs.inner[k] + j;
        const V element = whole ? S::load(weight) : S::load_part(weight, rest);
        for (int c = 0; c < kColumns; ++c) {
          const V other = whole ? S::load(place + columns[c]) : S::load_part(place + columns[c], rest);
          chains[c] = S::fma(element, other, chains[c]);
        }
      }
      for (int c = 0; c < kColumns; ++c) sums[c].add(chains[c], end);
    }
    for (int c = 0; c < kColumns; ++c) {
      T* to = result + problem.result.columns[column + c] + j;
      const V sum = S::canonical(sums[c].value());
      if (whole) {
        S::store(to, sum);
      } else {
        S::store_part(to, rest, sum);
      }
    }
  }
}

// One row and one column, inner elements that follow one another on both sides. Registers hold batch elements, `count`
// of them.
template <typename T>
void paired(const Contraction& problem, int64_t batch, int64_t count) {
  using S = Simd<T>;
  using V = typename S::V;
  const int64_t steps = problem.rhs.inner.size();
  const T *left[S::kLanes], *right[S::kLanes];
  for (int64_t i = 0; i < S::kLanes; ++i) {
    const int64_t at = batch + (i < count ? i : 0);
    left[i] = static_cast<const T*>(problem.lhs.data) + problem.lhs.batch[at] + problem.lhs.free[0];
    right[i] = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[at] + problem.rhs.free[0];
    left[i] += problem.lhs.inner[0];
    right[i] += problem.rhs.inner[0];
  }
  keep_in_memory(left);
  keep_in_memory(right);
  BlockSum<S> sums;
  for (int64_t k = 0; k < steps;) {
    const int64_t end = std::min(k + kBlock, steps);
    sums.add(chain_of<T>(left, right, k, end), end);
    k = end;
  }
  T row[S::kLanes];
  S::store(row, S::canonical(sums.value()));
  for (int64_t i = 0; i < count; ++i) {
    T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch + i];
    result[problem.result.rows[0] + problem.result.columns[0]] = row[i];
  }
}

// The same for one batch element. Registers hold blocks, which then are added up one after the other.
template <typename T>
void alone(const Contraction& problem, int64_t batch) {
  using S = Simd<T>;
  const int64_t steps = problem.rhs.inner.size();
  const T* a = static_cast<const T*>(problem.lhs.data) + problem.lhs.batch[batch] + problem.lhs.free[0];
  const T* b = static_cast<const T*>(problem.rhs.data) + problem.rhs.batch[batch] + problem.rhs.free[0];
  a += problem.lhs.inner[0];
  b += problem.rhs.inner[0];
  BlockSum<Scalar<T>> sum;
  int64_t k = 0;
  for (; k + S::kLanes * kBlock <= steps; k += S::kLanes * kBlock) {
    const T *left[S::kLanes], *right[S::kLanes];
    for (int64_t i = 0; i < S::kLanes; ++i) {
      left[i] = a + k + i * kBlock;
      right[i] = b + k + i * kBlock;
    }
    keep_in_memory(left);
    keep_in_memory(right);
    T chains[S::kLanes];
    S::store(chains, chain_of<T>(left, right, 0, kBlock));
    for (int64_t i = 0; i < S::kLanes; ++i) sum.add(chains[i], k + (i + 1) * kBlock);
  }
  while (k < steps) {
    const int64_t end = std::min(k + kBlock, steps);
    T one = 0;
    for (; k < end; ++k) one = chain(a[k], b[k], one);
    sum.add(one, end);
  }
  T* result = static_cast<T*>(problem.result.data) + problem.result.batch[batch];
  result[problem.result.rows[0] + problem.result.columns[0]] = canonical(sum.value());
}

}  // namespace

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
      const int64_t count = std::min<int64_t>(Simd<T>::kLanes, end - begin);
      count == 1 ? alone<T>(problem, begin) : paired<T>(problem, begin, count);
    }
  });
}

template void across_all<float>(ffi::ThreadPool&, const Contraction&);
template void across_all<double>(ffi::ThreadPool&, const Contraction&);
template void paired_all<float>(ffi::ThreadPool&, const Contraction&);
template void paired_all<double>(ffi::ThreadPool&, const Contraction&);

}  // namespace portable
