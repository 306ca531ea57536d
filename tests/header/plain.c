/* The usual way. */
#define FLOW_IMPLEMENTATION
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow();
}
