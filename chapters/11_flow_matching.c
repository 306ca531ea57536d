/* 11_flow_matching.c - learn a velocity by regression; no ODE is solved to train it.
 *
 * Stands beside "Flow Matching" (blog post, 27 May 2026), section 4; "Flow Matching: A Deep Dive",
 * its algorithms for training and sampling; and the slides "Flow-based generative models", theorem
 * 1 and "Training flow matching". With noise x0 ~ N(0, I) and data x1:
 *
 *     x_t = (1 - t) x0 + t x1,  u = x1 - x0     a straight line for every pair
 *     loss = E|v(x_t, t) - u|^2,  t ~ U(0, 1)   plain regression
 *     v*(x, t) = E[x1 - x0 | x_t = x]           what it is least for: v* carries N(0, I) to the
 *                                               data                           [theorem 1]
 *     loss = E|v* - u|^2 + E|v - v*|^2          a floor below any network, and the excess over
 *                                               it, the only part that training can lower
 *
 * This loss is the blog's L_FM; papers call it *conditional* flow matching (CFM), for it regresses
 * on one pair at a time. The blog's L_CFM is conditional on a label: chapter 13. The straight lines
 * belong to the pairs; the trajectories of v*, which samples follow, are curved. You will see both,
 * the floor, v beside v*, samples after 1 to 128 Euler steps, and the density that v implies.
 *
 * Alone: cc -O2 -I. chapters/11_flow_matching.c -lm -o 11_flow_matching && ./11_flow_matching */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { WIDTH = 40, DEPTH = 4, BATCH = 128, PROBES = 2000, BLOCK = 1000 };
enum { FRAMES = 33, MOVED = 400 };
static const int steps_of[3] = {12000, 20000, 40000}; /* moons, 8gaussians, checkerboard */

typedef struct {
    const char *name;
    int set, rows, n;              /* toy set, -1 for a file; points in train and in held */
    double *train, *held;          /* [rows*2], [n*2]; held is never trained on */
    double mean[2], scale[2];      /* a file's numbers are mean + scale x */
    flow_rng rng;
    flow_net net;                  /* v, and its flow: */
    flow_cnf cnf;
    double x[2 * PROBES], u[2 * PROBES], t[PROBES], v[2 * PROBES], best[2 * PROBES]; /* best: v* */
    double loss, floor, excess, error; /* over the probes, at the last look */
} task;

/* "moons: what" for the table, "moons_what" for a block of data. */
static const char *of(const task *k, const char *joint, const char *what) {
    return chapter_text("%s%s%s", k->name, joint, what);
}

/* A row of x and y in the file's units, then two numbers more. */
static void put(chapter *c, const task *k, const double *x, double a, double b) {
    double row[4] = {k->mean[0] + k->scale[0] * x[0], k->mean[1] + k->scale[1] * x[1], a, b};
    chapter_row(c, row, 4);
}

static void draw(task *k, double *x, int n) {
    if (k->set >= 0) flow_toy_sample(k->set, &k->rng, x, NULL, n);
    for (int i = 0; k->set < 0 && i < n; i++)
        memcpy(x + 2 * i, k->train + 2 * flow_rng_below(&k->rng, k->rows), 2 * sizeof *x);
}

/* The shuffled rows of a file, the last fifth held out. It may have any scale: column j becomes
 * (number - mean)/deviation, and goes back when written. */
static void load(chapter *c, task *k, const char *file) {
    int all;
    double cov[4];
    k->train = chapter_data_shuffled(c, &k->rng, file, 2, &all);
    if (all < 50) chapter_stop(c, 1, "%s: %d points, at least 50 are needed", file, all);
    k->n = all / 5;
    k->rows = all - k->n;
    chapter_say(c, "points in the file", all, "");
    chapter_moments(k->mean, cov, k->train, all, 2);
    for (int j = 0; j < 2; j++) {
        k->scale[j] = sqrt(cov[3 * j]);
        if (!(k->scale[j] > 1e-12 * fabs(k->mean[j]) && k->scale[j] < 1e150))
            chapter_stop(c, 1, "%s: column %d is constant, or varies too far", file, j + 1);
        for (int i = j; i < 2 * all; i += 2)
            k->train[i] = (k->train[i] - k->mean[j]) / k->scale[j];
    }
}

