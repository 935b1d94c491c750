// One element of one operation (docs/numerics/elementwise.md, E1 to E5).
#include "referee/elementwise_step.h"

#include <limits>

#include "referee/special_functions.h"

namespace referee {
namespace {

bool is_float(int64_t format) { return format <= binary16_format; }
bool is_signed(int64_t format) { return format == int8 || format == int16 || format == int32 || format == int64; }

int width_of(int64_t format) {
  switch (format) {
    case int8:
    case uint8:
      return 8;
    case int16:
    case uint16:
      return 16;
    case int32:
    case uint32:
      return 32;
    default:
      return 64;
  }
}

// One rounding of a value to a format.
double to_format(double x, int64_t format) {
  switch (format) {
    case bfloat16_format:
      return rounded(x, 8, -126, 127);
    case binary16_format:
      return rounded(x, 11, -14, 15);
    case binary32_format:
      return static_cast<float>(x);
    default:
      return x;
  }
}

uint64_t to_integer(double x, int64_t format) {
  if (x != x) return 0;
  const int width = width_of(format);
  const double whole = std::trunc(x);
  const double below = is_signed(format) ? -std::ldexp(1, width - 1) : 0;
  const double above = std::ldexp(1, is_signed(format) ? width - 1 : width);
  const uint64_t ones = ~uint64_t{0};
  if (whole < below) return is_signed(format) ? ones << (width - 1) : 0;
  if (whole >= above) return ones >> (is_signed(format) ? 65 - width : 64 - width);
  return is_signed(format) ? static_cast<uint64_t>(static_cast<int64_t>(whole)) : static_cast<uint64_t>(whole);
}

Element convert(const Step& step, Element x) {
  Element out;
  if (is_float(step.operand)) {
    if (is_float(step.result)) {
      out.number = to_format(x.number, step.result);
    } else if (step.result == boolean) {
      out.word = x.number != 0;
    } else {
      out.word = to_integer(x.number, step.result);
    }
  } else if (step.result == binary32_format) {
    out.number = is_signed(step.operand) ? static_cast<float>(static_cast<int64_t>(x.word))
                                         : static_cast<float>(x.word);
  } else {
    const double whole = is_signed(step.operand) ? static_cast<double>(static_cast<int64_t>(x.word))
                                                 : static_cast<double>(x.word);
    out.number = to_format(whole, step.result);
  }
  return out;
}

template <typename T>
T larger(T a, T b) {
  if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
  if (a == 0 && b == 0) return std::signbit(a) ? b : a;
  return a < b ? b : a;
}

template <typename T>
T smaller(T a, T b) {
  if (a != a || b != b) return std::numeric_limits<T>::quiet_NaN();
  if (a == 0 && b == 0) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}

template <typename T>
T integer_pow(T x, int64_t n) {
  if (n == 0) return 1;
  T p = x, product = 1;
  bool started = false;
  for (uint64_t rest = n < 0 ? -static_cast<uint64_t>(n) : n; rest != 0; rest /= 2) {
    if (rest % 2 == 1) {
      product = started ? product * p : p;
      started = true;
    }
    p = p * p;
  }
  return n < 0 ? 1 / product : product;
}

double reduce_precision(double x, int64_t mantissa, int64_t exponent, int M, int E, uint64_t word) {
  if (x != x) return x;
  if (mantissa < M) {
    const uint64_t unit = uint64_t{1} << (M - mantissa);
    word += unit / 2 - 1 + (word / unit) % 2;
    word -= word % unit;
  }
  if (exponent < E) {
    const int64_t B = (int64_t{1} << (E - 1)) - 1, b = (int64_t{1} << (exponent - 1)) - 1;
    const int64_t X = static_cast<int64_t>(word >> M) & ((int64_t{1} << E) - 1);
    if (X > B + b) return std::copysign(std::numeric_limits<double>::infinity(), x);
    if (X <= B - b) return std::copysign(0.0, x);
  }
  return E == 8 ? binary32(static_cast<uint32_t>(word)) : binary64(word);
}

// Arithmetic in T. False for an operation that is not here.
template <typename T>
bool compute(const Step& step, const std::vector<Element>& arguments, T& out) {
  const T x = static_cast<T>(arguments[0].number);
  const T y = arguments.size() > 1 ? static_cast<T>(arguments[1].number) : T(0);
  switch (step.operation) {
    case 20:
      out = x + y;
      return true;
    case 21:
      out = x - y;
      return true;
    case 22:
      out = x * y;
      return true;
    case 23:
      out = x / y;
      return true;
    case 24:
      out = larger(x, y);
      return true;
    case 25:
      out = smaller(x, y);
      return true;
    case 26:
      out = ::fmod(x, y);  // exact, by C's standard
      return true;
    case 27:
      out = std::nextafter(x, y);
      return true;
    case 61:
      out = smaller(larger(y, x), static_cast<T>(arguments[2].number));
      return true;
    case 80:
      out = -x;
      return true;
    case 81:
      out = std::fabs(x);
      return true;
    case 82:
      out = x > 0 ? T(1) : x < 0 ? T(-1) : x;
      return true;
    case 83:
      out = std::floor(x);
      return true;
    case 84:
      out = std::ceil(x);
      return true;
    case 85:
      out = std::round(x);
      return true;
    case 86:
      out = std::nearbyint(x);
      return true;
    case 88:
      out = std::sqrt(x);
      return true;
    case 89:
      out = x * x;
      return true;
    case 90:
      out = integer_pow(x, step.parameter);
      return true;
    case 91:
      out = static_cast<T>(reduce_precision(x, step.parameter % 256, step.parameter / 256, sizeof(T) == 4 ? 23 : 52,
                                            sizeof(T) == 4 ? 8 : 11, bits(x)));
      return true;
    default:
      break;
  }
  if (step.operation == 155) {
    out = static_cast<T>(regularized_incomplete_beta(x, y, arguments[2].number));
    return true;
  }
  const Function of = sizeof(T) == 4 ? function(step.operation) : function64(step.operation);
  if (of == nullptr) return false;
  out = static_cast<T>(of(x, y));
  return true;
}

bool compare(int64_t operation, double x, double y) {
  switch (operation) {
    case 40:
      return x == y;
    case 41:
      return x != y;
    case 42:
      return x < y;
    case 43:
      return x <= y;
    case 44:
      return x > y;
    default:
      return x >= y;
  }
}

}  // namespace

bool is_reduction(int64_t operation) { return operation >= 7 && operation <= 9; }

namespace {

// R1 and R2 of docs/numerics/reduction.md.
template <typename T>
T chunk(const T* x, size_t n) {
  const size_t L = 256 / sizeof(T);
  std::vector<T> lane(L, T(0));
  for (size_t first = 0; first < n; first += 4 * L) {
    std::vector<T> chain(L, T(0));
    for (size_t i = first; i < std::min(first + 4 * L, n); ++i) chain[i % L] = chain[i % L] + x[i];
    for (size_t l = 0; l < L; ++l) lane[l] = lane[l] + chain[l];
  }
  for (size_t s = L / 2; s > 0; s /= 2) {
    for (size_t i = 0; i < s; ++i) lane[i] = lane[i] + lane[i + s];
  }
  return lane[0];
}

template <typename T>
T sum(const std::vector<T>& x) {
  const size_t most = 8 * (256 / sizeof(T));
  T v = 0, r = 0;
  for (size_t c = 0; c < x.size(); c += most) {
    const T y = chunk(x.data() + c, std::min(most, x.size() - c)), w = v + y, z = w - v;
    r = r + ((v - (w - z)) + (y - z));
    v = w;
  }
  return r == r ? v + r : v;
}

template <typename T>
T reduced(int64_t operation, const std::vector<Element>& elements) {
  std::vector<T> x;
  for (const Element& each : elements) x.push_back(static_cast<T>(each.number));
  if (operation == 7) return sum(x);
  const T infinity = std::numeric_limits<T>::infinity();
  T out = operation == 8 ? -infinity : infinity;
  for (T each : x) out = operation == 8 ? larger(out, each) : smaller(out, each);
  return out;
}

}  // namespace

Element reduce(const Step& step, const std::vector<Element>& elements) {
  Element out;
  out.number = step.operand == binary64_format ? reduced<double>(step.operation, elements)
                                               : to_format(reduced<float>(step.operation, elements), step.result);
  return out;
}

bool apply(const Step& step, const std::vector<Element>& arguments, Element& out) {
  const Element first = arguments[0];
  if (step.operation == 6) {
    out = convert(step, first);
    return true;
  }
  if (step.operation == 60) {
    out = first.word ? arguments[2] : arguments[1];
    return true;
  }
  if (step.operand == boolean) {
    switch (step.operation) {
      case 40:
        out.word = first.word == arguments[1].word;
        return true;
      case 41:
      case 48:
        out.word = first.word != arguments[1].word;
        return true;
      case 46:
        out.word = first.word && arguments[1].word;
        return true;
      case 47:
        out.word = first.word || arguments[1].word;
        return true;
      case 92:
        out.word = !first.word;
        return true;
      default:
        return false;
    }
  }
  if (step.operation >= 40 && step.operation <= 45) {
    out.word = compare(step.operation, first.number, arguments[1].number);
    return true;
  }
  if (step.operation == 87) {
    out.word = std::isfinite(first.number);
    return true;
  }
  if (step.operand == binary64_format) return compute(step, arguments, out.number);
  float value;
  if (!compute(step, arguments, value)) return false;
  out.number = to_format(value, step.result);
  return true;
}

}  // namespace referee
