// What every native operation shares: the floating-point environment, work over XLA's own threads, canonical NaN.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "xla/ffi/api/ffi.h"

// PORTABLE_EXPORT(dot, Dot, ffi::Ffi::Bind()...) makes the handler `dot` of the function Dot. Everything else of a
// library is hidden (-fvisibility=hidden), so that two levels loaded into one process share nothing.
#define PORTABLE_EXPORT(name, ...)                           \
  extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* name(XLA_FFI_CallFrame*);         \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, __VA_ARGS__)

namespace portable {

namespace ffi = xla::ffi;

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

// Calls work(begin, end) over [0, count) in pieces of `grain`, on XLA's threads and on this one. The caller takes
// pieces too, so that it never waits for a thread which waits for it. Which thread takes which piece is not fixed:
// `work` must give the same bits however the range is cut.
template <typename Work>
void parallel(ffi::ThreadPool& pool, int64_t count, int64_t grain, const Work& work) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t pieces = (count + grain - 1) / grain;
  const int64_t helpers = std::min<int64_t>(pieces, pool.num_threads()) - 1;
  if (helpers <= 0) {
    Ieee ieee;
    if (count > 0) work(int64_t{0}, count);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable finished;
  };
  auto shared = std::make_shared<Shared>();
  auto take = [shared, pieces, grain, count, &work] {
    int64_t mine = 0;
    for (;;) {
      const int64_t piece = shared->next.fetch_add(1);
      if (piece >= pieces) break;
      Ieee ieee;
      work(piece * grain, std::min(count, (piece + 1) * grain));  // alive: the caller waits for every piece taken
      ++mine;
    }
    if (mine > 0) {
      std::lock_guard<std::mutex> hold(shared->mutex);
      shared->done += mine;
      if (shared->done == pieces) shared->finished.notify_all();
    }
  };
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(take)(take));  // Schedule takes only temporaries
  take();
  std::unique_lock<std::mutex> hold(shared->mutex);
  shared->finished.wait(hold, [&] { return shared->done == pieces; });
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
