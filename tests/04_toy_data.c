/* 04_toy_data.c - tests of section 4 of flow.h: the two-dimensional sets of the papers. Every set
 * is written here once more, as its paper's program has it, and the samples, the density and the
 * entropy are held against that. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define N 20000

static const double pi = 3.14159265358979323846;

/* ---- the sets as the papers' programs make them ---------------------------------------------- */

/* scikit-learn's make_moons, make_circles and make_swiss_roll, FFJORD's rings and spirals: the
 * point of an arm at u in [0, 1], which is uniform; box: the spirals' two uniform numbers; z: two
 * normal ones. */
static void paper_curve(int set, int arm, double u, const double *box, const double *z, double *x) {
    const double circles[2] = {1, 0.5}, rings[4] = {1, 0.75, 0.5, 0.25};
    const double n = 540 * pi / 180 * sqrt(u), t = 1.5 * pi * (1 + 2 * u);
    const double moon = pi * u, turn = 2 * pi * u, side = arm == 0 ? 1 : -1;
    if (set == FLOW_TOY_MOONS) {
        x[0] = 2 * ((arm == 0 ? cos(moon) : 1 - cos(moon)) + 0.1 * z[0]) - 1;
        x[1] = 2 * ((arm == 0 ? sin(moon) : 1 - sin(moon) - 0.5) + 0.1 * z[1]) - 0.2;
    } else if (set == FLOW_TOY_CIRCLES) {
        x[0] = 3 * (circles[arm] * cos(turn) + 0.08 * z[0]);
        x[1] = 3 * (circles[arm] * sin(turn) + 0.08 * z[1]);
    } else if (set == FLOW_TOY_RINGS) {
        x[0] = 3 * rings[arm] * cos(turn) + 0.08 * z[0];
        x[1] = 3 * rings[arm] * sin(turn) + 0.08 * z[1];
    } else if (set == FLOW_TOY_2SPIRALS) {
        x[0] = side * (-cos(n) * n + 0.5 * box[0]) / 3 + 0.1 * z[0];
        x[1] = side * (sin(n) * n + 0.5 * box[1]) / 3 + 0.1 * z[1];
    } else {
        x[0] = (t * cos(t) + z[0]) / 5;
        x[1] = (t * sin(t) + z[1]) / 5;
    }
}

/* The eight Gaussians of Improved WGAN's program, and the pinwheel of Johnson et al. 2016. */
static void paper_cluster(int set, int arm, const double *z, double *x) {
    const double f0 = 1 + 0.3 * z[0], f1 = 0.1 * z[1];
    const double angle = 2 * pi * arm / 5 + 0.25 * exp(f0);
    if (set == FLOW_TOY_8GAUSSIANS) {
        x[0] = (4 * cos(pi * arm / 4) + 0.5 * z[0]) / 1.414;
        x[1] = (4 * sin(pi * arm / 4) + 0.5 * z[1]) / 1.414;
    } else {
        x[0] = 2 * (f0 * cos(angle) + f1 * sin(angle));
        x[1] = 2 * (-f0 * sin(angle) + f1 * cos(angle));
    }
}

/* x1 = 4 u - 2, x2 = u - 2 {0, 1} + floor(x1) mod 2, both doubled. */
static void paper_checkerboard(double u, double v, int below, double *x) {
    const double x1 = 4 * u - 2;
    x[0] = 2 * x1;
    x[1] = 2 * (v - 2 * below + fabs(fmod(floor(x1), 2)));
}

static const int arms_of[] = {2, 8, 8, 2, 4, 2, 1, 5};
static const int draws_of[] = {4, 3, 3, 4, 4, 6, 4, 3};

/* The standard deviation of the noise about the curve, in the units of the finished set. */
static double noise_of(int set) {
    return set == FLOW_TOY_MOONS ? 0.2 : set == FLOW_TOY_CIRCLES ? 0.24 :
           set == FLOW_TOY_RINGS ? 0.08 : set == FLOW_TOY_2SPIRALS ? 0.1 : 0.2;
}

