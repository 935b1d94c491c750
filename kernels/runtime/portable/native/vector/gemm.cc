// The blocked product: panels packed into cache, the kernel over them, sums kept between panels of k.
#include "native/gemm.h"

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "native/gemm_kernel.h"
#include "native/gemm_pack.h"
#include "native/gemm_scratch.h"
#include "native/gemv.h"
#include "native/narrow.h"

namespace portable {
namespace {

template <typename T>
struct Blocks {
  static constexpr int64_t kRows = Shape<T>::kRows, kColumns = Shape<T>::kColumns;
  // A tile of rows of packed left operand stays in L1, all columns of a panel of the right one in L2 (512 KiB).
  static constexpr int64_t kRight = (512 << 10) / sizeof(T) / kPanel / kColumns * kColumns;
};

constexpr int64_t kWorthwhile = 1 << 18;  // chain steps; below about 4 µs another thread costs more than it gives

struct Region {
  int64_t batch, row, rows, column, columns;
};

// One tile whose columns don't follow one another in the result: through a tile that does.
template <typename T>
void staged(Kernel<T> kernel, int64_t inner, const T* left, const T* right, T* result, const Tile<T>& target,
            int64_t rows, const int64_t* columns) {
  constexpr int64_t kStride = Shape<T>::kColumns;
  T sums[Shape<T>::kRows * kStride];
  int64_t starts[Shape<T>::kRows];
  for (int64_t i = 0; i < rows; ++i) {
    starts[i] = i * kStride;
    if (target.first) continue;
    for (int64_t j = 0; j < target.columns; ++j) sums[i * kStride + j] = result[target.rows[i] + columns[j]];
  }
  kernel(inner, left, right, kStride, Tile<T>{sums, starts, target.columns, target.first, target.last});
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < target.columns; ++j) result[target.rows[i] + columns[j]] = sums[i * kStride + j];
  }
}

constexpr int64_t kKept = 512;  // rows and columns of a region whose sums are kept: 1 MiB in binary32

template <typename T>
bool narrow(const Contraction& problem) {
  return problem.result.format != (std::is_same_v<T, float> ? Format::kFloat : Format::kDouble);
}

// Whether the sums of a span are kept in the thread's memory: if the result is narrower, or is for those of spans.
template <typename T>
bool kept(const Contraction& problem) {
  return narrow<T>(problem) || problem.lhs.inner.size() > kSpan;
}

// Where the sums of a region of the result are made: a span's in the result itself or in `sums_`; what spans add up to in
// the result or, if that is narrower, in `totals_`.
template <typename T>
class Target {
 public:
  Target(const Contraction& problem, const Region& region) : result_(problem.result), region_(region) {
    if (!kept<T>(problem)) return;
    stride_ = region.columns;
    const int64_t room = region.rows * stride_ + Simd<T>::kLanes;
    sums_ = scratch<T, Slot::kSums>(room);
    if (narrow<T>(problem)) totals_ = problem.lhs.inner.size() > kSpan ? scratch<T, Slot::kTotals>(room) : sums_;
    for (int64_t i = 0; i < Shape<T>::kRows; ++i) starts_[i] = i * stride_;
  }

  void add(int64_t inner, const T* left, const T* right, int64_t row, int64_t rows, int64_t column, int64_t columns,
           bool first, bool last) {
    const int vectors = static_cast<int>((columns + Simd<T>::kLanes - 1) / Simd<T>::kLanes);
    const Kernel<T> run = kernel<T>(static_cast<int>(rows), vectors);
    constexpr int64_t kStride = Shape<T>::kColumns;
    if (sums_ != nullptr) {
      T* data = sums_ + row * stride_ + column;
      run(inner, left, right, kStride, Tile<T>{data, starts_, columns, first, last});
      return;
    }
    T* data = static_cast<T*>(result_.data) + result_.batch[region_.batch];
    const int64_t* starts = result_.rows.at(region_.row + row);
    const int64_t at = region_.column + column;
    if (result_.columns.run(at) >= columns) {
      // The tile beside it comes next; its rows are far apart, which no hardware foresees.
      if (const int64_t next = at + columns; next + Shape<T>::kColumns <= region_.column + region_.columns) {
        for (int64_t i = 0; i < rows; ++i) {
          const T* line = data + starts[i] + result_.columns[next];
          for (int v = 0; v < vectors; ++v) __builtin_prefetch(line + v * Simd<T>::kLanes, 1);
        }
      }
      run(inner, left, right, kStride, Tile<T>{data + result_.columns[at], starts, columns, first, last});
    } else {
      staged(run, inner, left, right, data, Tile<T>{data, starts, columns, first, last}, rows, result_.columns.at(at));
    }
  }

  // The sums of a span are whole.
  void close_span(bool first, bool last) {
    if (sums_ == nullptr || sums_ == totals_) return;
    if (totals_ == nullptr) {
      to_rows<T>([&](T* row, const int64_t* columns, int64_t i) {
        const T* sums = sums_ + i * stride_;
        for (int64_t j = 0; j < region_.columns; ++j) {
          T& total = row[columns == nullptr ? j : columns[j]];
          total = (first ? T{0} : total) + sums[j];
          if (last) total = canonical(total);
        }
      });
    } else {
      const int64_t count = region_.rows * stride_;
      for (int64_t i = 0; i < count; ++i) totals_[i] = (first ? T{0} : totals_[i]) + sums_[i];
    }
  }

  void finish() {
    if constexpr (std::is_same_v<T, float>) {
      if (result_.format == Format::kBfloat) round<Bfloat>();
      if (result_.format == Format::kHalf) round<Half>();
    }
  }

