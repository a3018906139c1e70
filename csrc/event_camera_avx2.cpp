#define BITSPIKE_LOOK look_avx2
#include "event_camera.inl"