/* Probes (x_t, t) with their u, at which v will meet v*: for 8 Gaussians by the closed form of a
 * mixture, for a file by that of finite data. A sample stands for the other toy sets: good while
 * the kernel of x_t, (1 - t)/t wide, holds many of its points, so there t ends at 0.95. */
static void place_probes(chapter *c, task *k) {
    const int exact = k->set == FLOW_TOY_8GAUSSIANS;
    double x0[2 * PROBES], x1[2 * PROBES];
    chapter_exact e;
    memset(&e, 0, sizeof e); /* the mixture is freed below, made or not */
    if (exact) chapter_try(c, flow_toy_mixture(&e.data, k->set), "mixture");
    if (exact) chapter_exact_init(c, &e, FLOW_LINEAR, "v*");
    else chapter_try(c, flow_marginal_of_data(&e.marginal, k->train, FLOW_LINEAR, k->rows, 2),
                     "v*");
    draw(k, x1, PROBES);
    flow_normal_sample(&k->rng, x0, PROBES, 2);
    for (int i = 0; i < PROBES; i++)
        k->t[i] = (exact ? 1 : 0.95) * (i + flow_rng_uniform(&k->rng)) / PROBES;
    flow_path_sample(FLOW_LINEAR, k->x, k->u, x0, x1, k->t, PROBES, 2);
    e.v = flow_marginal_field(&e.marginal);
    chapter_try(c, e.v.velocity(e.v.ctx, k->best, k->x, k->t, PROBES), "v*");
    chapter_exact_free(&e);
}

/* Over the probes E|v - u|^2 = E|v* - u|^2 + E|v - v*|^2: loss, floor and excess, and five standard
 * errors of the first less the other two, which is 2 E(v - v*)'(v* - u) = 0. */
static void measure(chapter *c, task *k) {
    double square = 0;
    k->loss = k->floor = k->excess = 0;
    chapter_try(c, k->cnf.field.velocity(k->cnf.field.ctx, k->v, k->x, k->t, PROBES), "v");
    for (int i = 0; i < 2 * PROBES; i++) {
        double a = k->v[i] - k->best[i], b = k->best[i] - k->u[i];
        k->loss += (a + b) * (a + b) / PROBES;
        k->floor += b * b / PROBES;
        k->excess += a * a / PROBES;
        square += 4 * a * b * a * b;
    }
    k->error = 5 * sqrt(2 * square) / PROBES; /* 2: the two coordinates may go together */
}

/* 1 - t is the square of a uniform number: for i = 0 ... BATCH-1 one in each BATCH-th of [0, 1). */
static double late(double i) {
    return 1 - (1 - i / BATCH) * (1 - i / BATCH);
}

/* The training algorithm of "A Deep Dive", its seven steps. v* is what the loss is least for under
 * any density of t: here 1 - t = u^2, so that times near the data come more often, where v* is
 * steep. Kept in the end is a moving average of the parameters, which has less of Adam's noise. */
