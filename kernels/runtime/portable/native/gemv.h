// Contractions with few rows, which read the right operand once and so from where it lies, unpacked.
#pragma once

#include "native/gemm.h"

namespace portable {

// Computes the contraction if one of its forms fits; false if none does.
template <typename T>
bool contract_few(ffi::ThreadPool& pool, const Contraction& problem);

extern template bool contract_few<float>(ffi::ThreadPool&, const Contraction&);
extern template bool contract_few<double>(ffi::ThreadPool&, const Contraction&);

}  // namespace portable
