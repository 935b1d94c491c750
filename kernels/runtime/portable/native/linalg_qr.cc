// The handlers of docs/numerics/linalg.md, 5.4.
#include <algorithm>
#include <cstdint>

#include "native/linalg_batch.h"
#include "native/linalg_reflect.h"

namespace portable::linalg {
namespace {

template <typename T>
ffi::Error each_geqrf(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, ffi::Result<ffi::AnyBuffer>& factors,
                      ffi::Result<ffi::AnyBuffer>& taus) {
  const Batch batch(a);
  const int64_t m = batch.rows, n = batch.columns, steps = std::min(m, n);
  if (steps == 0) return ffi::Error::Success();
  each(pool, batch.count, 2.0 * static_cast<double>(m * n * steps), [&](ffi::ThreadPool* inner, int64_t i) {
    T *to = matrix<T>(factors, i, m * n), *tau = matrix<T>(taus, i, steps);
    std::copy_n(matrix<T>(a, i, m * n), m * n, to);
    geqrf(inner, m, n, to, tau);
    canonicalise(to, m * n);
    canonicalise(tau, steps);
  });
  return ffi::Error::Success();
}

ffi::Error Geqrf(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::Result<ffi::AnyBuffer> factors,
                 ffi::Result<ffi::AnyBuffer> taus) {
  return a.element_type() == ffi::F32 ? each_geqrf<float>(pool, a, factors, taus)
                                      : each_geqrf<double>(pool, a, factors, taus);
}

template <typename T>
ffi::Error each_product(ffi::ThreadPool& pool, const ffi::AnyBuffer& a, const ffi::AnyBuffer& taus,
                        ffi::Result<ffi::AnyBuffer>& q) {
  const Batch batch(a);
  const int64_t m = batch.rows, n = batch.columns, count = taus.dimensions().back();
  if (m * n == 0) return ffi::Error::Success();
  each(pool, batch.count, 2.0 * static_cast<double>(m * n * count), [&](ffi::ThreadPool* inner, int64_t i) {
    T* to = matrix<T>(q, i, m * n);
    const Reflectors<T> reflectors({matrix<T>(a, i, m * n), n, 1}, m, count, matrix<T>(taus, i, count));
    householder_product<T>(inner, reflectors, n, {to, n, 1});
    canonicalise(to, m * n);
  });
  return ffi::Error::Success();
}

ffi::Error HouseholderProduct(ffi::ThreadPool pool, ffi::AnyBuffer a, ffi::AnyBuffer taus,
                              ffi::Result<ffi::AnyBuffer> q) {
  return a.element_type() == ffi::F32 ? each_product<float>(pool, a, taus, q) : each_product<double>(pool, a, taus, q);
}

}  // namespace
}  // namespace portable::linalg

CALL_EXPORT(geqrf, portable::linalg::Geqrf)
CALL_EXPORT(householder_product, portable::linalg::HouseholderProduct)
