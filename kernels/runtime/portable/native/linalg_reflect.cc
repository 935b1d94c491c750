#include "native/linalg_reflect.h"

#include <algorithm>

namespace portable::linalg {
namespace {

// A group of columns next to each other in a buffer, kGroup wide whatever is used of it: the four chains of a row
// hide the latency of an fma.
template <typename T>
inline constexpr int64_t kGroup = 4 * Simd<T>::kLanes;

template <typename T>
struct Chain {
  typename Simd<T>::V part[4];
};

template <typename T>
void load(Chain<T>& to, const T* from) {
  for (int i = 0; i < 4; ++i) to.part[i] = Simd<T>::load(from + i * Simd<T>::kLanes);
}
template <typename T>
void store(T* to, const Chain<T>& from) {
  for (int i = 0; i < 4; ++i) Simd<T>::store(to + i * Simd<T>::kLanes, from.part[i]);
}
// c = fma(x, y, c)
template <typename T>
void add(Chain<T>& c, T x, const Chain<T>& y) {
  const typename Simd<T>::V all = Simd<T>::set(x);
  for (int i = 0; i < 4; ++i) c.part[i] = Simd<T>::fma(all, y.part[i], c.part[i]);
}
// y = fma(-x, t, y)
template <typename T>
void take(Chain<T>& y, T x, const Chain<T>& t) {
  add(y, -x, t);
}

// One reflector over a group, of which `t` = tau w is known, and the chain w of the next one on the way: each row is
// read and written once. `now` and `then` are the rows of the 1 of both; no next one: next = nullptr.
template <typename T>
Chain<T> sweep(T* y, int64_t rows, const T* v, int64_t now, const Chain<T>& t, const T* next, int64_t then) {
  Chain<T> w{}, row;
  if (next != nullptr && then < now) {  // backwards: the rows above this reflector only add to the next one's chain
    load(w, y + then * kGroup<T>);
    for (int64_t i = then + 1; i < now; ++i) {
      load(row, y + i * kGroup<T>);
      add(w, next[i], row);
    }
  }
  for (int64_t i = now; i < rows; ++i) {
    T* at = y + i * kGroup<T>;
    load(row, at);
    take(row, i == now ? T(1) : v[i], t);
    store(at, row);
    if (next == nullptr) continue;
    if (i == then)
      w = row;
    else if (i > then)
      add(w, next[i], row);
  }
  return w;
}

// tau w
template <typename T>
Chain<T> scaled(T tau, const Chain<T>& w) {
  alignas(64) T all[kGroup<T>];
  store(all, w);
  for (T& value : all) value = tau * value;
  Chain<T> result;
  load(result, all);
  return result;
}

// Reflectors `order`, one after the other, over a group.
template <typename T>
void reflect_group(const Reflectors<T>& reflectors, const std::vector<int64_t>& order, T* y) {
  if (order.empty()) return;
  const int64_t rows = reflectors.length, first = order[0];
  Chain<T> w, row;
  load(w, y + first * kGroup<T>);
  for (int64_t i = first + 1; i < rows; ++i) {
    load(row, y + i * kGroup<T>);
    add(w, reflectors.vector(first)[i], row);
  }
  for (size_t k = 0; k < order.size(); ++k) {
    const int64_t j = order[k], then = k + 1 < order.size() ? order[k + 1] : 0;
    const T* next = k + 1 < order.size() ? reflectors.vector(then) : nullptr;
    w = sweep(y, rows, reflectors.vector(j), j, scaled(reflectors.taus[j], w), next, then);
  }
}

// One reflector over some columns of a group or panel, `width` apart: begin ... end.
template <typename T>
void reflect_columns(T tau, const T* v, int64_t top, int64_t rows, T* y, int64_t width, int64_t begin, int64_t end) {
  constexpr int64_t kMost = 128;
  if (tau == 0) return;
  T w[kMost];
  const int64_t count = end - begin;
  T* __restrict y0 = y + top * width + begin;
  std::copy_n(y0, count, w);
  for (int64_t i = top + 1; i < rows; ++i) {
    const T* __restrict row = y + i * width + begin;
    const T x = v[i];
    for (int64_t c = 0; c < count; ++c) w[c] = std::fma(x, row[c], w[c]);
  }
  for (int64_t c = 0; c < count; ++c) {
    w[c] = tau * w[c];
    y0[c] = y0[c] - w[c];
  }
  for (int64_t i = top + 1; i < rows; ++i) {
    T* __restrict row = y + i * width + begin;
    const T x = -v[i];
    for (int64_t c = 0; c < count; ++c) row[c] = std::fma(x, w[c], row[c]);
  }
}

// Those that do something: a reflector whose tau is 0 is none.
template <typename T>
std::vector<int64_t> working(const Reflectors<T>& reflectors, bool backwards, int64_t below) {
  std::vector<int64_t> order;
  for (int64_t j = 0; j < below; ++j)
    if (reflectors.taus[j] != 0) order.push_back(j);
  if (backwards) std::reverse(order.begin(), order.end());
  return order;
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

template <typename T>
void reflect(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, bool backwards, int64_t columns, View<T> y) {
  const std::vector<int64_t> order = working(reflectors, backwards, reflectors.count);
  each_group(pool, reflectors.length, columns, y, true,
             [&](T* buffer, int64_t, int64_t) { reflect_group(reflectors, order, buffer); });
}

template <typename T>
void geqrf(ffi::ThreadPool* pool, int64_t m, int64_t n, T* a, T* taus) {
  constexpr int64_t kBlock = 32;
  const View<T> x{a, n, 1};
  const int64_t steps = std::min(m, n);
  std::vector<T> panel, v;
  for (int64_t start = 0; start < steps; start += kBlock) {
    const int64_t end = std::min(steps, start + kBlock), width = end - start, rows = m - start;
    panel.resize(rows * width);
    v.resize(rows);
    for (int64_t i = 0; i < rows; ++i) std::copy_n(&x(start + i, start), width, &panel[i * width]);
    for (int64_t k = 0; k < width; ++k) {
      for (int64_t i = k; i < rows; ++i) v[i] = panel[i * width + k];
      taus[start + k] = reflector<T>(rows - k, v.data() + k, 1);
      for (int64_t i = k; i < rows; ++i) panel[i * width + k] = v[i];
      if (k + 1 < width)
        reflect_columns(taus[start + k], v.data(), k, rows, panel.data(), width, k + 1, width);
    }
    for (int64_t i = 0; i < rows; ++i) std::copy_n(&panel[i * width], width, &x(start + i, start));
    if (end < n) {
      const Reflectors<T> reflectors({panel.data(), width, 1}, rows, width, taus + start);
      reflect(pool, reflectors, false, n - end, x.from(start, end));
    }
  }
}

template <typename T>
void householder_product(ffi::ThreadPool* pool, const Reflectors<T>& reflectors, int64_t n, View<T> q) {
  const int64_t rows = reflectors.length;
  each_group(pool, rows, n, q, false, [&](T* buffer, int64_t first, int64_t width) {
    for (int64_t c = 0; c < width; ++c) buffer[(first + c) * kGroup<T> + c] = 1;
    // Column c takes the reflectors up to its own: those of this group's columns first, each on the columns from its own
    // on, then those that all share.
    const int64_t shared = std::min(first + 1, reflectors.count);
    for (int64_t j = std::min(first + width, reflectors.count) - 1; j >= shared; --j)
      reflect_columns(reflectors.taus[j], reflectors.vector(j), j, rows, buffer, kGroup<T>, j - first, width);
    reflect_group(reflectors, working(reflectors, true, shared), buffer);
  });
}

#define PORTABLE_REFLECT(T)                                                                              \
  template void reflect<T>(ffi::ThreadPool*, const Reflectors<T>&, bool, int64_t, View<T>);              \
  template void geqrf<T>(ffi::ThreadPool*, int64_t, int64_t, T*, T*);                                    \
  template void householder_product<T>(ffi::ThreadPool*, const Reflectors<T>&, int64_t, View<T>);
PORTABLE_REFLECT(float)
PORTABLE_REFLECT(double)

}  // namespace portable::linalg
