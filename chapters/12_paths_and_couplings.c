/* 12_paths_and_couplings - which way noise takes to data, and which noise goes with which data
 *
 * Beside it: "Flow Matching: A Deep Dive" (D), "Optimal Transport Flow" and "Advantages of OT
 * Paths"; "Flow Matching Series, Part 1" (B), its reading list: Lipman et al. 2023, and Tong et al.
 * 2024 (arXiv 2302.00482), whose table of flows in the plane is made again here.
 *
 * A path mixes data and noise, x_t = alpha(t) x1 + sigma(t) x0: a straight line for alpha = t,
 * sigma = 1 - t (linear), curves for the VP, cosine and VE paths of diffusion models. D calls the
 * straight ones optimal transport. Read that of a single pair (x0, x1): samples follow the
 * *marginal* velocity E[x1 - x0 | x_t], an average over the pairs that meet in x_t, and curve
 * wherever pairs cross. How much, says the normalised path energy
 *
 *     NPE = |E int_0^1 |v|^2 dt - W2^2| / W2^2      0 for the flow of optimal transport alone
 *
 * (a) Exact velocities of mixtures on four paths: error against evaluations. (b) Pairs that cross
 * less, by optimal transport within a minibatch. (c) Flows trained on them by one step, many times,
 *
 *     (x0, x1) <- pairs of a batch,  x_t = (1 - t) x0 + t x1 + 0.1 eps,  regress v on x1 - x0
 *
 * and these come close to D's straight trajectories. Figures: paths, evaluations, couplings,
 * table.
 *
 * Alone: cc -O2 -I. chapters/12_paths_and_couplings.c -lm -o 12_paths_and_couplings
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { SOLVERS = 4, LEVELS = 6, STARTS = 100, DRAWN = 40, MARKS = 50, PAIRS = 128 };
enum { TASKS = 4, TEST = 1000, EVEN = 4000, BATCH = 512, MOST = 64 };
enum { INDEPENDENT, OPTIMAL, SINKHORN, COUPLINGS };
enum { NORMAL, GAUSSIANS, MOONS, SCURVE, WIDE_MOONS, WIDE_GAUSSIANS };

static const char *const coupling_name[COUPLINGS] = {"independent", "optimal", "sinkhorn"};

typedef struct {
    const char *name;
    int from, to;
    double npe[2], w2[2]; /* the paper's means: independent, optimal */
} task;
static const task tasks[TASKS] = {
    {"N-8gaussians", NORMAL, GAUSSIANS, {0.222, 0.018}, {1.284, 1.262}},
    {"moons-8gaussians", WIDE_MOONS, WIDE_GAUSSIANS, {2.738, 0.053}, {1.977, 1.923}},
    {"N-moons", NORMAL, MOONS, {0.841, 0.087}, {0.338, 0.239}},
    {"N-scurve", NORMAL, SCURVE, {0.867, 0.027}, {0.333, 0.264}}};

/* The short run; --full makes it the paper's protocol, but for one thing: the paper couples a whole
 * batch of 512, which takes hours, here optimal pairs are found within its quarters of 128. Pairs
 * are coupled within `sub` of a batch (Sinkhorn's, which takes longer, within 32). Tests are
 * `draws` sets of `points` points; the W2 from start to data takes `even` of them. */
static struct {
    int full, task, seeds, steps, batch, sub, draws, points, even;
    double rate, epsilon;
} p = {0, 0, 0, 2600, 64, 64, 1, TEST, TEST, 0.016, 16};

static double squares(const double *x, const double *y, int n) { /* mean |x - y|^2 */
    double sum = 0;
    for (int i = 0; i < 2 * n; i++) sum += (x[i] - y[i]) * (x[i] - y[i]) / n;
    return sum;
}

/* E int_0^1 |v|^2 dt on the ways of x[n*2], which Euler's steps carry to the end. */
static double energy_of(chapter *c, flow_field v, int steps, double *x, int n) {
    double energy = 0;
    flow_cnf euler;
    chapter_try(c, flow_cnf_init(&euler, v, FLOW_EULER, steps, 200), "Euler");
    chapter_try(c, flow_path_energy(&euler, &energy, x, n), "Euler");
    flow_cnf_free(&euler);
    return energy;
}

