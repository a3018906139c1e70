// Kernels of S4NN and BS4NN over the columns of a weight matrix.
#pragma once
#include <cstddef>
#include <cstdint>

#include "common/isa.hpp"

namespace bitspike::s4nn {

// Potentials, levels, amounts and times are padded to a multiple of `lanes` floats; weight rows are not.
constexpr int lanes = 16;

// `begin` is a multiple of `lanes`.
struct Kernels {
    // potential[j] += sum of w[row][j] (or of its sign, +1/-1) over the rows, then lists in `crossed`, ascending, every
    // j in [begin, end) with potential[j] > level[j] and sets its level to infinity. Returns how many.
    int (*accumulate)(const float* w, int stride, bool binary, const int32_t* rows, int n_rows, int begin, int end,
                      float* potential, float* level, int32_t* crossed);
    // w[row][j] -= amount[j] where time[j] >= row_time + delay, within +-bound; when `signs` is given, signs[j] += sgn(w)
    // of the updated weight under the same mask.
    void (*update)(float* w, int stride, const int32_t* rows, const int32_t* row_times, int n_rows, int delay, int begin,
                   int end, const float* amount, const float* time, float bound, float* signs);
    // w -= w * loss
    void (*shrink)(float* w, std::size_t n, float loss);
};

BITSPIKE_VARIANTS(const Kernels&, kernels);

}  // namespace bitspike::s4nn
