/* 10_cnf_training: a velocity field learned by maximum likelihood, through its own ODE.
 *
 * Beside it: article B, "Training CNFs"; article C, the end of "3. Continuous Normalizing Flow";
 * article D, "Continuous Normalizing Flows (CNFs)"; slides E, "Issues of CNFs". From a data point x
 * the augmented ODE runs back to its noise z, and gathers the log-determinant l on the way:
 *
 *     dx/dt = v(x, t),  dl/dt = div v(x, t),  from x(1) = x, l(1) = 0 to z = x(0), l(0)
 *     loss = -log p(x) = -log N(z) - l(0), averaged over data
 *
 *     div v = sum_j e_j'(dv/dx)e_j         exact: d passes through the network
 *           = E[s'(dv/dx)s], E[ss'] = I    one pass, with a random probe s [Hutchinson 1989;
 *                                          FFJORD: Grathwohl et al. 2019, eq. 7 and 8]
 *     backprop  back through every step of the solver, of which all that was computed is kept; or
 *               its states alone, checkpoints, and the rest computed again
 *     adjoint   da/dt = -(df/dy)'a, dg/dt = -(df/dtheta)'a for y = (x, l), dy/dt = f: from 0 to 1,
 *               y solved again beside them, nothing kept      [Chen et al. 2018, algorithm 1]
 *
 * You will see both gradients beside finite differences, how Hutchinson's estimate scatters, three
 * densities learned, and what a step costs. "Terribly unstable", say the slides: likelihood also
 * pays for what a solver overlooks. So the solver changes while it trains; a finer one scores.
 *
 * Alone: cc -O2 -I. chapters/10_cnf_training.c -lm -o 10_cnf_training && ./10_cnf_training */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

#define GAP 0.003 /* nats that twice as many solver steps may change */
enum { BATCH = 64, FEW = 5, MANY = 32, POINTS = 8, D = 16, SIDE = 110 };

/* One hidden layer. Each tanh starts with its middle at a point (1 - t) z + t x between noise and
 * data, rather near the data, `steep` times steeper than usual; v starts `size` times as large. */
static void start(chapter *c, flow_net *net, int set, int width, double steep, double size,
                  flow_rng *rng) {
    chapter_try(c, flow_net_init(net, 2, 0, width, 1, FLOW_TANH, 256, rng), "network");
    for (int i = 0; i < width; i++) {
        double x[2], z[2], t, *row = net->theta + 3 * i, *bias = net->theta + 3 * width + i;
        flow_toy_sample(set, rng, x, NULL, 1);
        flow_normal_sample(rng, z, 1, 2);
        t = sqrt(sqrt(flow_rng_uniform(rng)));
        row[0] *= steep, row[1] *= steep, row[2] *= steep / 2, *bias = -row[2] * t;
        for (int j = 0; j < 2; j++) *bias -= row[j] * ((1 - t) * z[j] + t * x[j]);
    }
    for (int i = 4 * width; i < net->params; i++) net->theta[i] *= size;
}

/* The network's flow, ready for gradients: with the exact divergence, or with one of the probes. */
static void ready(chapter *c, flow_cnf *cnf, flow_net *net, int way, int method, int steps,
                  int batch, flow_rng *probes) {
    flow_field f = flow_net_field(net);
    chapter_try(c, probes ? flow_cnf_init_hutchinson(cnf, f, method, steps, batch, FLOW_RADEMACHER,
                                                     1, probes)
                          : flow_cnf_init(cnf, f, method, steps, batch), "flow");
    chapter_try(c, flow_cnf_train(cnf, way), "its training");
}

/* ---- gradients ------------------------------------------------------------------------------ */

typedef struct {
    flow_net net;
    flow_cnf cnf;
    double x[2 * POINTS];
} problem;

/* For flow_check_gradient, which moves the network's own theta. */
static int loss_at(void *ctx, double *loss, const double *theta) {
    problem *p = (problem *)ctx;
    (void)theta;
    return flow_cnf_nll(&p->cnf, loss, p->x, POINTS);
}

