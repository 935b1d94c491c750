// Arithmetic, comparison and selection (docs/numerics/elementwise.md, E1 to E4).
#include "native/bits.h"
#include "native/fused_loops.h"

namespace portable::fused {
namespace {

template <typename T>
inline T greater(T a, T b) {
  const T one = a > b ? a : b;                                  // b if either is NaN
  const T two = a == b ? to_value(to_word(a) & to_word(b)) : one;  // +0 before -0
  return a != a ? a : two;
}

template <typename T>
inline T less(T a, T b) {
  const T one = a < b ? a : b;
  const T two = a == b ? to_value(to_word(a) | to_word(b)) : one;
  return a != a ? a : two;
}

template <typename T>
inline T magnitude(T x) {
  return to_value(static_cast<Word<T>>(to_word(x) & ~kSignBit<T>));
}

template <typename T>
inline T with_sign(T x, T sign) {
  return to_value(static_cast<Word<T>>((to_word(x) & ~kSignBit<T>) | (to_word(sign) & kSignBit<T>)));
}

inline float floor_of(float x) { return __builtin_floorf(x); }
inline double floor_of(double x) { return __builtin_floor(x); }
inline float ceil_of(float x) { return __builtin_ceilf(x); }
inline double ceil_of(double x) { return __builtin_ceil(x); }
inline float trunc_of(float x) { return __builtin_truncf(x); }
inline double trunc_of(double x) { return __builtin_trunc(x); }
inline float even_of(float x) { return __builtin_rintf(x); }  // the rounding mode is to nearest even: Ieee holds
inline double even_of(double x) { return __builtin_rint(x); }
inline float root_of(float x) { return __builtin_sqrtf(x); }
inline double root_of(double x) { return __builtin_sqrt(x); }

template <typename T>
inline T away(T x) {
  const T whole = trunc_of(x);
  const T rest = magnitude(x - whole);  // exact
  return with_sign(rest >= T(0.5) ? magnitude(whole) + T(1) : magnitude(whole), x);
}

template <typename T>
inline T sign_of(T x) {
  const T one = x > T(0) ? T(1) : x;
  return x < T(0) ? T(-1) : one;
}

// x = ±m·2^e with a whole m.
template <typename T>
inline void split(Word<T> word, uint64_t& m, int& e) {
  m = word & ((uint64_t{1} << kMantissa<T>) - 1);
  e = static_cast<int>(word >> kMantissa<T>);
  if (e == 0) {
    e = 1;
  } else {
    m |= uint64_t{1} << kMantissa<T>;
  }
}

// The remainder of the truncated quotient, exact: long division of the significands, as many bits at once as fit.
template <typename T>
inline T remainder(T x, T y) {
  const Word<T> a = to_word(x) & ~kSignBit<T>, b = to_word(y) & ~kSignBit<T>;
  if (a >= kInfinity<T> || b > kInfinity<T> || b == 0) return __builtin_nan("");
  if (a < b) return x;
  uint64_t m, d;
  int e, f;
  split<T>(a, m, e);
  split<T>(b, d, f);
  constexpr int kStep = 63 - kMantissa<T>;
  m %= d;
  for (int left = e - f; left > 0 && m != 0; left -= kStep) m = (m << (left < kStep ? left : kStep)) % d;
  if (m == 0) return with_sign(T(0), x);
  // m < d, so it has the exponent of y or less
  const int shift = __builtin_clzll(m) - (63 - kMantissa<T>);
  const int exponent = f - shift;
  const Word<T> word = exponent > 0 ? static_cast<Word<T>>(((m << shift) & ((uint64_t{1} << kMantissa<T>) - 1)) |
                                                           (static_cast<uint64_t>(exponent) << kMantissa<T>))
                                    : static_cast<Word<T>>(m << (f - 1));
  return with_sign(to_value(word), x);
}

template <typename T>
inline T next_after(T x, T y) {
  const Word<T> word = to_word(x);
  const bool up = (x < y) == (word < kSignBit<T>);  // away from zero
  const Word<T> step = up ? word + 1 : word - 1;
  const Word<T> least = (to_word(y) & kSignBit<T>) | 1;
  const Word<T> moved = x == T(0) ? least : step;
  const T one = x == y ? y : to_value(moved);
  return (x != x || y != y) ? x + y : one;
}

template <typename T>
inline T integer_power(T x, int64_t exponent) {
  uint64_t left = exponent < 0 ? -static_cast<uint64_t>(exponent) : exponent;
  T power = x, product = T(1);
  for (bool first = true; left > 0; left >>= 1) {
    if (left & 1) {
      product = first ? power : product * power;
      first = false;
    }
    if (left > 1) power = power * power;
  }
  return exponent < 0 ? T(1) / product : product;
}

// The same for an exponent that the compiler knows: it turns a loop over elements into vectors only where no other loop
// is inside.
template <int64_t left, typename T>
inline T times_digits(T power, T product) {
  if constexpr (left == 0) {
    return product;
  } else {
    return times_digits<left / 2>(power * power, left % 2 ? product * power : product);
  }
}
template <int64_t exponent, typename T>
inline T known_power(T x) {
  if constexpr (exponent < 0) {
    return T(1) / known_power<-exponent>(x);
  } else if constexpr (exponent % 2) {
    return times_digits<exponent / 2>(x * x, x);
  } else {
    return known_power<exponent / 2>(x * x);
  }
}
template <typename T, int64_t exponent>
void powers(const Call& c) {
  unary<T, T>(c, [](T x) { return known_power<exponent>(x); });
}

template <typename T>
void integer_powers(const Call& c) {
  switch (c.parameter) {
    case 2:
      return powers<T, 2>(c);
    case 3:
      return powers<T, 3>(c);
    case 4:
      return powers<T, 4>(c);
    case -1:
      return powers<T, -1>(c);
    case -2:
      return powers<T, -2>(c);
    default:
      return unary<T, T>(c, [&c](T x) { return integer_power(x, c.parameter); });
  }
}

template <typename T, typename Work>
void compare(const Call& c, const Work& work) {
  binary<uint8_t, T>(c, [&](T a, T b) { return static_cast<uint8_t>(work(a, b)); });
}

#define TWO(op, expression) \
  case op:                  \
    return [](const Call& c) { binary<T, T>(c, [](T a, T b) { return expression; }); }
#define TEST(op, expression) \
  case op:                   \
    return [](const Call& c) { compare<T>(c, [](T a, T b) { return expression; }); }
#define ONE(op, expression) \
  case op:                  \
    return [](const Call& c) { unary<T, T>(c, [](T x) { return expression; }); }

template <typename T>
Kernel of_floats(int64_t op) {
  switch (op) {
    TWO(kAdd, a + b);
    TWO(kSub, a - b);
    TWO(kMul, a * b);
    TWO(kDiv, a / b);
    TWO(kMax, greater(a, b));
    TWO(kMin, less(a, b));
    TWO(kRem, remainder(a, b));
    TWO(kNextafter, next_after(a, b));
    TEST(kEq, a == b);
    TEST(kNe, a != b);
    TEST(kLt, a < b);
    TEST(kLe, a <= b);
    TEST(kGt, a > b);
    TEST(kGe, a >= b);
    ONE(kNeg, to_value(static_cast<Word<T>>(to_word(x) ^ kSignBit<T>)));
    ONE(kAbs, magnitude(x));
    ONE(kSign, sign_of(x));
    ONE(kFloor, floor_of(x));
    ONE(kCeil, ceil_of(x));
    ONE(kRoundAway, away(x));
    ONE(kRoundEven, even_of(x));
    ONE(kSqrt, root_of(x));
    ONE(kSquare, x * x);
    case kIntegerPow:
      return integer_powers<T>;
    case kIsFinite:
      return [](const Call& c) {
        unary<uint8_t, T>(c, [](T x) { return static_cast<uint8_t>(magnitude(x) < to_value(kInfinity<T>)); });
      };
    case kSelect:
      return [](const Call& c) {
        ternary<T, uint8_t, T>(c, [](uint8_t p, T no, T yes) { return p ? yes : no; });
      };
    case kClamp:  // in[0] is the value, then the bounds
      return [](const Call& c) {
        ternary<T, T, T>(c, [](T x, T low, T high) { return less(greater(x, low), high); });
      };
    default:
      return nullptr;
  }
}

Kernel of_booleans(int64_t op) {
  using T = uint8_t;
  switch (op) {
    TWO(kAnd, static_cast<T>(a & b));
    TWO(kOr, static_cast<T>(a | b));
    TWO(kXor, static_cast<T>(a ^ b));
    TWO(kEq, static_cast<T>(a == b));
    TWO(kNe, static_cast<T>(a != b));
    ONE(kNot, static_cast<T>(x ^ 1));
    case kSelect:
      return [](const Call& c) {
        ternary<T, T, T>(c, [](T p, T no, T yes) { return p ? yes : no; });
      };
    default:
      return nullptr;
  }
}

}  // namespace

Kernel basic(int64_t op, int64_t type) {
  switch (type) {
    case kFloat:
      return of_floats<float>(op);
    case kDouble:
      return of_floats<double>(op);
    case kBool:
      return of_booleans(op);
    default:
      return nullptr;
  }
}

}  // namespace portable::fused
