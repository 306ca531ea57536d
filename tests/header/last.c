/* The other order: a file, or a header that it includes, has flow.h already as declarations. */
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow();
}

#define FLOW_IMPLEMENTATION
#include "flow.h"