/* U(0, side) + N(0, std^2), its density at z. */
static double box_density(double z, double side, double std) {
    return (erf(z / std / sqrt(2.0)) - erf((z - side) / std / sqrt(2.0))) / 2 / side;
}

/* The density of a curve's point plus noise, u at s^2 for the spirals as n = 3 pi sqrt(u). */
static double paper_integrand(int set, int arm, double s, const flow_real *x) {
    const double none[2] = {0, 0}, std = noise_of(set), side = arm == 0 ? 1.0 / 6 : -1.0 / 6;
    double m[2], a, b;
    paper_curve(set, arm, set == FLOW_TOY_2SPIRALS ? s * s : s, none, none, m);
    a = (double)x[0] - m[0];
    b = (double)x[1] - m[1];
    if (set == FLOW_TOY_2SPIRALS)
        return 2 * s * box_density(a, side, std) * box_density(b, side, std);
    return exp(-(a * a + b * b) / (2 * std * std)) / (2 * pi * std * std);
}

/* log p(x) of a curve set: the mean over arms and over u, by 3000 Gauss intervals of two points. */
static double paper_logprob(int set, const flow_real *x) {
    const int cells = 3000;
    double sum = 0;
    int arm, i;
    for (arm = 0; arm < arms_of[set]; arm++)
        for (i = 0; i < cells; i++) {
            const double middle = (i + 0.5) / cells, step = 0.5 / sqrt(3.0) / cells;
            sum += paper_integrand(set, arm, middle - step, x);
            sum += paper_integrand(set, arm, middle + step, x);
        }
    return log(sum / (2.0 * cells * arms_of[set]));
}

static int on_curve(int set) {
    return set != FLOW_TOY_8GAUSSIANS && set != FLOW_TOY_CHECKERBOARD && set != FLOW_TOY_PINWHEEL;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A name that stands at another set's place, or is found where there is none. */
static void test_names(void) {
    static const char *names[] = {"moons", "8gaussians", "checkerboard", "circles",
                                  "rings", "2spirals",   "swissroll",    "pinwheel"};
    int set;
    TEST_EQ_INT(FLOW_TOY_COUNT, 8);
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        TEST(strcmp(flow_toy_name(set), names[set]) == 0);
        TEST_EQ_INT(flow_toy_find(names[set]), set);
    }
    TEST_ERR(flow_toy_find("moon"), FLOW_E_UNKNOWN);
    TEST_ERR(flow_toy_find("moonss"), FLOW_E_UNKNOWN);
    TEST_ERR(flow_toy_find(""), FLOW_E_UNKNOWN);
}

/* A number that is no set's. */
static void test_numbers_beyond_the_sets(void) {
    flow_rng rng = test_rng(1);
    flow_real x[2] = {0}, logp[1];
    static const int bad[] = {-1, FLOW_TOY_COUNT};
    int i;
    for (i = 0; i < 2; i++) {
        TEST_ASSERT_TRIPS((void)flow_toy_name(bad[i]));
        TEST_ASSERT_TRIPS((void)flow_toy_entropy(bad[i]));
        TEST_ASSERT_TRIPS(flow_toy_sample(bad[i], &rng, x, NULL, 1));
        TEST_ASSERT_TRIPS((void)flow_toy_logprob(bad[i], logp, x, 1));
    }
    TEST_ASSERT_TRIPS(flow_toy_sample(0, NULL, x, NULL, 1));
}

/* ---- samples --------------------------------------------------------------------------------- */

/* One point of a set from the generator's next draws, in the documented order: for all but the
 * checkerboard the arm, the place on the curve, the box, the noise. */
