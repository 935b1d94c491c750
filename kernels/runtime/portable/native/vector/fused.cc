// The fused elementwise machine (docs/numerics/elementwise.md): a program runs block by block over values that stay in
// the first-level cache, so that a chain of operations reads and writes memory once. A tile is a whole number of rows,
// so reductions over a row and what uses them are in the same pass. How tiles and blocks are cut changes no bit: an
// element's value depends on its own operands, and a row's on the row.
#include "native/fused.h"

#include <cstdlib>
#include <vector>

#include "native/common.h"
#include "native/lanes.h"

namespace portable::fused {
namespace {

struct Operand {
  int64_t size;
  const int64_t* strides;  // in elements, one for each dimension of the program
};

enum Place : int64_t {
  kBlock = 0,       // scratch of one block
  kTile = 1,        // scratch of one tile
  kArgument = 2,    // an operand's memory, dense in the program's shape
  kResult = 3,      // a result's memory
  kRow = 4,         // scratch, one element for each row of the tile
  kRowArgument = 5, // an operand's memory, dense in the rows
  kRowResult = 6,
};

struct Register {
  int64_t place;
  int64_t size;
  int64_t index;
};

struct Instruction {
  int64_t op, type, out, in[3], scalars, parameter;
  Kernel kernel;
};

struct Phase {
  std::vector<Instruction> full, row;
};

struct Schedule {
  int64_t units, length, tile_units, block, grain, lead, slot, block_slots, tile_slots, row_slots;
  std::vector<int64_t> dims;
  std::vector<Operand> operands;
  std::vector<Register> registers;
  std::vector<Instruction> prologue;
  std::vector<Phase> phases;
};

Kernel find(const Instruction& each) {
  switch (each.op) {
    case kLoad:
    case kFill:
    case kReduceSum:
    case kReduceMax:
    case kReduceMin:
      return nullptr;
    case kCanonical:
    case kMove:
    case kRound:
    case kConvert:
    case kReducePrecision:
      return conversion(each.op, each.type, each.parameter);
    case kPair:
      return paired(each.type, each.parameter);
    default:
      break;
  }
  if (Kernel kernel = basic(each.op, each.type)) return kernel;
  if (Kernel kernel = each.type == kDouble ? function64(each.op) : function32(each.op)) return kernel;
  if (Kernel kernel = special(each.op, each.type)) return kernel;
  return iterated(each.op, each.type);
}

class Reader {
 public:
  explicit Reader(ffi::Span<const int64_t> words) : at_(words.begin()), end_(words.end()) {}

  int64_t next() { return at_ < end_ ? *at_++ : 0; }
  const int64_t* several(int64_t count) {
    const int64_t* here = at_;
    at_ += count;
    return here;
  }
  // False for an operation that this library does not have.
  bool instructions(std::vector<Instruction>& out) {
    out.resize(next());
    for (Instruction& each : out) {
      each = {next(), next(), next(), {next(), next(), next()}, next(), next(), nullptr};
      each.kernel = find(each);
      const bool own = each.op == kLoad || each.op == kFill || (each.op >= kReduceSum && each.op <= kReduceMin);
      if (each.kernel == nullptr && !own) return false;
    }
    drop_idle(out);
    return true;
  }

 private:
  // Instructions that see to the one NaN after others that have.
  static void drop_idle(std::vector<Instruction>& all) {
    size_t kept = 0;
    for (const Instruction& each : all) {
      const Instruction* before = kept > 0 ? &all[kept - 1] : nullptr;
      const bool idle = each.op == kCanonical && before != nullptr && before->out == each.out &&
                        before->type == kFloat && one_nan32(before->op);
      if (!idle) all[kept++] = each;
    }
    all.resize(kept);
  }

