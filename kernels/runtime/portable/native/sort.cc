// sort and top_k (spec R8).
//
// A sort is of pairs (key, place): places differ, so any algorithm that sorts the pairs is stable, and there is one
// answer. Several keys are sorted one after the other, the least significant first.
#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "native/common.h"
#include "native/order.h"

namespace portable {
namespace {

constexpr int64_t kRadixFrom = 1024;  // below, comparing is faster than counting
constexpr int kDigit = 11;

template <typename K>
struct Pair {
  K key;
  uint32_t place;
  bool operator<(const Pair& other) const { return key < other.key || (key == other.key && place < other.place); }
};

// Stable, by the digits of the key from the least; a digit that all share is passed over.
template <typename K>
void radix(std::vector<Pair<K>>& pairs, std::vector<Pair<K>>& other, int bits) {
  other.resize(pairs.size());
  for (int shift = 0; shift < bits; shift += kDigit) {
    std::array<uint32_t, (1 << kDigit) + 1> starts{};
    constexpr K kMask = (1 << kDigit) - 1;
    for (const auto& one : pairs) ++starts[(one.key >> shift & kMask) + 1];
    if (std::find(starts.begin(), starts.end(), pairs.size()) != starts.end()) continue;
    for (int i = 0; i < 1 << kDigit; ++i) starts[i + 1] += starts[i];
    for (const auto& one : pairs) other[starts[one.key >> shift & kMask]++] = one;
    pairs.swap(other);
  }
}

template <typename K>
struct Space {
  std::vector<Pair<K>> pairs, other;
};

// order[i] = the place of what comes i-th, when what is now at order[…] is sorted by this key.
template <typename K, typename Key>
void arrange(const Key& key, int bits, std::vector<uint32_t>& order, Space<K>& space) {
  const int64_t n = static_cast<int64_t>(order.size());
  space.pairs.resize(n);
  for (int64_t i = 0; i < n; ++i) space.pairs[i] = {key(order[i]), static_cast<uint32_t>(i)};
  if (n < kRadixFrom) {
    std::sort(space.pairs.begin(), space.pairs.end());
  } else {
    radix(space.pairs, space.other, bits);
  }
  std::vector<uint32_t> before = order;
  for (int64_t i = 0; i < n; ++i) order[i] = before[space.pairs[i].place];
}

template <typename U>
void place(const void* from, void* to, int64_t begin, int64_t stride, const std::vector<uint32_t>& order) {
  const U* x = static_cast<const U*>(from) + begin;
  U* out = static_cast<U*>(to) + begin;
  for (size_t i = 0; i < order.size(); ++i) out[i * stride] = x[order[i] * stride];
}

struct Wide {
  uint64_t parts[2];
};

ffi::Error Sort(ffi::ThreadPool pool, ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t axis, int64_t keys) {
  std::vector<ffi::AnyBuffer> from, to;
  for (size_t i = 0; i < args.size(); ++i) {
    from.push_back(args[i]);
    to.push_back(rets[i]);
    if (static_cast<int64_t>(i) < keys && key_size(from[i].element_type()) == 0) {
      return ffi::Error::InvalidArgument("sort: no such key in the specification");
    }
  }
  if (from[0].element_count() == 0) return ffi::Error::Success();
  const Lines axes = lines(from[0].dimensions(), axis);
  if (axes.length > int64_t{UINT32_MAX}) return ffi::Error::InvalidArgument("sort: more than 2^32 elements");
  parallel(pool, axes.count, 4096 / axes.length, [&](int64_t first, int64_t last) {
    std::vector<uint32_t> order(axes.length);
    Space<uint32_t> narrow;
    Space<uint64_t> wide;
    for (int64_t line = first; line < last; ++line) {
      const int64_t begin = axes.begin(line, axes.length);
      for (int64_t i = 0; i < axes.length; ++i) order[i] = static_cast<uint32_t>(i);
      for (int64_t key = keys; key-- > 0;) {
        const ffi::DataType type = from[key].element_type();
        with_key(type, from[key].untyped_data(), [&](auto key_of) {
          auto here = [&](uint32_t i) { return key_of(begin + i * axes.stride); };
          if constexpr (sizeof(decltype(key_of(0))) == 8) {
            arrange<uint64_t>(here, 64, order, wide);
          } else {
            arrange<uint32_t>(here, 8 * key_size(type), order, narrow);
          }
        });
      }
      for (size_t i = 0; i < from.size(); ++i) {
        const void* x = from[i].untyped_data();
        void* out = to[i].untyped_data();
        switch (from[i].size_bytes() / from[i].element_count()) {
          case 1: place<uint8_t>(x, out, begin, axes.stride, order); break;
          case 2: place<uint16_t>(x, out, begin, axes.stride, order); break;
          case 4: place<uint32_t>(x, out, begin, axes.stride, order); break;
          case 8: place<uint64_t>(x, out, begin, axes.stride, order); break;
          default: place<Wide>(x, out, begin, axes.stride, order); break;
        }
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error TopK(ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> values,
                ffi::Result<ffi::AnyBuffer> indices, int64_t axis) {
  const ffi::DataType type = x.element_type();
  const int size = key_size(type);
  if (size == 0) return ffi::Error::InvalidArgument("top_k: no such element type in the specification");
  if (values->element_count() == 0) return ffi::Error::Success();
  const Lines axes = lines(x.dimensions(), axis);
  const int64_t k = values->dimensions()[axis];
  const char* from = static_cast<const char*>(x.untyped_data());
  char* to = static_cast<char*>(values->untyped_data());
  int32_t* at = indices->typed_data<int32_t>();
  parallel(pool, axes.count, 16384 / axes.length, [&](int64_t first, int64_t last) {
    with_key(type, x.untyped_data(), [&](auto key_of) {
      using K = decltype(key_of(0));
      std::vector<Pair<K>> best(k);  // a heap whose front is the last of them
      for (int64_t line = first; line < last; ++line) {
        const int64_t begin = axes.begin(line, axes.length), out = axes.begin(line, k);
        auto pair = [&](int64_t i) {
          return Pair<K>{static_cast<K>(~key_of(begin + i * axes.stride)), static_cast<uint32_t>(i)};
        };
        for (int64_t i = 0; i < k; ++i) best[i] = pair(i);
        std::make_heap(best.begin(), best.end());
        for (int64_t i = k; i < axes.length; ++i) {
          const Pair<K> more = pair(i);
          if (!(more.key < best.front().key)) continue;  // an equal one has the higher index
          std::pop_heap(best.begin(), best.end());
          best.back() = more;
          std::push_heap(best.begin(), best.end());
        }
        std::sort_heap(best.begin(), best.end());
        for (int64_t i = 0; i < k; ++i) {
          at[out + i * axes.stride] = static_cast<int32_t>(best[i].place);
          std::memcpy(to + (out + i * axes.stride) * size, from + (begin + best[i].place * axes.stride) * size, size);
        }
      }
    });
  });
  return ffi::Error::Success();
}

}  // namespace

CALL_EXPORT(sort, Sort, "axis", "keys")

CALL_EXPORT(top_k, TopK, "axis")

}  // namespace portable
