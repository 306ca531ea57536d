/* Nothing is included before flow.h, and it is included again after: declarations once more, with
 * the implementation already there and FLOW_IMPLEMENTATION still defined. */
#define FLOW_IMPLEMENTATION
#include "flow.h"
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow();
}
