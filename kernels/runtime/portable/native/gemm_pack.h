// Panels for the kernel, out of operands of any layout: the strides are followed here, so nothing is ever transposed
// in memory first.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "native/gemm.h"
#include "native/gemm_scratch.h"
#include "native/narrow.h"
#include "native/simd.h"

namespace portable {

// Which part of an operand a panel holds: lanes [begin, begin + width) of its free places, [inner_begin, inner_end) of
// its inner ones, of the batch element at `origin`.
struct Part {
  int64_t origin, begin, width, inner_begin, inner_end;
};

// out[k * kWidth + lane] = rows[lane][k], for at least kSteps k. Writes up to kLanes elements past the last row of
// `out`.
template <typename T, int kWidth>
void transpose_rows(const T* const* rows, int64_t count, T* out) {
  using S = Simd<T>;
  constexpr int kGroups = (kWidth + S::kLanes - 1) / S::kLanes;
  const auto step = [rows, out](int64_t k) {
    // From the last group down: it spills into the next row's first lanes, which are written after it.
    for (int g = kGroups - 1; g >= 0; --g) {
      typename S::V lanes[S::kSteps];
      S::transpose(rows + g * S::kLanes, k, lanes);
      for (int s = 0; s < S::kSteps; ++s) S::store(out + (k + s) * kWidth + g * S::kLanes, lanes[s]);
    }
  };
  int64_t k = 0;
  for (; k + S::kSteps <= count; k += S::kSteps) step(k);
  if (k < count) step(count - S::kSteps);  // the last ones once more, rather than one by one
}

// The runs of a panel's lanes.
template <int kWidth>
struct Runs {
  int64_t starts[kWidth], lengths[kWidth];
  int64_t count = 0;

  Runs(const Table& free, int64_t begin, int64_t width) {
    for (int64_t at = begin; at < begin + width; ++count) {
      starts[count] = free[at];
      lengths[count] = std::min(free.run(at), begin + width - at);
      at += lengths[count];
    }
  }
};

// Lanes that follow one another, in one run or more: a row is copied run by run. Whole registers are stored, so that a
// run spills into what is written after it.
template <typename T, typename S, int kWidth>
void pack_runs(const S* data, const Table& inner, const Part& part, const Runs<kWidth>& runs, T* out) {
  using Vector = Simd<T>;
  if (runs.count == 1 && part.width == kWidth) {
    data += runs.starts[0];
    for (int64_t k = part.inner_begin; k < part.inner_end; ++k, out += kWidth) widen(data + inner[k], kWidth, out);
    return;
  }
  for (int64_t k = part.inner_begin; k < part.inner_end; ++k, out += kWidth) {
    T* to = out;
    for (int64_t i = 0; i < runs.count; ++i) {
      const S* from = data + runs.starts[i] + inner[k];
      if constexpr (std::is_same_v<T, S>) {
        int64_t at = 0;
        for (; at + Vector::kLanes <= runs.lengths[i]; at += Vector::kLanes) {
          Vector::store(to + at, Vector::load(from + at));
        }
        if (at < runs.lengths[i]) Vector::store(to + at, Vector::load_part(from + at, runs.lengths[i] - at));
      } else {
        widen(from, runs.lengths[i], to);
      }
      to += runs.lengths[i];
    }
    std::fill(out + part.width, out + kWidth, T{0});
  }
}

template <typename T, typename S, int kWidth>
void pack_from(const S* data, const Operand& operand, const Part& part, T* out) {
  constexpr int kPadded = (kWidth + Simd<T>::kLanes - 1) / Simd<T>::kLanes * Simd<T>::kLanes;
  data += part.origin;
  const Table& inner = operand.inner;
  const Runs<kWidth> runs(operand.free, part.begin, part.width);
  // Where both ways follow in memory, the longer one is copied.
  const bool deep = inner.size() > 0 && inner.run(part.inner_begin) >= Simd<T>::kSteps;
  if (runs.count == 1 ? part.width >= Simd<T>::kSteps || !deep : runs.count * 8 <= kWidth && !deep) {
    pack_runs<T, S, kWidth>(data, inner, part, runs, out);
    return;
  }
  const S* lanes[kPadded];
  for (int lane = 0; lane < kPadded; ++lane) {
    lanes[lane] = data + operand.free[part.begin + (lane < part.width ? lane : 0)];
  }
  for (int64_t k = part.inner_begin; k < part.inner_end;) {
    const int64_t count = std::min(inner.run(k), part.inner_end - k);
    if (count < Simd<T>::kSteps) {
      for (int64_t i = 0; i < count; ++i, out += kWidth) {
        for (int lane = 0; lane < kWidth; ++lane) out[lane] = static_cast<T>(load(lanes[lane][inner[k + i]]));
      }
    } else {
      const T* rows[kPadded];
      if constexpr (std::is_same_v<T, S>) {
        for (int lane = 0; lane < kPadded; ++lane) rows[lane] = lanes[lane] + inner[k];
      } else {
        T* wide = scratch<T, Slot::kRows>(kWidth * count);
        for (int lane = 0; lane < kWidth; ++lane) widen(lanes[lane] + inner[k], count, wide + lane * count);
        for (int lane = 0; lane < kPadded; ++lane) rows[lane] = wide + (lane < kWidth ? lane : 0) * count;
      }
      transpose_rows<T, kWidth>(rows, count, out);
      out += count * kWidth;
    }
    k += count;
  }
}

// `out` has room for a panel of kWidth lanes and one register more.
template <typename T, int kWidth>
void pack(const Operand& operand, const Part& part, T* out) {
  switch (operand.format) {
    case Format::kFloat:
      return pack_from<T, float, kWidth>(static_cast<const float*>(operand.data), operand, part, out);
    case Format::kBfloat:
      return pack_from<T, Bfloat, kWidth>(static_cast<const Bfloat*>(operand.data), operand, part, out);
    case Format::kHalf:
      return pack_from<T, Half, kWidth>(static_cast<const Half*>(operand.data), operand, part, out);
    case Format::kDouble:
      if constexpr (std::is_same_v<T, double>) {
        return pack_from<T, double, kWidth>(static_cast<const double*>(operand.data), operand, part, out);
      }
  }
}

}  // namespace portable