static int paper_sample(int set, flow_rng *rng, double *x) {
    double u = 0, box[2] = {0, 0}, z[2];
    flow_real noise[2];
    int arm;
    if (set == FLOW_TOY_CHECKERBOARD) {
        double v;
        u = (double)flow_rng_uniform(rng);
        v = (double)flow_rng_uniform(rng);
        arm = flow_rng_below(rng, 2);
        paper_checkerboard(u, v, arm, x);
        return 2 * (int)(4 * u) + arm; /* two squares in each of four columns */
    }
    arm = flow_rng_below(rng, arms_of[set]);
    if (on_curve(set)) u = (double)flow_rng_uniform(rng);
    if (set == FLOW_TOY_2SPIRALS) {
        box[0] = (double)flow_rng_uniform(rng);
        box[1] = (double)flow_rng_uniform(rng);
    }
    flow_normal_sample(rng, noise, 1, 2);
    z[0] = (double)noise[0];
    z[1] = (double)noise[1];
    if (on_curve(set)) paper_curve(set, arm, u, box, z, x);
    else paper_cluster(set, arm, z, x);
    return arm;
}

/* A constant, a sign or a scale that is not the paper's; noise of the variance for the deviation; a
 * draw too many; a label of another point. */
static void test_samples_by_the_papers(void) {
    static flow_real x[600];
    static int label[300];
    int set, i;
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        flow_rng rng = test_rng(2), twin = rng;
        double want[2];
        flow_toy_sample(set, &rng, x, label, 300);
        TEST_EQ_INT(draws_between(twin, &rng), 300 * draws_of[set]);
        for (i = 0; i < 300; i++) {
            TEST_EQ_INT(label[i], paper_sample(set, &twin, want));
            TEST_NEAR(x[2 * i], want[0], 200 * EPS);
            TEST_NEAR(x[2 * i + 1], want[1], 200 * EPS);
        }
    }
}

/* Samples that change when no labels are wanted, or that are written for n = 0. */
static void test_samples_without_labels(void) {
    int set;
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        flow_rng rng = test_rng(3), twin = rng;
        flow_real x[20], y[20];
        int label[10];
        flow_toy_sample(set, &rng, x, label, 10);
        flow_toy_sample(set, &twin, y, NULL, 10);
        TEST(memcmp(x, y, sizeof x) == 0);
        flow_toy_sample(set, &twin, y, label, 0);
        TEST(memcmp(x, y, sizeof x) == 0 && memcmp(&rng, &twin, sizeof rng) == 0);
    }
}

/* An arm that comes more often than the others; points outside the square of the figures. */
static void test_labels_and_extent(void) {
    static flow_real x[2 * N];
    static int label[N];
    int set, i;
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        flow_rng rng = test_rng(4);
        int count[8] = {0}, outside = 0;
        double expected[8];
        flow_toy_sample(set, &rng, x, label, N);
        for (i = 0; i < N; i++) count[label[i]]++;
        for (i = 0; i < arms_of[set]; i++) expected[i] = (double)N / arms_of[set];
        TEST(chi_square_accepts(count, expected, arms_of[set]));
        for (i = 0; i < 2 * N; i++) outside += !(fabs((double)x[i]) <= 4.5);
        TEST(outside <= N / 500);
    }
}

/* ---- densities ------------------------------------------------------------------------------- */

/* A noise, a weight or an end of the curve that is not the sampler's: against the papers' curves,
 * at points of the set and some way off. */
static void test_densities_of_curves(void) {
    int set, i;
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        flow_rng rng = test_rng(5);
        flow_real x[16], logp[8];
        if (!on_curve(set)) continue;
        flow_toy_sample(set, &rng, x, NULL, 8);
        for (i = 8; i < 16; i++) x[i] += FLOWI_R(2 * noise_of(set)); /* the last four move */
        TEST_ERR(flow_toy_logprob(set, logp, x, 8), FLOW_OK);
        for (i = 0; i < 8; i++) {
            const double want = paper_logprob(set, x + 2 * i);
            TEST_NEAR(logp[i], want, 1e-8 + 2000 * EPS * (1 + exp(-want)));
        }
    }
}