/* k equal Gaussians on a circle (d = 2) or two humps (k = 2, d = 1), and their exact velocity. */
static void circle(chapter *c, chapter_exact *e, int k, int d, double radius, double spread,
                   int path) {
    double weight[8], mean[16], cov[32] = {0};
    for (int i = 0; i < k * d; i++) {
        const double angle = 2 * CHAPTER_PI * (i / d) / k;
        weight[i / d] = 1;
        mean[i] = radius * (i % d ? sin(angle) : cos(angle));
        cov[i * d + i % d] = spread * spread;
    }
    chapter_try(c, flow_mixture_init(&e->data, weight, mean, cov, k, d), "mixture");
    chapter_exact_init(c, e, path, "exact velocity");
}

/* A block of alpha and sigma of a path, and of where v carries DRAWN samples from x0[DRAWN*d]. */
static void trajectories(chapter *c, const char *name, flow_field v, int path, const double *x0) {
    double row[3 + 2 * DRAWN];
    flow_cnf flow;
    chapter_try(c, flow_cnf_init(&flow, v, FLOW_RK4, c->quick ? 1 : 4, DRAWN), "flow");
    chapter_block(c, name, "t alpha sigma, then every sample");
    memcpy(row + 3, x0, (size_t)(v.d * DRAWN) * sizeof *x0);
    for (int k = 0; k <= MARKS; k++) {
        const double h = 1 / (double)MARKS, t = k * h;
        const flow_path at = flow_path_at(path, t);
        row[0] = t, row[1] = at.alpha, row[2] = at.sigma;
        chapter_row(c, row, 3 + v.d * DRAWN);
        if (k < MARKS)
            chapter_try(c, flow_cnf_transport(&flow, row + 3, NULL, t, t + h, DRAWN), name);
    }
    flow_cnf_free(&flow);
}

/* ---- (a) four paths, by exact velocities ----------------------------------------------------- */

/* v to noise, to data, to score and to v again, at points x_t of a path: how far from v is that? */
static double conversions(chapter *c, const chapter_exact *e, int path, flow_rng *rng) {
    enum { N = 200 };
    static const int turn[5] = {FLOW_VELOCITY, FLOW_NOISE, FLOW_DATA, FLOW_SCORE, FLOW_VELOCITY};
    double x0[2 * N], x1[2 * N], x[2 * N], u[2 * N], t[N];
    flow_normal_sample(rng, x0, N, 2);
    flow_mixture_sample(&e->data, rng, x1, NULL, N);
    for (int i = 0; i < N; i++) t[i] = 0.02 + 0.96 * flow_rng_uniform(rng);
    flow_path_sample(path, x, u, x0, x1, t, N, 2);
    chapter_try(c, e->v.velocity(e->v.ctx, u, x, t, N), "exact velocity");
    memcpy(x0, u, sizeof u);
    for (int k = 0; k < 4; k++)
        chapter_try(c, flow_path_convert(path, turn[k + 1], x0, turn[k], x0, x, t, N, 2), "v");
    return sqrt(squares(x0, u, N));
}

/* x[STARTS*2], moved from start in equal steps or, tol being above 0, in steps of the solver's own
 * choice. Returns the evaluations it took. */
static double solve(chapter *c, flow_field v, int method, int steps, double tol,
                    const double *start, double *x) {
    double evals;
    flow_cnf flow;
    chapter_try(c, flow_cnf_init(&flow, v, method, steps, STARTS), "flow");
    flow.tol = tol;
    memcpy(x, start, 2 * STARTS * sizeof *x);
    chapter_try(c, flow_cnf_transport(&flow, x, NULL, 0, 1, STARTS), "solve");
    evals = (double)flow.ode.evals;
    flow_cnf_free(&flow);
    return evals;
}

/* Every solver on one path; Dormand and Prince's chooses its steps. The error is the root mean
 * square distance to a very fine solve from the same STARTS points. need[]: evaluations for an
 * error of goal[], on straight lines between the logarithms. */
