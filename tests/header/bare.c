/* A bare C library: no constants of POSIX in math.h, no stack arrays of variable length (the
 * flags see to that), no generator of libc. */
#include <math.h>
#include <stdlib.h>

#undef M_PI
#undef M_E
#undef M_LN2
#undef M_SQRT2
#ifdef __GNUC__
#pragma GCC poison M_PI M_E M_LN2 M_SQRT2 rand srand drand48 random exit abort
#endif

#define FLOW_IMPLEMENTATION
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow();
}
