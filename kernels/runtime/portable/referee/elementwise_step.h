// One element of one operation (docs/numerics/elementwise.md, E1 to E7).
#pragma once

#include <cstdint>
#include <vector>

#include "referee/common.h"

namespace referee {

// The numbers of formats in a program.
enum Format : int64_t {
  binary32_format,
  binary64_format,
  bfloat16_format,
  binary16_format,
  boolean,
  int8,
  uint8,
  int16,
  uint16,
  int32,
  uint32,
  int64,
  uint64,
};

// A float's value, of whatever format; or an integer's or a boolean's word, widened by its sign.
struct Element {
  double number = 0;
  uint64_t word = 0;
};

struct Step {
  int64_t operation, operand, result, parameter;  // operand and result are formats
};

int64_t format_of(ffi::DataType type);
Element read(const void* memory, int64_t format, int64_t place);
void write(void* memory, int64_t format, int64_t place, Element element);

bool is_reduction(int64_t operation);
Element reduce(const Step& step, const std::vector<Element>& elements);

// False for an operation that there is not.
bool apply(const Step& step, const std::vector<Element>& arguments, Element& out);

}  // namespace referee
