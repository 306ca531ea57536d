/* FLOW_STATIC: each file has functions of its own, and their names do not collide. It implies
 * FLOW_IMPLEMENTATION, and a function that is never called brings no warning: here are many */
#define FLOW_STATIC
#include "flow.h"
#include "use.h"

int other_file(void);
int main(void) {
    return use_flow() + other_file();
}
