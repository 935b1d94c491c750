// Places of elements, by strides.
#include "native/gemm.h"

namespace portable {

void Table::append(int64_t size, int64_t stride) {
  if (size == 1) return;
  std::vector<int64_t> refined;
  refined.reserve(places_.size() * size);
  for (const int64_t place : places_) {
    for (int64_t i = 0; i < size; ++i) refined.push_back(place + i * stride);
  }
  places_ = std::move(refined);
}

void Table::seal() {
  runs_.assign(places_.size(), 1);
  for (int64_t i = size() - 2; i >= 0; --i) {
    if (places_[i + 1] == places_[i] + 1) runs_[i] = runs_[i + 1] + 1;
  }
}

}  // namespace portable
