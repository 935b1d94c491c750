// A float's bits and back.
#pragma once

#include <cstdint>
#include <cstring>

namespace portable {

template <typename T>
struct WordOf;
template <>
struct WordOf<float> {
  using type = uint32_t;
};
template <>
struct WordOf<double> {
  using type = uint64_t;
};
template <typename T>
using Word = typename WordOf<T>::type;

inline uint32_t to_word(float x) {
  uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}
inline uint64_t to_word(double x) {
  uint64_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}
inline float to_value(uint32_t word) {
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}
inline double to_value(uint64_t word) {
  double x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

template <typename T>
inline constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
template <typename T>
inline constexpr Word<T> kSignBit = Word<T>{1} << (8 * sizeof(T) - 1);
template <typename T>
inline constexpr Word<T> kInfinity = sizeof(T) == 4 ? Word<T>{0x7f800000} : static_cast<Word<T>>(0x7ff0000000000000);

}  // namespace portable
