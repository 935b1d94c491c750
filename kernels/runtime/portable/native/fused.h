// The fused elementwise machine: what a schedule may ask for (kernels/runtime/portable/fused_layout.py writes them).
#pragma once

#include <cstdint>

namespace portable::fused {

// Types of values in memory and in registers. A narrow float is a kFloat register that was rounded.
enum Type : int64_t {
  kFloat = 0,
  kDouble = 1,
  kBfloat = 2,
  kHalf = 3,
  kBool = 4,
  kInt8 = 5,
  kUint8 = 6,
  kInt16 = 7,
  kUint16 = 8,
  kInt32 = 9,
  kUint32 = 10,
  kInt64 = 11,
  kUint64 = 12,
};

// One instruction over n elements. The loops read element i before they write element i and nothing else, but kernels
// of several passes read twice: no output overlaps an input.
struct Call {
  void* out;
  const void* in[3];
  int64_t n;
  int64_t scalars;    // bit k: in[k] is one element for all
  int64_t parameter;  // of the operation: an exponent, a target type…
};
using Kernel = void (*)(const Call&);

// The numbers that stand in a schedule; fused_codes.py has the same.
enum Op : int64_t {
  kLoad = 1,  // by strides; the machine's own
  kFill = 2,  // a row's value to its elements; the machine's own
  kCanonical = 3,
  kMove = 4,
  kRound = 5,  // to a narrow format and back
  kConvert = 6,
  kReduceSum = 7,
  kReduceMax = 8,
  kReduceMin = 9,
  kPair = 10,  // two of add, sub, mul: the parameter says which

  kAdd = 20,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kRem,
  kNextafter,
  kPow,
  kAtan2,

  kEq = 40,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kAnd,
  kOr,
  kXor,

  kSelect = 60,
  kClamp,

  kNeg = 80,
  kAbs,
  kSign,
  kFloor,
  kCeil,
  kRoundAway,
  kRoundEven,
  kIsFinite,
  kSqrt,
  kSquare,
  kIntegerPow,
  kReducePrecision,
  kNot,

  kRsqrt = 110,
  kCbrt,
  kExp,
  kExp2,
  kExpm1,
  kLog,
  kLog1p,
  kTanh,
  kLogistic,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
  kErf,
  kErfc,
  kErfInv,
  kLgamma,
  kDigamma,
  kBesselI0e,
  kBesselI1e,

  kIgamma = 150,
  kIgammac,
  kIgammaGradA,
  kZeta,
  kPolygamma,
  kIncompleteBeta,
};

// Each gives null for what it does not have. `type` is that of the operands.
Kernel basic(int64_t op, int64_t type);
Kernel conversion(int64_t op, int64_t type, int64_t parameter);
Kernel paired(int64_t type, int64_t parameter);
Kernel function32(int64_t op);
bool one_nan32(int64_t op);  // whether all NaN that it gives are the one
Kernel function64(int64_t op);
Kernel special(int64_t op, int64_t type);
Kernel iterated(int64_t op, int64_t type);

}  // namespace portable::fused
