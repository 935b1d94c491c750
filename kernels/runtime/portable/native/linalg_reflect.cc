#include "native/linalg_reflect.h"

#include <algorithm>
#include <utility>

namespace portable::linalg {
namespace {

// Columns side by side in two registers.
template <typename T>
inline constexpr int64_t kGroup = 2 * Simd<T>::kLanes;

template <typename T>
struct Row {
  typename Simd<T>::V part[2];
  static Row zero() { return {{Simd<T>::zero(), Simd<T>::zero()}}; }
  static Row load(const T* from) { return {{Simd<T>::load(from), Simd<T>::load(from + Simd<T>::kLanes)}}; }
  void store(T* to) const {
    Simd<T>::store(to, part[0]);
    Simd<T>::store(to + Simd<T>::kLanes, part[1]);
  }
  // this + x y
  Row plus(T x, const Row& y) const {
    const typename Simd<T>::V all = Simd<T>::set(x);
    return {{Simd<T>::fma(all, y.part[0], part[0]), Simd<T>::fma(all, y.part[1], part[1])}};
  }
};

// The end of a block of rows.
int64_t block_end(int64_t row, int64_t rows) { return std::min(rows, (row / kRows + 1) * kRows); }

// geqrf of the columns of one panel, in rows of kPanel elements; row 0 is the matrix's row `first`.
template <typename T>
void factor_panel(int64_t rows, int64_t count, int64_t first, T* a, T* taus) {
  for (int64_t k = 0; k < count; ++k) {
    taus[k] = reflector<T>(rows - k, a + k * kPanel + k, kPanel);
    for (int64_t c = k + 1; c < count && taus[k] != 0; ++c) {
      T* at = a + k * kPanel;
      const T one = std::exchange(at[k], T(1));
      T w = 0;
      for (int64_t i = k; i < rows;) {
        T part = 0;
        for (const int64_t end = block_end(first + i, first + rows) - first; i < end; ++i)
          part = std::fma(a[i * kPanel + k], a[i * kPanel + c], part);
        w = w + part;
      }
      const T t = taus[k] * w;
      for (int64_t i = k; i < rows; ++i) a[i * kPanel + c] = std::fma(-a[i * kPanel + k], t, a[i * kPanel + c]);
      at[k] = one;
    }
  }
}

// Calls work(group's buffer, first column, columns) for each group of columns, and copies it back.
template <typename T, typename Work>
void each_group(ffi::ThreadPool* pool, int64_t rows, int64_t columns, View<T> y, bool read, const Work& work) {
  const int64_t groups = (columns + kGroup<T> - 1) / kGroup<T>;
  const auto some = [&](int64_t begin, int64_t end) {
    std::vector<T> buffer(rows * kGroup<T>);
    for (int64_t g = begin; g < end; ++g) {
      const int64_t first = g * kGroup<T>, width = std::min(kGroup<T>, columns - first);
      if (!read || width < kGroup<T>) std::fill(buffer.begin(), buffer.end(), T(0));
      for (int64_t i = 0; i < rows && read; ++i) std::copy_n(&y(i, first), width, &buffer[i * kGroup<T>]);
      work(buffer.data(), first, width);
      for (int64_t i = 0; i < rows; ++i) std::copy_n(&buffer[i * kGroup<T>], width, &y(i, first));
    }
  };
  if (pool != nullptr && groups > 1 && rows * columns > 4096)
    parallel(*pool, groups, 1, some);
  else
    some(0, groups);
}

}  // namespace

void column_products(const double* u, const double* a, int64_t top, int64_t rows, int64_t columns, int64_t n,
                     double* __restrict w) {
  using S = Simd<double>;
  constexpr int kParts = 8;
  std::fill(w, w + columns, 0.0);
  for (int64_t begin = 0, end; begin < rows; begin = end) {
    end = block_end(top + begin, top + rows) - top;
    int64_t j = 0;
    for (; j + kParts * S::kLanes <= columns; j += kParts * S::kLanes) {
      S::V part[kParts];
      for (S::V& one : part) one = S::zero();
      for (int64_t i = begin; i < end; ++i) {
        const S::V x = S::set(u[i]);
        for (int p = 0; p < kParts; ++p) part[p] = S::fma(x, S::load(a + i * n + j + p * S::kLanes), part[p]);
      }
      for (int p = 0; p < kParts; ++p) {
        double* to = w + j + p * S::kLanes;
        S::store(to, S::load(to) + part[p]);
      }
    }
    for (; j < columns; ++j) {
      double part = 0;
      for (int64_t i = begin; i < end; ++i) part = std::fma(u[i], a[i * n + j], part);
      w[j] = w[j] + part;
    }
  }
}

template <typename T>
Panel<T>::Panel(View<const T> factors, int64_t length, int64_t first, int64_t count, const T* all_taus)
    : first(first), length(length), u((length - first) * kPanel) {
  for (int64_t j = 0; j < kPanel; ++j) {
    taus[j] = first + j < count ? all_taus[first + j] : T(0);
    for (int64_t i = first; i < length; ++i)
      u[(i - first) * kPanel + j] = taus[j] == 0     ? T(-0.0)
                                    : i > first + j ? factors(i, first + j)
                                                    : T(i == first + j);
  }
  const T* row = u.data();
  for (int64_t i = first; i < length;) {
    T part[kPanel][kPanel] = {};
    for (const int64_t end = block_end(i, length); i < end; ++i, row += kPanel)
      for (int64_t j = 0; j < kPanel; ++j)
        for (int64_t l = 0; l < kPanel; ++l) part[j][l] = std::fma(row[j], row[l], part[j][l]);
    for (int64_t j = 0; j < kPanel; ++j)
      for (int64_t l = 0; l < kPanel; ++l) products[j][l] = products[j][l] + part[j][l];
  }
  for (int64_t j = 0; j < kPanel; ++j)
    for (int64_t l = 0; l < kPanel; ++l)
      if (taus[j] == 0 || taus[l] == 0) products[j][l] = 0;  // and no NaN, from an infinite v
}

template <typename T>
void Panel<T>::apply(bool backwards, T* y, int64_t stride) const {
  Row<T> x[kPanel];
  for (Row<T>& sum : x) sum = Row<T>::zero();
  const T* row = u.data();
  for (int64_t i = first; i < length;) {
    Row<T> part[kPanel];
    for (Row<T>& sum : part) sum = Row<T>::zero();
    for (const int64_t end = block_end(i, length); i < end; ++i, row += kPanel) {
      const Row<T> values = Row<T>::load(y + i * stride);
      for (int j = 0; j < kPanel; ++j) part[j] = part[j].plus(row[j], values);
    }
    for (int j = 0; j < kPanel; ++j)
      for (int p = 0; p < 2; ++p) x[j].part[p] = x[j].part[p] + part[j].part[p];
  }
  for (int64_t k = 0; k < kPanel; ++k) {
    const int64_t j = backwards ? kPanel - 1 - k : k;
    for (int64_t done = 0; done < k; ++done) {
      const int64_t i = backwards ? kPanel - 1 - done : done;
      x[j] = x[j].plus(-products[j][i], x[i]);
    }
    for (auto& part : x[j].part) part = taus[j] == 0 ? Simd<T>::zero() : Simd<T>::set(taus[j]) * part;
  }
  row = u.data();
  for (int64_t i = first; i < length; ++i, row += kPanel) {
    Row<T> sum = Row<T>::zero(), values = Row<T>::load(y + i * stride);
    for (int j = 0; j < kPanel; ++j) sum = sum.plus(row[j], x[j]);
    for (int p = 0; p < 2; ++p) values.part[p] = values.part[p] - sum.part[p];
    values.store(y + i * stride);
  }
}

template <typename T>
void reflect(ffi::ThreadPool* pool, const std::vector<Panel<T>>& panels, bool backwards, int64_t columns, View<T> y) {
  if (panels.empty()) return;
  const size_t count = panels.size();
  each_group(pool, panels[0].length, columns, y, true, [&](T* buffer, int64_t, int64_t) {
    for (size_t p = 0; p < count; ++p) panels[backwards ? count - 1 - p : p].apply(backwards, buffer, kGroup<T>);
  });
}

template <typename T>
void geqrf(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, T* taus) {
  constexpr int64_t kBlock = 32, kWidth = kBlock + kGroup<T>;  // a group of columns may reach beyond the block
  const View<T> x{a, n, 1};
  const int64_t steps = std::min(m, n);
  std::vector<T> block, four;
  for (int64_t start = 0; start < steps; start += kBlock) {
    const int64_t end = std::min(steps, start + kBlock), width = end - start, rows = m - start;
    std::vector<Panel<T>> panels;
    block.assign(rows * kWidth, 0);
    const View<T> y{block.data(), kWidth, 1};
    for (int64_t i = 0; i < rows; ++i) std::copy_n(&x(start + i, start), width, &y(i, 0));
    for (int64_t first = 0; first < width; first += kPanel) {
      const int64_t count = std::min(kPanel, width - first);
      four.resize((rows - first) * kPanel);
      for (int64_t i = first; i < rows; ++i) std::copy_n(&y(i, first), count, &four[(i - first) * kPanel]);
      factor_panel(rows - first, count, first, four.data(), taus + start + first);
      for (int64_t i = first; i < rows; ++i) std::copy_n(&four[(i - first) * kPanel], count, &y(i, first));
      panels.emplace_back(View<const T>{block.data(), kWidth, 1}, rows, first, width, taus + start);
      for (int64_t j = first + count; j < width; j += kGroup<T>) panels.back().apply(false, &y(0, j), kWidth);
    }
    for (int64_t i = 0; i < rows; ++i) std::copy_n(&y(i, 0), width, &x(start + i, start));
    if (end < n) reflect(pool, panels, false, n - end, x.from(start, end));
  }
}

template <typename T>
void householder_product(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, int64_t n, View<T> q) {
  const std::vector<Panel<T>>& panels = reflectors.panels;
  const int64_t rows = reflectors.length, last = static_cast<int64_t>(panels.size()) - 1;
  each_group(pool, rows, n, q, false, [&](T* buffer, int64_t first, int64_t width) {
    const auto begin = [&](int64_t c) {  // columns before their own panel hold whatever their neighbours' made of them
      for (int64_t i = 0; i < rows; ++i) buffer[i * kGroup<T> + c - first] = i == c;
    };
    int64_t begun = first + width;
    for (int64_t p = std::min((begun - 1) / kPanel, last); p >= 0; --p) {
      while (begun > std::max(first, p * kPanel)) begin(--begun);
      panels[p].apply(true, buffer, kGroup<T>);
    }
    while (begun > first) begin(--begun);
  });
}

#define PORTABLE_REFLECT(T)                                                                            \
  template struct Panel<T>;                                                                            \
  template void reflect<T>(ffi::ThreadPool*, const std::vector<Panel<T>>&, bool, int64_t, View<T>);    \
  template void geqrf<T>(ffi::ThreadPool*, int64_t, int64_t, T*, T*);                                  \
  template void householder_product<T>(ffi::ThreadPool*, const Reflectors<T>&, int64_t, View<T>);
PORTABLE_REFLECT(float)
PORTABLE_REFLECT(double)

}  // namespace portable::linalg
