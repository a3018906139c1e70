#include "first_spike/sort.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "common/parallel.hpp"

namespace bitspike::first_spike {
namespace {

struct Sorted {
    std::vector<std::int32_t> events;  // by step, then by index
    std::vector<std::int32_t> counts;  // spikes per active step
    std::vector<std::int16_t> bins;    // the active steps
};

// Sorts one sample's spikes; the cost is the spikes plus n_steps / 64.
void sort_sample(const std::int16_t* times, int n, int n_steps, std::vector<std::uint64_t>& bitmap,
                 std::vector<std::int16_t>& slot_of, std::vector<std::int32_t>& found, Sorted& out) {
    std::fill(bitmap.begin(), bitmap.end(), 0);
    int spikes = 0;
    for (int i = 0; i < n; ++i) {
        found[spikes] = i;
        spikes += times[i] < n_steps;
    }
    for (int e = 0; e < spikes; ++e) bitmap[times[found[e]] >> 6] |= 1ull << (times[found[e]] & 63);
    out.bins.clear();
    for (std::size_t w = 0; w < bitmap.size(); ++w)
        for (std::uint64_t word = bitmap[w]; word; word &= word - 1) {
            const int step = static_cast<int>(w * 64) + __builtin_ctzll(word);
            slot_of[step] = static_cast<std::int16_t>(out.bins.size());
            out.bins.push_back(static_cast<std::int16_t>(step));
        }
    out.counts.assign(std::max<std::size_t>(1, out.bins.size()) + 1, 0);
    for (int e = 0; e < spikes; ++e) ++out.counts[slot_of[times[found[e]]] + 1];
    for (std::size_t s = 1; s < out.counts.size(); ++s) out.counts[s] += out.counts[s - 1];
    out.events.resize(spikes);
    std::vector<std::int32_t> cursor(out.counts);
    for (int e = 0; e < spikes; ++e) out.events[cursor[slot_of[times[found[e]]]]++] = found[e];
}

}  // namespace

nb::tuple sort_times(In<std::int16_t, 2> times, int n_steps, int threads) {
    const int batch = static_cast<int>(times.shape(0)), n = static_cast<int>(times.shape(1));
    require(n_steps >= 1 && n_steps <= 32766, "n_steps must lie between 1 and 32766");
    std::int16_t lowest = 0;
    for (std::size_t i = 0; i < times.size(); ++i) lowest = std::min(lowest, times.data()[i]);
    require(lowest >= 0, "a spike time is negative; times are 0..n_steps");
    std::vector<Sorted> sorted(batch);
    {
        nb::gil_scoped_release release;
        over(batch, threads, [&](int, std::size_t begin, std::size_t end) {
            std::vector<std::uint64_t> bitmap((n_steps + 63) / 64);
            std::vector<std::int16_t> slot_of(n_steps);
            std::vector<std::int32_t> found(n + 1);
            for (std::size_t b = begin; b < end; ++b)
                sort_sample(times.data() + b * n, n, n_steps, bitmap, slot_of, found, sorted[b]);
        });
    }
    std::size_t slots = 1;
    for (const Sorted& s : sorted) slots = std::max(slots, s.bins.size());
    auto events = make<std::int32_t>({std::size_t(batch), std::size_t(n)});
    auto starts = make<std::int32_t>({std::size_t(batch), slots + 1});
    auto active = make<std::int32_t>({std::size_t(batch)});
    auto bins = make<std::int16_t>({std::size_t(batch), slots});
    for (int b = 0; b < batch; ++b) {
        const Sorted& s = sorted[b];
        const std::int32_t base = b * n;
        if (!s.events.empty()) std::memcpy(events.data() + base, s.events.data(), s.events.size() * 4);
        const std::int32_t total = static_cast<std::int32_t>(s.events.size());
        for (std::size_t a = 0; a <= slots; ++a)
            starts.data()[b * (slots + 1) + a] = base + (a < s.counts.size() ? s.counts[a] : total);
        active.data()[b] = static_cast<std::int32_t>(std::max<std::size_t>(1, s.bins.size()));
        for (std::size_t a = 0; a < slots; ++a)
            bins.data()[b * slots + a] = a < s.bins.size() ? s.bins[a] : static_cast<std::int16_t>(n_steps);
    }
    return nb::make_tuple(events, starts, active, bins);
}

nb::tuple sort_slots(In<std::int16_t, 2> slots_in, In<std::int32_t, 1> n_active, int slots, int threads) {
    const int batch = static_cast<int>(slots_in.shape(0)), n = static_cast<int>(slots_in.shape(1));
    require(static_cast<int>(n_active.shape(0)) == batch, "n_active and slots differ in batch size");
    auto events = make<std::int32_t>({std::size_t(batch), std::size_t(n)});
    auto starts = make<std::int32_t>({std::size_t(batch), std::size_t(slots) + 1});
    {
        nb::gil_scoped_release release;
        over(batch, threads, [&](int, std::size_t begin, std::size_t end) {
            std::vector<std::int32_t> cursor(slots + 2);
            for (std::size_t b = begin; b < end; ++b) {
                const std::int16_t* slot = slots_in.data() + b * n;
                const int active = std::min(n_active.data()[b], slots), base = static_cast<int>(b) * n;
                std::fill(cursor.begin(), cursor.end(), 0);
                for (int j = 0; j < n; ++j) ++cursor[std::min<int>(slot[j], active) + 1];
                cursor[active + 1] = 0;
                std::int32_t* start = starts.data() + b * (slots + 1);
                start[0] = base;
                for (int a = 0; a < slots; ++a) start[a + 1] = start[a] + (a < active ? cursor[a + 1] : 0);
                for (int a = 0; a < active; ++a) cursor[a] = start[a];
                for (int j = 0; j < n; ++j)
                    if (slot[j] < active) events.data()[cursor[slot[j]]++] = j;
            }
        });
    }
    return nb::make_tuple(events, starts);
}

}  // namespace bitspike::first_spike