/* The gradient by equal steps (tol = 0) or to a tolerance; *worst, unless NULL: the farthest that a
 * component is from central differences, relatively. */
static void gradient(chapter *c, problem *p, double *grad, int way, int method, int steps,
                     double tol, flow_rng *probes, double *worst) {
    double loss;
    ready(c, &p->cnf, &p->net, way, method, steps, POINTS, probes);
    p->cnf.tol = tol;
    for (int i = 0; i < p->net.params; i++) p->net.grad[i] = 0;
    chapter_try(c, loss_at(p, &loss, NULL), "gradient");
    for (int i = 0; i < p->net.params; i++) grad[i] = p->net.grad[i];
    if (worst) chapter_try(c, flow_check_gradient(worst, loss_at, p, p->net.theta, grad,
                                                  p->net.params, 2e-5), "central differences");
    flow_cnf_free(&p->cnf);
}

/* |a - b|/|b|; *along = a'b/|b|^2. */
static double apart(const double *a, const double *b, int n, double *along) {
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; i++) ab += a[i] * b[i], bb += b[i] * b[i];
    for (int i = 0; i < n; i++) aa += (a[i] - b[i]) * (a[i] - b[i]);
    *along = ab / bb;
    return sqrt(aa / bb);
}

/* Backprop is exact for the loss as computed, however coarse the steps. The adjoint solves another
 * ODE, with errors of its own: the two meet as the steps, or its tolerance, shrink. */
static void check_steps(chapter *c, problem *p, double *a, double *b) {
    double worst, along, gap[5], steps[5];
    chapter_block(c, "rk4", "steps, backprop to differences, adjoint to backprop");
    for (int k = 0; k < 5; k++) {
        steps[k] = 2 << k;
        gradient(c, p, b, FLOW_BACKPROP, FLOW_RK4, 2 << k, 0, NULL, &worst);
        gradient(c, p, a, FLOW_ADJOINT, FLOW_RK4, 2 << k, 0, NULL, NULL);
        chapter_row3(c, steps[k], worst, gap[k] = apart(a, b, p->net.params, &along));
        if (k == 2) chapter_below(c, "backprop, 8 steps, to central differences", worst, 1e-6);
    }
    chapter_near(c, "adjoint to backprop: as steps to the", -4, chapter_slope(steps, gap, 5), 1);
}

static void check_tolerance(chapter *c, problem *p, double *a, double *b) {
    double worst, along, gap;
    gradient(c, p, b, FLOW_BACKPROP, FLOW_DOPRI5, 200, 0, NULL, NULL);
    chapter_block(c, "tolerance", "adjoint's relative error");
    for (int k = 1; k <= 12; k++) {
        double tol = pow(10, -k);
        gradient(c, p, a, FLOW_ADJOINT, FLOW_DOPRI5, 1, tol, NULL, k == 10 ? &worst : NULL);
        chapter_row2(c, tol, gap = apart(a, b, p->net.params, &along));
        if (k == 5) chapter_below(c, "  its tolerance 1e-5", gap, 1e-3);
        if (k == 10) chapter_below(c, "  its tolerance 1e-10", gap, 1e-8);
    }
    chapter_below(c, "  to central differences", worst, 1e-6);
}

/* With one probe a point the gradient is right on average: measured along the exact one. */
static void check_probes(chapter *c, problem *p, double *a, const double *exact, flow_rng *rng) {
    double along[200], mean, error;
    for (int i = 0; i < 200; i++) {
        gradient(c, p, a, FLOW_BACKPROP, FLOW_RK4, 8, 0, rng, NULL);
        apart(a, exact, p->net.params, &along[i]);
    }
    mean = chapter_mean(along, 200, &error);
    chapter_near(c, "one probe a point: along the exact gradient", 1, mean, 5 * error);
}

