#include "packed_srm_run.hpp"

namespace bitspike::packed_srm {

std::size_t scratch_bytes(const Network& net, const Inputs& in) {
    Arena counted{nullptr};
    Scratch(net, in, counted);
    return counted.used;
}

std::int64_t run_portable(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                          char* scratch) {
    return run(net, in, out, begin, end, scratch);
}

}  // namespace bitspike::packed_srm
