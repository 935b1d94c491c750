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
  // A tile of rows of packed left operand stays in L1, all columns of packed right operand in L2 (512 KiB).
  static constexpr int64_t kInner = 1024 / sizeof(T);
  static_assert(kInner % kBlock == 0 && kGroup % kInner == 0, "a panel is whole blocks, a group whole panels");
  static constexpr int64_t kRight = 2048 / sizeof(T) / kColumns * kColumns;
};

constexpr int64_t kWorthwhile = 1 << 18;  // chain steps; below about 4 µs another thread costs more than it gives

struct Block {
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

constexpr int64_t kKept = 512;  // rows and columns of a block that is kept: 1 MiB of sums in binary32

// Whether a block's sums are kept in the thread's memory: where the result is narrower, or holds the sum of the groups
// while the one of a group is made.
template <typename T>
bool kept(const Contraction& problem) {
  const Format own = std::is_same_v<T, float> ? Format::kFloat : Format::kDouble;
  return problem.result.format != own || problem.lhs.inner.size() > kGroup;
}

// Where the sums of a block of the result are made: in the result itself, or in `sums_` and, of groups, `totals_`.
template <typename T>
class Target {
 public:
  Target(const Contraction& problem, const Block& block) : result_(problem.result), block_(block) {
    if (!kept<T>(problem)) return;
    stride_ = block.columns;
    const int64_t room = block.rows * stride_ + Simd<T>::kLanes;
    sums_ = scratch<T, Slot::kSums>(room);
    totals_ = problem.lhs.inner.size() > kGroup ? scratch<T, Slot::kTotals>(room) : nullptr;
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
    T* data = static_cast<T*>(result_.data) + result_.batch[block_.batch];
    const int64_t* starts = result_.rows.at(block_.row + row);
    const int64_t at = block_.column + column;
    if (result_.columns.run(at) >= columns) {
      // The tile beside it comes next; its rows are far apart, which no hardware foresees.
      if (const int64_t next = at + columns; next + Shape<T>::kColumns <= block_.column + block_.columns) {
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

  // The sums of a group are whole.
  void close_group(bool first) {
    if (totals_ == nullptr) return;
    const int64_t count = block_.rows * stride_;
    for (int64_t i = 0; i < count; ++i) totals_[i] = (first ? T{0} : totals_[i]) + sums_[i];
  }

  void finish() {
    if (sums_ == nullptr) return;
    if constexpr (std::is_same_v<T, double>) {
      write<double>();
    } else {
      if (result_.format == Format::kFloat) write<float>();
      if (result_.format == Format::kBfloat) write<Bfloat>();
      if (result_.format == Format::kHalf) write<Half>();
    }
  }

 private:
  template <typename S>
  void write() {
    S* data = static_cast<S*>(result_.data) + result_.batch[block_.batch];
    const int64_t* columns = result_.columns.at(block_.column);
    const bool follow = result_.columns.run(block_.column) >= block_.columns;
    for (int64_t i = 0; i < block_.rows; ++i) {
      S* row = data + result_.rows[block_.row + i];
      const T* sums = (totals_ != nullptr ? totals_ : sums_) + i * stride_;
      if (follow) {
        round_row(sums, block_.columns, row + columns[0]);
      } else {
        for (int64_t j = 0; j < block_.columns; ++j) row[columns[j]] = store<S>(sums[j]);
      }
    }
  }

  const Result& result_;
  const Block& block_;
  T* sums_ = nullptr;
  T* totals_ = nullptr;
  int64_t stride_ = 0;
  int64_t starts_[Shape<T>::kRows];
};

template <typename T>
void compute(const Contraction& problem, const Block& block) {
  using B = Blocks<T>;
  const int64_t inner = problem.lhs.inner.size(), depth = std::min(inner, B::kInner);
  T* left = scratch<T, Slot::kLeft>(B::kRows * depth + Simd<T>::kLanes);
  T* right = scratch<T, Slot::kRight>(std::min(B::kRight, block.columns + B::kColumns) * depth + Simd<T>::kLanes);
  Target<T> target(problem, block);
  for (int64_t begin = 0; begin == 0 || begin < inner; begin += B::kInner) {  // of nothing, one empty panel
    const int64_t end = std::min(begin + B::kInner, inner);
    const bool first = begin % kGroup == 0, last = end == inner;
    for (int64_t jc = 0; jc < block.columns; jc += B::kRight) {
      const int64_t columns = std::min(B::kRight, block.columns - jc);
      for (int64_t j = 0; j < columns; j += B::kColumns) {
        const Part part{problem.rhs.batch[block.batch], block.column + jc + j, std::min(B::kColumns, columns - j),
                        begin, end};
        pack<T, B::kColumns>(problem.rhs, part, right + j * (end - begin));
      }
      // Along the rows, so that sums are read and written as they lie: down the columns took 7 % longer at 2048.
      for (int64_t i = 0; i < block.rows; i += B::kRows) {
        const int64_t rows = std::min(B::kRows, block.rows - i);
        pack<T, B::kRows>(problem.lhs, Part{problem.lhs.batch[block.batch], block.row + i, rows, begin, end}, left);
        for (int64_t j = 0; j < columns; j += B::kColumns) {
          target.add(end - begin, left, right + j * (end - begin), i, rows, jc + j, std::min(B::kColumns, columns - j),
                     first, last);
        }
      }
    }
    if (last || end % kGroup == 0) target.close_group(end <= kGroup);
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
      compute<T>(problem, Block{task / across / down, row, std::min(height, rows - row), column,
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
