// The event camera of data/event_camera.py in the same integers. An image's pixels are followed instant by instant; the
// events of an instant are sorted, so that all are; noise is merged in; and events within the refractory period of the
// pixel's last one are dropped.
#include "data/event_camera.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/array.hpp"
#include "common/cpu.hpp"
#include "common/parallel.hpp"
#include "common/random.hpp"

namespace bitspike::event_camera {
namespace {

constexpr int kEventBytes = 9, kLevels = 16 * 255 + 1;
constexpr std::int64_t kNever = -(std::int64_t{1} << 40);

struct Camera {
    Look look;
    const std::int32_t* gaze;      // (instants, 2): x, y in 1/256 px
    const std::int64_t* instants;  // us
    int n_instants;
    const std::int32_t *log, *on, *off;  // per level; per pixel
    int height, width, margin;
    std::int64_t refractory;
};

class Recorder {
  public:
    explicit Recorder(const Camera& camera)
        : c_(camera), stride_(camera.width + 2 * camera.margin),
          wide_(static_cast<std::size_t>(camera.height + 2 * camera.margin) * stride_), level_(camera.width), now_(camera.width),
          before_(static_cast<std::size_t>(camera.height) * camera.width), reported_(before_.size()),
          fires_(camera.width + 8), last_(before_.size()) {}

    std::int64_t record(const std::uint8_t* image, std::uint64_t key, std::int64_t n_noise,
                        std::vector<std::uint8_t>& out) {
        found_.clear();
        frame(image);
        if (bottom_)  // something to see
            for (int i = 0; i < c_.n_instants; ++i) {
                const std::size_t begin = found_.size();
                look(i);
                std::sort(found_.begin() + begin, found_.end());
            }
        noise(key, n_noise);
        return write(out);
    }

  private:
    // Keys sort as events do: time, pixel, polarity.
    void push(std::int64_t time, std::uint64_t pixel, bool on) {
        found_.push_back(static_cast<std::uint64_t>(time) << 32 | pixel << 1 | on);
    }

    // The image with its margin, and the box of pixels that ever see anything but black.
    void frame(const std::uint8_t* image) {
        const int h = c_.height, w = c_.width, reach = c_.margin;
        int top = h, bottom = -1, left = w, right = -1;
        for (int y = 0; y < h; ++y) {
            const std::uint8_t* row = image + static_cast<std::size_t>(y) * w;
            std::memcpy(wide_.data() + (y + reach) * stride_ + reach, row, w);
            for (int x = 0; x < w; ++x)
                if (row[x]) {
                    top = std::min(top, y), bottom = y;
                    left = std::min(left, x), right = std::max(right, x);
                }
        }
        top_ = std::max(0, top - reach), bottom_ = bottom < 0 ? 0 : std::min(h, bottom + 1 + reach);
        left_ = std::max(0, left - reach), right_ = std::min(w, right + 1 + reach);
    }

    void look(int instant) {
        const int gx = c_.gaze[2 * instant], gy = c_.gaze[2 * instant + 1], fx = gx & 255, fy = gy & 255;
        const std::ptrdiff_t shift = (c_.margin + (gy >> 8)) * stride_ + c_.margin + (gx >> 8);
        const int n = right_ - left_;
        for (int y = top_; y < bottom_; ++y) {
            const std::uint8_t* seen = wide_.data() + shift + y * stride_ + left_;
            const std::size_t first = static_cast<std::size_t>(y) * c_.width + left_;
            std::int32_t *now = now_.data(), *before = before_.data() + first, *reported = reported_.data() + first;
            c_.look({n, seen, seen + stride_,
                     {(256 - fy) * (256 - fx), (256 - fy) * fx, fy * (256 - fx), fy * fx},
                     c_.log, reported, c_.on + first, c_.off + first, level_.data(), now, fires_.data()});
            if (instant == 0)
                std::copy(now, now + n, reported);
            else
                for (int x = 0; x < n; x += 8) {
                    std::uint64_t eight;
                    std::memcpy(&eight, fires_.data() + x, 8);
                    if (!eight) continue;
                    for (int k = x; k < std::min(x + 8, n); ++k)
                        if (fires_[k]) cross(first + k, before[k], now[k], reported[k], instant);
                }
            std::copy(now, now + n, before);
        }
    }

    void cross(std::size_t pixel, std::int64_t before, std::int64_t now, std::int32_t& reported, int instant) {
        const std::int32_t on = c_.on[pixel], off = c_.off[pixel];
        const std::int64_t end = c_.instants[instant], lasts = end - c_.instants[instant - 1];
        while (now - reported >= on) {
            reported += on;
            push(end - (now - reported) * lasts / (now - before), pixel, true);
        }
        while (reported - now >= off) {
            reported -= off;
            push(end - (reported - now) * lasts / (before - now), pixel, false);
        }
    }