 private:
  // work(row, columns, i) with the region's rows in the result; columns are null if they follow one another.
  template <typename S, typename Work>
  void to_rows(const Work& work) {
    S* data = static_cast<S*>(result_.data) + result_.batch[region_.batch];
    const int64_t* columns = result_.columns.at(region_.column);
    const bool follow = result_.columns.run(region_.column) >= region_.columns;
    for (int64_t i = 0; i < region_.rows; ++i) {
      S* row = data + result_.rows[region_.row + i];
      work(row + (follow ? columns[0] : 0), follow ? nullptr : columns, i);
    }
  }

  template <typename S>
  void round() {
    to_rows<S>([&](S* row, const int64_t* columns, int64_t i) {
      const float* sums = totals_ + i * stride_;
      if (columns == nullptr) {
        round_row(sums, region_.columns, row);
      } else {
        for (int64_t j = 0; j < region_.columns; ++j) row[columns[j]] = store<S>(sums[j]);
      }
    });
  }

  const Result& result_;
  const Region& region_;
  T* sums_ = nullptr;
  T* totals_ = nullptr;
  int64_t stride_ = 0;
  int64_t starts_[Shape<T>::kRows];
};

template <typename T>
void compute(const Contraction& problem, const Region& region) {
  using B = Blocks<T>;
  const int64_t inner = problem.lhs.inner.size(), depth = std::min(inner, kPanel);
  T* left = scratch<T, Slot::kLeft>(B::kRows * depth + Simd<T>::kLanes);
  T* right = scratch<T, Slot::kRight>(std::min(B::kRight, region.columns + B::kColumns) * depth + Simd<T>::kLanes);
  Target<T> target(problem, region);
  for (int64_t begin = 0; begin == 0 || begin < inner; begin += kPanel) {  // of nothing, one empty panel
    const int64_t end = std::min(begin + kPanel, inner);
    const bool first = begin % kSpan == 0, last = end == inner;
    for (int64_t jc = 0; jc < region.columns; jc += B::kRight) {
      const int64_t columns = std::min(B::kRight, region.columns - jc);
      for (int64_t j = 0; j < columns; j += B::kColumns) {
        const Part part{problem.rhs.batch[region.batch], region.column + jc + j, std::min(B::kColumns, columns - j),
                        begin, end};
        pack<T, B::kColumns>(problem.rhs, part, right + j * (end - begin));
      }
      // Along the rows, so that sums are read and written as they lie: down the columns took 7 % longer at 2048.
      for (int64_t i = 0; i < region.rows; i += B::kRows) {
        const int64_t rows = std::min(B::kRows, region.rows - i);
        pack<T, B::kRows>(problem.lhs, Part{problem.lhs.batch[region.batch], region.row + i, rows, begin, end}, left);
        for (int64_t j = 0; j < columns; j += B::kColumns) {
          target.add(end - begin, left, right + j * (end - begin), i, rows, jc + j, std::min(B::kColumns, columns - j),
                     first, last);
        }
      }
    }
    if (last || end % kSpan == 0) target.close_span(end <= kSpan, last);
  }
  target.finish();
}

int64_t pieces(int64_t size, int64_t piece) { return (size + piece - 1) / piece; }

template <typename T>
void blocked(ffi::ThreadPool& pool, const Contraction& problem) {
  using B = Blocks<T>;
  const int64_t batch = problem.result.batch.size(), rows = problem.result.rows.size();
  const int64_t columns = problem.result.columns.size(), inner = std::max<int64_t>(problem.lhs.inner.size(), 1);
  int64_t height = kept<T>(problem) ? std::min(rows, kKept) : rows;
  int64_t width = kept<T>(problem) ? std::min(columns, kKept) : columns;
  const int64_t threads = pool.num_threads();
  while (threads > 1 && batch * pieces(rows, height) * pieces(columns, width) < 2 * threads &&
         height * width * inner >= 2 * kWorthwhile && (height > B::kRows || width > B::kColumns)) {
    // Halves of the longer side, in whole tiles.
    if (height > B::kRows && (height >= width || width <= B::kColumns)) {
      height = pieces((height + 1) / 2, B::kRows) * B::kRows;
    } else {
      width = pieces((width + 1) / 2, B::kColumns) * B::kColumns;
    }
  }
  const int64_t down = pieces(rows, height), across = pieces(columns, width);
  const int64_t grain = std::max<int64_t>(1, kWorthwhile / std::max<int64_t>(1, height * width * inner));
  parallel(pool, batch * down * across, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / across % down * height, column = task % across * width;
      compute<T>(problem, Region{task / across / down, row, std::min(height, rows - row), column,
                                std::min(width, columns - column)});
    }
  });
}

}  // namespace

template <typename T>
void contract(ffi::ThreadPool& pool, Contraction& problem) {
  for (Operand* operand : {&problem.lhs, &problem.rhs}) {
    operand->batch.seal();
    operand->free.seal();
    operand->inner.seal();
  }
  Result& result = problem.result;
  result.batch.seal();
  result.rows.seal();
  result.columns.seal();
  if (result.batch.size() * result.rows.size() * result.columns.size() == 0) return;
  // Lanes run along the columns; a product is the same with its sides exchanged. Along the rows, then, if columns are
  // too few to fill a register, or the result has them apart.
  const bool few = result.columns.size() < Simd<T>::kLanes && result.rows.size() > result.columns.size();
  const bool apart = result.columns.run(0) < Simd<T>::kLanes && result.rows.run(0) > result.columns.run(0);
  if (few || apart) {
    std::swap(problem.lhs, problem.rhs);
    std::swap(result.rows, result.columns);
  }
  if (contract_few<T>(pool, problem)) return;
  blocked<T>(pool, problem);
}

template void contract<float>(ffi::ThreadPool&, Contraction&);
template void contract<double>(ffi::ThreadPool&, Contraction&);

}  // namespace portable
