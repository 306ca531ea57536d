/* 06_coupling - triangular Jacobians: layers whose log-determinant is a sum of d logarithms
 *
 * A determinant costs d^3 operations, a triangular one only the product of its diagonal. So let a
 * network see some coordinates, and scale and shift others by what it saw:
 *
 *     y_j = x_j e^(s_j) + t_j,   x_j = (y_j - t_j) e^(-s_j),   log|det dy/dx| = sum_j s_j
 *
 *     NICE     (s, t) from half of the coordinates, s = 0: volume is kept
 *     RealNVP  the same with s
 *     Glow     RealNVP, with an actnorm and a learned linear map L U in place of alternating masks
 *     MAF      (s_j, t_j) from x_1 ... x_(j-1): one pass forward, but d passes for the inverse
 *
 * The network is never inverted, so it may be any network. One coupling layer leaves half of x as
 * it is, hence the alternating masks. (B calls s and t unconstrained; here s = 3 tanh(o/3), since
 * one large e^s spoils a training. B's full-rank Jacobian is the residual layer's, chapter 07: more
 * expressive layer by layer, and its log-determinant is work again.)
 *
 * Beside: "Flow Matching Series, Part 1" (B), "Strategy: Triangular Jacobians" and "Affine Coupling
 * Layers (RealNVP)"; "Flow Matching: A Deep Dive" (D), "Practical Requirements and
 * Implementations"; slides "Flow-based generative models" (E), real NVP.
 * You will see the zeros of the Jacobians (figure jacobian), what the four make of three targets
 * (densities), and two moons turned into noise, one coordinate at a time (layers).
 *
 * Alone: cc -O2 -I. chapters/06_coupling.c -lm -o 06_coupling && ./06_coupling
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"

enum { NICE, REALNVP, GLOW, MAF, MODELS, SETS = 3, D = 8 };
enum { LAYERS = 14, WIDTH = 20, BATCH = 128, DRAWN = 512, MOST = 32, SIDE = 80, POINTS = 4 };

static const char *const model_name[MODELS] = {"NICE", "RealNVP", "Glow", "MAF"};

/* rate and steep: times --rate and --steep, as sharp edges want small steps from steep units.
 * enough: nats above the entropy; NICE keeps volumes, nothing is asked of it. */
static const struct {
    int toy;
    long steps;
    double rate, clip, steep, enough[MODELS]; /* clip: the longest gradient */
} plan[SETS] = {{FLOW_TOY_MOONS, 2000, 1, 2, 0.4, {0, 0.03, 0.03, 0.03}},
                {FLOW_TOY_8GAUSSIANS, 2500, 0.8, 2, 1, {0, 0.09, 0.10, 0.09}},
                {FLOW_TOY_CHECKERBOARD, 4200, 0.9, 0.5, 1, {0, 0.18, 0.22, 0.18}}};

/* ---- the four models ------------------------------------------------------------------------ */

typedef struct {
    int mask[2][MOST];
    flow_conditioner spec[2]; /* of even and of odd layers */
    flow_chain flow;          /* data -> noise */
    double x[POINTS * D];     /* where brute force looks at it */
} model;

/* Layer k: odd ones see the other half or, in MAF, the other order; Glow's linear map mixes. */
static flow_bijection conditioned(model *m, int kind, int d, int k) {
    const int odd = kind == GLOW ? 0 : k % 2;
    const flow_conditioner spec = {
        kind == MAF ? NULL : m->mask[odd], kind == NICE, odd, WIDTH, 1, FLOW_TANH, 0};
    flow_mask_alternate(m->mask[odd], d, odd);
    m->spec[odd] = spec;
    return kind == MAF ? flow_autoregressive(d, &m->spec[odd]) : flow_coupling(d, &m->spec[odd]);
}

/* The first weights of every network become `steep` times larger: its units then bend within the
 * data. Edges of s and t take most of the training to grow from units that start nearly flat. */
static void build(chapter *c, model *m, int kind, int d, int layers, double steep, flow_rng *rng) {
    flow_bijection layer[3 * LAYERS + 1];
    int count = 0;
    for (int k = 0; k < layers; k++) {
        if (k == 0 || kind == GLOW) layer[count++] = flow_actnorm(d);
        if (kind == GLOW) layer[count++] = flow_linear(d, NULL);
        layer[count++] = conditioned(m, kind, d, k);
    }
    layer[count++] = flow_actnorm(d); /* the diagonal scaling that NICE ends with */
    chapter_try(c, flow_chain_init(&m->flow, layer, count, FLOW_TO_NOISE, DRAWN, rng), "a model");
    for (int k = 0; k < count; k++)
        for (int i = 0; layer[k].spec && i < WIDTH * (d + 1); i++)
            flow_chain_theta(&m->flow, k)[i] *= steep;
}

