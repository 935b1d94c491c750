// Elementwise programs (docs/numerics/elementwise.md), one operation after another over whole arrays, one element at a
// time. Of the two attributes only `program` is read: it has no blocks and no registers.
#include <vector>

#include "referee/common.h"
#include "referee/elementwise_step.h"

namespace referee {
namespace {

class Words {
 public:
  explicit Words(ffi::Span<const int64_t> words) : at_(words.begin()) {}
  int64_t next() { return *at_++; }
  std::vector<int64_t> several(int64_t count) {
    std::vector<int64_t> out(count);
    for (int64_t& each : out) each = next();
    return out;
  }

 private:
  const int64_t* at_;
};

int64_t product(std::vector<int64_t>::const_iterator begin, std::vector<int64_t>::const_iterator end) {
  int64_t out = 1;
  for (; begin != end; ++begin) out *= *begin;
  return out;
}

// A value is one element for each of the program's, or for each of its rows.
struct Value {
  std::vector<Element> elements;
  bool row = false;
};

ffi::Error Run(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> program,
               ffi::Span<const int64_t> /*schedule*/) {
  const Arithmetic ieee;
  Words words(program);
  const int64_t axes = words.next(), leading = words.next();
  const std::vector<int64_t> shape = words.several(axes);
  const int64_t rows = product(shape.begin(), shape.begin() + leading);
  const int64_t length = product(shape.begin() + leading, shape.end());
  const int64_t width = std::max<int64_t>(length, 1);  // rows without elements still have a value each
  const int64_t count = rows * width;
  std::vector<Value> values;

  const int64_t operands = words.next();
  for (int64_t k = 0; k < operands; ++k) {
    const int64_t format = words.next();
    const std::vector<int64_t> strides = words.several(axes);
    const ffi::AnyBuffer buffer = args[k];
    Value value;
    for (int64_t i = 0; i < count; ++i) {
      int64_t offset = 0;
      for (int64_t axis = axes - 1, rest = i; axis >= 0; rest /= std::max<int64_t>(shape[axis], 1), --axis) {
        offset += rest % std::max<int64_t>(shape[axis], 1) * strides[axis];
      }
      const bool there = buffer.element_count() > 0;
      value.elements.push_back(there ? read(buffer.untyped_data(), format, offset) : Element{});
    }
    values.push_back(value);
  }

  const int64_t steps = words.next();
  for (int64_t k = 0; k < steps; ++k) {
    Step step;
    step.operation = words.next();
    step.operand = words.next();
    step.result = words.next();
    step.parameter = words.next();
    Value value;
    words.next();  // whether a machine may compute it once for each row
    value.row = words.next();
    const std::vector<int64_t> arguments = words.several(words.next());
    if (is_reduction(step.operation)) {
      const Value& of = values[arguments[0]];
      for (int64_t row = 0; row < rows; ++row) {
        std::vector<Element> elements;
        for (int64_t i = 0; i < length; ++i) elements.push_back(of.elements[of.row ? row : row * width + i]);
        value.elements.push_back(reduce(step, elements));
      }
    } else {
      for (int64_t i = 0; i < (value.row ? rows : count); ++i) {
        std::vector<Element> elements;
        for (int64_t argument : arguments) {
          const Value& of = values[argument];
          // an operand that does not vary within a row is the same wherever in the row it is read
          const int64_t place = value.row ? (of.row ? i : i * width) : (of.row ? i / width : i);
          elements.push_back(of.elements[place]);
        }
        Element out;
        if (!apply(step, elements, out)) return ffi::Error::InvalidArgument("the program has an unknown operation");
        value.elements.push_back(out);
      }
    }
    values.push_back(value);
  }

  const std::vector<int64_t> results = words.several(words.next());
  for (size_t k = 0; k < results.size(); ++k) {
    const ffi::AnyBuffer buffer = rets[k];
    const Value& value = values[results[k]];
    const int64_t format = format_of(buffer.element_type());
    const int64_t asked = static_cast<int64_t>(buffer.element_count());
    for (int64_t i = 0; i < asked; ++i) write(buffer.untyped_data(), format, i, value.elements[i]);
  }
  return ffi::Error::Success();
}

}  // namespace
}  // namespace referee

CALL_EXPORT(fused, referee::Run, "program", "schedule")