static void evaluations(chapter *c, int path, flow_field v, const double *start,
                        const double *data, double *need) {
    static const int method[SOLVERS] = {FLOW_DOPRI5, FLOW_MIDPOINT, FLOW_RK4, FLOW_EULER};
    static const double goal[SOLVERS] = {0.001, 0.01, 0.003, 0.03};
    double fine[2 * STARTS], x[2 * STARTS], evals[LEVELS], error[LEVELS];
    solve(c, v, FLOW_DOPRI5, 128, 1e-10, start, fine);
    for (int s = 0; s < SOLVERS; s++) {
        const flow_tableau *tableau = flow_ode_tableau(method[s]);
        chapter_block(c, chapter_text("%s_%s", flow_path_name(path), tableau->name),
                      "evaluations, error, W2 to data");
        for (int k = 0; k < LEVELS; k++) {
            const double tol = s == 0 ? exp(-log(10) * (k + 3)) : 0;
            evals[k] = solve(c, v, method[s], (8 << k) / tableau->stages, tol, start, x);
            error[k] = sqrt(squares(x, fine, STARTS));
            chapter_row3(c, evals[k], error[k], chapter_w2(c, x, data, STARTS, STARTS));
            if (k == 0 || (k > 1 && error[k - 1] < goal[s])) continue;
            need[s] = evals[k] * exp(log(evals[k - 1] / evals[k]) * log(goal[s] / error[k]) /
                                     log(error[k - 1] / error[k]));
        }
    }
}

static void paths(chapter *c, flow_rng *rng) {
    static double z[2 * TEST], x[2 * TEST], data[2 * TEST];
    double need[FLOW_PATH_COUNT][SOLVERS], npe[FLOW_PATH_COUNT], ratio[SOLVERS], worst = 0, w2;
    flow_normal_sample(rng, z, p.points, 2);
    for (int path = 0; path < FLOW_PATH_COUNT; path++) {
        const double sigma = flow_path_at(path, 0).sigma;
        chapter_exact eight, humps;
        circle(c, &humps, 2, 1, 2, 0.4, path);
        circle(c, &eight, 8, 2, 3, 0.375, path);
        for (int i = 0; i < DRAWN; i++) x[i] = sigma * (2 * i + 1 - DRAWN) * 2.2 / (double)DRAWN;
        trajectories(c, chapter_text("%s_path", flow_path_name(path)), humps.v, path, x);
        if (path == 0) flow_mixture_sample(&eight.data, rng, data, NULL, p.points);
        for (int i = 0; i < 2 * p.points; i++) x[i] = sigma * z[i];
        worst = chapter_worse(worst, conversions(c, &eight, path, rng));
        evaluations(c, path, eight.v, x, data, need[path]);
        w2 = chapter_w2(c, x, data, p.points, p.points);
        npe[path] = energy_of(c, eight.v, 128, x, p.points) / (w2 * w2) - 1;
        chapter_say(c, chapter_text("NPE of the exact flow, %s path", flow_path_name(path)),
                    npe[path], "");
        chapter_exact_free(&eight);
        chapter_exact_free(&humps);
    }
    for (int s = 0; s < SOLVERS; s++) ratio[s] = need[FLOW_LINEAR][s] / need[FLOW_VP][s];
    chapter_below(c, "  linear over VP", npe[FLOW_LINEAR] / npe[FLOW_VP], 1);
    chapter_near(c, "v, noise, data and score made into each other", 0, worst, 1e-8);
    chapter_above(c, "evaluations, linear over VP: Euler", ratio[3], 1);
    chapter_below(c, "  midpoint", ratio[1], 0.85);
    chapter_below(c, "  RK4", ratio[2], 0.85);
    chapter_say(c, "  Dormand-Prince, adaptive", ratio[0], "");
}

/* ---- (b) couplings --------------------------------------------------------------------------- */

/* n points by the definitions of the paper's code. Eight Gaussians: radius 5, deviation 1 (many
 * copies pass sqrt(0.1) as a variance, which makes it 0.56); wide: 12 and 1.5. Moons: noise 0.05,
 * x2, first coordinate - 1; wide: noise 0.1, standardised by one mean and one deviation, x7.
 * S-curve: noise 0.05, x1.5. The place u along circle or curve is uniform. In an even set point i
 * has it in [i, i + 1)/n, so that each Gaussian and moon has its share, and the points are scaled
 * to the true E|x|^2, which would be most of the chance in the W2 between two sets. */
