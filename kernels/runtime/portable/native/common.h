// What every native operation shares: the floating-point environment, work over XLA's own threads, canonical NaN.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "call.h"

namespace portable {

namespace ffi = ::call;

// XLA runs its threads with subnormals flushed to zero (MXCSR 0x9fe2 measured inside a call). The specification has
// gradual underflow and rounding to nearest, so every function that computes holds one of these on its thread.
class Ieee {
 public:
  Ieee() : before_(get()) { set(kDefault); }
  ~Ieee() { set(before_); }
  Ieee(const Ieee&) = delete;
  Ieee& operator=(const Ieee&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kDefault = 0x1f80;  // all exceptions masked, to nearest, FTZ and DAZ off
  static uint64_t get() { return _mm_getcsr(); }
  static void set(uint64_t word) { _mm_setcsr(static_cast<unsigned>(word)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kDefault = 0;  // to nearest, FZ and FZ16 off, DN off
  static uint64_t get() {
    uint64_t word;
    asm volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void set(uint64_t word) { asm volatile("msr fpcr, %0" ::"r"(word)); }
#else
#error "no such processor in the specification's floor"
#endif
  uint64_t before_;
};

// parallel() of any work, of which this is compiled once (native/shared/parallel.cc).
void parallel_pieces(const ffi::ThreadPool& pool, int64_t count, int64_t grain,
                     void (*call)(const void* work, int64_t begin, int64_t end), const void* work);

// Calls work(begin, end) over [0, count) in pieces of `grain`, on XLA's threads and on this one. The caller takes
// pieces too, so that it never waits for a thread which waits for it. Which thread takes which piece is not fixed:
// `work` must give the same bits however the range is cut.
template <typename Work>
void parallel(const ffi::ThreadPool& pool, int64_t count, int64_t grain, const Work& work) {
  const auto call = [](const void* one, int64_t begin, int64_t end) { (*static_cast<const Work*>(one))(begin, end); };
  parallel_pieces(pool, count, grain, call, &work);
}

// The one NaN that results have: quiet, positive, no payload.
inline constexpr uint32_t kNan32 = 0x7fc00000;
inline constexpr uint64_t kNan64 = 0x7ff8000000000000;
inline constexpr uint16_t kNanHalf = 0x7e00;
inline constexpr uint16_t kNanBfloat = 0x7fc0;

inline float canonical(float x) {
  if (x == x) return x;
  float nan;
  std::memcpy(&nan, &kNan32, sizeof nan);
  return nan;
}
inline double canonical(double x) {
  if (x == x) return x;
  double nan;
  std::memcpy(&nan, &kNan64, sizeof nan);
  return nan;
}

}  // namespace portable