/* A radius, a weight or a deviation: the eight Gaussians in closed form. */
static void test_density_of_8gaussians(void) {
    const double none[2] = {0, 0}, std = 0.5 / 1.414;
    flow_rng rng = test_rng(6);
    flow_real x[40], logp[20];
    int i, k;
    flow_toy_sample(FLOW_TOY_8GAUSSIANS, &rng, x, NULL, 20);
    TEST_ERR(flow_toy_logprob(FLOW_TOY_8GAUSSIANS, logp, x, 20), FLOW_OK);
    for (i = 0; i < 20; i++) {
        double p = 0, m[2];
        for (k = 0; k < 8; k++) {
            paper_cluster(FLOW_TOY_8GAUSSIANS, k, none, m);
            p += exp(-(pow((double)x[2 * i] - m[0], 2) + pow((double)x[2 * i + 1] - m[1], 2)) /
                     (2 * std * std)) / (2 * pi * std * std) / 8;
        }
        TEST_NEAR(logp[i], log(p), 500 * EPS);
    }
}

/* A mixture that is not the set: its density, its components by label. */
static void test_mixture_of_8gaussians(void) {
    flow_real x[400], logp[200], want[200];
    flow_rng rng = test_rng(7);
    int label[200], set, i;
    double square = 0;
    flow_mixture m;
    TEST_EVERY_ALLOC(flow_toy_mixture(&m, FLOW_TOY_8GAUSSIANS), flow_mixture_free(&m));
    TEST_ERR(flow_toy_mixture(&m, FLOW_TOY_8GAUSSIANS), FLOW_OK);
    flow_toy_sample(FLOW_TOY_8GAUSSIANS, &rng, x, label, 200);
    flow_mixture_logprob(&m, logp, x, 200);
    TEST_ERR(flow_toy_logprob(FLOW_TOY_8GAUSSIANS, want, x, 200), FLOW_OK);
    TEST_NEAR_ALL(logp, want, 200, 500 * EPS);
    for (i = 0; i < 400; i++)
        square += pow((double)x[i] - (double)m.mean[2 * label[i / 2] + i % 2], 2) / 200;
    /* |x - m|^2 is exponential, its mean 2 std^2 */
    TEST_NEAR(square, 0.25, 6 * 0.25 / sqrt(200.0));
    flow_mixture_free(&m);
    for (set = 0; set < FLOW_TOY_COUNT; set++) {
        if (set == FLOW_TOY_8GAUSSIANS) continue;
        memset(&m, 0xFF, sizeof m);
        TEST_ERR(flow_toy_mixture(&m, set), FLOW_E_UNKNOWN);
        if (TEST(m.weight == NULL)) flow_mixture_free(&m);
    }
}

/* A square of the wrong colour, an edge that belongs to both sides or to none. */
static void test_density_of_the_checkerboard(void) {
    int i, j;
    for (i = -1; i < 9; i++)
        for (j = -1; j < 9; j++) { /* the 8x8 unit cells of [-4, 4)^2 and those around */
            const int inside = i >= 0 && i < 8 && j >= 0 && j < 8;
            const double want = inside && (i / 2 + j / 2) % 2 == 0 ? -log(32.0) : -HUGE_VAL;
            flow_real x[4], logp[2];
            x[0] = (flow_real)(i - 4); /* the lower left corner is the cell's own */
            x[1] = (flow_real)(j - 4);
            x[2] = x[0] + FLOWI_R(0.99);
            x[3] = x[1] + FLOWI_R(0.99);
            TEST_ERR(flow_toy_logprob(FLOW_TOY_CHECKERBOARD, logp, x, 2), FLOW_OK);
            TEST_NEAR(logp[0], want, 4 * EPS);
            TEST_NEAR(logp[1], want, 4 * EPS);
        }
}