static void train(chapter *c, task *k, int steps) {
    double x0[2 * BATCH], x1[2 * BATCH], xt[2 * BATCH], u[2 * BATCH], t[BATCH], loss;
    double begin = chapter_seconds(), *average = chapter_alloc(c, (size_t)k->net.params);
    flow_opt opt;
    chapter_try(c, flow_opt_init(&opt, FLOW_ADAM, 0, k->net.params), "optimiser");
    chapter_block(c, of(k, "_", "loss"), "step loss floor excess");
    for (int step = 0; step < steps; step++) {
        draw(k, x1, BATCH);                                                           /* 1 data */
        flow_normal_sample(&k->rng, x0, BATCH, 2);                                    /* 2 noise */
        for (int i = 0; i < BATCH; i++) t[i] = late(i + flow_rng_uniform(&k->rng));   /* 3 times */
        flow_path_sample(FLOW_LINEAR, xt, u, x0, x1, t, BATCH, 2);                    /* 4 and 5 */
        chapter_step(c, flow_cfm_loss(&k->net, &loss, xt, t, NULL, u, BATCH), "loss", step); /* 6 */
        opt.rate = 8e-3 * flow_schedule_cosine(step, steps);
        chapter_step(c, flow_opt_step(&opt, k->net.theta, k->net.grad), "Adam", step); /* 7 */
        flow_ema_update(average, k->net.theta, fmin(0.998, step / (step + 10.0)), k->net.params);
        chapter_progress(c, k->name, step + 1, steps);
        if (step + 1 == steps) memcpy(k->net.theta, average, (size_t)k->net.params * sizeof loss);
        else if ((step + 1) % (steps / 40 + 1)) continue;
        measure(c, k);
        chapter_row4(c, step + 1, k->loss, k->floor, k->excess);
    }
    flow_opt_free(&opt);
    chapter_say(c, of(k, ": ", "milliseconds a training step"),
                1e3 * (chapter_seconds() - begin) / steps, "");
}

/* The loss cannot go below its floor: what counts is the excess. The probes go to the figure. */
static void check_loss(chapter *c, const task *k, int untrained) {
    const double most = untrained ? 0.06 : k->set == FLOW_TOY_8GAUSSIANS ? 0.004 : 0.04;
    chapter_say(c, of(k, ": ", "floor of the loss, E|v* - u|^2"), k->floor,
                k->t[PROBES - 1] < 0.95 ? "t < 0.95" : "");
    chapter_near(c, of(k, ": ", "loss = floor + excess"), k->floor + k->excess, k->loss, k->error);
    if (k->set < 0) chapter_say(c, of(k, ": ", "excess, E|v - v*|^2"), k->excess, "");
    else chapter_below(c, of(k, ": ", "excess, E|v - v*|^2"), k->excess, most * k->floor);
    chapter_block(c, of(k, "_", "probes"), "x y t vx vy v*x v*y ux uy (a file's: standardised)");
    for (int i = 0; i < 2 * PROBES; i += 2) {
        const double *x = k->x + i, *v = k->v + i, *best = k->best + i, *u = k->u + i;
        double row[9] = {x[0], x[1], k->t[i / 2], v[0], v[1], best[0], best[1], u[0], u[1]};
        chapter_row(c, row, 9);
    }
}

/* log p of held-out data by the backward ODE with the exact divergence, against the true density
 * or, for a file, the Gaussian of its deviations. */
static void check_likelihood(chapter *c, task *k, int untrained) {
    static const double most[3] = {0.04, 0.03, 0.16};
    const int n = k->n;
    double *logp = chapter_alloc(c, (size_t)n), *truth = chapter_alloc(c, (size_t)n);
    double mean = 0, square = 0, limit = 0.1;
    chapter_try(c, flow_cnf_logprob(&k->cnf, logp, k->held, n), "likelihood");
    flow_normal_logprob(truth, k->held, n, 2);
    if (k->set >= 0) chapter_try(c, flow_toy_logprob(k->set, truth, k->held, n), "true density");
    for (int i = 0; i < n; i++) mean += (truth[i] - logp[i]) / n;
    for (int i = 0; i < n; i++) square += (truth[i] - logp[i]) * (truth[i] - logp[i]) / n;
    if (k->set >= 0) limit = most[k->set] * (untrained ? 10 : 1);
    if (n < 8000) limit += 5 * sqrt(square / n);
    chapter_below(c, of(k, ": ", k->set < 0 ? "NLL - a Gaussian's" : "NLL - entropy (nats)"), mean,
                  limit);
}

