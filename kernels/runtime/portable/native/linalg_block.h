// C - A B, by `less` of docs/numerics/linalg.md: every element of C takes away, one after the other, the sums of blocks
// of its products. The blocks of columns that a factorisation is cut into are these blocks.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "native/common.h"
#include "native/simd.h"

namespace portable::linalg {

inline constexpr int64_t kBlock = 32;  // products of a sum

// A matrix in memory that somebody else holds; steps may be negative.
template <typename T>
struct View {
  T* data;
  int64_t row, column;
  T& operator()(int64_t i, int64_t j) const { return data[i * row + j * column]; }
  View from(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
  View transposed() const { return {data, column, row}; }
};

#if defined(__AVX512F__)
inline constexpr int kTileRows = 12;
#else
inline constexpr int kTileRows = 6;
#endif
template <typename T>
inline constexpr int kTileColumns = 2 * Simd<T>::kLanes;

// One tile and block: a is packed [k][kTileRows], b packed [k][kTileColumns], c has rows `ld` apart.
template <typename T>
void subtract_tile(int64_t depth, const T* __restrict a, const T* __restrict b, T* c, int64_t ld) {
  using S = Simd<T>;
  typename S::V acc[kTileRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) acc[i][0] = acc[i][1] = S::zero();
  for (int64_t k = 0; k < depth; ++k, a += kTileRows, b += kTileColumns<T>) {
    const typename S::V b0 = S::load(b), b1 = S::load(b + S::kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kTileRows; ++i) {
      const typename S::V x = S::set(a[i]);
      acc[i][0] = S::fma(x, b0, acc[i][0]);
      acc[i][1] = S::fma(x, b1, acc[i][1]);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kTileRows; ++i) {
    S::store(c + i * ld, S::load(c + i * ld) - acc[i][0]);
    S::store(c + i * ld + S::kLanes, S::load(c + i * ld + S::kLanes) - acc[i][1]);
  }
}

// Panels of kTileColumns columns of b (depth x n), the last filled up with zeros.
template <typename T>
void pack_columns(const View<const T>& b, int64_t depth, int64_t n, T* to) {
  constexpr int kWide = kTileColumns<T>;
  for (int64_t j = 0; j < n; j += kWide) {
    const int64_t width = std::min<int64_t>(kWide, n - j);
    for (int64_t k = 0; k < depth; ++k, to += kWide) {
      if (b.column == 1)
        std::copy_n(&b(k, j), width, to);
      else
        for (int64_t l = 0; l < width; ++l) to[l] = b(k, j + l);
      std::fill(to + width, to + kWide, T(0));
    }
  }
}

template <typename T>
void pack_rows(const View<const T>& a, int64_t rows, int64_t depth, T* to) {
  for (int64_t k = 0; k < depth; ++k, to += kTileRows) {
    for (int64_t i = 0; i < rows; ++i) to[i] = a(i, k);
    std::fill(to + rows, to + kTileRows, T(0));
  }
}

// The same for one column, which would leave most of a tile empty: the sums of some rows side by side.
template <typename T>
void subtract_column(int64_t m, int64_t depth, View<const T> a, View<const T> b, View<T> c) {
  constexpr int64_t kRows = 8;
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows) {
    T sum[kRows] = {};
    for (int64_t k = 0; k < depth; ++k) {
      const T x = b(k, 0);
      for (int64_t r = 0; r < kRows; ++r) sum[r] = std::fma(a(i + r, k), x, sum[r]);
    }
    for (int64_t r = 0; r < kRows; ++r) c(i + r, 0) = c(i + r, 0) - sum[r];
  }
  for (; i < m; ++i) {
    T sum = 0;
    for (int64_t k = 0; k < depth; ++k) sum = std::fma(a(i, k), b(k, 0), sum);
    c(i, 0) = c(i, 0) - sum;
  }
}

// c (m x n, columns next to each other) -= a (m x depth) b (depth x n), one block. With a pool, over its threads.
template <typename T>
void subtract_product(ffi::ThreadPool* pool, int64_t m, int64_t n, int64_t depth, View<const T> a, View<const T> b,
                      View<T> c) {
  if (m <= 0 || n <= 0 || depth <= 0) return;
  if (n == 1) return subtract_column(m, depth, a, b, c);
  constexpr int kWide = kTileColumns<T>;
  const int64_t panels = (n + kWide - 1) / kWide, strips = (m + kTileRows - 1) / kTileRows;
  std::vector<T> columns(panels * kWide * depth);
  const auto pack = [&](int64_t begin, int64_t end) {
    pack_columns(b.from(0, begin * kWide), depth, std::min(n, end * kWide) - begin * kWide,
                 columns.data() + begin * kWide * depth);
  };
  const auto work = [&](int64_t begin, int64_t end) {
    std::vector<T> rows(kTileRows * depth);
    T tile[kTileRows * kWide];
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t i = strip * kTileRows, height = std::min<int64_t>(kTileRows, m - i);
      pack_rows(a.from(i, 0), height, depth, rows.data());
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t j = panel * kWide, width = std::min<int64_t>(kWide, n - j);
        const T* packed = columns.data() + j * depth;
        if (height == kTileRows && width == kWide) {
          subtract_tile(depth, rows.data(), packed, &c(i, j), c.row);
          continue;
        }
        std::fill(tile, tile + kTileRows * kWide, T(0));
        for (int64_t r = 0; r < height; ++r) std::copy_n(&c(i + r, j), width, tile + r * kWide);
        subtract_tile(depth, rows.data(), packed, tile, kWide);
        for (int64_t r = 0; r < height; ++r) std::copy_n(tile + r * kWide, width, &c(i + r, j));
      }
    }
  };
  const double operations = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(depth);
  if (pool == nullptr || operations < 1e6) {
    pack(0, panels);
    work(0, strips);
    return;
  }
  parallel(*pool, panels, 8, pack);
  parallel(*pool, strips, std::max<int64_t>(1, strips / (4 * pool->num_threads())), work);
}

