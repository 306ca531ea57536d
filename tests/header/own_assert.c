/* FLOW_ASSERT replaced: assert.h is not needed then, and the condition is evaluated where the
 * replacement says, as often as it says. */
static int asserts;
#define FLOW_ASSERT(condition) ((void)(asserts += (condition) ? 1 : 0))
#define FLOW_IMPLEMENTATION
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow() || asserts == 0;
}
