/* FLOW_MALLOC and FLOW_FREE replaced: the library must not touch the allocator of libc, so its
 * names are forbidden from here on. */
#include <stdlib.h>
#include <string.h>

static union {
    double align;
    unsigned char bytes[4096];
} arena;
static size_t used;
static int frees;

static void *take(size_t size) {
    void *memory = arena.bytes + used;
    used += (size + 15) / 16 * 16;
    return used <= sizeof arena.bytes ? memory : NULL;
}

static void give_back(void *memory) {
    if (memory) frees++;
}

#ifdef __GNUC__
#pragma GCC poison malloc calloc realloc free
#endif

#define FLOW_MALLOC(size) take(size)
#define FLOW_FREE(memory) give_back(memory)
#define FLOW_IMPLEMENTATION
#include "flow.h"
#include "use.h"

int main(void) {
    return use_flow() || used == 0 || frees == 0;
}
