/* ... and this one only calls it. */
#include "flow.h"
#include "use.h"

int other_file(void);
int main(void) {
    return use_flow() + other_file();
}