    void noise(std::uint64_t key, std::int64_t n) {
        const std::uint64_t duration = c_.instants[c_.n_instants - 1], pixels = before_.size();
        const std::size_t begin = found_.size();
        for (std::int64_t k = 0; k < n; ++k) {
            const std::uint64_t word = random::mix(key + (static_cast<std::uint64_t>(k) + 2) * random::kStep);
            push(((word >> 32 & 0x7FFFFFFF) * duration >> 31) + 1, (word & 0xFFFFFFFF) * pixels >> 32, word >> 63);
        }
        std::sort(found_.begin() + begin, found_.end());
        merged_.resize(found_.size());
        std::merge(found_.begin(), found_.begin() + begin, found_.begin() + begin, found_.end(), merged_.begin());
    }

    std::int64_t write(std::vector<std::uint8_t>& out) {
        std::fill(last_.begin(), last_.end(), kNever);
        const std::size_t begin = out.size();
        out.resize(begin + merged_.size() * kEventBytes);
        std::uint8_t* to = out.data() + begin;
        for (const std::uint64_t event : merged_) {
            const std::uint32_t time = event >> 32, pixel = static_cast<std::uint32_t>(event) >> 1;
            if (time - last_[pixel] < c_.refractory) continue;
            last_[pixel] = time;
            const std::uint32_t y = pixel / c_.width, x = pixel - y * c_.width;
            for (int k = 0; k < 4; ++k) to[k] = static_cast<std::uint8_t>(time >> 8 * k);
            for (int k = 0; k < 2; ++k) to[4 + k] = static_cast<std::uint8_t>(x >> 8 * k);
            for (int k = 0; k < 2; ++k) to[6 + k] = static_cast<std::uint8_t>(y >> 8 * k);
            to[8] = event & 1;
            to += kEventBytes;
        }
        const std::size_t n = (to - out.data() - begin) / kEventBytes;
        out.resize(begin + n * kEventBytes);
        return static_cast<std::int64_t>(n);
    }

    const Camera c_;
    std::ptrdiff_t stride_;
    std::vector<std::uint8_t> wide_;
    std::vector<std::int32_t> level_, now_, before_, reported_;
    std::vector<std::uint8_t> fires_;
    std::vector<std::int64_t> last_;
    std::vector<std::uint64_t> found_, merged_;
    int top_ = 0, bottom_ = 0, left_ = 0, right_ = 0;
};

nb::tuple events(In<std::uint8_t, 3> images, In<std::uint64_t, 1> keys, In<std::int64_t, 1> n_noise,
                 In<std::int32_t, 2> gaze, In<std::int64_t, 1> instants, In<std::int32_t, 1> log, In<std::int32_t, 1> on,
                 In<std::int32_t, 1> off, std::int64_t refractory, int threads, const std::string& isa) {
    const std::size_t n = images.shape(0), pixels = images.shape(1) * images.shape(2), steps = gaze.shape(0);
    require(keys.shape(0) == n && n_noise.shape(0) == n, "a key and a number of noise events per image");
    require(on.shape(0) == pixels && off.shape(0) == pixels, "thresholds per pixel");
    require(images.shape(1) < 1 << 15 && images.shape(2) < 1 << 15, "images of less than 32768 pixels a side");
    require(gaze.shape(1) == 2 && steps > 0 && instants.shape(0) == steps && log.shape(0) == kLevels,
            "gaze (instants, 2), as many instants, 4081 levels");
    require(instants.data()[0] == 0 && instants.data()[steps - 1] < std::int64_t{1} << 31, "instants from 0 to 2^31 us");
    int farthest = 0;
    for (std::size_t i = 0; i < 2 * steps; ++i) farthest = std::max(farthest, std::abs(gaze.data()[i]));
    require(farthest < 1 << 20, "a gaze within 4096 px");
    const Camera camera{BITSPIKE_PICK(look, isa), gaze.data(), instants.data(), static_cast<int>(steps), log.data(), on.data(),
                        off.data(), static_cast<int>(images.shape(1)), static_cast<int>(images.shape(2)),
                        farthest / 256 + 2, refractory};
    Out<std::int64_t> lengths = make<std::int64_t>({n});
    std::vector<std::vector<std::uint8_t>> found(parts_of(n, threads));
    const std::uint8_t* from = images.data();
    std::int64_t* counted = lengths.data();
    {
        nb::gil_scoped_release release;
        over(n, threads, [&](int part, std::size_t begin, std::size_t end) {
            Recorder recorder(camera);
            for (std::size_t k = begin; k < end; ++k)
                counted[k] = recorder.record(from + k * pixels, keys.data()[k], n_noise.data()[k], found[part]);
        });
    }
    std::size_t total = 0;
    for (const auto& part : found) total += part.size();
    Out<std::uint8_t> bytes = make<std::uint8_t>({total});
    std::uint8_t* to = bytes.data();
    for (const auto& part : found) to = std::copy(part.begin(), part.end(), to);
    return nb::make_tuple(bytes, lengths);
}

}  // namespace
}  // namespace bitspike::event_camera

void bind_event_camera(nanobind::module_& m) {
    using namespace nanobind::literals;
    m.def("event_camera", &bitspike::event_camera::events, "images"_a, "keys"_a, "n_noise"_a, "gaze"_a, "instants"_a,
          "log"_a, "on"_a, "off"_a, "refractory"_a, "threads"_a, "isa"_a = "best",
          "Events, 9 bytes each, and how many of each image.");
}
