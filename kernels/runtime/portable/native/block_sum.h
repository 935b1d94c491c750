// The levels of C2's sum (docs/numerics/contraction.md): a chain of fma within a block of pairs, blocks added up to a
// group's sum, groups to the result.
#pragma once

#include <cstdint>

namespace portable {

inline constexpr int64_t kBlock = 32;           // pairs of a block, one chain
inline constexpr int64_t kGroup = 32 * kBlock;  // pairs of a group

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
    group_ = group_ + chain;
    if (end % kGroup == 0) {
      total_ = total_ + group_;
      group_ = V{};
    }
  }
  V value() const { return total_ + group_; }  // a group without blocks is +0, and no sum is -0

 private:
  V group_{}, total_{};
};

}  // namespace portable
