// Two operations in one loop, each rounded: what a chain of cheap operations costs is the loads and stores between
// them. in[0] and in[1] are the first one's operands; its result and in[2] are the second one's.
#include "native/fused_loops.h"

namespace portable::fused {
namespace {

enum Arithmetic : int64_t { kPlus, kMinus, kTimes, kFrom };  // kFrom: in[2] less the first result

template <int64_t op, typename T>
inline T apply(T a, T b) {
  if constexpr (op == kPlus) {
    return a + b;
  } else if constexpr (op == kMinus) {
    return a - b;
  } else if constexpr (op == kTimes) {
    return a * b;
  } else {
    return b - a;
  }
}

template <typename T, int64_t first, int64_t second, int64_t scalars>
void loop(const Call& c) {
  T* out = static_cast<T*>(c.out);
  const T* x = static_cast<const T*>(c.in[0]);
  const T* y = static_cast<const T*>(c.in[1]);
  const T* z = static_cast<const T*>(c.in[2]);
  const T x0 = *x, y0 = *y, z0 = *z;
  const int64_t n = c.n;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const T one = apply<first>((scalars & 1) ? x0 : x[i], (scalars & 2) ? y0 : y[i]);
    out[i] = apply<second>(one, (scalars & 4) ? z0 : z[i]);
  }
}

template <typename T, int64_t first, int64_t second>
void pair(const Call& c) {
  if (c.n == 0) return;
  switch (c.scalars) {
    case 1:
      return loop<T, first, second, 1>(c);
    case 2:
      return loop<T, first, second, 2>(c);
    case 4:
      return loop<T, first, second, 4>(c);
    case 5:
      return loop<T, first, second, 5>(c);
    case 6:
      return loop<T, first, second, 6>(c);
    default:
      return loop<T, first, second, 0>(c);
  }
}

template <typename T, int64_t first>
Kernel with(int64_t second) {
  switch (second) {
    case kPlus:
      return pair<T, first, kPlus>;
    case kMinus:
      return pair<T, first, kMinus>;
    case kTimes:
      return pair<T, first, kTimes>;
    default:
      return pair<T, first, kFrom>;
  }
}

template <typename T>
Kernel both(int64_t first, int64_t second) {
  switch (first) {
    case kPlus:
      return with<T, kPlus>(second);
    case kMinus:
      return with<T, kMinus>(second);
    default:
      return with<T, kTimes>(second);
  }
}

}  // namespace

Kernel paired(int64_t type, int64_t parameter) {
  const int64_t first = parameter / 4, second = parameter % 4;
  return type == kDouble ? both<double>(first, second) : both<float>(first, second);
}

}  // namespace portable::fused
