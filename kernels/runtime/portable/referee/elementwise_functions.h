// The functions of binary32 (docs/numerics/elementwise.md, E6 and E7), one element at a time, in the page's own words.
#pragma once

#include <cstdint>

namespace referee {

// The binary64 that is rounded to the result. Null for a number that is no function's.
using Function = double (*)(double x, double y);
Function function(int64_t number);

// The functions of binary64 (E7).
Function function64(int64_t number);

// The special functions (docs/numerics/special.md).
Function special_function(int64_t number);

// Of E6, for the others: cbrt before it is rounded, far_angle, and two parts.
double cbrt32(double x);
void far_angle(double x, double& high, double& low, uint64_t& q);
double log_inside(double x);
double reciprocal(double d);

}  // namespace referee