static void draw(int set, int even, flow_rng *rng, double *x, int n) {
    const double wide = 7 / sqrt(0.681875 - 0.5 / CHAPTER_PI), scale[6] = {1, 5, 2, 1.5, wide, 12};
    const double noise[6] = {1, 0.2, 0.05, 0.05, 0.1, 0.125};
    const double second[6] = {2, 27, 5.52 - 4 / CHAPTER_PI, 4.51125 + 3 / CHAPTER_PI, 98, 148.5};
    double square = 0;
    flow_normal_sample(rng, x, n, 2);
    for (int i = 0; i < n; i++) {
        const double random = flow_rng_uniform(rng), u = even ? (i + random) / n : random;
        const double a = 2 * CHAPTER_PI * u, b = CHAPTER_PI / 4 * floor(8 * u), lower = u >= 0.5;
        const double s = 3 * CHAPTER_PI * (u - 0.5), moon[2] = {cos(a) + lower, sin(a) + lower / 2};
        const double at[6][2] = {{0, 0}, {cos(b), sin(b)}, {moon[0] - 0.5, moon[1]},
                                 {sin(s), (s < 0 ? -1 : 1) * (cos(s) - 1)},
                                 {moon[0] - 0.375, moon[1] - 0.375}, {cos(b), sin(b)}};
        for (int j = 2 * i; j < 2 * i + 2; j++) {
            x[j] = scale[set] * (at[set][j % 2] + noise[set] * x[j]);
            square += x[j] * x[j] / n;
        }
    }
    for (int i = 0; even && i < 2 * n; i++) x[i] *= sqrt(second[set] / square);
}

static void couple(chapter *c, flow_ot *ot, int coupling, double epsilon, flow_rng *rng,
                   double *x0, const double *x1, int n) {
    if (coupling == OPTIMAL) chapter_try(c, flow_ot_exact(ot, x0, x1, n), "assignment");
    if (coupling == SINKHORN)
        chapter_try(c, flow_ot_sinkhorn(ot, rng, x0, x1, epsilon, n), "Sinkhorn's plan");
}

/* Is q to the left of the line from a to b? */
static int left(const double *a, const double *b, const double *q) {
    return (b[0] - a[0]) * (q[1] - a[1]) > (b[1] - a[1]) * (q[0] - a[0]);
}

/* Lines from x0_i to x1_i that cross: each has the other's ends on its two sides. */
static double crossings(const double *x0, const double *x1) {
    double count = 0;
    for (int i = 0; i < 2 * PAIRS; i += 2)
        for (int j = 0; j < i; j += 2)
            count += left(x0 + i, x1 + i, x0 + j) != left(x0 + i, x1 + i, x1 + j) &&
                     left(x0 + j, x1 + j, x0 + i) != left(x0 + j, x1 + j, x1 + i);
    return count;
}

/* The plan of Sinkhorn's has the least total - epsilon entropy. The entropy of plans is between
 * ln n and 2 ln n, so its total exceeds the optimal one by at most epsilon ln n. */
