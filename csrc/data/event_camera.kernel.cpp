// A row of the event camera's pixels.
#include "data/event_camera.hpp"

namespace bitspike::event_camera {
namespace {

void look(const Row& row) {
    const int n = row.n, w00 = row.weights[0], w01 = row.weights[1], w10 = row.weights[2], w11 = row.weights[3];
    const std::uint8_t *__restrict a = row.upper, *__restrict b = row.lower;
    const std::int32_t *__restrict log = row.log, *__restrict reported = row.reported;
    const std::int32_t *__restrict on = row.on, *__restrict off = row.off;
    std::int32_t *__restrict level = row.level, *__restrict now = row.now;
    std::uint8_t* __restrict fires = row.fires;
    for (int x = 0; x < n; ++x) level[x] = (w00 * a[x] + w01 * a[x + 1] + w10 * b[x] + w11 * b[x + 1]) >> 12;
    for (int x = 0; x < n; ++x) now[x] = log[level[x]];
    for (int x = 0; x < n; ++x) {
        const std::int32_t change = now[x] - reported[x];
        fires[x] = static_cast<std::uint8_t>((change >= on[x]) | (-change >= off[x]));
    }
}

}  // namespace

Look BITSPIKE_VARIANT(look)() { return look; }

}  // namespace bitspike::event_camera
