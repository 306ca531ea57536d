/* Two files of one program: this one has the implementation ... */
#define FLOW_IMPLEMENTATION
#include "flow.h"

int other_file(void);
int other_file(void) {
    flow_rng rng;
    flow_rng_init(&rng, 1);
    return flow_rng_below(&rng, 1);
}
