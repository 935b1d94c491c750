#include "native/fft_plan.h"

#include <map>
#include <mutex>

#include "native/common.h"
#include "native/fft_angle.h"
#include "native/fft_pass.h"

namespace portable::fourier {
namespace {

constexpr int64_t kLargestRadix = 61;

std::vector<int64_t> factors(int64_t n) {
  std::vector<int64_t> found;
  for (; n % 4 == 0; n /= 4) found.push_back(4);
  for (int64_t p = 2; p * p <= n; ++p)
    for (; n % p == 0; n /= p) found.push_back(p);
  if (n > 1) found.push_back(n);
  return found;
}

template <typename T>
Pass<T> make_pass(int64_t radix, int64_t m, int64_t s) {
  Pass<T> pass{radix, m, s, {}, {}, {}};
  pass.turns.resize((radix - 1) * m);
  for (int64_t k = 1; k < radix; ++k)
    for (int64_t p = 0; p < m; ++p) {
      const Angle a = angle(p * k, m * radix);
      pass.turns.re[(k - 1) * m + p] = static_cast<T>(a.cos);
      pass.turns.im[(k - 1) * m + p] = static_cast<T>(-a.sin);
    }
  if (s < kNarrow) {
    pass.spread.resize((radix - 1) * m * s);
    for (int64_t i = 0; i < (radix - 1) * m * s; ++i) {
      pass.spread.re[i] = pass.turns.re[i / s];
      pass.spread.im[i] = pass.turns.im[i / s];
    }
  }
  if (radix % 2 == 1) {
    const int64_t half = (radix - 1) / 2;
    pass.roots.resize(half * half);
    for (int64_t k = 1; k <= half; ++k)
      for (int64_t j = 1; j <= half; ++j) {
        const Angle a = angle(j * k % radix, radix);
        pass.roots.re[(k - 1) * half + j - 1] = static_cast<T>(a.cos);
        pass.roots.im[(k - 1) * half + j - 1] = static_cast<T>(a.sin);
      }
  }
  return pass;
}

template <typename T>
void make_bluestein(Plan<T>& made) {
  const int64_t n = made.n;
  int64_t size = 1;
  while (size < 2 * n - 1) size *= 2;
  made.longer = plan<T>(size);
  made.chirp.resize(n);
  Parts<T>& h = made.response;
  h.resize(size);
  uint64_t square = 0;  // k k mod 2n, by steps of 2k + 1
  for (int64_t k = 0; k < n; ++k) {
    const Angle a = angle(static_cast<int64_t>(square), 2 * n);
    made.chirp.re[k] = static_cast<T>(a.cos);
    made.chirp.im[k] = static_cast<T>(-a.sin);
    for (int64_t at : {k, (size - k) % size}) {
      h.re[at] = made.chirp.re[k];
      h.im[at] = -made.chirp.im[k];
    }
    square = (square + 2 * k + 1) % (2 * n);
  }
  std::vector<T> spare(2 * size);
  Lines<T> lines{h.re.data(), h.im.data(), spare.data(), spare.data() + size, 1};
  run_passes(*made.longer, lines);
  if (lines.re != h.re.data()) {
    std::copy(lines.re, lines.re + size, h.re.begin());
    std::copy(lines.im, lines.im + size, h.im.begin());
  }
}

template <typename T>
std::shared_ptr<const Plan<T>> make_plan(int64_t n) {
  Ieee ieee;
  auto made = std::make_shared<Plan<T>>();
  made->n = n;
  const std::vector<int64_t> radices = factors(n);
  if (!radices.empty() && radices.back() > kLargestRadix) {
    make_bluestein(*made);
    return made;
  }
  int64_t s = 1;
  for (int64_t radix : radices) {
    made->passes.push_back(make_pass<T>(radix, n / (s * radix), s));
    s *= radix;
  }
  return made;
}

// What was made, by length; forgotten, all of it, when it holds too much.
template <typename Made>
class Kept {
 public:
  template <typename Make>
  std::shared_ptr<const Made> get(int64_t n, const Make& make) {
    {
      std::lock_guard<std::mutex> hold(mutex_);
      const auto found = made_.find(n);
      if (found != made_.end()) return found->second;
    }
    std::shared_ptr<const Made> made = make(n);  // unlocked: a Bluestein plan asks for another one
    std::lock_guard<std::mutex> hold(mutex_);
    held_ += n;
    if (held_ > kMost) {
      made_.clear();
      held_ = n;
    }
    made_[n] = made;
    return made;
  }

 private:
  static constexpr int64_t kMost = int64_t{1} << 21;  // elements: some 64 MiB of factors
  std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<const Made>> made_;
  int64_t held_ = 0;
};

}  // namespace

template <typename T>
Parts<T> turns(int64_t n, int64_t count) {
  Parts<T> made;
  made.resize(count);
  for (int64_t k = 0; k < count; ++k) {
    const Angle a = angle(k, n);
    made.re[k] = static_cast<T>(a.cos);
    made.im[k] = static_cast<T>(-a.sin);
  }
  return made;
}

template <typename T>
std::shared_ptr<const Plan<T>> plan(int64_t n) {
  static Kept<Plan<T>> kept;
  return kept.get(n, make_plan<T>);
}

template <typename T>
std::shared_ptr<const Parts<T>> real_turns(int64_t n) {
  static Kept<Parts<T>> kept;
  return kept.get(n, [](int64_t length) {
    Ieee ieee;
    return std::make_shared<const Parts<T>>(turns<T>(length, length / 2 + 1));
  });
}

template std::shared_ptr<const Plan<float>> plan<float>(int64_t);
template std::shared_ptr<const Plan<double>> plan<double>(int64_t);
template std::shared_ptr<const Parts<float>> real_turns<float>(int64_t);
template std::shared_ptr<const Parts<double>> real_turns<double>(int64_t);

}  // namespace portable::fourier