/* The density in cells, where it sums to 1, beside a histogram of data. */
static void check_density(chapter *c, task *k) {
    const int side = c->quick ? 33 : 66, cells = side * side, many = c->quick ? 40000 : 400000;
    const double edge = 5.5 - 5.5 / side, area = k->scale[0] * k->scale[1];
    const double *at = chapter_grid(c, -edge, edge, side, 2);
    double *p = chapter_alloc(c, 2 * (size_t)cells), *data = p + cells, mass;
    double *x = chapter_alloc(c, 2 * (size_t)many);
    draw(k, x, many);
    chapter_try(c, flow_histogram2(data, x, many, -5.5, 5.5, side), "histogram");
    mass = chapter_cells(c, &k->cnf, p, side, k->set == FLOW_TOY_8GAUSSIANS ? 1 : 2);
    chapter_block(c, of(k, "_", "density"), "x y model data");
    for (int i = 0; i < cells; i++) {
        if (i && i % side == 0) chapter_gap(c);
        put(c, k, at + 2 * i, p[i] / area, data[i] / area);
    }
    if (k->set < 0) chapter_say(c, of(k, ": ", "sum of the density over cells"), mass, "");
    else chapter_near(c, of(k, ": ", "integral of the density"), 1, mass, c->quick ? 5e-3 : 1e-3);
}

/* The sampling algorithm: x <- x + v(x, t)/N at t = k/N for the whole numbers k below N; so read
 * "for t in range(0, 1, dt)" in "A Deep Dive". One step ends near the mean of the data, whose W2 to
 * them is their own width, for v*(x, 0) = E[x1] - x. The floor is the W2 of two sets of data; its
 * logarithm scatters by about 0.3/sqrt(blocks), and of few points it comes near the width. */
static void check_steps(chapter *c, task *k) {
    const int few = k->n < BLOCK ? k->n : BLOCK, blocks = k->n / few;
    const double scatter = (c->quick ? 1.25 : 1.1) * exp(4 * 0.3 / sqrt(blocks));
    double *x = chapter_alloc(c, 2 * (size_t)k->n), mean[2], cov[4], width, floor, first, w2[8];
    double gain = blocks < 8 ? 2 : 5;
    flow_rng same = k->rng;
    flow_cnf euler;
    draw(k, x, k->n);
    floor = chapter_w2(c, k->held, x, k->n, BLOCK);
    first = chapter_w2(c, k->held, x, few, BLOCK);
    chapter_moments(mean, cov, k->held, k->n, 2);
    width = sqrt(cov[0] + cov[3]);
    if (few < BLOCK) gain = fmin(gain, 0.7 * width / (floor * scatter));
    chapter_try(c, flow_cnf_init(&euler, k->cnf.field, FLOW_EULER, 1, 256), "Euler");
    chapter_block(c, of(k, "_", "euler"), "x y W2 floor, after 1, 2, 4 ... 128 steps");
    for (int i = 0; i < 8; i++, euler.steps *= 2, chapter_gap(c)) {
        const int n = i == 0 || i == 6 ? k->n : few; /* checks by all, the curve by the first */
        k->rng = same;
        chapter_try(c, flow_cnf_sample(&euler, &k->rng, x, n), "Euler");
        w2[i] = chapter_w2(c, k->held, x, few, BLOCK);
        for (int j = 0; j < few && j < MOVED; j++) put(c, k, x + 2 * j, w2[i], first);
        if (n > few) w2[i] = chapter_w2(c, k->held, x, n, BLOCK);
    }
    flow_cnf_free(&euler);
    chapter_say(c, of(k, ": ", "width of the data"), width, "");
    if (k->set < 0) { /* a file's outliers may be in one part only */
        chapter_say(c, of(k, ": ", "W2 after 1 Euler step"), w2[0], "");
        chapter_say(c, of(k, ": ", "W2 after 64 / data to data"), w2[6] / floor, "");
        return;
    }
    chapter_near(c, of(k, ": ", "W2 after 1 Euler step"), width, w2[0], 0.3 * width);
    chapter_below(c, of(k, ": ", "W2 after 64 / data to data"), w2[6] / floor, scatter);
    chapter_above(c, of(k, ": ", "W2 after 1 / after 64"), w2[0] / w2[6], gain);
}

