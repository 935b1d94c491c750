// The levels of C2's sum (docs/numerics/contraction.md): a chain of fma within a block of pairs, blocks added up to a
// panel's sum, panels to a span's, and spans to the result.
#pragma once

#include <cstdint>

namespace portable {

inline constexpr int64_t kBlock = 32;           // pairs of a block, one chain
inline constexpr int64_t kPanel = 8 * kBlock;   // pairs of a panel
inline constexpr int64_t kSpan = 32 * kPanel;   // pairs of a span

template <typename T>
struct Scalar {
  using V = T;
};

// What becomes of the chains of one result element (of a Scalar), or of a register of them (of a Simd), which are of
// kBlock pairs each but the last one.
template <typename Of>
class BlockSum {
  using V = typename Of::V;

 public:
  // `end`: how many pairs are in, with this block's.
  void add(V chain, int64_t end) {
    panel_ = panel_ + chain;
    if (end % kPanel != 0) return;
    span_ = span_ + panel_;
    panel_ = V{};
    if (end % kSpan != 0) return;
    total_ = total_ + span_;
    span_ = V{};
  }
  V value() const { return total_ + (span_ + panel_); }  // what is empty is +0, and no sum is -0

 private:
  V panel_{}, span_{}, total_{};
};

}  // namespace portable
