// Memory that a thread keeps from call to call: fresh pages for every packed panel cost more than packing (a page
// fault per 4 KiB; 5 % of a product of 512).
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace portable {

enum class Slot { kLeft, kRight, kRows, kSums, kTotals, kInput };

// At least `count` elements at a cache line, the same ones for the same slot and thread; kInput is the caller's own
// and lives through its parallel() calls, the others belong to one piece of work.
template <typename T, Slot kSlot>
T* scratch(size_t count) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t held = 0;
  const size_t bytes = (count * sizeof(T) + 4095) / 4096 * 4096;
  if (bytes > held) {
    memory.reset();
    memory.reset(std::aligned_alloc(64, bytes));
    held = memory ? bytes : 0;
    if (!memory) std::abort();  // as XLA does when memory ends
  }
  return static_cast<T*>(memory.get());
}

}  // namespace portable