/* Points of the checkerboard that lie in white squares, or crowd somewhere in the black ones. */
static void test_samples_of_the_checkerboard(void) {
    static flow_real x[2 * N], logp[N];
    static int label[N];
    int count[64] = {0}, i;
    double expected[64];
    flow_rng rng = test_rng(7);
    flow_toy_sample(FLOW_TOY_CHECKERBOARD, &rng, x, label, N);
    TEST_ERR(flow_toy_logprob(FLOW_TOY_CHECKERBOARD, logp, x, N), FLOW_OK);
    for (i = 0; i < N; i++) {
        TEST_NEAR(logp[i], -log(32.0), 4 * EPS);
        TEST_EQ_INT(label[i] / 2, (int)(x[2 * i] + 4) / 2);        /* the column */
        TEST_EQ_INT(label[i] % 2, x[2 * i + 1] < 0 ? 1 : 0);       /* its lower square */
        count[(int)(x[2 * i] + 4) * 8 + (int)(x[2 * i + 1] + 4)]++;
    }
    for (i = 0; i < 64; i++) expected[i] = (i / 16 + i % 8 / 2) % 2 == 0 ? N / 32.0 : 0;
    TEST(chi_square_accepts(count, expected, 64));
}

/* A largest u, 1 - EPS/2, that rounds up into the next square. Of a state ~0, a, ., ~a the second
 * draw is ~0, and a decides the column. */
static void test_edge_of_the_checkerboard(void) {
    flow_real x[2], logp;
    uint64_t a = 0;
    int i;
    for (i = 0; i < 100; i++, a += UINT64_C(0x9e3779b97f4a7c15)) {
        flow_rng rng = test_rng(8), second;
        rng.s[0] = ~UINT64_C(0);
        rng.s[1] = a;
        rng.s[3] = ~a;
        second = rng;
        (void)flow_rng_next(&second);
        TEST(flow_rng_next(&second) == ~UINT64_C(0));
        flow_toy_sample(FLOW_TOY_CHECKERBOARD, &rng, x, NULL, 1);
        TEST_ERR(flow_toy_logprob(FLOW_TOY_CHECKERBOARD, &logp, x, 1), FLOW_OK);
        TEST_NEAR(logp, -log(32.0), 4 * EPS);
    }
}

/* ---- mass, entropy and moments --------------------------------------------------------------- */

/* Sums over a grid: of p, -p log p, and p times a coordinate, a square, the product. */
typedef struct {
    double mass, entropy, mean[2], square[2], product;
} grid_sums;

static void add_point(grid_sums *g, double p, double logp, double x, double y) {
    g->mass += p;
    g->entropy -= p > 0 ? p * logp : 0;
    g->mean[0] += p * x;
    g->mean[1] += p * y;
    g->square[0] += p * x * x;
    g->square[1] += p * y * y;
    g->product += p * x * y;
}

static double toy_logprob(int set, double x, double y) {
    flow_real at[2], logp = 0;
    at[0] = FLOWI_R(x);
    at[1] = FLOWI_R(y);
    TEST_ERR(flow_toy_logprob(set, &logp, at, 1), FLOW_OK);
    return (double)logp;
}

/* The middles of squares of side h in a box, which for smooth densities that end before the box
 * does is exact to about exp(-2 pi^2 (noise/h)^2). Moons and spirals are their own image at the
 * point (0, y0): half the box will do, twice. */
static grid_sums sums_over_box(int set, double x0, double x1, double y0, double y1, double h) {
    const int mirror = set == FLOW_TOY_MOONS || set == FLOW_TOY_2SPIRALS;
    grid_sums g;
    double x, y;
    memset(&g, 0, sizeof g);
    for (x = x0 + h / 2; x < x1; x += h)
        for (y = y0 + h / 2; y < y1; y += h) {
            const double logp = toy_logprob(set, x, y), p = exp(logp) * h * h;
            add_point(&g, p, logp, x, y);
            if (mirror) add_point(&g, p, logp, -x, 2 * y0 - y);
        }
    return g;
}

