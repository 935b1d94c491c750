// Work over XLA's own threads (native/common.h).
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>

#include "native/common.h"

namespace portable {
namespace {

// Who waits looks again so often, some microseconds in all, before it sleeps: to be woken takes longer than the last
// piece of another thread should.
constexpr int kLooks = 128;

inline void rest() {
#if defined(__x86_64__)
  _mm_pause();
#else
  asm volatile("yield");
#endif
}

// One call of parallel(). A thread may come to it when all is done and the caller gone, so the last to leave frees it.
struct Shared {
  void (*call)(const void* work, int64_t begin, int64_t end);
  const void* work;  // alive as long as there are pieces to take: the caller waits for every piece taken
  int64_t count, grain, pieces;
  std::atomic<int64_t> users{0}, next{0}, done{0};
  std::mutex mutex;
  std::condition_variable finished;

  void take() {
    int64_t mine = 0;
    for (;;) {
      const int64_t piece = next.fetch_add(1);
      if (piece >= pieces) break;
      Ieee ieee;
      call(work, piece * grain, std::min(count, (piece + 1) * grain));
      ++mine;
    }
    if (mine == 0) return;
    std::lock_guard<std::mutex> hold(mutex);
    if (done.fetch_add(mine) + mine == pieces) finished.notify_all();
  }
  void leave() {
    if (users.fetch_sub(1) == 1) delete this;
  }
};

void help(void* shared) {
  static_cast<Shared*>(shared)->take();
  static_cast<Shared*>(shared)->leave();
}

}  // namespace

void parallel_pieces(const ffi::ThreadPool& pool, int64_t count, int64_t grain,
                     void (*call)(const void* work, int64_t begin, int64_t end), const void* work) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t pieces = (count + grain - 1) / grain;
  const int64_t helpers = pieces <= 1 ? 0 : std::min<int64_t>(pieces, pool.num_threads()) - 1;
  if (helpers <= 0) {
    Ieee ieee;
    if (count > 0) call(work, 0, count);
    return;
  }
  auto* shared = new Shared;
  shared->call = call;
  shared->work = work;
  shared->count = count;
  shared->grain = grain;
  shared->pieces = pieces;
  shared->users = helpers + 1;
  for (int64_t i = 0; i < helpers; ++i) pool.schedule(help, shared);
  shared->take();
  for (int looks = 0; looks < kLooks && shared->done != pieces; ++looks) rest();
  if (shared->done != pieces) {
    std::unique_lock<std::mutex> hold(shared->mutex);
    shared->finished.wait(hold, [&] { return shared->done == pieces; });
  }
  shared->leave();
}

}  // namespace portable