/* ---- the Jacobian: zeros, log-determinant, gradient, inverse -------------------------------- */

static int chain_map(void *ctx, double *y, const double *x) {
    double logdet = 0;
    return flow_chain_forward((flow_chain *)ctx, y, &logdet, x, 1);
}

typedef struct {
    int above, moved; /* entries above the diagonal that are not 0, coordinates not as before */
    double gap;       /* log-det less the sum of the diagonal's logs */
} pattern;

/* Writes dy_i/dx_j of layers with random parameters, at a random point. */
static pattern jacobian(chapter *c, const char *name, const flow_bijection *layer, int count,
                        flow_rng *rng) {
    pattern p = {0, 0, 0};
    double entry[D * D], x[D], y[D];
    flow_chain f;
    chapter_try(c, flow_chain_init(&f, layer, count, FLOW_TO_NOISE, 1, rng), name);
    for (int i = 0; i < f.params; i++) f.theta[i] = 0.4 * flow_rng_normal(rng);
    flow_normal_sample(rng, x, 1, D);
    chapter_try(c, flow_check_jacobian(entry, chain_map, &f, x, D, 1e-5), name);
    chapter_try(c, flow_chain_forward(&f, y, &p.gap, x, 1), name);
    chapter_block(c, name, "row column dy/dx");
    for (int i = 0; i < D * D; i++) {
        chapter_row3(c, i / D + 1, i % D + 1, entry[i]);
        p.above += i % D > i / D && entry[i] != 0;
    }
    for (int i = 0; i < D; i++) {
        p.moved += y[i] != x[i];
        p.gap -= log(fabs(entry[i * D + i]));
    }
    flow_chain_free(&f);
    return p;
}

/* Four kinds of layer in 8 dimensions: where their Jacobians are 0, and what the zeros are for. */
static void jacobians(chapter *c, flow_rng *rng) {
    const flow_residual_spec full = {WIDTH, 1, FLOW_TANH, 0, 0, 0, 0};
    const flow_bijection residual = flow_residual(D, &full);
    model half, ordered;
    const flow_bijection coupling[2] = {conditioned(&half, REALNVP, D, 0),
                                        conditioned(&half, REALNVP, D, 1)};
    const flow_bijection maf = conditioned(&ordered, MAF, D, 0);
    for (int j = 0; j < D; j++) half.mask[0][j] = j < D / 2, half.mask[1][j] = j >= D / 2;
    const pattern one = jacobian(c, "coupling", coupling, 1, rng),
                  two = jacobian(c, "two_layers", coupling, 2, rng),
                  triangular = jacobian(c, "maf", &maf, 1, rng),
                  dense = jacobian(c, "residual", &residual, 1, rng);
    chapter_near(c, "coupling: entries above the diagonal, of 28", 0, one.above, 0);
    chapter_near(c, "  coordinates that one layer moves, of 8", 4, one.moved, 0);
    chapter_near(c, "  coordinates that two layers move", 8, two.moved, 0);
    chapter_near(c, "MAF: entries above the diagonal", 0, triangular.above, 0);
    chapter_near(c, "both: log-det less the diagonal's sum of logs", 0,
                 chapter_worse(fabs(one.gap), fabs(triangular.gap)), 1e-6);
    chapter_near(c, "residual layer: entries above the diagonal", 28, dense.above, 0);
}

static int loss_of_theta(void *ctx, double *loss, const double *theta) {
    model *m = (model *)ctx;
    (void)theta; /* the chain's own, which flow_check_gradient moves */
    return flow_chain_nll(&m->flow, loss, m->x, POINTS);
}

enum { KINDS = 6, ACTNORM = 4, REVERSED = 5 }; /* beside the four: MAF from x_d down to x_1 */

/* A layer of parameters of `size` standard deviations, divided by sqrt(d) as the weights of a
 * network are: with 3 at d = 8, MAF's inverse, where each coordinate hands its rounding on to the
 * next, loses four or five more digits than with 3/sqrt(8). Those of Glow's linear map are divided
 * by d: triangular matrices of large random entries are singular in all but name. The actnorm in
 * front has a gradient only through the layer's dL/dx, tried with it. */