/* Circles and rings: radii h/2, 3h/2, ... on three rays. */
static grid_sums sums_over_rays(int set, double most, double h) {
    grid_sums g;
    double r;
    int k;
    memset(&g, 0, sizeof g);
    for (r = h / 2; r < most; r += h)
        for (k = 0; k < 3; k++) {
            const double x = r * cos(2 * pi * k / 3), y = r * sin(2 * pi * k / 3);
            const double logp = toy_logprob(set, x, y);
            add_point(&g, exp(logp) * 2 * pi * r * h / 3, logp, x, y);
        }
    return g;
}

/* What the mass, the entropy and every moment of the samples are to be; tol: the grid's error. */
static void check_sums(int set, const grid_sums *g, double tol) {
    static flow_real x[2 * N], logp[200];
    const double a = g->mean[0], b = g->mean[1];
    flow_rng rng = test_rng(8);
    tol += 1000 * EPS;
    TEST_NEAR(g->mass, 1, tol);
    TEST_NEAR(flow_toy_entropy(set), g->entropy, tol);
    flow_toy_sample(set, &rng, x, NULL, N);
    TEST_MEAN(x, N, 2, a);
    TEST_MEAN(x + 1, N, 2, b);
    TEST_VARIANCE(x, N, 2, a, g->square[0] - a * a);
    TEST_VARIANCE(x + 1, N, 2, b, g->square[1] - b * b);
    TEST_COVARIANCE(x, a, x + 1, b, N, 2, g->product - a * b);
    TEST_ERR(flow_toy_logprob(set, logp, x, 200), FLOW_OK);
    TEST_MEAN(logp, 200, 1, -g->entropy);
}

/* A density that does not integrate to 1, an entropy with a wrong digit, and samples of another
 * distribution. */
static void test_sums(void) {
    grid_sums g = sums_over_box(FLOW_TOY_MOONS, -4.2, 4.2, 0.3, 3, 0.12);
    check_sums(FLOW_TOY_MOONS, &g, 1e-6);
    g = sums_over_box(FLOW_TOY_8GAUSSIANS, -5.2, 5.2, -5.2, 5.2, 0.2);
    check_sums(FLOW_TOY_8GAUSSIANS, &g, 1e-8);
    g = sums_over_rays(FLOW_TOY_CIRCLES, 4.6, 0.1);
    check_sums(FLOW_TOY_CIRCLES, &g, 1e-6);
    g = sums_over_rays(FLOW_TOY_RINGS, 3.6, 0.04);
    check_sums(FLOW_TOY_RINGS, &g, 1e-7);
    g = sums_over_box(FLOW_TOY_2SPIRALS, -3.875, 3.875, 0, 3.875, 0.125);
    check_sums(FLOW_TOY_2SPIRALS, &g, 1e-5);
    g = sums_over_box(FLOW_TOY_SWISSROLL, -3.2, 3.8, -3.5, 4.1, 0.15);
    check_sums(FLOW_TOY_SWISSROLL, &g, 1e-5);
    TEST_NEAR(flow_toy_entropy(FLOW_TOY_CHECKERBOARD), log(32.0), 4 * EPS);
}

/* ---- the pinwheel ---------------------------------------------------------------------------- */

/* In polar coordinates f = (r cos a, r sin a) the pinwheel turns a to a - exp(r cos a)/4 - 2 pi
 * arm/5: from x back to every a, the density is the sum over all of them of p(f)/|4 slope|. */
static double turned(double a, double r, double psi) {
    return (a - exp(r * cos(a)) / 4 - psi) / (2 * pi / 5);
}

