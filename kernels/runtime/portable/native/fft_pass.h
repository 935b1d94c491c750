// The passes of a transform over several lines at once: element i of line l is at i lines + l, real and imaginary
// parts apart, so that the lines are only a longer innermost run.
#pragma once

#include <cstdint>

#include "native/fft_plan.h"

namespace portable::fourier {

// Data, and room of the same size to which a pass moves it: run_passes exchanges the two.
template <typename T>
struct Lines {
  T *re, *im;
  T *spare_re, *spare_im;
  int64_t count;  // of lines
};

// F, in place up to the exchange with the spare room; not for a plan with `longer`.
template <typename T>
void run_passes(const Plan<T>& plan, Lines<T>& lines);

}  // namespace portable::fourier
