/* FLOW_STATIC once more, and here nothing is called at all. */
#define FLOW_STATIC
#include "flow.h"

int other_file(void);
int other_file(void) {
    return 0;
}