  const int64_t* at_;
  const int64_t* end_;
};

bool read(ffi::Span<const int64_t> words, Schedule& s) {
  Reader reader(words);
  for (int64_t* field : {&s.units, &s.length, &s.tile_units, &s.block, &s.grain, &s.lead, &s.slot, &s.block_slots,
                         &s.tile_slots, &s.row_slots}) {
    *field = reader.next();
  }
  s.dims.resize(reader.next());
  for (int64_t& dim : s.dims) dim = reader.next();
  s.operands.resize(reader.next());
  for (Operand& each : s.operands) {
    each.size = reader.next();
    each.strides = reader.several(static_cast<int64_t>(s.dims.size()));
  }
  s.registers.resize(reader.next());
  for (Register& each : s.registers) each = {reader.next(), reader.next(), reader.next()};
  if (!reader.instructions(s.prologue)) return false;
  s.phases.resize(reader.next());
  for (Phase& each : s.phases) {
    if (!reader.instructions(each.full) || !reader.instructions(each.row)) return false;
  }
  return true;
}

// n elements from position `begin` of the row-major walk over `dims`, of an operand with these strides.
template <typename T>
void gather(T* out, const T* from, const int64_t* dims, const int64_t* strides, int64_t count, int64_t begin,
            int64_t n) {
  constexpr int64_t kMost = 64;  // more than NumPy's or XLA's axes
  int64_t at[kMost] = {};
  int64_t offset = 0;
  for (int64_t d = count - 1, rest = begin; d >= 0; --d) {
    at[d] = rest % dims[d];
    rest /= dims[d];
    offset += at[d] * strides[d];
  }
  const int64_t last = count - 1;
  const int64_t stride = count > 0 ? strides[last] : 0;
  while (n > 0) {
    const int64_t run = count > 0 ? std::min(n, dims[last] - at[last]) : n;
    if (stride == 0) {
      std::fill(out, out + run, from[offset]);
    } else if (stride == 1) {
      std::memcpy(out, from + offset, run * sizeof(T));
    } else {
      for (int64_t i = 0; i < run; ++i) out[i] = from[offset + i * stride];
    }
    out += run;
    n -= run;
    if (n == 0) break;
    offset -= at[last] * stride;
    at[last] = 0;
    for (int64_t d = last - 1; d >= 0; --d) {
      offset += strides[d];
      if (++at[d] < dims[d]) break;
      offset -= dims[d] * strides[d];
      at[d] = 0;
    }
  }
}

// The value of each row to its elements: positions [begin, begin + n) of a tile whose rows have this length.
template <typename T>
void fill(T* out, const T* rows, int64_t length, int64_t begin, int64_t n) {
  for (int64_t row = begin / length, at = begin % length; n > 0; ++row, at = 0) {
    const int64_t run = std::min(n, length - at);
    std::fill(out, out + run, rows[row]);
    out += run;
    n -= run;
  }
}

template <typename Work>
void by_size(int64_t size, const Work& work) {
  switch (size) {
    case 1:
      return work(uint8_t{});
    case 2:
      return work(uint16_t{});
    case 4:
      return work(uint32_t{});
    default:
      return work(uint64_t{});
  }
}

template <typename T>
void reduce(int64_t op, T* out, const T* x, int64_t rows, int64_t length) {
  for (int64_t row = 0; row < rows; ++row) {
    const T* from = x + row * length;
    out[row] = op == kReduceSum ? sum_row(from, length) : op == kReduceMax ? max_row(from, length)
                                                                          : min_row(from, length);
  }
}

// One thread's machine: its scratch, and where each register lies at the moment.
class Machine {
 public:
  Machine(const Schedule& schedule, const std::vector<const char*>& arguments, const std::vector<char*>& results)
      : s_(schedule), arguments_(arguments), results_(results), at_(schedule.registers.size()) {
    const int64_t tile = s_.tile_units * s_.length;
    block_bytes_ = round_up(s_.block * s_.slot);
    tile_bytes_ = round_up(tile * s_.slot);
    row_bytes_ = round_up(s_.tile_units * s_.slot);
    const int64_t bytes = s_.block_slots * block_bytes_ + s_.tile_slots * tile_bytes_ + s_.row_slots * row_bytes_;
    static thread_local std::vector<char> arena;  // kept: pages that are touched for the first time cost more than work
    if (static_cast<int64_t>(arena.size()) < bytes + kLine) arena.resize(bytes + kLine);
    scratch_ = arena.data() + (-reinterpret_cast<uintptr_t>(arena.data()) & (kLine - 1));
    locate(0, 0, true);
    for (const Instruction& each : s_.prologue) run(each, 0, 0, s_.block, false);
  }