static void check_gradients(chapter *c, flow_rng *rng) {
    double *a, *b;
    problem p;
    start(c, &p.net, FLOW_TOY_MOONS, 10, 3, 4, rng);
    flow_toy_sample(FLOW_TOY_MOONS, rng, p.x, NULL, POINTS);
    a = chapter_alloc(c, 2 * (size_t)p.net.params), b = a + p.net.params;
    check_steps(c, &p, a, b);
    check_tolerance(c, &p, a, b);
    check_probes(c, &p, a, b, rng);
    flow_net_free(&p.net);
}

/* v = -3 W'tanh(W x + ...), down into a well. */
static void well(chapter *c, flow_net *net, flow_rng *rng) {
    chapter_try(c, flow_net_init(net, D, 0, 32, 1, FLOW_TANH, 256, rng), "network");
    for (int i = 0; i < 32 * D; i++)
        net->theta[32 * (D + 2) + i] = -3 * net->theta[i % 32 * (D + 1) + i / 32];
}

/* div v(x) = tr J for J = dv/dx; and of s'J s, whose mean that is, the variance by theory: with
 * S = (J + J')/2, 2 |S|^2 for Gaussian probes, 2 (|S|^2 - sum_i S_ii^2) for Rademacher's. */
static double divergence(chapter *c, flow_net *net, const double *x, double *theory) {
    double J[D * D], basis[D * D] = {0}, t = 0, div, S;
    flow_cnf cnf;
    chapter_try(c, flow_cnf_init(&cnf, flow_net_field(net), FLOW_EULER, 1, 1), "flow");
    chapter_try(c, flow_cnf_divergence(&cnf, NULL, &div, x, &t, 1), "div v");
    flow_cnf_free(&cnf);
    for (int i = 0; i < D; i++) basis[i * (D + 1)] = 1;
    flow_net_tangent(net, J, basis, 1, D); /* J', row by row */
    theory[0] = theory[1] = 0;
    for (int i = 0; i < D * D; i++) {
        S = (J[i] + J[i % D * D + i / D]) / 2;
        theory[0] += i % (D + 1) ? 2 * S * S : 0, theory[1] += 2 * S * S;
    }
    return div;
}

/* Many draws, each the mean over k probes at one point in D dimensions: their variance is theory's
 * over k. Means are held to five standard errors, for any seed. */
static void check_hutchinson(chapter *c, flow_rng *rng) {
    const char *const name[2] = {"Rademacher probe: mean", "Gaussian probe: mean"};
    int many = c->quick ? 400 : 4000;
    double *x = chapter_alloc(c, (size_t)(many * (D + 2))), *t = x + many * D, *est = t + many;
    double row[7][6], k[7], var[7], mean = 0, error = 0, theory[2], div;
    flow_net net;
    flow_cnf cnf;
    well(c, &net, rng);
    flow_normal_sample(rng, x, 1, D);
    for (int i = D; i < many * D; i++) x[i] = x[i - D];
    div = divergence(c, &net, x, theory);
    for (int kind = 0; kind < 2; kind++) {
        for (int j = 6; j >= 0; j--) {
            chapter_try(c, flow_cnf_init_hutchinson(&cnf, flow_net_field(&net), FLOW_EULER, 1, 256,
                                                    FLOW_RADEMACHER + kind, 1 << j, rng), "probes");
            chapter_try(c, flow_cnf_divergence(&cnf, NULL, est, x, t, many), "estimates");
            flow_cnf_free(&cnf);
            row[j][0] = k[j] = 1 << j, mean = chapter_mean(est, many, &error);
            row[j][1 + kind] = var[j] = error * error * many;
            row[j][3 + kind] = theory[kind] / k[j];
            if (kind == 0) row[j][5] = mean - div;
        }
        chapter_near(c, name[kind], div, mean, 5 * error);
        chapter_near(c, "  variance / theory", 1, var[0] / theory[kind], c->quick ? 0.9 : 0.3);
        chapter_near(c, "  of k: as k to the", -1, chapter_slope(k, var, 7), c->quick ? 0.3 : 0.1);
    }
    chapter_block(c, "probes", "k, variance (Rademacher, Gaussian), theory; mean - div v");
    for (int j = 0; j < 7; j++) chapter_row(c, row[j], 6);
    flow_net_free(&net);
}