template <typename T>
void transpose(int64_t rows, int64_t columns, View<const T> from, View<T> to) {
  constexpr int64_t kSquare = 16;  // lines of both sides stay in the first cache
  for (int64_t i = 0; i < rows; i += kSquare)
    for (int64_t j = 0; j < columns; j += kSquare)
      for (int64_t r = i; r < std::min(i + kSquare, rows); ++r)
        for (int64_t c = j; c < std::min(j + kSquare, columns); ++c) to(c, r) = from(r, c);
}

// x(i, j), less m(i, k) x(k, j) for k = start ... i - 1, in some registers of columns from j on.
template <int kParts, typename T>
void reduce_columns(int64_t start, int64_t i, int64_t j, View<const T> m, View<T> x, T* to) {
  using S = Simd<T>;
  typename S::V sum[kParts];
  for (int p = 0; p < kParts; ++p) sum[p] = S::zero();
  for (int64_t k = start; k < i; ++k) {
    const typename S::V factor = S::set(m(i, k));
    const T* row = &x(k, j);
    for (int p = 0; p < kParts; ++p) sum[p] = S::fma(factor, S::load(row + p * S::kLanes), sum[p]);
  }
  for (int p = 0; p < kParts; ++p) S::store(to + p * S::kLanes, S::load(&x(i, j) + p * S::kLanes) - sum[p]);
}

// Rows start ... end of solve_lower(), one block of its sums; a strip of at most four registers.
template <typename T>
void solve_rows(int64_t start, int64_t end, int64_t j, int64_t width, View<const T> m, bool unit, View<T> x) {
  constexpr int64_t kLanes = Simd<T>::kLanes;
  for (int64_t i = start; i < end; ++i) {
    T t[4 * kLanes];
    int64_t done = 0;
    if (width == 4 * kLanes) {
      reduce_columns<4>(start, i, j, m, x, t);
      done = width;
    }
    for (; done + kLanes <= width; done += kLanes) reduce_columns<1>(start, i, j + done, m, x, t + done);
    if (done < width) {
      std::fill(t + done, t + width, T(0));
      for (int64_t k = start; k < i; ++k) {
        const T factor = m(i, k);
        const T* __restrict row = &x(k, j);
        for (int64_t l = done; l < width; ++l) t[l] = std::fma(factor, row[l], t[l]);
      }
      for (int64_t l = done; l < width; ++l) t[l] = x(i, j + l) - t[l];
    }
    if (!unit) {
      const T pivot = m(i, i);
      for (int64_t l = 0; l < width; ++l) t[l] = t[l] / pivot;
    }
    std::copy_n(t, width, &x(i, j));
  }
}

// M x = b for the n x columns matrix of right sides in `x` (columns next to each other), by 5.2, M lower triangular.
// An upper triangular M is one with both indices reversed, which negative steps say.
template <typename T, int64_t kBlock = linalg::kBlock>
void solve_lower(ffi::ThreadPool* pool, int64_t n, int64_t columns, View<const T> m, bool unit, View<T> x) {
  constexpr int64_t kStrip = 4 * Simd<T>::kLanes;
  for (int64_t start = 0; start < n; start += kBlock) {
    const int64_t end = std::min(n, start + kBlock);
    for (int64_t j = 0; j < columns; j += kStrip)
      solve_rows(start, end, j, std::min(kStrip, columns - j), m, unit, x);
    const View<const T> solved{x.data + start * x.row, x.row, x.column};
    subtract_product<T>(pool, n - end, columns, end - start, m.from(end, start), solved, x.from(end, 0));
  }
}

}  // namespace portable::linalg
