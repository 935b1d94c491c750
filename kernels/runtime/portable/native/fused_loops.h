// The loops around one element's work, plain enough for the compiler to vectorise. An operand that is one element for
// all is read once, so that it stays in a register.
#pragma once

#include "native/fused.h"

namespace portable::fused {

template <typename Out, typename In, typename Work>
inline void unary(const Call& c, const Work& work) {
  Out* out = static_cast<Out*>(c.out);
  const In* a = static_cast<const In*>(c.in[0]);
  const int64_t n = c.n;
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = work(a[i]);
}

template <typename Out, typename In, typename Work>
inline void binary(const Call& c, const Work& work) {
  Out* out = static_cast<Out*>(c.out);
  const In* a = static_cast<const In*>(c.in[0]);
  const In* b = static_cast<const In*>(c.in[1]);
  const int64_t n = c.n;
  if (c.scalars == 1) {
    const In one = *a;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(one, b[i]);
  } else if (c.scalars == 2) {
    const In one = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(a[i], one);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(a[i], b[i]);
  }
}

// in[0] is always an array here; the other two may each be one element.
template <typename Out, typename First, typename In, typename Work>
inline void ternary(const Call& c, const Work& work) {
  Out* out = static_cast<Out*>(c.out);
  const First* p = static_cast<const First*>(c.in[0]);
  const In* a = static_cast<const In*>(c.in[1]);
  const In* b = static_cast<const In*>(c.in[2]);
  const int64_t n = c.n;
  if (c.scalars == 6) {
    const In x = *a, y = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(p[i], x, y);
  } else if (c.scalars == 2) {
    const In x = *a;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(p[i], x, b[i]);
  } else if (c.scalars == 4) {
    const In y = *b;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(p[i], a[i], y);
  } else {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) out[i] = work(p[i], a[i], b[i]);
  }
}

}  // namespace portable::fused
