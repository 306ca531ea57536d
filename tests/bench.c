/* bench.c - how fast flow.h is, and how far from the machine's limit: `make bench`. Not a test.
 *
 *     make bench            one core, float and then double
 *     make bench OMP=1      all cores
 *
 * The first line is the machine's multiply-add peak, measured here. Then comes a line a task,
 * "NAME VALUE per_s", the median of five windows after a warm-up: training steps, or whole sample
 * sets, a second. Then the same tasks as GFLOP/s and percent of the peak (where products of a
 * network are the work), bytes of the model (with its optimiser and solver), and the allocations
 * during the windows, which must be none. Then how a training step's time grows with batch and
 * depth: with either linearly.
 *
 * Names: d dimension, w width, b batch, n samples, s solver steps, K layers. Networks have three
 * hidden layers, SELU in cfm and sample, tanh in the others; training is by Adam, but for affine's
 * single-sample SGD. Every task calls what a chapter would call.
 *
 * build/bench/float --seconds 5 cfm_d2_w64_b256 runs one task, for longer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static long allocations;
static size_t allocated;

static void *counted(size_t size) {
    allocations++;
    allocated += size;
    return malloc(size);
}

#define FLOW_MALLOC(size) counted(size)
#define FLOW_FREE(pointer) free(pointer)
#define FLOW_STATIC
#include "flow.h"

/* Seconds of this process; with threads, which it would add up, those on the wall. */
static double now(void) {
#ifdef _OPENMP
    return omp_get_wtime();
#else
    return (double)clock() / CLOCKS_PER_SEC;
#endif
}

static double seconds = 1; /* of measuring a task */