/* ---- training ------------------------------------------------------------------------------- */

/* Whatever steps a solver takes, a network learns to put its divergence where they do not look. So
 * now and then twice as many are tried: do they change the mean log p of a batch by more than GAP
 * nats, training goes on with more; by much less, with fewer. */
static double adjust(chapter *c, flow_cnf *cnf, double steps, const double *x) {
    double few[BATCH], many[BATCH], gap = 0;
    cnf->steps = (int)steps;
    chapter_try(c, flow_cnf_logprob(cnf, few, x, BATCH), "likelihood");
    cnf->steps *= 2;
    chapter_try(c, flow_cnf_logprob(cnf, many, x, BATCH), "likelihood");
    for (int i = 0; i < BATCH; i++) gap += (few[i] - many[i]) / BATCH;
    if (fabs(gap) > GAP) return fmin(1.2 * steps + 1, MANY - 2);
    return fabs(gap) < GAP / 3 ? fmax(0.97 * steps, FEW) : steps;
}

/* By the natural gradient, which asks how far a step moves log p, not theta: sharp edges come of
 * many weights that change together, and Adam scales each of them by itself. The gradient, clipped,
 * has nearly always length 1. theta ends as its average over the last steps. */
static void train(chapter *c, flow_net *net, int set, int steps, double rate, flow_rng *rng) {
    double *mean = chapter_alloc(c, (size_t)net->params), x[2 * BATCH], loss, solver = FEW;
    const char *name = flow_toy_name(set);
    flow_cnf cnf;
    flow_opt opt;
    ready(c, &cnf, net, FLOW_BACKPROP, FLOW_RK4, MANY, BATCH, NULL);
    chapter_try(c, flow_opt_init(&opt, FLOW_NATURAL, rate, net->params), "optimiser");
    for (int step = 0; step < steps; step++) {
        flow_toy_sample(set, rng, x, NULL, BATCH);
        if (step % 20 == 0) solver = adjust(c, &cnf, solver, x);
        cnf.steps = (int)solver + flow_rng_below(rng, 3); /* at random: nowhere to hide */
        chapter_step(c, flow_cnf_nll(&cnf, &loss, x, BATCH), name, step);
        if (loss > 100)
            chapter_stop(c, 1, "%s: training diverged at step %d: a loss above 100 nats", name,
                         step + 1);
        flow_clip_norm(net->grad, 1, net->params);
        opt.rate = rate * flow_schedule_cosine(step, steps) * flow_schedule_warmup(step, 50);
        chapter_step(c, flow_opt_step(&opt, net->theta, net->grad), name, step);
        flow_ema_update(mean, net->theta, fmin(step / (step + 2.0), 0.99), net->params);
        chapter_progress(c, name, step + 1, steps);
    }
    memcpy(net->theta, mean, (size_t)net->params * sizeof *mean);
    flow_cnf_free(&cnf);
    flow_opt_free(&opt);
}

/* The loss on held-out data is entropy + KL(data, model). Returns the KL, by 32 solver steps: 16
 * must find the same. */
static double excess(chapter *c, flow_cnf *cnf, int set, double bound, flow_rng *rng) {
    const int n = c->quick ? c->n / 10 + 1 : c->n;
    double *x = chapter_alloc(c, 2 * (size_t)n), kl[2], error;
    flow_toy_sample(set, rng, x, NULL, n);
    for (int k = 0; k < 2; k++) {
        cnf->steps = 16 << k;
        kl[k] = chapter_excess(c, chapter_cnf_logprob, cnf, set, x, n, &error);
    }
    chapter_below(c, chapter_text("%s: NLL - entropy (nats)", flow_toy_name(set)), kl[1],
                  (c->quick ? 0.5 : bound) + (n < 10000 ? 5 * error : 0));
    chapter_near(c, "  by half as many solver steps", kl[1], kl[0], 0.02);
    return kl[1];
}

