// Contractions of every form and format without JAX: each is checked against plain loops, and one digest of all
// results is printed, which must be the same from every compiler, level and processor.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <vector>

#include "native/gemm.h"
#include "native/narrow.h"

namespace {

using namespace portable;

uint64_t state = 1;
uint64_t draw() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

XLA_FFI_Error* one_thread(XLA_FFI_ThreadPool_NumThreads_Args* args) {
  *args->num_threads = 1;
  return nullptr;
}

template <typename S>
constexpr Format kFormat = sizeof(S) == 8                        ? Format::kDouble
                           : sizeof(S) == 4                      ? Format::kFloat
                           : std::is_same_v<S, portable::Bfloat> ? Format::kBfloat
                                                                 : Format::kHalf;

template <typename S>
std::vector<S> elements(int64_t count) {
  const double specials[] = {0.0, -0.0, 1e-41, -3e-39, 6e-8, INFINITY, NAN};
  std::vector<S> made(count);
  for (S& element : made) {
    const uint64_t word = draw();
    double value = std::ldexp(static_cast<double>(word & 0xffff) - 32768, -15 + static_cast<int>(word >> 16) % 7);
    if (word % 2003 < 7) value = specials[word % 2003];
    if constexpr (sizeof(S) == 8) {
      element = value;
    } else {
      element = store<S>(static_cast<float>(value));
    }
  }
  return made;
}

struct Layout {
  bool lhs_transposed, rhs_transposed, batch_last;
};

// The strides of a [batch][outer][inner] operand.
void strides(int64_t batch, int64_t outer, int64_t inner, bool transposed, bool batch_last, int64_t* out) {
  const int64_t step = batch_last ? batch : 1;
  out[0] = batch_last ? 1 : outer * inner;
  out[1] = transposed ? step : inner * step;
  out[2] = transposed ? outer * step : step;
}

template <typename T, typename L, typename R, typename O>
bool check(ffi::ThreadPool& pool, int64_t batch, int64_t rows, int64_t inner, int64_t columns, Layout layout,
           uint64_t* digest) {
  const std::vector<L> lhs = elements<L>(batch * rows * inner);
  const std::vector<R> rhs = elements<R>(batch * columns * inner);
  std::vector<O> out(batch * rows * columns);
  int64_t l[3], r[3];
  strides(batch, rows, inner, layout.lhs_transposed, layout.batch_last, l);
  strides(batch, columns, inner, layout.rhs_transposed, layout.batch_last, r);
  Contraction problem{{lhs.data(), kFormat<L>, {}, {}, {}}, {rhs.data(), kFormat<R>, {}, {}, {}}, {}};
  problem.lhs.batch.append(batch, l[0]);
  problem.lhs.free.append(rows, l[1]);
  problem.lhs.inner.append(inner, l[2]);
  problem.rhs.batch.append(batch, r[0]);
  problem.rhs.free.append(columns, r[1]);
  problem.rhs.inner.append(inner, r[2]);
  problem.result.data = out.data();
  problem.result.format = kFormat<O>;
  problem.result.batch.append(batch, rows * columns);
  problem.result.rows.append(rows, columns);
  problem.result.columns.append(columns, 1);
  contract<T>(pool, problem);
  bool right = true;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const auto chain = [&](int64_t begin) {
          T sum = 0;
          for (int64_t k = begin; k < std::min(begin + 32, inner); ++k) {
            sum = std::fma(static_cast<T>(load(lhs[b * l[0] + i * l[1] + k * l[2]])),
                           static_cast<T>(load(rhs[b * r[0] + j * r[1] + k * r[2]])), sum);
          }
          return sum;
        };
        T total = 0;
        for (int64_t span = 0; span < inner; span += 8192) {
          T of_span = 0;
          for (int64_t panel = span; panel < std::min(span + 8192, inner); panel += 256) {
            T of_panel = 0;
            for (int64_t at = panel; at < std::min(panel + 256, inner); at += 32) of_panel += chain(at);
            of_span += of_panel;
          }
          total += of_span;
        }
        const O expected = store<O>(total);
        const O& found = out[(b * rows + i) * columns + j];
        right = right && std::memcmp(&expected, &found, sizeof expected) == 0;
        for (size_t byte = 0; byte < sizeof found; ++byte) {
          *digest = (*digest ^ reinterpret_cast<const unsigned char*>(&found)[byte]) * 0x100000001b3u;
        }
      }
    }
  }
  if (!right) {
    std::printf("differs: %" PRId64 " x %" PRId64 " x %" PRId64 " x %" PRId64 " of %zu-byte elements, layout %d%d%d\n",
                batch, rows, inner, columns, sizeof(O), layout.lhs_transposed, layout.rhs_transposed,
                layout.batch_last);
  }
  return right;
}

}  // namespace

int main() {
  XLA_FFI_Api api{};
  api.XLA_FFI_ThreadPool_NumThreads = &one_thread;
  ffi::ThreadPool pool(&api, nullptr);
  const int64_t shapes[][4] = {
      {1, 1, 1, 1},   {1, 13, 7, 33},  {1, 25, 300, 70}, {3, 12, 64, 48}, {1, 1, 65, 100}, {1, 8, 33, 100},
      {1, 5, 66, 17}, {40, 1, 9, 1},   {40, 1, 70, 1},   {35, 9, 9, 1},   {2, 1, 513, 1},  {1, 250, 5, 20},
      {1, 3, 0, 5},   {1, 4, 20, 600}, {1, 530, 3, 2},   {2, 6, 270, 24},  {1, 9, 8230, 17}, {1, 2, 8300, 20},
      {3, 1, 8460, 1},
  };
  bool right = true;
  uint64_t digest = 0xcbf29ce484222325u;
  for (const auto& [batch, rows, inner, columns] : shapes) {
    for (int layout = 0; layout < 8; ++layout) {
      const Layout chosen{(layout & 1) != 0, (layout & 2) != 0, (layout & 4) != 0};
      right &= check<float, float, float, float>(pool, batch, rows, inner, columns, chosen, &digest);
      right &= check<double, double, double, double>(pool, batch, rows, inner, columns, chosen, &digest);
      right &= check<float, Bfloat, Bfloat, Bfloat>(pool, batch, rows, inner, columns, chosen, &digest);
      right &= check<float, Half, float, Half>(pool, batch, rows, inner, columns, chosen, &digest);
      right &= check<double, float, Half, double>(pool, batch, rows, inner, columns, chosen, &digest);
    }
  }
  std::printf("%016" PRIx64 "\n", digest);
  return right ? 0 : 1;
}