/* The density of f that belongs to x along one of its roots, which lies between left and right. */
static double pinwheel_branch(double left, double right, double r, double psi, double whole) {
    const int rises = turned(left, r, psi) < whole;
    double f0, f1;
    int k;
    for (k = 0; k < 50; k++) {
        const double middle = (left + right) / 2;
        if ((turned(middle, r, psi) < whole) == rises) left = middle;
        else right = middle;
    }
    f0 = r * cos(left);
    f1 = r * sin(left);
    return exp(-pow((f0 - 1) / 0.3, 2) / 2 - pow(f1 / 0.1, 2) / 2) / (2 * pi * 0.3 * 0.1) /
           (4 * fabs(1 + f1 * exp(f0) / 4));
}

static double pinwheel_logprob(const double *x) {
    const double r = sqrt(x[0] * x[0] + x[1] * x[1]) / 2, psi = atan2(x[1], x[0]), h = pi / 200;
    double sum = 0, a, from = turned(-pi, r, psi);
    for (a = -pi; a < pi - h / 2; a += h) {
        const double to = turned(a + h, r, psi), whole = floor(from > to ? from : to);
        if (whole > from || whole > to) sum += pinwheel_branch(a, a + h, r, psi, whole);
        from = to;
    }
    return log(sum / 5);
}

/* The digits of the pinwheel's entropy: the mean of -log p over the two normal numbers it is made
 * of, on a grid of steps of 0.4; and the same over samples of the library. */
static void test_pinwheel(void) {
    const double h = 0.4;
    static flow_real x[4000], logp[2000];
    flow_rng rng = test_rng(9);
    double entropy = 0, z[2], at[2];
    int i;
    for (z[0] = -7; z[0] <= 7; z[0] += h)
        for (z[1] = -7; z[1] <= 7; z[1] += h) {
            const double weight = exp(-(z[0] * z[0] + z[1] * z[1]) / 2) / (2 * pi) * h * h;
            if (weight < 1e-11) continue;
            paper_cluster(FLOW_TOY_PINWHEEL, 0, z, at);
            entropy -= weight * pinwheel_logprob(at);
        }
    TEST_NEAR(flow_toy_entropy(FLOW_TOY_PINWHEEL), entropy, 1e-6 + 10 * EPS);
    flow_toy_sample(FLOW_TOY_PINWHEEL, &rng, x, NULL, 2000);
    for (i = 0; i < 2000; i++) {
        at[0] = (double)x[2 * i];
        at[1] = (double)x[2 * i + 1];
        logp[i] = FLOWI_R(pinwheel_logprob(at));
    }
    TEST_MEAN(logp, 2000, 1, -entropy);
    TEST_ERR(flow_toy_logprob(FLOW_TOY_PINWHEEL, logp, x, 1), FLOW_E_UNKNOWN);
}

/* ---- energies -------------------------------------------------------------------------------- */

/* Table 1 of Rezende and Mohamed 2015 as it is printed there. */
static double paper_energy(int which, double z1, double z2) {
    const double ring = (sqrt(z1 * z1 + z2 * z2) - 2) / 0.4, bump = (z1 - 1) / 0.6;
    const double w1 = sin(2 * pi * z1 / 4), w2 = 3 * exp(-0.5 * bump * bump);
    const double w3 = 3 / (1 + exp(-(z1 - 1) / 0.3)), off = z2 - w1;
    const double a = (z1 - 2) / 0.6, b = (z1 + 2) / 0.6, c = (off + w2) / 0.35;
    const double d = (off + w3) / 0.35, narrow = off / 0.35, wide = off / 0.4;
    switch (which) {
    case 1: return 0.5 * ring * ring - log(exp(-0.5 * a * a) + exp(-0.5 * b * b));
    case 2: return 0.5 * wide * wide;
    case 3: return -log(exp(-0.5 * narrow * narrow) + exp(-0.5 * c * c));
    default: return -log(exp(-0.5 * wide * wide) + exp(-0.5 * d * d));
    }
}