static void random_layer(chapter *c, model *m, int kind, int d, double size, flow_rng *rng) {
    flow_bijection layer[2] = {flow_actnorm(d), flow_actnorm(d)};
    flow_chain *f = &m->flow;
    if (kind == GLOW) layer[1] = flow_linear(d, NULL);
    else if (kind == REVERSED) layer[1] = conditioned(m, MAF, d, 1);
    else if (kind != ACTNORM) layer[1] = conditioned(m, kind, d, 0);
    size /= kind == GLOW ? d : sqrt((double)d);
    chapter_try(c, flow_chain_init(f, layer, 2, FLOW_TO_NOISE, POINTS, rng), "a layer");
    for (int i = 0; i < f->params; i++)
        f->theta[i] = (i < 2 * d ? 0.3 : size) * flow_rng_normal(rng);
    flow_normal_sample(rng, m->x, POINTS, d);
}

/* worst[3]: of the log-determinant, of the gradient, of the inverse. */
static void compare(chapter *c, model *m, double *worst) {
    flow_chain *f = &m->flow;
    const int d = f->d;
    double y[POINTS * D], logdet[POINTS] = {0}, brute = 0, error = 0, loss = 0;
    double *grad = chapter_alloc(c, (size_t)f->params);
    chapter_try(c, flow_chain_forward(f, y, logdet, m->x, POINTS), "forward");
    for (int i = 0; i < POINTS; i++) {
        chapter_try(c, flow_check_logdet(&brute, chain_map, f, m->x + i * d, d, 1e-5), "LU");
        worst[0] = chapter_worse(worst[0], fabs(brute - logdet[i]));
    }
    chapter_try(c, flow_chain_inverse(f, y, logdet, y, POINTS), "inverse");
    for (int i = 0; i < POINTS * d; i++) worst[2] = chapter_worse(worst[2], fabs(y[i] - m->x[i]));
    chapter_try(c, flow_chain_nll(f, &loss, m->x, POINTS), "gradient");
    memcpy(grad, f->grad, (size_t)f->params * sizeof *grad);
    chapter_try(c, flow_check_gradient(&error, loss_of_theta, m, f->theta, grad, f->params, 1e-5),
                "differences");
    worst[1] = chapter_worse(worst[1], error);
}

static void brute_force(chapter *c, flow_rng *rng) {
    const int dims[5] = {1, 2, 3, 5, 8};
    const double sizes[3] = {0.3, 1, 3};
    double worst[3] = {0, 0, 0};
    for (int run = 0; run < KINDS * 15; run++) {
        model m;
        random_layer(c, &m, run / 15, dims[run % 5], sizes[run / 5 % 3], rng);
        compare(c, &m, worst);
        flow_chain_free(&m.flow);
    }
    chapter_near(c, "d = 1, 2, 3, 5, 8: log-det against LU", 0, worst[0], 1e-6);
    chapter_near(c, "  gradient against differences, relative", 0, worst[1], 1e-4);
    chapter_near(c, "  inverse(forward(x)) - x", 0, worst[2], 1e-9);
}

/* ---- maximum likelihood --------------------------------------------------------------------- */

typedef struct {
    double rate, steep;
    double excess[SETS][MODELS], step[MODELS], sample[MODELS]; /* nats, seconds, seconds */
    double mass, back, *x, *grid, *density; /* worst so far; [n*2], [SIDE^2*2], [SIDE^2*MODELS] */
} results;

/* Adam with warm-up and cosine decay, fresh samples at every step. Returns seconds a step. */
static double train(chapter *c, const results *r, flow_chain *f, const char *what, int set,
                    flow_rng *rng) {
    const long steps = plan[set].steps / (c->quick ? 100 : 1);
    const double rate = r->rate * plan[set].rate, began = chapter_seconds();
    double x[2 * BATCH], loss = 0;
    flow_opt adam;
    chapter_try(c, flow_opt_init(&adam, FLOW_ADAM, rate, f->params), "Adam");
    for (long step = 0; step < steps; step++) {
        flow_toy_sample(plan[set].toy, rng, x, NULL, BATCH);
        const int err = flow_chain_nll(f, &loss, x, BATCH);
        if (err < 0 || loss > 1000)
            chapter_stop(c, 1, "%s diverged at step %ld: try a smaller --rate", what, step + 1);
        flow_clip_norm(f->grad, plan[set].clip, f->params);
        adam.rate = rate * flow_schedule_warmup(step, 50) * flow_schedule_cosine(step, steps);
        chapter_step(c, flow_opt_step(&adam, f->theta, f->grad), what, step);
        chapter_progress(c, what, step + 1, steps);
    }
    flow_opt_free(&adam);
    return (chapter_seconds() - began) / (double)steps;
}

