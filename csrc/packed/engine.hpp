// What all inference engines have.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bitspike::packed {

constexpr int max_layers = 64;

// Decisions. Null pointers are results that nobody asked for.
struct Outputs {
    std::int64_t* labels;
    std::int64_t* decision_time;
    bool* silent;
    bool* tied;
    float* potentials;
    std::int64_t* n_spikes;
    std::int64_t* n_synops;
};

// What an instruction set's kernel file has for the networks of one engine.
template <class Network, class Inputs, class Results>
struct Engine {
    // Bytes of scratch memory (aligned to 64) that one part of a run needs; its content does not matter.
    std::size_t (*scratch_bytes)(const Network&, const Inputs&);
    // Runs samples begin..end; returns -1, or the first sample whose spikes lie outside the window, or twice in one place.
    std::int64_t (*run)(const Network&, const Inputs&, const Results&, std::size_t begin, std::size_t end, char* scratch);
};

}  // namespace bitspike::packed