/* A constant, a sign, a ribbon or a slope that is not the paper's. */
static void test_energies(void) {
    enum { POINTS = 500 };
    flow_rng rng = test_rng(10);
    static flow_real z[2 * POINTS], u[POINTS], du[2 * POINTS];
    const double h = 1e-5;
    int which, i, j;
    flow_uniform_sample(&rng, z, -3, 3, POINTS, 2);
    for (which = 1; which <= 4; which++) {
        flow_toy_energy(which, u, du, z, POINTS);
        for (i = 0; i < POINTS; i++) {
            const double x = (double)z[2 * i], y = (double)z[2 * i + 1];
            const double want = paper_energy(which, x, y);
            TEST_NEAR(u[i], want, 20 * EPS * (1 + want));
            for (j = 0; j < 2; j++) {
                const double dx = j == 0 ? h : 0, dy = j == 1 ? h : 0;
                const double slope = (paper_energy(which, x + dx, y + dy) -
                                      paper_energy(which, x - dx, y - dy)) / (2 * h);
                TEST_NEAR(du[2 * i + j], slope, 1e-7 + 100 * EPS * (1 + want));
            }
        }
    }
    TEST_ASSERT_TRIPS(flow_toy_energy(0, u, du, z, 1));
    TEST_ASSERT_TRIPS(flow_toy_energy(5, u, du, z, 1));
}

/* Where the sum of the table underflows: the nearer hump or ribbon alone is left. And the centre of
 * the ring, where the slope of |z| does not exist and counts as none. */
static void test_energies_far_and_central(void) {
    const flow_real z[4] = {30, 40, 0, 0};
    flow_real u[2], du[4], near[2] = {1, 0};
    flow_toy_energy(1, u, du, z, 2);
    TEST_NEAR(u[0], 120 * 120 / 2.0 + 28 * 28 / 0.72, 2e4 * EPS);
    TEST_NEAR(du[0], 120 / 0.4 * 0.6 + 28 / 0.36, 2e3 * EPS);
    TEST_NEAR(du[1], 120 / 0.4 * 0.8, 2e3 * EPS);
    TEST_NEAR(u[1], 25 / 2.0 + 4 / 0.72 - log(2), 100 * EPS);
    TEST_NEAR(du[2], 0, 0);
    TEST_NEAR(du[3], 0, 0);
    for (near[0] = 1; near[0] > 0; near[0] /= 2) { /* squares vanish sooner than |z| does */
        flow_toy_energy(1, u, du, near, 1);
        TEST(fabs((double)du[0]) < 2 / 0.16 + 2 / 0.36); /* to the ring and to a hump */
    }
    flow_toy_energy(3, u, du, z, 1); /* z2 - w1 = 40, as z2 - w1 + w2 */
    TEST_NEAR(u[0], 40 * 40 / 0.245 - log(2), 2e4 * EPS);
    flow_toy_energy(4, u, du, z, 1);
    TEST_NEAR(u[0], 40 * 40 / 0.32, 2e4 * EPS);
    TEST_NEAR(du[1], 40 / 0.16, 2e3 * EPS);
}

int main(void) {
    test_section("names");
    test_names();
    test_numbers_beyond_the_sets();
    test_section("samples");
    test_samples_by_the_papers();
    test_samples_without_labels();
    test_labels_and_extent();
    test_section("densities");
    test_densities_of_curves();
    test_density_of_8gaussians();
    test_mixture_of_8gaussians();
    test_density_of_the_checkerboard();
    test_samples_of_the_checkerboard();
    test_edge_of_the_checkerboard();
    test_section("mass, entropy and moments");
    test_sums();
    test_section("pinwheel");
    test_pinwheel();
    test_section("energies");
    test_energies();
    test_energies_far_and_central();
    return test_done();
}
