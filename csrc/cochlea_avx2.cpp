#include "cochlea.inl"

namespace bitspike::cochlea {

Hear hear_avx2() { return hear; }

}  // namespace bitspike::cochlea
