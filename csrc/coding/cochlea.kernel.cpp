// Lyon's ear: the loops of coding/lyon.py in the same order of operations. Eight sounds are the lanes of a vector; all
// targets compute the same.
#include "coding/cochlea.hpp"
#include "common/algorithm.hpp"
#include "common/arena.hpp"

namespace bitspike::cochlea {
namespace {

constexpr double kSilence = 1e-30;  // below it a membrane is at rest, so that silence costs no denormal arithmetic

typedef double Doubles __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(32)));

inline Floats least(Floats a, Floats b) { return a < b ? a : b; }

void hear(const Ear& ear, const double* const* rows, int lanes, std::size_t samples, float* const* out) {
    const int n = ear.n_sections, channels = n - ear.front;
    Buffer<Doubles> first(n), second(n);
    Buffer<Floats> heard(n), state(static_cast<std::size_t>(kStages) * n), once(channels), twice(channels);
    for (std::size_t t = 0; t < samples / ear.decimation * ear.decimation; ++t) {
        Doubles x{};
        for (int l = 0; l < lanes; ++l) x[l] = rows[l][t];
        for (int c = 0; c < n; ++c) {
            const double* s = ear.sections + 6 * c;
            const Doubles y = first[c] + x * s[0];
            first[c] = second[c] + x * s[1] - y * s[4];
            second[c] = x * s[2] - y * s[5];
            heard[c] = __builtin_convertvector(y > kSilence ? y : Doubles{}, Floats);
            x = y;
        }
        if (t % ear.decimation == 0)
            for (int c = 0; c < ear.front; ++c) heard[c] = Floats{};
        for (int k = 0; k < kStages; ++k) {
            Floats* s = state.data() + static_cast<std::size_t>(k) * n;
            Floats left = s[0], here = s[0];
            for (int c = 0; c < n; ++c) {
                const Floats right = s[min(c + 1, n - 1)], y = heard[c] * (1.0f - here);
                heard[c] = y;
                s[c] = least(((left + here) + right) * ear.spread[k] + y * ear.charge[k], Floats{} + ear.limit);
                left = here;
                here = right;
            }
        }
        for (int c = 0; c < channels; ++c) {
            const Floats rise = heard[c + ear.front - 1] - heard[c + ear.front];
            once[c] = once[c] * ear.keep + (rise > 0.0f ? rise : Floats{});
            twice[c] = twice[c] * ear.keep + once[c];
        }
        if (t % ear.decimation == static_cast<std::size_t>(ear.decimation - 1 - ear.delay))
            for (int l = 0; l < lanes; ++l)
                for (int c = 0; c < channels; ++c)
                    out[l][t / ear.decimation * channels + c] = twice[c][l] * ear.scale;
    }
}

}  // namespace

Hear BITSPIKE_VARIANT(hear)() { return hear; }

}  // namespace bitspike::cochlea
