// Angles so large that the quarter turns in them need many digits of 2/π (docs/numerics/elementwise.md, E6).
#pragma once

#include "native/bits.h"

namespace portable {

// x = (quadrant + high + low)·π/2, where |high + low| <= 1/2 and only quadrant mod 4 is known.
struct Turn {
  double high, low;
  uint64_t quadrant;
};

// The first 1280 binary digits of 2/π after the point, and 64 zeros before them.
inline constexpr uint64_t kTwoOverPiDigits[] = {
    0x0000000000000000, 0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561, 0xb7246e3a424dd2e0,
    0x06492eea09d1921c, 0xfe1deb1cb129a73e, 0xe88235f52ebb4484, 0xe99c7026b45f7e41, 0x3991d639835339f4,
    0x9c845f8bbdf9283b, 0x1ff897ffde05980f, 0xef2f118b5a0a6d1f, 0x6d367ecf27cb09b7, 0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b, 0x3d0739f78a5292ea, 0x6bfb5fb11f8d5d08, 0x56033046fc7b6bab, 0xf0cfbc209af4361d};

// The whole number v·2^e to the nearest, ties to even; v < 2^128.
inline double rounded(unsigned __int128 v, int e) {
  if (v == 0) return 0.0;
  const int width = v >> 64 ? 128 - __builtin_clzll(static_cast<uint64_t>(v >> 64))
                            : 64 - __builtin_clzll(static_cast<uint64_t>(v));
  uint64_t m = static_cast<uint64_t>(v);
  if (width > 53) {
    const int drop = width - 53;
    m = static_cast<uint64_t>(v >> drop);
    const unsigned __int128 rest = v & ((static_cast<unsigned __int128>(1) << drop) - 1);
    const unsigned __int128 half = static_cast<unsigned __int128>(1) << (drop - 1);
    m += rest > half || (rest == half && (m & 1));
    e += drop;
  }
  return static_cast<double>(m) * to_value(static_cast<uint64_t>(e + 1023) << 52);
}

// Of a finite |x| >= 1.
inline Turn far_angle(double x) {
  using Wide = unsigned __int128;
  const uint64_t word = to_word(x) & ~kSignBit<double>;
  const uint64_t m = (word & 0xfffffffffffff) | 0x10000000000000;
  const int e = static_cast<int>(word >> 52) - 1075;  // |x| = m·2^e
  // Digit i weighs 2^-i; up to i = e - 2, m·2^(e-i) is a multiple of four. The next 192 digits are used.
  uint64_t digits[3];
  for (int i = 0; i < 3; ++i) {
    const int first = e - 2 + 64 + 64 * i, at = first / 64, shift = first % 64;
    digits[i] = kTwoOverPiDigits[at] << shift | (shift > 0 ? kTwoOverPiDigits[at + 1] >> (64 - shift) : 0);
  }
  // The product modulo four: two bits before the point and 190 after it, then those 190 and two zeros.
  const Wide low = static_cast<Wide>(m) * digits[2];
  const Wide middle = static_cast<Wide>(m) * digits[1] + static_cast<uint64_t>(low >> 64);
  const uint64_t high = m * digits[0] + static_cast<uint64_t>(middle >> 64);
  uint64_t part[3] = {high << 2 | static_cast<uint64_t>(middle) >> 62,
                      static_cast<uint64_t>(middle) << 2 | static_cast<uint64_t>(low) >> 62,
                      static_cast<uint64_t>(low) << 2};
  const bool up = part[0] >> 63;  // to the nearest
  uint64_t quadrant = (high >> 62) + up;
  if (up) {
    bool carry = true;
    for (int i = 2; i >= 0; --i) {
      part[i] = ~part[i] + carry;
      carry = carry && part[i] == 0;
    }
  }
  int exponent = 0;
  while (part[0] == 0 && (part[1] | part[2]) != 0) {
    part[0] = part[1];
    part[1] = part[2];
    part[2] = 0;
    exponent -= 64;
  }
  if (part[0] == 0) return {0.0, 0.0, to_word(x) >> 63 ? -quadrant : quadrant};
  const int shift = __builtin_clzll(part[0]);
  Wide v = static_cast<Wide>(part[0]) << 64 | part[1];
  if (shift > 0) v = v << shift | part[2] >> (64 - shift);
  const int scale = exponent - shift - 128;  // the fraction is v·2^scale
  const double top = rounded(v, scale);
  const Wide kept = static_cast<Wide>(to_word(top) << 11 | uint64_t{1} << 63);  // its 53 bits at the top of 64
  // rounding up to a power of two takes the exponent along
  const bool carried = static_cast<int>(to_word(top) >> 52) - 1023 == scale + 128;
  double rest;
  if (carried) {
    rest = -rounded(-v, scale);
  } else {
    const Wide whole = kept << 64;
    rest = v >= whole ? rounded(v - whole, scale) : -rounded(whole - v, scale);
  }
  const bool negative = (to_word(x) >> 63) != up;
  return {negative ? -top : top, negative ? -rest : rest, to_word(x) >> 63 ? -quadrant : quadrant};
}

}  // namespace portable