  // Rows [first, last) of the program.
  void tile(int64_t first, int64_t last) {
    const int64_t total = (last - first) * s_.length;
    locate(first, 0, true);
    for (const Phase& phase : s_.phases) {
      if (!phase.full.empty()) {
        for (int64_t begin = 0; begin < total; begin += s_.block) {
          if (begin > 0 || total > s_.block) locate(first, begin, false);
          const int64_t n = std::min(s_.block, total - begin);
          for (const Instruction& each : phase.full) run(each, first, begin, n, false);
        }
        if (total > s_.block) locate(first, 0, false);
      }
      for (const Instruction& each : phase.row) run(each, first, 0, last - first, true);
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  static int64_t round_up(int64_t bytes) { return (bytes + kLine - 1) & ~(kLine - 1); }

  // Where the registers lie for the block that begins at `begin` of the tile of row `first`.
  void locate(int64_t first, int64_t begin, bool rows) {
    const int64_t position = first * s_.length + begin;
    for (size_t i = 0; i < at_.size(); ++i) {
      const Register& each = s_.registers[i];
      switch (each.place) {
        case kBlock:
          if (rows) at_[i] = scratch_ + each.index * block_bytes_;
          break;
        case kTile:
          at_[i] = scratch_ + s_.block_slots * block_bytes_ + each.index * tile_bytes_ + begin * each.size;
          break;
        case kArgument:
          at_[i] = const_cast<char*>(arguments_[each.index]) + position * each.size;  // never written
          break;
        case kResult:
          at_[i] = results_[each.index] + position * each.size;
          break;
        case kRow:
          at_[i] = scratch_ + s_.block_slots * block_bytes_ + s_.tile_slots * tile_bytes_ + each.index * row_bytes_;
          break;
        case kRowArgument:
          at_[i] = const_cast<char*>(arguments_[each.index]) + first * each.size;
          break;
        default:
          at_[i] = results_[each.index] + first * each.size;
      }
    }
  }

  void run(const Instruction& each, int64_t first, int64_t begin, int64_t n, bool row) {
    if (each.kernel != nullptr) {
      each.kernel({at_[each.out], {at_[each.in[0]], at_[each.in[1]], at_[each.in[2]]}, n, each.scalars,
                   each.parameter});
      return;
    }
    if (each.op == kLoad) {
      const Operand& operand = s_.operands[each.parameter];
      const int64_t position = row ? first : first * s_.length + begin;
      by_size(operand.size, [&](auto word) {
        using T = decltype(word);
        gather(reinterpret_cast<T*>(at_[each.out]), reinterpret_cast<const T*>(arguments_[each.parameter]),
               s_.dims.data(), operand.strides, row ? s_.lead : static_cast<int64_t>(s_.dims.size()), position, n);
      });
    } else if (each.op == kFill) {
      by_size(s_.registers[each.out].size, [&](auto word) {
        using T = decltype(word);
        fill(reinterpret_cast<T*>(at_[each.out]), reinterpret_cast<const T*>(at_[each.in[0]]), s_.length, begin, n);
      });
    } else if (each.type == kDouble) {
      reduce(each.op, reinterpret_cast<double*>(at_[each.out]), reinterpret_cast<const double*>(at_[each.in[0]]), n,
             s_.length);
    } else {
      reduce(each.op, reinterpret_cast<float*>(at_[each.out]), reinterpret_cast<const float*>(at_[each.in[0]]), n,
             s_.length);
    }
  }

  const Schedule& s_;
  const std::vector<const char*>& arguments_;
  const std::vector<char*>& results_;
  std::vector<char*> at_;
  int64_t block_bytes_, tile_bytes_, row_bytes_;
  char* scratch_;
};

// `program` is what the referee reads; `schedule` is the same program, laid out for this machine.
ffi::Error Run(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets,
               ffi::Span<const int64_t> /*program*/, ffi::Span<const int64_t> words) {
  Schedule schedule;
  if (!read(words, schedule)) return ffi::Error::InvalidArgument("the schedule has an operation that is not here");
  std::vector<const char*> arguments;
  std::vector<char*> results;
  for (size_t i = 0; i < args.size(); ++i) {
    arguments.push_back(args[i].typed_data<const char>());
  }
  for (size_t i = 0; i < rets.size(); ++i) {
    results.push_back(rets[i].typed_data<char>());
  }
  const int64_t tiles = (schedule.units + schedule.tile_units - 1) / schedule.tile_units;
  // Short work that is worth a second thread is cut smaller, since that may come late; each piece sets up its machine.
  const int64_t small = std::max<int64_t>(1, schedule.grain / 4);
  const int64_t grain = tiles <= schedule.grain ? tiles : std::clamp(tiles / 16, small, schedule.grain);
  parallel(pool, tiles, grain, [&](int64_t first, int64_t last) {
    Machine machine(schedule, arguments, results);
    for (int64_t tile = first; tile < last; ++tile) {
      machine.tile(tile * schedule.tile_units, std::min(schedule.units, (tile + 1) * schedule.tile_units));
    }
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace portable::fused

CALL_EXPORT(fused, portable::fused::Run, "program", "schedule")
