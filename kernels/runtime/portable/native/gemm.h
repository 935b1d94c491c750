// Contractions as the chain of docs/numerics/contraction.md: what dot.cc and conv.cc state, and gemm.cc computes.
#pragma once

#include <cstdint>
#include <vector>

#include "native/common.h"

namespace portable {

enum class Format { kFloat, kDouble, kBfloat, kHalf };

// Places of elements along one group of dimensions, in order, relative to each other.
class Table {
 public:
  Table() : places_{0} {}

  // Refines every place by one more, faster dimension.
  void append(int64_t size, int64_t stride);
  // Finds the runs; to be called once after the last append.
  void seal();

  int64_t size() const { return static_cast<int64_t>(places_.size()); }
  int64_t operator[](int64_t i) const { return places_[i]; }
  const int64_t* at(int64_t i) const { return places_.data() + i; }
  // How many elements from i on follow one another in memory.
  int64_t run(int64_t i) const {
    if (even_) return stride_ == 1 ? size() - i : 1;
    return runs_[i];
  }
  bool unit() const { return size() == 0 || run(0) == size(); }

 private:
  std::vector<int64_t> places_;
  std::vector<int64_t> runs_;  // empty if even_
  bool even_ = true;           // all places are stride_ apart
  int64_t stride_ = 1;
};

struct Operand {
  const void* data;
  Format format;
  Table batch;  // batch elements, or groups
  Table free;   // rows of the left one, columns of the right one
  Table inner;  // what is contracted, in the order of the chain
};

struct Result {
  void* data;
  Format format;
  Table batch;
  Table rows;
  Table columns;
};

// One chain per element of `result`: lhs and rhs at (batch, row or column, inner).
struct Contraction {
  Operand lhs;
  Operand rhs;
  Result result;
};

// Computes in T: binary64 if any of the three formats is, else binary32 (C1). Seals the tables.
template <typename T>
void contract(ffi::ThreadPool& pool, Contraction& problem);

extern template void contract<float>(ffi::ThreadPool&, Contraction&);
extern template void contract<double>(ffi::ThreadPool&, Contraction&);

}  // namespace portable