/* The density in cells 0.1 wide beside a histogram of data. A divergence that the solver overlooks
 * shows in its integral, too. */
static void density(chapter *c, flow_cnf *cnf, int set, int m, flow_rng *rng) {
    const int width[2] = {1, 1}, n = 400000;
    double *p = chapter_alloc(c, 2 * SIDE * SIDE), *data = p + SIDE * SIDE;
    double *x = chapter_alloc(c, 2 * (size_t)n);
    const double *value[2] = {p, data};
    cnf->steps = c->quick ? 4 : 24;
    chapter_near(c, "  integral of the density", 1, chapter_cells(c, cnf, p, SIDE, m),
                 c->quick ? 1e-2 : 1e-3);
    flow_toy_sample(set, rng, x, NULL, n);
    chapter_try(c, flow_histogram2(data, x, n, -5.5, 5.5, SIDE), "histogram");
    chapter_grid_block(c, chapter_text("%s_density", flow_toy_name(set)), "x y model data",
                       chapter_grid(c, -5.45, 5.45, SIDE, 2), SIDE, 2, value, width, 2);
}

/* ---- cost ----------------------------------------------------------------------------------- */

/* Bytes of training beside the flow's own, for more and more solver steps. What the hidden layer
 * leaves for backprop is phi, phi' and, of one probe, z'. */
static void check_memory(chapter *c, flow_net *net) {
    const int state = D + 1, left = (2 + 1) * net->mlp.width, most = 256;
    double first[4] = {0}, row[4] = {0};
    flow_rng probes;
    flow_cnf cnf;
    flow_rng_init(&probes, c->seed);
    chapter_block(c, "memory", "steps, bytes of backprop, of checkpoints, of adjoint");
    for (int s = 1; s <= most; s *= 2, chapter_row(c, row, 4))
        for (int way = FLOW_BACKPROP; way <= FLOW_ADJOINT; way++) {
            ready(c, &cnf, net, way, FLOW_RK4, s, BATCH, &probes);
            row[way] = (double)cnf.training_bytes, row[0] = s;
            if (s == 1) first[way] = row[way];
            flow_cnf_free(&cnf);
        }
    for (int way = FLOW_BACKPROP; way <= FLOW_ADJOINT; way++)
        row[way] = (row[way] - first[way]) / (most - 1);
    chapter_near(c, "bytes a solver step: backprop", 8 * 4 * (state + left) * BATCH, row[1], 0);
    chapter_near(c, "  with checkpoints", 8 * state * BATCH, row[2], 0);
    chapter_near(c, "  adjoint", 0, row[3], 0);
}

/* One training step in D dimensions: each way back with the exact divergence, whose D tangents are
 * too many to be kept (backprop then keeps points alone), and with one probe; last the loss of
 * chapter 11, which needs no memory besides the network. */
static void table_of_costs(chapter *c, flow_net *net, flow_rng *rng) {
    const char *const name[6] = {"backprop, exact divergence", "backprop, one probe",
                                 "checkpoints, exact divergence", "checkpoints, one probe",
                                 "adjoint, exact divergence", "adjoint, one probe"};
    double x[D * BATCH], t[BATCH] = {0}, loss, begin;
    flow_cnf cnf;
    flow_normal_sample(rng, x, BATCH, D);
    printf("one training step, d = %-23d %-19s milliseconds kilobytes\n", D, "evaluations of v");
    for (int k = 0; k < 6; k++) {
        ready(c, &cnf, net, FLOW_BACKPROP + k / 2, FLOW_RK4, 8, BATCH, k % 2 ? rng : NULL);
        begin = chapter_seconds();
        for (int i = 0; i < 4; i++) chapter_try(c, flow_cnf_nll(&cnf, &loss, x, BATCH), "step");
        printf("%-46s %-19ld %-12.3g %.0f\n", name[k], (cnf.ode.evals + cnf.reverse.evals) / 4,
               1e3 * (chapter_seconds() - begin) / 4,
               1e-3 * (double)(cnf.bytes + cnf.training_bytes));
        flow_cnf_free(&cnf);
    }
    begin = chapter_seconds();
    for (int i = 0; i < 4; i++)
        chapter_try(c, flow_cfm_loss(net, &loss, x, t, NULL, x, BATCH), "step");
    printf("%-46s %-19d %-12.3g %d\n", "flow matching (chapter 11)", 1,
           1e3 * (chapter_seconds() - begin) / 4, 0);
}

