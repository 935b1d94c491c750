// The functions of binary32 (docs/numerics/elementwise.md, E6), one element at a time, in the page's own words.
#pragma once

#include <cstdint>

namespace referee {

// The binary64 that is rounded to the result. Null for a number that is no function's.
using Function = double (*)(double x, double y);
Function function(int64_t number);

}  // namespace referee