/* Trajectories from noise x0 to data, each after one row more: x1, the end of a pair's line. */
static void trace(chapter *c, task *k) {
    double *x = chapter_alloc(c, 2 * FRAMES * MOVED), *x1 = chapter_alloc(c, 2 * MOVED);
    flow_normal_sample(&k->rng, x, MOVED, 2);
    draw(k, x1, MOVED);
    k->cnf.steps = 1;
    for (int f = 1; f < FRAMES; f++) {
        double *now = x + 2 * f * MOVED, t = f / (FRAMES - 1.0);
        memcpy(now, now - 2 * MOVED, 2 * MOVED * sizeof *now);
        chapter_try(c, flow_cnf_transport(&k->cnf, now, NULL, t - 1.0 / (FRAMES - 1), t, MOVED),
                    "trajectories");
    }
    chapter_block(c, of(k, "_", "paths"), "x y t sample: x1, then x_t at t = 0, 1/32 ... 1");
    for (int i = 0; i < MOVED; i++, chapter_gap(c)) {
        put(c, k, x1 + 2 * i, 1, i);
        for (int f = 0; f < FRAMES; f++) put(c, k, x + 2 * (f * MOVED + i), f / (FRAMES - 1.0), i);
    }
}

/* Data of a toy set or a file, probes, and a network that has learned nothing yet. */
static void begin(chapter *c, task *k, int set, const char *file) {
    memset(k, 0, sizeof *k);
    k->set = file ? -1 : set;
    k->name = file ? "file" : flow_toy_name(set);
    k->scale[0] = k->scale[1] = 1;
    k->n = c->quick ? c->n / 3 + 1 : c->n;
    k->rows = 20000;
    flow_rng_init(&k->rng, c->seed);
    if (file) load(c, k, file);
    else draw(k, k->train = chapter_alloc(c, 2 * (size_t)(k->rows + k->n)), k->rows + k->n);
    k->held = k->train + 2 * k->rows;
    place_probes(c, k);
    chapter_try(c, flow_net_init(&k->net, 2, 0, WIDTH, DEPTH, FLOW_SILU, 256, &k->rng), "net");
    chapter_try(c, flow_cnf_init(&k->cnf, flow_net_field(&k->net), FLOW_RK4, 10, 256), "flow");
}

int main(int argc, char **argv) {
    const char *set = NULL, *file = NULL;
    int steps = 0;
    static task k;
    const chapter_flag flags[] = {
        {"--set", CHAPTER_TEXT, &set, "only moons, 8gaussians or checkerboard"},
        {"--data", CHAPTER_TEXT, &file, "a file of points instead, two numbers a row"},
        {"--steps", CHAPTER_INT, &steps, "of training; 0: 12000, 20000, 40000 for the three"}};
    chapter c;
    chapter_begin(&c, argc, argv, "11_flow_matching", "a velocity by regression", 8000, flags, 3);
    chapter_require(&c, c.n >= 100, "--n", "a number of at least 100");
    chapter_require(&c, steps >= 0, "--steps", "0, or a number of steps");
    chapter_require(&c, !set || (flow_toy_find(set) >= 0 && flow_toy_find(set) < 3), "--set",
                    "moons, 8gaussians or checkerboard");
    if (c.quick && c.n > 900) c.n = 900;
    for (int s = 0; s < 3; s++) { /* FLOW_TOY_MOONS, _8GAUSSIANS, _CHECKERBOARD */
        const int all = steps ? steps : steps_of[s], rounds = c.quick ? all / 20 + 1 : all;
        if (file ? s > 0 : set ? s != flow_toy_find(set) : c.quick && s != 1) continue;
        begin(&c, &k, s, file);
        train(&c, &k, rounds);
        check_loss(&c, &k, rounds < steps_of[s]);
        check_likelihood(&c, &k, rounds < steps_of[s]);
        check_density(&c, &k);
        check_steps(&c, &k);
        trace(&c, &k);
        flow_cnf_free(&k.cnf);
        flow_net_free(&k.net);
    }
    return chapter_end(&c);
}

/* Try this
 * - --steps 2000, then --steps 100000: the loss hardly moves, the excess and the NLL do.
 * - opt.rate without its schedule: at a constant rate the excess stays at Adam's own noise.
 * - --data with 60 points of your own: v* leads to those points alone. Does the network? */
