// What the special functions of docs/numerics/special.md share.
#pragma once

#include "referee/elementwise_functions.h"
#include "referee/elementwise_pair.h"

namespace referee {

Pair gamma(double a);

// E9
Function iterated_function(int64_t number);
double regularized_incomplete_beta(double a, double b, double x);

}  // namespace referee