static void couplings(chapter *c, flow_rng *rng) {
    double x0[2 * PAIRS], x1[2 * PAIRS], y[2 * PAIRS], total[COUPLINGS], cross[COUPLINGS];
    flow_ot ot;
    chapter_try(c, flow_ot_init(&ot, PAIRS, 2), "coupling");
    ot.tol = 1e-4;
    draw(WIDE_MOONS, 1, rng, x0, PAIRS);
    draw(WIDE_GAUSSIANS, 0, rng, x1, PAIRS); /* even ones are in order: that would be a coupling */
    for (int k = 0; k < COUPLINGS; k++) {
        memcpy(y, x0, sizeof y);
        couple(c, &ot, k, p.epsilon, rng, y, x1, PAIRS);
        total[k] = squares(y, x1, PAIRS);
        cross[k] = crossings(y, x1);
        chapter_block(c, chapter_text("pairs_%s", coupling_name[k]), "from x y, to x y");
        for (int i = 0; i < 2 * PAIRS; i += 2) chapter_row4(c, y[i], y[i + 1], x1[i], x1[i + 1]);
    }
    chapter_say(c, "mean |x1 - x0|^2 of independent pairs", total[INDEPENDENT], "");
    chapter_below(c, "  of optimal pairs", total[OPTIMAL], total[INDEPENDENT]);
    for (double e = 32; e > (c->quick ? 4 : 1); e /= 4) {
        memcpy(y, x0, sizeof y);
        couple(c, &ot, SINKHORN, e, rng, y, x1, PAIRS);
        chapter_between(c, chapter_text("  of Sinkhorn's plan, less that: epsilon %g", e),
                        ot.total - total[OPTIMAL], -0.1, e * log((double)PAIRS) + 0.1);
    }
    chapter_below(c, "crossing lines, optimal over independent",
                  cross[OPTIMAL] / cross[INDEPENDENT], 0.5);
    flow_ot_free(&ot);
}

/* ---- (c) the table --------------------------------------------------------------------------- */

/* The loss of a batch: noise and data in pairs, found within parts of it; x_t between the two, with
 * noise of its own. */
static int batch_loss(chapter *c, flow_net *net, const task *k, int coupling, flow_ot *ot,
                      const double *data, flow_rng *rng) {
    static double x0[2 * BATCH], x1[2 * BATCH], xt[2 * BATCH], u[2 * BATCH], t[BATCH];
    const int n = p.batch, sub = ot->batch;
    double loss;
    draw(k->from, 0, rng, x0, n);
    for (int i = 0; i < n; i++)
        memcpy(x1 + 2 * i, data + 2 * flow_rng_below(rng, c->n), 2 * sizeof *x1);
    for (int i = 0; i < n; i += sub)
        couple(c, ot, coupling, p.epsilon, rng, x0 + 2 * i, x1 + 2 * i, n - i < sub ? n - i : sub);
    for (int i = 0; i < n; i++) t[i] = flow_rng_uniform(rng);
    flow_path_sample(FLOW_LINEAR, xt, u, x0, x1, t, n, 2);
    flow_normal_sample(rng, x0, n, 2);
    for (int i = 0; i < 2 * n; i++) xt[i] += 0.1 * x0[i];
    return flow_cfm_loss(net, &loss, xt, t, NULL, u, n);
}

/* What flows is always new, the data are --n points. At the paper's constant rate Adam's own noise
 * moves the path energy by some percent of W2^2 from step to step; so, beyond the paper, --full
 * measures with the average of the weights over the last 2,000 steps or so. */
static void train(chapter *c, flow_net *net, const task *k, int coupling, double *data,
                  flow_rng *rng) {
    const char *what = chapter_text("%s, %s pairs", k->name, coupling_name[coupling]);
    const int most = coupling == SINKHORN ? 32 : p.batch;
    double *average;
    flow_opt adam;
    flow_ot ot;
    draw(k->to, 1, rng, data, c->n);
    chapter_try(c, flow_net_init(net, 2, 0, 64, 3, FLOW_SELU, BATCH, rng), "network");
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, p.rate, net->params), "Adam");
    chapter_try(c, flow_ot_init(&ot, p.sub < most ? p.sub : most, 2), "coupling");
    average = chapter_alloc(c, (size_t)net->params);
    memcpy(average, net->theta, (size_t)net->params * sizeof *average);
    adam.decay = 1e-5;
    ot.tol = 0.01; /* of partners to be drawn at random anyway */
    for (int step = 0; step < p.steps; step++) {
        if (!p.full) adam.rate = p.rate * flow_schedule_cosine(step, p.steps);
        chapter_step(c, batch_loss(c, net, k, coupling, &ot, data, rng), what, step);
        chapter_step(c, flow_opt_step(&adam, net->theta, net->grad), what, step);
        flow_ema_update(average, net->theta, 0.9995, net->params);
        chapter_progress(c, what, step + 1, p.steps);
    }
    if (p.full) memcpy(net->theta, average, (size_t)net->params * sizeof *average);
    flow_ot_free(&ot);
    flow_opt_free(&adam);
}

