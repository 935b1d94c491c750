// What a transform's length decides: its passes and their factors. Plans are kept, as computing the angles of one
// takes longer than using them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace portable::fourier {

// Separate real and imaginary parts.
template <typename T>
struct Parts {
  std::vector<T> re, im;
  void resize(size_t size) {
    re.resize(size);
    im.resize(size);
  }
};

inline constexpr int64_t kNarrow = 16;  // runs shorter than this are worked on across their ends

template <typename T>
struct Pass {
  int64_t radix, m, s;  // as in the specification
  Parts<T> turns;       // [k - 1][p], W(pk, m radix)
  Parts<T> spread;      // [k - 1][p s + q], the same where s < kNarrow
  Parts<T> roots;       // odd radix: [k - 1][j - 1], (cos, sin) of jk / radix
};

template <typename T>
struct Plan {
  int64_t n;
  std::vector<Pass<T>> passes;
  // Bluestein: the transform of power-of-two length, the chirp, and the transformed conjugate chirp.
  std::shared_ptr<const Plan> longer;
  Parts<T> chirp, response;
  // How many elements' worth of passes a line is.
  int64_t work() const { return longer ? 3 * longer->n : n; }
};

// W(k, n) for k = 0 ... count - 1.
template <typename T>
Parts<T> turns(int64_t n, int64_t count);

// Of a length >= 1, kept for the next call.
template <typename T>
std::shared_ptr<const Plan<T>> plan(int64_t n);

// The factors that a real transform of even length n needs after or before: W(k, n), k = 0 ... n / 2, kept too.
template <typename T>
std::shared_ptr<const Parts<T>> real_turns(int64_t n);

}  // namespace portable::fourier
