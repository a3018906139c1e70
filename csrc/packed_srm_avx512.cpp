#if defined(__x86_64__) || defined(_M_X64)
#include "packed_srm_run.hpp"

namespace bitspike::packed_srm {

std::int64_t run_avx512(const Network& net, const Inputs& in, const Outputs& out, std::size_t begin, std::size_t end,
                        char* scratch) {
    return run(net, in, out, begin, end, scratch);
}

}  // namespace bitspike::packed_srm
#endif