/* On new points, by Euler's 100 steps: m[0], the NPE of a field (W2 from even sets, or it would
 * measure how many points each Gaussian got); m[1], the W2 of what it makes to data; m[2], that of
 * data to data. The same rng gives the same points. */
static void measure(chapter *c, const task *k, flow_field v, flow_rng rng, double *m) {
    static double x[2 * EVEN], y[2 * EVEN];
    const int n = p.points;
    double energy = 0, apart = 0, w2;
    m[1] = m[2] = 0;
    for (int i = 0; i < p.draws; i++) {
        draw(k->from, 1, &rng, x, p.even);
        draw(k->to, 1, &rng, y, p.even);
        w2 = chapter_w2(c, x, y, p.even, p.even);
        apart += w2 * w2 / p.draws;
        draw(k->to, 0, &rng, x, n);
        draw(k->to, 0, &rng, y, n);
        m[2] += chapter_w2(c, x, y, n, n) / p.draws;
        draw(k->from, 0, &rng, x, n);
        energy += energy_of(c, v, 100, x, n) / p.draws;
        m[1] += chapter_w2(c, x, y, n, n) / p.draws;
    }
    m[0] = fabs(energy - apart) / apart;
}

/* What only N-8gaussians knows: the NPE of independent pairs in closed form, over the same points
 * as the network's. The noise of 0.1, which is not in it, takes about 0.01 off; a short training
 * leaves as much to chance. */
static void against_closed_form(chapter *c, double npe, flow_rng rng) {
    double m[3];
    chapter_exact e;
    circle(c, &e, 8, 2, 5, 1, FLOW_LINEAR);
    measure(c, tasks, e.v, rng, m);
    chapter_near(c, "N-8gaussians, independent: NPE, closed form", 0.207, m[0],
                 0.06 * sqrt(1000.0 / p.points / p.draws));
    chapter_near(c, "  the network's", m[0], npe, c->quick ? 0.25 : p.full ? 0.03 : 0.05);
    chapter_exact_free(&e);
}

/* A cell of the table; is it below the paper's mean? The whole protocol may be no worse than that
 * mean and a quarter of it. */
static int cell(chapter *c, const char *quantity, double paper, double got, double most) {
    if (p.full) most = 1.25 * paper;
    chapter_check(c, quantity, chapter_text("paper %g", paper), got, chapter_text("< %.3g", most),
                  got < most);
    return got < paper;
}

static const char *spread(double deviation) {
    return p.seeds > 1 ? chapter_text(" +- %.2g", deviation) : "";
}

/* A line of the table, from got[coupling][seed] of measure. Returns how many of its four cells beat
 * the paper's mean. The short run is asked what any seed answers: optimal pairs twice as straight,
 * W2 within 3 times data to data's (by chance this can be small) or half above the paper's. The
 * noise of 0.1 takes some energy off the ways to thin curves, where E |v|^2 ends below W2^2. */
static int line(chapter *c, const task *k, double got[][MOST][3]) {
    double row[8], cov[9], most = (c->quick ? 2.5 : 1.5) * k->npe[0];
    int better = 0;
    for (int i = 0; i < 2; i++) {
        const char *pairs_of = coupling_name[i];
        chapter_moments(row, cov, got[i][0], p.seeds, 3);
        for (int j = 0; j < 3; j++)
            row[j + 3] = p.seeds > 1 ? sqrt(cov[4 * j] * p.seeds / (p.seeds - 1)) : 0;
        row[6] = k->npe[i], row[7] = k->w2[i];
        chapter_block(c, chapter_text("%s_%s", k->name, pairs_of),
                      "NPE, W2, W2 of data to data; their deviations; the paper's NPE, W2");
        chapter_row(c, row, 8);
        better += cell(c, chapter_text("%s, %s: NPE%s", k->name, pairs_of, spread(row[3])), row[6],
                       row[0], most);
        better += cell(c, chapter_text("  W2%s (data to data: %.3f)", spread(row[4]), row[2]),
                       row[7], row[1], fmax((c->quick ? 4 : 3) * row[2], 1.5 * row[7]));
        most = c->quick ? k->npe[0] : row[0] / 2; /* of the optimal pairs, which come next */
    }
    return better;
}

