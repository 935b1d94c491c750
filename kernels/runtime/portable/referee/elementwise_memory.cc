// Elements in memory.
#include "referee/elementwise_step.h"

namespace referee {
namespace {

template <typename T>
T load(const void* memory, int64_t place) {
  T value;
  std::memcpy(&value, static_cast<const char*>(memory) + place * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void store(void* memory, int64_t place, T value) {
  std::memcpy(static_cast<char*>(memory) + place * sizeof(T), &value, sizeof(T));
}

}  // namespace

int64_t format_of(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::F32:
      return binary32_format;
    case ffi::DataType::F64:
      return binary64_format;
    case ffi::DataType::BF16:
      return bfloat16_format;
    case ffi::DataType::F16:
      return binary16_format;
    case ffi::DataType::PRED:
      return boolean;
    case ffi::DataType::S8:
      return int8;
    case ffi::DataType::U8:
      return uint8;
    case ffi::DataType::S16:
      return int16;
    case ffi::DataType::U16:
      return uint16;
    case ffi::DataType::S32:
      return int32;
    case ffi::DataType::U32:
      return uint32;
    case ffi::DataType::S64:
      return int64;
    default:
      return uint64;
  }
}

Element read(const void* memory, int64_t format, int64_t place) {
  Element out;
  switch (format) {
    case binary32_format:
      out.number = load<float>(memory, place);
      break;
    case binary64_format:
      out.number = load<double>(memory, place);
      break;
    case bfloat16_format:
      out.number = from_bfloat16(load<uint16_t>(memory, place));
      break;
    case binary16_format:
      out.number = from_binary16(load<uint16_t>(memory, place));
      break;
    case int8:
      out.word = static_cast<uint64_t>(load<int8_t>(memory, place));
      break;
    case int16:
      out.word = static_cast<uint64_t>(load<int16_t>(memory, place));
      break;
    case int32:
      out.word = static_cast<uint64_t>(load<int32_t>(memory, place));
      break;
    case boolean:
    case uint8:
      out.word = load<uint8_t>(memory, place);
      break;
    case uint16:
      out.word = load<uint16_t>(memory, place);
      break;
    case uint32:
      out.word = load<uint32_t>(memory, place);
      break;
    default:
      out.word = load<uint64_t>(memory, place);
  }
  return out;
}

void write(void* memory, int64_t format, int64_t place, Element element) {
  switch (format) {
    case binary32_format:
      return store(memory, place, one_nan(static_cast<float>(element.number)));
    case binary64_format:
      return store(memory, place, one_nan(element.number));
    case bfloat16_format:
      return store(memory, place, to_bfloat16(static_cast<float>(element.number)));
    case binary16_format:
      return store(memory, place, to_binary16(static_cast<float>(element.number)));
    case boolean:
    case int8:
    case uint8:
      return store(memory, place, static_cast<uint8_t>(element.word));
    case int16:
    case uint16:
      return store(memory, place, static_cast<uint16_t>(element.word));
    case int32:
    case uint32:
      return store(memory, place, static_cast<uint32_t>(element.word));
    default:
      return store(memory, place, element.word);
  }
}

}  // namespace referee
