#include "cochlea.inl"

namespace bitspike::cochlea {

Hear hear_portable() { return hear; }

}  // namespace bitspike::cochlea