/* All networks of a line. One line is in the figure, with Sinkhorn's pairs too. */
static int networks(chapter *c, const task *k) {
    static double got[COUPLINGS][MOST][3];
    double *data = chapter_alloc(c, 2 * (size_t)c->n), x[2 * DRAWN];
    for (int seed = 0; seed < p.seeds; seed++) {
        const int shown = k == &tasks[1] && seed == 0;
        for (int i = 0; i < (shown ? COUPLINGS : 2); i++) {
            double *m = got[i][seed];
            flow_rng rng, same;
            flow_net net;
            flow_rng_init(&rng, c->seed + (uint64_t)seed);
            same = flow_rng_split(&rng);
            train(c, &net, k, i, data, &rng);
            measure(c, k, flow_net_field(&net), same, m);
            if (k == tasks && seed + i == 0) against_closed_form(c, m[0], same);
            if (i == SINKHORN) chapter_say(c, chapter_text("%s, sinkhorn: NPE", k->name), m[0], "");
            draw(k->from, 0, &same, x, DRAWN);
            if (shown)
                trajectories(c, chapter_text("flow_%s", coupling_name[i]), flow_net_field(&net),
                             FLOW_LINEAR, x);
            flow_net_free(&net);
        }
    }
    return line(c, k, got);
}

static void begin(chapter *c, int argc, char **argv) {
    const chapter_flag flags[] = {
        {"--full", CHAPTER_SWITCH, &p.full, "the paper's protocol, five seeds: an hour or two"},
        {"--task", CHAPTER_INT, &p.task, "a single line of the table, 1 to 4; 0: all"},
        {"--seeds", CHAPTER_INT, &p.seeds, "trainings of each kind; 0: one, or --full's five"},
        {"--steps", CHAPTER_COUNT, &p.steps, "of training, if not --full"},
        {"--sub", CHAPTER_COUNT, &p.sub, "pairs are coupled within, if not --full"},
        {"--rate", CHAPTER_REAL, &p.rate, "of AdamW, falling to 0, if not --full"},
        {"--epsilon", CHAPTER_REAL, &p.epsilon, "of Sinkhorn, a squared distance"}};
    chapter_begin(c, argc, argv, "12_paths_and_couplings", "straight and other ways to data",
                  10000, flags, 7);
    chapter_require(c, c->n >= 100, "--n", "a number of at least 100");
    chapter_require(c, p.task >= 0 && p.task <= TASKS, "--task", "0 to 4");
    chapter_require(c, p.seeds >= 0 && p.seeds <= MOST, "--seeds", "0 to 64");
    chapter_require(c, p.rate > 0, "--rate", "a number above 0");
    chapter_require(c, p.epsilon >= 1, "--epsilon", "a number of at least 1");
    if (c->quick) p.steps = 60, p.points = p.even = 60;
    if (p.full) p.steps = 20000, p.rate = 1e-3, p.batch = BATCH, p.sub = BATCH / 4;
    if (p.full) p.draws = 5, p.points = TEST, p.even = EVEN;
    if (p.seeds == 0) p.seeds = p.full ? 5 : 1;
}

int main(int argc, char **argv) {
    const double start = chapter_seconds();
    int better = 0;
    chapter c;
    flow_rng rng;
    begin(&c, argc, argv);
    flow_rng_init(&rng, c.seed);
    paths(&c, &rng);
    couplings(&c, &rng);
    for (int k = 0; k < TASKS; k++)
        if (!p.task || k == p.task - 1) better += networks(&c, &tasks[k]);
    if (p.full && !p.task) chapter_above(&c, "cells below the paper's mean, of 16", better, 11);
    if (p.full) chapter_say(&c, "minutes", (chapter_seconds() - start) / 60, "");
    return chapter_end(&c);
}

/* Try this
 * 1. --task 2 --sub 4, then 16: how straight is a flow from optimal pairs of 4? What changes at 64?
 * 2. --epsilon 1000 --task 2: which coupling does Sinkhorn's become? See its NPE, then the figure.
 * 3. In paths, take FLOW_COSINE for FLOW_VP: the path of straight lines is not the straightest. */