/* The trained model's mass, its round trip on the held-out points, its density on the grid, and
 * the time that 10,000 samples take. NICE, which keeps volumes, draws mass out into long threads:
 * they want a wider, finer grid. */
static void examine(chapter *c, results *r, flow_chain *f, int kind, flow_rng *rng) {
    const int side = (kind == NICE ? 900 : 320) / (c->quick ? 5 : 1), draws = c->quick ? 1 : 20;
    const double reach = kind == NICE ? 10 : 6.5;
    double mass = 0, began, y[2 * DRAWN], p[SIDE * SIDE];
    chapter_try(c, flow_quadrature(&mass, chapter_chain_logprob, f, -reach, reach, side, 2),
                "the mass");
    r->mass = chapter_worse(r->mass, fabs(mass - 1));
    for (int i = 0; i < c->n; i += DRAWN) {
        const int count = c->n - i < DRAWN ? c->n - i : DRAWN;
        double logdet[DRAWN] = {0}, *x = r->x + 2 * i;
        chapter_try(c, flow_chain_forward(f, y, logdet, x, count), "forward");
        chapter_try(c, flow_chain_inverse(f, y, logdet, y, count), "inverse");
        for (int j = 0; j < 2 * count; j++) r->back = chapter_worse(r->back, fabs(y[j] - x[j]));
    }
    chapter_try(c, flow_chain_logprob(f, p, r->grid, SIDE * SIDE), "the density");
    for (int i = 0; i < SIDE * SIDE; i++) r->density[i * MODELS + kind] = exp(p[i]);
    began = chapter_seconds();
    for (int i = 0; i < draws; i++) chapter_try(c, flow_chain_sample(f, rng, y, DRAWN), "samples");
    r->sample[kind] += (chapter_seconds() - began) / (draws * DRAWN * SETS / 1e4);
}

/* The same points before and after each layer of a trained flow, and the moon each is from. */
static void write_layers(chapter *c, flow_chain *f, flow_rng *rng) {
    double x[2 * DRAWN], logdet[DRAWN] = {0};
    int label[DRAWN];
    flow_toy_sample(FLOW_TOY_MOONS, rng, x, label, DRAWN);
    chapter_try(c, flow_chain_forward(f, x, logdet, x, DRAWN), "layers");
    for (int k = 0; k <= f->count; k++) {
        const double *at = flow_chain_points(f, k), *was = flow_chain_points(f, k ? k - 1 : 0);
        chapter_block(c, chapter_text("layer%02d", k), "x1 x2 moon from1 from2");
        for (int i = 0; i < 2 * DRAWN; i += 2)
            chapter_row5(c, at[i], at[i + 1], label[i / 2], was[i], was[i + 1]);
    }
}

static void one_model(chapter *c, results *r, int kind, int set, flow_rng *rng) {
    const int toy = plan[set].toy;
    const char *name = chapter_text("  %s on %s", model_name[kind], flow_toy_name(toy));
    double x[2 * DRAWN], error, limit = plan[set].enough[kind], *got = &r->excess[set][kind];
    model m;
    build(c, &m, kind, 2, LAYERS, r->steep * plan[set].steep, rng);
    flow_toy_sample(toy, rng, x, NULL, DRAWN);
    chapter_try(c, flow_chain_fit(&m.flow, x, DRAWN), "the first scale");
    if (c->quick) /* at least, training should help */
        limit = chapter_excess(c, chapter_chain_logprob, &m.flow, toy, r->x, c->n, &error);
    r->step[kind] += train(c, r, &m.flow, name + 2, set, rng) / SETS;
    *got = chapter_excess(c, chapter_chain_logprob, &m.flow, toy, r->x, c->n, &error);
    if (limit > 0) chapter_below(c, name, *got, limit + (c->n < 10000 ? 5 * error : 0));
    else chapter_say(c, name, *got, "no bound: it keeps volumes");
    examine(c, r, &m.flow, kind, rng);
    if (kind == REALNVP && set == 0) write_layers(c, &m.flow, rng);
    flow_chain_free(&m.flow);
}