static void check_cost(chapter *c, flow_rng *rng) {
    flow_net net;
    chapter_try(c, flow_net_init(&net, D, 0, 64, 1, FLOW_TANH, BATCH, rng), "network");
    check_memory(c, &net);
    table_of_costs(c, &net, rng);
    flow_net_free(&net);
}

/* ---- all of it ------------------------------------------------------------------------------ */

/* A set (0 moons, 1 8gaussians, 2 checkerboard) from its start to its score, which is returned. */
static double learn(chapter *c, int set, int steps, double rate, flow_rng *rng) {
    const double bound[3] = {0.03, 0.02, 0.09};
    const int width[3] = {64, 64, 128}, fine[3] = {2, 1, 3};
    const int usual[3] = {2000, 3500, 4500};
    double kl;
    flow_net net;
    flow_cnf cnf;
    start(c, &net, set, width[set], 5, 0.1, rng);
    if (steps == 0) steps = usual[set];
    train(c, &net, set, c->quick ? steps / 12 + 1 : steps, rate, rng);
    chapter_try(c, flow_cnf_init(&cnf, flow_net_field(&net), FLOW_RK4, 16, 256), "flow");
    kl = excess(c, &cnf, set, bound[set], rng);
    density(c, &cnf, set, fine[set], rng);
    flow_cnf_free(&cnf);
    flow_net_free(&net);
    return kl;
}

int main(int argc, char **argv) {
    const char *set = NULL;
    int steps = 0;
    double rate = 0.0005, kl[3] = {0};
    const chapter_flag flags[] = {
        {"--set", CHAPTER_TEXT, &set, "only moons, 8gaussians or checkerboard"},
        {"--steps", CHAPTER_INT, &steps, "training steps; 0: as many as a set needs"},
        {"--rate", CHAPTER_REAL, &rate, "learning rate at its highest"}};
    flow_rng rng;
    chapter c;
    chapter_begin(&c, argc, argv, "10_cnf_training", "likelihood through an ODE", 10000, flags, 3);
    chapter_require(&c, c.n >= 100, "--n", "a number of at least 100");
    chapter_require(&c, !set || (flow_toy_find(set) >= 0 && flow_toy_find(set) < 3), "--set",
                    "moons, 8gaussians or checkerboard");
    chapter_require(&c, steps >= 0, "--steps", "0, or a number of steps");
    chapter_require(&c, rate > 0, "--rate", "a number above 0");
    flow_rng_init(&rng, c.seed);
    check_gradients(&c, &rng);
    check_hutchinson(&c, &rng);
    for (int k = 0; k < 3; k++)
        if (set ? k == flow_toy_find(set) : !c.quick || k == 1)
            kl[k] = learn(&c, k, steps, rate, &rng);
    chapter_block(&c, "excess", "nats above the entropy: moons, 8gaussians, checkerboard");
    chapter_row(&c, kl, 3);
    check_cost(&c, &rng);
    return chapter_end(&c);
}

/* Try this
 * - FLOW_ADAM in train, with --set checkerboard --rate 0.005: how far does it get in as many steps?
 * - --rate 0.2: training breaks off, and says where. How high may the rate be?
 * - GAP 1 and FEW = 2, --set checkerboard: the likelihood gets better than it can be. Is it one?
 * - In learn, width 16 for the checkerboard, then 32 and 64: sharp edges want many tanhs. */
