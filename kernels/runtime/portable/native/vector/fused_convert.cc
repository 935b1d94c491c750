// Conversions between formats, and what leaves the machine (docs/numerics/elementwise.md, E5).
#include <limits>
#include <type_traits>

#include "native/bits.h"
#include "native/common.h"
#include "native/fused_loops.h"
#include "native/lanes.h"

namespace portable::fused {
namespace {

struct Bfloat {
  uint16_t word;
};
struct Half {
  uint16_t word;
};
struct Bool {
  uint8_t word;
};

// binary64 to binary32, the last bit made odd if anything was lost: rounding that again to a narrower format is one
// rounding of the binary64.
inline float to_odd(double x) {
  const float near = static_cast<float>(x);
  const double back = near;
  const uint32_t word = to_word(near);
  // towards zero, then odd; an infinity that stands for a finite number becomes the greatest number, which is odd
  const uint32_t down = (back > x) == (word < kSignBit<float>) && back != x ? word - 1 : word;
  return back != x && x == x ? to_value(down | 1) : near;
}

inline uint16_t bfloat_word(float x) {
  const uint32_t word = to_word(x);
  const uint32_t near = (word + 0x7fff + ((word >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(x != x ? uint32_t{kNanBfloat} : near);
}

inline float widen(Bfloat x) { return to_value(static_cast<uint32_t>(x.word) << 16); }

// By integers and exact scaling: the compiler vectorises it, where the conversion instructions differ by processor.
inline float widen(Half x) {
  const uint32_t low = x.word & 0x7fffu;
  const uint32_t sign = (x.word & 0x8000u) << 16;
  const float scaled = to_value(low << 13) * 0x1p112f;  // exponents 15 and 127: rebias by 2^(127-15); exact
  const uint32_t special = (low << 13) | 0x7f800000u;
  const uint32_t word = low >= 0x7c00u ? special : to_word(scaled);
  return to_value(word | sign);
}

// Rounding to nearest even at half's last place by adding a power of two whose last place that is.
inline uint16_t half_word(float x) {
  const uint32_t low = to_word(x) & 0x7fffffffu;
  const uint32_t sign = (to_word(x) >> 16) & 0x8000u;
  const uint32_t normal = (low - (112u << 23) + 0xfffu + ((low >> 13) & 1u)) >> 13;  // a carry goes into the exponent
  const uint32_t tiny = to_word(to_value(low) + 0.5f) - 0x3f000000u;               // 0.5 has the last place 2^-24
  const uint32_t finite = low < (113u << 23) ? tiny : normal;
  const uint32_t some = low >= 0x477ff000u ? 0x7c00u : finite;  // 65520 and above
  return static_cast<uint16_t>(low > 0x7f800000u ? uint32_t{kNanHalf} : some | sign);
}

template <typename To, typename From>
inline To integer(From x) {
  constexpr From kBelow = static_cast<From>(std::numeric_limits<To>::min());  // exact: zero or a power of two
  // the first power of two above
  constexpr From kAbove = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * From(2);
  const To inside = x > kBelow && x < kAbove ? static_cast<To>(x) : To(0);
  const To low = x <= kBelow ? std::numeric_limits<To>::min() : inside;
  return x >= kAbove ? std::numeric_limits<To>::max() : low;  // NaN gives 0
}

template <typename To, typename From>
inline To convert(From x) {
  if constexpr (std::is_same_v<From, Bfloat> || std::is_same_v<From, Half>) {
    return convert<To>(widen(x));
  } else if constexpr (std::is_same_v<From, Bool>) {
    return convert<To>(static_cast<int32_t>(x.word));
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(x != From(0))};
  } else if constexpr (std::is_same_v<To, Bfloat> || std::is_same_v<To, Half>) {
    float narrow;
    if constexpr (std::is_same_v<From, float>) {
      narrow = x;
    } else {
      narrow = to_odd(static_cast<double>(x));
    }
    if constexpr (std::is_same_v<To, Bfloat>) {
      return Bfloat{bfloat_word(narrow)};
    } else {
      return Half{half_word(narrow)};
    }
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    return integer<To>(x);
  } else {
    return static_cast<To>(x);
  }
}

template <typename To, typename From>
void converted(const Call& c) {
  unary<To, From>(c, [](From x) { return convert<To>(x); });
}

template <typename From, bool integers>
Kernel from(int64_t to) {
  switch (to) {
    case kFloat:
      return converted<float, From>;
    case kDouble:
      return converted<double, From>;
    case kBfloat:
      return converted<Bfloat, From>;
    case kHalf:
      return converted<Half, From>;
    default:
      break;
  }
  if constexpr (integers) {
    switch (to) {
      case kBool:
        return converted<Bool, From>;
      case kInt8:
        return converted<int8_t, From>;
      case kUint8:
        return converted<uint8_t, From>;
      case kInt16:
        return converted<int16_t, From>;
      case kUint16:
        return converted<uint16_t, From>;
      case kInt32:
        return converted<int32_t, From>;
      case kUint32:
        return converted<uint32_t, From>;
      case kInt64:
        return converted<int64_t, From>;
      case kUint64:
        return converted<uint64_t, From>;
      default:
        break;
    }
  }
  return nullptr;
}

Kernel convert_kernel(int64_t type, int64_t to) {
  switch (type) {
    case kFloat:
      return from<float, true>(to);
    case kDouble:
      return from<double, true>(to);
    case kBfloat:
      return from<Bfloat, false>(to);
    case kHalf:
      return from<Half, false>(to);
    case kBool:
      return from<Bool, false>(to);
    case kInt8:
      return from<int8_t, false>(to);
    case kUint8:
      return from<uint8_t, false>(to);
    case kInt16:
      return from<int16_t, false>(to);
    case kUint16:
      return from<uint16_t, false>(to);
    case kInt32:
      return from<int32_t, false>(to);
    case kUint32:
      return from<uint32_t, false>(to);
    case kInt64:
      return from<int64_t, false>(to);
    case kUint64:
      return from<uint64_t, false>(to);
    default:
      return nullptr;
  }
}

template <typename T>
inline T one_nan(T x) {
  return x == x ? x : to_value(static_cast<Word<T>>(kInfinity<T> | ((kInfinity<T> >> 1) & ~kInfinity<T>)));
}

// XLA's ReducePrecision: the mantissa is rounded to nearest even; then an exponent that is too large gives infinity and
// one that is too small a zero of the same sign.
template <typename T>
inline T reduced(T x, int exponent_bits, int mantissa_bits) {
  using W = Word<T>;
  constexpr int kExponentBits = 8 * static_cast<int>(sizeof(T)) - 1 - kMantissa<T>;
  W word = to_word(x);
  const int drop = kMantissa<T> - mantissa_bits;
  const W sign = word & kSignBit<T>;
  if (drop > 0) {
    const W last = W{1} << drop;
    const W half_less = (last >> 1) - 1;
    const W even = (word >> drop) & 1;
    word = (word + half_less + even) & ~(last - 1);
  }
  if (exponent_bits < kExponentBits) {
    const W bias = (W{1} << (kExponentBits - 1)) - 1, small = (W{1} << (exponent_bits - 1)) - 1;
    const W exponent = word & kInfinity<T>;
    const W most = (bias + small) << kMantissa<T>, least = (bias - small) << kMantissa<T>;
    const W high = exponent > most ? sign | kInfinity<T> : word;
    word = exponent <= least ? sign : high;
  }
  return x != x ? x : to_value(word);
}

// In place, and without a store where there is no NaN.
template <typename T>
void canonical(const Call& c) {
  if (any_nan(static_cast<const T*>(c.in[0]), c.n)) unary<T, T>(c, [](T value) { return one_nan(value); });
}

template <typename T>
Kernel of_floats(int64_t op, int64_t parameter) {
  switch (op) {
    case kCanonical:
      return canonical<T>;
    case kReducePrecision:
      return [](const Call& c) {
        const int exponent_bits = static_cast<int>(c.parameter >> 8), mantissa_bits = static_cast<int>(c.parameter & 255);
        unary<T, T>(c, [=](T x) { return reduced(x, exponent_bits, mantissa_bits); });
      };
    case kRound:
      if (parameter == kBfloat) {
        return [](const Call& c) { unary<float, float>(c, [](float x) { return widen(Bfloat{bfloat_word(x)}); }); };
      }
      return [](const Call& c) { unary<float, float>(c, [](float x) { return widen(Half{half_word(x)}); }); };
    default:
      return nullptr;
  }
}

template <typename T>
void move(const Call& c) {
  unary<T, T>(c, [](T x) { return x; });
}

}  // namespace

Kernel conversion(int64_t op, int64_t type, int64_t parameter) {
  if (op == kConvert) return convert_kernel(type, parameter);
  if (op == kMove) {
    switch (type) {
      case kFloat:
        return move<uint32_t>;
      case kDouble:
        return move<uint64_t>;
      case kBool:
        return move<uint8_t>;
      default:
        return nullptr;
    }
  }
  return type == kDouble ? of_floats<double>(op, parameter) : of_floats<float>(op, parameter);
}

}  // namespace portable::fused
