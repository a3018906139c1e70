#define BITSPIKE_LOOK look_portable
#include "event_camera.inl"
