// Places of elements, by strides.
#include "native/gemm.h"

namespace portable {

void Table::append(int64_t size, int64_t stride) {
  if (size == 1) return;
  even_ = this->size() == 1 || (even_ && stride_ == size * stride);
  stride_ = stride;
  std::vector<int64_t> refined(places_.size() * size);
  int64_t* to = refined.data();
  for (const int64_t place : places_) {
    for (int64_t i = 0; i < size; ++i) to[i] = place + i * stride;
    to += size;
  }
  places_ = std::move(refined);
}

void Table::seal() {
  if (even_) return;
  runs_.assign(places_.size(), 1);
  for (int64_t i = size() - 2; i >= 0; --i) {
    if (places_[i + 1] == places_[i] + 1) runs_[i] = runs_[i + 1] + 1;
  }
}

}  // namespace portable