static void check(int err, const char *what) {
    if (err >= 0) return;
    fprintf(stderr, "bench: %s: %s\n", what, flow_strerror(err));
    exit(1);
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* ---- the peak -------------------------------------------------------------------------------- */

/* s_j <- s_j a + b for sums that stay in registers: nothing is loaded, and there are enough of them
 * to fill the pipeline. How many that takes differs from machine to machine. */
#define PEAK_LOOP(name, sums) \
    static flow_real name(flow_real a, flow_real b, long n) { \
        flow_real s[sums], total = 0; \
        int j; \
        for (j = 0; j < (sums); j++) s[j] = (flow_real)j; \
        while (n-- > 0) \
            for (j = 0; j < (sums); j++) s[j] = s[j] * a + b; \
        for (j = 0; j < (sums); j++) total += s[j]; \
        return total; \
    }
PEAK_LOOP(peak_few, (int)(192 / sizeof(flow_real)))
PEAK_LOOP(peak_some, (int)(320 / sizeof(flow_real)))
PEAK_LOOP(peak_many, (int)(768 / sizeof(flow_real)))

/* GFLOP/s of all threads: the best of a few tries, since this is what the machine can do. */
static double peak_of(flow_real (*loop)(flow_real, flow_real, long), int sums) {
    const long n = 2000000;
    double best = 0;
    int k, threads = 1;
#ifdef _OPENMP
    threads = omp_get_max_threads();
#endif
    for (k = 0; k < 10; k++) {
        volatile flow_real keep;
        double t = now();
#ifdef _OPENMP
#pragma omp parallel private(keep)
#endif
        keep = loop(FLOWI_R(0.999), FLOWI_R(0.001), n);
        t = now() - t;
        (void)keep;
        if (2e-9 * (double)n * sums * threads / t > best)
            best = 2e-9 * (double)n * sums * threads / t;
    }
    return best;
}

static double peak(void) {
    const double few = peak_of(peak_few, (int)(192 / sizeof(flow_real)));
    const double some = peak_of(peak_some, (int)(320 / sizeof(flow_real)));
    const double many = peak_of(peak_many, (int)(768 / sizeof(flow_real)));
    return few > some ? (few > many ? few : many) : (some > many ? some : many);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

enum { AFFINE, PLANAR, CFM, SAMPLE, LOGLIK, HUTCHINSON, MLE };
typedef struct {
    const char *name;
    int kind, d, width, n, steps; /* n: batch or samples; steps: the solver's; planar: layers */
} task;

static const task tasks[] = {
    {"affine_sgd_step", AFFINE, 2, 0, 1, 1},
    {"planar_K8_b256", PLANAR, 2, 0, 256, 8},
    {"planar_K32_b256", PLANAR, 2, 0, 256, 32},
    {"cfm_d2_w64_b256", CFM, 2, 64, 256, 0},
    {"cfm_d2_w128_b512", CFM, 2, 128, 512, 0},
    {"cfm_d2_w512_b512", CFM, 2, 512, 512, 0},
    {"cfm_d64_w256_b256", CFM, 64, 256, 256, 0},
    {"cfm_d784_w512_b256", CFM, 784, 512, 256, 0},
    {"sample_d2_w64_n10000_s100", SAMPLE, 2, 64, 10000, 100},
    {"loglik_exact_d2_w64_n10000_s50", LOGLIK, 2, 64, 10000, 50},
    {"loglik_hutch_d2_w64_n10000_s50", HUTCHINSON, 2, 64, 10000, 50},
    {"cnf_mle_step_d2_w64_b256_s20", MLE, 2, 64, 256, 20},
};
enum { TASKS = (int)(sizeof tasks / sizeof tasks[0]), ROWS = 20000, CHUNK = 256 };

typedef struct {
    task what;
    int depth;
    long step;
    size_t bytes;
    flow_rng rng;
    flow_net net;
    flow_cnf cnf;
    flow_chain chain;
    flow_opt opt;
    flow_real *data, *x0, *x1, *x, *u, *t, *logp;
} bench;

static int ring_energy(void *ctx, flow_real *u, flow_real *du, const flow_real *z, int n) {
    (void)ctx;
    flow_toy_energy(1, u, du, z, n);
    return FLOW_OK;
}

static void begin_chain(bench *b) {
    flow_bijection layers[32];
    const int affine = b->what.kind == AFFINE, count = affine ? 1 : b->what.steps;
    int k;
    for (k = 0; k < count; k++) layers[k] = affine ? flow_affine(2) : flow_planar(2);
    check(flow_chain_init(&b->chain, layers, count, affine ? FLOW_TO_NOISE : FLOW_FROM_NOISE,
                          b->what.n, &b->rng), "chain");
    check(flow_opt_init(&b->opt, affine ? FLOW_SGD : FLOW_ADAM, FLOWI_R(1e-3), b->chain.params),
          "optimiser");
}

static void begin_net(bench *b) {
    const task *w = &b->what;
    const int act = w->kind == CFM || w->kind == SAMPLE ? FLOW_SELU : FLOW_TANH;
    const int rows = w->n < CHUNK || w->kind == CFM ? w->n : CHUNK;
    check(flow_net_init(&b->net, w->d, 0, w->width, b->depth, act, rows, &b->rng), "network");
    if (w->kind == CFM || w->kind == MLE)
        check(flow_opt_init(&b->opt, FLOW_ADAM, FLOWI_R(1e-3), b->net.params), "optimiser");
    if (w->kind == CFM) return;
    if (w->kind == HUTCHINSON)
        check(flow_cnf_init_hutchinson(&b->cnf, flow_net_field(&b->net), FLOW_EULER, w->steps, rows,
                                       FLOW_GAUSSIAN, 1, &b->rng), "flow");
    else
        check(flow_cnf_init(&b->cnf, flow_net_field(&b->net), FLOW_EULER, w->steps, rows), "flow");
    if (w->kind == MLE) check(flow_cnf_train(&b->cnf, FLOW_BACKPROP), "training");
}

static void begin(bench *b, const task *what, int depth) {
    const int n = what->n, d = what->d;
    flow_real *block;
    memset(b, 0, sizeof *b);
    b->what = *what;
    b->depth = depth;
    flow_rng_init(&b->rng, 1);
    allocated = 0;
    if (what->kind <= PLANAR) begin_chain(b);
    else begin_net(b);
    b->bytes = allocated;
    block = (flow_real *)malloc(sizeof *block * ((size_t)(ROWS + 4 * n) * (size_t)d +
                                                 2 * (size_t)n));
    check(block ? FLOW_OK : FLOW_E_MEMORY, "data");
    b->data = flowi_carve(&block, (size_t)ROWS * (size_t)d);
    b->x0 = flowi_carve(&block, (size_t)n * (size_t)d);
    b->x1 = flowi_carve(&block, (size_t)n * (size_t)d);
    b->x = flowi_carve(&block, (size_t)n * (size_t)d);
    b->u = flowi_carve(&block, (size_t)n * (size_t)d);
    b->t = flowi_carve(&block, (size_t)n);
    b->logp = block;
    flow_normal_sample(&b->rng, b->data, ROWS, d);
}

static void end(bench *b) {
    flow_net_free(&b->net);
    flow_cnf_free(&b->cnf);
    flow_chain_free(&b->chain);
    flow_opt_free(&b->opt);
    free(b->data);
}

/* A batch of data, drawn with replacement, into x1. */
static void draw(bench *b) {
    const int d = b->what.d;
    int i;
    for (i = 0; i < b->what.n; i++)
        memcpy(b->x1 + i * d, b->data + flow_rng_below(&b->rng, ROWS) * d,
               sizeof *b->x1 * (size_t)d);
}

static void step_cfm(bench *b) {
    const int n = b->what.n, d = b->what.d;
    flow_real loss;
    draw(b);
    flow_normal_sample(&b->rng, b->x0, n, d);
    flow_uniform_sample(&b->rng, b->t, 0, 1, n, 1);
    flow_path_sample(FLOW_LINEAR, b->x, b->u, b->x0, b->x1, b->t, n, d);
    check(flow_cfm_loss(&b->net, &loss, b->x, b->t, NULL, b->u, n), "loss");
    check(flow_opt_step(&b->opt, b->net.theta, b->net.grad), "step");
}

/* One unit of the task: a training step, or a whole set of samples. */
static void step(bench *b) {
    const int n = b->what.n;
    flow_real loss;
    switch (b->what.kind) {
    case AFFINE:
        check(flow_chain_nll(&b->chain, &loss, b->data + 2 * (b->step++ % 1000), 1), "loss");
        check(flow_opt_step(&b->opt, b->chain.theta, b->chain.grad), "step");
        break;
    case PLANAR:
        check(flow_chain_reverse_kl(&b->chain, &loss, ring_energy, b, &b->rng, n), "loss");
        check(flow_opt_step(&b->opt, b->chain.theta, b->chain.grad), "step");
        break;
    case CFM: step_cfm(b); break;
    case SAMPLE: check(flow_cnf_sample(&b->cnf, &b->rng, b->x, n), "sample"); break;
    case MLE:
        draw(b);
        check(flow_cnf_nll(&b->cnf, &loss, b->x1, n), "loss");
        check(flow_opt_step(&b->opt, b->net.theta, b->net.grad), "step");
        break;
    default: check(flow_cnf_logprob(&b->cnf, b->logp, b->data, n), "log p");
    }
}

/* Multiply-adds of the network's products, two flop each: once forward, once more for each tangent,
 * and twice each backward, where the first layer's input needs no gradient. */
static double flop(const bench *b) {
    const double d = b->what.d, w = b->what.width, n = b->what.n, steps = b->what.steps;
    const double once = 2 * n * ((d + 1) * w + (b->depth - 1) * w * w + w * d);
    switch (b->what.kind) {
    case CFM: return 3 * once - 2 * n * (d + 1) * w;
    case SAMPLE: return steps * once;
    case LOGLIK: return steps * (1 + d) * once;
    case HUTCHINSON: return steps * 2 * once;
    case MLE: return steps * 3 * (1 + d) * once;
    default: return 0;
    }
}

/* Steps a second: the median of five windows. *taken: allocations during them. */
static double rate(bench *b, long *taken) {
    double windows[5], t;
    long count, i;
    int k;
    for (count = 1, t = 0; t < seconds / 20; count *= 2) { /* warm-up; the last round is timed */
        t = now();
        for (i = 0; i < count; i++) step(b);
        t = now() - t;
    }
    count = 1 + (long)((double)(count / 2) * (seconds / 5) / t);
    *taken = allocations;
    for (k = 0; k < 5; k++) {
        t = now();
        for (i = 0; i < count; i++) step(b);
        windows[k] = (double)count / (now() - t);
    }
    *taken = allocations - *taken;
    qsort(windows, 5, sizeof windows[0], by_size);
    return windows[2];
}

static double measure(const task *what, int depth, double *per_s, size_t *size) {
    bench b;
    double work;
    long taken;
    begin(&b, what, depth);
    *per_s = rate(&b, &taken);
    *size = b.bytes;
    work = flop(&b);
    end(&b);
    if (taken == 0) return work;
    fprintf(stderr, "bench: %s: %ld allocations in its steps\n", what->name, taken);
    exit(1);
}

static void sweep(void) {
    task what = {"sweep", CFM, 2, 64, 0, 0};
    double per_s;
    size_t size;
    int k;
    printf("# batch, us a step, us a sample (d2 w64)\n");
    for (k = 64; k <= 1024; k *= 2) {
        what.n = k;
        measure(&what, 3, &per_s, &size);
        printf("batch %d %.1f %.3f\n", k, 1e6 / per_s, 1e6 / per_s / k);
    }
    printf("# hidden layers, us a step, us a layer (d2 w64 b256)\n");
    what.n = 256;
    for (k = 2; k <= 16; k *= 2) {
        measure(&what, k, &per_s, &size);
        printf("depth %d %.1f %.2f\n", k, 1e6 / per_s, 1e6 / per_s / k);
    }
}

int main(int argc, char **argv) {
    double per_s[TASKS], work[TASKS], top;
    size_t size[TASKS];
    int i, k, named = 1, chosen[TASKS];
    if (argc > 2 && strcmp(argv[1], "--seconds") == 0) {
        seconds = atof(argv[2]);
        named = 3;
    }
    for (i = 0; i < TASKS; i++)
        for (chosen[i] = named >= argc, k = named; k < argc; k++)
            if (strcmp(argv[k], tasks[i].name) == 0) chosen[i] = 1;
    top = peak();
    printf("# %s, multiply-add peak %.1f GFLOP/s\n",
           sizeof(flow_real) == sizeof(float) ? "float" : "double", top);
    for (i = 0; i < TASKS; i++) {
        if (!chosen[i]) continue;
        work[i] = measure(&tasks[i], 3, &per_s[i], &size[i]);
        printf("%s %.4g per_s\n", tasks[i].name, per_s[i]);
        fflush(stdout);
    }
    printf("# task, GFLOP/s, percent of peak, bytes of the model (allocations in its steps: 0)\n");
    for (i = 0; i < TASKS; i++) {
        const double speed = 1e-9 * work[i] * per_s[i];
        if (!chosen[i]) continue;
        printf("%s ", tasks[i].name);
        if (speed > 0) printf("%.1f GFLOP/s %.0f %% ", speed, 100 * speed / top);
        printf("%lu bytes\n", (unsigned long)size[i]);
    }
    if (named >= argc) sweep();
    return 0;
}