static void one_set(chapter *c, results *r, int set, flow_rng *rng) {
    const int toy = plan[set].toy;
    flow_toy_sample(toy, rng, r->x, NULL, c->n);
    chapter_points(c, chapter_text("data_%s", flow_toy_name(toy)), "x1 x2", r->x, c->n, 2, 1000);
    for (int kind = 0; kind < MODELS; kind++) one_model(c, r, kind, set, rng);
    chapter_plane_block(c, chapter_text("density_%s", flow_toy_name(toy)),
                        "x1 x2 NICE RealNVP Glow MAF", r->grid, SIDE, r->density, MODELS);
}

/* Times differ from run to run, so they stand here and not in the data file. Four untrained layers
 * in 32 dimensions show what an inverse costs where there are many coordinates. */
static void print_costs(chapter *c, const results *r, flow_rng *rng) {
    double x[DRAWN * MOST], logdet[DRAWN] = {0};
    puts("\nmodel    nats above the entropy:             ms a step  seconds per 10,000 samples in");
    puts("         moons    8gaussians checkerboard    of 128     2 dimensions  32 (4 layers)");
    for (int kind = 0; kind < MODELS; kind++) {
        double began;
        model m;
        build(c, &m, kind, MOST, 4, 1, rng);
        flow_normal_sample(rng, x, DRAWN, MOST);
        began = chapter_seconds();
        chapter_try(c, flow_chain_inverse(&m.flow, x, logdet, x, DRAWN), "inverse");
        began = (chapter_seconds() - began) * 10000 / (double)DRAWN;
        flow_chain_free(&m.flow);
        printf("%-8s %-8.4f %-10.4f %-15.4f %-10.3f %-13.3f %.3f\n", model_name[kind],
               r->excess[0][kind], r->excess[1][kind], r->excess[2][kind], 1000 * r->step[kind],
               r->sample[kind], began);
    }
    puts("MAF's inverse is sequential: one pass of the network for each dimension.\n");
}

int main(int argc, char **argv) {
    results r;
    flow_rng rng;
    chapter c;
    memset(&r, 0, sizeof r);
    r.rate = 0.01, r.steep = 14;
    const chapter_flag flags[] = {{"--rate", CHAPTER_REAL, &r.rate, "of Adam, at its highest"},
                                  {"--steep", CHAPTER_REAL, &r.steep, "factor on first weights"}};
    chapter_begin(&c, argc, argv, "06_coupling", "triangular Jacobians", 10000, flags, 2);
    chapter_require(&c, c.n >= 10, "--n", "a number of at least 10");
    chapter_require(&c, r.rate > 0, "--rate", "a number above 0");
    flow_rng_init(&rng, c.seed);
    if (c.quick && c.n > 500) c.n = 500;
    r.x = chapter_alloc(&c, 2 * (size_t)c.n); /* held-out points */
    r.grid = chapter_grid(&c, -4.5, 4.5, SIDE, 2);
    r.density = chapter_alloc(&c, MODELS * SIDE * SIDE);
    jacobians(&c, &rng);
    brute_force(&c, &rng);
    chapter_say(&c, "held-out points, nats above the entropy", c.n, "");
    for (int set = 0; set < SETS; set++) one_set(&c, &r, set, &rng);
    chapter_near(&c, "worst total mass of the twelve, less 1", 0, r.mass, c.quick ? 0.05 : 1e-3);
    chapter_near(&c, "  their inverse(forward(x)) - x", 0, r.back, 1e-9);
    chapter_points(&c, "scores", "NICE RealNVP Glow MAF, nats above the entropy, a row a target",
                   r.excess[0], SETS, MODELS, SETS);
    print_costs(&c, &r, &rng);
    return chapter_end(&c);
}

/* Try this
 * 1. --steep 1: which edges are missing in figure densities, and what does it cost on each target?
 * 2. In conditioned, give both masks parity 0. Which coordinate stays as it was in figure layers,
 *    and which models do not mind? (Glow's linear map still mixes; MAF has no mask.)
 * 3. --rate 0.05, then 0.1: what becomes of models that train too fast, and when do they break? */
