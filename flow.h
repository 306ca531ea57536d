/* flow.h - normalizing flows, continuous flows and flow matching in one plain C header
 *
 * A generative flow moves samples of a simple density (noise) to samples of a complicated one
 * (data) by an invertible map, and keeps exact account of what the map does to the density:
 *
 *     log p(y) = log p(x) - log|det dy/dx|,   y = f(x)
 *
 * This header holds every step of that story, from the change of variables in one dimension to
 * flow matching, as plain loops over caller-owned arrays. It is made to be read from top to
 * bottom, and to be dropped into a program: C99 or C++11, libc and libm, nothing else. It is not
 * a tensor library, has no automatic differentiation, and runs on the CPU only.
 *
 * A whole program (save as hw.c, then: cc hw.c -lm && ./a.out):
 *
 *     #define FLOW_IMPLEMENTATION
 *     #include "flow.h"
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         flow_rng rng;
 *         flow_real x0[2] = {0.5, -1.0}, x1[2], logdet[1] = {0};
 *         flow_bijection layer = flow_planar(2); // y = x + u tanh(w'x + b)
 *         flow_chain chain;
 *         flow_rng_init(&rng, 1);
 *         if (flow_chain_init(&chain, &layer, 1, FLOW_FROM_NOISE, 1, &rng) < 0) return 1;
 *         if (flow_chain_forward(&chain, x1, logdet, x0, 1) < 0) return 1;
 *         printf("(%g, %g) -> (%g, %g), log|det| = %g\n", x0[0], x0[1], x1[0], x1[1], logdet[0]);
 *         flow_chain_free(&chain);
 *         return 0;
 *     }
 *
 * CONTENTS                     declared at    what stands there
 *   options                                   what can be set before the include
 *   conventions                               what holds everywhere
 *    1 random numbers          flow_rng_      a seeded generator, uniform, normal, permutation
 *    2 small linear algebra    flow_matmul    products, LU, Cholesky, inverse, spectral norm
 *    3 densities               flow_normal_   uniform, Gaussian, mixture, Bernoulli
 *    4 toy data                flow_toy_      the two-dimensional sets of the papers
 *    5 bijections              flow_affine    affine, planar, coupling, Glow, MAF, residual
 *    6 normalizing flows       flow_chain_    chains: likelihood, sampling, training
 *    7 network                 flow_mlp_      an MLP with backward and tangent passes
 *    8 optimisers              flow_opt_      SGD, Adam(W), natural gradient, schedules, EMA
 *    9 ODE solvers             flow_ode_      explicit Runge-Kutta over Butcher tableaux
 *   10 continuous flows        flow_cnf_      transport and likelihood along a velocity field
 *   11 flow matching           flow_cfm_      paths, the loss, closed-form velocities
 *   12 metrics and checks      flow_w2        distances, quadrature, gradient checks
 *   13 files                   flow_dat_      gnuplot data, tables, models, images
 * The implementation follows in the same order.
 */
#ifndef FLOW_H
#define FLOW_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---------------------------------------------------------------------------------- OPTIONS
 * Define these before the include; each has the default that most programs want.
 *
 *   FLOW_IMPLEMENTATION   not defined   define it in exactly one file: the code is compiled there
 *   FLOW_STATIC           not defined   the functions are static; implies FLOW_IMPLEMENTATION
 *   FLOW_FLOAT            not defined   flow_real is float instead of double
 *   FLOW_MALLOC(size)     malloc        memory, taken by _init functions and noted elsewhere
 *   FLOW_FREE(pointer)    free
 *   FLOW_ASSERT(cond)     assert        called on mistakes of the caller
 */
#ifdef FLOW_STATIC
#ifndef FLOW_IMPLEMENTATION
#define FLOW_IMPLEMENTATION
#endif
#define FLOW_API static inline
#else
#define FLOW_API extern
#endif

#ifdef FLOW_FLOAT
typedef float flow_real;
#else
typedef double flow_real;
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------ CONVENTIONS
 *
 * - Arrays are row-major with the sample first: x[n*d] holds n points of d numbers. The caller
 *   owns every array; the shape stands beside each pointer. n*d stays below 2^31.
 * - Order of arguments: the object, what is written, what is read, sizes.
 * - t = 0 is noise, t = 1 is data; a velocity is dx/dt in that direction.
 * - A log-determinant is log|det dy/dx| of the map just applied, in nats, and is *added* to the
 *   caller's logdet[n], so that maps in sequence sum up; an inverse adds the inverse's.
 * - A backward pass *accumulates* into gradients. flow_opt_step uses the gradient and clears it.
 * - Randomness comes from a flow_rng argument and from nowhere else. One call of
 *   flow_rng_next is one draw; the draws that a function takes are documented. The same seed
 *   gives the same bits on every compiler and optimisation level, with -ffp-contract=off where the
 *   target has a fused multiply-add (the x87 of 32 bits rounds otherwise). -ffast-math, which would
 *   take the exponential apart, is refused.
 * - A mistake in calling (a null pointer, a size that cannot be) is FLOW_ASSERT. What can go
 *   wrong at run time (memory, a singular matrix, no convergence, a number that is not finite, a
 *   bad file) is a negative int, FLOW_E_..., that flow_strerror puts into words. Functions that
 *   return int return FLOW_OK = 0 otherwise. The library never prints or exits, and its work with
 *   files leaves errno as it was.
 * - Maps over zero samples do nothing; a mean over zero samples is FLOW_E_EMPTY.
 * - Objects come in threes: _init takes memory (and takes none when it fails), _free gives it
 *   back (and may be called twice), and what lies between takes none.
 * - y may be x in every map of n points (forward, inverse, transport).
 * - Text files have a decimal point as long as the program leaves LC_NUMERIC at the "C" it starts
 *   with.
 */
enum {
    FLOW_OK = 0,
    FLOW_E_MEMORY = -1,   /* FLOW_MALLOC returned NULL */
    FLOW_E_SINGULAR = -2, /* a matrix without inverse, a formula at its singular point */
    FLOW_E_CONVERGE = -3, /* an iteration did not reach its tolerance */
    FLOW_E_BRACKET = -4,  /* a root is not enclosed by the interval */
    FLOW_E_FINITE = -5,   /* a NaN or an infinity came in or out */
    FLOW_E_EMPTY = -6,    /* zero samples, steps or rows where at least one is needed */
    FLOW_E_UNKNOWN = -7,  /* no closed form is known, no such name */
    FLOW_E_OPEN = -8,     /* a file cannot be opened or made */
    FLOW_E_FILE = -9,     /* reading or writing a file failed on the way */
    FLOW_E_COLUMNS = -10, /* a row has too few or too many numbers */
    FLOW_E_NUMBER = -11,  /* text where a number should stand */
    FLOW_E_FORMAT = -12,  /* a file's bytes are not what its format asks for */
    FLOW_E_TYPE = -13,    /* numbers in a file are of a type that is not read here */
    FLOW_E_SHAPE = -14,   /* an array in a file has another shape than the one to be filled */
    FLOW_E_GZIP = -15     /* a file is still compressed */
};

/* One line in English for an error code; never NULL. */
FLOW_API const char *flow_strerror(int err);

/* Frees an array that a flow.h function allocated for its caller (flow_points_read, flow_idx_read).
 * p may be NULL. */
FLOW_API void flow_release(void *p);

/* ------------------------------------------------------------------------ 1 RANDOM NUMBERS
 * xoshiro256++ [Blackman and Vigna 2021], seeded through splitmix64. */
typedef struct {
    uint64_t s[4];
} flow_rng;

/* Any seed is good, 0 included; different seeds give unrelated streams. */
FLOW_API void flow_rng_init(flow_rng *rng, uint64_t seed);

/* A second generator, unrelated to the first from here on. One draw. */
FLOW_API flow_rng flow_rng_split(flow_rng *rng);

/* 64 random bits. One draw: the unit in which the others are counted. */
FLOW_API uint64_t flow_rng_next(flow_rng *rng);

/* u ~ U[0, 1), 53 random bits (24 in float). One draw. */
FLOW_API flow_real flow_rng_uniform(flow_rng *rng);

/* z ~ N(0, 1) by Box and Muller [1958]: sqrt(-2 ln u1) cos(2 pi u2). Two draws. */
FLOW_API flow_real flow_rng_normal(flow_rng *rng);

/* A whole number 0 ... k-1, all equally likely. One draw, rarely more. */
FLOW_API int flow_rng_below(flow_rng *rng, int k);

/* The index i with probability p[i] / sum p, p[k] >= 0 with a positive, finite sum. One draw. */
FLOW_API int flow_rng_categorical(flow_rng *rng, const flow_real *p, int k);

/* perm[n] = 0 ... n-1 in random order, all n! equally likely (Fisher and Yates). n-1 draws,
 * rarely more. */
FLOW_API void flow_rng_permutation(flow_rng *rng, int *perm, int n);

/* ------------------------------------------------------------------ 2 SMALL LINEAR ALGEBRA
 * Dense, row-major. Sizes are those of layers and dimensions: tens to hundreds. */

/* C = op(A) op(B), or C += op(A) op(B) when accumulate is not 0.
 * C: [m*n]; op(A): [m*k], A itself if ta == 0, else A is stored [k*m] and used transposed;
 * op(B): [k*n], stored [n*k] when tb is not 0. C overlaps neither A nor B.
 * The sum over k runs in one fixed order, whatever m and the number of threads. 2 m n k flop. */
FLOW_API void flow_matmul(flow_real *c, const flow_real *a, int ta, const flow_real *b, int tb,
                          int m, int n, int k, int accumulate);

/* P A = L U in place, rows pivoted: a[d*d] becomes U above and L below its diagonal (L's own
 * diagonal is 1), piv[i] is the row exchanged with row i. FLOW_E_SINGULAR when a pivot is below
 * d eps max|a|, FLOW_E_FINITE. */
FLOW_API int flow_lu(flow_real *a, int *piv, int d);

/* log|det A| = sum_i log|u_ii| from the factors; *sign is +1 or -1 (may be NULL). */
FLOW_API flow_real flow_lu_logdet(const flow_real *lu, const int *piv, int *sign, int d);

/* Solves A x = b: x[d] holds b on entry and x on return. */
FLOW_API void flow_lu_solve(const flow_real *lu, const int *piv, flow_real *x, int d);

/* inv[d*d] = A^-1 and *logdet += log|det A| by Gauss-Jordan elimination with row pivoting;
 * a[d*d] is destroyed. FLOW_E_SINGULAR as for flow_lu, FLOW_E_FINITE also of the inverse. */
FLOW_API int flow_inverse(flow_real *inv, flow_real *logdet, flow_real *a, int d);

/* A = L L' in place for a symmetric positive definite A; the part above the diagonal is set to
 * zero. FLOW_E_SINGULAR when A is not positive definite. */
FLOW_API int flow_cholesky(flow_real *a, int d);

/* x[d] <- L^-1 x (forward substitution) and x[d] <- L'^-1 x (backward substitution); both in
 * turn solve L L' x = b. */
FLOW_API void flow_lower_solve(const flow_real *l, flow_real *x, int d);
FLOW_API void flow_lower_solve_transposed(const flow_real *l, flow_real *x, int d);

/* The largest singular value of a[rows*cols], by power iteration on A'A [Miyato et al. 2018]:
 * u = A v/|A v|, v = A'u/|A'u|, s = u'A v. v[cols] is the start and becomes the right singular
 * vector, u[rows] the left one; keep v between calls and one iteration a step is enough. A zero
 * matrix gives 0, as do numbers whose squares underflow; where squares overflow, s means nothing.
 * s approaches the norm from below. */
FLOW_API flow_real flow_spectral_norm(const flow_real *a, flow_real *u, flow_real *v, int rows,
                                      int cols, int iterations);

/* ----------------------------------------------------------------------------- 3 DENSITIES
 * Three verbs each: sample, logprob (log p, nats, written, not added) and score (d log p/dx). */

/* U(lo, hi) in each of d coordinates: log p = -d log(hi - lo) inside, -infinity outside; the
 * score is 0. lo < hi. n d draws. */
FLOW_API void flow_uniform_sample(flow_rng *rng, flow_real *x, flow_real lo, flow_real hi, int n,
                                  int d);
FLOW_API void flow_uniform_logprob(flow_real *logp, const flow_real *x, flow_real lo,
                                   flow_real hi, int n, int d);
FLOW_API void flow_uniform_score(flow_real *score, const flow_real *x, flow_real lo, flow_real hi,
                                 int n, int d);

/* N(0, I): log p = -(|x|^2 + d log 2 pi)/2, score = -x. Box and Muller's pairs fill x[n*d] in
 * order: 2 ceil(n d/2) draws. */
FLOW_API void flow_normal_sample(flow_rng *rng, flow_real *x, int n, int d);
FLOW_API void flow_normal_logprob(flow_real *logp, const flow_real *x, int n, int d);
FLOW_API void flow_normal_score(flow_real *score, const flow_real *x, int n, int d);

/* A Gaussian mixture: p(x) = sum_k w_k N(x; m_k, C_k). A single Gaussian is a mixture of one. */
typedef struct {
    int k, d;
    flow_real *weight; /* [k], sums to 1 */
    flow_real *mean;   /* [k*d] */
    flow_real *cov;    /* [k*d*d] */
    flow_real *chol;   /* [k*d*d], C_k = L_k L_k' */
    flow_real *lognorm; /* [k], log w_k - log|L_k| - (d/2) log 2 pi */
    flow_real *work;   /* [2*k + 3*d], scratch of logprob, score and sample */
} flow_mixture;

/* Copies weight[k] (normalised here), mean[k*d], cov[k*d*d]. FLOW_E_MEMORY, FLOW_E_SINGULAR (a
 * covariance that is not positive definite), FLOW_E_FINITE (a negative weight, weights that do not
 * sum to a positive number, NaN in a mean). */
FLOW_API int flow_mixture_init(flow_mixture *m, const flow_real *weight, const flow_real *mean,
                               const flow_real *cov, int k, int d);
FLOW_API void flow_mixture_free(flow_mixture *m);
/* label[n] receives the component of each sample; may be NULL. 1 + 2 ceil(d/2) draws a sample. */
FLOW_API void flow_mixture_sample(const flow_mixture *m, flow_rng *rng, flow_real *x, int *label,
                                  int n);
FLOW_API void flow_mixture_logprob(const flow_mixture *m, flow_real *logp, const flow_real *x,
                                   int n);
FLOW_API void flow_mixture_score(const flow_mixture *m, flow_real *score, const flow_real *x,
                                 int n);

/* Bernoulli: P(y = 1) = p. log P = y log p + (1 - y) log(1 - p), with 0 log 0 = 0; its
 * derivative in p, y/p - (1 - y)/(1 - p), is the score. y[n] holds 0s and 1s. n draws. */
FLOW_API void flow_bernoulli_sample(flow_rng *rng, int *y, flow_real p, int n);
FLOW_API void flow_bernoulli_logprob(flow_real *logp, const int *y, flow_real p, int n);
FLOW_API void flow_bernoulli_score(flow_real *score, const int *y, flow_real p, int n);

/* ------------------------------------------------------------------------------ 4 TOY DATA
 * The sets of the papers, after the generators of FFJORD [Grathwohl et al. 2019]. All are
 * two-dimensional and fit in [-4.5, 4.5]^2 but for rare samples. */
enum {
    FLOW_TOY_MOONS,        /* two half circles, noise 0.1, x2, shifted by (-1, -0.2) */
    FLOW_TOY_8GAUSSIANS,   /* radius 4, std 0.5, all / 1.414 */
    FLOW_TOY_CHECKERBOARD, /* 8 squares of area 4: uniform on 32 units of area */
    FLOW_TOY_CIRCLES,      /* radii 1 and 0.5, noise 0.08, x3 */
    FLOW_TOY_RINGS,        /* radii 1, 0.75, 0.5, 0.25, x3, noise 0.08 */
    FLOW_TOY_2SPIRALS,     /* n = 3 pi sqrt(u): (-n cos n, n sin n) + U(0,1)/2, +-/3, noise 0.1 */
    FLOW_TOY_SWISSROLL,    /* t = 1.5 pi (1 + 2u): (t cos t, t sin t) + N(0,1), / 5 */
    FLOW_TOY_PINWHEEL,     /* five arms */
    FLOW_TOY_COUNT
};

FLOW_API const char *flow_toy_name(int set);
/* The set with that name, or FLOW_E_UNKNOWN. */
FLOW_API int flow_toy_find(const char *name);
/* x[n*2]; label[n] is the moon, Gaussian, square, circle, ring or arm (0 for the swiss roll);
 * may be NULL. 4 draws a sample (rarely more): arm, place on the curve, noise; 6 for the spirals,
 * 3 for Gaussians, checkerboard and pinwheel. */
FLOW_API void flow_toy_sample(int set, flow_rng *rng, flow_real *x, int *label, int n);
/* The true log-density in nats: closed form, or a quadrature along the curve that carries the
 * noise, exact to about 1e-9 (5e-6 in float) where there is data (log p above -10). Far from the
 * curve it loses digits, and is -infinity where p itself underflows. FLOW_E_UNKNOWN for the
 * pinwheel. */
FLOW_API int flow_toy_logprob(int set, flow_real *logp, const flow_real *x, int n);
/* The eight Gaussians as a mixture, component by label, for closed forms; an object of its own, to
 * be freed. FLOW_E_MEMORY, FLOW_E_UNKNOWN for every other set. */
FLOW_API int flow_toy_mixture(flow_mixture *m, int set);
/* The entropy -E[log p] in nats, to the digits of the table in the implementation: no model's
 * held-out loss can be lower. */
FLOW_API flow_real flow_toy_entropy(int set);

/* Four energies U = -log p + const [Rezende and Mohamed 2015, table 1], which = 1, 2, 3 or 4, for
 * reverse KL: u[n] = U and du[n*2] = dU/dz at z[n*2].
 *
 *     U1 = ((|z| - 2)/0.4)^2/2 + E(p, q),   p = (z1 - 2)/0.6,    q = (z1 + 2)/0.6
 *     U2 = p^2/2,                           p = (z2 - w1)/0.4
 *     U3 = E(p, q),                         p = (z2 - w1)/0.35,  q = (z2 - w1 + w2)/0.35
 *     U4 = E(p, q),                         p = (z2 - w1)/0.4,   q = (z2 - w1 + w3)/0.35
 *     E(p, q) = -log(e^(-p^2/2) + e^(-q^2/2)): two humps or ribbons
 *     w1 = sin(pi z1/2),  w2 = 3 exp(-((z1 - 1)/0.6)^2/2),  w3 = 3 sigmoid((z1 - 1)/0.3)
 *
 * U2, U3 and U4 are bounded along z1: exp(-U) has a finite integral only with a term of the
 * caller's that grows there. Far out (|z| above 1e18 in float, 1e150 in double) U overflows. */
FLOW_API void flow_toy_energy(int which, flow_real *u, flow_real *du, const flow_real *z, int n);

/* ---------------------------------------------------------------------------- 5 BIJECTIONS
 * A bijection is an invertible map y = f(x; theta) of d numbers with a tractable log|det dy/dx|.
 * Every kind is this one struct of functions; a chain (section 6) composes them, and a new kind
 * is a new function that fills the struct. Points may not overlap unless said: y may be x.
 *
 * forward    y = f(x),  logdet += log|det df/dx|
 * inverse    x = f^-1(y),  logdet += log|det df^-1/dy|
 * backward   after forward at x, with the cotangents dy = dL/dy and dlogdet = dL/dlogdet:
 *            dtheta += dL/dtheta,  dx = dL/dx  (both through y and through logdet)
 * cache      forward leaves there what backward needs: work + n*cache reals
 *
 * theta, dtheta: [params];  x, y, dx, dy: [n*d];  logdet, dlogdet: [n]. dx may be dy. */
typedef struct flow_bijection flow_bijection;
struct flow_bijection {
    const char *name;
    int d;            /* dimension */
    int params;       /* length of its slice of theta */
    int cache;        /* reals of cache a sample */
    int work;         /* reals of cache whatever n */
    const void *spec; /* what a kind needs beyond this, or NULL; outlives the bijection */
    void (*init)(const flow_bijection *b, flow_real *theta, flow_rng *rng);
    int (*forward)(const flow_bijection *b, const flow_real *theta, flow_real *y,
                   flow_real *logdet, const flow_real *x, int n, flow_real *cache);
    int (*inverse)(const flow_bijection *b, const flow_real *theta, flow_real *x,
                   flow_real *logdet, const flow_real *y, int n, flow_real *cache);
    int (*backward)(const flow_bijection *b, const flow_real *theta, flow_real *dtheta,
                    flow_real *dx, const flow_real *dy, const flow_real *dlogdet,
                    const flow_real *x, int n, flow_real *cache);
    /* optional, a start that depends on data: theta from the points x[n*d] that enter the layer */
    int (*fit)(const flow_bijection *b, flow_real *theta, const flow_real *x, int n);
};

/* y = W (x - b),  log|det dy/dx| = log|det W|. theta = W[d*d], b[d]; starts as the identity.
 * Run from data to noise, W is the A^-1 of y = A x + b. FLOW_E_SINGULAR, FLOW_E_FINITE. */
FLOW_API flow_bijection flow_affine(int d);

/* y = x + u^ tanh(w'x + b),  log|det dy/dx| = log(1 + (1 - tanh^2(w'x + b)) w'u^)
 * [Rezende and Mohamed 2015, eq. 10 to 12]. theta = u[d], w[d], b. u^ is u moved along w until
 * the map is invertible: see flow_planar_uhat. Starts near the identity: w ~ N(0, I), b = -w'c
 * with c ~ U(-2, 2)^d, u ~ N(0, 0.01^2). 4 ceil(d/2) + d draws.
 * The inverse solves a = w'x from w'y = a + w'u^ tanh(a + b), which lies within |w'u^| of w'y,
 * by flow_root. FLOW_E_CONVERGE, FLOW_E_FINITE. */
FLOW_API flow_bijection flow_planar(int d);

/* u^ = u + (m(w'u) - w'u) w/|w|^2 with m(a) = -c + log(1 + (e^c - 1) e^a), c = 0.99.
 * Then w'u^ = m(w'u) > -c, so the slope 1 + h' w'u^ of the map along w stays above 1 - c = 0.01:
 * the map never folds, and its inverse loses at most two digits along w (across it, |u^| |w| times
 * as much). m(0) = 0: u = 0 stays the identity (the textbook's m(a) = -1 + log(1 + e^a) has
 * m(0) = -0.31). w = 0 leaves u alone. Returns w'u^. uhat, u, w: [d]; uhat may be u. */
FLOW_API flow_real flow_planar_uhat(flow_real *uhat, const flow_real *u, const flow_real *w, int d);

/* y = e^s x + b, one scale and shift a coordinate; log|det dy/dx| = sum_j s_j. theta = s[d], b[d];
 * starts as the identity, and flow_chain_fit makes its output of mean 0 and variance 1
 * [actnorm of Glow: Kingma and Dhariwal 2018, section 3.1]. */
FLOW_API flow_bijection flow_actnorm(int d);

/* y = P L U x, an invertible matrix as its LU factors: L lower with 1 on the diagonal, U upper with
 * e^s on it, log|det| = sum_j s_j without a determinant [Glow, section 3.2]. theta[d*d] holds L
 * below, s on and U above the diagonal; starts as P alone. perm[d] (y_i = (L U x)_perm[i]) outlives
 * the bijection; NULL reverses the order. */
FLOW_API flow_bijection flow_linear(int d, const int *perm);

/* What coupling and autoregressive layers need beside d. The conditioner is a network of `depth`
 * hidden layers; its scale is bounded, s = cap tanh(o/cap). */
typedef struct {
    const int *mask;   /* coupling: [d], 1 passes through and conditions, 0 is transformed */
    int additive;      /* 1: y = x + t, volume kept (NICE); 0: y = x e^s + t */
    int reverse;       /* autoregressive: 1 orders the coordinates from the last to the first */
    int width, depth, act;
    flow_real cap;     /* largest |s|; 0 means 3 */
} flow_conditioner;

/* mask[j] = (j + parity) % 2: layers of alternating parity move every coordinate. */
FLOW_API void flow_mask_alternate(int *mask, int d, int parity);

/* Coupling: the coordinates with mask 1 pass, and set scale and shift of the others:
 *   y_j = x_j (mask 1),   y_j = x_j e^(s_j) + t_j,  (s, t) = net(mask x) (mask 0)
 *   log|det dy/dx| = sum over mask 0 of s_j, as the Jacobian is triangular
 * [NICE: Dinh, Krueger and Bengio 2015, eq. 8; RealNVP: Dinh, Sohl-Dickstein and Bengio 2017, eq. 7
 * to 8]. theta: the network's; its last layer starts 50 times smaller, near the identity. */
FLOW_API flow_bijection flow_coupling(int d, const flow_conditioner *spec);

/* Masked autoregressive: y_j = x_j e^(s_j) + t_j with (s_j, t_j) from x_1 ... x_(j-1) alone, all
 * from one pass of a network whose forbidden weights are masked out [MADE: Germain et al. 2015;
 * MAF: Papamakarios, Pavlakou and Murray 2017, eq. 3 to 5, as y of x]. The inverse fills one
 * coordinate after the other: d passes. */
FLOW_API flow_bijection flow_autoregressive(int d, const flow_conditioner *spec);

/* Residual: y = x + g(x), g a network whose weights are divided by their spectral norms so that
 * Lip(g) <= bound < 1: invertible by Banach's fixed point theorem [i-ResNet: Behrmann et al. 2019].
 *   log|det dy/dx| = log|det(I + J_g)|, exact: d tangents and an LU a sample. With ReLU J_g jumps,
 *   and the gradient of a likelihood lacks what the moving of these places adds to it
 *   inverse: x <- y - g(x) until |x - (y - g(x))|/(1 - bound) <= tol, or until only rounding moves
 *   x; FLOW_E_CONVERGE */
typedef struct {
    int width, depth, act; /* act: 1-Lipschitz, FLOW_TANH, FLOW_RELU or FLOW_LIPSWISH */
    flow_real bound;       /* 0 means 0.97; infinity turns the normalisation off */
    flow_real tol;         /* of the inverse; 0 means 1e-10 (1e-4 in float) */
    int iterations;        /* most iterations of the inverse; 0 means 5000 */
    int power;             /* power iterations a call, from where the last call stopped: 1 is enough
                              while training, with a cache that starts zeroed, as a chain's does; 0
                              means the exact norms, a function of theta alone */
} flow_residual_spec;
FLOW_API flow_bijection flow_residual(int d, const flow_residual_spec *spec);

/* log|det(I + J_g)| = sum over k of (-1)^(k+1) tr(J^k)/k without a determinant, for large d
 * [Residual Flow: Chen et al. 2019, eq. 6 to 8]. x[n*d], estimate[n], b a flow_residual, cache as
 * for its forward. The traces are exact with probes = 0 (d tangents), else the mean of v'J^k v over
 * Rademacher probes v. The series stops after `terms` (roulette = 0: biased), or goes on after them
 * with probability 1 - roulette at every further term, which is weighted by 1/P(it is reached):
 * unbiased. n d draws a probe and, with roulette > 0, one for each term after `terms` and one that
 * ends them. FLOW_E_EMPTY (terms < 1). */
FLOW_API int flow_residual_series(const flow_bijection *b, const flow_real *theta,
                                  flow_real *estimate, flow_rng *rng, const flow_real *x, int n,
                                  int probes, int terms, flow_real roulette, flow_real *cache);

/* The root of f between lo and hi, where f(lo) and f(hi) differ in sign: Newton's method, with a
 * bisection whenever it would leave the bracket or does not halve it. f returns f(a) and writes
 * f'(a) to *slope. Stops when the bracket or the step is below tol (1 + |a|).
 * FLOW_E_BRACKET, FLOW_E_CONVERGE (200 iterations), FLOW_E_FINITE. */
typedef flow_real (*flow_root_fn)(void *ctx, flow_real a, flow_real *slope);
FLOW_API int flow_root(flow_real *root, flow_root_fn f, void *ctx, flow_real lo, flow_real hi,
                       flow_real tol);

/* --------------------------------------------------------------------- 6 NORMALIZING FLOWS
 * A chain y = f_K(... f_2(f_1(x))) of bijections over one flat parameter block. Its two uses:
 *
 *   FLOW_TO_NOISE    forward runs data -> noise, so that maximum likelihood only needs forward:
 *                    log p(x) = log N(f(x)) + log|det df/dx|;  a sample is f^-1 of noise
 *   FLOW_FROM_NOISE  forward runs noise -> target, as for the reverse KL to a known energy:
 *                    log q(f(z)) = log N(z) - log|det df/dz|;  a sample is f of noise */
enum { FLOW_TO_NOISE, FLOW_FROM_NOISE };

typedef struct {
    int d, count, direction, batch, params;
    flow_bijection *layer; /* [count] */
    flow_real *theta;      /* [params], the layers' slices one after the other */
    flow_real *grad;       /* [params] */
    flow_real *x;          /* [(count+1)*batch*d], points before, between and after the layers */
    flow_real *cache;      /* the layers' caches */
    flow_real *logdet;     /* [batch] */
    flow_real *dx;         /* [batch*d] */
    void *memory;
} flow_chain;

/* Copies layer[count], all of one dimension d, and draws their parameters in order. batch: the
 * most samples of one forward; logprob and sample take any n, a batch at a time.
 * FLOW_E_MEMORY (also for 2^31 reals and more of parameters or a layer's cache), FLOW_E_EMPTY (no
 * layers). */
FLOW_API int flow_chain_init(flow_chain *c, const flow_bijection *layer, int count, int direction,
                             int batch, flow_rng *rng);
FLOW_API void flow_chain_free(flow_chain *c);

/* Starts that depend on data: runs x[n*d] through the layers, n <= batch, and lets each that knows
 * how (flow_actnorm) choose its parameters for what enters it. FLOW_E_EMPTY, FLOW_E_FINITE, the
 * layers' errors. */
FLOW_API int flow_chain_fit(flow_chain *c, const flow_real *x, int n);

/* The slice of theta that belongs to layer k, and the points x_k[n*d] that entered it in the
 * last forward (k = count: those that left the last layer). */
FLOW_API flow_real *flow_chain_theta(const flow_chain *c, int k);
FLOW_API const flow_real *flow_chain_points(const flow_chain *c, int k);

/* y[n*d] = f(x[n*d]), logdet[n] += sum_k log|det df_k/dx_(k-1)|; n <= batch. Errors are the
 * layers' and FLOW_E_FINITE; then y and logdet are undefined. */
FLOW_API int flow_chain_forward(flow_chain *c, flow_real *y, flow_real *logdet, const flow_real *x,
                                int n);
FLOW_API int flow_chain_inverse(flow_chain *c, flow_real *x, flow_real *logdet, const flow_real *y,
                                int n);
/* After forward of n samples: grad += dL/dtheta from dy[n*d] and dlogdet[n]; dx[n*d] = dL/dx, may
 * be NULL. */
FLOW_API int flow_chain_backward(flow_chain *c, flow_real *dx, const flow_real *dy,
                                 const flow_real *dlogdet, int n);

/* logp[n]: log-density of the model at x[n*d], either direction; any n. */
FLOW_API int flow_chain_logprob(flow_chain *c, flow_real *logp, const flow_real *x, int n);
/* x[n*d]: samples of the model, either direction; any n. 2 ceil(m d/2) draws a batch of m. */
FLOW_API int flow_chain_sample(flow_chain *c, flow_rng *rng, flow_real *x, int n);

/* Maximum likelihood: *loss = -(1/n) sum_i log p(x_i), grad += its gradient. FLOW_TO_NOISE.
 * n <= batch. FLOW_E_EMPTY, FLOW_E_FINITE (the loss is not finite: grad is then undefined). */
FLOW_API int flow_chain_nll(flow_chain *c, flow_real *loss, const flow_real *x, int n);

/* An energy U(x) = -log p(x) + const: writes energy[n] and its gradient denergy[n*d]. */
typedef int (*flow_energy_fn)(void *ctx, flow_real *energy, flow_real *denergy, const flow_real *x,
                              int n);
/* Reverse KL [Rezende and Mohamed 2015, eq. 15]: *loss = E_q[log q(y) + U(y)] over n fresh
 * samples y = f(z), grad += its gradient. KL(q|p) = *loss + log Z. FLOW_FROM_NOISE.
 * n <= batch. FLOW_E_EMPTY, FLOW_E_FINITE. 2 ceil(n d/2) draws. */
FLOW_API int flow_chain_reverse_kl(flow_chain *c, flow_real *loss, flow_energy_fn energy, void *ctx,
                                   flow_rng *rng, int n);

/* ------------------------------------------------------------------------------- 7 NETWORK
 * A multilayer perceptron  z_l = W_l a_(l-1) + b_l,  a_l = phi(z_l),  y = W_L a_(L-1) + b_L
 * with depth hidden layers of one width. Only a specification: parameters and cache are the
 * caller's, so that a network can be a slice of something larger. */
enum {
    FLOW_TANH,
    FLOW_SILU,     /* z sigmoid(z)                    [Elfwing et al. 2018] */
    FLOW_SELU,     /* 1.0507 (z > 0 ? z : 1.6733 (e^z - 1))   [Klambauer et al. 2017] */
    FLOW_SOFTPLUS, /* log(1 + e^z) */
    FLOW_RELU,     /* max(z, 0) */
    FLOW_LIPSWISH, /* z sigmoid(z)/1.1, slope at most 1   [Chen et al. 2019, section 3.3] */
    FLOW_ACT_COUNT
};

/* phi, phi' and phi'' of z[n]; each output may be NULL, and a may be z. */
FLOW_API void flow_activation(int act, flow_real *a, flow_real *da, flow_real *dda,
                              const flow_real *z, int n);

typedef struct {
    int in, width, depth, out, act;
} flow_mlp;

/* theta holds, layer by layer, W_l[out_l*in_l] (row: one output) and b_l[out_l]. This count and the
 * next are INT_MAX where an int cannot hold them: flow_net_init and flow_chain_init refuse that. */
FLOW_API int flow_mlp_params(const flow_mlp *m);
/* Length of cache[] for n samples: (7 depth + 2) n width reals. */
FLOW_API int flow_mlp_cache(const flow_mlp *m, int n);
/* W, b ~ U(-1/sqrt(in_l), 1/sqrt(in_l)). One draw a parameter. */
FLOW_API void flow_mlp_init(const flow_mlp *m, flow_real *theta, flow_rng *rng);

/* y[n*out] = f(x[n*in]); leaves z_l, a_l, phi'(z_l) in cache for the passes below. */
FLOW_API void flow_mlp_forward(const flow_mlp *m, const flow_real *theta, flow_real *y,
                               const flow_real *x, int n, flow_real *cache);
/* Reverse mode: dtheta += (dy/dtheta)'dy,  dx[n*in] = (dy/dx)'dy; dx and dtheta may be NULL. */
FLOW_API void flow_mlp_backward(const flow_mlp *m, const flow_real *theta, flow_real *dtheta,
                                flow_real *dx, const flow_real *dy, const flow_real *x, int n,
                                flow_real *cache);
/* Forward mode: jy[k*n*out] = (dy/dx) s for k tangents s[k*n*in] of each sample:
 * z'_l = W_l a'_(l-1),  a'_l = phi'(z_l) z'_l. */
FLOW_API void flow_mlp_tangent(const flow_mlp *m, const flow_real *theta, flow_real *jy,
                               const flow_real *s, int n, int k, flow_real *cache);
/* Reverse mode through both: for a loss with cotangents dy[n*out] and djy[k*n*out],
 * dtheta += and dx[n*in] = the gradient, which also passes through phi'':
 * dz_l = phi'(z_l) da_l + sum over tangents of phi''(z_l) z'_l da'_l. */
FLOW_API void flow_mlp_tangent_backward(const flow_mlp *m, const flow_real *theta,
                                        flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                        const flow_real *djy, const flow_real *x,
                                        const flow_real *s, int n, int k, flow_real *cache);

/* A velocity network v(x, t, c): an MLP whose input row is x[d], t, c[cond], and which owns its
 * parameters, gradient and cache. */
typedef struct {
    int d, cond, batch, params;
    flow_mlp mlp;
    flow_real *theta; /* [params] */
    flow_real *grad;  /* [params] */
    flow_real *in;    /* [batch*(d+1+cond)] input rows of the last forward */
    flow_real *din;   /* [batch*(d+1+cond)] */
    flow_real *s;     /* [8*batch*(d+1+cond)] tangent rows */
    flow_real *v;     /* [batch*d] of the loss */
    flow_real *cache;
    void *memory;
} flow_net;

/* FLOW_E_MEMORY, also for 2^31 reals and more of parameters or cache. flow_mlp_init's draws. */
FLOW_API int flow_net_init(flow_net *net, int d, int cond, int width, int depth, int act,
                           int batch, flow_rng *rng);
FLOW_API void flow_net_free(flow_net *net);
/* v[n*d] = v(x[n*d], t[n], c[n*cond]); c is NULL when cond is 0; n <= batch. */
FLOW_API void flow_net_forward(flow_net *net, flow_real *v, const flow_real *x, const flow_real *t,
                               const flow_real *c, int n);
/* After forward: grad += from dv[n*d]; dx[n*d] = dL/dx, may be NULL. */
FLOW_API void flow_net_backward(flow_net *net, flow_real *dx, const flow_real *dv, int n);
/* After forward: jv[k*n*d] = (dv/dx) s[k*n*d]. */
FLOW_API void flow_net_tangent(flow_net *net, flow_real *jv, const flow_real *s, int n, int k);

/* ---------------------------------------------------------------------------- 8 OPTIMISERS
 * All work on a flat theta[count] with its gradient, whatever model they belong to. */
enum {
    FLOW_SGD,      /* theta -= rate g */
    FLOW_MOMENTUM, /* v = beta1 v + g,  theta -= rate v                    [Polyak 1964] */
    FLOW_ADAM,     /* m = b1 m + (1-b1) g,  v = b2 v + (1-b2) g^2,  theta -= rate m^ / (sqrt(v^) +
                      eps) with m^ = m/(1-b1^t), v^ = v/(1-b2^t)      [Kingma and Ba 2015] */
    FLOW_NATURAL   /* F = b2 F + (1-b2) (g g' + eps I),  m = b1 m + (1-b1) F^-1 g,  theta -= rate
                      m^, F the Fisher matrix as recent gradients show it: the natural gradient
                      [Amari, Park and Fukumizu 2000]. eps I comes a coordinate a step, and suits
                      gradients clipped to length 1. For small models: F^-1 has count^2 reals, and
                      a step passes over them thrice */
};
typedef struct {
    int kind, count;
    long step;                       /* steps taken */
    flow_real rate;                  /* may be changed between steps */
    flow_real beta1, beta2, epsilon; /* 0.9, 0.999, 1e-8 (FLOW_NATURAL: 0.9, 0.995, 3e-4) unless
                                        changed after init */
    flow_real decay;                 /* theta -= rate decay theta beside the step: AdamW, 0 */
    flow_real *m, *v;                /* [count] each; NULL where not needed; v: FLOW_NATURAL's
                                        scratch */
    flow_real *inverse;              /* [count*count] F^-1 of FLOW_NATURAL, else NULL */
    void *memory;
} flow_opt;

/* FLOW_E_MEMORY. */
FLOW_API int flow_opt_init(flow_opt *o, int kind, flow_real rate, int count);
FLOW_API void flow_opt_free(flow_opt *o);
/* One step down grad[count], which is then cleared. FLOW_E_FINITE when the gradient is not finite
 * (for FLOW_NATURAL: g'F^-1 g is not, or is negative because gradients of very different length
 * left F^-1 to rounding, from which only a new flow_opt_init recovers): then nothing has changed. A
 * number whose square overflows is finite, but stops its parameter in FLOW_ADAM: clip before. */
FLOW_API int flow_opt_step(flow_opt *o, flow_real *theta, flow_real *grad);

/* Cosine decay from 1 at step 0 to 0 at step total: (1 + cos(pi step/total))/2. */
FLOW_API flow_real flow_schedule_cosine(long step, long total);
/* Linear warm-up: min(1, (step + 1)/warmup). */
FLOW_API flow_real flow_schedule_warmup(long step, long warmup);
/* Scales grad so that |grad| <= limit; returns |grad| as it was, infinity where it overflows. Of
 * numbers that are not finite it leaves some, for flow_opt_step to refuse. */
FLOW_API flow_real flow_clip_norm(flow_real *grad, flow_real limit, int count);
/* Exponential moving average: average += (1 - decay)(theta - average). */
FLOW_API void flow_ema_update(flow_real *average, const flow_real *theta, flow_real decay,
                              int count);

/* --------------------------------------------------------------------------- 9 ODE SOLVERS
 * dx/dt = f(x, t) for x[n], by explicit Runge-Kutta methods over their Butcher tableaux:
 * k_i = f(x + h sum_j a_ij k_j, t + c_i h),  x <- x + h sum_i b_i k_i
 * [Hairer, Norsett and Wanner 1993, II.1]. The solver knows nothing of flows. */
typedef int (*flow_ode_fn)(void *ctx, flow_real *dx, const flow_real *x, flow_real t);

enum {
    FLOW_EULER,    /* order 1, 1 evaluation a step */
    FLOW_MIDPOINT, /* order 2, 2 */
    FLOW_HEUN,     /* order 2, 2 */
    FLOW_RK4,      /* order 4, 4 */
    FLOW_DOPRI5,   /* order 5, 6  [Dormand and Prince 1980]; the one that can adapt its steps */
    FLOW_ODE_COUNT
};
typedef struct {
    const char *name;
    int order, stages;
    flow_real a[6][6], b[6], c[6];
    flow_real e[7]; /* weights of the error estimate, b minus the lower order's; 0: none */
    flow_real d[7]; /* weights of the dense output */
} flow_tableau;
FLOW_API const flow_tableau *flow_ode_tableau(int method);

typedef struct {
    const flow_tableau *tableau;
    int capacity;              /* the largest n */
    long evals;                /* evaluations of f so far */
    long accepted, rejected;   /* adaptive steps so far */
    flow_real atol, rtol;      /* tolerances of adaptive steps, 1e-6 each (1e-4 in float) */
    flow_real least;           /* the smallest step; 0: 16 eps max(|t0|, |t1|) */
    long most;                 /* the most steps of one solve, 100,000 */
    flow_real *k;              /* [(stages+1)*capacity] */
    flow_real *x;              /* [capacity] the point at which a stage is evaluated */
} flow_ode;
FLOW_API int flow_ode_init(flow_ode *s, int method, int capacity);
FLOW_API void flow_ode_free(flow_ode *s);
/* x[n] one step of size h (of either sign) from time t. Errors: what f returned, FLOW_E_FINITE;
 * then x[n] is as it was. */
FLOW_API int flow_ode_step(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t,
                           flow_real h, int n);
/* x[n] from t0 to t1 (t1 < t0 runs time backwards) in equal steps; t0 == t1 does nothing.
 * FLOW_E_EMPTY when steps < 1; errors as for a step, x then at the last good step. */
FLOW_API int flow_ode_solve(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t0,
                            flow_real t1, int steps, int n);

/* x[n] from t0 to t1 in steps chosen so that the estimated error of each,
 *   sqrt(mean_i (e_i/(atol + rtol max(|x_i|, |x_i after|)))^2),
 * is at most 1: a rejected step is tried again shorter, an accepted one decides the next by
 * h <- h clamp(0.9 error^(-1/5), 0.2, 5) [Hairer, Norsett and Wanner 1993, II.4]. FLOW_DOPRI5.
 * With times[m], which run from t0 to at most t1, out[m*n] receives the solution there by the
 * fourth order interpolant of each step (II.6); else both are NULL and m = 0.
 * FLOW_E_CONVERGE (a step below s->least, more than s->most), FLOW_E_FINITE, what f returned; then
 * x is at the last good step. */
FLOW_API int flow_ode_adapt(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t0,
                            flow_real t1, int n, flow_real *out, const flow_real *times, int m);

/* The products with the Jacobian's transpose that a reverse pass needs:
 * wx[n] = (df/dx)'w at x, t; what w sends to parameters, (df/dtheta)'w, is added where ctx keeps
 * it. */
typedef int (*flow_ode_vjp_fn)(void *ctx, flow_real *wx, const flow_real *w, const flow_real *x,
                               flow_real t);
/* The reverse of one step from x at t: lambda[n] = dL/d(x after) becomes dL/dx. From the last stage
 * to the first, w_i = (df/dx)' h (b_i lambda + sum_(j > i) a_ji w_j), and then lambda += sum w_i.
 * The stages are computed again; work: [2*stages*n]. */
FLOW_API int flow_ode_step_backward(flow_ode *s, flow_ode_fn f, flow_ode_vjp_fn vjp, void *ctx,
                                    flow_real *lambda, const flow_real *x, flow_real t,
                                    flow_real h, int n, flow_real *work);

/* --------------------------------------------------------------------- 10 CONTINUOUS FLOWS
 * A velocity field v(x, t), each sample with its own t. Closed forms, networks and formulas of
 * your own are all this one type.
 *   velocity   v[n*d] = v(x[n*d], t[n])
 *   tangent    the same, and jv[k*n*d] = (dv/dx) s[k*n*d] for k tangents of each sample; may be
 *              NULL: then central differences of the velocity are used (where |x| is about 1 their
 *              error is about 1e-10, in float 5e-5; it grows with |x|)
 *   backward   for training, else NULL: of the sum over samples of dv'v + sum_j djv_j'(dv/dx)s_j,
 *              dx[n*d] = the gradient in x, grad[params] += the gradient in the parameters
 *   keeps      how many reals a sample tangent can leave for backward to read, with k tangents;
 *              NULL: none. They stand in kept[n*keeps], which may be NULL: then tangent leaves
 *              nothing, and backward computes them again
 * A field of your own sets all members: start from flow_field_of. */
typedef struct {
    int d;
    void *ctx;
    int (*velocity)(void *ctx, flow_real *v, const flow_real *x, const flow_real *t, int n);
    int (*tangent)(void *ctx, flow_real *v, flow_real *jv, const flow_real *x, const flow_real *t,
                   const flow_real *s, int n, int k, flow_real *kept);
    int (*backward)(void *ctx, flow_real *dx, const flow_real *dv, const flow_real *djv,
                    const flow_real *x, const flow_real *t, const flow_real *s, int n, int k,
                    flow_real *kept);
    int (*keeps)(void *ctx, int k);
    flow_real *grad; /* [params], or NULL */
    int params;
} flow_field;

/* The field of a formula: velocity alone, the rest unset. */
FLOW_API flow_field flow_field_of(int d, int (*velocity)(void *ctx, flow_real *v,
                                                         const flow_real *x, const flow_real *t,
                                                         int n),
                                  void *ctx);

/* The field of a velocity network without condition (flow_given_field sets one). velocity and
 * tangent take any n, a batch at a time; backward, and tangent with kept, one batch of the network.
 * It keeps phi and phi' of each layer and z' of each tangent, (2 + k) depth width reals a sample;
 * depth width more with SiLU and LipSwish, whose phi'' is made of z. */
FLOW_API flow_field flow_net_field(flow_net *net);

/* The flow of a field: transport of points and of their log-density,
 *   dx/dt = v(x, t),   d log p(x(t), t)/dt = -div v(x, t)    [Chen et al. 2018, theorem 1]
 * with the exact divergence div v = sum_j e_j'(dv/dx) e_j, d tangents, or Hutchinson's estimate
 * (1/k) sum_j s_j'(dv/dx) s_j from k random probes, one draw for a whole solve [FFJORD: Grathwohl
 * et al. 2019, eq. 7 and 8]: E[s s'] = I makes it unbiased. */
enum { FLOW_EXACT, FLOW_RADEMACHER, FLOW_GAUSSIAN };
enum { FLOW_BACKPROP = 1, FLOW_CHECKPOINT, FLOW_ADJOINT };
typedef struct {
    flow_field field;
    int steps, batch, n;
    flow_real tol;   /* 0: `steps` equal steps; else adaptive ones of this atol and rtol, which
                        FLOW_DOPRI5 alone can take */
    int divergence, tangents; /* FLOW_EXACT with d, or the kind of probe and their number */
    int together;    /* tangents at a time: all probes, but at most 8 of the exact ones */
    flow_rng *rng;   /* of the probes */
    flow_ode ode;
    int with_logp;     /* is the log-density part of the state? */
    flow_real *state;  /* [batch*(d+1)] points, then their log-densities */
    flow_real *t;      /* [batch] */
    flow_real *basis;  /* [together*batch*d] the tangents s_j */
    flow_real *jv;     /* [together*batch*d] */
    flow_real *v, *xh; /* [batch*d], [3*batch*d] scratch */
    flow_real *point;  /* [batch*d] of logprob */
    flow_real *gained; /* [batch] of logprob */
    int gradient;      /* 0, FLOW_BACKPROP, FLOW_CHECKPOINT or FLOW_ADJOINT */
    int most;          /* steps that path has room for */
    int taken;         /* backprop: evaluations on the path */
    flow_ode reverse;  /* solver of the adjoint */
    flow_real *path;   /* backprop: [most*stages*batch*(d+1)] the point of every evaluation;
                          checkpoint: [most*batch*(d+1)] states; adjoint: 2 batch d + 2 params */
    flow_real *kept;   /* backprop: [most*stages*batch*keeps] what the field left there */
    flow_real *here;   /* the part of kept that is being written or read, or NULL */
    flow_real *lambda; /* [batch*(d+1)] dL/dstate */
    flow_real *work;   /* [stages*batch*(d+1)] of backprop, [2*stages*batch*(d+1)] of checkpoint */
    void *memory, *training;
    size_t bytes, training_bytes; /* what init and what flow_cnf_train took */
} flow_cnf;

/* steps: those of one transport; may be changed between calls. batch: samples moved at once (any
 * n is taken a batch at a time). Memory: (2 min(d, 8) + 6) batch d + 3 batch reals, and the
 * solver's. FLOW_E_MEMORY. */
FLOW_API int flow_cnf_init(flow_cnf *c, flow_field field, int method, int steps, int batch);
/* The same with Hutchinson's divergence: kind of probe FLOW_RADEMACHER (each +1 or -1: the least
 * variance) or FLOW_GAUSSIAN. n d draws a probe (2 ceil(n d/2) if Gaussian) for every solve of n
 * samples, from *rng, which outlives c. FLOW_E_MEMORY, FLOW_E_EMPTY (no probes). */
FLOW_API int flow_cnf_init_hutchinson(flow_cnf *c, flow_field field, int method, int steps,
                                      int batch, int kind, int probes, flow_rng *rng);
FLOW_API void flow_cnf_free(flow_cnf *c);
/* Takes the memory that flow_cnf_nll needs, c->training_bytes. Of every step are kept, in reals,
 *   FLOW_BACKPROP    stages batch (d + 1 + keeps), with field.keeps of all k tangents, or 0 where
 *                    the exact divergence takes more than 8: most memory, least time
 *   FLOW_CHECKPOINT  batch (d + 1)
 *   FLOW_ADJOINT     nothing
 * and the first two grow with c->steps, which may then be lowered but not raised. The field has a
 * backward. FLOW_E_MEMORY, FLOW_E_EMPTY. */
FLOW_API int flow_cnf_train(flow_cnf *c, int gradient);
/* Maximum likelihood: *loss = -(1/n) sum log p(x_i), field.grad += its gradient; n <= batch.
 *   FLOW_BACKPROP    back through every step of the solver: the exact gradient of what was
 *                    computed, from all that was computed; equal steps only
 *   FLOW_CHECKPOINT  the same, bit for bit, from the states at the steps: what lies between is
 *                    computed again, for up to half as much time more [Griewank and Walther 2000]
 *   FLOW_ADJOINT     da/dt = -(df/dy)'a,  dg/dt = -(df/dtheta)'a  solved from 0 to 1, with
 *                    y = (x, log p) solved back beside them [Chen et al. 2018, algorithm 1]: memory
 *                    for one state; exact as the tolerance goes to 0
 * dv/dx has to be continuous: with SELU or ReLU it jumps where a neuron's z passes 0, and what the
 * moving of these places adds to the gradient is in none of the three.
 * FLOW_E_EMPTY, FLOW_E_FINITE, the solver's and the field's errors. */
FLOW_API int flow_cnf_nll(flow_cnf *c, flow_real *loss, const flow_real *x, int n);
/* v[n*d] and div[n] = sum_j dv_j/dx_j (or its estimate) at x[n*d], t[n]; any n. v may be NULL. */
FLOW_API int flow_cnf_divergence(flow_cnf *c, flow_real *v, flow_real *div, const flow_real *x,
                                 const flow_real *t, int n);
/* x[n*d] moved in place from time t0 to t1; with logp not NULL, logp[n] -= the integral of the
 * divergence along the way. FLOW_E_EMPTY (steps < 1), the field's errors, FLOW_E_FINITE. */
FLOW_API int flow_cnf_transport(flow_cnf *c, flow_real *x, flow_real *logp, flow_real t0,
                                flow_real t1, int n);
/* x[n*d] = phi_1(z), z ~ N(0, I). 2 ceil(m d/2) draws for all n d numbers at once (m = n). */
FLOW_API int flow_cnf_sample(flow_cnf *c, flow_rng *rng, flow_real *x, int n);
/* logp[n] = log N(phi_1^-1(x)) - integral of div v: the augmented ODE, run backwards. */
FLOW_API int flow_cnf_logprob(flow_cnf *c, flow_real *logp, const flow_real *x, int n);

/* ------------------------------------------------------------------------ 11 FLOW MATCHING
 * A path from noise to data: x_t = alpha(t) x1 + sigma(t) x0, whose conditional velocity is
 * u_t = alpha'(t) x1 + sigma'(t) x0 [Lipman et al. 2023; Albergo and Vanden-Eijnden 2023]. Those
 * of diffusion models, whose own time runs from data to noise, stand here with s = 1 - t. */
enum {
    FLOW_LINEAR, /* alpha = t, sigma = 1 - t: x_t = (1 - t) x0 + t x1, u_t = x1 - x0 */
    FLOW_VP,     /* alpha = exp(-B/2), sigma = sqrt(1 - alpha^2), B = 0.1 s + 9.95 s^2: the integral
                    of beta from 0.1 to 20 [Song et al. 2021, eq. 33]. alpha(0) = 0.0066, not 0.
                    sigma' -> -infinity at t = 1: from sigma = 0.001 on, both are held */
    FLOW_COSINE, /* alpha = sin(pi t/2), sigma = cos(pi t/2)          [Nichol and Dhariwal 2021] */
    FLOW_VE,     /* alpha = 1, sigma = 0.01 2500^s, from 25 to 0.01   [Song et al. 2021, eq. 32]:
                    samples start from sigma(0) x0 and keep noise of 0.01 */
    FLOW_PATH_COUNT
};
typedef struct {
    flow_real alpha, sigma, dalpha, dsigma;
} flow_path;
FLOW_API flow_path flow_path_at(int path, flow_real t);
FLOW_API const char *flow_path_name(int path);

/* xt[n*d] and ut[n*d] from noise x0[n*d], data x1[n*d] and times t[n], each sample its own. */
FLOW_API void flow_path_sample(int path, flow_real *xt, flow_real *ut, const flow_real *x0,
                               const flow_real *x1, const flow_real *t, int n, int d);

/* One prediction at x_t in terms of another. All say the same, E[x0 | x_t] and E[x1 | x_t]:
 *   x = alpha E x1 + sigma E x0,  v = alpha' E x1 + sigma' E x0,  score = -E x0/sigma
 * y[n*d] as `to` from p[n*d] as `from`, at x[n*d] and t[n]; y may be p. FLOW_E_SINGULAR where one
 * does not determine the other: on the linear path x1 from x0 at t = 0, x0 from x1 at t = 1. */
enum { FLOW_VELOCITY, FLOW_NOISE, FLOW_DATA, FLOW_SCORE };
FLOW_API int flow_path_convert(int path, int to, flow_real *y, int from, const flow_real *p,
                               const flow_real *x, const flow_real *t, int n, int d);

/* The conditional flow matching loss *loss = (1/n) sum_i |v(x_i, t_i, c_i) - u_i|^2 and its
 * gradient, added to net->grad [Lipman et al. 2023, eq. 14; Tong et al. 2024, eq. 10].
 * x, u: [n*d]; t: [n]; c: [n*cond] or NULL. n <= batch. FLOW_E_EMPTY, FLOW_E_FINITE. */
FLOW_API int flow_cfm_loss(flow_net *net, flow_real *loss, const flow_real *x, const flow_real *t,
                           const flow_real *c, const flow_real *u, int n);

/* Couplings: which noise goes with which data. Independent pairs ask for nothing; these bring a
 * batch's pairs closer together, so that the lines cross less and the flow is straighter [Tong et
 * al. 2024; Pooladian et al. 2023]. The rows of x0 are reordered; x1 stays as it is, and so does
 * what belongs to its rows, such as labels. */
typedef struct {
    int batch, d;
    int *match;       /* [batch] the old row of x0 that is now in row i */
    flow_real total;  /* mean squared distance: of the pairs, or under Sinkhorn's plan */
    flow_real *plan;  /* [n*n] squared distances |x1_i - x0_j|^2; Sinkhorn's plan pi_ij */
    flow_real tol;    /* Sinkhorn: most of sum_j |sum_i pi_ij - 1/n|, and of the rows', 0.001 */
    int most;         /* Sinkhorn: the most iterations, 10,000 */
    flow_real *dual;  /* [3*batch] */
    flow_real *point; /* [batch*d] */
    int *work;        /* [3*batch] */
    void *memory, *index;
} flow_ot;
/* For batches of up to `batch` pairs. Memory batch^2. FLOW_E_MEMORY. */
FLOW_API int flow_ot_init(flow_ot *o, int batch, int d);
FLOW_API void flow_ot_free(flow_ot *o);
/* The permutation of least total squared distance; O(n^3), see flow_assign. FLOW_E_EMPTY,
 * FLOW_E_FINITE: x0 is then as it was. */
FLOW_API int flow_ot_exact(flow_ot *o, flow_real *x0, const flow_real *x1, int n);
/* The plan pi_ij = exp((f_i + g_j - |x1_i - x0_j|^2)/epsilon) with sum_j pi_ij = sum_i pi_ij = 1/n
 * [Cuturi 2013], by iterations on f and g in the log domain, O(n^2) each, their number growing as
 * 1/epsilon (in units of squared distance). Row i's partner is then drawn from pi_i: noise may
 * come twice or not at all. n draws. FLOW_E_EMPTY, FLOW_E_FINITE, FLOW_E_CONVERGE (also of an
 * epsilon that is lost in the rounding of f and g): x0 is then as it was. */
FLOW_API int flow_ot_sinkhorn(flow_ot *o, flow_rng *rng, flow_real *x0, const flow_real *x1,
                              flow_real epsilon, int n);

/* p_t of a mixture's path from N(0, I): component k becomes N(alpha m_k, sigma^2 I + alpha^2 C_k).
 * An object of its own, to be freed. FLOW_E_MEMORY, FLOW_E_SINGULAR, FLOW_E_FINITE (t is not). */
FLOW_API int flow_mixture_at(flow_mixture *pt, const flow_mixture *m, int path, flow_real t);

/* The marginal velocity v*(x, t) = E[u_t | x_t = x] in closed form, as fields with exact tangents.
 * It is what the loss above is least for, with independent pairs.
 *
 * Mixture data: with S_k = sigma^2 I + alpha^2 C_k and gamma_k the posterior of component k,
 *   v* = sum_k gamma_k [alpha' m_k + (alpha' alpha C_k + sigma' sigma I) S_k^-1 (x - alpha m_k)]
 * Finite data x_1 ... x_N: with lambda = softmax(-|x - alpha x_i|^2/(2 sigma^2)),
 *   v* = sum_i lambda_i [alpha' x_i + (sigma'/sigma)(x - alpha x_i)],
 * on the linear path sum_i lambda_i (x_i - x)/(1 - t): singular at t = 1 (FLOW_E_SINGULAR).
 * Cost a sample: K d^3 and N d. */
typedef struct {
    int path;
    const flow_mixture *mixture; /* the data: a mixture ... */
    const flow_real *data;       /* ... or points [count*d] */
    int count, d;
    flow_real *work;
} flow_marginal;
/* The mixture or the data stay the caller's and outlive the field. FLOW_E_MEMORY, FLOW_E_EMPTY. */
FLOW_API int flow_marginal_of_mixture(flow_marginal *g, const flow_mixture *m, int path);
FLOW_API int flow_marginal_of_data(flow_marginal *g, const flow_real *x1, int path, int count,
                                   int d);
FLOW_API void flow_marginal_free(flow_marginal *g);
FLOW_API flow_field flow_marginal_field(flow_marginal *g);

/* Conditions. c[n*classes]: row i is 1 at label[i], else 0; all 0 for a label outside 0 ...
 * classes-1, the "no label" of dropout. As input of a network, whose first layer multiplies it by
 * a matrix, it makes a column of that matrix the learned embedding of its class. */
FLOW_API void flow_onehot(flow_real *c, const int *label, int n, int classes);
/* label[i] = -1 with probability p: one network then learns v(x, t, c) and, without label,
 * v(x, t) [Ho and Salimans 2022, algorithm 1]. n draws. */
FLOW_API void flow_label_dropout(flow_rng *rng, int *label, flow_real p, int n);

/* The field of a network at one condition c[cond] for all points; NULL is all 0: no condition. The
 * field reads g->c at every call: two conditions at once want two of these. */
typedef struct {
    flow_net *net;
    const flow_real *c;
} flow_given;
FLOW_API flow_field flow_given_field(flow_given *g);

/* Guidance of any two fields: v = v_uncond + w (v_cond - v_uncond) [Ho and Salimans 2022]. w = 1
 * and w = 0 evaluate only the one that is left. */
typedef struct {
    flow_field cond, uncond;
    flow_real w;
    int batch;
    flow_real *v, *jv; /* [batch*d] each */
} flow_guidance;
/* Both fields outlive it. Any n, a batch at a time. FLOW_E_MEMORY. */
FLOW_API int flow_guidance_init(flow_guidance *g, flow_field cond, flow_field uncond, flow_real w,
                                int batch);
FLOW_API void flow_guidance_free(flow_guidance *g);
FLOW_API flow_field flow_guidance_field(flow_guidance *g);

/* Samples with noise on the way: x[n*d] from t0 to t1 > t0 in c->steps steps of Euler and Maruyama,
 *   dx = [v + noise sigma score] dt + sqrt(2 noise sigma) dW,   score from v,
 * which has the marginals of the ODE for any noise >= 0 [Song et al. 2021, appendix D; Ma et al.
 * 2024, eq. 4]; noise = 0 is the ODE by Euler. c->field is the velocity of `path` (from noise N(0,
 * I)). Error of the marginals O(1/steps). 2 ceil(m d/2) draws a step and batch of m.
 * FLOW_E_EMPTY, FLOW_E_FINITE, the field's errors. */
FLOW_API int flow_sde_transport(flow_cnf *c, flow_rng *rng, flow_real *x, int path,
                                flow_real noise, flow_real t0, flow_real t1, int n);

/* Discrete flow matching [Campbell et al. 2024; Gat et al. 2024]: sequences x[length] of tokens
 * 0 ... tokens-1. At time t each token is that of the data with probability t, else the source's:
 * the mask, whose number is `tokens`, or uniform. */
enum { FLOW_MASK, FLOW_UNIFORM };
typedef struct {
    int length, tokens, source;
} flow_tokens;
/* x0[n*length] of the source. n length draws if uniform, rarely more; none for the mask. */
FLOW_API void flow_tokens_noise(const flow_tokens *s, flow_rng *rng, int *x0, int n);
/* xt[n*length] from x1[n*length] and x0[n*length] at times t[n]: x1's token where u < t. xt may be
 * x0. n length draws. */
FLOW_API void flow_tokens_path(const flow_tokens *s, flow_rng *rng, int *xt, const int *x0,
                               const int *x1, const flow_real *t, int n);

/* What there is to learn: the posterior p[n*length*tokens] = P(x1^l = k | x_t) at x[n*length]. */
typedef int (*flow_posterior_fn)(void *ctx, flow_real *p, const int *x, const flow_real *t, int n);

/* Of finite data in closed form: data[count*length] with probabilities weight[count] > 0 (need not
 * sum to 1),  P(x1^l = k | x) ~ sum_i weight_i [data_i^l = k] prod_l p_t(x^l | data_i^l). ctx: a
 * flow_token_set. O(count length) a sample. An x that no data can have led to, as a step of finite
 * size may make, counts as made from the data nearest to it. */
typedef struct {
    flow_tokens s;
    const int *data;
    const flow_real *weight;
    int count;
} flow_token_set;
FLOW_API int flow_token_set_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t,
                                      int n);

/* Of a network whose input is flow_onehot of the tokens (the mask: all 0) and whose output are the
 * logits: flow_net_init with d = length tokens. ctx: a flow_token_net; any n, a batch at a time.
 * FLOW_E_FINITE. */
typedef struct {
    flow_tokens s;
    flow_net *net;
} flow_token_net;
FLOW_API int flow_token_net_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t,
                                      int n);
/* Cross-entropy *loss = -(1/n) sum_i sum_l log P(x1_i^l | xt_i), its gradient added to net->grad;
 * n <= batch. It is least for the true posterior. FLOW_E_EMPTY, FLOW_E_FINITE. */
FLOW_API int flow_token_net_loss(flow_token_net *q, flow_real *loss, const int *xt, const int *x1,
                                 const flow_real *t, int n);

/* The velocity: rates u[n*length*(tokens+1)] at which token l jumps to y (`tokens`: the mask),
 * u(y | x) = (P(x1^l = y | x) - [y = x^l])/(1 - t)   [Gat et al. 2024, eq. 24].
 * FLOW_E_SINGULAR at t = 1. */
FLOW_API int flow_tokens_rates(const flow_tokens *s, flow_real *u, const flow_real *p, const int *x,
                               const flow_real *t, int n);
/* x[n*length] from the source to data in equal steps h: each token on its own goes to y with
 * probability h u(y | x), so that the error is O(h). Takes n (length tokens + 1) reals and gives
 * them back. n length draws for a uniform source, rarely more, and n length a step. FLOW_E_MEMORY,
 * FLOW_E_EMPTY (steps < 1), FLOW_E_FINITE (of the posterior), what posterior returned. */
FLOW_API int flow_tokens_sample(const flow_tokens *s, flow_rng *rng, int *x,
                                flow_posterior_fn posterior, void *ctx, int steps, int n);

/* ------------------------------------------------------------------- 12 METRICS AND CHECKS
 * These take the memory they need and give it back: FLOW_E_MEMORY beside the errors named, and
 * FLOW_E_EMPTY of no samples, FLOW_E_FINITE of a NaN (but a histogram leaves it out). Distances
 * come from squares, which underflow below 1e-160 (1e-22 in float). */

/* The permutation match[n] that makes sum_i cost[i*n + match[i]] least, by shortest augmenting
 * paths [Jonker and Volgenant 1987] after an auction [Bertsekas 1988], which takes most of the work
 * off them; O(n^3) at worst, nearer n^2 in the plane. *total: that sum. FLOW_E_EMPTY,
 * FLOW_E_FINITE. */
FLOW_API int flow_assign(int *match, flow_real *total, const flow_real *cost, int n);
/* W2(x, y) = sqrt(min over permutations of (1/n) sum_i |x_i - y_m(i)|^2). x, y: [n*d]. */
FLOW_API int flow_w2(flow_real *w2, const flow_real *x, const flow_real *y, int n, int d);
/* sqrt of the mean over random directions of the one-dimensional W2^2; O(n log n) a direction.
 * 2 ceil(d/2) draws a direction. */
FLOW_API int flow_sliced_w2(flow_real *w2, flow_rng *rng, const flow_real *x, const flow_real *y,
                            int n, int d, int directions);
/* The energy of the paths that points take, E int_0^1 |v(x_t, t)|^2 dt: x[n*d] moves from time 0 to
 * 1 in c->steps steps, each counting |v|^2 at its start. No flow between two densities can do with
 * less than W2^2, hence the normalised path energy |energy - W2^2|/W2^2 [Tong et al. 2024, 5.1]: 0
 * when all lines are straight. FLOW_E_EMPTY, FLOW_E_FINITE, the field's errors. */
FLOW_API int flow_path_energy(flow_cnf *c, flow_real *energy, flow_real *x, int n);
/* 2 E|x-y| - E|x-x'| - E|y-y'| >= 0 [Szekely and Rizzo 2013]; x[n*d], y[m*d]; O((n+m)^2 d). */
FLOW_API int flow_energy_distance(flow_real *e, const flow_real *x, int n, const flow_real *y,
                                  int m, int d);
/* Kolmogorov and Smirnov: the largest distance of the samples' distribution function from cdf. */
typedef flow_real (*flow_fn)(void *ctx, flow_real x);
FLOW_API int flow_ks(flow_real *ks, const flow_real *x, int n, flow_fn cdf, void *ctx);
/* The value that it exceeds with probability level when the samples do come from cdf:
 * sqrt(-log(level/2)/(2n)), good for n above 35. */
FLOW_API flow_real flow_ks_critical(int n, flow_real level);
/* density[bins]: fraction of x[n] in each of the equal bins of [lo, hi), divided by bin width;
 * O(n + bins). */
FLOW_API int flow_histogram(flow_real *density, const flow_real *x, int n, flow_real lo,
                            flow_real hi, int bins);
/* The same in the plane: density[bins*bins], row j holds the bins of the second coordinate's j-th
 * interval; both coordinates in [lo, hi). x: [n*2]. O(n + bins^2). */
FLOW_API int flow_histogram2(flow_real *density, const flow_real *x, int n, flow_real lo,
                             flow_real hi, int bins);
/* The integral of f over (a, b), a < b, by the tanh-sinh rule [Takahasi and Mori 1974], which never
 * evaluates the ends and bears a singularity at an end that is 0: near any other, x tells too few
 * numbers apart, so let it be 0 by a substitution. FLOW_E_CONVERGE unless two refinements agree to
 * 1e-12 (1e-5 in float) relative to the integral of |f|; both miss a peak that is narrow enough to
 * lie between their points. FLOW_E_FINITE, also for an end at infinity. */
FLOW_API int flow_integrate(flow_real *integral, flow_fn f, void *ctx, flow_real a, flow_real b);
/* The integral of exp(logp) over the box [lo, hi]^d by midpoints, m a side: m^d evaluations, rows
 * of m at once, of which there are below 2^31. Spectrally accurate when p is smooth and vanishes
 * before the edge. */
typedef int (*flow_logprob_fn)(void *ctx, flow_real *logp, const flow_real *x, int n);
FLOW_API int flow_quadrature(flow_real *mass, flow_logprob_fn logprob, void *ctx, flow_real lo,
                             flow_real hi, int m, int d);

/* Is a gradient right? *worst = max_i |g_i - c_i|/(|g_i| + |c_i| + 1e-3 max|g|) for the central
 * differences c_i = (L(theta + h e_i) - L(theta - h e_i))/(2h): signed, so that a wrong sign counts
 * as wrong. theta[count] is moved and put back. FLOW_E_FINITE. */
typedef int (*flow_loss_fn)(void *ctx, flow_real *loss, const flow_real *theta);
FLOW_API int flow_check_gradient(flow_real *worst, flow_loss_fn loss, void *ctx, flow_real *theta,
                                 const flow_real *grad, int count, flow_real h);
/* jacobian[d*d], row i = dy_i/dx, of any map of one point by central differences of step h.
 * FLOW_E_FINITE, what map returned. */
typedef int (*flow_map_fn)(void *ctx, flow_real *y, const flow_real *x);
FLOW_API int flow_check_jacobian(flow_real *jacobian, flow_map_fn map, void *ctx,
                                 const flow_real *x, int d, flow_real h);
/* *logdet = log|det dy/dx| from that matrix by LU: set, not added. */
FLOW_API int flow_check_logdet(flow_real *logdet, flow_map_fn map, void *ctx, const flow_real *x,
                               int d, flow_real h);

/* -------------------------------------------------------------------------------- 13 FILES */

/* A data file for gnuplot: "# title", then blocks of "# name", "# columns" and rows of %.9g, apart
 * by two blank lines, so that gnuplot finds them with index "name". It is written beside its place
 * and moved there by close, in the place of whatever stood there: a reader sees a whole file or
 * none. The first error sticks and is returned by every later call. FLOW_E_MEMORY, FLOW_E_OPEN,
 * FLOW_E_FILE. */
typedef struct {
    FILE *file;
    char *path, *aside;
    int error, blocks;
} flow_dat;
FLOW_API int flow_dat_open(flow_dat *f, const char *path, const char *title);
FLOW_API int flow_dat_block(flow_dat *f, const char *name, const char *columns);
FLOW_API int flow_dat_row(flow_dat *f, const flow_real *v, int count);
/* One blank line: between the rows of a grid, between curves. */
FLOW_API int flow_dat_gap(flow_dat *f);
/* 0, or the first error: then nothing is left behind and an older file at path is untouched. */
FLOW_API int flow_dat_close(flow_dat *f);
/* Gives up: removes what was written. */
FLOW_API void flow_dat_discard(flow_dat *f);

/* Reads a table of points, d numbers a row, apart by blanks, tabs, one comma or semicolon; from #
 * to the end of the line is comment; empty lines are skipped, as is a byte order mark at the start.
 * (*x)[n*d] is the caller's, to be freed with flow_release. On an error *x is NULL and *line the
 * line it stands on, 0 if none. FLOW_E_OPEN, FLOW_E_FILE, FLOW_E_EMPTY, FLOW_E_COLUMNS,
 * FLOW_E_NUMBER, FLOW_E_FINITE (nan, inf, overflow), FLOW_E_MEMORY. */
FLOW_API int flow_points_read(flow_real **x, int *n, int *line, int d, const char *path);

/* A named array: a view of numbers that stand elsewhere, in a theta, in an optimiser's m or v. */
typedef struct {
    char name[64];    /* printable ASCII without " and \ */
    flow_real *value; /* of shape [rows, cols], row-major, or [rows] when cols is 0 */
    int rows, cols;   /* 0 or more */
} flow_tensor;

/* A safetensors file, which PyTorch and others read and write: the length N of a header as eight
 * bytes, little-endian like all that follows; the header, N bytes, which says for each array
 *   "net.0.weight":{"dtype":"F32","shape":[64,3],"data_offsets":[0,768]}
 * in braces; and the numbers [github.com/huggingface/safetensors].
 *
 * save  writes t[count], names all different, as F64 (F32 with FLOW_FLOAT), every bit kept. Like
 *       flow_dat it writes beside the place and moves there at the end. FLOW_E_FINITE (a model that
 *       has diverged replaces no good one), FLOW_E_MEMORY, FLOW_E_OPEN, FLOW_E_FILE.
 * load  fills t[count] with the arrays of those names, of F64, F32, BF16 or F16; others in the file
 *       are passed over. All or nothing: on an error no number has changed, and *at is the place
 *       in t of the one it is about, -1 for the file itself; at may be NULL.
 *       FLOW_E_UNKNOWN (no such name), FLOW_E_SHAPE, FLOW_E_TYPE, FLOW_E_FINITE, FLOW_E_FORMAT (cut
 *       off, too long, a header that contradicts itself or is above 100 MB), FLOW_E_MEMORY,
 *       FLOW_E_OPEN, FLOW_E_FILE. */
FLOW_API int flow_tensors_save(const flow_tensor *t, int count, const char *path);
FLOW_API int flow_tensors_load(const flow_tensor *t, int *at, int count, const char *path);

/* A model as tensors, for save and load. Each returns how many there are, and writes nothing when t
 * is NULL. theta may be the model's own or a copy, such as its moving average.
 *   network  "net.0.weight" [width, in], "net.0.bias" [width], "net.2.weight", ...: the names that
 *            PyTorch gives nn.Sequential(Linear, activation, Linear, ...) in a member `net`, when
 *            the prefix is "net." (at most 40 characters); no numbers change places
 *   chain    "layers.K.theta" [params] for layer K = 0, 1, ...; where theta is a network (coupling,
 *            autoregressive, residual), "layers.K.net.0.weight" and so on */
FLOW_API int flow_mlp_tensors(flow_tensor *t, const flow_mlp *m, flow_real *theta,
                              const char *prefix);
FLOW_API int flow_chain_tensors(flow_tensor *t, const flow_chain *c, flow_real *theta);

/* The same in one call, for theta itself; a net has the prefix "net.". A file says nothing of
 * activation, masks and direction: load into a model that was made like the one saved. Errors as
 * above. */
FLOW_API int flow_net_save(const flow_net *net, const char *path);
FLOW_API int flow_net_load(flow_net *net, const char *path);
FLOW_API int flow_chain_save(const flow_chain *c, const char *path);
FLOW_API int flow_chain_load(flow_chain *c, const char *path);

/* Images or labels from an IDX file, as MNIST comes in [LeCun, Cortes and Burges 1998]: four bytes
 * each, the highest first, for 0x803, n, rows, cols, then a byte a pixel, 0 ... 255; or for 0x801
 * and n, then a byte a label (rows = cols = 1). (*data)[n*rows*cols] is the caller's, to be freed
 * with flow_release. On an error *data is NULL and the sizes are 0. FLOW_E_GZIP (unpack the file
 * first), FLOW_E_FORMAT (also cut off or too long), FLOW_E_TYPE (not bytes), FLOW_E_SHAPE (neither
 * images nor labels), FLOW_E_EMPTY, FLOW_E_OPEN, FLOW_E_FILE, FLOW_E_MEMORY (also for 2^31 bytes
 * and more). */
FLOW_API int flow_idx_read(unsigned char **data, int *n, int *rows, int *cols, const char *path);

#ifdef __cplusplus
}
#endif
#endif /* FLOW_H */

/* =================================================================================================
 * IMPLEMENTATION, in the order of the sections above. Names that begin with flowi_ are private.
 * It stands outside the include guard, so that a plain include may come before or after;
 * FLOW_IMPLEMENTED says that it is compiled already, here or in another file. */
#if defined(FLOW_IMPLEMENTATION) && !defined(FLOW_IMPLEMENTED)
#define FLOW_IMPLEMENTED

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef FLOW_MALLOC
#define FLOW_MALLOC(size) malloc(size)
#define FLOW_FREE(pointer) free(pointer)
#endif
#ifndef FLOW_ASSERT
#include <assert.h>
#define FLOW_ASSERT(cond) assert(cond)
#endif

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)
#error "flow.h needs exact arithmetic: compile without -ffast-math (and -Ofast)"
#endif

/* Numbers and functions of libm in the precision of flow_real. */
#ifdef FLOW_FLOAT
#define FLOWI_EPS FLT_EPSILON
#define flowi_sqrt sqrtf
#define flowi_log logf
#define flowi_log1p log1pf
#define flowi_sin sinf
#define flowi_cos cosf
#define flowi_erf erff
#define flowi_fabs fabsf
#define flowi_floor floorf
#define flowi_copysign copysignf
#else
#define FLOWI_EPS DBL_EPSILON
#define flowi_sqrt sqrt
#define flowi_log log
#define flowi_log1p log1p
#define flowi_sin sin
#define flowi_cos cos
#define flowi_erf erf
#define flowi_fabs fabs
#define flowi_floor floor
#define flowi_copysign copysign
#endif
#define FLOWI_R(x) ((flow_real)(x))
#define FLOWI_PI FLOWI_R(3.14159265358979323846)
#define FLOWI_LOG_2PI FLOWI_R(1.83787706640934548356)
#define FLOWI_INFINITY ((flow_real)HUGE_VAL)

/* Vectors as wide as the registers: on some processors gcc would fill but half of each. */
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("prefer-vector-width=512")
#endif

#ifdef __cplusplus
extern "C" {
#endif

FLOW_API const char *flow_strerror(int err) {
    switch (err) {
    case FLOW_OK: return "no error";
    case FLOW_E_MEMORY: return "out of memory";
    case FLOW_E_SINGULAR: return "singular matrix, or a formula at its singular point";
    case FLOW_E_CONVERGE: return "the iteration did not converge";
    case FLOW_E_BRACKET: return "the interval does not bracket a root";
    case FLOW_E_FINITE: return "a number is not finite";
    case FLOW_E_EMPTY: return "nothing to work on: zero samples, steps or rows";
    case FLOW_E_UNKNOWN: return "not known: no such name or closed form";
    case FLOW_E_OPEN: return "the file cannot be opened";
    case FLOW_E_FILE: return "reading or writing the file failed";
    case FLOW_E_COLUMNS: return "too few or too many numbers in a row";
    case FLOW_E_NUMBER: return "text where a number should stand";
    case FLOW_E_FORMAT: return "the file is damaged, or of another format";
    case FLOW_E_TYPE: return "the file holds numbers of another type";
    case FLOW_E_SHAPE: return "an array in the file has another shape";
    case FLOW_E_GZIP: return "the file is compressed: unpack it with gzip -d";
    default: return "unknown error";
    }
}

FLOW_API void flow_release(void *p) {
    if (p) FLOW_FREE(p);
}

/* Zeroed reals, or NULL. Their number is a double, since a product of sizes may be more than a
 * size_t holds. */
static flow_real *flowi_new(double reals) {
    size_t count, i;
    flow_real *p;
    if (!(reals < (double)(PTRDIFF_MAX / sizeof(flow_real)))) return NULL;
    count = reals < 1 ? 1 : (size_t)reals;
    p = (flow_real *)FLOW_MALLOC(count * sizeof(flow_real));
    if (!p) return NULL;
    for (i = 0; i < count; i++) p[i] = 0;
    return p;
}

/* The next count reals of a block: objects take their arrays from one allocation. */
static flow_real *flowi_carve(flow_real **block, size_t count) {
    flow_real *p = *block;
    *block += count;
    return p;
}

/* The next start of a line of cache, at most FLOWI_LINE reals on: a vector across two lines is
 * loaded twice. */
#define FLOWI_LINE (64 / sizeof(flow_real))
static flow_real *flowi_align(flow_real *p) {
    const size_t past = (uintptr_t)p / sizeof *p % FLOWI_LINE;
    return p + (FLOWI_LINE - past) % FLOWI_LINE;
}

/* A count that an int cannot hold becomes INT_MAX, for an _init to refuse. */
static int flowi_count(double count) {
    return count < INT_MAX ? (int)count : INT_MAX;
}

/* a * b * c without overflow of int. */
static size_t flowi_size(int a, int b, int c) {
    return (size_t)a * (size_t)b * (size_t)c;
}

static void flowi_copy(flow_real *y, const flow_real *x, int n) {
    if (y != x && n > 0) memmove(y, x, (size_t)n * sizeof(flow_real));
}

static int flowi_finite(flow_real x) {
    return x - x == 0;
}

/* Every number is looked at, even after one that is not finite: a loop without a way out becomes
 * vector code. */
static int flowi_all_finite(const flow_real *x, int n) {
    int i, finite = 1;
    for (i = 0; i < n; i++) finite &= flowi_finite(x[i]);
    return finite;
}

static flow_real flowi_dot(const flow_real *x, const flow_real *y, int d) {
    flow_real sum = 0;
    int j;
    for (j = 0; j < d; j++) sum += x[j] * y[j];
    return sum;
}

static flow_real flowi_square_distance(const flow_real *x, const flow_real *y, int d) {
    flow_real sum = 0;
    int j;
    for (j = 0; j < d; j++) sum += (x[j] - y[j]) * (x[j] - y[j]);
    return sum;
}

static int flowi_min(int a, int b) {
    return a < b ? a : b;
}

/* exp and its relatives as straight-line arithmetic without a branch, so that a loop over them
 * becomes vector code; and the same bits everywhere, which libm does not promise. */
#ifdef FLOW_FLOAT
typedef uint32_t flowi_bits;
#define FLOWI_MANTISSA 23
#define FLOWI_BIAS 127u
#define FLOWI_ROUND 12582912.0f /* 1.5 2^23 */
#define FLOWI_ROUND_BITS 0x4b400000u
#define FLOWI_SQRT_HALF_BITS 0x3f3504f3u
#define FLOWI_LN2_HIGH 6.93145752e-1f
#define FLOWI_LN2_LOW 1.42860677e-6f
#define FLOWI_EXP_MOST 104.0f /* e^-104 is 0, e^104 is infinity */
#else
typedef uint64_t flowi_bits;
#define FLOWI_MANTISSA 52
#define FLOWI_BIAS 1023u
#define FLOWI_ROUND 6755399441055744.0 /* 1.5 2^52 */
#define FLOWI_ROUND_BITS UINT64_C(0x4338000000000000)
#define FLOWI_SQRT_HALF_BITS UINT64_C(0x3fe6a09e667f3bcd)
#define FLOWI_LN2_HIGH 6.93147180369123816490e-1
#define FLOWI_LN2_LOW 1.90821492927058770002e-10
#define FLOWI_EXP_MOST 746.0 /* e^-746 is 0, e^746 is infinity */
#endif

/* A sum that must be rounded as its type says, also where registers hold more digits. */
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0
#define FLOWI_ROUNDED volatile
#else
#define FLOWI_ROUNDED
#endif

static inline flowi_bits flowi_to_bits(flow_real x) {
    flowi_bits bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline flow_real flowi_from_bits(flowi_bits bits) {
    flow_real x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* x held within -most ... most; a NaN stays. (Of two comparisons, gcc would make branches.) */
static inline flow_real flowi_clamp(flow_real x, flow_real most) {
    const flow_real a = flowi_fabs(x);
    return flowi_copysign(a > most ? most : a, x);
}

/* x >= 0 ? yes : no, by the sign bit of x spread over a mask. */
static inline flow_real flowi_choose(flow_real x, flow_real yes, flow_real no) {
    const flowi_bits mask = 0 - (flowi_to_bits(x) >> (8 * sizeof(flow_real) - 1));
    return flowi_from_bits((flowi_to_bits(yes) & ~mask) | (flowi_to_bits(no) & mask));
}

/* e^x = 2^k e^r with k the whole number nearest to x/ln 2 and |r| <= ln(2)/2. Adding 1.5 2^52 (or
 * 2^23) to x/ln 2 rounds it to k and leaves k in the low bits of the sum. ln 2 is split into a
 * part with zeros at its end, so that k ln 2 is exact, and a small rest. Returned is e^r - 1 by its
 * Taylor series. */
static inline flow_real flowi_exp_parts(flow_real x, flowi_bits *whole) {
    const FLOWI_ROUNDED flow_real sum = x * FLOWI_R(1.44269504088896340736) + FLOWI_ROUND;
    const flow_real k = sum - FLOWI_ROUND;
    const flow_real r = (x - k * FLOWI_LN2_HIGH) - k * FLOWI_LN2_LOW;
    flow_real p = FLOWI_R(1.0 / 5040);
#ifndef FLOW_FLOAT
    p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
#endif
    p = p * r + FLOWI_R(1.0 / 720);
    p = p * r + FLOWI_R(1.0 / 120);
    p = p * r + FLOWI_R(1.0 / 24);
    p = p * r + FLOWI_R(1.0 / 6);
    p = p * r + FLOWI_R(0.5);
    *whole = flowi_to_bits(sum) - FLOWI_ROUND_BITS;
    return r + r * r * p;
}

/* 2^k as a product of two factors, both in range when 2^k is not. */
static inline flow_real flowi_exp(flow_real x) {
    flowi_bits k;
    const flow_real p = flowi_exp_parts(flowi_clamp(x, FLOWI_EXP_MOST), &k);
    const flowi_bits both = k + 2 * FLOWI_BIAS, half = both >> 1;
    const flow_real s = flowi_from_bits(half << FLOWI_MANTISSA);
    return (s + s * p) * flowi_from_bits((both - half) << FLOWI_MANTISSA);
}

/* e^x - 1 for x <= 88, exact to the last digits near 0, where e^x - 1 cancels. */
static inline flow_real flowi_expm1(flow_real x) {
    flowi_bits k;
    const flow_real p = flowi_exp_parts(x < -88 ? -88 : x, &k);
    const flow_real s = flowi_from_bits((k + FLOWI_BIAS) << FLOWI_MANTISSA);
    return s * p + (s - 1);
}

/* tanh |x| = -e/(e + 2) with e = e^(-2|x|) - 1, and the sign put back. */
static inline flow_real flowi_tanh(flow_real x) {
    const flow_real e = flowi_expm1(-2 * flowi_fabs(x));
    return flowi_copysign(e / (e + 2), x);
}

/* 1/(1 + e^-x), from e^-|x| so that neither tail loses digits. */
static inline flow_real flowi_sigmoid(flow_real x) {
    const flow_real e = flowi_exp(-flowi_fabs(x));
    const flow_real s = 1 / (1 + e);
    return flowi_choose(x, s, e * s);
}

/* 2 artanh s = log((1 + s)/(1 - s)) = 2 s (1 + s^2/3 + s^4/5 + ...) for |s| <= 1/3, as s + s q:
 * returned is q, terms of the series without its first. */
static inline flow_real flowi_artanh_series(flow_real s) {
    const flow_real w = s * s;
    flow_real q = FLOWI_R(1.0 / 15);
#ifndef FLOW_FLOAT
    q = 1.0 / 33;
    q = q * w + 1.0 / 31;
    q = q * w + 1.0 / 29;
    q = q * w + 1.0 / 27;
    q = q * w + 1.0 / 25;
    q = q * w + 1.0 / 23;
    q = q * w + 1.0 / 21;
    q = q * w + 1.0 / 19;
    q = q * w + 1.0 / 17;
    q = q * w + 1.0 / 15;
#endif
    q = q * w + FLOWI_R(1.0 / 13);
    q = q * w + FLOWI_R(1.0 / 11);
    q = q * w + FLOWI_R(1.0 / 9);
    q = q * w + FLOWI_R(1.0 / 7);
    q = q * w + FLOWI_R(1.0 / 5);
    q = q * w + FLOWI_R(1.0 / 3);
    return q * w;
}

/* log(1 + e^x) = max(x, 0) + log(1 + e),  e = e^-|x|,  log(1 + e) = 2 artanh(e/(2 + e)) */
static inline flow_real flowi_softplus(flow_real x) {
    const flow_real e = flowi_exp(-flowi_fabs(x)), s = 2 * e / (2 + e);
    return flowi_choose(x, x, 0) + (s + s * flowi_artanh_series(s / 2));
}

/* log x = k ln 2 + log m for a normal x = 2^k m > 0 with m between sqrt(1/2) and sqrt(2), and
 * log m = 2 artanh((m - 1)/(m + 1)). */
static inline flow_real flowi_ln(flow_real x) {
    const flowi_bits one = (flowi_bits)FLOWI_BIAS << FLOWI_MANTISSA;
    const flowi_bits up = flowi_to_bits(x) + (one - FLOWI_SQRT_HALF_BITS);
    const flowi_bits biased = up >> FLOWI_MANTISSA;
    const flow_real m = flowi_from_bits((up & (((flowi_bits)1 << FLOWI_MANTISSA) - 1)) +
                                        FLOWI_SQRT_HALF_BITS);
    const flow_real k = flowi_from_bits(FLOWI_ROUND_BITS + biased) -
                        (FLOWI_ROUND + (flow_real)FLOWI_BIAS);
    const flow_real s = (m - 1) / (m + 1), t = 2 * s;
    return k * FLOWI_LN2_HIGH + (t + (t * flowi_artanh_series(s) + k * FLOWI_LN2_LOW));
}

/* log(1 + x) for x > -1: the logarithm of the rounded u = 1 + x, and what the rounding left out. */
static inline flow_real flowi_ln1p(flow_real x) {
    const flow_real u = 1 + x;
    return flowi_ln(u) + (x - (u - 1)) / u;
}

/* ------------------------------------------------------------------------ 1 random numbers */

static uint64_t flowi_rotl(uint64_t x, int k) {
    return (x << k) | (x >> (64 - k));
}

/* splitmix64 [Steele, Lea and Flood 2014]: spreads any seed over the whole state, never zero. */
FLOW_API void flow_rng_init(flow_rng *rng, uint64_t seed) {
    int i;
    FLOW_ASSERT(rng);
    for (i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        rng->s[i] = z ^ (z >> 31);
    }
}

FLOW_API flow_rng flow_rng_split(flow_rng *rng) {
    flow_rng child;
    flow_rng_init(&child, flow_rng_next(rng));
    return child;
}

FLOW_API uint64_t flow_rng_next(flow_rng *rng) {
    uint64_t *s = rng->s;
    const uint64_t result = flowi_rotl(s[0] + s[3], 23) + s[0];
    const uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = flowi_rotl(s[3], 45);
    return result;
}

FLOW_API flow_real flow_rng_uniform(flow_rng *rng) {
#ifdef FLOW_FLOAT
    return (flow_real)(flow_rng_next(rng) >> 40) * (1.0f / 16777216.0f);
#else
    return (flow_real)(flow_rng_next(rng) >> 11) * (1.0 / 9007199254740992.0);
#endif
}

/* sin a and cos a for |a| <= pi/2 by their Taylor series. */
static inline void flowi_sin_cos(flow_real *sin_a, flow_real *cos_a, flow_real a) {
    const flow_real w = a * a;
    flow_real s = FLOWI_R(1.0 / 6227020800.0), c = FLOWI_R(1.0 / 479001600.0);
#ifndef FLOW_FLOAT
    s = 1.0 / 51090942171709440000.0;
    s = s * w - 1.0 / 121645100408832000.0;
    s = s * w + 1.0 / 355687428096000.0;
    s = s * w - 1.0 / 1307674368000.0;
    s = s * w + 1.0 / 6227020800.0;
    c = -1.0 / 1124000727777607680000.0;
    c = c * w + 1.0 / 2432902008176640000.0;
    c = c * w - 1.0 / 6402373705728000.0;
    c = c * w + 1.0 / 20922789888000.0;
    c = c * w - 1.0 / 87178291200.0;
    c = c * w + 1.0 / 479001600.0;
#endif
    s = s * w - FLOWI_R(1.0 / 39916800.0);
    s = s * w + FLOWI_R(1.0 / 362880);
    s = s * w - FLOWI_R(1.0 / 5040);
    s = s * w + FLOWI_R(1.0 / 120);
    s = s * w - FLOWI_R(1.0 / 6);
    c = c * w - FLOWI_R(1.0 / 3628800);
    c = c * w + FLOWI_R(1.0 / 40320);
    c = c * w - FLOWI_R(1.0 / 720);
    c = c * w + FLOWI_R(1.0 / 24);
    c = c * w - FLOWI_R(0.5);
    *sin_a = a + a * w * s;
    *cos_a = 1 + w * c;
}

/* Pairs of independent normals from pairs of uniforms, r cos(2 pi u2) and r sin(2 pi u2) with
 * r = sqrt(-2 ln u1). 1 - u is in (0, 1], where the logarithm exists. With a = pi (u2 - 1/2), which
 * the series can bear, cos(2 pi u2) = 2 sin^2 a - 1 and sin(2 pi u2) = -2 sin a cos a. A block of
 * pairs is drawn first, then computed by loops that vectorise. */
#define FLOWI_PAIRS 32
static void flowi_normal_pairs(flow_rng *rng, flow_real *z, int pairs) {
    flow_real u1[FLOWI_PAIRS], u2[FLOWI_PAIRS], z0[FLOWI_PAIRS], z1[FLOWI_PAIRS];
    int i;
    for (i = 0; i < pairs; i++) {
        u1[i] = 1 - flow_rng_uniform(rng);
        u2[i] = flow_rng_uniform(rng);
    }
    for (; i < FLOWI_PAIRS; i++) u1[i] = u2[i] = 1;
    for (i = 0; i < FLOWI_PAIRS; i++) u1[i] = -2 * flowi_ln(u1[i]);
    for (i = 0; i < FLOWI_PAIRS; i++) {
        flow_real s, c;
        flowi_sin_cos(&s, &c, FLOWI_PI * (u2[i] - FLOWI_R(0.5)));
        z0[i] = 2 * s * s - 1;
        z1[i] = -2 * s * c;
    }
    for (i = 0; i < FLOWI_PAIRS; i++) u1[i] = flowi_sqrt(u1[i]);
    for (i = 0; i < pairs; i++) {
        z[2 * i] = u1[i] * z0[i];
        z[2 * i + 1] = u1[i] * z1[i];
    }
}

FLOW_API flow_real flow_rng_normal(flow_rng *rng) {
    const flow_real u = 1 - flow_rng_uniform(rng);
    flow_real s, c;
    flowi_sin_cos(&s, &c, FLOWI_PI * (flow_rng_uniform(rng) - FLOWI_R(0.5)));
    return flowi_sqrt(-2 * flowi_ln(u)) * (2 * s * s - 1);
}

/* The lowest 2^64 mod k values are refused, so that k divides the number of those left. */
FLOW_API int flow_rng_below(flow_rng *rng, int k) {
    uint64_t bound, least, r;
    FLOW_ASSERT(k > 0);
    bound = (uint64_t)k;
    least = (0 - bound) % bound;
    do r = flow_rng_next(rng);
    while (r < least);
    return (int)(r % bound);
}

/* The index i in whose share p[i] of 0 ... sum p the number u lies. Where rounding has left u at
 * the very end it is the last that can be. */
static int flowi_pick(const flow_real *p, int k, flow_real u) {
    int i, last = k - 1;
    for (i = 0; i < k; i++) {
        if (u < p[i]) return i;
        if (p[i] > 0) last = i;
        u -= p[i];
    }
    return last;
}

FLOW_API int flow_rng_categorical(flow_rng *rng, const flow_real *p, int k) {
    flow_real sum = 0;
    int i;
    FLOW_ASSERT(p && k > 0);
    for (i = 0; i < k; i++) sum += p[i];
    return flowi_pick(p, k, flow_rng_uniform(rng) * sum);
}

FLOW_API void flow_rng_permutation(flow_rng *rng, int *perm, int n) {
    int i;
    for (i = 0; i < n; i++) perm[i] = i;
    for (i = n - 1; i > 0; i--) {
        const int j = flow_rng_below(rng, i + 1), swap = perm[i];
        perm[i] = perm[j];
        perm[j] = swap;
    }
}

/* ------------------------------------------------------------------ 2 small linear algebra */

/* The one place where plain loops are arranged for speed. The textbook's product C = A B loads two
 * numbers for every multiply-add, and loads are what it waits for. Here ROWS x COLS sums of C stay
 * in registers while p runs: a step loads COLS numbers of B and ROWS of A, and makes ROWS x COLS
 * multiply-adds of them. The COLS sums of a row stand side by side, so that the compiler turns them
 * into vectors; their number fills the registers of the machine (and is above 16, because shorter
 * loops are unrolled before they can become vectors). B is first copied into panels of COLS columns
 * and DEPTH rows, which lie together and stay in the nearest cache while all of A passes by; beyond
 * an edge of C a panel has zeros. Each element of C is the same sum in the same order wherever its
 * tile lies, so splitting the work cannot change a bit. */
#if defined(__AVX512F__)
#define FLOWI_ROWS 6
#define FLOWI_COLS (int)(256 / sizeof(flow_real))
#elif defined(__AVX__)
#define FLOWI_ROWS 2
#define FLOWI_COLS (int)(96 / sizeof(flow_real) + 8)
#else
#define FLOWI_ROWS 2
#define FLOWI_COLS (int)(80 / sizeof(flow_real))
#endif
#define FLOWI_DEPTH 128

/* A matrix x[i][j] = at[i row + j col]: transposed by exchanging the two strides. */
typedef struct {
    const flow_real *at;
    int row, col;
} flowi_view;

/* The tile c = from + a panel, of ROWS x COLS numbers with rows row_c and row_from apart. from may
 * be c. Of a only `rows` rows are there: the last one stands in for the others. */
static void flowi_tile(flow_real *c, int row_c, const flow_real *from, int row_from, flowi_view a,
                       int rows, const flow_real *panel, int depth) {
    flow_real sum[FLOWI_ROWS][FLOWI_COLS];
    const flow_real *row[FLOWI_ROWS];
    int i, j, p;
    for (i = 0; i < FLOWI_ROWS; i++) row[i] = a.at + flowi_min(i, rows - 1) * a.row;
    for (i = 0; i < FLOWI_ROWS; i++)
        for (j = 0; j < FLOWI_COLS; j++) sum[i][j] = from[i * row_from + j];
    for (p = 0; p < depth; p++, panel += FLOWI_COLS)
        for (i = 0; i < FLOWI_ROWS; i++) {
            const flow_real aip = row[i][p * a.col];
            for (j = 0; j < FLOWI_COLS; j++) sum[i][j] += aip * panel[j];
        }
    for (i = 0; i < FLOWI_ROWS; i++)
        for (j = 0; j < FLOWI_COLS; j++) c[i * row_c + j] = sum[i][j];
}

/* x moved by i rows and j columns. */
static flowi_view flowi_view_at(flowi_view x, int i, int j) {
    if (x.at) x.at += i * x.row + j * x.col;
    return x;
}

static flowi_view flowi_view_of(const flow_real *x, int row, int col, int transposed) {
    flowi_view v;
    v.at = x;
    v.row = transposed ? col : row;
    v.col = transposed ? row : col;
    return v;
}

/* x[rows x cols] = y */
static void flowi_copy_block(flow_real *x, int row, int col, flowi_view y, int rows, int cols) {
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < cols; j++)
            x[i * row + j * col] = y.at[i * y.row + j * y.col];
}

/* A square of b, whose columns lie together, into a panel. It is turned aside: there all its lines
 * of cache stay near, where a whole panel's would not. */
#define FLOWI_SIDE 8
static void flowi_pack_square(flow_real *panel, flowi_view b) {
    flow_real square[FLOWI_SIDE * FLOWI_SIDE];
    int j, p;
    for (p = 0; p < FLOWI_SIDE; p++)
        for (j = 0; j < FLOWI_SIDE; j++) square[p * FLOWI_SIDE + j] = b.at[p + j * b.col];
    for (p = 0; p < FLOWI_SIDE; p++)
        memcpy(panel + p * FLOWI_COLS, square + p * FLOWI_SIDE, FLOWI_SIDE * sizeof *panel);
}

/* depth rows and cols columns of b by squares, and what is left at their edges. */
static void flowi_pack_columns(flow_real *panel, flowi_view b, int depth, int cols) {
    int j, p;
    for (j = 0; j < cols; j += FLOWI_SIDE)
        for (p = 0; p < depth; p += FLOWI_SIDE) {
            const int rows = flowi_min(FLOWI_SIDE, depth - p);
            const int wide = flowi_min(FLOWI_SIDE, cols - j);
            flow_real *to = panel + p * FLOWI_COLS + j;
            if (rows == FLOWI_SIDE && wide == FLOWI_SIDE)
                flowi_pack_square(to, flowi_view_at(b, p, j));
            else
                flowi_copy_block(to, FLOWI_COLS, 1, flowi_view_at(b, p, j), rows, wide);
        }
}

/* depth rows and cols columns of b, the rest of COLS columns zero: made in panel, unless b is as
 * wide as a panel and so is one already. Of b the rows or the columns lie together. */
static const flow_real *flowi_pack(flow_real *panel, flowi_view b, int depth, int cols) {
    const int whole = cols == FLOWI_COLS;
    int p;
    if (whole && b.row == FLOWI_COLS && b.col == 1) return b.at;
    if (!whole) memset(panel, 0, (size_t)(depth * FLOWI_COLS) * sizeof *panel);
    if (b.col != 1)
        flowi_pack_columns(panel, b, depth, cols);
    else if (!whole)
        flowi_copy_block(panel, FLOWI_COLS, 1, b, depth, cols);
    else
        for (p = 0; p < depth; p++)
            memcpy(panel + p * FLOWI_COLS, b.at + p * b.row, FLOWI_COLS * sizeof *panel);
    return panel;
}

/* The tile's rows x cols numbers that belong to C. One that sticks out over the edge of C, or whose
 * columns do not lie together, is computed aside[ROWS x COLS] and copied. */
static void flowi_part(flow_real *c, int row_c, int col_c, flowi_view from, flowi_view a,
                       const flow_real *panel, int depth, int rows, int cols, flow_real *aside) {
    const int whole = rows == FLOWI_ROWS && cols == FLOWI_COLS && col_c == 1;
    const flowi_view block = flowi_view_of(aside, FLOWI_COLS, 1, 0);
    if (!whole) {
        flowi_copy_block(aside, FLOWI_COLS, 1, from, rows, cols);
        from = block;
    }
    flowi_tile(whole ? c : aside, whole ? row_c : FLOWI_COLS, from.at, from.row, a, rows, panel,
               depth);
    if (!whole) flowi_copy_block(c, row_c, col_c, block, rows, cols);
}

static void flowi_product(flow_real *c, int row_c, int col_c, flowi_view start, flowi_view a,
                          flowi_view b, int m, int n, int k) {
    static const flow_real zero[FLOWI_COLS] = {0};
    const flowi_view nothing = flowi_view_of(zero, 0, 1, 0);
    flow_real panel[FLOWI_DEPTH * FLOWI_COLS], aside[FLOWI_ROWS * FLOWI_COLS] = {0};
    int i, j, p;
    for (p = 0; p < k; p += FLOWI_DEPTH, start = flowi_view_of(c, row_c, col_c, 0))
        for (j = 0; j < n; j += FLOWI_COLS) {
            const int depth = flowi_min(FLOWI_DEPTH, k - p), cols = flowi_min(FLOWI_COLS, n - j);
            const flow_real *packed = flowi_pack(panel, flowi_view_at(b, p, j), depth, cols);
            for (i = 0; i < m; i += FLOWI_ROWS)
                flowi_part(c + i * row_c + j * col_c, row_c, col_c,
                           start.at ? flowi_view_at(start, i, j) : nothing, flowi_view_at(a, i, p),
                           packed, depth, flowi_min(FLOWI_ROWS, m - i), cols, aside);
        }
}

/* A large product is cut into blocks of C for the threads: of a quarter of the rows, or 60 (whole
 * tiles), as each packs its part of B once more. A small one is done before the threads meet. */
static void flowi_shared_product(flow_real *c, int row_c, int col_c, flowi_view start,
                                 flowi_view a, flowi_view b, int m, int n, int k) {
#ifdef _OPENMP
    if ((double)m * n * k > 5e5) {
        const int rows = m < 240 ? 60 : (m + 4 * FLOWI_ROWS - 1) / (4 * FLOWI_ROWS) * FLOWI_ROWS;
        const int cols = 4 * FLOWI_COLS, across = (n + cols - 1) / cols;
        int t;
#pragma omp parallel for schedule(dynamic)
        for (t = 0; t < (m + rows - 1) / rows * across; t++) {
            const int i = t / across * rows, j = t % across * cols;
            flowi_product(c + i * row_c + j * col_c, row_c, col_c, flowi_view_at(start, i, j),
                          flowi_view_at(a, i, 0), flowi_view_at(b, 0, j), flowi_min(rows, m - i),
                          flowi_min(cols, n - j), k);
        }
        return;
    }
#endif
    flowi_product(c, row_c, col_c, start, a, b, m, n, k);
}

/* c[m*n] = start + a b. A c of few columns would be mostly the edge of tiles: it is computed as its
 * transpose, c' = start' + b'a', which has many. */
static void flowi_add_product(flow_real *c, flowi_view start, flowi_view a, flowi_view b, int m,
                              int n, int k) {
    if (n >= m || n > FLOWI_COLS / 4)
        flowi_shared_product(c, n, 1, start, a, b, m, n, k);
    else
        flowi_shared_product(c, 1, n, flowi_view_of(start.at, start.row, start.col, 1),
                             flowi_view_of(b.at, b.row, b.col, 1),
                             flowi_view_of(a.at, a.row, a.col, 1), n, m, k);
}

FLOW_API void flow_matmul(flow_real *c, const flow_real *a, int ta, const flow_real *b, int tb,
                          int m, int n, int k, int accumulate) {
    int i;
    FLOW_ASSERT(m >= 0 && n >= 0 && k >= 0);
    for (i = 0; i < m * n && k == 0 && !accumulate; i++) c[i] = 0;
    flowi_add_product(c, flowi_view_of(accumulate ? c : NULL, n, 1, 0),
                      ta ? flowi_view_of(a, m, 1, 1) : flowi_view_of(a, k, 1, 0),
                      tb ? flowi_view_of(b, k, 1, 1) : flowi_view_of(b, n, 1, 0), m, n, k);
}

/* A pivot below this counts as zero: what rounding alone could have left. An infinity in A makes it
 * one; a NaN spreads to a pivot. */
static flow_real flowi_pivot_floor(const flow_real *a, int d) {
    flow_real most = 0;
    int i;
    for (i = 0; i < d * d; i++)
        if (flowi_fabs(a[i]) > most) most = flowi_fabs(a[i]);
    return (flow_real)d * FLOWI_EPS * most;
}

static int flowi_pivot_row(const flow_real *a, int column, int d) {
    int i, best = column;
    for (i = column + 1; i < d; i++)
        if (flowi_fabs(a[i * d + column]) > flowi_fabs(a[best * d + column])) best = i;
    return best;
}

/* Exchanges two rows (step 1) or two columns (step d) that begin at x and y. */
static void flowi_swap(flow_real *x, flow_real *y, int step, int d) {
    int j;
    for (j = 0; j < d && x != y; j++) {
        const flow_real swap = x[j * step];
        x[j * step] = y[j * step];
        y[j * step] = swap;
    }
}

FLOW_API int flow_lu(flow_real *a, int *piv, int d) {
    flow_real least;
    int i, j, k;
    FLOW_ASSERT(a && piv && d > 0);
    least = flowi_pivot_floor(a, d);
    if (!flowi_finite(least)) return FLOW_E_FINITE;
    for (k = 0; k < d; k++) {
        piv[k] = flowi_pivot_row(a, k, d);
        flowi_swap(a + k * d, a + piv[k] * d, 1, d);
        if (!flowi_finite(a[k * d + k])) return FLOW_E_FINITE;
        if (flowi_fabs(a[k * d + k]) <= least) return FLOW_E_SINGULAR;
        for (i = k + 1; i < d; i++) {
            const flow_real l = a[i * d + k] /= a[k * d + k];
            for (j = k + 1; j < d; j++) a[i * d + j] -= l * a[k * d + j];
        }
    }
    return FLOW_OK;
}

FLOW_API flow_real flow_lu_logdet(const flow_real *lu, const int *piv, int *sign, int d) {
    flow_real sum = 0;
    int k, s = 1;
    for (k = 0; k < d; k++) {
        sum += flowi_log(flowi_fabs(lu[k * d + k]));
        if (lu[k * d + k] < 0) s = -s;
        if (piv[k] != k) s = -s;
    }
    if (sign) *sign = s;
    return sum;
}

FLOW_API void flow_lu_solve(const flow_real *lu, const int *piv, flow_real *x, int d) {
    int i;
    for (i = 0; i < d; i++) {
        const flow_real swap = x[i];
        x[i] = x[piv[i]];
        x[piv[i]] = swap;
    }
    for (i = 0; i < d; i++) x[i] -= flowi_dot(lu + i * d, x, i);
    for (i = d - 1; i >= 0; i--) {
        x[i] -= flowi_dot(lu + i * d + i + 1, x + i + 1, d - 1 - i);
        x[i] /= lu[i * d + i];
    }
}

/* Row operations that turn A into I turn I into A^-1. Both share one matrix: a column of A that has
 * become one of I gives its place to the column of I that begins to change. Where rows k and best
 * of A were exchanged, which a[k] keeps, so are these columns of A^-1 at the end, the last ones
 * first. det A is the product of the pivots. */
FLOW_API int flow_inverse(flow_real *inv, flow_real *logdet, flow_real *a, int d) {
    flow_real least, sum = 0;
    int i, j, k;
    FLOW_ASSERT(inv && logdet && a && d > 0);
    least = flowi_pivot_floor(a, d);
    if (!flowi_finite(least)) return FLOW_E_FINITE;
    for (i = 0; i < d * d; i++) inv[i] = a[i];
    for (k = 0; k < d; k++) {
        const int best = flowi_pivot_row(inv, k, d);
        const flow_real pivot = inv[best * d + k];
        if (!flowi_finite(pivot)) return FLOW_E_FINITE;
        if (flowi_fabs(pivot) <= least) return FLOW_E_SINGULAR;
        sum += flowi_log(flowi_fabs(pivot));
        flowi_swap(inv + k * d, inv + best * d, 1, d);
        a[k] = (flow_real)best;
        inv[k * d + k] = 1;
        for (i = 0; i < d; i++) {
            const flow_real factor = inv[i * d + k] / pivot;
            if (i == k) continue;
            inv[i * d + k] = 0;
            for (j = 0; j < d; j++) inv[i * d + j] -= factor * inv[k * d + j];
        }
        for (j = 0; j < d; j++) inv[k * d + j] /= pivot;
    }
    for (k = d - 1; k >= 0; k--) flowi_swap(inv + k, inv + (int)a[k], d, d);
    *logdet += sum;
    return flowi_all_finite(inv, d * d) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_cholesky(flow_real *a, int d) {
    int i, j;
    FLOW_ASSERT(a && d > 0);
    for (i = 0; i < d; i++) {
        for (j = 0; j < i; j++) {
            const flow_real rest = a[i * d + j] - flowi_dot(a + i * d, a + j * d, j);
            a[i * d + j] = rest / a[j * d + j];
        }
        {
            const flow_real rest = a[i * d + i] - flowi_dot(a + i * d, a + i * d, i);
            if (!(rest > FLOWI_EPS * flowi_fabs(a[i * d + i])) || !flowi_finite(rest))
                return FLOW_E_SINGULAR;
            a[i * d + i] = flowi_sqrt(rest);
        }
        for (j = i + 1; j < d; j++) a[i * d + j] = 0;
    }
    return FLOW_OK;
}

FLOW_API void flow_lower_solve(const flow_real *l, flow_real *x, int d) {
    int i;
    for (i = 0; i < d; i++) x[i] = (x[i] - flowi_dot(l + i * d, x, i)) / l[i * d + i];
}

FLOW_API void flow_lower_solve_transposed(const flow_real *l, flow_real *x, int d) {
    int i, j;
    for (i = d - 1; i >= 0; i--) {
        for (j = i + 1; j < d; j++) x[i] -= l[j * d + i] * x[j];
        x[i] /= l[i * d + i];
    }
}

/* x <- x/|x|; returns |x|. A zero vector stays. */
static flow_real flowi_normalise(flow_real *x, int n) {
    const flow_real norm = flowi_sqrt(flowi_dot(x, x, n));
    int i;
    for (i = 0; i < n && norm > 0; i++) x[i] /= norm;
    return norm;
}

FLOW_API flow_real flow_spectral_norm(const flow_real *a, flow_real *u, flow_real *v, int rows,
                                      int cols, int iterations) {
    flow_real norm = 0;
    int k;
    FLOW_ASSERT(a && u && v && iterations > 0);
    flowi_normalise(v, cols);
    for (k = 0; k < iterations; k++) {
        flow_matmul(u, a, 0, v, 0, rows, 1, cols, 0);
        norm = flowi_normalise(u, rows);
        if (norm <= 0) return 0;
        flow_matmul(v, a, 1, u, 0, cols, 1, rows, 0);
        norm = flowi_normalise(v, cols);
    }
    return norm;
}

/* ----------------------------------------------------------------------------- 3 densities */

FLOW_API void flow_uniform_sample(flow_rng *rng, flow_real *x, flow_real lo, flow_real hi, int n,
                                  int d) {
    int i;
    FLOW_ASSERT(lo < hi);
    for (i = 0; i < n * d; i++) x[i] = lo + (hi - lo) * flow_rng_uniform(rng);
}

FLOW_API void flow_uniform_logprob(flow_real *logp, const flow_real *x, flow_real lo,
                                   flow_real hi, int n, int d) {
    int i, j;
    FLOW_ASSERT(lo < hi);
    for (i = 0; i < n; i++) {
        logp[i] = -(flow_real)d * flowi_log(hi - lo);
        for (j = 0; j < d; j++)
            if (!(x[i * d + j] >= lo && x[i * d + j] <= hi)) logp[i] = -FLOWI_INFINITY;
    }
}

FLOW_API void flow_uniform_score(flow_real *score, const flow_real *x, flow_real lo, flow_real hi,
                                 int n, int d) {
    int i;
    (void)x, (void)lo, (void)hi;
    for (i = 0; i < n * d; i++) score[i] = 0;
}

FLOW_API void flow_normal_sample(flow_rng *rng, flow_real *x, int n, int d) {
    const int pairs = n * d / 2;
    int i;
    for (i = 0; i < pairs; i += FLOWI_PAIRS)
        flowi_normal_pairs(rng, x + 2 * i, flowi_min(FLOWI_PAIRS, pairs - i));
    if (n * d % 2 != 0) x[n * d - 1] = flow_rng_normal(rng);
}

FLOW_API void flow_normal_logprob(flow_real *logp, const flow_real *x, int n, int d) {
    int i;
    for (i = 0; i < n; i++)
        logp[i] = -(flowi_dot(x + i * d, x + i * d, d) + (flow_real)d * FLOWI_LOG_2PI) / 2;
}

FLOW_API void flow_normal_score(flow_real *score, const flow_real *x, int n, int d) {
    int i;
    for (i = 0; i < n * d; i++) score[i] = -x[i];
}

/* C_k = L_k L_k' and the constant of component k: log w_k - log|L_k| - (d/2) log 2 pi. */
static int flowi_mixture_factor(flow_mixture *m, int k) {
    const int d = m->d;
    flow_real *l = m->chol + k * d * d;
    int j, err;
    flowi_copy(l, m->cov + k * d * d, d * d);
    if (!flowi_all_finite(l, d * d)) return FLOW_E_FINITE;
    err = flow_cholesky(l, d);
    if (err < 0) return err;
    m->lognorm[k] = flowi_log(m->weight[k]) - (flow_real)d * FLOWI_LOG_2PI / 2;
    for (j = 0; j < d; j++) m->lognorm[k] -= flowi_log(l[j * d + j]);
    return FLOW_OK;
}

FLOW_API int flow_mixture_init(flow_mixture *m, const flow_real *weight, const flow_real *mean,
                               const flow_real *cov, int k, int d) {
    flow_real *block, sum = 0;
    int i, err = FLOW_OK;
    FLOW_ASSERT(m && weight && mean && cov && k > 0 && d > 0);
    memset(m, 0, sizeof *m);
    block = flowi_new((2.0 * d + 1) * k * d + 4.0 * k + 3.0 * d);
    if (!block) return FLOW_E_MEMORY;
    m->k = k;
    m->d = d;
    m->weight = flowi_carve(&block, (size_t)k);
    m->mean = flowi_carve(&block, flowi_size(k, d, 1));
    m->cov = flowi_carve(&block, flowi_size(k, d, d));
    m->chol = flowi_carve(&block, flowi_size(k, d, d));
    m->lognorm = flowi_carve(&block, (size_t)k);
    m->work = block;
    for (i = 0; i < k; i++) sum += weight[i] >= 0 ? weight[i] : FLOWI_INFINITY;
    for (i = 0; i < k; i++) m->weight[i] = weight[i] / sum;
    flowi_copy(m->mean, mean, k * d);
    flowi_copy(m->cov, cov, k * d * d);
    if (!(sum > 0) || !flowi_finite(sum) || !flowi_all_finite(m->weight, k) ||
        !flowi_all_finite(mean, k * d))
        err = FLOW_E_FINITE;
    for (i = 0; i < k && err == FLOW_OK; i++) err = flowi_mixture_factor(m, i);
    if (err < 0) flow_mixture_free(m);
    return err;
}

FLOW_API void flow_mixture_free(flow_mixture *m) {
    flow_release(m->weight);
    memset(m, 0, sizeof *m);
}

FLOW_API void flow_mixture_sample(const flow_mixture *m, flow_rng *rng, flow_real *x, int *label,
                                  int n) {
    const int d = m->d;
    flow_real *z = m->work;
    int i, j;
    for (i = 0; i < n; i++) {
        const int k = flow_rng_categorical(rng, m->weight, m->k);
        flow_normal_sample(rng, z, 1, d);
        for (j = 0; j < d; j++) /* m_k + L_k z: L_k is lower triangular */
            x[i * d + j] = m->mean[k * d + j] + flowi_dot(m->chol + (k * d + j) * d, z, j + 1);
        if (label) label[i] = k;
    }
}

/* p[k] <- exp(p[k] - log sum exp p), and that logarithm is returned. When all of p are -infinity,
 * the first stands for them. */
static flow_real flowi_softmax(flow_real *p, int k) {
    flow_real most = p[0], sum = 0;
    int i;
    for (i = 1; i < k; i++)
        if (p[i] > most) most = p[i];
    if (most == -FLOWI_INFINITY) {
        for (i = 0; i < k; i++) p[i] = i == 0;
        return most;
    }
    for (i = 0; i < k; i++) sum += p[i] = flowi_exp(p[i] - most);
    for (i = 0; i < k; i++) p[i] /= sum;
    return most + flowi_log(sum);
}

/* post[k]: the posterior of each component at x[d]; q: [d] scratch. Returns log p(x). */
static flow_real flowi_mixture_posterior(const flow_mixture *m, flow_real *post, flow_real *q,
                                         const flow_real *x) {
    const int d = m->d;
    int j, k;
    for (k = 0; k < m->k; k++) { /* log w_k N(x; m_k, C_k): |L^-1 (x - m)|^2 is the distance */
        for (j = 0; j < d; j++) q[j] = x[j] - m->mean[k * d + j];
        flow_lower_solve(m->chol + k * d * d, q, d);
        post[k] = m->lognorm[k] - flowi_dot(q, q, d) / 2;
    }
    return flowi_softmax(post, m->k);
}

FLOW_API void flow_mixture_logprob(const flow_mixture *m, flow_real *logp, const flow_real *x,
                                   int n) {
    int i;
    for (i = 0; i < n; i++)
        logp[i] = flowi_mixture_posterior(m, m->work, m->work + m->k, x + i * m->d);
}

/* score = sum_k post_k C_k^-1 (m_k - x) */
FLOW_API void flow_mixture_score(const flow_mixture *m, flow_real *score, const flow_real *x,
                                 int n) {
    const int d = m->d;
    flow_real *post = m->work, *q = post + m->k, *sum = q + d;
    int i, j, k;
    for (i = 0; i < n; i++) {
        flowi_mixture_posterior(m, post, q, x + i * d);
        for (j = 0; j < d; j++) sum[j] = 0;
        for (k = 0; k < m->k; k++) {
            for (j = 0; j < d; j++) q[j] = m->mean[k * d + j] - x[i * d + j];
            flow_lower_solve(m->chol + k * d * d, q, d);
            flow_lower_solve_transposed(m->chol + k * d * d, q, d);
            for (j = 0; j < d; j++) sum[j] += post[k] * q[j];
        }
        flowi_copy(score + i * d, sum, d);
    }
}

FLOW_API void flow_bernoulli_sample(flow_rng *rng, int *y, flow_real p, int n) {
    int i;
    FLOW_ASSERT(p >= 0 && p <= 1);
    for (i = 0; i < n; i++) y[i] = flow_rng_uniform(rng) < p;
}

FLOW_API void flow_bernoulli_logprob(flow_real *logp, const int *y, flow_real p, int n) {
    int i;
    for (i = 0; i < n; i++) logp[i] = y[i] ? flowi_log(p) : flowi_log1p(-p);
}

FLOW_API void flow_bernoulli_score(flow_real *score, const int *y, flow_real p, int n) {
    int i;
    for (i = 0; i < n; i++) score[i] = y[i] ? 1 / p : -1 / (1 - p);
}

/* ------------------------------------------------------------------------------ 4 toy data */

/* Entropies in nats: ln 32 and the integral of -p log p on a fine grid (radially for circles and
 * rings); the pinwheel's over the two normal numbers it is made of. */
static const struct {
    const char *name;
    double entropy;
} flowi_toys[FLOW_TOY_COUNT] = {
    {"moons", 2.39387919596}, {"8gaussians", 2.83188040614},
    {"checkerboard", 3.46573590279972655},
    {"circles", 3.26813571171}, {"rings", 2.62318277030},      {"2spirals", 2.64545028378},
    {"swissroll", 2.66964617389}, {"pinwheel", 2.31778804},
};

FLOW_API const char *flow_toy_name(int set) {
    FLOW_ASSERT(set >= 0 && set < FLOW_TOY_COUNT);
    return flowi_toys[set].name;
}

FLOW_API int flow_toy_find(const char *name) {
    int i;
    for (i = 0; i < FLOW_TOY_COUNT; i++)
        if (strcmp(name, flowi_toys[i].name) == 0) return i;
    return FLOW_E_UNKNOWN;
}

FLOW_API flow_real flow_toy_entropy(int set) {
    FLOW_ASSERT(set >= 0 && set < FLOW_TOY_COUNT);
    return FLOWI_R(flowi_toys[set].entropy);
}

/* Six of the sets are a curve with noise about it. The curve's piece `arm` at s in [0, 1], in the
 * units of the finished set; s itself is uniform, but for the spirals, where s^2 is. */
static void flowi_toy_curve(int set, int arm, flow_real s, flow_real *x) {
    const flow_real a = set == FLOW_TOY_MOONS ? FLOWI_PI * s : 2 * FLOWI_PI * s;
    const flow_real c = flowi_cos(a), r = flowi_sin(a);
    flow_real n = 3 * FLOWI_PI * s, radius = 1;
    if (set == FLOW_TOY_MOONS) {
        x[0] = 2 * (arm == 0 ? c : 1 - c) - 1;
        x[1] = 2 * (arm == 0 ? r : FLOWI_R(0.5) - r) - FLOWI_R(0.2);
    } else if (set == FLOW_TOY_CIRCLES || set == FLOW_TOY_RINGS) {
        radius = set == FLOW_TOY_CIRCLES ? 1 - (flow_real)arm / 2 : 1 - (flow_real)arm / 4;
        x[0] = 3 * radius * c;
        x[1] = 3 * radius * r;
    } else if (set == FLOW_TOY_2SPIRALS) {
        radius = arm == 0 ? n / 3 : -n / 3;
        x[0] = -radius * flowi_cos(n);
        x[1] = radius * flowi_sin(n);
    } else {
        n = 3 * FLOWI_PI / 2 * (1 + 2 * s);
        x[0] = n * flowi_cos(n) / 5;
        x[1] = n * flowi_sin(n) / 5;
    }
}

/* How many arms a set has, and the standard deviation of its Gaussian noise. */
static int flowi_toy_arms(int set, flow_real *std) {
    switch (set) {
    case FLOW_TOY_MOONS: *std = FLOWI_R(0.2); return 2;
    case FLOW_TOY_8GAUSSIANS: *std = FLOWI_R(0.5 / 1.414); return 8;
    case FLOW_TOY_CIRCLES: *std = FLOWI_R(0.24); return 2;
    case FLOW_TOY_RINGS: *std = FLOWI_R(0.08); return 4;
    case FLOW_TOY_2SPIRALS: *std = FLOWI_R(0.1); return 2;
    case FLOW_TOY_SWISSROLL: *std = FLOWI_R(0.2); return 1;
    default: *std = 0; return 5;
    }
}

/* The mean of Gaussian k of the eight: radius 4, 45 degrees apart, all / 1.414. */
static void flowi_toy_centre(int k, flow_real *x) {
    const flow_real angle = FLOWI_PI * (flow_real)k / 4;
    x[0] = FLOWI_R(4 / 1.414) * flowi_cos(angle);
    x[1] = FLOWI_R(4 / 1.414) * flowi_sin(angle);
}

static void flowi_toy_checkerboard(flow_rng *rng, flow_real *x, int *square) {
    const flow_real x1 = 4 * flow_rng_uniform(rng) - 2;
    const int column = (int)flowi_floor(x1) + 2;
    flow_real u;
    int lower;
    do u = flow_rng_uniform(rng);
    while (u + 1 >= 2); /* rounded up, it would belong to the next square */
    lower = flow_rng_below(rng, 2);
    x[0] = 2 * x1;
    x[1] = 2 * (u - 2 * (flow_real)lower + (flow_real)(column % 2));
    *square = 2 * column + lower;
}

/* 2 f'R(angle) with f = (1 + 0.3 z1, 0.1 z2) and angle = 2 pi arm/5 + exp(f1)/4 */
static void flowi_toy_pinwheel(flow_rng *rng, flow_real *x, int arm) {
    flow_real z[2], f1, f2, angle;
    flow_normal_sample(rng, z, 1, 2);
    f1 = 1 + FLOWI_R(0.3) * z[0];
    f2 = FLOWI_R(0.1) * z[1];
    angle = 2 * FLOWI_PI * (flow_real)arm / 5 + flowi_exp(f1) / 4;
    x[0] = 2 * (f1 * flowi_cos(angle) + f2 * flowi_sin(angle));
    x[1] = 2 * (f2 * flowi_cos(angle) - f1 * flowi_sin(angle));
}

static void flowi_toy_on_curve(int set, flow_rng *rng, flow_real *x, int arm, flow_real std) {
    flow_real z[2], s = flow_rng_uniform(rng);
    if (set == FLOW_TOY_2SPIRALS) s = flowi_sqrt(s);
    flowi_toy_curve(set, arm, s, x);
    if (set == FLOW_TOY_2SPIRALS) {
        const flow_real side = arm == 0 ? FLOWI_R(1.0 / 6) : -FLOWI_R(1.0 / 6);
        x[0] += side * flow_rng_uniform(rng);
        x[1] += side * flow_rng_uniform(rng);
    }
    flow_normal_sample(rng, z, 1, 2);
    x[0] += std * z[0];
    x[1] += std * z[1];
}

FLOW_API void flow_toy_sample(int set, flow_rng *rng, flow_real *x, int *label, int n) {
    flow_real std, z[2];
    const int arms = flowi_toy_arms(set, &std);
    int i;
    FLOW_ASSERT(set >= 0 && set < FLOW_TOY_COUNT && rng);
    for (i = 0; i < n; i++) {
        flow_real *y = x + 2 * i;
        int arm = 0;
        if (set == FLOW_TOY_CHECKERBOARD) {
            flowi_toy_checkerboard(rng, y, &arm);
        } else {
            arm = flow_rng_below(rng, arms);
            if (set == FLOW_TOY_PINWHEEL) {
                flowi_toy_pinwheel(rng, y, arm);
            } else if (set == FLOW_TOY_8GAUSSIANS) {
                flowi_toy_centre(arm, y);
                flow_normal_sample(rng, z, 1, 2);
                y[0] += std * z[0];
                y[1] += std * z[1];
            } else {
                flowi_toy_on_curve(set, rng, y, arm, std);
            }
        }
        if (label) label[i] = arm;
    }
}

static flow_real flowi_checkerboard_density(const flow_real *x) {
    const flow_real x1 = x[0] / 2, x2 = x[1] / 2;
    const int column = x1 >= -2 && x1 < 2 ? (int)flowi_floor(x1) + 2 : -1;
    const int row = x2 >= -2 && x2 < 2 ? (int)flowi_floor(x2) + 2 : -1;
    return column >= 0 && row >= 0 && (column + row) % 2 == 0 ? FLOWI_R(1.0 / 32) : 0;
}

/* Density at offset z of U(0, side) + N(0, std^2), side of either sign. */
static flow_real flowi_box_kernel(flow_real z, flow_real side, flow_real std) {
    const flow_real scale = std * FLOWI_R(1.41421356237309504880);
    return (flowi_erf(z / scale) - flowi_erf((z - side) / scale)) / (2 * side);
}

static flow_real flowi_gauss_kernel(const flow_real *x, const flow_real *m, flow_real std) {
    const flow_real a = (x[0] - m[0]) / std, b = (x[1] - m[1]) / std;
    return flowi_exp(-(a * a + b * b) / 2) / (2 * FLOWI_PI * std * std);
}

/* p[n] += w noise(x[n*2] - m), the noise of a set about a point m of its piece `arm`. */
static void flowi_toy_noise(int set, int arm, flow_real *p, const flow_real *x, const flow_real *m,
                            flow_real w, flow_real std, int n) {
    const flow_real side = arm == 0 ? FLOWI_R(1.0 / 6) : -FLOWI_R(1.0 / 6);
    int i;
    if (set != FLOW_TOY_2SPIRALS)
        for (i = 0; i < n; i++) p[i] += w * flowi_gauss_kernel(x + 2 * i, m, std);
    else
        for (i = 0; i < n; i++)
            p[i] += w * flowi_box_kernel(x[2 * i] - m[0], side, std) *
                    flowi_box_kernel(x[2 * i + 1] - m[1], side, std);
}

/* p(x) = mean over the arms of the integral over s of noise(x - curve(s)), by Gauss's rule of three
 * points a cell. */
static void flowi_curve_density(int set, flow_real *p, const flow_real *x, int n) {
    static const double node[3] = {0.11270166537925831, 0.5, 0.88729833462074169};
    static const double weight[3] = {5.0 / 18, 8.0 / 18, 5.0 / 18};
    const int cells = set == FLOW_TOY_2SPIRALS ? 1700 : 700;
    flow_real std, m[2];
    const int arms = flowi_toy_arms(set, &std);
    int arm, i;
    for (i = 0; i < n; i++) p[i] = 0;
    for (arm = 0; arm < arms; arm++)
        for (i = 0; i < 3 * cells; i++) {
            const flow_real s = ((flow_real)(i / 3) + FLOWI_R(node[i % 3])) / (flow_real)cells;
            const flow_real w = FLOWI_R(weight[i % 3]);
            flowi_toy_curve(set, arm, s, m); /* of the spirals s^2 is uniform: weight 2 s */
            flowi_toy_noise(set, arm, p, x, m, set == FLOW_TOY_2SPIRALS ? w * 2 * s : w, std, n);
        }
    for (i = 0; i < n; i++) p[i] /= (flow_real)(cells * arms);
}

static void flowi_eight_density(int set, flow_real *p, const flow_real *x, int n) {
    flow_real std, centre[2];
    const int arms = flowi_toy_arms(set, &std);
    int i, k;
    for (i = 0; i < n; i++) p[i] = 0;
    for (k = 0; k < arms; k++) {
        flowi_toy_centre(k, centre);
        flowi_toy_noise(set, k, p, x, centre, 1 / (flow_real)arms, std, n);
    }
}

FLOW_API int flow_toy_logprob(int set, flow_real *logp, const flow_real *x, int n) {
    int i;
    FLOW_ASSERT(set >= 0 && set < FLOW_TOY_COUNT);
    if (set == FLOW_TOY_PINWHEEL) return FLOW_E_UNKNOWN;
    if (set == FLOW_TOY_CHECKERBOARD)
        for (i = 0; i < n; i++) logp[i] = flowi_checkerboard_density(x + 2 * i);
    else if (set == FLOW_TOY_8GAUSSIANS)
        flowi_eight_density(set, logp, x, n);
    else
        flowi_curve_density(set, logp, x, n);
    for (i = 0; i < n; i++) logp[i] = flowi_log(logp[i]);
    return FLOW_OK;
}

FLOW_API int flow_toy_mixture(flow_mixture *m, int set) {
    flow_real weight[8], mean[16], cov[32] = {0}, std;
    int k;
    FLOW_ASSERT(m && set >= 0 && set < FLOW_TOY_COUNT);
    memset(m, 0, sizeof *m);
    if (set != FLOW_TOY_8GAUSSIANS) return FLOW_E_UNKNOWN;
    flowi_toy_arms(set, &std);
    for (k = 0; k < 8; k++) {
        weight[k] = 1;
        flowi_toy_centre(k, mean + 2 * k);
        cov[4 * k] = cov[4 * k + 3] = std * std;
    }
    return flow_mixture_init(m, weight, mean, cov, 8, 2);
}

/* E(p, q) = min(p^2, q^2)/2 - log(1 + e^-|p^2 - q^2|/2), where nothing underflows. Its derivative
 * is *share p by p and (1 - *share) q by q. */
static inline flow_real flowi_toy_either(flow_real p, flow_real q, flow_real *share) {
    const flow_real half_p = p * p / 2, half_q = q * q / 2, over = half_q - half_p;
    *share = flowi_sigmoid(over);
    return flowi_choose(over, half_p, half_q) - flowi_softplus(-flowi_fabs(over));
}

static void flowi_toy_ring_energy(flow_real *u, flow_real *du, const flow_real *z, int n) {
    int i;
    for (i = 0; i < n; i++) {
        const flow_real x = z[2 * i], y = z[2 * i + 1];
        const flow_real r = flowi_sqrt(x * x + y * y) + FLOWI_R(1e-20); /* no 0/0 in the centre */
        const flow_real ring = (r - 2) / FLOWI_R(0.4), pull = ring / (FLOWI_R(0.4) * r);
        const flow_real p = (x - 2) / FLOWI_R(0.6), q = (x + 2) / FLOWI_R(0.6);
        flow_real share;
        u[i] = ring * ring / 2 + flowi_toy_either(p, q, &share);
        du[2 * i] = pull * x + (share * p + (1 - share) * q) / FLOWI_R(0.6);
        du[2 * i + 1] = pull * y;
    }
}

/* U2, U3 and U4 at one point. How w2 or w3 changes with z1 is dw. */
static flow_real flowi_toy_wave_energy(int which, flow_real *du, const flow_real *z) {
    const flow_real s = which == 3 ? FLOWI_R(0.35) : FLOWI_R(0.4), turn = FLOWI_PI / 2;
    const flow_real e = (z[0] - 1) / FLOWI_R(0.6), step = flowi_sigmoid(2 * e);
    const flow_real w = 3 * (which == 3 ? flowi_exp(-e * e / 2) : step);
    const flow_real dw = (which == 3 ? -e * w : 2 * w * (1 - step)) / FLOWI_R(0.6);
    const flow_real off = z[1] - flowi_sin(turn * z[0]), doff = -turn * flowi_cos(turn * z[0]);
    const flow_real p = off / s, q = (off + w) / FLOWI_R(0.35);
    flow_real share = 1;
    const flow_real u = which == 2 ? p * p / 2 : flowi_toy_either(p, q, &share);
    const flow_real by_p = share * p / s, by_q = (1 - share) * q / FLOWI_R(0.35);
    du[0] = by_p * doff + by_q * (doff + dw);
    du[1] = by_p + by_q;
    return u;
}

FLOW_API void flow_toy_energy(int which, flow_real *u, flow_real *du, const flow_real *z, int n) {
    int i;
    FLOW_ASSERT(which >= 1 && which <= 4);
    if (which == 1) flowi_toy_ring_energy(u, du, z, n);
    else
        for (i = 0; i < n; i++) u[i] = flowi_toy_wave_energy(which, du + 2 * i, z + 2 * i);
}

/* ---------------------------------------------------------------------------- 5 bijections */

/* Affine. cache: W^-1 [d*d], scratch [d*d]. */

static void flowi_affine_init(const flow_bijection *b, flow_real *theta, flow_rng *rng) {
    const int d = b->d;
    int i;
    (void)rng;
    for (i = 0; i < b->params; i++) theta[i] = i < d * d && i % (d + 1) == 0 ? 1 : 0;
}

static int flowi_affine_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                flow_real *logdet, const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta, *shift = theta + d * d;
    flow_real *inverse = cache, *work = cache + d * d, log_w = 0;
    int i, j, err;
    for (i = 0; i < d * d; i++) work[i] = w[i];
    err = flowi_all_finite(shift, d) ? flow_inverse(inverse, &log_w, work, d) : FLOW_E_FINITE;
    if (err < 0) return err;
    for (i = 0; i < n; i++) {
        for (j = 0; j < d; j++) work[j] = x[i * d + j] - shift[j];
        for (j = 0; j < d; j++) y[i * d + j] = flowi_dot(w + j * d, work, d);
        logdet[i] += log_w;
    }
    return FLOW_OK;
}

static int flowi_affine_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                flow_real *logdet, const flow_real *y, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta, *shift = theta + d * d;
    flow_real *inverse = cache, *work = cache + d * d, log_w = 0;
    int i, j, err;
    flowi_copy(work, w, d * d);
    err = flowi_all_finite(shift, d) ? flow_inverse(inverse, &log_w, work, d) : FLOW_E_FINITE;
    if (err < 0) return err;
    for (i = 0; i < n; i++) {
        flowi_copy(work, y + i * d, d);
        for (j = 0; j < d; j++) x[i * d + j] = shift[j] + flowi_dot(inverse + j * d, work, d);
        logdet[i] -= log_w;
    }
    return FLOW_OK;
}

/* dW += sum_i dy_i (x_i - b)' + (sum_i dlogdet_i) W^-T,   dx_i = W'dy_i,   db -= sum_i dx_i */
static int flowi_affine_backward(const flow_bijection *b, const flow_real *theta, flow_real *dtheta,
                                 flow_real *dx, const flow_real *dy, const flow_real *dlogdet,
                                 const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta, *shift = theta + d * d, *inverse = cache;
    flow_real *dw = dtheta, *dshift = dtheta + d * d, *sum = cache + d * d, total = 0;
    int i, j, k;
    for (i = 0; i < n; i++) {
        for (k = 0; k < d; k++) sum[k] = 0;
        for (j = 0; j < d; j++) {
            const flow_real g = dy[i * d + j];
            for (k = 0; k < d; k++) dw[j * d + k] += g * (x[i * d + k] - shift[k]);
            for (k = 0; k < d; k++) sum[k] += w[j * d + k] * g;
        }
        for (k = 0; k < d; k++) { /* only now: dx may be dy */
            dx[i * d + k] = sum[k];
            dshift[k] -= sum[k];
        }
        total += dlogdet[i];
    }
    for (k = 0; k < d; k++)
        for (j = 0; j < d; j++) dw[j * d + k] += total * inverse[k * d + j];
    return FLOW_OK;
}

FLOW_API flow_bijection flow_affine(int d) {
    flow_bijection b;
    FLOW_ASSERT(d > 0);
    memset(&b, 0, sizeof b);
    b.name = "affine";
    b.d = d;
    b.params = flowi_count((d + 1.0) * d);
    b.work = flowi_count(2.0 * d * d);
    b.init = flowi_affine_init;
    b.forward = flowi_affine_forward;
    b.inverse = flowi_affine_inverse;
    b.backward = flowi_affine_backward;
    return b;
}

/* Planar. cache: u^ [d], then h = tanh(w'x + b) [n] and da [n]. The samples are the inner loop: few
 * passes of many numbers. */

/* c = 0.99, the logarithm of e^c - 1, and 1 - e^-c. */
#define FLOWI_PLANAR_C FLOWI_R(0.99)
#define FLOWI_PLANAR_SHIFT FLOWI_R(0.52545871929250190)
#define FLOWI_PLANAR_REST FLOWI_R(0.62842330897795431)

/* m(a) = -c + log(1 + (e^c - 1) e^a) > -c, for small a as log(1 + (1 - e^-c) (e^a - 1)): the same,
 * but m(0) is 0 to the last digit, which a short w would magnify. */
static flow_real flowi_planar_m(flow_real a) {
    return a < 1 ? flowi_ln1p(FLOWI_PLANAR_REST * flowi_expm1(a))
                 : flowi_softplus(a + FLOWI_PLANAR_SHIFT) - FLOWI_PLANAR_C;
}

FLOW_API flow_real flow_planar_uhat(flow_real *uhat, const flow_real *u, const flow_real *w,
                                    int d) {
    const flow_real ww = flowi_dot(w, w, d), wu = flowi_dot(w, u, d), m = flowi_planar_m(wu);
    int j;
    for (j = 0; j < d; j++) uhat[j] = ww > 0 ? u[j] + (m - wu) * w[j] / ww : u[j];
    return ww > 0 ? m : 0;
}

static void flowi_planar_init(const flow_bijection *b, flow_real *theta, flow_rng *rng) {
    const int d = b->d;
    flow_real *u = theta, *w = theta + d, *shift = theta + 2 * d;
    int j;
    flow_normal_sample(rng, u, 1, d);
    flow_normal_sample(rng, w, 1, d);
    *shift = 0;
    for (j = 0; j < d; j++) {
        u[j] /= 100;
        *shift -= w[j] * (4 * flow_rng_uniform(rng) - 2);
    }
}

/* y[i] = w'x_i for n samples */
static void flowi_dots(flow_real *y, const flow_real *w, const flow_real *x, int n, int d) {
    int i, j;
    for (i = 0; i < n; i++) y[i] = w[0] * x[i * d];
    for (j = 1; j < d; j++)
        for (i = 0; i < n; i++) y[i] += w[j] * x[i * d + j];
}

static int flowi_planar_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                flow_real *logdet, const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta + d, shift = theta[2 * d];
    flow_real *uhat = cache, *h = cache + d;
    const flow_real wu = flow_planar_uhat(uhat, theta, w, d);
    int i, j;
    if (!flowi_all_finite(theta, b->params)) return FLOW_E_FINITE;
    flowi_dots(h, w, x, n, d);
    for (i = 0; i < n; i++) h[i] += shift;
    flow_activation(FLOW_TANH, h, NULL, NULL, h, n);
    for (j = 0; j < d; j++)
        for (i = 0; i < n; i++) y[i * d + j] = x[i * d + j] + uhat[j] * h[i];
    for (i = 0; i < n; i++) logdet[i] += flowi_ln1p((1 - h[i] * h[i]) * wu);
    return FLOW_OK;
}

/* a + w'u^ tanh(a + b) - w'y: zero at a = w'x */
typedef struct {
    flow_real wu, shift, wy;
} flowi_planar_profile;

static flow_real flowi_planar_rest(void *ctx, flow_real a, flow_real *slope) {
    const flowi_planar_profile *p = (const flowi_planar_profile *)ctx;
    const flow_real h = flowi_tanh(a + p->shift);
    *slope = 1 + p->wu * (1 - h * h);
    return a + p->wu * h - p->wy;
}

static int flowi_planar_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                flow_real *logdet, const flow_real *y, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta + d;
    flow_real *uhat = cache, a, h;
    flowi_planar_profile p;
    int i, j, err;
    if (!flowi_all_finite(theta, b->params)) return FLOW_E_FINITE;
    p.wu = flow_planar_uhat(uhat, theta, w, d);
    p.shift = theta[2 * d];
    for (i = 0; i < n; i++) {
        flow_real reach;
        p.wy = flowi_dot(w, y + i * d, d);
        reach = flowi_fabs(p.wu) + 4 * FLOWI_EPS * (1 + flowi_fabs(p.wy) + flowi_fabs(p.wu));
        err = flow_root(&a, flowi_planar_rest, &p, p.wy - reach, p.wy + reach, 2 * FLOWI_EPS);
        if (err < 0) return err;
        h = flowi_tanh(a + p.shift);
        for (j = 0; j < d; j++) x[i * d + j] = y[i * d + j] - uhat[j] * h;
        logdet[i] -= flowi_log1p((1 - h * h) * p.wu);
    }
    return FLOW_OK;
}

/* From dL/du^ and dL/d(w'u^) to u and w, through u^ = u + r w, r = (m(p) - p)/|w|^2, p = w'u. */
static void flowi_planar_uhat_backward(flow_real *du, flow_real *dw, const flow_real *duhat,
                                       flow_real dwu, const flow_real *u, const flow_real *w,
                                       int d) {
    const flow_real ww = flowi_dot(w, w, d), p = flowi_dot(w, u, d);
    const flow_real dm = flowi_sigmoid(p + FLOWI_PLANAR_SHIFT); /* m'(p) */
    const flow_real r = ww > 0 ? (flowi_planar_m(p) - p) / ww : 0;
    const flow_real dr = ww > 0 ? flowi_dot(duhat, w, d) / ww : 0; /* dL/dr / |w|^2 */
    const flow_real dp = ww > 0 ? dr * (dm - 1) + dwu * dm : 0;
    int j;
    for (j = 0; j < d; j++) {
        du[j] += duhat[j] + dp * w[j];
        dw[j] += r * duhat[j] + dp * u[j] - 2 * dr * r * w[j];
    }
}

/* With a = w'x + b, h = tanh a, h' = 1 - h^2, h'' = -2 h h' and q = w'u^:
 * da = h' u^'dy + dlogdet q h''/(1 + h' q),   dx = dy + w da,   dw += x da,   db += da,
 * du^ = sum h dy, which takes the place of u^,   dq = sum dlogdet h'/(1 + h' q) */
static int flowi_planar_backward(const flow_bijection *b, const flow_real *theta, flow_real *dtheta,
                                 flow_real *dx, const flow_real *dy, const flow_real *dlogdet,
                                 const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *w = theta + d, *h = cache + d;
    flow_real *dw = dtheta + d, *dshift = dtheta + 2 * d, *uhat = cache, *da = cache + d + n;
    const flow_real q = flow_planar_uhat(uhat, theta, w, d);
    flow_real dq = 0;
    int i, j;
    flowi_dots(da, uhat, dy, n, d);
    for (i = 0; i < n; i++) {
        const flow_real dh = 1 - h[i] * h[i], ratio = dlogdet[i] * dh / (1 + dh * q);
        da[i] = dh * da[i] - 2 * h[i] * q * ratio;
        *dshift += da[i];
        dq += ratio;
    }
    for (j = 0; j < d; j++) {
        flow_real du_j = 0, dw_j = dw[j];
        for (i = 0; i < n; i++) {
            du_j += h[i] * dy[i * d + j];
            dw_j += da[i] * x[i * d + j];
            dx[i * d + j] = dy[i * d + j] + da[i] * w[j];
        }
        uhat[j] = du_j;
        dw[j] = dw_j;
    }
    flowi_planar_uhat_backward(dtheta, dw, uhat, dq, theta, w, d);
    return FLOW_OK;
}

FLOW_API flow_bijection flow_planar(int d) {
    flow_bijection b;
    FLOW_ASSERT(d > 0);
    memset(&b, 0, sizeof b);
    b.name = "planar";
    b.d = d;
    b.params = 2 * d + 1;
    b.cache = 2;
    b.work = d;
    b.init = flowi_planar_init;
    b.forward = flowi_planar_forward;
    b.inverse = flowi_planar_inverse;
    b.backward = flowi_planar_backward;
    return b;
}

/* Layer l = 0 ... depth of a network (section 7): its shape, and its place in theta. */
typedef struct {
    int in, out, weight, bias;
} flowi_layer;

static flowi_layer flowi_mlp_layer(const flow_mlp *m, int l) {
    flowi_layer s;
    s.in = l == 0 ? m->in : m->width;
    s.out = l == m->depth ? m->out : m->width;
    s.weight = l == 0 ? 0 : (m->in + 1) * m->width + (l - 1) * (m->width + 1) * m->width;
    s.bias = s.weight + s.in * s.out;
    return s;
}

/* Actnorm. */

static void flowi_zero_init(const flow_bijection *b, flow_real *theta, flow_rng *rng) {
    int i;
    (void)rng;
    for (i = 0; i < b->params; i++) theta[i] = 0;
}

static int flowi_actnorm_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                 flow_real *logdet, const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *s = theta, *shift = theta + d;
    int i, j;
    (void)cache;
    for (j = 0; j < d; j++) {
        const flow_real scale = flowi_exp(s[j]);
        for (i = 0; i < n; i++) {
            y[i * d + j] = x[i * d + j] * scale + shift[j];
            logdet[i] += s[j];
        }
    }
    return FLOW_OK;
}

static int flowi_actnorm_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                 flow_real *logdet, const flow_real *y, int n, flow_real *cache) {
    const int d = b->d;
    const flow_real *s = theta, *shift = theta + d;
    int i, j;
    (void)cache;
    for (j = 0; j < d; j++) {
        const flow_real scale = flowi_exp(-s[j]);
        for (i = 0; i < n; i++) {
            x[i * d + j] = (y[i * d + j] - shift[j]) * scale;
            logdet[i] -= s[j];
        }
    }
    return FLOW_OK;
}

/* dx = e^s dy,   ds += sum_i (dy_i e^s x_i + dlogdet_i),   db += sum_i dy_i */
static int flowi_actnorm_backward(const flow_bijection *b, const flow_real *theta,
                                  flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                  const flow_real *dlogdet, const flow_real *x, int n,
                                  flow_real *cache) {
    const int d = b->d;
    int i, j;
    (void)cache;
    for (j = 0; j < d; j++) {
        const flow_real scale = flowi_exp(theta[j]);
        for (i = 0; i < n; i++) {
            const flow_real g = dy[i * d + j], through = g * scale;
            dtheta[j] += through * x[i * d + j] + dlogdet[i];
            dtheta[d + j] += g;
            dx[i * d + j] = through;
        }
    }
    return FLOW_OK;
}

/* s = -log std,  b = -mean/std of each coordinate; a constant coordinate is only shifted. */
static int flowi_actnorm_fit(const flow_bijection *b, flow_real *theta, const flow_real *x, int n) {
    const int d = b->d;
    int i, j;
    for (j = 0; j < d; j++) {
        flow_real mean = 0, rest = 0, var = 0, least; /* what rounding alone can leave */
        for (i = 0; i < n; i++) mean += x[i * d + j] / (flow_real)n;
        for (i = 0; i < n; i++) rest += (x[i * d + j] - mean) / (flow_real)n;
        mean += rest; /* what the first sum lost */
        for (i = 0; i < n; i++)
            var += (x[i * d + j] - mean) * (x[i * d + j] - mean) / (flow_real)n;
        if (!flowi_finite(var)) return FLOW_E_FINITE;
        least = 4 * FLOWI_EPS * mean;
        theta[j] = var > least * least ? -flowi_log(var) / 2 : 0;
        theta[d + j] = -mean * flowi_exp(theta[j]);
    }
    return FLOW_OK;
}

FLOW_API flow_bijection flow_actnorm(int d) {
    flow_bijection b;
    FLOW_ASSERT(d > 0);
    memset(&b, 0, sizeof b);
    b.name = "actnorm";
    b.d = d;
    b.params = 2 * d;
    b.init = flowi_zero_init;
    b.forward = flowi_actnorm_forward;
    b.inverse = flowi_actnorm_inverse;
    b.backward = flowi_actnorm_backward;
    b.fit = flowi_actnorm_fit;
    return b;
}

/* Invertible linear. cache: e^s, a = U x, and c = L a or its cotangent, [d] each. */

static int flowi_linear_from(const flow_bijection *b, int i) {
    const int *perm = (const int *)b->spec;
    return perm ? perm[i] : b->d - 1 - i;
}

static void flowi_linear_scale(flow_real *scale, const flow_real *lu, int d) {
    int j;
    for (j = 0; j < d; j++) scale[j] = flowi_exp(lu[j * d + j]);
}

/* a = U x, with e^s on the diagonal of U */
static void flowi_linear_upper(flow_real *a, const flow_real *scale, const flow_real *lu,
                               const flow_real *x, int d) {
    int j;
    for (j = 0; j < d; j++)
        a[j] = scale[j] * x[j] + flowi_dot(lu + j * d + j + 1, x + j + 1, d - 1 - j);
}

static int flowi_linear_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                flow_real *logdet, const flow_real *x, int n, flow_real *cache) {
    const int d = b->d;
    flow_real *scale = cache, *a = cache + d, *c = cache + 2 * d;
    int i, j;
    flowi_linear_scale(scale, theta, d);
    for (i = 0; i < n; i++) {
        flowi_linear_upper(a, scale, theta, x + i * d, d);
        for (j = 0; j < d; j++) c[j] = a[j] + flowi_dot(theta + j * d, a, j);
        for (j = 0; j < d; j++) {
            y[i * d + j] = c[flowi_linear_from(b, j)];
            logdet[i] += theta[j * d + j];
        }
    }
    return FLOW_OK;
}

static int flowi_linear_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                flow_real *logdet, const flow_real *y, int n, flow_real *cache) {
    const int d = b->d;
    flow_real *scale = cache, *a = cache + d;
    int i, j;
    flowi_linear_scale(scale, theta, d);
    for (i = 0; i < n; i++) {
        for (j = 0; j < d; j++) a[flowi_linear_from(b, j)] = y[i * d + j];
        for (j = 0; j < d; j++) a[j] -= flowi_dot(theta + j * d, a, j);
        for (j = d - 1; j >= 0; j--) {
            a[j] -= flowi_dot(theta + j * d + j + 1, a + j + 1, d - 1 - j);
            a[j] /= scale[j];
            logdet[i] -= theta[j * d + j];
        }
        flowi_copy(x + i * d, a, d);
    }
    return FLOW_OK;
}

/* dc = P'dy,   dL += dc a',   da = L'dc,   dU += da x',   dx = U'da;   ds_j = e^(s_j) dU_jj and
 * dlogdet */
static int flowi_linear_backward(const flow_bijection *b, const flow_real *theta,
                                 flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                 const flow_real *dlogdet, const flow_real *x, int n,
                                 flow_real *cache) {
    const int d = b->d;
    flow_real *scale = cache, *a = cache + d, *g = cache + 2 * d;
    int i, j, k;
    flowi_linear_scale(scale, theta, d);
    for (i = 0; i < n; i++) {
        flowi_linear_upper(a, scale, theta, x + i * d, d);
        for (j = 0; j < d; j++) g[flowi_linear_from(b, j)] = dy[i * d + j];
        for (j = 0; j < d; j++)
            for (k = 0; k < j; k++) dtheta[j * d + k] += g[j] * a[k];
        for (k = 0; k < d; k++)
            for (j = k + 1; j < d; j++) g[k] += theta[j * d + k] * g[j];
        for (k = 0; k < d; k++) {
            dtheta[k * d + k] += g[k] * scale[k] * x[i * d + k] + dlogdet[i];
            for (j = k + 1; j < d; j++) dtheta[k * d + j] += g[k] * x[i * d + j];
        }
        for (k = 0; k < d; k++) {
            flow_real sum = scale[k] * g[k];
            for (j = 0; j < k; j++) sum += theta[j * d + k] * g[j];
            dx[i * d + k] = sum;
        }
    }
    return FLOW_OK;
}

FLOW_API flow_bijection flow_linear(int d, const int *perm) {
    flow_bijection b;
    FLOW_ASSERT(d > 0);
    memset(&b, 0, sizeof b);
    b.name = "linear";
    b.d = d;
    b.params = flowi_count(1.0 * d * d);
    b.work = 3 * d;
    b.spec = perm;
    b.init = flowi_zero_init;
    b.forward = flowi_linear_forward;
    b.inverse = flowi_linear_inverse;
    b.backward = flowi_linear_backward;
    return b;
}

/* Coupling and autoregressive layers share the map y_j = x_j e^(s_j) + t_j, s = cap tanh(o/cap),
 * whose (o, t)[2*d] are the outputs of a conditioner at some of the coordinates. cache a sample:
 * the network's input [d], its output [2*d], their cotangents [d] and [2*d], tanh(o/cap) and e^s of
 * the coordinates that move [d] each, and the network's own. */

FLOW_API void flow_mask_alternate(int *mask, int d, int parity) {
    int j;
    for (j = 0; j < d; j++) mask[j] = (j + parity) % 2;
}

typedef struct {
    flow_mlp net;
    flow_real cap, *in, *out, *din, *dout, *tanh, *scale, *cache;
    const int *mask;
    int additive;
} flowi_conditioned;

static flow_mlp flowi_network(int in, int width, int depth, int out, int act) {
    flow_mlp net;
    net.in = in;
    net.width = width;
    net.depth = depth;
    net.out = out;
    net.act = act;
    return net;
}

static flow_mlp flowi_conditioner_net(const flow_bijection *b) {
    const flow_conditioner *spec = (const flow_conditioner *)b->spec;
    return flowi_network(b->d, spec->width, spec->depth, 2 * b->d, spec->act);
}

static flowi_conditioned flowi_condition(const flow_bijection *b, flow_real *cache, int n) {
    const flow_conditioner *spec = (const flow_conditioner *)b->spec;
    const size_t points = flowi_size(n, b->d, 1);
    flowi_conditioned c;
    c.net = flowi_conditioner_net(b);
    c.cap = spec->cap > 0 ? spec->cap : 3;
    c.mask = spec->mask;
    c.additive = spec->additive;
    c.in = flowi_carve(&cache, points);
    c.out = flowi_carve(&cache, 2 * points);
    c.din = flowi_carve(&cache, points);
    c.dout = flowi_carve(&cache, 2 * points);
    c.tanh = flowi_carve(&cache, points);
    c.scale = flowi_carve(&cache, points);
    c.cache = cache;
    return c;
}

static int flowi_moves(const flowi_conditioned *c, int j) {
    return !c->mask || !c->mask[j];
}

/* tanh[k] holds o: it becomes tanh(o/cap), and scale[k] = e^s, for k < count. A block of fixed
 * length has no remainder, so that its loops vectorise. Additive layers have s = 0. */
static void flowi_conditioned_scale(const flowi_conditioned *c, int count) {
    enum { BLOCK = 32 };
    flow_real t[BLOCK], e[BLOCK];
    int i, j;
    for (i = 0; i < count && c->additive; i++) {
        c->tanh[i] = 0;
        c->scale[i] = 1;
    }
    for (i = 0; i < count && !c->additive; i += BLOCK) {
        const int m = flowi_min(BLOCK, count - i);
        for (j = 0; j < BLOCK; j++) t[j] = j < m ? c->tanh[i + j] : 0;
        for (j = 0; j < BLOCK; j++) t[j] = flowi_tanh(t[j] / c->cap);
        for (j = 0; j < BLOCK; j++) e[j] = flowi_exp(c->cap * t[j]);
        flowi_copy(c->tanh + i, t, m);
        flowi_copy(c->scale + i, e, m);
    }
}

/* The scales of all that moves, in the order in which the loops below meet them. */
static void flowi_conditioned_scales(const flowi_conditioned *c, int n, int d) {
    int i, j, k = 0;
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++)
            if (flowi_moves(c, j)) c->tanh[k++] = c->out[i * 2 * d + j];
    flowi_conditioned_scale(c, k);
}

static void flowi_conditioned_map(const flowi_conditioned *c, flow_real *y, flow_real *logdet,
                                  const flow_real *x, int n, int d) {
    int i, j, k = 0;
    flowi_conditioned_scales(c, n, d);
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) {
            y[i * d + j] = x[i * d + j];
            if (!flowi_moves(c, j)) continue;
            y[i * d + j] = x[i * d + j] * c->scale[k] + c->out[i * 2 * d + d + j];
            logdet[i] += c->cap * c->tanh[k++];
        }
}

/* dx = e^s dy,   dt = dy,   ds = dy x e^s + dlogdet,   do = (1 - tanh^2) ds, with the scales that
 * forward left; back through the network is the caller's. */
static void flowi_conditioned_back(const flowi_conditioned *c, flow_real *dx, const flow_real *dy,
                                   const flow_real *dlogdet, const flow_real *x, int n, int d) {
    int i, j, k = 0;
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) {
            const flow_real g = dy[i * d + j], xj = x[i * d + j];
            flow_real *go = c->dout + i * 2 * d + j, slope, through;
            go[0] = go[d] = 0;
            dx[i * d + j] = g;
            if (!flowi_moves(c, j)) continue;
            slope = c->additive ? 0 : 1 - c->tanh[k] * c->tanh[k];
            through = g * c->scale[k++];
            go[0] = (through * xj + dlogdet[i]) * slope;
            go[d] = g;
            dx[i * d + j] = through;
        }
}

/* The network's last layer starts 50 times smaller: s and t near 0, the map near the identity. */
static void flowi_conditioner_init(const flow_bijection *b, flow_real *theta, flow_rng *rng) {
    const flow_mlp net = flowi_conditioner_net(b);
    const flowi_layer last = flowi_mlp_layer(&net, net.depth);
    int i;
    flow_mlp_init(&net, theta, rng);
    for (i = last.weight; i < b->params; i++) theta[i] /= 50;
}

static void flowi_coupling_condition(const flowi_conditioned *c, const flow_real *theta,
                                     const flow_real *x, int n, int d) {
    int i, j;
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) c->in[i * d + j] = c->mask[j] ? x[i * d + j] : 0;
    flow_mlp_forward(&c->net, theta, c->out, c->in, n, c->cache);
}

static int flowi_coupling_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                  flow_real *logdet, const flow_real *x, int n,
                                  flow_real *cache) {
    const flowi_conditioned c = flowi_condition(b, cache, n);
    flowi_coupling_condition(&c, theta, x, n, b->d);
    flowi_conditioned_map(&c, y, logdet, x, n, b->d);
    return FLOW_OK;
}

/* x_j = (y_j - t_j) e^(-s_j): the conditioner sees the same coordinates of y as of x. */
static int flowi_coupling_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                  flow_real *logdet, const flow_real *y, int n,
                                  flow_real *cache) {
    const flowi_conditioned c = flowi_condition(b, cache, n);
    const int d = b->d;
    int i, j, k = 0;
    flowi_coupling_condition(&c, theta, y, n, d);
    flowi_conditioned_scales(&c, n, d);
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) {
            x[i * d + j] = y[i * d + j];
            if (!flowi_moves(&c, j)) continue;
            x[i * d + j] = (y[i * d + j] - c.out[i * 2 * d + d + j]) / c.scale[k];
            logdet[i] -= c.cap * c.tanh[k++];
        }
    return FLOW_OK;
}

static int flowi_coupling_backward(const flow_bijection *b, const flow_real *theta,
                                   flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                   const flow_real *dlogdet, const flow_real *x, int n,
                                   flow_real *cache) {
    const flowi_conditioned c = flowi_condition(b, cache, n);
    const int d = b->d;
    int i, j;
    flowi_conditioned_back(&c, dx, dy, dlogdet, x, n, d);
    flow_mlp_backward(&c.net, theta, dtheta, c.din, c.dout, c.in, n, c.cache);
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) dx[i * d + j] += c.mask[j] ? c.din[i * d + j] : 0;
    return FLOW_OK;
}

/* What coupling and autoregressive layers have in common. */
static flow_bijection flowi_conditioned_bijection(int d, const flow_conditioner *spec) {
    flow_bijection b;
    flow_mlp net;
    FLOW_ASSERT(d > 0 && spec);
    memset(&b, 0, sizeof b);
    b.d = d;
    b.spec = spec;
    net = flowi_conditioner_net(&b);
    b.params = flow_mlp_params(&net);
    b.cache = flowi_count(8.0 * d + flow_mlp_cache(&net, 1));
    b.init = flowi_conditioner_init;
    return b;
}

FLOW_API flow_bijection flow_coupling(int d, const flow_conditioner *spec) {
    flow_bijection b = flowi_conditioned_bijection(d, spec);
    FLOW_ASSERT(spec->mask);
    b.name = spec->additive ? "nice" : "realnvp";
    b.forward = flowi_coupling_forward;
    b.inverse = flowi_coupling_inverse;
    b.backward = flowi_coupling_backward;
    return b;
}

/* Autoregressive. cache before a sample's: the masked weights [params], their gradient [params]. */

/* MADE's degrees: coordinate j has j + 1 (d - j reversed), hidden units take 1 ... d-1 in turn. A
 * hidden unit may see degrees up to its own, an output only those below its own. */
static int flowi_made_allows(const flow_bijection *b, int l, int out, int in) {
    const flow_conditioner *spec = (const flow_conditioner *)b->spec;
    const int d = b->d, last = l == spec->depth;
    const int coordinate = l == 0 ? in : out % d;
    const int degree = spec->reverse ? d - coordinate : coordinate + 1;
    const int hidden_in = d > 1 ? 1 + in % (d - 1) : 0, hidden_out = d > 1 ? 1 + out % (d - 1) : 0;
    if (l == 0 && last) return (spec->reverse ? d - out % d : out % d + 1) > degree;
    if (l == 0) return hidden_out >= degree;
    return last ? degree > hidden_in : hidden_out >= hidden_in;
}

/* to += or = from at the allowed weights and at every bias. */
static void flowi_made_mask(const flow_bijection *b, const flow_mlp *net, flow_real *to,
                            const flow_real *from, int add) {
    int l, i;
    for (l = 0; l <= net->depth; l++) {
        const flowi_layer s = flowi_mlp_layer(net, l);
        for (i = s.weight; i < s.bias + s.out; i++) {
            const int k = i - s.weight;
            const int allowed = i >= s.bias || flowi_made_allows(b, l, k / s.in, k % s.in);
            if (add) to[i] += allowed ? from[i] : 0;
            else to[i] = allowed ? from[i] : 0;
        }
    }
}

static int flowi_made_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                              flow_real *logdet, const flow_real *x, int n, flow_real *cache) {
    const flowi_conditioned c = flowi_condition(b, cache + b->work, n);
    flowi_made_mask(b, &c.net, cache, theta, 0);
    flow_mlp_forward(&c.net, cache, c.out, x, n, c.cache);
    flowi_conditioned_map(&c, y, logdet, x, n, b->d);
    return FLOW_OK;
}

/* In pass k the first k coordinates of `in` are right, so (s, t) of the next one is too. */
static int flowi_made_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                              flow_real *logdet, const flow_real *y, int n, flow_real *cache) {
    const flow_conditioner *spec = (const flow_conditioner *)b->spec;
    const flowi_conditioned c = flowi_condition(b, cache + b->work, n);
    const int d = b->d;
    int i, k;
    flowi_made_mask(b, &c.net, cache, theta, 0);
    for (i = 0; i < n * d; i++) c.in[i] = 0;
    for (k = 0; k < d; k++) {
        const int j = spec->reverse ? d - 1 - k : k;
        flow_mlp_forward(&c.net, cache, c.out, c.in, n, c.cache);
        for (i = 0; i < n; i++) c.tanh[i] = c.out[i * 2 * d + j];
        flowi_conditioned_scale(&c, n);
        for (i = 0; i < n; i++) {
            c.in[i * d + j] = (y[i * d + j] - c.out[i * 2 * d + d + j]) / c.scale[i];
            logdet[i] -= c.cap * c.tanh[i];
        }
    }
    flowi_copy(x, c.in, n * d);
    return FLOW_OK;
}

static int flowi_made_backward(const flow_bijection *b, const flow_real *theta, flow_real *dtheta,
                               flow_real *dx, const flow_real *dy, const flow_real *dlogdet,
                               const flow_real *x, int n, flow_real *cache) {
    const flowi_conditioned c = flowi_condition(b, cache + b->work, n);
    flow_real *dmasked = cache + b->params;
    int i;
    (void)theta;
    for (i = 0; i < b->params; i++) dmasked[i] = 0;
    flowi_conditioned_back(&c, dx, dy, dlogdet, x, n, b->d);
    flow_mlp_backward(&c.net, cache, dmasked, c.din, c.dout, x, n, c.cache);
    for (i = 0; i < n * b->d; i++) dx[i] += c.din[i];
    flowi_made_mask(b, &c.net, dtheta, dmasked, 1);
    return FLOW_OK;
}

FLOW_API flow_bijection flow_autoregressive(int d, const flow_conditioner *spec) {
    flow_bijection b = flowi_conditioned_bijection(d, spec);
    FLOW_ASSERT(!spec->mask);
    b.name = "maf";
    b.work = flowi_count(2.0 * b.params);
    b.forward = flowi_made_forward;
    b.inverse = flowi_made_inverse;
    b.backward = flowi_made_backward;
    return b;
}

/* Residual. cache: the normalised weights [params], their gradient [params], and of each layer
 * u [most], v [most] and sigma, which power iteration carries from call to call, scratch for the
 * Gram matrices [2*most*most] and an I + J [d*d]; then a sample's
 * g, input cotangent [d] each, tangents e_j, J e_j and its cotangent [d*d] each, (I + J)^-1 [d*d]
 * and the network's own. */

typedef struct {
    flow_mlp net;
    int most, power;
    flow_real bound, *theta, *dtheta, *norms, *gram;
    flow_real *g, *din, *s, *jy, *djy, *inverse, *matrix, *cache;
} flowi_residual_parts;

static flow_mlp flowi_residual_net(const flow_bijection *b) {
    const flow_residual_spec *spec = (const flow_residual_spec *)b->spec;
    return flowi_network(b->d, spec->width, spec->depth, b->d, spec->act);
}

static flowi_residual_parts flowi_residual_split(const flow_bijection *b, flow_real *cache, int n) {
    const flow_residual_spec *spec = (const flow_residual_spec *)b->spec;
    const int d = b->d;
    const size_t square = flowi_size(n, d, d);
    flowi_residual_parts r;
    r.net = flowi_residual_net(b);
    r.most = spec->width > d ? spec->width : d;
    r.bound = spec->bound > 0 ? spec->bound : FLOWI_R(0.97);
    r.power = spec->power;
    r.theta = flowi_carve(&cache, (size_t)b->params);
    r.dtheta = flowi_carve(&cache, (size_t)b->params);
    r.norms = flowi_carve(&cache, flowi_size(spec->depth + 1, 2 * r.most + 1, 1));
    r.gram = flowi_carve(&cache, flowi_size(2 * r.most, r.most, 1));
    r.matrix = flowi_carve(&cache, flowi_size(d, d, 1));
    r.g = flowi_carve(&cache, flowi_size(n, d, 1));
    r.din = flowi_carve(&cache, flowi_size(n, d, 1));
    r.s = flowi_carve(&cache, square);
    r.jy = flowi_carve(&cache, square);
    r.djy = flowi_carve(&cache, square);
    r.inverse = flowi_carve(&cache, square);
    r.cache = cache;
    return r;
}

/* The spectral norm of w[rows*cols] with its singular vectors, to full precision even where the
 * largest singular values lie close together: the Gram matrix G = W'W (or W W', the smaller one),
 * squared 40 times and scaled to trace 1 in between, keeps its leading eigenvectors alone. */
static flow_real flowi_residual_norm(const flow_real *w, flow_real *u, flow_real *v, int rows,
                                     int cols, flow_real *work) {
    const int tall = rows > cols, m = tall ? cols : rows;
    flow_real *g = work, *square = work + m * m, *lead = tall ? v : u, trace;
    int i, k, best = 0;
    flow_matmul(g, w, tall, w, !tall, m, m, tall ? rows : cols, 0);
    for (k = 0; k < 40; k++) {
        for (trace = 0, i = 0; i < m; i++) trace += g[i * m + i];
        if (!(trace > 0)) return 0;
        for (i = 0; i < m * m; i++) g[i] /= trace;
        flow_matmul(square, g, 0, g, 0, m, m, m, 0);
        flowi_copy(g, square, m * m);
    }
    for (i = 1; i < m; i++)
        if (g[i * m + i] > g[best * m + best]) best = i;
    flowi_copy(lead, g + best * m, m);
    flowi_normalise(lead, m);
    flow_matmul(tall ? u : v, w, !tall, lead, 0, tall ? rows : cols, 1, m, 0);
    return flowi_normalise(tall ? u : v, tall ? rows : cols);
}

/* The same from where the last call left v, by `power` iterations: close while W moves slowly. A
 * first call finds zeros there and takes the exact one. */
static flow_real flowi_residual_follow(const flow_real *w, flow_real *u, flow_real *v, int rows,
                                       int cols, int power, flow_real *work) {
    if (power < 1 || !flowi_all_finite(v, cols) || !(flowi_dot(v, v, cols) > 0))
        return flowi_residual_norm(w, u, v, rows, cols, work);
    return flow_spectral_norm(w, u, v, rows, cols, power);
}

/* W <- W min(1, c/sigma(W)), c = bound^(1/layers): the product of the norms is at most bound.
 * FLOW_E_FINITE, also of weights whose squares overflow. */
static int flowi_residual_normalise(const flowi_residual_parts *r, const flow_real *theta,
                                    int params) {
    const flow_real c = flowi_exp(flowi_log(r->bound) / (flow_real)(r->net.depth + 1));
    int i, l;
    if (!flowi_all_finite(theta, params)) return FLOW_E_FINITE;
    flowi_copy(r->theta, theta, params);
    for (l = 0; l <= r->net.depth && flowi_finite(r->bound); l++) {
        const flowi_layer s = flowi_mlp_layer(&r->net, l);
        flow_real *u = r->norms + l * (2 * r->most + 1), *v = u + r->most, *sigma = v + r->most;
        if (!flowi_finite(flowi_dot(theta + s.weight, theta + s.weight, s.in * s.out)))
            return FLOW_E_FINITE;
        *sigma = flowi_residual_follow(theta + s.weight, u, v, s.out, s.in, r->power, r->gram);
        for (i = s.weight; i < s.bias && *sigma > c; i++) r->theta[i] *= c / *sigma;
    }
    return FLOW_OK;
}

/* dW += (c/sigma) (dW~ - (sum dW~ W~)/c u v'), W~ = (c/sigma) W: sigma = u'W v moves as u'dW v. */
static void flowi_residual_unnormalise(const flowi_residual_parts *r, flow_real *dtheta) {
    const flow_real c = flowi_exp(flowi_log(r->bound) / (flow_real)(r->net.depth + 1));
    int i, j, l;
    for (l = 0; l <= r->net.depth; l++) {
        const flowi_layer s = flowi_mlp_layer(&r->net, l);
        const flow_real *u = r->norms + l * (2 * r->most + 1), *v = u + r->most;
        const flow_real sigma = v[r->most], *dw = r->dtheta + s.weight;
        const int scaled = flowi_finite(r->bound) && sigma > c;
        const flow_real factor = scaled ? c / sigma : 1;
        const flow_real along = scaled ? flowi_dot(dw, r->theta + s.weight, s.in * s.out) / c : 0;
        for (i = 0; i < s.out; i++)
            for (j = 0; j < s.in; j++)
                dtheta[s.weight + i * s.in + j] +=
                    factor * (dw[i * s.in + j] - (scaled ? along * u[i] * v[j] : 0));
        for (i = 0; i < s.out; i++) dtheta[s.bias + i] += r->dtheta[s.bias + i];
    }
}

/* Tangents e_first, e_first+1 ... of n samples: s[count*n*d]. */
static void flowi_unit_tangents(flow_real *s, int first, int count, int n, int d) {
    int i, j;
    for (i = 0; i < count * n; i++)
        for (j = 0; j < d; j++) s[i * d + j] = j == first + i / n ? 1 : 0;
}

/* Each +1 or -1, one draw a number. */
static void flowi_signs(flow_real *s, flow_rng *rng, int count) {
    int i;
    for (i = 0; i < count; i++) s[i] = flow_rng_uniform(rng) < FLOWI_R(0.5) ? -1 : 1;
}

/* g(x) and, from d tangents, logdet += sign log|det(I + J_g)|; keeps (I + J_g)^-1. */
static int flowi_residual_evaluate(const flowi_residual_parts *r, flow_real *logdet,
                                   flow_real sign, const flow_real *x, int n, int d) {
    int i, j, k, err;
    flowi_unit_tangents(r->s, 0, d, n, d);
    flow_mlp_forward(&r->net, r->theta, r->g, x, n, r->cache);
    flow_mlp_tangent(&r->net, r->theta, r->jy, r->s, n, d, r->cache);
    for (i = 0; i < n; i++) {
        flow_real log_det = 0;
        for (k = 0; k < d; k++)
            for (j = 0; j < d; j++)
                r->matrix[k * d + j] = (k == j ? 1 : 0) + r->jy[(j * n + i) * d + k];
        err = flow_inverse(r->inverse + i * d * d, &log_det, r->matrix, d);
        if (err < 0) return err;
        logdet[i] += sign * log_det;
    }
    return FLOW_OK;
}

static int flowi_residual_forward(const flow_bijection *b, const flow_real *theta, flow_real *y,
                                  flow_real *logdet, const flow_real *x, int n,
                                  flow_real *cache) {
    const flowi_residual_parts r = flowi_residual_split(b, cache, n);
    int i, err = flowi_residual_normalise(&r, theta, b->params);
    if (err == FLOW_OK) err = flowi_residual_evaluate(&r, logdet, 1, x, n, b->d);
    for (i = 0; i < n * b->d && err == FLOW_OK; i++) y[i] = x[i] + r.g[i];
    return err;
}

/* x <- y - g for x[count]. Returns the largest step, and in *beyond by how much a step is larger
 * than rounding can make it, which builds up to noise/margin at most. */
static flow_real flowi_residual_step(flow_real *x, flow_real *beyond, const flow_real *y,
                                     const flow_real *g, flow_real margin, int count) {
    flow_real most = 0;
    int i;
    for (*beyond = 0, i = 0; i < count; i++) {
        const flow_real next = y[i] - g[i], step = flowi_fabs(next - x[i]);
        const flow_real noise = 2 * FLOWI_EPS * (flowi_fabs(y[i]) + flowi_fabs(g[i]));
        if (step > most) most = step;
        if (step - noise / margin > *beyond) *beyond = step - noise / margin;
        x[i] = next;
    }
    return most;
}

/* x <- y - g(x). The step |x - (y - g(x))| bounds the error once divided by 1 - bound = margin.
 * Where rounding keeps the steps above tol, one that rounding can explain ends it too, but only
 * after 1/margin iterations without a smaller one. */
static int flowi_residual_inverse(const flow_bijection *b, const flow_real *theta, flow_real *x,
                                  flow_real *logdet, const flow_real *y, int n,
                                  flow_real *cache) {
    const flow_residual_spec *spec = (const flow_residual_spec *)b->spec;
    const flowi_residual_parts r = flowi_residual_split(b, cache, n);
    const flow_real least = sizeof(flow_real) == sizeof(double) ? FLOWI_R(1e-10) : FLOWI_R(1e-4);
    const flow_real tol = spec->tol > 0 ? spec->tol : least;
    const flow_real margin = r.bound < 1 ? 1 - r.bound : 1;
    const int most = spec->iterations > 0 ? spec->iterations : 5000, count = n * b->d;
    flow_real *target = r.din, *at = r.s, step, beyond, smallest = FLOWI_INFINITY;
    int k, since = 0, err = flowi_residual_normalise(&r, theta, b->params);
    if (err < 0) return err;
    flowi_copy(target, y, count);
    flowi_copy(at, y, count);
    for (k = 0; k < most; k++) {
        flow_mlp_forward(&r.net, r.theta, r.g, at, n, r.cache);
        step = flowi_residual_step(at, &beyond, target, r.g, margin, count);
        if (!flowi_all_finite(at, count)) return FLOW_E_FINITE;
        since = step < smallest ? 0 : since + 1;
        if (step < smallest) smallest = step;
        if (step <= tol * margin) break;
        if (beyond <= tol * margin && (flow_real)since * margin >= 1) break;
    }
    if (k == most) return FLOW_E_CONVERGE;
    flowi_copy(x, at, count);
    return flowi_residual_evaluate(&r, logdet, -1, x, n, b->d);
}

/* d log|det A| = tr(A^-1 dA): the cotangent of (J e_j)_k is dlogdet (A^-1)_jk. */
static int flowi_residual_backward(const flow_bijection *b, const flow_real *theta,
                                   flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                   const flow_real *dlogdet, const flow_real *x, int n,
                                   flow_real *cache) {
    const flowi_residual_parts r = flowi_residual_split(b, cache, n);
    const int d = b->d;
    int i, j, k;
    (void)theta;
    for (i = 0; i < b->params; i++) r.dtheta[i] = 0;
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++)
            for (k = 0; k < d; k++)
                r.djy[(j * n + i) * d + k] = dlogdet[i] * r.inverse[(i * d + j) * d + k];
    flow_mlp_tangent_backward(&r.net, r.theta, r.dtheta, r.din, dy, r.djy, x, r.s, n, d, r.cache);
    for (i = 0; i < n * d; i++) dx[i] = dy[i] + r.din[i];
    flowi_residual_unnormalise(&r, dtheta);
    return FLOW_OK;
}

static void flowi_residual_init(const flow_bijection *b, flow_real *theta, flow_rng *rng) {
    const flow_mlp net = flowi_residual_net(b);
    flow_mlp_init(&net, theta, rng);
}

FLOW_API flow_bijection flow_residual(int d, const flow_residual_spec *spec) {
    flow_bijection b;
    flow_mlp net;
    double most;
    FLOW_ASSERT(d > 0 && spec);
    memset(&b, 0, sizeof b);
    b.name = "residual";
    b.d = d;
    b.spec = spec;
    net = flowi_residual_net(&b);
    most = spec->width > d ? spec->width : d;
    b.params = flow_mlp_params(&net);
    b.cache = flowi_count(2.0 * d + 4.0 * d * d + flow_mlp_cache(&net, 1));
    b.work = flowi_count(2.0 * b.params + (spec->depth + 1) * (2 * most + 1) + 2 * most * most +
                         1.0 * d * d);
    b.init = flowi_residual_init;
    b.forward = flowi_residual_forward;
    b.inverse = flowi_residual_inverse;
    b.backward = flowi_residual_backward;
    return b;
}

/* estimate += share * weight_k (-1)^(k+1)/k v'J^k v for k = 1 ... count, weight_k = 1/P(k reached),
 * from v in r->s; the powers J^k v take turns in r->jy and r->djy. */
static void flowi_residual_powers(const flowi_residual_parts *r, flow_real *estimate, int n, int d,
                                  int count, int terms, flow_real roulette, flow_real share) {
    const flow_real *from = r->s;
    flow_real weight = share;
    int i, k;
    for (k = 1; k <= count; k++) {
        flow_real *to = from == r->jy ? r->djy : r->jy;
        flow_mlp_tangent(&r->net, r->theta, to, from, n, 1, r->cache);
        if (k > terms) weight /= 1 - roulette;
        for (i = 0; i < n; i++)
            estimate[i] += weight * (k % 2 ? 1 : -1) / (flow_real)k *
                           flowi_dot(r->s + i * d, to + i * d, d);
        from = to;
    }
}

FLOW_API int flow_residual_series(const flow_bijection *b, const flow_real *theta,
                                  flow_real *estimate, flow_rng *rng, const flow_real *x, int n,
                                  int probes, int terms, flow_real roulette, flow_real *cache) {
    const flowi_residual_parts r = flowi_residual_split(b, cache, n);
    const int d = b->d, rounds = probes > 0 ? probes : d;
    const flow_real share = probes > 0 ? 1 / (flow_real)probes : 1;
    int i, j, count = terms, err;
    FLOW_ASSERT(roulette >= 0 && roulette < 1);
    if (terms < 1) return FLOW_E_EMPTY;
    err = flowi_residual_normalise(&r, theta, b->params);
    if (err < 0) return err;
    flow_mlp_forward(&r.net, r.theta, r.g, x, n, r.cache);
    while (roulette > 0 && flow_rng_uniform(rng) >= roulette) count++;
    for (i = 0; i < n; i++) estimate[i] = 0;
    for (j = 0; j < rounds; j++) {
        if (probes > 0) flowi_signs(r.s, rng, n * d);
        else flowi_unit_tangents(r.s, j, 1, n, d);
        flowi_residual_powers(&r, estimate, n, d, count, terms, roulette, share);
    }
    return flowi_all_finite(estimate, n) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_root(flow_real *root, flow_root_fn f, void *ctx, flow_real lo, flow_real hi,
                       flow_real tol) {
    flow_real slope, f_lo, f_hi, a = lo / 2 + hi / 2, width = hi - lo;
    int k;
    FLOW_ASSERT(root && f && !(lo > hi) && tol > 0);
    f_lo = f(ctx, lo, &slope);
    f_hi = f(ctx, hi, &slope);
    if (!flowi_finite(f_lo) || !flowi_finite(f_hi)) return FLOW_E_FINITE;
    if (f_lo == 0 || f_hi == 0) {
        *root = f_lo == 0 ? lo : hi;
        return FLOW_OK;
    }
    if ((f_lo < 0) == (f_hi < 0)) return FLOW_E_BRACKET;
    for (k = 0; k < 200; k++) {
        const flow_real fa = f(ctx, a, &slope), newton = a - fa / slope;
        flow_real next;
        if (!flowi_finite(fa)) return FLOW_E_FINITE;
        if ((fa < 0) == (f_lo < 0)) lo = a;
        else hi = a;
        next = newton > lo && newton < hi && flowi_fabs(newton - a) < width / 2 ? newton
                                                                               : lo / 2 + hi / 2;
        width = flowi_fabs(next - a);
        if (fa == 0) next = a;
        a = next;
        if (fa == 0 || width <= tol * (1 + flowi_fabs(a)) || hi - lo <= tol) {
            *root = a;
            return FLOW_OK;
        }
    }
    return FLOW_E_CONVERGE;
}

/* --------------------------------------------------------------------- 6 normalizing flows */

FLOW_API int flow_chain_init(flow_chain *c, const flow_bijection *layer, int count, int direction,
                             int batch, flow_rng *rng) {
    flow_real *block = NULL, *theta;
    double params = 0, cache = 0;
    size_t points;
    int k, fits = 1;
    FLOW_ASSERT(c && batch > 0 && (direction == FLOW_TO_NOISE || direction == FLOW_FROM_NOISE));
    memset(c, 0, sizeof *c);
    if (count < 1) return FLOW_E_EMPTY;
    c->d = layer[0].d;
    c->count = count;
    c->direction = direction;
    c->batch = batch;
    for (k = 0; k < count; k++) {
        FLOW_ASSERT(layer[k].d == c->d);
        params += layer[k].params;
        cache += layer[k].work + 1.0 * layer[k].cache * batch;
        fits &= layer[k].work + 1.0 * layer[k].cache * batch < INT_MAX && params < INT_MAX;
    }
    c->params = flowi_count(params);
    points = flowi_size(batch, c->d, 1);
    c->layer = (flow_bijection *)FLOW_MALLOC((size_t)count * sizeof *layer);
    if (fits) block = flowi_new((count + 3.0) * batch * c->d + 4.0 * batch + 2 * params + cache);
    c->memory = block;
    if (!c->layer || !block) {
        flow_chain_free(c);
        return FLOW_E_MEMORY;
    }
    memcpy(c->layer, layer, (size_t)count * sizeof *layer);
    c->theta = theta = flowi_carve(&block, (size_t)c->params);
    c->grad = flowi_carve(&block, (size_t)c->params);
    c->x = flowi_carve(&block, ((size_t)count + 1) * points);
    c->dx = flowi_carve(&block, 2 * points);
    c->logdet = flowi_carve(&block, 4 * (size_t)batch);
    c->cache = block;
    for (k = 0; k < count; k++, theta += layer[k - 1].params) layer[k].init(&layer[k], theta, rng);
    return FLOW_OK;
}

FLOW_API void flow_chain_free(flow_chain *c) {
    flow_release(c->layer);
    flow_release(c->memory);
    memset(c, 0, sizeof *c);
}

FLOW_API flow_real *flow_chain_theta(const flow_chain *c, int k) {
    flow_real *theta = c->theta;
    int i;
    FLOW_ASSERT(k >= 0 && k <= c->count);
    for (i = 0; i < k; i++) theta += c->layer[i].params;
    return theta;
}

FLOW_API const flow_real *flow_chain_points(const flow_chain *c, int k) {
    FLOW_ASSERT(k >= 0 && k <= c->count);
    return c->x + (size_t)k * flowi_size(c->batch, c->d, 1);
}

/* The part of the cache that belongs to a layer. */
static size_t flowi_chain_cache(const flow_chain *c, int k) {
    return (size_t)c->layer[k].work + flowi_size(c->layer[k].cache, c->batch, 1);
}

FLOW_API int flow_chain_forward(flow_chain *c, flow_real *y, flow_real *logdet, const flow_real *x,
                                int n) {
    const size_t points = flowi_size(c->batch, c->d, 1);
    flow_real *xk = c->x, *theta = c->theta, *cache = c->cache;
    int k, err;
    FLOW_ASSERT(c->theta && n >= 0 && n <= c->batch);
    flowi_copy(xk, x, n * c->d);
    for (k = 0; k < c->count; k++) {
        const flow_bijection *b = &c->layer[k];
        err = b->forward(b, theta, xk + points, logdet, xk, n, cache);
        if (err < 0) return err;
        xk += points;
        theta += b->params;
        cache += flowi_chain_cache(c, k);
    }
    flowi_copy(y, xk, n * c->d);
    return flowi_all_finite(y, n * c->d) && flowi_all_finite(logdet, n) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_chain_fit(flow_chain *c, const flow_real *x, int n) {
    flow_real *xk = c->x, *theta = c->theta, *cache = c->cache;
    int k, err = FLOW_OK;
    FLOW_ASSERT(c->theta && n <= c->batch);
    if (n < 1) return FLOW_E_EMPTY;
    if (!flowi_all_finite(x, n * c->d)) return FLOW_E_FINITE;
    flowi_copy(xk, x, n * c->d);
    for (k = 0; k < c->count && err == FLOW_OK; k++) {
        const flow_bijection *b = &c->layer[k];
        if (b->fit) err = b->fit(b, theta, xk, n);
        if (err == FLOW_OK) err = b->forward(b, theta, xk, c->logdet, xk, n, cache);
        if (err == FLOW_OK && !flowi_all_finite(xk, n * c->d)) err = FLOW_E_FINITE;
        theta += b->params;
        cache += flowi_chain_cache(c, k);
    }
    return err;
}

FLOW_API int flow_chain_inverse(flow_chain *c, flow_real *x, flow_real *logdet, const flow_real *y,
                                int n) {
    flow_real *theta = c->theta + c->params, *cache = c->cache;
    int k, err;
    FLOW_ASSERT(c->theta && n >= 0 && n <= c->batch);
    for (k = 0; k < c->count; k++) cache += flowi_chain_cache(c, k);
    flowi_copy(x, y, n * c->d);
    for (k = c->count - 1; k >= 0; k--) {
        const flow_bijection *b = &c->layer[k];
        theta -= b->params;
        cache -= flowi_chain_cache(c, k);
        err = b->inverse(b, theta, x, logdet, x, n, cache);
        if (err < 0) return err;
    }
    return flowi_all_finite(x, n * c->d) && flowi_all_finite(logdet, n) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_chain_backward(flow_chain *c, flow_real *dx, const flow_real *dy,
                                 const flow_real *dlogdet, int n) {
    const size_t points = flowi_size(c->batch, c->d, 1);
    flow_real *xk = c->x + (size_t)c->count * points, *g = c->dx + points, *cache = c->cache;
    flow_real *theta = c->theta + c->params, *grad = c->grad + c->params;
    int k, err;
    FLOW_ASSERT(c->theta && n >= 0 && n <= c->batch);
    for (k = 0; k < c->count; k++) cache += flowi_chain_cache(c, k);
    flowi_copy(g, dy, n * c->d);
    for (k = c->count - 1; k >= 0; k--) {
        const flow_bijection *b = &c->layer[k];
        xk -= points;
        theta -= b->params;
        grad -= b->params;
        cache -= flowi_chain_cache(c, k);
        err = b->backward(b, theta, grad, g, g, dlogdet, xk, n, cache);
        if (err < 0) return err;
    }
    if (dx) flowi_copy(dx, g, n * c->d);
    return FLOW_OK;
}

/* Both directions at once: log p(x) = log N(z) + log|det dz/dx|, where z is the noise of x. */
FLOW_API int flow_chain_logprob(flow_chain *c, flow_real *logp, const flow_real *x, int n) {
    int i, j, err;
    for (i = 0; i < n; i += c->batch) {
        const int m = flowi_min(c->batch, n - i);
        flow_real *z = c->dx, *logdet = c->logdet;
        for (j = 0; j < m; j++) logdet[j] = 0;
        if (c->direction == FLOW_TO_NOISE)
            err = flow_chain_forward(c, z, logdet, x + i * c->d, m);
        else
            err = flow_chain_inverse(c, z, logdet, x + i * c->d, m);
        if (err < 0) return err;
        flow_normal_logprob(logp + i, z, m, c->d);
        for (j = 0; j < m; j++) logp[i + j] += logdet[j];
    }
    return FLOW_OK;
}

FLOW_API int flow_chain_sample(flow_chain *c, flow_rng *rng, flow_real *x, int n) {
    int i, j, err;
    for (i = 0; i < n; i += c->batch) {
        const int m = flowi_min(c->batch, n - i);
        flow_real *z = c->dx;
        for (j = 0; j < m; j++) c->logdet[j] = 0;
        flow_normal_sample(rng, z, m, c->d);
        if (c->direction == FLOW_TO_NOISE)
            err = flow_chain_inverse(c, x + i * c->d, c->logdet, z, m);
        else
            err = flow_chain_forward(c, x + i * c->d, c->logdet, z, m);
        if (err < 0) return err;
    }
    return FLOW_OK;
}

/* L = -(1/n) sum [log N(z_i) + logdet_i]:  dL/dz = z/n,  dL/dlogdet = -1/n */
FLOW_API int flow_chain_nll(flow_chain *c, flow_real *loss, const flow_real *x, int n) {
    const size_t points = flowi_size(c->batch, c->d, 1);
    flow_real *z = c->x + (size_t)c->count * points, *dz = c->dx + points;
    flow_real *logdet = c->logdet, *dlogdet = c->logdet + c->batch;
    flow_real *logp = c->logdet + 2 * c->batch, sum = 0;
    int i, err;
    FLOW_ASSERT(c->direction == FLOW_TO_NOISE && n <= c->batch);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n; i++) logdet[i] = 0;
    err = flow_chain_forward(c, z, logdet, x, n);
    if (err < 0) return err;
    flow_normal_logprob(logp, z, n, c->d);
    for (i = 0; i < n; i++) {
        sum -= logp[i] + logdet[i];
        dlogdet[i] = -1 / (flow_real)n;
    }
    *loss = sum / (flow_real)n;
    if (!flowi_finite(*loss)) return FLOW_E_FINITE;
    for (i = 0; i < n * c->d; i++) dz[i] = z[i] / (flow_real)n;
    return flow_chain_backward(c, NULL, dz, dlogdet, n);
}

/* L = (1/n) sum [log N(z_i) - logdet_i + U(y_i)]:  dL/dy = U'/n,  dL/dlogdet = -1/n */
FLOW_API int flow_chain_reverse_kl(flow_chain *c, flow_real *loss, flow_energy_fn energy, void *ctx,
                                   flow_rng *rng, int n) {
    flow_real *y = c->dx, *du = c->dx + flowi_size(c->batch, c->d, 1), *logdet = c->logdet;
    flow_real *dlogdet = c->logdet + c->batch, *logp = c->logdet + 2 * c->batch;
    flow_real *u = c->logdet + 3 * c->batch, sum = 0;
    int i, err;
    FLOW_ASSERT(c->direction == FLOW_FROM_NOISE && n <= c->batch && energy);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n; i++) logdet[i] = 0;
    flow_normal_sample(rng, y, n, c->d);
    flow_normal_logprob(logp, y, n, c->d);
    err = flow_chain_forward(c, y, logdet, y, n);
    if (err < 0) return err;
    err = energy(ctx, u, du, y, n);
    if (err < 0) return err;
    for (i = 0; i < n; i++) {
        sum += logp[i] - logdet[i] + u[i];
        dlogdet[i] = -1 / (flow_real)n;
    }
    *loss = sum / (flow_real)n;
    if (!flowi_finite(*loss) || !flowi_all_finite(du, n * c->d)) return FLOW_E_FINITE;
    for (i = 0; i < n * c->d; i++) du[i] /= (flow_real)n;
    return flow_chain_backward(c, NULL, du, dlogdet, n);
}

/* ------------------------------------------------------------------------------- 7 network */

/* Blocks of fixed length, so that the loops below have no remainder, and pointers to arrays that do
 * not overlap, where the language can say so: both help them become vector code. */
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 199901L
#define FLOWI_RESTRICT restrict
#else
#define FLOWI_RESTRICT
#endif
#define FLOWI_BLOCK (int)(512 / sizeof(flow_real))
typedef struct {
    flow_real z[FLOWI_BLOCK], a[FLOWI_BLOCK], da[FLOWI_BLOCK], dda[FLOWI_BLOCK];
} flowi_block;

#define FLOWI_SELU_L FLOWI_R(1.0507009873554804934)
#define FLOWI_SELU_LM FLOWI_R(1.7580993408473768599)
#define FLOWI_LIPSWISH FLOWI_R(1.1)

/* SiLU is z s with s = sigmoid z, SELU l z for z > 0 and l m (e^z - 1) else, where 0 belongs to the
 * left side: hence 0 - z, not -z. A NaN stays one. s is left for the slope. */
static void flowi_block_phi(int act, flow_real *FLOWI_RESTRICT a, flow_real *FLOWI_RESTRICT s,
                            const flow_real *FLOWI_RESTRICT z) {
    int j;
    switch (act) {
    case FLOW_TANH:
        for (j = 0; j < FLOWI_BLOCK; j++) a[j] = flowi_tanh(z[j]);
        break;
    case FLOW_SELU:
        for (j = 0; j < FLOWI_BLOCK; j++)
            a[j] = flowi_choose(0 - z[j], FLOWI_SELU_LM * flowi_expm1(z[j]), FLOWI_SELU_L * z[j]);
        break;
    case FLOW_SOFTPLUS:
        for (j = 0; j < FLOWI_BLOCK; j++) a[j] = flowi_softplus(z[j]);
        break;
    case FLOW_RELU:
        for (j = 0; j < FLOWI_BLOCK; j++) a[j] = z[j] < 0 ? 0 : z[j];
        break;
    default:
        for (j = 0; j < FLOWI_BLOCK; j++) s[j] = flowi_sigmoid(z[j]);
        for (j = 0; j < FLOWI_BLOCK; j++) a[j] = z[j] * s[j];
        for (j = 0; j < FLOWI_BLOCK && act == FLOW_LIPSWISH; j++) a[j] /= FLOWI_LIPSWISH;
    }
}

/* a': tanh 1 - a^2,  SELU l or a + l m,  softplus s,  ReLU 1 or 0 (at 0: 0),
 * SiLU s (1 + z (1 - s)), where da holds s */
static void flowi_block_slope(int act, flow_real *FLOWI_RESTRICT da,
                              const flow_real *FLOWI_RESTRICT a,
                              const flow_real *FLOWI_RESTRICT z) {
    int j;
    switch (act) {
    case FLOW_TANH:
        for (j = 0; j < FLOWI_BLOCK; j++) da[j] = 1 - a[j] * a[j];
        break;
    case FLOW_SELU:
        for (j = 0; j < FLOWI_BLOCK; j++)
            da[j] = flowi_choose(0 - z[j], a[j] + FLOWI_SELU_LM, FLOWI_SELU_L);
        break;
    case FLOW_SOFTPLUS:
        for (j = 0; j < FLOWI_BLOCK; j++) da[j] = flowi_sigmoid(z[j]);
        break;
    case FLOW_RELU:
        for (j = 0; j < FLOWI_BLOCK; j++) da[j] = z[j] > 0 ? 1 : 0;
        break;
    default:
        for (j = 0; j < FLOWI_BLOCK; j++) da[j] *= 1 + z[j] * (1 - da[j]);
        for (j = 0; j < FLOWI_BLOCK && act == FLOW_LIPSWISH; j++) da[j] /= FLOWI_LIPSWISH;
    }
}

/* a'': tanh -2 a a',  SELU a' for z <= 0 and 0 for z > 0,  softplus a'(1 - a'),  ReLU 0,
 * SiLU s (1 - s) (2 + z (1 - 2 s)) */
static void flowi_block_curve(int act, flow_real *FLOWI_RESTRICT dda,
                              const flow_real *FLOWI_RESTRICT da,
                              const flow_real *FLOWI_RESTRICT a,
                              const flow_real *FLOWI_RESTRICT z) {
    int j;
    switch (act) {
    case FLOW_TANH:
        for (j = 0; j < FLOWI_BLOCK; j++) dda[j] = -2 * a[j] * da[j];
        break;
    case FLOW_SELU:
        for (j = 0; j < FLOWI_BLOCK; j++) dda[j] = flowi_choose(0 - z[j], da[j], 0);
        break;
    case FLOW_SOFTPLUS:
        for (j = 0; j < FLOWI_BLOCK; j++) dda[j] = da[j] * (1 - da[j]);
        break;
    case FLOW_RELU:
        for (j = 0; j < FLOWI_BLOCK; j++) dda[j] = 0;
        break;
    default:
        for (j = 0; j < FLOWI_BLOCK; j++) {
            const flow_real s = flowi_sigmoid(z[j]);
            dda[j] = s * (1 - s) * (2 + z[j] * (1 - 2 * s));
        }
        for (j = 0; j < FLOWI_BLOCK && act == FLOW_LIPSWISH; j++) dda[j] /= FLOWI_LIPSWISH;
    }
}

/* m <= FLOWI_BLOCK numbers; most often the whole block, which needs no loop. */
static inline void flowi_block_copy(flow_real *to, const flow_real *from, int m) {
    int j;
    if (m == FLOWI_BLOCK) memcpy(to, from, FLOWI_BLOCK * sizeof *to);
    else
        for (j = 0; j < m; j++) to[j] = from[j];
}

/* x where m numbers are a whole block; else their copy in pad, with zeros behind them. */
static inline const flow_real *flowi_block_of(flow_real *pad, const flow_real *x, int m) {
    if (m == FLOWI_BLOCK) return x;
    memset(pad, 0, FLOWI_BLOCK * sizeof *pad);
    flowi_block_copy(pad, x, m);
    return pad;
}

FLOW_API void flow_activation(int act, flow_real *a, flow_real *da, flow_real *dda,
                              const flow_real *z, int n) {
    int i;
    FLOW_ASSERT(act >= 0 && act < FLOW_ACT_COUNT);
#ifdef _OPENMP
#pragma omp parallel for if (n > 65536)
#endif
    for (i = 0; i < n; i += FLOWI_BLOCK) {
        const int m = flowi_min(FLOWI_BLOCK, n - i);
        flowi_block b;
        const flow_real *at = flowi_block_of(b.z, z + i, m);
        flowi_block_phi(act, b.a, b.da, at);
        if (da || dda) flowi_block_slope(act, b.da, b.a, at);
        if (dda) flowi_block_curve(act, b.dda, b.da, b.a, at);
        if (a) flowi_block_copy(a + i, b.a, m);
        if (da) flowi_block_copy(da + i, b.da, m);
        if (dda) flowi_block_copy(dda + i, b.dda, m);
    }
}

/* phi'' of z[n] when a = phi(z) and da = phi'(z) are known already. */
static void flowi_curve(int act, flow_real *dda, const flow_real *z, const flow_real *a,
                        const flow_real *da, int n) {
    int i;
    for (i = 0; i < n; i += FLOWI_BLOCK) {
        const int m = flowi_min(FLOWI_BLOCK, n - i);
        flowi_block b;
        flowi_block_curve(act, b.dda, flowi_block_of(b.da, da + i, m),
                          flowi_block_of(b.a, a + i, m), flowi_block_of(b.z, z + i, m));
        flowi_block_copy(dda + i, b.dda, m);
    }
}

/* Where flowi_mlp_layer lets the last layer end. */
FLOW_API int flow_mlp_params(const flow_mlp *m) {
    const double in = m->in, width = m->width, out = m->out;
    if (m->depth == 0) return flowi_count((in + 1) * out);
    return flowi_count((in + 1) * width + (m->depth - 1) * (width + 1) * width + (width + 1) * out);
}

/* The parts of the cache: [depth*n*width] each, and two scratch rows [n*width]. From the z' of one
 * layer to those of the next are `across` reals. */
typedef struct {
    flow_real *z, *a, *da, *dda, *zt, *at, *zbar, *u, *v;
    int layer; /* n*width */
    int across;
} flowi_mlp_parts;

FLOW_API int flow_mlp_cache(const flow_mlp *m, int n) {
    return flowi_count((7.0 * m->depth + 2) * n * m->width);
}

static flowi_mlp_parts flowi_mlp_split(const flow_mlp *m, flow_real *cache, int n) {
    flowi_mlp_parts p;
    const size_t part = flowi_size(m->depth, n, m->width);
    p.layer = p.across = n * m->width;
    p.z = flowi_carve(&cache, part);
    p.a = flowi_carve(&cache, part);
    p.da = flowi_carve(&cache, part);
    p.dda = flowi_carve(&cache, part);
    p.zt = flowi_carve(&cache, part);
    p.at = flowi_carve(&cache, part);
    p.zbar = flowi_carve(&cache, part);
    p.u = flowi_carve(&cache, (size_t)p.layer);
    p.v = cache;
    return p;
}

FLOW_API void flow_mlp_init(const flow_mlp *m, flow_real *theta, flow_rng *rng) {
    int i, l;
    FLOW_ASSERT(m->in > 0 && m->out > 0 && m->depth >= 0 && (m->depth == 0 || m->width > 0));
    for (l = 0; l <= m->depth; l++) {
        const flowi_layer s = flowi_mlp_layer(m, l);
        const flow_real bound = 1 / flowi_sqrt((flow_real)s.in);
        for (i = 0; i < (s.in + 1) * s.out; i++)
            theta[s.weight + i] = bound * (2 * flow_rng_uniform(rng) - 1);
    }
}

/* With z = a only the a_l are left, with da = NULL no phi'(z_l). y may be NULL: then the hidden
 * layers are all that is computed. */
static void flowi_mlp_forward(const flow_mlp *m, const flow_real *theta, flow_real *y,
                              const flow_real *x, int n, const flowi_mlp_parts *p) {
    int l;
    for (l = 0; l <= m->depth; l++) {
        const flowi_layer s = flowi_mlp_layer(m, l);
        const int at = l * p->layer;
        flow_real *z = l == m->depth ? y : p->z + at;
        if (!z) break;
        flowi_add_product(z, flowi_view_of(theta + s.bias, 0, 1, 0),
                          flowi_view_of(l == 0 ? x : p->a + at - p->layer, s.in, 1, 0),
                          flowi_view_of(theta + s.weight, s.in, 1, 1), n, s.out, s.in);
        if (l < m->depth)
            flow_activation(m->act, p->a + at, p->da ? p->da + at : NULL, NULL, z, p->layer);
    }
}

FLOW_API void flow_mlp_forward(const flow_mlp *m, const flow_real *theta, flow_real *y,
                               const flow_real *x, int n, flow_real *cache) {
    const flowi_mlp_parts p = flowi_mlp_split(m, cache, n);
    flowi_mlp_forward(m, theta, y, x, n, &p);
}

/* dW_l += dz_l' a_(l-1),  db_l += sum of dz_l over samples */
static void flowi_mlp_gradient(const flowi_layer *s, flow_real *dtheta, const flow_real *dz,
                               const flow_real *in, int n, int with_bias) {
    int i, j;
    if (!dtheta) return;
    flow_matmul(dtheta + s->weight, dz, 1, in, 0, s->out, s->in, n, 1);
    for (i = 0; i < n && with_bias; i++)
        for (j = 0; j < s->out; j++) dtheta[s->bias + j] += dz[i * s->out + j];
}

/* The reverse pass: da_(l-1) = dz_l W_l,  dz_l = phi'(z_l) da_l + zbar_l. zbar, which may be NULL,
 * is what reaches z_l from elsewhere: from the tangents, through phi''. */
static void flowi_mlp_reverse(const flow_mlp *m, const flow_real *theta, flow_real *dtheta,
                              flow_real *dx, const flow_real *dy, const flow_real *x, int n,
                              const flowi_mlp_parts *p, const flow_real *zbar) {
    const flow_real *dz = dy;
    int i, l;
    for (l = m->depth; l >= 0; l--) {
        const flowi_layer s = flowi_mlp_layer(m, l);
        flow_real *da = dz == p->u ? p->v : p->u;
        const flow_real *phi = p->da + (l - 1) * p->layer;
        const flow_real *more = zbar ? zbar + (l - 1) * p->layer : NULL;
        flowi_mlp_gradient(&s, dtheta, dz, l == 0 ? x : p->a + (l - 1) * p->layer, n, 1);
        if (l == 0 && dx) flow_matmul(dx, dz, 0, theta + s.weight, 0, n, s.in, s.out, 0);
        if (l == 0) break;
        flow_matmul(da, dz, 0, theta + s.weight, 0, n, s.in, s.out, 0);
        if (zbar)
            for (i = 0; i < p->layer; i++) da[i] = da[i] * phi[i] + more[i];
        else
            for (i = 0; i < p->layer; i++) da[i] *= phi[i];
        dz = da;
    }
}

FLOW_API void flow_mlp_backward(const flow_mlp *m, const flow_real *theta, flow_real *dtheta,
                                flow_real *dx, const flow_real *dy, const flow_real *x, int n,
                                flow_real *cache) {
    const flowi_mlp_parts p = flowi_mlp_split(m, cache, n);
    flowi_mlp_reverse(m, theta, dtheta, dx, dy, x, n, &p, NULL);
}

/* z'_l = W_l a'_(l-1),  a'_l = phi'(z_l) z'_l for k tangents together: their z'_l, [k*n*width], lie
 * at zt + l across, and at holds the a'_l of one layer. Where at is NULL no z' is left: a' takes
 * its place, and two layers take turns. jy may be NULL. */
static void flowi_mlp_push(const flow_mlp *m, const flow_real *theta, flow_real *jy,
                           const flow_real *s, int n, int k, const flowi_mlp_parts *p) {
    const flow_real *in = s;
    int i, j, l;
    for (l = 0; l <= m->depth; l++) {
        const flowi_layer shape = flowi_mlp_layer(m, l);
        const flow_real *phi = p->da + l * p->layer;
        flow_real *zt = l == m->depth ? jy : p->zt + (p->at ? l : l % 2) * p->across;
        flow_real *at = p->at ? p->at : zt;
        if (!zt) break;
        flow_matmul(zt, in, 0, theta + shape.weight, 1, k * n, shape.out, shape.in, 0);
        for (j = 0; j < k * p->layer && l < m->depth; j += p->layer)
            for (i = 0; i < p->layer; i++) at[j + i] = phi[i] * zt[j + i];
        in = at;
    }
}

/* As many tangents go together as there is scratch for two layers of them: what lies from zt on,
 * (3 depth + 2) n width reals. */
FLOW_API void flow_mlp_tangent(const flow_mlp *m, const flow_real *theta, flow_real *jy,
                               const flow_real *s, int n, int k, flow_real *cache) {
    flowi_mlp_parts p = flowi_mlp_split(m, cache, n);
    const int most = m->depth > 0 ? (3 * m->depth + 2) / 2 : k;
    int j;
    p.at = NULL;
    p.across = most * p.layer;
    for (j = 0; j < k; j += most)
        flowi_mlp_push(m, theta, jy + j * n * m->out, s + j * n * m->in, n, flowi_min(most, k - j),
                       &p);
}

/* a' = phi' z',  zbar += phi'' z' da',  dz' = phi' da', which takes the place of da', for the n
 * numbers of a layer. */
static void flowi_mlp_bend(flow_real *at, flow_real *zbar, flow_real *dat, const flow_real *zt,
                           const flow_real *da, const flow_real *dda, int n) {
    int i;
    for (i = 0; i < n; i++) at[i] = da[i] * zt[i];
    for (i = 0; i < n; i++) zbar[i] += dda[i] * zt[i] * dat[i];
    for (i = 0; i < n; i++) dat[i] *= da[i];
}

/* Back along one tangent, whose z'_l are given: dW_l += dz'_l' a'_(l-1),  da'_(l-1) = dz'_l W_l,
 * dz'_l = phi'(z_l) da'_l,  zbar_l += phi''(z_l) z'_l da'_l. */
static void flowi_mlp_pull(const flow_mlp *m, const flow_real *theta, flow_real *dtheta,
                           const flow_real *djy, const flow_real *s, int n,
                           const flowi_mlp_parts *p, const flow_real *zt) {
    const flow_real *dzt = djy;
    int l;
    for (l = m->depth; l >= 0; l--) {
        const flowi_layer shape = flowi_mlp_layer(m, l);
        const int below = (l - 1) * p->layer;
        flow_real *dat = dzt == p->u ? p->v : p->u;
        if (l > 0) {
            flow_matmul(dat, dzt, 0, theta + shape.weight, 0, n, shape.in, shape.out, 0);
            flowi_mlp_bend(p->at, p->zbar + below, dat, zt + (l - 1) * p->across, p->da + below,
                           p->dda + below, p->layer);
        }
        flowi_mlp_gradient(&shape, dtheta, dzt, l == 0 ? s : p->at, n, 0);
        dzt = dat;
    }
}

/* The reverse pass through k tangents together. With `pushed`, their z' are in p as flowi_mlp_push
 * left them; else they are computed again, one after the other. */
static void flowi_mlp_pull_all(const flow_mlp *m, const flow_real *theta, flow_real *dtheta,
                               flow_real *dx, const flow_real *dy, const flow_real *djy,
                               const flow_real *x, const flow_real *s, int n, int k,
                               const flowi_mlp_parts *p, int pushed) {
    int i, j;
    flowi_curve(m->act, p->dda, p->z, p->a, p->da, m->depth * p->layer);
    for (i = 0; i < m->depth * p->layer; i++) p->zbar[i] = 0;
    for (j = 0; j < k; j++) {
        const flow_real *sj = s + j * n * m->in;
        if (!pushed) flowi_mlp_push(m, theta, NULL, sj, n, 1, p);
        flowi_mlp_pull(m, theta, dtheta, djy + j * n * m->out, sj, n, p,
                       pushed ? p->zt + j * p->layer : p->zt);
    }
    flowi_mlp_reverse(m, theta, dtheta, dx, dy, x, n, p, p->zbar);
}

FLOW_API void flow_mlp_tangent_backward(const flow_mlp *m, const flow_real *theta,
                                        flow_real *dtheta, flow_real *dx, const flow_real *dy,
                                        const flow_real *djy, const flow_real *x,
                                        const flow_real *s, int n, int k, flow_real *cache) {
    const flowi_mlp_parts p = flowi_mlp_split(m, cache, n);
    flowi_mlp_pull_all(m, theta, dtheta, dx, dy, djy, x, s, n, k, &p, 0);
}

#define FLOWI_TANGENTS 8 /* as many tangents go through a network at once */

FLOW_API int flow_net_init(flow_net *net, int d, int cond, int width, int depth, int act,
                           int batch, flow_rng *rng) {
    const int in = d + 1 + cond;
    flow_real *block;
    size_t rows;
    int cache;
    FLOW_ASSERT(net && d > 0 && cond >= 0 && batch > 0);
    memset(net, 0, sizeof *net);
    net->d = d;
    net->cond = cond;
    net->batch = batch;
    net->mlp.in = in;
    net->mlp.width = width;
    net->mlp.depth = depth;
    net->mlp.out = d;
    net->mlp.act = act;
    rows = flowi_size(batch, in, 1);
    cache = flow_mlp_cache(&net->mlp, batch);
    net->params = flow_mlp_params(&net->mlp);
    if (net->params == INT_MAX || cache == INT_MAX || 1.0 * FLOWI_TANGENTS * batch * in > INT_MAX)
        return FLOW_E_MEMORY;
    block = flowi_new(2.0 * net->params + (2.0 + FLOWI_TANGENTS) * batch * in + 1.0 * batch * d +
                      cache + (double)FLOWI_LINE);
    if (!block) return FLOW_E_MEMORY;
    net->memory = block;
    net->theta = flowi_carve(&block, (size_t)net->params);
    net->grad = flowi_carve(&block, (size_t)net->params);
    net->in = flowi_carve(&block, rows);
    net->din = flowi_carve(&block, rows);
    net->s = flowi_carve(&block, FLOWI_TANGENTS * rows);
    net->v = flowi_carve(&block, flowi_size(batch, d, 1));
    net->cache = flowi_align(block);
    flow_mlp_init(&net->mlp, net->theta, rng);
    return FLOW_OK;
}

FLOW_API void flow_net_free(flow_net *net) {
    flow_release(net->memory);
    memset(net, 0, sizeof *net);
}

/* net->in: rows of x, t, c */
static void flowi_net_input(flow_net *net, const flow_real *x, const flow_real *t,
                            const flow_real *c, int n) {
    const int d = net->d, cond = net->cond, in = net->mlp.in;
    int i;
    FLOW_ASSERT(net->theta && n >= 0 && n <= net->batch && (c || cond == 0));
    for (i = 0; i < n; i++) {
        flowi_copy(net->in + i * in, x + i * d, d);
        net->in[i * in + d] = t[i];
        if (cond > 0) flowi_copy(net->in + i * in + d + 1, c + i * cond, cond);
    }
}

FLOW_API void flow_net_forward(flow_net *net, flow_real *v, const flow_real *x, const flow_real *t,
                               const flow_real *c, int n) {
    flowi_net_input(net, x, t, c, n);
    flow_mlp_forward(&net->mlp, net->theta, v, net->in, n, net->cache);
}

FLOW_API void flow_net_backward(flow_net *net, flow_real *dx, const flow_real *dv, int n) {
    const int d = net->d, in = net->mlp.in;
    int i;
    FLOW_ASSERT(net->theta && n >= 0 && n <= net->batch);
    flow_mlp_backward(&net->mlp, net->theta, net->grad, dx ? net->din : NULL, dv, net->in, n,
                      net->cache);
    for (i = 0; i < n && dx; i++) flowi_copy(dx + i * d, net->din + i * in, d);
}

/* Tangent rows of x alone: time and condition stand still. */
static void flowi_net_rows(flow_net *net, const flow_real *s, int n, int k) {
    const int d = net->d, in = net->mlp.in;
    int i;
    for (i = 0; i < k * n * in; i++) net->s[i] = 0;
    for (i = 0; i < k * n; i++) flowi_copy(net->s + i * in, s + i * d, d);
}

FLOW_API void flow_net_tangent(flow_net *net, flow_real *jv, const flow_real *s, int n, int k) {
    const int d = net->d;
    int j;
    FLOW_ASSERT(net->theta && n >= 0 && n <= net->batch);
    for (j = 0; j < k; j += FLOWI_TANGENTS) {
        const int m = flowi_min(FLOWI_TANGENTS, k - j);
        flowi_net_rows(net, s + j * n * d, n, m);
        flow_mlp_tangent(&net->mlp, net->theta, jv + j * n * d, net->s, n, m, net->cache);
    }
}

/* ---------------------------------------------------------------------------- 8 optimisers */

FLOW_API int flow_opt_init(flow_opt *o, int kind, flow_real rate, int count) {
    const double square = kind == FLOW_NATURAL ? 1.0 * count * count : 0;
    FLOW_ASSERT(o && kind >= FLOW_SGD && kind <= FLOW_NATURAL && count >= 0);
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->count = count;
    o->rate = rate;
    o->beta1 = FLOWI_R(0.9);
    o->beta2 = kind == FLOW_NATURAL ? FLOWI_R(0.995) : FLOWI_R(0.999);
    o->epsilon = kind == FLOW_NATURAL ? FLOWI_R(3e-4) : FLOWI_R(1e-8);
    if (kind == FLOW_SGD) return FLOW_OK;
    o->memory = o->m = flowi_new(2.0 * count + square);
    if (!o->m) return FLOW_E_MEMORY;
    if (kind != FLOW_MOMENTUM) o->v = o->m + count;
    if (kind == FLOW_NATURAL) o->inverse = o->v + count;
    return FLOW_OK;
}

FLOW_API void flow_opt_free(flow_opt *o) {
    flow_release(o->memory);
    memset(o, 0, sizeof *o);
}

/* b^step by repeated squaring, the same on every machine. */
static flow_real flowi_power(flow_real b, long step) {
    flow_real p = 1;
    for (; step > 0; step /= 2, b *= b)
        if (step % 2) p *= b;
    return p;
}

/* m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  theta <- theta - rate m^/(sqrt v^ + epsilon)
 * for n of the parameters, where m^ = m/(1 - b1^step) and v^ = v/(1 - b2^step). */
static inline void flowi_adam_part(const flow_opt *o, flow_real *FLOWI_RESTRICT theta,
                                   flow_real *FLOWI_RESTRICT m, flow_real *FLOWI_RESTRICT v,
                                   const flow_real *FLOWI_RESTRICT g, const flow_real *unbias,
                                   int n) {
    const flow_real b1 = o->beta1, b2 = o->beta2, rate = o->rate, epsilon = o->epsilon;
    const flow_real unbias1 = unbias[0], unbias2 = unbias[1];
    int j;
    for (j = 0; j < n; j++) {
        m[j] = b1 * m[j] + (1 - b1) * g[j];
        v[j] = b2 * v[j] + (1 - b2) * g[j] * g[j];
        theta[j] -= rate * (m[j] * unbias1) / (flowi_sqrt(v[j] * unbias2) + epsilon);
    }
}

/* Block after block, since a loop of known length is the better vector code. */
static void flowi_adam(flow_opt *o, flow_real *theta, const flow_real *grad) {
    flow_real unbias[2];
    int i;
    unbias[0] = 1 / (1 - flowi_power(o->beta1, o->step));
    unbias[1] = 1 / (1 - flowi_power(o->beta2, o->step));
#ifdef _OPENMP
#pragma omp parallel for if (o->count > 65536)
#endif
    for (i = 0; i < o->count; i += FLOWI_BLOCK) {
        flow_real *m = o->m + i, *v = o->v + i;
        if (o->count - i >= FLOWI_BLOCK)
            flowi_adam_part(o, theta + i, m, v, grad + i, unbias, FLOWI_BLOCK);
        else
            flowi_adam_part(o, theta + i, m, v, grad + i, unbias, o->count - i);
    }
}

/* u = F^-1 g, for which v has room. Returns g'u; F^-1 begins as I/eps. */
static flow_real flowi_natural_direction(flow_opt *o, const flow_real *grad) {
    const int n = o->count;
    flow_real *row = o->inverse, *u = o->v;
    int i, j;
    for (i = 0; i < n; i++) u[i] = 0;
    for (j = 0; j < n; j++, row += n) {
        for (i = 0; i < n && o->step == 0; i++) row[i] = i == j ? 1 / o->epsilon : 0;
        for (i = 0; i < n; i++) u[i] += grad[j] * row[i];
    }
    return flowi_dot(grad, u, n);
}

/* P = F^-1 when F becomes keep F + w g g', by u = P g and gu = g'u [Sherman and Morrison 1950]:
 * P <- (P - w u u'/(keep + w gu))/keep. Leaves another u. */
static void flowi_natural_add(flow_opt *o, flow_real gu, flow_real keep, flow_real w) {
    const flow_real root = flowi_sqrt(w / (keep + w * gu)), grow = 1 / keep;
    const int n = o->count;
    flow_real *row = o->inverse, *u = o->v;
    int i, j;
    for (i = 0; i < n; i++) u[i] *= root; /* u_i u_j then keeps P symmetric to the last bit */
    for (j = 0; j < n; j++, row += n)
        for (i = 0; i < n; i++) row[i] = (row[i] - u[j] * u[i]) * grow;
}

/* The inverse follows F at the cost of its n^2 numbers, where a new one would take n^3 operations.
 * Of eps I each step adds one coordinate's share, n times as large: a product e_i e_i' like the
 * gradient's. */
static void flowi_natural(flow_opt *o, flow_real *theta, flow_real gu) {
    const flow_real b1 = o->beta1, b2 = o->beta2, unbias = 1 / (1 - flowi_power(b1, o->step));
    const int n = o->count, turn = (int)(o->step % n);
    int i;
    for (i = 0; i < n; i++) { /* with F as it now becomes, F^-1 g = u/(b2 + (1-b2) g'u) */
        o->m[i] = b1 * o->m[i] + (1 - b1) * o->v[i] / (b2 + (1 - b2) * gu);
        theta[i] -= o->rate * unbias * o->m[i];
    }
    flowi_natural_add(o, gu, b2, 1 - b2);
    flowi_copy(o->v, o->inverse + (size_t)turn * (size_t)n, n);
    flowi_natural_add(o, o->v[turn], 1, (1 - b2) * (flow_real)n * o->epsilon);
}

FLOW_API int flow_opt_step(flow_opt *o, flow_real *theta, flow_real *grad) {
    flow_real gu = 0;
    int i;
    if (!flowi_all_finite(grad, o->count)) return FLOW_E_FINITE;
    if (o->kind == FLOW_NATURAL) gu = flowi_natural_direction(o, grad);
    if (!(gu >= 0) || !flowi_finite(gu)) return FLOW_E_FINITE;
    o->step++;
    for (i = 0; i < o->count && o->decay > 0; i++) theta[i] -= o->rate * o->decay * theta[i];
    if (o->kind == FLOW_ADAM) {
        flowi_adam(o, theta, grad);
    } else if (o->kind == FLOW_NATURAL && o->count > 0) {
        flowi_natural(o, theta, gu);
    } else if (o->kind == FLOW_MOMENTUM) {
        for (i = 0; i < o->count; i++) {
            o->m[i] = o->beta1 * o->m[i] + grad[i];
            theta[i] -= o->rate * o->m[i];
        }
    } else {
        for (i = 0; i < o->count; i++) theta[i] -= o->rate * grad[i];
    }
    for (i = 0; i < o->count; i++) grad[i] = 0;
    return FLOW_OK;
}

FLOW_API flow_real flow_schedule_cosine(long step, long total) {
    if (step >= total) return 0;
    if (step <= 0) return 1;
    return (1 + flowi_cos(FLOWI_PI * (flow_real)step / (flow_real)total)) / 2;
}

FLOW_API flow_real flow_schedule_warmup(long step, long warmup) {
    return step + 1 >= warmup ? 1 : (flow_real)(step + 1) / (flow_real)warmup;
}

/* |x/scale|, where scale is 1 unless squares would overflow or vanish: then the largest of x. */
static flow_real flowi_scaled_norm(const flow_real *x, int n, flow_real *scale) {
    const flow_real squares = flowi_dot(x, x, n);
    flow_real most = 0, sum = 0;
    int i;
    *scale = 1;
    if (squares > FLOWI_R(1e-30) && flowi_finite(squares)) return flowi_sqrt(squares);
    for (i = 0; i < n; i++) most = flowi_fabs(x[i]) > most ? flowi_fabs(x[i]) : most;
    if (!(most > 0) || !flowi_finite(most)) return flowi_sqrt(squares);
    *scale = most;
    for (i = 0; i < n; i++) sum += x[i] / most * (x[i] / most);
    return flowi_sqrt(sum);
}

FLOW_API flow_real flow_clip_norm(flow_real *grad, flow_real limit, int count) {
    flow_real scale;
    const flow_real length = flowi_scaled_norm(grad, count, &scale), norm = scale * length;
    int i;
    FLOW_ASSERT(limit > 0);
    for (i = 0; i < count && norm > limit; i++) grad[i] = grad[i] / scale * (limit / length);
    return norm;
}

FLOW_API void flow_ema_update(flow_real *average, const flow_real *theta, flow_real decay,
                              int count) {
    int i;
    for (i = 0; i < count; i++) average[i] += (1 - decay) * (theta[i] - average[i]);
}

/* --------------------------------------------------------------------------- 9 ODE solvers */

#define FLOWI_Q(p, q) ((flow_real)(p) / (flow_real)(q))

static const flow_tableau flowi_tableaux[FLOW_ODE_COUNT] = {
    {"euler", 1, 1, {{0}}, {1}, {0}, {0}, {0}},
    {"midpoint", 2, 2, {{0}, {FLOWI_Q(1, 2)}}, {0, 1}, {0, FLOWI_Q(1, 2)}, {0}, {0}},
    {"heun", 2, 2, {{0}, {1}}, {FLOWI_Q(1, 2), FLOWI_Q(1, 2)}, {0, 1}, {0}, {0}},
    {"rk4", 4, 4,
     {{0}, {FLOWI_Q(1, 2)}, {0, FLOWI_Q(1, 2)}, {0, 0, 1}},
     {FLOWI_Q(1, 6), FLOWI_Q(1, 3), FLOWI_Q(1, 3), FLOWI_Q(1, 6)},
     {0, FLOWI_Q(1, 2), FLOWI_Q(1, 2), 1},
     {0},
     {0}},
    {"dopri5", 5, 6,
     {{0},
      {FLOWI_Q(1, 5)},
      {FLOWI_Q(3, 40), FLOWI_Q(9, 40)},
      {FLOWI_Q(44, 45), FLOWI_Q(-56, 15), FLOWI_Q(32, 9)},
      {FLOWI_Q(19372, 6561), FLOWI_Q(-25360, 2187), FLOWI_Q(64448, 6561), FLOWI_Q(-212, 729)},
      {FLOWI_Q(9017, 3168), FLOWI_Q(-355, 33), FLOWI_Q(46732, 5247), FLOWI_Q(49, 176),
       FLOWI_Q(-5103, 18656)}},
     {FLOWI_Q(35, 384), 0, FLOWI_Q(500, 1113), FLOWI_Q(125, 192), FLOWI_Q(-2187, 6784),
      FLOWI_Q(11, 84)},
     {0, FLOWI_Q(1, 5), FLOWI_Q(3, 10), FLOWI_Q(4, 5), FLOWI_Q(8, 9), 1},
     {FLOWI_Q(71, 57600), 0, FLOWI_Q(-71, 16695), FLOWI_Q(71, 1920), FLOWI_Q(-17253, 339200),
      FLOWI_Q(22, 525), FLOWI_Q(-1, 40)},
     {FLOWI_Q(-12715105075.0, 11282082432.0), 0, FLOWI_Q(87487479700.0, 32700410799.0),
      FLOWI_Q(-10690763975.0, 1880347072.0), FLOWI_Q(701980252875.0, 199316789632.0),
      FLOWI_Q(-1453857185.0, 822651844.0), FLOWI_Q(69997945.0, 29380423.0)}},
};

FLOW_API const flow_tableau *flow_ode_tableau(int method) {
    FLOW_ASSERT(method >= 0 && method < FLOW_ODE_COUNT);
    return &flowi_tableaux[method];
}

FLOW_API int flow_ode_init(flow_ode *s, int method, int capacity) {
    FLOW_ASSERT(s && capacity > 0);
    memset(s, 0, sizeof *s);
    s->tableau = flow_ode_tableau(method);
    s->capacity = capacity;
    s->atol = s->rtol = sizeof(flow_real) == sizeof(double) ? FLOWI_R(1e-6) : FLOWI_R(1e-4);
    s->most = 100000;
    s->k = flowi_new((s->tableau->stages + 2.0) * capacity);
    if (!s->k) return FLOW_E_MEMORY;
    s->x = s->k + flowi_size(s->tableau->stages + 1, capacity, 1);
    return FLOW_OK;
}

FLOW_API void flow_ode_free(flow_ode *s) {
    flow_release(s->k);
    memset(s, 0, sizeof *s);
}

/* s->x = x + h sum_(j < count) w_j k_j: a stage's point, or with w = b the end of the step. */
static void flowi_ode_combine(flow_ode *s, const flow_real *x, const flow_real *w, int count,
                              flow_real h, int n) {
    int i, j;
    flowi_copy(s->x, x, n);
    for (j = 0; j < count; j++) {
        const flow_real *k = s->k + (size_t)j * (size_t)n, hw = h * w[j];
        if (w[j] < 0 || w[j] > 0)
            for (i = 0; i < n; i++) s->x[i] += hw * k[i];
    }
}

FLOW_API int flow_ode_step(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t,
                           flow_real h, int n) {
    const flow_tableau *b = s->tableau;
    int i, err;
    FLOW_ASSERT(s->k && f && n >= 0 && n <= s->capacity);
    for (i = 0; i < b->stages; i++) {
        flowi_ode_combine(s, x, b->a[i], i, h, n);
        err = f(ctx, s->k + (size_t)i * (size_t)n, s->x, t + b->c[i] * h);
        s->evals++;
        if (err < 0) return err;
    }
    flowi_ode_combine(s, x, b->b, b->stages, h, n);
    if (!flowi_all_finite(s->x, n)) return FLOW_E_FINITE;
    flowi_copy(x, s->x, n);
    return FLOW_OK;
}

/* Is `time` later than t in the direction of h? */
static int flowi_ode_beyond(flow_real time, flow_real t, flow_real h) {
    return (h > 0 && time > t) || (h < 0 && time < t);
}

/* The last step, from t to t1. Rounded up, t + h would lie beyond t1, where f need not exist. */
static flow_real flowi_ode_last(flow_real t, flow_real t1) {
    const flow_real h = t1 - t;
    return flowi_ode_beyond(t + h, t1, h) ? h * (1 - FLOWI_EPS) : h;
}

/* Where step k of equal steps from t0 to t1 begins, and its length *h. */
static flow_real flowi_ode_time(flow_real *h, flow_real t0, flow_real t1, int k, int steps) {
    const flow_real span = t1 - t0, t = t0 + span * (flow_real)k / (flow_real)steps;
    *h = k + 1 < steps ? t0 + span * (flow_real)(k + 1) / (flow_real)steps - t
                       : flowi_ode_last(t, t1);
    return t;
}

FLOW_API int flow_ode_solve(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t0,
                            flow_real t1, int steps, int n) {
    const flow_real span = t1 - t0;
    int k, err;
    if (steps < 1) return FLOW_E_EMPTY;
    if (!flowi_finite(span) || !flowi_all_finite(x, n)) return FLOW_E_FINITE;
    for (k = 0; k < steps && (span < 0 || span > 0); k++) {
        flow_real h;
        const flow_real t = flowi_ode_time(&h, t0, t1, k, steps);
        err = flow_ode_step(s, f, ctx, x, t, h, n);
        if (err < 0) return err;
    }
    return FLOW_OK;
}

/* k_1 = f(x, t) is in s->k; the other stages, the new point in s->x and k_7 = f there. */
static int flowi_ode_try(flow_ode *s, flow_ode_fn f, void *ctx, const flow_real *x, flow_real t,
                         flow_real h, int n) {
    const flow_tableau *b = s->tableau;
    int i, err;
    for (i = 1; i <= b->stages; i++) {
        const int last = i == b->stages;
        flowi_ode_combine(s, x, last ? b->b : b->a[i], i, h, n);
        err = f(ctx, s->k + (size_t)i * (size_t)n, s->x, t + (last ? 1 : b->c[i]) * h);
        s->evals++;
        if (err < 0) return err;
    }
    return FLOW_OK;
}

/* sqrt(mean (v_i/(atol + rtol |x_i|))^2) */
static flow_real flowi_ode_norm(const flow_ode *s, const flow_real *v, const flow_real *x, int n) {
    flow_real sum = 0;
    int i;
    for (i = 0; i < n; i++) {
        const flow_real r = v[i] / (s->atol + s->rtol * flowi_fabs(x[i]));
        sum += r * r;
    }
    return n > 0 ? flowi_sqrt(sum / (flow_real)n) : 0;
}

/* The norm of the error h sum_j e_j k_j of the step just tried, x -> s->x. */
static flow_real flowi_ode_error(const flow_ode *s, const flow_real *x, flow_real h, int n) {
    const flow_tableau *b = s->tableau;
    flow_real sum = 0;
    int i, j;
    for (i = 0; i < n; i++) {
        const flow_real ax = flowi_fabs(x[i]), ay = flowi_fabs(s->x[i]);
        flow_real e = 0;
        for (j = 0; j <= b->stages; j++) e += b->e[j] * s->k[(size_t)j * (size_t)n + (size_t)i];
        if (e < 0 || e > 0) e *= h / (s->atol + s->rtol * (ax > ay ? ax : ay)); /* never 0/0 */
        sum += e * e;
    }
    return n > 0 ? flowi_sqrt(sum / (flow_real)n) : 0;
}

/* A first step that moves x by about a hundredth of its scale. */
static flow_real flowi_ode_first(const flow_ode *s, const flow_real *x, flow_real span, int n) {
    const flow_real d0 = flowi_ode_norm(s, x, x, n), d1 = flowi_ode_norm(s, s->k, x, n);
    const flow_real h = d0 > FLOWI_R(1e-5) && d1 > FLOWI_R(1e-5)
                            ? d0 / (100 * d1)
                            : FLOWI_R(1e-6) * flowi_fabs(span);
    return flowi_copysign(h < flowi_fabs(span) ? h : flowi_fabs(span), span);
}

/* The solution at t + theta h inside the step x -> s->x:
 * x + theta (y + (1 - theta)(r + theta (y - r - h k_7 - r + (1 - theta) h sum d_j k_j))) with
 * y = (x after) - x, r = h k_1 - y. */
static void flowi_ode_dense(const flow_ode *s, flow_real *out, const flow_real *x, flow_real h,
                            flow_real theta, int n) {
    const flow_tableau *b = s->tableau;
    const flow_real *k7 = s->k + (size_t)b->stages * (size_t)n;
    int i, j;
    for (i = 0; i < n; i++) {
        const flow_real y = s->x[i] - x[i], r = h * s->k[i] - y, q = y - h * k7[i] - r;
        flow_real p = 0;
        for (j = 0; j <= b->stages; j++) p += b->d[j] * s->k[(size_t)j * (size_t)n + (size_t)i];
        out[i] = x[i] + theta * (y + (1 - theta) * (r + theta * (q + (1 - theta) * h * p)));
    }
}

/* By how much the next step is longer: 0.9 error^(-1/5) between 0.2 and 5. */
static flow_real flowi_ode_factor(flow_real error) {
    const flow_real factor = error > 0 ? FLOWI_R(0.9) * flowi_exp(-flowi_log(error) / 5) : 5;
    if (!flowi_finite(error) || factor < FLOWI_R(0.2)) return FLOWI_R(0.2);
    return factor < 5 ? factor : 5;
}

/* k_1 at the start, and the length of a first step. */
static int flowi_ode_begin(flow_ode *s, flow_ode_fn f, void *ctx, const flow_real *x, flow_real t,
                           flow_real span, flow_real *h, int n) {
    const int err = f(ctx, s->k, x, t);
    s->evals++;
    if (err < 0) return err;
    if (!flowi_all_finite(s->k, n)) return FLOW_E_FINITE;
    *h = flowi_ode_first(s, x, span, n);
    return FLOW_OK;
}

/* The solution at those of times[m] that the step x -> s->x from t to t + h has reached; the last
 * step reaches all. Returns their number. */
static int flowi_ode_report(const flow_ode *s, flow_real *out, const flow_real *times, int m,
                            const flow_real *x, flow_real t, flow_real h, int last, int n) {
    int i;
    for (i = 0; i < m && (last || !flowi_ode_beyond(times[i], t + h, h)); i++)
        flowi_ode_dense(s, out + (size_t)i * (size_t)n, x, h, (times[i] - t) / h, n);
    return i;
}

/* x <- s->x, and k_7 of this step is k_1 of the next. */
static void flowi_ode_accept(flow_ode *s, flow_real *x, int n) {
    s->accepted++;
    flowi_copy(x, s->x, n);
    flowi_copy(s->k, s->k + (size_t)s->tableau->stages * (size_t)n, n);
}

FLOW_API int flow_ode_adapt(flow_ode *s, flow_ode_fn f, void *ctx, flow_real *x, flow_real t0,
                            flow_real t1, int n, flow_real *out, const flow_real *times, int m) {
    const flow_real span = t1 - t0, size = flowi_fabs(t0) > flowi_fabs(t1) ? t0 : t1;
    const flow_real least = s->least > 0 ? s->least : 16 * FLOWI_EPS * flowi_fabs(size);
    flow_real t = t0, h = span, error, factor;
    int err, done = 0, last, refused = 0;
    long tries;
    FLOW_ASSERT(s->k && s->tableau->e[0] > 0 && n >= 0 && n <= s->capacity);
    if (!flowi_finite(span) || !flowi_all_finite(x, n)) return FLOW_E_FINITE;
    for (; done < m && !flowi_ode_beyond(times[done], t0, span); done++)
        flowi_copy(out + (size_t)done * (size_t)n, x, n);
    if (!(span < 0 || span > 0)) return FLOW_OK;
    err = flowi_ode_begin(s, f, ctx, x, t, span, &h, n);
    for (tries = 0; tries < s->most && err >= 0; tries++) {
        if (flowi_fabs(h) < least) h = flowi_copysign(least, span);
        last = flowi_fabs(h) >= flowi_fabs(t1 - t);
        if (last) h = flowi_ode_last(t, t1);
        err = flowi_ode_try(s, f, ctx, x, t, h, n);
        if (err < 0) return err;
        error = flowi_ode_error(s, x, h, n);
        factor = flowi_ode_factor(error);
        if (error <= 1 && !flowi_all_finite(s->x, n)) return FLOW_E_FINITE;
        if (error <= 1) {
            if (done < m)
                done += flowi_ode_report(s, out + (size_t)done * (size_t)n, times + done, m - done,
                                         x, t, h, last, n);
            flowi_ode_accept(s, x, n);
            if (last) return FLOW_OK;
            t += h;
        } else {
            s->rejected++;
            if (factor * flowi_fabs(h) < least)
                return error >= 0 && flowi_all_finite(s->x, n) ? FLOW_E_CONVERGE : FLOW_E_FINITE;
        }
        h *= refused && factor > 1 ? 1 : factor;
        refused = !(error <= 1);
    }
    return err < 0 ? err : FLOW_E_CONVERGE;
}

/* The reverse of a step whose stages were evaluated at point[stages*n]; w: [stages*n]. */
static int flowi_ode_stages_backward(flow_ode *s, flow_ode_vjp_fn vjp, void *ctx,
                                     flow_real *lambda, const flow_real *point, flow_real t,
                                     flow_real h, int n, flow_real *w) {
    const flow_tableau *b = s->tableau;
    int i, j, l, err;
    for (i = b->stages - 1; i >= 0; i--) {
        for (l = 0; l < n; l++) s->x[l] = h * b->b[i] * lambda[l];
        for (j = i + 1; j < b->stages; j++)
            for (l = 0; l < n; l++)
                s->x[l] += h * b->a[j][i] * w[(size_t)j * (size_t)n + (size_t)l];
        err = vjp(ctx, w + (size_t)i * (size_t)n, s->x, point + (size_t)i * (size_t)n,
                  t + b->c[i] * h);
        if (err < 0) return err;
    }
    for (i = 0; i < b->stages; i++)
        for (l = 0; l < n; l++) lambda[l] += w[(size_t)i * (size_t)n + (size_t)l];
    return flowi_all_finite(lambda, n) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_ode_step_backward(flow_ode *s, flow_ode_fn f, flow_ode_vjp_fn vjp, void *ctx,
                                    flow_real *lambda, const flow_real *x, flow_real t,
                                    flow_real h, int n, flow_real *work) {
    const flow_tableau *b = s->tableau;
    flow_real *point = work, *w = work + (size_t)b->stages * (size_t)n;
    int i, err;
    FLOW_ASSERT(s->k && f && vjp && n >= 0 && n <= s->capacity);
    for (i = 0; i < b->stages; i++) { /* the stages' points again */
        flowi_ode_combine(s, x, b->a[i], i, h, n);
        flowi_copy(point + (size_t)i * (size_t)n, s->x, n);
        if (i + 1 == b->stages) break;
        err = f(ctx, s->k + (size_t)i * (size_t)n, s->x, t + b->c[i] * h);
        s->evals++;
        if (err < 0) return err;
    }
    return flowi_ode_stages_backward(s, vjp, ctx, lambda, point, t, h, n, w);
}

/* --------------------------------------------------------------------- 10 continuous flows */

FLOW_API flow_field flow_field_of(int d, int (*velocity)(void *ctx, flow_real *v,
                                                         const flow_real *x, const flow_real *t,
                                                         int n),
                                  void *ctx) {
    flow_field f;
    FLOW_ASSERT(d > 0 && velocity);
    memset(&f, 0, sizeof f);
    f.d = d;
    f.velocity = velocity;
    f.ctx = ctx;
    return f;
}

/* Only a_l is left in the cache: enough for v, with half the writing. */
static int flowi_net_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t,
                              int n) {
    flow_net *net = (flow_net *)ctx;
    int i;
    for (i = 0; i < n; i += net->batch) {
        const int m = flowi_min(net->batch, n - i);
        flowi_mlp_parts p = flowi_mlp_split(&net->mlp, net->cache, m);
        p.z = p.a;
        p.da = NULL;
        flowi_net_input(net, x + i * net->d, t + i, NULL, m);
        flowi_mlp_forward(&net->mlp, net->theta, v + i * net->d, net->in, m, &p);
    }
    return FLOW_OK;
}

/* phi'' of these asks for z; for the others a and phi' are enough: a has the sign of z. */
static int flowi_act_wants_z(int act) {
    return act == FLOW_SILU || act == FLOW_LIPSWISH;
}

/* a and phi' of every layer, z where it is wanted, and z' of every layer and tangent */
static int flowi_net_keeps(void *ctx, int k) {
    const flow_mlp *m = &((const flow_net *)ctx)->mlp;
    return (2 + flowi_act_wants_z(m->act) + k) * m->depth * m->width;
}

/* The parts of kept, or of the cache where kept is NULL. The way there writes them in place and the
 * way back reads them there: copied, they would cost as much as they save. The cache is then free
 * for the a' of all tangents that go together. */
static flowi_mlp_parts flowi_net_parts(const flow_net *net, flow_real *kept, int n) {
    flowi_mlp_parts p = flowi_mlp_split(&net->mlp, net->cache, n);
    const size_t part = flowi_size(net->mlp.depth, p.layer, 1);
    if (!kept) return p;
    p.a = p.z = flowi_carve(&kept, part);
    p.da = flowi_carve(&kept, part);
    if (flowi_act_wants_z(net->mlp.act)) p.z = flowi_carve(&kept, part);
    p.zt = kept;
    p.at = net->cache;
    return p;
}

/* v and jv of one batch, and in kept all that the way back needs. The z' of tangents that go
 * together lie side by side, layer after layer. */
static void flowi_net_record(flow_net *net, flow_real *v, flow_real *jv, const flow_real *x,
                             const flow_real *t, const flow_real *s, int n, int k,
                             flow_real *kept) {
    flowi_mlp_parts p = flowi_net_parts(net, kept, n);
    const int d = net->d;
    int j;
    flowi_net_input(net, x, t, NULL, n);
    flowi_mlp_forward(&net->mlp, net->theta, v, net->in, n, &p);
    for (j = 0; j < k; j += FLOWI_TANGENTS, p.zt += net->mlp.depth * p.across) {
        const int m = flowi_min(FLOWI_TANGENTS, k - j);
        p.across = m * p.layer;
        flowi_net_rows(net, s + j * n * d, n, m);
        flowi_mlp_push(&net->mlp, net->theta, jv + j * n * d, net->s, n, m, &p);
    }
}

static int flowi_net_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                             const flow_real *t, const flow_real *s, int n, int k,
                             flow_real *kept) {
    flow_net *net = (flow_net *)ctx;
    const int d = net->d;
    int i, j;
    if (kept) flowi_net_record(net, v, jv, x, t, s, n, k, kept);
    for (i = 0; i < n && !kept; i += net->batch) {
        const int m = flowi_min(net->batch, n - i);
        flow_net_forward(net, v + i * d, x + i * d, t + i, NULL, m);
        if (m == n) flow_net_tangent(net, jv, s, n, k); /* all tangents at once are faster */
        for (j = 0; j < k && m < n; j++)
            flow_net_tangent(net, jv + (j * n + i) * d, s + (j * n + i) * d, m, 1);
    }
    return FLOW_OK;
}

/* A batch and up to FLOWI_TANGENTS tangents at once; dv's own share goes with the first of them. */
static void flowi_net_pull(flow_net *net, flow_real *dx, const flow_real *dv, const flow_real *djv,
                           const flow_real *s, int n, int k, const flowi_mlp_parts *p,
                           int pushed) {
    const int d = net->d, in = net->mlp.in;
    int i, j;
    flowi_net_rows(net, s, n, k);
    flowi_mlp_pull_all(&net->mlp, net->theta, net->grad, net->din, dv, djv, net->in, net->s, n, k,
                       p, pushed);
    for (i = 0; i < n; i++)
        for (j = 0; j < d; j++) dx[i * d + j] += net->din[i * in + j];
}

static int flowi_net_backward(void *ctx, flow_real *dx, const flow_real *dv, const flow_real *djv,
                              const flow_real *x, const flow_real *t, const flow_real *s, int n,
                              int k, flow_real *kept) {
    flow_net *net = (flow_net *)ctx;
    flowi_mlp_parts p = flowi_net_parts(net, kept, n);
    const int d = net->d;
    int i, j;
    flowi_net_input(net, x, t, NULL, n);
    if (!kept) flowi_mlp_forward(&net->mlp, net->theta, NULL, net->in, n, &p);
    for (i = 0; i < n * d; i++) dx[i] = net->v[i] = 0;
    for (j = 0; j == 0 || j < k; j += FLOWI_TANGENTS) {
        const int m = flowi_min(FLOWI_TANGENTS, k - j);
        if (kept) p.across = m * p.layer;
        flowi_net_pull(net, dx, j == 0 ? dv : net->v, djv + j * n * d, s + j * n * d, n, m, &p,
                       kept != NULL);
        if (kept) p.zt += net->mlp.depth * p.across;
    }
    return FLOW_OK;
}

FLOW_API flow_field flow_net_field(flow_net *net) {
    flow_field f = flow_field_of(net->d, flowi_net_velocity, net);
    FLOW_ASSERT(net->cond == 0);
    f.keeps = flowi_net_keeps;
    f.tangent = flowi_net_tangent;
    f.backward = flowi_net_backward;
    f.grad = net->grad;
    f.params = net->params;
    return f;
}

static int flowi_cnf_init(flow_cnf *c, flow_field field, int method, int steps, int batch,
                          int tangents, int together) {
    const size_t points = flowi_size(batch, field.d, 1);
    const double reals = (2.0 * together + 6) * batch * field.d + 3.0 * batch;
    flow_real *block;
    int err;
    FLOW_ASSERT(c && field.velocity && field.d > 0 && batch > 0 && tangents > 0);
    memset(c, 0, sizeof *c);
    c->field = field;
    c->steps = steps;
    c->batch = batch;
    c->tangents = tangents;
    c->together = together;
    if (1.0 * together * batch * (field.d + 1.0) > INT_MAX) return FLOW_E_MEMORY;
    err = flow_ode_init(&c->ode, method, batch * (field.d + 1));
    if (err < 0) return err;
    block = flowi_new(reals);
    if (!block) {
        flow_ode_free(&c->ode);
        return FLOW_E_MEMORY;
    }
    c->memory = block;
    c->bytes = sizeof(flow_real) *
               ((size_t)reals + flowi_size(c->ode.tableau->stages + 2, c->ode.capacity, 1));
    c->state = flowi_carve(&block, points + (size_t)batch);
    c->t = flowi_carve(&block, (size_t)batch);
    c->basis = flowi_carve(&block, (size_t)together * points);
    c->jv = flowi_carve(&block, (size_t)together * points);
    c->v = flowi_carve(&block, points);
    c->xh = flowi_carve(&block, 3 * points);
    c->point = flowi_carve(&block, points);
    c->gained = block;
    return FLOW_OK;
}

FLOW_API int flow_cnf_init(flow_cnf *c, flow_field field, int method, int steps, int batch) {
    return flowi_cnf_init(c, field, method, steps, batch, field.d,
                          flowi_min(field.d, FLOWI_TANGENTS));
}

FLOW_API int flow_cnf_init_hutchinson(flow_cnf *c, flow_field field, int method, int steps,
                                      int batch, int kind, int probes, flow_rng *rng) {
    int err;
    FLOW_ASSERT((kind == FLOW_RADEMACHER || kind == FLOW_GAUSSIAN) && rng);
    if (probes < 1) return FLOW_E_EMPTY;
    err = flowi_cnf_init(c, field, method, steps, batch, probes, probes);
    if (err < 0) return err;
    c->divergence = kind;
    c->rng = rng;
    return FLOW_OK;
}

FLOW_API void flow_cnf_free(flow_cnf *c) {
    flow_ode_free(&c->ode);
    flow_ode_free(&c->reverse);
    flow_release(c->memory);
    flow_release(c->training);
    memset(c, 0, sizeof *c);
}

/* (dv/dx) s = [v(x + h s) - v(x - h s)]/(2h), with h about the cube root of eps. */
static int flowi_cnf_differences(flow_cnf *c, flow_real *jv, const flow_real *x,
                                 const flow_real *s, int n, int k) {
    const int count = n * c->field.d;
    flow_real *xh = c->xh, *v1 = xh + c->batch * c->field.d, *v0 = v1 + c->batch * c->field.d;
    const flow_real h = sizeof(flow_real) == sizeof(double) ? FLOWI_R(6e-6) : FLOWI_R(5e-3);
    int i, j, err;
    for (j = 0; j < k; j++, s += count, jv += count) {
        for (i = 0; i < count; i++) xh[i] = x[i] + h * s[i];
        err = c->field.velocity(c->field.ctx, v1, xh, c->t, n);
        if (err < 0) return err;
        for (i = 0; i < count; i++) xh[i] = x[i] - h * s[i];
        err = c->field.velocity(c->field.ctx, v0, xh, c->t, n);
        if (err < 0) return err;
        for (i = 0; i < count; i++) jv[i] = (v1[i] - v0[i]) / (2 * h);
    }
    return FLOW_OK;
}

/* The tangents s_j of n samples: probes, or e_j for j from `first` on, so that
 * basis[(j*n + i)*d + l] = 1 where l = first + j. */
static void flowi_cnf_basis(flow_cnf *c, int n, int first) {
    const int d = c->field.d;
    int i;
    if (c->divergence == FLOW_GAUSSIAN) {
        for (i = 0; i < c->tangents; i++) flow_normal_sample(c->rng, c->basis + i * n * d, n, d);
    } else if (c->divergence == FLOW_RADEMACHER) {
        flowi_signs(c->basis, c->rng, c->together * n * d);
    } else {
        flowi_unit_tangents(c->basis, first, c->together, n, d);
    }
}

/* Each tangent's share of the divergence: the exact one sums them, Hutchinson's is their mean. */
static flow_real flowi_cnf_share(const flow_cnf *c) {
    return c->divergence == FLOW_EXACT ? 1 : 1 / (flow_real)c->tangents;
}

/* v and jv[k*n*d] = (dv/dx)s for the first k tangents of the basis, at x[n*d]. */
static int flowi_cnf_tangents(flow_cnf *c, flow_real *v, const flow_real *x, int n, int k) {
    const flow_field *f = &c->field;
    int err;
    if (f->tangent) return f->tangent(f->ctx, v, c->jv, x, c->t, c->basis, n, k, c->here);
    err = f->velocity(f->ctx, v, x, c->t, n);
    return err < 0 ? err : flowi_cnf_differences(c, c->jv, x, c->basis, n, k);
}

/* v and div v = share sum_j s_j'(dv/dx)s_j at x[n*d], times c->t[n], basis made for n. Of more
 * tangents than go together, group after group. */
static int flowi_cnf_divergence(flow_cnf *c, flow_real *v, flow_real *div, const flow_real *x,
                                int n) {
    const int d = c->field.d;
    const flow_real share = flowi_cnf_share(c);
    int i, j, k;
    for (i = 0; i < n; i++) div[i] = 0;
    for (k = 0; k < c->tangents; k += c->together) {
        const int group = flowi_min(c->together, c->tangents - k);
        int err;
        if (c->together < c->tangents) flowi_cnf_basis(c, n, k);
        err = flowi_cnf_tangents(c, v, x, n, group);
        if (err < 0) return err;
        for (i = 0; i < n; i++)
            for (j = 0; j < group; j++)
                div[i] += share * flowi_dot(c->basis + (j * n + i) * d, c->jv + (j * n + i) * d, d);
    }
    return FLOW_OK;
}

FLOW_API int flow_cnf_divergence(flow_cnf *c, flow_real *v, flow_real *div, const flow_real *x,
                                 const flow_real *t, int n) {
    const int d = c->field.d;
    int i, err;
    for (i = 0; i < n; i += c->batch) {
        const int m = flowi_min(c->batch, n - i);
        flowi_copy(c->t, t + i, m);
        flowi_cnf_basis(c, m, 0);
        err = flowi_cnf_divergence(c, v ? v + i * d : c->v, div + i, x + i * d, m);
        if (err < 0) return err;
    }
    return FLOW_OK;
}

/* dx/dt = v(x, t) for n points, and behind them, when asked for, dl/dt = -div v(x, t). */
static int flowi_cnf_rate(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    flow_real *dl = dx + c->n * c->field.d;
    int i, err;
    for (i = 0; i < c->n; i++) c->t[i] = t;
    if (!c->with_logp) return c->field.velocity(c->field.ctx, dx, x, c->t, c->n);
    err = flowi_cnf_divergence(c, dx, dl, x, c->n);
    for (i = 0; i < c->n; i++) dl[i] = -dl[i];
    return err;
}

static int flowi_cnf_solve(flow_cnf *c, flow_ode *ode, flow_ode_fn f, flow_real *state,
                           flow_real t0, flow_real t1, int n) {
    if (!(c->tol > 0)) return flow_ode_solve(ode, f, c, state, t0, t1, c->steps, n);
    ode->atol = ode->rtol = c->tol;
    return flow_ode_adapt(ode, f, c, state, t0, t1, n, NULL, NULL, 0);
}

FLOW_API int flow_cnf_transport(flow_cnf *c, flow_real *x, flow_real *logp, flow_real t0,
                                flow_real t1, int n) {
    const int d = c->field.d;
    int i, err;
    FLOW_ASSERT(c->state && n >= 0);
    if (c->steps < 1) return FLOW_E_EMPTY;
    c->with_logp = logp != NULL;
    for (i = 0; i < n; i += c->batch) {
        const int m = flowi_min(c->batch, n - i);
        c->n = m;
        flowi_copy(c->state, x + i * d, m * d);
        if (logp) flowi_copy(c->state + m * d, logp + i, m);
        if (logp) flowi_cnf_basis(c, m, 0);
        err = flowi_cnf_solve(c, &c->ode, flowi_cnf_rate, c->state, t0, t1,
                              logp ? m * (d + 1) : m * d);
        if (err < 0) return err;
        flowi_copy(x + i * d, c->state, m * d);
        if (logp) flowi_copy(logp + i, c->state + m * d, m);
    }
    return FLOW_OK;
}

FLOW_API int flow_cnf_sample(flow_cnf *c, flow_rng *rng, flow_real *x, int n) {
    flow_normal_sample(rng, x, n, c->field.d);
    return flow_cnf_transport(c, x, NULL, 0, 1, n);
}

/* Running back from 1 to 0 gathers + integral of div v along the way to z, so that
 * log p_1(x) = log N(z) - that integral: the same number with the other sign. */
FLOW_API int flow_cnf_logprob(flow_cnf *c, flow_real *logp, const flow_real *x, int n) {
    const int d = c->field.d;
    int i, j, err;
    for (i = 0; i < n; i += c->batch) {
        const int m = flowi_min(c->batch, n - i);
        flow_real *z = c->point, *gained = c->gained;
        flowi_copy(z, x + i * d, m * d);
        for (j = 0; j < m; j++) gained[j] = 0;
        err = flow_cnf_transport(c, z, gained, 1, 0, m);
        if (err < 0) return err;
        flow_normal_logprob(logp + i, z, m, d);
        for (j = 0; j < m; j++) logp[i + j] -= gained[j];
    }
    return FLOW_OK;
}

/* Reals a sample that the field leaves for backprop at an evaluation: none where the tangents come
 * in groups. */
static int flowi_cnf_keeps(const flow_cnf *c) {
    const flow_field *f = &c->field;
    if (!f->keeps || !f->tangent) return 0;
    return c->together == c->tangents ? f->keeps(f->ctx, c->tangents) : 0;
}

/* How many reals path, kept and work take. */
static void flowi_cnf_room(const flow_cnf *c, int gradient, double *path, double *kept,
                           double *work) {
    const double state = (c->field.d + 1.0) * c->batch;
    const double steps = c->steps, stages = c->ode.tableau->stages;
    *path = steps * state;
    *work = stages * state;
    *kept = 0;
    if (gradient == FLOW_BACKPROP) {
        *path *= stages;
        *kept = steps * stages * c->batch * flowi_cnf_keeps(c) + (double)FLOWI_LINE;
    } else if (gradient == FLOW_CHECKPOINT) {
        *work *= 2;
    } else {
        *path = 2.0 * c->batch * c->field.d + 2.0 * c->field.params;
        *work = 0;
    }
}

FLOW_API int flow_cnf_train(flow_cnf *c, int gradient) {
    const size_t state = flowi_size(c->batch, c->field.d + 1, 1);
    const int method = (int)(c->ode.tableau - flowi_tableaux), points = c->batch * c->field.d;
    double path, kept, work;
    flow_real *block;
    int err = FLOW_OK;
    FLOW_ASSERT(c->state && c->field.backward && !c->training);
    FLOW_ASSERT(gradient >= FLOW_BACKPROP && gradient <= FLOW_ADJOINT);
    if (c->steps < 1) return FLOW_E_EMPTY;
    if (2.0 * points + c->field.params > INT_MAX) return FLOW_E_MEMORY;
    if (gradient == FLOW_ADJOINT)
        err = flow_ode_init(&c->reverse, method, 2 * points + c->field.params);
    if (err < 0) return err;
    flowi_cnf_room(c, gradient, &path, &kept, &work);
    c->training = block = flowi_new(path + (double)state + work + kept);
    if (!block) {
        flow_ode_free(&c->reverse);
        return FLOW_E_MEMORY;
    }
    c->training_bytes = sizeof(flow_real) *
                        ((size_t)(path + work + kept) + state +
                         flowi_size(c->ode.tableau->stages + 2, c->reverse.capacity, 1));
    c->gradient = gradient;
    c->most = c->steps;
    c->path = flowi_carve(&block, (size_t)path);
    c->lambda = flowi_carve(&block, state);
    c->work = flowi_carve(&block, (size_t)work);
    c->kept = flowi_align(block);
    return FLOW_OK;
}

/* The velocity alone, for the points of the stages: the log-density has no part in them. */
static int flowi_cnf_points(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    const int d = c->field.d;
    int i;
    for (i = 0; i < c->n; i++) c->t[i] = t;
    for (i = 0; i < c->n; i++) dx[c->n * d + i] = 0;
    return c->field.velocity(c->field.ctx, dx, x, c->t, c->n);
}

/* wx = (dv/dx)'w_x - w_l d(div v)/dx for w = (w_x [n*d], w_l [n]): the cotangent of v is w_x, that
 * of (dv/dx)s_j is -w_l share s_j. w_x goes with the first group of tangents, zeros with others. */
static int flowi_cnf_pull(flow_cnf *c, flow_real *wx, const flow_real *w, const flow_real *wl,
                          const flow_real *x, flow_real t) {
    const int d = c->field.d, n = c->n;
    const flow_real share = flowi_cnf_share(c);
    flow_real *more = c->xh, *zero = c->xh + c->batch * d;
    int i, j, k, err = FLOW_OK;
    for (i = 0; i < n; i++) c->t[i] = t;
    for (i = 0; i < n * d; i++) wx[i] = zero[i] = 0;
    for (k = 0; k < c->tangents && err >= 0; k += c->together) {
        const int group = flowi_min(c->together, c->tangents - k);
        if (c->together < c->tangents) flowi_cnf_basis(c, n, k);
        for (i = 0; i < group * n; i++)
            for (j = 0; j < d; j++)
                c->jv[i * d + j] = -share * wl[i % n] * c->basis[i * d + j];
        err = c->field.backward(c->field.ctx, more, k == 0 ? w : zero, c->jv, x, c->t, c->basis, n,
                                group, c->here);
        for (i = 0; i < n * d; i++) wx[i] += more[i];
    }
    return err;
}

static int flowi_cnf_vjp(void *ctx, flow_real *wx, const flow_real *w, const flow_real *x,
                         flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    const int points = c->n * c->field.d;
    int i;
    for (i = 0; i < c->n; i++) wx[points + i] = 0;
    return flowi_cnf_pull(c, wx, w, w + points, x, t);
}

/* Where the field leaves what it computes at the next evaluation on the path, or NULL. */
static flow_real *flowi_cnf_kept(const flow_cnf *c) {
    const int keeps = flowi_cnf_keeps(c);
    return keeps > 0 ? c->kept + (size_t)c->taken * flowi_size(c->n, keeps, 1) : NULL;
}

/* An evaluation on the way there: its point goes on top of the path, with what the field leaves. */
static int flowi_cnf_record(void *ctx, flow_real *dx, const flow_real *x, flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    const int count = c->n * (c->field.d + 1);
    int err;
    flowi_copy(c->path + (size_t)c->taken * (size_t)count, x, count);
    c->here = flowi_cnf_kept(c);
    err = flowi_cnf_rate(ctx, dx, x, t);
    c->here = NULL;
    c->taken++;
    return err;
}

/* The way back takes them off the path, the last one first. */
static int flowi_cnf_replay(void *ctx, flow_real *wx, const flow_real *w, const flow_real *x,
                            flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    int err;
    c->taken--;
    c->here = flowi_cnf_kept(c);
    err = flowi_cnf_vjp(ctx, wx, w, x, t);
    c->here = NULL;
    return err;
}

/* The steps of the way there are taken back one by one. */
static int flowi_cnf_backprop(flow_cnf *c, int n) {
    const int count = n * (c->field.d + 1), stages = c->ode.tableau->stages;
    int k, err = FLOW_OK;
    for (k = c->steps - 1; k >= 0 && err >= 0; k--) {
        flow_real h;
        const flow_real t = flowi_ode_time(&h, 1, 0, k, c->steps);
        if (c->gradient == FLOW_BACKPROP)
            err = flowi_ode_stages_backward(&c->ode, flowi_cnf_replay, c, c->lambda,
                                            c->path + flowi_size(k, stages, count), t, h, count,
                                            c->work);
        else
            err = flow_ode_step_backward(&c->ode, flowi_cnf_points, flowi_cnf_vjp, c, c->lambda,
                                         c->path + flowi_size(k, count, 1), t, h, count, c->work);
    }
    return err;
}

/* dy/dt for y = (x [n*d], a [n*d], g [params]): v, -(df/dx)'a, -(df/dtheta)'a. dL/dlog p does not
 * move: it stays in lambda behind the points. */
static int flowi_cnf_adjoint_rate(void *ctx, flow_real *dy, const flow_real *y, flow_real t) {
    flow_cnf *c = (flow_cnf *)ctx;
    const flow_field *f = &c->field;
    const int points = c->n * f->d;
    int i, err;
    for (i = 0; i < c->n; i++) c->t[i] = t;
    err = f->velocity(f->ctx, dy, y, c->t, c->n);
    if (err < 0) return err;
    for (i = 0; i < f->params; i++) f->grad[i] = 0;
    err = flowi_cnf_pull(c, dy + points, y + points, c->lambda + points, y, t);
    for (i = 0; i < points; i++) dy[points + i] = -dy[points + i];
    for (i = 0; i < f->params; i++) dy[2 * points + i] = -f->grad[i];
    return err;
}

/* From z = x(0) back to time 1. field.grad serves as scratch: what stood in it is kept aside. */
static int flowi_cnf_adjoint(flow_cnf *c, int n) {
    const int points = n * c->field.d, params = c->field.params;
    flow_real *y = c->path, *kept = c->path + 2 * points + params;
    int i, err;
    flowi_copy(kept, c->field.grad, params);
    flowi_copy(y, c->state, points);
    flowi_copy(y + points, c->lambda, points);
    for (i = 0; i < params; i++) y[2 * points + i] = 0;
    err = flowi_cnf_solve(c, &c->reverse, flowi_cnf_adjoint_rate, y, 0, 1, 2 * points + params);
    for (i = 0; i < params; i++)
        c->field.grad[i] = kept[i] + (err < 0 ? 0 : y[2 * points + i]);
    return err;
}

/* The solve from data to noise; the path keeps each evaluation, or the state at each step. */
static int flowi_cnf_to_noise(flow_cnf *c, int n) {
    const int count = n * (c->field.d + 1), states = c->gradient == FLOW_CHECKPOINT;
    int k, err = FLOW_OK;
    if (c->gradient == FLOW_ADJOINT)
        return flowi_cnf_solve(c, &c->ode, flowi_cnf_rate, c->state, 1, 0, count);
    c->taken = 0;
    for (k = 0; k < c->steps && err >= 0; k++) {
        flow_real h;
        const flow_real t = flowi_ode_time(&h, 1, 0, k, c->steps);
        if (states) flowi_copy(c->path + flowi_size(k, count, 1), c->state, count);
        err = flow_ode_step(&c->ode, states ? flowi_cnf_rate : flowi_cnf_record, c, c->state, t, h,
                            count);
    }
    return err;
}

/* L = -(1/n) sum [log N(z_i) - gained_i]:  dL/dz = z/n,  dL/dgained = 1/n */
FLOW_API int flow_cnf_nll(flow_cnf *c, flow_real *loss, const flow_real *x, int n) {
    const int d = c->field.d;
    flow_real *z = c->state, *gained = c->state + n * d, *logp = c->gained, sum = 0;
    int i, err;
    FLOW_ASSERT(c->training && n <= c->batch);
    FLOW_ASSERT(c->gradient == FLOW_ADJOINT || c->steps <= c->most);
    if (n < 1 || c->steps < 1) return FLOW_E_EMPTY;
    if (!flowi_all_finite(x, n * d)) return FLOW_E_FINITE;
    c->n = n;
    c->with_logp = 1;
    flowi_cnf_basis(c, n, 0);
    flowi_copy(z, x, n * d);
    for (i = 0; i < n; i++) gained[i] = 0;
    err = flowi_cnf_to_noise(c, n);
    if (err < 0) return err;
    flow_normal_logprob(logp, z, n, d);
    for (i = 0; i < n; i++) {
        sum -= logp[i] - gained[i];
        c->lambda[n * d + i] = 1 / (flow_real)n;
    }
    *loss = sum / (flow_real)n;
    if (!flowi_finite(*loss)) return FLOW_E_FINITE;
    for (i = 0; i < n * d; i++) c->lambda[i] = z[i] / (flow_real)n;
    return c->gradient == FLOW_ADJOINT ? flowi_cnf_adjoint(c, n) : flowi_cnf_backprop(c, n);
}

/* ------------------------------------------------------------------------ 11 flow matching */

/* s = 1 - t, B = 0.1 s + 9.95 s^2, beta = dB/ds: alpha' = -dalpha/ds = alpha beta/2, and from
 * alpha^2 + sigma^2 = 1, sigma' = -alpha alpha'/sigma. */
static flow_path flowi_path_vp(flow_real t) {
    const flow_real s = 1 - t, b = s * (FLOWI_R(0.1) + FLOWI_R(9.95) * s);
    flow_path p;
    p.alpha = flowi_exp(-b / 2);
    p.sigma = flowi_sqrt(-flowi_expm1(-b));
    if (!(p.sigma > FLOWI_R(1e-3))) p.sigma = FLOWI_R(1e-3); /* also where t is a little above 1 */
    p.dalpha = p.alpha * (FLOWI_R(0.1) + FLOWI_R(19.9) * s) / 2;
    p.dsigma = -p.alpha * p.dalpha / p.sigma;
    return p;
}

FLOW_API flow_path flow_path_at(int path, flow_real t) {
    const flow_real turn = FLOWI_PI / 2, log_2500 = FLOWI_R(7.82404601085629);
    flow_path p;
    FLOW_ASSERT(path >= 0 && path < FLOW_PATH_COUNT);
    p.alpha = t, p.sigma = 1 - t, p.dalpha = 1, p.dsigma = -1;
    if (path == FLOW_VP) return flowi_path_vp(t);
    if (path == FLOW_COSINE) {
        p.alpha = flowi_sin(turn * t), p.sigma = flowi_sin(turn * (1 - t)); /* 0 at t = 1 */
        p.dalpha = turn * p.sigma, p.dsigma = -turn * p.alpha;
    } else if (path == FLOW_VE) {
        p.alpha = 1, p.sigma = FLOWI_R(0.01) * flowi_exp(log_2500 * (1 - t));
        p.dalpha = 0, p.dsigma = -log_2500 * p.sigma;
    }
    return p;
}

FLOW_API const char *flow_path_name(int path) {
    static const char *const names[FLOW_PATH_COUNT] = {"linear", "VP", "cosine", "VE"};
    FLOW_ASSERT(path >= 0 && path < FLOW_PATH_COUNT);
    return names[path];
}

FLOW_API void flow_path_sample(int path, flow_real *xt, flow_real *ut, const flow_real *x0,
                               const flow_real *x1, const flow_real *t, int n, int d) {
    int i, j;
    for (i = 0; i < n; i++) {
        const flow_path p = flow_path_at(path, t[i]);
        for (j = i * d; j < (i + 1) * d; j++) {
            const flow_real noise = x0[j], data = x1[j];
            xt[j] = p.alpha * data + p.sigma * noise;
            ut[j] = p.dalpha * data + p.dsigma * noise;
        }
    }
}

/* E x0 = a[0] x + b[0] p and E x1 = a[1] x + b[1] p for a prediction p. From a velocity, both solve
 * two linear equations of determinant alpha sigma' - sigma alpha'. */
static void flowi_path_ends(flow_real *a, flow_real *b, flow_path p, int from) {
    const flow_real det = p.alpha * p.dsigma - p.sigma * p.dalpha;
    if (from == FLOW_VELOCITY) {
        a[0] = -p.dalpha / det, b[0] = p.alpha / det;
        a[1] = p.dsigma / det, b[1] = -p.sigma / det;
    } else if (from == FLOW_DATA) {
        a[0] = 1 / p.sigma, b[0] = -p.alpha / p.sigma;
        a[1] = 0, b[1] = 1;
    } else {
        a[0] = 0, b[0] = from == FLOW_SCORE ? -p.sigma : 1;
        a[1] = 1 / p.alpha, b[1] = -p.sigma * b[0] / p.alpha;
    }
}

FLOW_API int flow_path_convert(int path, int to, flow_real *y, int from, const flow_real *p,
                               const flow_real *x, const flow_real *t, int n, int d) {
    int i, j;
    FLOW_ASSERT(to >= FLOW_VELOCITY && to <= FLOW_SCORE);
    FLOW_ASSERT(from >= FLOW_VELOCITY && from <= FLOW_SCORE);
    for (i = 0; i < n; i++) {
        const flow_path q = flow_path_at(path, t[i]);
        flow_real a[2], b[2], ax = 0, bp = 1;
        flowi_path_ends(a, b, q, from);
        if (to != from) {
            if (to == FLOW_VELOCITY)
                ax = q.dsigma * a[0] + q.dalpha * a[1], bp = q.dsigma * b[0] + q.dalpha * b[1];
            if (to == FLOW_DATA) ax = a[1], bp = b[1];
            if (to == FLOW_NOISE) ax = a[0], bp = b[0];
            if (to == FLOW_SCORE) ax = -a[0] / q.sigma, bp = -b[0] / q.sigma;
        }
        if (!(flowi_finite(ax) && flowi_finite(bp))) return FLOW_E_SINGULAR;
        for (j = i * d; j < (i + 1) * d; j++) y[j] = ax * x[j] + bp * p[j];
    }
    return FLOW_OK;
}

/* dL/dv = 2 (v - u)/n */
FLOW_API int flow_cfm_loss(flow_net *net, flow_real *loss, const flow_real *x, const flow_real *t,
                           const flow_real *c, const flow_real *u, int n) {
    flow_real *v = net->v, sum = 0;
    int i;
    if (n < 1) return FLOW_E_EMPTY;
    flow_net_forward(net, v, x, t, c, n);
    for (i = 0; i < n * net->d; i++) {
        const flow_real miss = v[i] - u[i];
        sum += miss * miss;
        v[i] = 2 * miss / (flow_real)n;
    }
    *loss = sum / (flow_real)n;
    if (!flowi_finite(*loss)) return FLOW_E_FINITE;
    flow_net_backward(net, NULL, v, n);
    return FLOW_OK;
}

/* Section 12. */
static int flowi_assign(int *match, flow_real *total, const flow_real *cost, int n, flow_real *v,
                        int *work);

FLOW_API int flow_ot_init(flow_ot *o, int batch, int d) {
    const size_t square = flowi_size(batch, batch, 1);
    flow_real *block;
    int *index;
    FLOW_ASSERT(o && batch > 0 && d > 0);
    memset(o, 0, sizeof *o);
    block = flowi_new((batch + 3.0 + d) * batch);
    index = (int *)FLOW_MALLOC(4 * (size_t)batch * sizeof(int));
    if (!block || !index) {
        flow_release(block);
        flow_release(index);
        return FLOW_E_MEMORY;
    }
    o->batch = batch;
    o->d = d;
    o->tol = FLOWI_R(1e-3);
    o->most = 10000;
    o->memory = block;
    o->plan = flowi_carve(&block, square);
    o->dual = flowi_carve(&block, 3 * (size_t)batch);
    o->point = block;
    o->index = index;
    o->match = index;
    o->work = index + batch;
    return FLOW_OK;
}

FLOW_API void flow_ot_free(flow_ot *o) {
    flow_release(o->memory);
    flow_release(o->index);
    memset(o, 0, sizeof *o);
}

/* plan[i*n + j] = |x1_i - x0_j|^2 */
static int flowi_ot_cost(flow_ot *o, const flow_real *x0, const flow_real *x1, int n) {
    const int d = o->d;
    int i, j;
    FLOW_ASSERT(o->plan && n <= o->batch);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n; i++) {
        flow_real *row = o->plan + (size_t)i * (size_t)n;
        for (j = 0; j < n; j++) row[j] = flowi_square_distance(x1 + i * d, x0 + j * d, d);
        if (!flowi_all_finite(row, n)) return FLOW_E_FINITE;
    }
    return FLOW_OK;
}

/* Row i of x0 becomes its old row match[i]. */
static void flowi_ot_reorder(flow_ot *o, flow_real *x0, int n) {
    const int d = o->d;
    int i;
    flowi_copy(o->point, x0, n * d);
    for (i = 0; i < n; i++) flowi_copy(x0 + i * d, o->point + o->match[i] * d, d);
}

FLOW_API int flow_ot_exact(flow_ot *o, flow_real *x0, const flow_real *x1, int n) {
    int err = flowi_ot_cost(o, x0, x1, n);
    if (err == FLOW_OK)
        err = flowi_assign(o->match, &o->total, o->plan, n, o->dual, o->work);
    if (err < 0) return err;
    o->total /= (flow_real)n;
    flowi_ot_reorder(o, x0, n);
    return FLOW_OK;
}

/* log sum_j exp((g_j - cost_j)/epsilon) over n costs that lie `stride` apart. */
static flow_real flowi_ot_soft(const flow_real *cost, size_t stride, const flow_real *g,
                               flow_real epsilon, int n, flow_real *score) {
    flow_real most = -FLOWI_INFINITY, sum = 0;
    int j;
    for (j = 0; j < n; j++) {
        score[j] = (g[j] - cost[(size_t)j * stride]) / epsilon;
        if (score[j] > most) most = score[j];
    }
    for (j = 0; j < n; j++) score[j] = flowi_exp(score[j] - most);
    for (j = 0; j < n; j++) sum += score[j];
    return most + flowi_log(sum);
}

/* One iteration: g makes the columns of pi_ij = exp((f_i + g_j - c_ij)/epsilon) sum to 1/n, then f
 * the rows, which puts the columns off again. Returns how far the f before had put them off,
 * sum_j |sum_i pi_ij - 1/n|: the change of g tells. */
static flow_real flowi_ot_iterate(flow_ot *o, flow_real epsilon, int n) {
    flow_real *f = o->dual, *g = f + o->batch, *score = g + o->batch, off = 0;
    const flow_real log_n = flowi_log((flow_real)n);
    int i, j;
    for (j = 0; j < n; j++) {
        const flow_real old = g[j];
        g[j] = -epsilon * (log_n + flowi_ot_soft(o->plan + j, (size_t)n, f, epsilon, n, score));
        off += flowi_fabs(flowi_exp((old - g[j]) / epsilon) - 1) / (flow_real)n;
    }
    for (i = 0; i < n; i++)
        f[i] = -epsilon * (log_n + flowi_ot_soft(o->plan + (size_t)i * (size_t)n, 1, g, epsilon, n,
                                                 score));
    return off;
}

/* The duals for an epsilon that halves from the mean cost down to the one asked for: each start is
 * then near its end, where a cold one would crawl. */
static int flowi_ot_scale(flow_ot *o, flow_real epsilon, int n) {
    const size_t pairs = flowi_size(n, n, 1);
    flow_real mean = 0, off = 1;
    size_t k;
    int i;
    for (k = 0; k < pairs; k++) mean += o->plan[k] / (flow_real)n / (flow_real)n;
    for (i = 0; i < 2 * o->batch; i++) o->dual[i] = 0;
    for (; mean > epsilon; mean /= 2) flowi_ot_iterate(o, mean, n);
    for (i = 0; i < o->most; i++) {
        off = flowi_ot_iterate(o, epsilon, n);
        if (!flowi_finite(off)) return FLOW_E_FINITE;
        if (i > 0 && off <= o->tol) return FLOW_OK;
    }
    return FLOW_E_CONVERGE;
}

/* The plan of the duals, in the place of the costs, and *total = sum_ij pi_ij cost_ij. Returns how
 * far the rows are off, sum_i |sum_j pi_ij - 1/n|: much, when rounding the duals lost epsilon. */
static flow_real flowi_ot_plan(flow_ot *o, flow_real *total, flow_real epsilon, int n) {
    const flow_real *f = o->dual, *g = f + o->batch;
    flow_real off = 0;
    int i, j;
    for (*total = 0, i = 0; i < n; i++) {
        flow_real *row = o->plan + (size_t)i * (size_t)n, sum = 0;
        for (j = 0; j < n; j++) {
            const flow_real cost = row[j];
            sum += row[j] = flowi_exp((f[i] + g[j] - cost) / epsilon);
            *total += row[j] * cost;
        }
        off += flowi_fabs(sum - 1 / (flow_real)n);
    }
    return off;
}

FLOW_API int flow_ot_sinkhorn(flow_ot *o, flow_rng *rng, flow_real *x0, const flow_real *x1,
                              flow_real epsilon, int n) {
    flow_real total;
    int i, err;
    FLOW_ASSERT(epsilon > 0 && rng);
    err = flowi_ot_cost(o, x0, x1, n);
    if (err == FLOW_OK) err = flowi_ot_scale(o, epsilon, n);
    if (err < 0) return err;
    if (!(flowi_ot_plan(o, &total, epsilon, n) <= o->tol)) return FLOW_E_CONVERGE;
    o->total = total;
    for (i = 0; i < n; i++)
        o->match[i] = flow_rng_categorical(rng, o->plan + (size_t)i * (size_t)n, n);
    flowi_ot_reorder(o, x0, n);
    return FLOW_OK;
}

FLOW_API int flow_mixture_at(flow_mixture *pt, const flow_mixture *m, int path, flow_real t) {
    const flow_path p = flow_path_at(path, t);
    const int d = m->d;
    int i, k, err;
    err = flow_mixture_init(pt, m->weight, m->mean, m->cov, m->k, d);
    if (err < 0) return err;
    if (!flowi_finite(t)) err = FLOW_E_FINITE;
    for (i = 0; i < m->k * d; i++) pt->mean[i] *= p.alpha;
    for (i = 0; i < m->k * d * d; i++) {
        pt->cov[i] *= p.alpha * p.alpha;
        if (i % (d * d) % (d + 1) == 0) pt->cov[i] += p.sigma * p.sigma;
    }
    for (k = 0; k < m->k && err == FLOW_OK; k++) err = flowi_mixture_factor(pt, k);
    if (err < 0) flow_mixture_free(pt);
    return err;
}

/* work of a mixture's field: post [K], L_k [K*d*d] of S_k, velocities v_k [K*d],
 * y_k = S_k^-1 (x - alpha m_k) [K*d], scratch [2*d]. */
typedef struct {
    flow_real *post, *chol, *v, *y, *mean_y, *q;
} flowi_mixture_work;

static flowi_mixture_work flowi_mixture_split(const flow_marginal *g) {
    const flow_mixture *m = g->mixture;
    flow_real *block = g->work;
    flowi_mixture_work w;
    w.post = flowi_carve(&block, (size_t)m->k);
    w.chol = flowi_carve(&block, flowi_size(m->k, m->d, m->d));
    w.v = flowi_carve(&block, flowi_size(m->k, m->d, 1));
    w.y = flowi_carve(&block, flowi_size(m->k, m->d, 1));
    w.mean_y = flowi_carve(&block, (size_t)m->d);
    w.q = block;
    return w;
}

/* L_k L_k' = S_k = sigma^2 I + alpha^2 C_k */
static int flowi_mixture_spread(const flow_mixture *m, flow_real *chol, flow_path p) {
    const int d = m->d;
    int i, k, err;
    for (i = 0; i < m->k * d * d; i++) {
        chol[i] = p.alpha * p.alpha * m->cov[i];
        if (i % (d * d) % (d + 1) == 0) chol[i] += p.sigma * p.sigma;
    }
    for (k = 0; k < m->k; k++) {
        err = flow_cholesky(chol + k * d * d, d);
        if (err < 0) return err;
    }
    return FLOW_OK;
}

/* out[d] = (alpha' alpha C_k + sigma' sigma I) y */
static void flowi_mixture_gain(const flow_mixture *m, flow_real *out, const flow_real *y, int k,
                               flow_path p) {
    const int d = m->d;
    int j;
    for (j = 0; j < d; j++)
        out[j] = p.dalpha * p.alpha * flowi_dot(m->cov + (k * d + j) * d, y, d) +
                 p.dsigma * p.sigma * y[j];
}

/* Posterior, velocity v_k and y_k of every component at one point; w->chol is ready. */
static void flowi_mixture_components(const flow_mixture *m, const flowi_mixture_work *w,
                                     const flow_real *x, flow_path p) {
    const int d = m->d;
    int j, k;
    for (k = 0; k < m->k; k++) {
        const flow_real *l = w->chol + k * d * d;
        flow_real *y = w->y + k * d, *v = w->v + k * d;
        for (j = 0; j < d; j++) y[j] = x[j] - p.alpha * m->mean[k * d + j];
        flow_lower_solve(l, y, d);
        w->post[k] = flowi_log(m->weight[k]) - flowi_dot(y, y, d) / 2;
        for (j = 0; j < d; j++) w->post[k] -= flowi_log(l[j * d + j]);
        flow_lower_solve_transposed(l, y, d);
        flowi_mixture_gain(m, v, y, k, p);
        for (j = 0; j < d; j++) v[j] += p.dalpha * m->mean[k * d + j];
    }
    flowi_softmax(w->post, m->k);
}

/* J s = sum_k gamma_k [B_k s - v_k (y_k - y)'s], for grad log gamma_k = -(y_k - y), y = E y_k. */
static void flowi_mixture_push(const flow_mixture *m, const flowi_mixture_work *w, flow_real *js,
                               const flow_real *s, flow_path p) {
    const int d = m->d;
    int j, k;
    for (j = 0; j < d; j++) js[j] = w->mean_y[j] = 0;
    for (k = 0; k < m->k; k++)
        for (j = 0; j < d; j++) w->mean_y[j] += w->post[k] * w->y[k * d + j];
    for (k = 0; k < m->k; k++) {
        const flow_real tilt = flowi_dot(w->y + k * d, s, d) - flowi_dot(w->mean_y, s, d);
        flow_real *solved = w->q, *bs = w->q + d;
        flowi_copy(solved, s, d);
        flow_lower_solve(w->chol + k * d * d, solved, d);
        flow_lower_solve_transposed(w->chol + k * d * d, solved, d);
        flowi_mixture_gain(m, bs, solved, k, p);
        for (j = 0; j < d; j++) js[j] += w->post[k] * (bs[j] - tilt * w->v[k * d + j]);
    }
}

static int flowi_mixture_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                                 const flow_real *t, const flow_real *s, int n, int tangents,
                                 flow_real *kept) {
    const flow_marginal *g = (const flow_marginal *)ctx;
    const flow_mixture *m = g->mixture;
    const flowi_mixture_work w = flowi_mixture_split(g);
    const int d = m->d;
    int i, j, k, err;
    (void)kept;
    for (i = 0; i < n; i++) {
        const flow_path p = flow_path_at(g->path, t[i]);
        flow_real sum;
        if (i == 0 || !(t[i] >= t[i - 1] && t[i] <= t[i - 1])) {
            err = flowi_mixture_spread(m, w.chol, p);
            if (err < 0) return err;
        }
        flowi_mixture_components(m, &w, x + i * d, p);
        for (j = 0; j < tangents; j++)
            flowi_mixture_push(m, &w, jv + (j * n + i) * d, s + (j * n + i) * d, p);
        for (j = 0; j < d; j++) {
            for (sum = 0, k = 0; k < m->k; k++) sum += w.post[k] * w.v[k * d + j];
            v[i * d + j] = sum;
        }
    }
    return FLOW_OK;
}

static int flowi_mixture_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t,
                                  int n) {
    return flowi_mixture_tangent(ctx, v, NULL, x, t, NULL, n, 0, NULL);
}

FLOW_API int flow_marginal_of_mixture(flow_marginal *g, const flow_mixture *m, int path) {
    FLOW_ASSERT(g && m && m->k > 0);
    memset(g, 0, sizeof *g);
    g->path = path;
    g->mixture = m;
    g->d = m->d;
    g->work = flowi_new((m->d + 2.0) * m->d * m->k + m->k + 3.0 * m->d);
    return g->work ? FLOW_OK : FLOW_E_MEMORY;
}

FLOW_API int flow_marginal_of_data(flow_marginal *g, const flow_real *x1, int path, int count,
                                   int d) {
    FLOW_ASSERT(g && d > 0);
    memset(g, 0, sizeof *g);
    if (count < 1) return FLOW_E_EMPTY;
    g->path = path;
    g->data = x1;
    g->count = count;
    g->d = d;
    g->work = flowi_new((double)count + d);
    return g->work ? FLOW_OK : FLOW_E_MEMORY;
}

FLOW_API void flow_marginal_free(flow_marginal *g) {
    flow_release(g->work);
    memset(g, 0, sizeof *g);
}

/* lambda = softmax(-|x - alpha x_i|^2/(2 sigma^2)) and the mean sum_i lambda_i x_i. */
static void flowi_data_posterior(const flow_marginal *g, flow_real *lambda, flow_real *mean,
                                 const flow_real *x, flow_path p) {
    const int d = g->d;
    int i, j;
    for (i = 0; i < g->count; i++) {
        flow_real square = 0;
        for (j = 0; j < d; j++) {
            const flow_real miss = x[j] - p.alpha * g->data[i * d + j];
            square += miss * miss;
        }
        lambda[i] = -square / (2 * p.sigma * p.sigma);
    }
    flowi_softmax(lambda, g->count);
    for (j = 0; j < d; j++) mean[j] = 0;
    for (i = 0; i < g->count; i++)
        for (j = 0; j < d; j++) mean[j] += lambda[i] * g->data[i * d + j];
}

/* v = c mean + e x with e = sigma'/sigma, c = alpha' - alpha e; the mean's derivative along s is
 * the covariance under lambda: (alpha/sigma^2) sum_i lambda_i (x_i - mean) (x_i - mean)'s. */
static void flowi_data_push(const flow_marginal *g, flow_real *js, const flow_real *s,
                            const flow_real *lambda, const flow_real *mean, flow_path p) {
    const flow_real e = p.dsigma / p.sigma, c = p.dalpha - p.alpha * e;
    const flow_real scale = c * p.alpha / (p.sigma * p.sigma);
    const int d = g->d;
    int i, j;
    for (j = 0; j < d; j++) js[j] = e * s[j];
    for (i = 0; i < g->count; i++) {
        flow_real along = 0;
        for (j = 0; j < d; j++) along += (g->data[i * d + j] - mean[j]) * s[j];
        for (j = 0; j < d; j++)
            js[j] += scale * lambda[i] * along * (g->data[i * d + j] - mean[j]);
    }
}

static int flowi_data_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                              const flow_real *t, const flow_real *s, int n, int tangents,
                              flow_real *kept) {
    const flow_marginal *g = (const flow_marginal *)ctx;
    flow_real *lambda = g->work, *mean = lambda + g->count;
    const int d = g->d;
    int i, j;
    (void)kept;
    for (i = 0; i < n; i++) {
        const flow_path p = flow_path_at(g->path, t[i]);
        if (!(p.sigma > FLOWI_EPS)) return FLOW_E_SINGULAR;
        flowi_data_posterior(g, lambda, mean, x + i * d, p);
        for (j = 0; j < tangents; j++)
            flowi_data_push(g, jv + (j * n + i) * d, s + (j * n + i) * d, lambda, mean, p);
        for (j = 0; j < d; j++)
            v[i * d + j] = p.dalpha * mean[j] +
                           p.dsigma / p.sigma * (x[i * d + j] - p.alpha * mean[j]);
    }
    return FLOW_OK;
}

static int flowi_data_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t,
                               int n) {
    return flowi_data_tangent(ctx, v, NULL, x, t, NULL, n, 0, NULL);
}

FLOW_API flow_field flow_marginal_field(flow_marginal *g) {
    flow_field f = flow_field_of(
        g->d, g->mixture ? flowi_mixture_velocity : flowi_data_velocity, g);
    f.tangent = g->mixture ? flowi_mixture_tangent : flowi_data_tangent;
    return f;
}

FLOW_API void flow_onehot(flow_real *c, const int *label, int n, int classes) {
    int i, k;
    for (i = 0; i < n; i++)
        for (k = 0; k < classes; k++) c[i * classes + k] = label[i] == k ? 1 : 0;
}

FLOW_API void flow_label_dropout(flow_rng *rng, int *label, flow_real p, int n) {
    int i;
    for (i = 0; i < n; i++)
        if (flow_rng_uniform(rng) < p) label[i] = -1;
}

/* The network on m <= batch points with the one condition in every row. */
static void flowi_given_forward(const flow_given *g, flow_real *v, const flow_real *x,
                                const flow_real *t, int m) {
    flow_net *net = g->net;
    flow_real *rows = net->s; /* free until a tangent needs it */
    int i;
    for (i = 0; i < m * net->cond; i++) rows[i] = g->c ? g->c[i % net->cond] : 0;
    flow_net_forward(net, v, x, t, rows, m);
}

static int flowi_given_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                               const flow_real *t, const flow_real *s, int n, int k,
                               flow_real *kept) {
    const flow_given *g = (const flow_given *)ctx;
    const int d = g->net->d;
    int i, j;
    (void)kept;
    for (i = 0; i < n; i += g->net->batch) {
        const int m = flowi_min(g->net->batch, n - i);
        flowi_given_forward(g, v + i * d, x + i * d, t + i, m);
        for (j = 0; j < k; j++)
            flow_net_tangent(g->net, jv + (j * n + i) * d, s + (j * n + i) * d, m, 1);
    }
    return FLOW_OK;
}

static int flowi_given_velocity(void *ctx, flow_real *v, const flow_real *x, const flow_real *t,
                                int n) {
    return flowi_given_tangent(ctx, v, NULL, x, t, NULL, n, 0, NULL);
}

FLOW_API flow_field flow_given_field(flow_given *g) {
    flow_field f = flow_field_of(g->net->d, flowi_given_velocity, g);
    f.tangent = flowi_given_tangent;
    return f;
}

FLOW_API int flow_guidance_init(flow_guidance *g, flow_field cond, flow_field uncond, flow_real w,
                                int batch) {
    const size_t points = flowi_size(batch, cond.d, 1);
    FLOW_ASSERT(g && cond.d == uncond.d && batch > 0);
    memset(g, 0, sizeof *g);
    g->cond = cond;
    g->uncond = uncond;
    g->w = w;
    g->batch = batch;
    g->v = flowi_new(2.0 * batch * cond.d);
    if (!g->v) return FLOW_E_MEMORY;
    g->jv = g->v + points;
    return FLOW_OK;
}

FLOW_API void flow_guidance_free(flow_guidance *g) {
    flow_release(g->v);
    memset(g, 0, sizeof *g);
}

/* The field that is alone when w is 1 or 0, else NULL. */
static const flow_field *flowi_guidance_alone(const flow_guidance *g) {
    if (g->w >= 1 && g->w <= 1) return &g->cond;
    return g->w >= 0 && g->w <= 0 ? &g->uncond : NULL;
}

/* y = other + w (y - other) */
static void flowi_guide(flow_real *y, const flow_real *other, flow_real w, int count) {
    int i;
    for (i = 0; i < count; i++) y[i] = other[i] + w * (y[i] - other[i]);
}

static int flowi_guidance_velocity(void *ctx, flow_real *v, const flow_real *x,
                                   const flow_real *t, int n) {
    const flow_guidance *g = (const flow_guidance *)ctx;
    const flow_field *alone = flowi_guidance_alone(g);
    const int d = g->cond.d;
    int i, err;
    if (alone) return alone->velocity(alone->ctx, v, x, t, n);
    for (i = 0; i < n; i += g->batch) {
        const int m = flowi_min(g->batch, n - i);
        err = g->cond.velocity(g->cond.ctx, v + i * d, x + i * d, t + i, m);
        if (err == FLOW_OK) err = g->uncond.velocity(g->uncond.ctx, g->v, x + i * d, t + i, m);
        if (err < 0) return err;
        flowi_guide(v + i * d, g->v, g->w, m * d);
    }
    return FLOW_OK;
}

/* The Jacobian is as linear as the field: J s is guided like v, one tangent at a time. */
static int flowi_guidance_tangent(void *ctx, flow_real *v, flow_real *jv, const flow_real *x,
                                  const flow_real *t, const flow_real *s, int n, int k,
                                  flow_real *kept) {
    const flow_guidance *g = (const flow_guidance *)ctx;
    const flow_field *alone = flowi_guidance_alone(g);
    const int d = g->cond.d;
    int i, j, err = FLOW_OK;
    (void)kept;
    if (alone) return alone->tangent(alone->ctx, v, jv, x, t, s, n, k, NULL);
    for (i = 0; i < n && err == FLOW_OK; i += g->batch) {
        const int m = flowi_min(g->batch, n - i);
        for (j = 0; j < k && err == FLOW_OK; j++) {
            const int at = (j * n + i) * d;
            const flow_real *xi = x + i * d, *ti = t + i;
            err = g->cond.tangent(g->cond.ctx, v + i * d, jv + at, xi, ti, s + at, m, 1, NULL);
            if (err < 0) return err;
            err = g->uncond.tangent(g->uncond.ctx, g->v, g->jv, xi, ti, s + at, m, 1, NULL);
            flowi_guide(jv + at, g->jv, g->w, m * d);
            if (j == k - 1) flowi_guide(v + i * d, g->v, g->w, m * d);
        }
    }
    return err;
}

FLOW_API flow_field flow_guidance_field(flow_guidance *g) {
    flow_field f = flow_field_of(g->cond.d, flowi_guidance_velocity, g);
    if (g->cond.tangent && g->uncond.tangent) f.tangent = flowi_guidance_tangent;
    return f;
}

/* One step from t: score = -E[x0 | x]/sigma, so that the drift is v - noise E[x0 | x]. */
static int flowi_sde_step(flow_cnf *c, flow_rng *rng, flow_real *x, int path, flow_real noise,
                          flow_real t, flow_real h, int n) {
    const int count = n * c->field.d;
    const flow_real kick = flowi_sqrt(2 * noise * h * flow_path_at(path, t).sigma);
    flow_real *mean = c->xh, *z = c->xh + c->batch * c->field.d;
    int i, err;
    for (i = 0; i < n; i++) c->t[i] = t;
    err = c->field.velocity(c->field.ctx, c->v, x, c->t, n);
    if (err == FLOW_OK)
        err = flow_path_convert(path, FLOW_NOISE, mean, FLOW_VELOCITY, c->v, x, c->t, n,
                                c->field.d);
    if (err < 0) return err;
    flow_normal_sample(rng, z, n, c->field.d);
    for (i = 0; i < count; i++) x[i] += h * (c->v[i] - noise * mean[i]) + kick * z[i];
    return flowi_all_finite(x, count) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_sde_transport(flow_cnf *c, flow_rng *rng, flow_real *x, int path,
                                flow_real noise, flow_real t0, flow_real t1, int n) {
    const flow_real h = (t1 - t0) / (flow_real)c->steps;
    int i, k, err = FLOW_OK;
    FLOW_ASSERT(c->state && rng && noise >= 0 && t1 >= t0);
    if (c->steps < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n && err == FLOW_OK; i += c->batch)
        for (k = 0; k < c->steps && err == FLOW_OK; k++)
            err = flowi_sde_step(c, rng, x + i * c->field.d, path, noise, t0 + (flow_real)k * h, h,
                                 flowi_min(c->batch, n - i));
    return err;
}

FLOW_API void flow_tokens_noise(const flow_tokens *s, flow_rng *rng, int *x0, int n) {
    int i;
    for (i = 0; i < n * s->length; i++)
        x0[i] = s->source == FLOW_MASK ? s->tokens : flow_rng_below(rng, s->tokens);
}

FLOW_API void flow_tokens_path(const flow_tokens *s, flow_rng *rng, int *xt, const int *x0,
                               const int *x1, const flow_real *t, int n) {
    int i;
    for (i = 0; i < n * s->length; i++)
        xt[i] = flow_rng_uniform(rng) < t[i / s->length] ? x1[i] : x0[i];
}

/* Tokens of x that are not y's. A mask differs from all data alike, which changes no weight. */
static int flowi_tokens_apart(const flow_tokens *s, const int *x, const int *y) {
    int l, apart = 0;
    for (l = 0; l < s->length; l++) apart += x[l] != y[l];
    return apart;
}

/* p_t(x | y) falls by one factor with every token in which x and y differ: with the mask by 0,
 * uniform by ((1-t)/K) / (t + (1-t)/K). It is counted from the nearest data, so that the largest
 * of all weights is 1 and not lost to rounding. */
FLOW_API int flow_token_set_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t,
                                      int n) {
    const flow_token_set *q = (const flow_token_set *)ctx;
    const int length = q->s.length, tokens = q->s.tokens;
    int i, j, l, near;
    if (q->count < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n; i++, x += length, p += length * tokens) {
        const flow_real factor = q->s.source == FLOW_MASK
                                     ? 0 : (1 - t[i]) / ((flow_real)tokens * t[i] + (1 - t[i]));
        flow_real sum = 0;
        for (near = length, j = 0; j < q->count; j++)
            near = flowi_min(near, flowi_tokens_apart(&q->s, x, q->data + j * length));
        for (j = 0; j < length * tokens; j++) p[j] = 0;
        for (j = 0; j < q->count; j++) {
            flow_real w = q->weight[j];
            for (l = flowi_tokens_apart(&q->s, x, q->data + j * length); l > near; l--) w *= factor;
            for (l = 0; l < length; l++) {
                const int token = q->data[j * length + l];
                FLOW_ASSERT(token >= 0 && token < tokens);
                p[l * tokens + token] += w;
            }
            sum += w;
        }
        for (j = 0; j < length * tokens; j++) p[j] /= sum;
    }
    return FLOW_OK;
}

/* Logits [n*length*tokens] of up to a batch, into net->v. */
static void flowi_token_net_forward(const flow_token_net *q, const int *x, const flow_real *t,
                                    int n) {
    flow_net *net = q->net;
    FLOW_ASSERT(net->d == q->s.length * q->s.tokens && net->cond == 0);
    flow_onehot(net->s, x, n * q->s.length, q->s.tokens);
    flow_net_forward(net, net->v, net->s, t, NULL, n);
}

FLOW_API int flow_token_net_posterior(void *ctx, flow_real *p, const int *x, const flow_real *t,
                                      int n) {
    const flow_token_net *q = (const flow_token_net *)ctx;
    const int d = q->net->d, tokens = q->s.tokens;
    int i, j;
    for (i = 0; i < n; i += q->net->batch) {
        const int m = flowi_min(q->net->batch, n - i);
        flowi_token_net_forward(q, x + i * q->s.length, t + i, m);
        if (!flowi_all_finite(q->net->v, m * d)) return FLOW_E_FINITE;
        flowi_copy(p + i * d, q->net->v, m * d);
        for (j = 0; j < m * q->s.length; j++) flowi_softmax(p + i * d + j * tokens, tokens);
    }
    return FLOW_OK;
}

/* d loss/d logit_k = (P(k) - [k = x1])/n */
FLOW_API int flow_token_net_loss(flow_token_net *q, flow_real *loss, const int *xt, const int *x1,
                                 const flow_real *t, int n) {
    const int tokens = q->s.tokens;
    flow_real *p = q->net->v, sum = 0;
    int i, k;
    FLOW_ASSERT(n <= q->net->batch);
    if (n < 1) return FLOW_E_EMPTY;
    flowi_token_net_forward(q, xt, t, n);
    for (i = 0; i < n * q->s.length; i++, p += tokens) {
        FLOW_ASSERT(x1[i] >= 0 && x1[i] < tokens);
        sum -= p[x1[i]];
        sum += flowi_softmax(p, tokens); /* log sum exp of the logits */
        for (k = 0; k < tokens; k++) p[k] = (p[k] - (k == x1[i] ? 1 : 0)) / (flow_real)n;
    }
    *loss = sum / (flow_real)n;
    if (!flowi_finite(*loss)) return FLOW_E_FINITE;
    flow_net_backward(q->net, NULL, q->net->v, n);
    return FLOW_OK;
}

FLOW_API int flow_tokens_rates(const flow_tokens *s, flow_real *u, const flow_real *p, const int *x,
                               const flow_real *t, int n) {
    const int tokens = s->tokens;
    int i, k;
    for (i = 0; i < n * s->length; i++, u += tokens + 1, p += tokens) {
        const flow_real left = 1 - t[i / s->length];
        if (!(left > FLOWI_EPS)) return FLOW_E_SINGULAR;
        for (k = 0; k <= tokens; k++)
            u[k] = ((k < tokens ? p[k] : 0) - (k == x[i] ? 1 : 0)) / left;
    }
    return FLOW_OK;
}

/* With probability h/(1 - t) a token is drawn anew from its posterior; u is what is left of the
 * one draw, again uniform. */
static void flowi_tokens_step(const flow_tokens *s, flow_rng *rng, int *x, const flow_real *p,
                              flow_real chance, int n) {
    int i;
    for (i = 0; i < n * s->length; i++, p += s->tokens) {
        const flow_real u = flow_rng_uniform(rng) / chance;
        if (u < 1) x[i] = flowi_pick(p, s->tokens, u);
    }
}

FLOW_API int flow_tokens_sample(const flow_tokens *s, flow_rng *rng, int *x,
                                flow_posterior_fn posterior, void *ctx, int steps, int n) {
    const size_t points = flowi_size(n, s->length, s->tokens);
    flow_real *p, *t;
    int i, k, err = FLOW_OK;
    if (steps < 1) return FLOW_E_EMPTY;
    p = flowi_new((1.0 * s->length * s->tokens + 1) * n);
    if (!p) return FLOW_E_MEMORY;
    t = p + points;
    flow_tokens_noise(s, rng, x, n);
    for (k = 0; k < steps && err == FLOW_OK; k++) {
        for (i = 0; i < n; i++) t[i] = (flow_real)k / (flow_real)steps;
        err = posterior(ctx, p, x, t, n);
        if (err == FLOW_OK && !flowi_all_finite(p, n * s->length * s->tokens)) err = FLOW_E_FINITE;
        if (err == FLOW_OK)
            flowi_tokens_step(s, rng, x, p, 1 / (flow_real)(steps - k), n);
    }
    flow_release(p);
    return err;
}

/* ------------------------------------------------------------------- 12 metrics and checks */

static int flowi_ascending(const void *a, const void *b) {
    const flow_real x = *(const flow_real *)a, y = *(const flow_real *)b;
    return (x > y) - (x < y);
}

static void flowi_sort(flow_real *x, int n) {
    qsort(x, (size_t)n, sizeof *x, flowi_ascending);
}

/* By how much costs differ: the median over the rows of the least difference among 16 numbers of
 * each. Huge costs, as of pairs that are not allowed, do not move it unless nearly all are huge:
 * prices of their size would leave the others no digits. */
static flow_real flowi_assign_scale(const flow_real *cost, int n, flow_real *apart) {
    const int stride = (n + 15) / 16;
    int i, j;
    for (i = 0; i < n; i++) {
        const flow_real *c = cost + (size_t)i * (size_t)n;
        flow_real least = c[0];
        for (j = 1; j < n; j++)
            if (c[j] < least) least = c[j];
        for (apart[i] = 0, j = i % stride; j < n; j += stride)
            if (c[j] > least && !(apart[i] > 0 && c[j] - least > apart[i])) apart[i] = c[j] - least;
    }
    flowi_sort(apart, n);
    return apart[n / 2];
}

/* Auction [Bertsekas 1988]: columns have prices -v. A row without a column takes the one that is
 * cheapest for it, at a price so high that it comes out `step` worse than the second cheapest;
 * whoever had the column bids again. It ends within n step of the least total, or, where prices
 * are so high that a step is lost in rounding, after 50 n bids. */
static void flowi_assign_bids(int *match, int *owner, flow_real *v, const flow_real *cost, int n,
                              flow_real step, int *queue) {
    long bids = 50 * (long)n;
    int j, waiting = n;
    for (j = 0; j < n; j++) owner[j] = -1, match[j] = -1, queue[j] = j;
    while (waiting > 0 && bids-- > 0) {
        const int row = queue[--waiting];
        const flow_real *c = cost + (size_t)row * (size_t)n;
        flow_real least = FLOWI_INFINITY, second = FLOWI_INFINITY;
        int best = 0;
        for (j = 0; j < n; j++) {
            const flow_real rest = c[j] - v[j];
            if (rest >= second) continue;
            second = rest < least ? least : rest;
            if (rest < least) least = rest, best = j;
        }
        v[best] -= n > 1 ? second - least + step : 0;
        if (owner[best] >= 0) match[queue[waiting++] = owner[best]] = -1;
        owner[best] = row;
        match[row] = best;
    }
}

/* One row more: the shortest way from it to a column that nobody has, over cost - v >= that of each
 * row's own column (Dijkstra), and then everybody on the way moves on by one column. open[count ...
 * n-1] are the columns whose distance d is final. */
static int flowi_assign_row(int *match, int *owner, flow_real *v, const flow_real *cost, int n,
                            int row, flow_real *d, int *from, int *open) {
    flow_real far = 0, own = 0;
    int i = row, j, k, count = n, next;
    for (j = 0; j < n; j++) open[j] = j, d[j] = FLOWI_INFINITY;
    do {
        const flow_real *c = cost + (size_t)i * (size_t)n;
        int best = 0;
        for (k = 0; k < count; k++) {
            const flow_real way = c[open[k]] - v[open[k]] - own;
            j = open[k];
            if (way < d[j]) d[j] = way, from[j] = i;
            if (d[j] < d[open[best]]) best = k;
        }
        j = open[best];
        far = d[j];
        if (!flowi_finite(far)) return FLOW_E_FINITE; /* a difference of costs has overflowed */
        open[best] = open[--count];
        open[count] = j;
        i = owner[j];
        if (i >= 0) own = cost[(size_t)i * (size_t)n + (size_t)j] - v[j] - far;
    } while (i >= 0);
    for (k = count; k < n; k++) v[open[k]] += d[open[k]] - far;
    do {
        i = owner[j] = from[j];
        next = match[i];
        match[i] = j;
        j = next;
    } while (i != row);
    return FLOW_OK;
}

/* Has row i the cheapest column there is for it? If not, it gives up the one it has. */
static void flowi_assign_review(int *match, int *owner, const flow_real *v, const flow_real *cost,
                                int n, int i) {
    const flow_real *c = cost + (size_t)i * (size_t)n;
    int j;
    for (j = 0; j < n && match[i] >= 0; j++) {
        if (c[j] - v[j] >= c[match[i]] - v[match[i]]) continue;
        owner[match[i]] = -1;
        match[i] = -1;
    }
}

/* flow_assign for cost[n*n] known to be finite; v: [2*n], work: [3*n]. Auctions with ever smaller
 * steps leave few rows without their cheapest column; for these, exact shortest ways. */
static int flowi_assign(int *match, flow_real *total, const flow_real *cost, int n, flow_real *v,
                        int *work) {
    const size_t pairs = flowi_size(n, n, 1);
    flow_real most = 0, scale, step;
    int *owner = work, i, err = FLOW_OK;
    size_t k;
    for (i = 0; i < n; i++) v[i] = 0, owner[i] = match[i] = -1; /* there may be no auction */
    for (k = 0; k < pairs; k++)
        if (flowi_fabs(cost[k]) > most) most = flowi_fabs(cost[k]);
    if (!flowi_finite(most * (flow_real)n)) return FLOW_E_FINITE;
    scale = n > 32 ? flowi_assign_scale(cost, n, v + n) : 0; /* few rows do without auctions */
    for (step = 10 * scale; step > scale * FLOWI_R(1e-4); step /= 10)
        flowi_assign_bids(match, owner, v, cost, n, step, work + n);
    for (i = 0; i < n; i++) flowi_assign_review(match, owner, v, cost, n, i);
    for (i = 0; i < n && err == FLOW_OK; i++)
        if (match[i] < 0)
            err = flowi_assign_row(match, owner, v, cost, n, i, v + n, work + n, work + 2 * n);
    if (err < 0) return err;
    for (*total = 0, i = 0; i < n; i++) *total += cost[(size_t)i * (size_t)n + (size_t)match[i]];
    return FLOW_OK;
}

FLOW_API int flow_assign(int *match, flow_real *total, const flow_real *cost, int n) {
    flow_real *v;
    int *work, i, err = FLOW_E_MEMORY;
    FLOW_ASSERT(match && total && cost);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < n; i++)
        if (!flowi_all_finite(cost + (size_t)i * (size_t)n, n)) return FLOW_E_FINITE;
    v = flowi_new(2.0 * n);
    work = (int *)FLOW_MALLOC(3 * (size_t)n * sizeof(int));
    if (v && work) err = flowi_assign(match, total, cost, n, v, work);
    flow_release(v);
    flow_release(work);
    return err;
}

FLOW_API int flow_w2(flow_real *w2, const flow_real *x, const flow_real *y, int n, int d) {
    flow_real *cost, total = 0;
    int *match, i, j, err;
    FLOW_ASSERT(w2 && d > 0);
    if (n < 1) return FLOW_E_EMPTY;
    cost = flowi_new(1.0 * n * n);
    match = (int *)FLOW_MALLOC((size_t)n * sizeof(int));
    err = cost && match ? FLOW_OK : FLOW_E_MEMORY;
    for (i = 0; i < n && err == FLOW_OK; i++)
        for (j = 0; j < n; j++)
            cost[(size_t)i * (size_t)n + (size_t)j] =
                flowi_square_distance(x + i * d, y + j * d, d);
    if (err == FLOW_OK) err = flow_assign(match, &total, cost, n);
    if (err == FLOW_OK) *w2 = flowi_sqrt(total / (flow_real)n);
    flow_release(cost);
    flow_release(match);
    return err;
}

FLOW_API int flow_path_energy(flow_cnf *c, flow_real *energy, flow_real *x, int n) {
    const int d = c->field.d;
    flow_real sum = 0;
    int i, k, err = FLOW_OK;
    FLOW_ASSERT(c->state && energy);
    if (n < 1 || c->steps < 1) return FLOW_E_EMPTY;
    c->with_logp = 0;
    for (i = 0; i < n && err == FLOW_OK; i += c->batch) {
        c->n = flowi_min(c->batch, n - i);
        for (k = 0; k < c->steps && err == FLOW_OK; k++) {
            flow_real h;
            const flow_real t = flowi_ode_time(&h, 0, 1, k, c->steps);
            err = flowi_cnf_rate(c, c->v, x + i * d, t);
            sum += h * flowi_dot(c->v, c->v, c->n * d);
            if (err == FLOW_OK)
                err = flow_ode_step(&c->ode, flowi_cnf_rate, c, x + i * d, t, h, c->n * d);
        }
    }
    *energy = sum / (flow_real)n;
    if (err == FLOW_OK && !flowi_finite(*energy)) err = FLOW_E_FINITE;
    return err;
}

/* In one dimension the optimal assignment pairs the sorted samples. */
FLOW_API int flow_sliced_w2(flow_real *w2, flow_rng *rng, const flow_real *x, const flow_real *y,
                            int n, int d, int directions) {
    flow_real *a, *b, *e, sum = 0;
    int i, k;
    FLOW_ASSERT(w2 && d > 0);
    if (n < 1 || directions < 1) return FLOW_E_EMPTY;
    if (!flowi_all_finite(x, n * d) || !flowi_all_finite(y, n * d)) return FLOW_E_FINITE;
    a = flowi_new(2.0 * n + d);
    if (!a) return FLOW_E_MEMORY;
    b = a + n;
    e = b + n;
    for (k = 0; k < directions; k++) {
        flow_normal_sample(rng, e, 1, d);
        flowi_normalise(e, d);
        for (i = 0; i < n; i++) {
            a[i] = flowi_dot(x + i * d, e, d);
            b[i] = flowi_dot(y + i * d, e, d);
        }
        flowi_sort(a, n);
        flowi_sort(b, n);
        sum += flowi_square_distance(a, b, n) / (flow_real)n;
    }
    *w2 = flowi_sqrt(sum / (flow_real)directions);
    flow_release(a);
    return flowi_finite(*w2) ? FLOW_OK : FLOW_E_FINITE;
}

static flow_real flowi_mean_distance(const flow_real *x, int n, const flow_real *y, int m, int d) {
    flow_real mean = 0;
    int i, j;
    for (i = 0; i < n; i++) {
        flow_real sum = 0;
        for (j = 0; j < m; j++) sum += flowi_sqrt(flowi_square_distance(x + i * d, y + j * d, d));
        mean += sum / (flow_real)m;
    }
    return mean / (flow_real)n;
}

FLOW_API int flow_energy_distance(flow_real *e, const flow_real *x, int n, const flow_real *y,
                                  int m, int d) {
    FLOW_ASSERT(e && d > 0);
    if (n < 1 || m < 1) return FLOW_E_EMPTY;
    *e = 2 * flowi_mean_distance(x, n, y, m, d) - flowi_mean_distance(x, n, x, n, d) -
         flowi_mean_distance(y, m, y, m, d);
    if (*e < 0) *e = 0; /* by rounding */
    return flowi_finite(*e) ? FLOW_OK : FLOW_E_FINITE;
}

/* The empirical distribution function jumps from i/n to (i+1)/n at the i-th sorted sample. */
FLOW_API int flow_ks(flow_real *ks, const flow_real *x, int n, flow_fn cdf, void *ctx) {
    flow_real *sorted, most = 0;
    int i;
    FLOW_ASSERT(ks && cdf);
    if (n < 1) return FLOW_E_EMPTY;
    if (!flowi_all_finite(x, n)) return FLOW_E_FINITE;
    sorted = flowi_new(n);
    if (!sorted) return FLOW_E_MEMORY;
    flowi_copy(sorted, x, n);
    flowi_sort(sorted, n);
    for (i = 0; i < n; i++) {
        const flow_real f = cdf(ctx, sorted[i]);
        const flow_real above = (flow_real)(i + 1) / (flow_real)n - f;
        const flow_real below = f - (flow_real)i / (flow_real)n;
        if (above > most) most = above;
        if (below > most) most = below;
        if (!flowi_finite(f)) most = f - f; /* NaN, which no comparison replaces */
    }
    *ks = most;
    flow_release(sorted);
    return flowi_finite(most) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API flow_real flow_ks_critical(int n, flow_real level) {
    FLOW_ASSERT(n > 0 && level > 0 && level < 1);
    return flowi_sqrt(-flowi_log(level / 2) / (2 * (flow_real)n));
}

/* The bin of x, or -1 outside [lo, hi) and for NaN. */
static int flowi_bin(flow_real x, flow_real lo, flow_real hi, int bins) {
    if (!(x >= lo && x < hi)) return -1;
    return flowi_min((int)((x - lo) / (hi - lo) * (flow_real)bins), bins - 1);
}

FLOW_API int flow_histogram(flow_real *density, const flow_real *x, int n, flow_real lo,
                            flow_real hi, int bins) {
    const flow_real width = (hi - lo) / (flow_real)bins;
    int i;
    FLOW_ASSERT(density && lo < hi && bins > 0);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < bins; i++) density[i] = 0;
    for (i = 0; i < n; i++) {
        const int bin = flowi_bin(x[i], lo, hi, bins);
        if (bin >= 0) density[bin] += 1;
    }
    for (i = 0; i < bins; i++) density[i] /= (flow_real)n * width;
    return FLOW_OK;
}

FLOW_API int flow_histogram2(flow_real *density, const flow_real *x, int n, flow_real lo,
                             flow_real hi, int bins) {
    const flow_real width = (hi - lo) / (flow_real)bins;
    int i;
    FLOW_ASSERT(density && lo < hi && bins > 0);
    if (n < 1) return FLOW_E_EMPTY;
    for (i = 0; i < bins * bins; i++) density[i] = 0;
    for (i = 0; i < n; i++) {
        const int column = flowi_bin(x[2 * i], lo, hi, bins);
        const int row = flowi_bin(x[2 * i + 1], lo, hi, bins);
        if (column >= 0 && row >= 0) density[row * bins + column] += 1;
    }
    for (i = 0; i < bins * bins; i++) density[i] /= (flow_real)n * width * width;
    return FLOW_OK;
}

/* The two points a + half delta and b - half delta at parameter s of the tanh-sinh map
 * x = (a + b)/2 + half tanh((pi/2) sinh s): delta = 1 - tanh(...) is computed without
 * cancellation, so that points crowd at a singular end at 0 down to the smallest numbers. At other
 * ends they crowd on the number next to it, since their weights count. Adds weight f and weight
 * |f|; 0 when both points have merged with the ends. */
static int flowi_integrate_pair(flow_fn f, void *ctx, flow_real a, flow_real b, flow_real s,
                                flow_real *sum, flow_real *total) {
    const flow_real half = (b - a) / 2, es = flowi_exp(s);
    const flow_real e = flowi_exp(-FLOWI_PI / 2 * (es - 1 / es)); /* exp(-pi sinh s) */
    const flow_real delta = 2 * e / (1 + e);
    const flow_real weight = FLOWI_PI / 4 * (es + 1 / es) * delta * (2 - delta) * half;
    flow_real left = a + half * delta, right = b - half * delta;
    int inside = 0;
    if (left <= a && delta > 0) left = a + FLOWI_EPS * flowi_fabs(a);
    if (right >= b && delta > 0) right = b - FLOWI_EPS * flowi_fabs(b);
    if (left > a && left < b) {
        const flow_real value = weight * f(ctx, left);
        *sum += value;
        *total += flowi_fabs(value);
        inside = 1;
    }
    if (s > 0 && right > a && right < b) {
        const flow_real value = weight * f(ctx, right);
        *sum += value;
        *total += flowi_fabs(value);
        inside = 1;
    }
    return inside;
}

FLOW_API int flow_integrate(flow_real *integral, flow_fn f, void *ctx, flow_real a, flow_real b) {
    const flow_real tol = sizeof(flow_real) == sizeof(double) ? FLOWI_R(1e-12) : FLOWI_R(1e-5);
    flow_real sum = 0, total = 0, h = 1, before = 0, earlier = 0, value = 0;
    int level, i;
    FLOW_ASSERT(integral && f && !(a >= b));
    if (!flowi_finite(b - a)) return FLOW_E_FINITE;
    for (level = 0; level < 12; level++, h /= 2) {
        /* the points of earlier levels have even numbers and are in the sum already */
        for (i = level == 0 ? 0 : 1;; i += level == 0 ? 1 : 2)
            if ((flow_real)i * h > 7 ||
                !flowi_integrate_pair(f, ctx, a, b, (flow_real)i * h, &sum, &total))
                break;
        value = sum * h;
        if (!flowi_finite(value)) return FLOW_E_FINITE;
        if (level > 3 && flowi_fabs(value - before) <= tol * total * h &&
            flowi_fabs(before - earlier) <= FLOWI_R(1e3) * tol * total * h) {
            *integral = value;
            return FLOW_OK;
        }
        earlier = before;
        before = value;
    }
    *integral = value;
    return FLOW_E_CONVERGE;
}

/* Rows of cells along the last coordinate; row r has the digits of r in base m as the others. */
FLOW_API int flow_quadrature(flow_real *mass, flow_logprob_fn logprob, void *ctx, flow_real lo,
                             flow_real hi, int m, int d) {
    const flow_real width = (hi - lo) / (flow_real)(m > 0 ? m : 1);
    flow_real *x, *logp, cell = 1;
    double sum = 0; /* also in float, where a million small numbers would not add up */
    int i, j, r, rest, rows = 1, err = FLOW_OK;
    FLOW_ASSERT(mass && logprob && lo < hi && d > 0);
    if (m < 1) return FLOW_E_EMPTY;
    for (j = 0; j < d; j++) cell *= width;
    for (j = 1; j < d; j++) {
        FLOW_ASSERT(rows <= INT_MAX / m);
        rows *= m;
    }
    x = flowi_new((d + 1.0) * m);
    if (!x) return FLOW_E_MEMORY;
    logp = x + m * d;
    for (r = 0; r < rows && err == FLOW_OK; r++) {
        for (rest = r, j = d - 2; j >= 0; j--, rest /= m)
            for (i = 0; i < m; i++)
                x[i * d + j] = lo + width * ((flow_real)(rest % m) + FLOWI_R(0.5));
        for (i = 0; i < m; i++)
            x[i * d + d - 1] = lo + width * ((flow_real)i + FLOWI_R(0.5));
        err = logprob(ctx, logp, x, m);
        for (i = 0; i < m && err == FLOW_OK; i++) sum += (double)(cell * flowi_exp(logp[i]));
    }
    flow_release(x);
    if (err < 0) return err;
    *mass = (flow_real)sum;
    return flowi_finite(*mass) ? FLOW_OK : FLOW_E_FINITE;
}

FLOW_API int flow_check_gradient(flow_real *worst, flow_loss_fn loss, void *ctx, flow_real *theta,
                                 const flow_real *grad, int count, flow_real h) {
    flow_real floor = 0, most = 0;
    int i;
    FLOW_ASSERT(worst && loss && h > 0);
    if (!flowi_all_finite(grad, count)) return FLOW_E_FINITE;
    for (i = 0; i < count; i++)
        if (flowi_fabs(grad[i]) > floor) floor = flowi_fabs(grad[i]);
    for (i = 0; i < count; i++) {
        const flow_real kept = theta[i];
        flow_real up = 0, down = 0, slope, size;
        int err, err2;
        theta[i] = kept + h;
        err = loss(ctx, &up, theta);
        theta[i] = kept - h;
        err2 = loss(ctx, &down, theta);
        theta[i] = kept;
        if (err < 0 || err2 < 0) return err < 0 ? err : err2;
        slope = (up - down) / (2 * h);
        size = flowi_fabs(grad[i]) + flowi_fabs(slope) + FLOWI_R(1e-3) * floor;
        if (!flowi_finite(slope)) return FLOW_E_FINITE;
        if (size > 0 && flowi_fabs(grad[i] - slope) / size > most)
            most = flowi_fabs(grad[i] - slope) / size;
    }
    *worst = most;
    return FLOW_OK;
}

FLOW_API int flow_check_jacobian(flow_real *jacobian, flow_map_fn map, void *ctx,
                                 const flow_real *x, int d, flow_real h) {
    flow_real *moved, *up, *down;
    int i, j, err = FLOW_OK;
    FLOW_ASSERT(jacobian && map && d > 0 && h > 0);
    moved = flowi_new(3.0 * d);
    if (!moved) return FLOW_E_MEMORY;
    up = moved + d;
    down = up + d;
    for (j = 0; j < d && err == FLOW_OK; j++) {
        flowi_copy(moved, x, d);
        moved[j] = x[j] + h;
        err = map(ctx, up, moved);
        moved[j] = x[j] - h;
        if (err == FLOW_OK) err = map(ctx, down, moved);
        for (i = 0; i < d; i++) jacobian[i * d + j] = (up[i] - down[i]) / (2 * h);
    }
    flow_release(moved);
    if (err == FLOW_OK && !flowi_all_finite(jacobian, d * d)) err = FLOW_E_FINITE;
    return err;
}

FLOW_API int flow_check_logdet(flow_real *logdet, flow_map_fn map, void *ctx, const flow_real *x,
                               int d, flow_real h) {
    flow_real *jacobian = flowi_new(1.0 * d * d);
    int *piv = (int *)FLOW_MALLOC((size_t)d * sizeof(int));
    int err = jacobian && piv ? FLOW_OK : FLOW_E_MEMORY;
    if (err == FLOW_OK) err = flow_check_jacobian(jacobian, map, ctx, x, d, h);
    if (err == FLOW_OK) err = flow_lu(jacobian, piv, d);
    if (err == FLOW_OK) *logdet = flow_lu_logdet(jacobian, piv, NULL, d);
    flow_release(jacobian);
    flow_release(piv);
    return err;
}

/* -------------------------------------------------------------------------------- 13 files */

static int flowi_dat_fail(flow_dat *f, int err) {
    if (f->error == FLOW_OK) f->error = err;
    return f->error;
}

/* Opens the file beside its place, for text ("w") or bytes ("wb"). */
static int flowi_dat_begin(flow_dat *f, const char *path, const char *mode) {
    const size_t length = strlen(path);
    memset(f, 0, sizeof *f);
    f->path = (char *)FLOW_MALLOC(2 * length + 8);
    if (!f->path) return flowi_dat_fail(f, FLOW_E_MEMORY);
    f->aside = f->path + length + 1;
    memcpy(f->path, path, length + 1);
    memcpy(f->aside, path, length);
    memcpy(f->aside + length, ".part", 6);
    f->file = fopen(f->aside, mode);
    if (!f->file) flowi_dat_fail(f, FLOW_E_OPEN);
    return f->error;
}

FLOW_API int flow_dat_open(flow_dat *f, const char *path, const char *title) {
    const int kept = errno;
    FLOW_ASSERT(f && path && title);
    if (flowi_dat_begin(f, path, "w") == FLOW_OK && fprintf(f->file, "# %s\n", title) < 0)
        flowi_dat_fail(f, FLOW_E_FILE);
    if (f->error != FLOW_OK) flow_dat_discard(f);
    errno = kept;
    return f->error;
}

FLOW_API int flow_dat_block(flow_dat *f, const char *name, const char *columns) {
    const int kept = errno;
    if (f->error != FLOW_OK || !f->file) return flowi_dat_fail(f, FLOW_E_FILE);
    if (fprintf(f->file, "%s# %s\n# %s\n", f->blocks++ ? "\n\n" : "", name, columns) < 0)
        flowi_dat_fail(f, FLOW_E_FILE);
    errno = kept;
    return f->error;
}

FLOW_API int flow_dat_row(flow_dat *f, const flow_real *v, int count) {
    const int kept = errno;
    int j;
    if (f->error != FLOW_OK || !f->file) return flowi_dat_fail(f, FLOW_E_FILE);
    for (j = 0; j < count; j++)
        if (fprintf(f->file, "%s%.9g", j ? " " : "", (double)v[j]) < 0)
            flowi_dat_fail(f, FLOW_E_FILE);
    if (fputc('\n', f->file) == EOF) flowi_dat_fail(f, FLOW_E_FILE);
    errno = kept;
    return f->error;
}

FLOW_API int flow_dat_gap(flow_dat *f) {
    return flow_dat_row(f, NULL, 0);
}

FLOW_API int flow_dat_close(flow_dat *f) {
    const int kept = errno;
    int err;
    if (f->error == FLOW_OK && !f->file) flowi_dat_fail(f, FLOW_E_FILE);
    if (f->file) {
        if (ferror(f->file)) flowi_dat_fail(f, FLOW_E_FILE);
        if (fclose(f->file) != 0) flowi_dat_fail(f, FLOW_E_FILE);
        f->file = NULL;
#ifdef _WIN32
        if (f->error == FLOW_OK) remove(f->path); /* there, rename does not replace */
#endif
        if (f->error == FLOW_OK && rename(f->aside, f->path) != 0) flowi_dat_fail(f, FLOW_E_FILE);
    }
    err = f->error;
    flow_dat_discard(f);
    errno = kept;
    return err;
}

FLOW_API void flow_dat_discard(flow_dat *f) {
    const int kept = errno;
    if (f->file) fclose(f->file);
    if (f->path && f->error != FLOW_E_OPEN) remove(f->aside);
    flow_release(f->path);
    f->file = NULL;
    f->path = f->aside = NULL;
    errno = kept;
}

/* What reading a table keeps track of. */
typedef struct {
    FILE *file;
    flow_real *x;
    size_t count, room;
    int d, column, line;
} flowi_table;

#define FLOWI_TOKEN 400

static int flowi_table_push(flowi_table *t, flow_real value) {
    if (t->count == t->room) {
        const size_t room = t->room ? 2 * t->room : 1024;
        flow_real *x = room <= (size_t)INT_MAX ? flowi_new((double)room) : NULL;
        if (!x) return FLOW_E_MEMORY;
        if (t->count) memcpy(x, t->x, t->count * sizeof *x);
        flow_release(t->x);
        t->x = x;
        t->room = room;
    }
    if (t->column++ >= t->d) return FLOW_E_COLUMNS;
    t->x[t->count++] = value;
    return FLOW_OK;
}

/* The token that begins with character c; returns the character behind it, or an error. */
static int flowi_table_number(flowi_table *t, int c, int *err) {
    char token[FLOWI_TOKEN], *end;
    double value;
    int length = 0;
    while (c != EOF && !strchr(" \t\r\n,;#", c) && length < FLOWI_TOKEN - 1) {
        token[length++] = (char)c;
        c = getc(t->file);
    }
    token[length] = 0;
    value = strtod(token, &end);
    if (end == token || *end || length == FLOWI_TOKEN - 1) *err = FLOW_E_NUMBER;
    else if (!flowi_finite((flow_real)value)) *err = FLOW_E_FINITE;
    else *err = flowi_table_push(t, (flow_real)value);
    return c;
}

/* One line; *more is 0 when the file ended with it. Where commas are, one stands between any two
 * numbers: more, fewer, or one at an end would be an empty field. */
static int flowi_table_line(flowi_table *t, int *more) {
    int c = getc(t->file), commas = 0, fresh = 0, err = FLOW_OK; /* fresh: after the last number */
    t->line++;
    t->column = 0;
    if (t->line == 1 && c == 0xEF && getc(t->file) == 0xBB && getc(t->file) == 0xBF)
        c = getc(t->file); /* the byte order mark that some programs put before UTF-8 */
    while (c != '\n' && c != EOF && err == FLOW_OK) {
        if (c == '#') {
            while (c != '\n' && c != EOF) c = getc(t->file);
        } else if (c == ' ' || c == '\t' || c == '\r') {
            c = getc(t->file);
        } else if (c == ',' || c == ';') {
            if (fresh || t->column == 0) err = FLOW_E_NUMBER;
            commas++;
            fresh = 1;
            c = getc(t->file);
        } else if (commas && commas != t->column) {
            err = FLOW_E_NUMBER;
        } else {
            c = flowi_table_number(t, c, &err);
            fresh = 0;
        }
    }
    *more = c != EOF;
    if (err == FLOW_OK && fresh) err = FLOW_E_NUMBER;
    if (err == FLOW_OK && t->column > 0 && t->column < t->d) err = FLOW_E_COLUMNS;
    if (ferror(t->file)) err = FLOW_E_FILE;
    return err;
}

FLOW_API int flow_points_read(flow_real **x, int *n, int *line, int d, const char *path) {
    const int kept = errno;
    flowi_table t;
    int err = FLOW_OK, more = 1;
    FLOW_ASSERT(x && n && line && d > 0 && path);
    memset(&t, 0, sizeof t);
    t.d = d;
    *x = NULL;
    *n = *line = 0;
    t.file = fopen(path, "r");
    if (t.file) {
        while (more && err == FLOW_OK) err = flowi_table_line(&t, &more);
        fclose(t.file);
        if (err == FLOW_OK && t.count == 0) err = FLOW_E_EMPTY;
        else if (err < 0) *line = t.line;
    } else {
        err = FLOW_E_OPEN;
    }
    errno = kept;
    if (err < 0) {
        flow_release(t.x);
        return err;
    }
    *x = t.x;
    *n = (int)(t.count / (size_t)d);
    return FLOW_OK;
}

/* Bytes of files. Numbers are put together by shifts, so that the order in which this machine keeps
 * its own does not matter. */

static uint64_t flowi_little(const unsigned char *b, int bytes) {
    uint64_t v = 0;
    while (bytes > 0) v = v << 8 | b[--bytes];
    return v;
}

static uint64_t flowi_big(const unsigned char *b, int bytes) {
    uint64_t v = 0;
    int k;
    for (k = 0; k < bytes; k++) v = v << 8 | b[k];
    return v;
}

static void flowi_put_little(unsigned char *b, uint64_t v, int bytes) {
    int k;
    for (k = 0; k < bytes; k++) b[k] = (unsigned char)(v >> 8 * k & 0xFF);
}

static int flowi_file_read(FILE *file, unsigned char *to, size_t count) {
    if (fread(to, 1, count, file) == count) return FLOW_OK;
    return ferror(file) ? FLOW_E_FILE : FLOW_E_FORMAT;
}

/* The bytes from here to the end. */
static int flowi_file_rest(FILE *file, uint64_t *rest) {
    const long here = ftell(file);
    long end;
    if (here < 0 || fseek(file, 0, SEEK_END) != 0) return FLOW_E_FILE;
    end = ftell(file);
    if (end < here || fseek(file, here, SEEK_SET) != 0) return FLOW_E_FILE;
    *rest = (uint64_t)(end - here);
    return FLOW_OK;
}

/* Models as tensors. */

static size_t flowi_tensor_size(const flow_tensor *t) {
    return flowi_size(t->rows, t->cols ? t->cols : 1, 1);
}

static flow_tensor flowi_tensor(const char *prefix, int k, const char *what, flow_real *value,
                                int rows, int cols) {
    flow_tensor t;
    const int length = snprintf(t.name, sizeof t.name, "%s%d.%s", prefix, k, what);
    FLOW_ASSERT(length > 0 && length < (int)sizeof t.name);
    (void)length;
    t.value = value;
    t.rows = rows;
    t.cols = cols;
    return t;
}

/* Between two layers of nn.Sequential stands an activation, which has a number too. */
FLOW_API int flow_mlp_tensors(flow_tensor *t, const flow_mlp *m, flow_real *theta,
                              const char *prefix) {
    int l;
    FLOW_ASSERT(m && prefix && (theta || !t));
    for (l = 0; t && l <= m->depth; l++) {
        const flowi_layer s = flowi_mlp_layer(m, l);
        *t++ = flowi_tensor(prefix, 2 * l, "weight", theta + s.weight, s.out, s.in);
        *t++ = flowi_tensor(prefix, 2 * l, "bias", theta + s.bias, s.out, 0);
    }
    return 2 * (m->depth + 1);
}

/* The tensors of layer k, whose slice of theta this is. */
static int flowi_layer_tensors(flow_tensor *t, const flow_bijection *b, int k, flow_real *theta) {
    const int residual = b->forward == flowi_residual_forward;
    char prefix[32];
    if (residual || b->forward == flowi_coupling_forward || b->forward == flowi_made_forward) {
        const flow_mlp net = residual ? flowi_residual_net(b) : flowi_conditioner_net(b);
        snprintf(prefix, sizeof prefix, "layers.%d.net.", k);
        return flow_mlp_tensors(t, &net, theta, prefix);
    }
    if (t) *t = flowi_tensor("layers.", k, "theta", theta, b->params, 0);
    return 1;
}

FLOW_API int flow_chain_tensors(flow_tensor *t, const flow_chain *c, flow_real *theta) {
    int k, count = 0;
    FLOW_ASSERT(c && c->layer && (theta || !t));
    for (k = 0; k < c->count; k++) {
        count += flowi_layer_tensors(t ? t + count : NULL, &c->layer[k], k, theta);
        if (t) theta += c->layer[k].params;
    }
    return count;
}

/* Saves or loads these tensors, and frees them. */
static int flowi_model_file(flow_tensor *t, int count, const char *path, int save) {
    int err = FLOW_E_MEMORY;
    if (t) err = save ? flow_tensors_save(t, count, path) : flow_tensors_load(t, NULL, count, path);
    flow_release(t);
    return err;
}

static int flowi_net_file(const flow_net *net, const char *path, int save) {
    const int count = flow_mlp_tensors(NULL, &net->mlp, NULL, "net.");
    flow_tensor *t = (flow_tensor *)FLOW_MALLOC((size_t)count * sizeof *t);
    if (t) flow_mlp_tensors(t, &net->mlp, net->theta, "net.");
    return flowi_model_file(t, count, path, save);
}

FLOW_API int flow_net_save(const flow_net *net, const char *path) {
    return flowi_net_file(net, path, 1);
}

FLOW_API int flow_net_load(flow_net *net, const char *path) {
    return flowi_net_file(net, path, 0);
}

static int flowi_chain_file(const flow_chain *c, const char *path, int save) {
    const int count = flow_chain_tensors(NULL, c, NULL);
    flow_tensor *t = (flow_tensor *)FLOW_MALLOC((size_t)count * sizeof *t);
    if (t) flow_chain_tensors(t, c, c->theta);
    return flowi_model_file(t, count, path, save);
}

FLOW_API int flow_chain_save(const flow_chain *c, const char *path) {
    return flowi_chain_file(c, path, 1);
}

/* A layer's cache may hold what it has learned about its weights: of others it must start anew. */
FLOW_API int flow_chain_load(flow_chain *c, const char *path) {
    const int err = flowi_chain_file(c, path, 0);
    flow_real *cache = c->cache;
    int k;
    for (k = 0; k < c->count && err == FLOW_OK; k++) {
        memset(cache, 0, flowi_chain_cache(c, k) * sizeof *cache);
        cache += flowi_chain_cache(c, k);
    }
    return err;
}

/* Writing safetensors. */

/* Are these tensors that a file can hold: sizes, and names that need no escape and differ? */
static int flowi_tensors_valid(const flow_tensor *t, int count) {
    int i, k;
    for (k = 0; k < count; k++) {
        const char *c = t[k].name;
        while (*c >= ' ' && *c <= '~' && *c != '"' && *c != '\\' && c < t[k].name + 63) c++;
        if (*c || t[k].rows < 0 || t[k].cols < 0 || !t[k].value) return 0;
        if (strcmp(t[k].name, "__metadata__") == 0) return 0;
        for (i = 0; i < k; i++)
            if (strcmp(t[i].name, t[k].name) == 0) return 0;
    }
    return count >= 0;
}

/* The header; returns its length, a multiple of 8, so that the numbers behind it are aligned. */
static int flowi_tensors_header(FILE *file, const flow_tensor *t, int count) {
    const char *type = sizeof(flow_real) == 8 ? "F64" : "F32";
    unsigned long long begin = 0, end;
    int length = fprintf(file, "{"), k;
    for (k = 0; k < count; k++, begin = end) {
        end = begin + flowi_tensor_size(&t[k]) * sizeof(flow_real);
        length += fprintf(file, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%d", k ? "," : "", t[k].name,
                          type, t[k].rows);
        if (t[k].cols) length += fprintf(file, ",%d", t[k].cols);
        length += fprintf(file, "],\"data_offsets\":[%llu,%llu]}", begin, end);
    }
    return length + fprintf(file, "}%*s", 7 - length % 8, "");
}

static void flowi_tensor_write(flow_dat *f, const flow_tensor *t) {
    const size_t size = flowi_tensor_size(t);
    unsigned char b[sizeof(flow_real)];
    flowi_bits bits;
    size_t i;
    for (i = 0; i < size; i++) {
        memcpy(&bits, &t->value[i], sizeof bits);
        flowi_put_little(b, bits, (int)sizeof b);
        if (fwrite(b, 1, sizeof b, f->file) != sizeof b) flowi_dat_fail(f, FLOW_E_FILE);
    }
}

/* The eight bytes before the header are written last, when its length is known. */
static int flowi_tensors_write(flow_dat *f, const flow_tensor *t, int count) {
    unsigned char length[8] = {0};
    int k;
    if (fwrite(length, 1, 8, f->file) != 8) return flowi_dat_fail(f, FLOW_E_FILE);
    flowi_put_little(length, (uint64_t)flowi_tensors_header(f->file, t, count), 8);
    for (k = 0; k < count; k++) flowi_tensor_write(f, &t[k]);
    if (fseek(f->file, 0, SEEK_SET) != 0 || fwrite(length, 1, 8, f->file) != 8)
        flowi_dat_fail(f, FLOW_E_FILE);
    return f->error;
}

FLOW_API int flow_tensors_save(const flow_tensor *t, int count, const char *path) {
    const int kept = errno, valid = flowi_tensors_valid(t, count);
    flow_dat f;
    int k;
    FLOW_ASSERT(valid && path);
    (void)valid;
    for (k = 0; k < count; k++)
        if (!flowi_all_finite(t[k].value, (int)flowi_tensor_size(&t[k]))) return FLOW_E_FINITE;
    if (flowi_dat_begin(&f, path, "wb") == FLOW_OK) flowi_tensors_write(&f, t, count);
    k = flow_dat_close(&f);
    errno = kept;
    return k;
}

/* The header of a safetensors file, in the part of JSON that it needs. Behind the text stands a 0:
 * no rule accepts it, so none reads on. After a mistake `bad` stays 1, and nothing is taken. */
typedef struct {
    unsigned char *at; /* what is read next */
    int bad;
} flowi_json;

typedef struct {
    const unsigned char *text;
    size_t length;
} flowi_text;

static void flowi_json_blanks(flowi_json *j) {
    while (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r') j->at++;
}

static int flowi_json_take(flowi_json *j, char c) {
    flowi_json_blanks(j);
    if (j->bad || *j->at != (unsigned char)c) return 0;
    j->at++;
    return 1;
}

static void flowi_json_need(flowi_json *j, char c) {
    if (!flowi_json_take(j, c)) j->bad = 1;
}

/* The bytes of the UTF-8 character at p, or 0 when none may stand there: a control character, a
 * longer form than needed, a surrogate, above U+10FFFF [RFC 3629]. */
static size_t flowi_utf8(const unsigned char *p) {
    static const uint32_t least[5] = {0, 0x20, 0x80, 0x800, 0x10000};
    const int many = *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
    const int length = *p < 0x80 ? 1 : many;
    uint32_t code = *p & (many ? 0x7Fu >> many : 0x7Fu);
    int k;
    for (k = 1; k < length; k++) {
        if (p[k] >> 6 != 2) return 0;
        code = code << 6 | (p[k] & 63u);
    }
    if (code < least[length] || code > 0x10FFFF || code >> 11 == 27) return 0;
    return (size_t)length;
}

static size_t flowi_utf8_put(unsigned char *to, uint32_t code) {
    static const unsigned first[4] = {0, 0xC0, 0xE0, 0xF0};
    const size_t more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    size_t k;
    for (k = more; k > 0; k--, code >>= 6) to[k] = (unsigned char)(0x80 | (code & 63));
    to[0] = (unsigned char)(first[more] | code);
    return more + 1;
}

/* The number of an escape such as \u00e9: four hexadecimal digits. */
static uint32_t flowi_json_hex(flowi_json *j) {
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    uint32_t code = 0;
    int k;
    if (j->at[0] != '\\' || j->at[1] != 'u') j->bad = 1;
    for (k = 2; k < 6 && !j->bad; k++) {
        const char *digit = j->at[k] ? strchr(digits, j->at[k]) : NULL;
        if (digit) code = code << 4 | (uint32_t)(digit - digits) % 16;
        else j->bad = 1;
    }
    if (!j->bad) j->at += 6;
    return code;
}

/* \n and its like; \u, of which a pair stands for what is above U+FFFF: D800 ... DBFF and then
 * DC00 ... DFFF, each with ten of its bits. Returns how many bytes it is in UTF-8. */
static size_t flowi_json_escape(flowi_json *j, unsigned char *to) {
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *letter = j->at[1] ? strchr(letters, j->at[1]) : NULL;
    uint32_t code, low;
    if (letter) {
        j->at += 2;
        *to = (unsigned char)meant[letter - letters];
        return 1;
    }
    code = flowi_json_hex(j);
    if (code >> 10 == 0x36) {
        low = flowi_json_hex(j);
        if (low >> 10 != 0x37) j->bad = 1;
        code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
    } else if (code >> 10 == 0x37) {
        j->bad = 1;
    }
    return j->bad ? 0 : flowi_utf8_put(to, code);
}

/* A string; its escapes are resolved where they stand, since none becomes longer. */
static flowi_text flowi_json_string(flowi_json *j) {
    flowi_text s;
    unsigned char *to;
    flowi_json_need(j, '"');
    s.text = to = j->at;
    while (!j->bad && *j->at != '"') {
        if (*j->at == '\\') {
            to += flowi_json_escape(j, to);
        } else {
            const size_t length = flowi_utf8(j->at);
            if (length == 0) j->bad = 1;
            memmove(to, j->at, length);
            j->at += length;
            to += length;
        }
    }
    s.length = (size_t)(to - s.text);
    flowi_json_need(j, '"');
    return s;
}

static int flowi_text_is(flowi_text s, const char *name) {
    return s.length == strlen(name) && memcmp(s.text, name, s.length) == 0;
}

/* The place of a string among names[count], or count. */
static int flowi_json_name(flowi_json *j, const char *const *names, int count) {
    const flowi_text s = flowi_json_string(j);
    int k = 0;
    while (k < count && !flowi_text_is(s, names[k])) k++;
    return k;
}

/* A whole number 0, 1, ... of at most 18 digits: no file has more bytes. */
static uint64_t flowi_json_number(flowi_json *j) {
    uint64_t v = 0;
    int digits = 0;
    flowi_json_blanks(j);
    while (!j->bad && *j->at >= '0' && *j->at <= '9') {
        if (digits == 18 || (digits > 0 && v == 0)) j->bad = 1;
        v = 10 * v + (uint64_t)(*j->at++ - '0');
        digits++;
    }
    if (digits == 0) j->bad = 1;
    return v;
}

/* Types by name, those that are read first, and how many bytes a number has. */
#define FLOWI_TYPES 13
#define FLOWI_TYPES_READ 4
enum { FLOWI_F64, FLOWI_F32, FLOWI_BF16, FLOWI_F16 };
static const char *const flowi_type_name[FLOWI_TYPES] = {
    "F64", "F32", "BF16", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"};
static const unsigned char flowi_type_bytes[FLOWI_TYPES] = {8, 4, 2, 2, 8, 4, 2, 1, 8, 4, 2, 1, 1};

/* What the header says of one tensor. */
typedef struct {
    flowi_text name;
    int type, dims;
    uint64_t shape[2], size; /* the first two of its dims, the product of all */
    uint64_t begin, end;     /* its bytes, counted from the end of the header */
} flowi_entry;

static void flowi_json_shape(flowi_json *j, flowi_entry *e) {
    e->dims = 0;
    e->size = 1;
    flowi_json_need(j, '[');
    if (flowi_json_take(j, ']')) return;
    do {
        const uint64_t dim = flowi_json_number(j);
        if (dim > 0 && e->size > UINT64_MAX / dim) j->bad = 1;
        if (e->dims < 2) e->shape[e->dims] = dim;
        e->size *= dim;
        e->dims++;
    } while (flowi_json_take(j, ','));
    flowi_json_need(j, ']');
}

static void flowi_json_range(flowi_json *j, flowi_entry *e) {
    flowi_json_need(j, '[');
    e->begin = flowi_json_number(j);
    flowi_json_need(j, ',');
    e->end = flowi_json_number(j);
    flowi_json_need(j, ']');
}

/* Has its range the bytes of its shape and type? Of a type that is not in the table, any. */
static int flowi_entry_fits(const flowi_entry *e) {
    const uint64_t length = e->end - e->begin;
    uint64_t bytes;
    if (e->begin > e->end) return 0;
    if (e->type == FLOWI_TYPES) return 1;
    bytes = flowi_type_bytes[e->type];
    return length / bytes == e->size && length % bytes == 0;
}

/* {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, in any order, each once. */
static void flowi_json_entry(flowi_json *j, flowi_entry *e) {
    static const char *const keys[3] = {"dtype", "shape", "data_offsets"};
    int seen = 0;
    flowi_json_need(j, '{');
    do {
        const int key = flowi_json_name(j, keys, 3);
        if (seen >> key & 1 || key == 3) j->bad = 1;
        seen |= 1 << key;
        flowi_json_need(j, ':');
        if (key == 0) e->type = flowi_json_name(j, flowi_type_name, FLOWI_TYPES);
        else if (key == 1) flowi_json_shape(j, e);
        else flowi_json_range(j, e);
    } while (flowi_json_take(j, ','));
    flowi_json_need(j, '}');
    if (seen != 7 || !flowi_entry_fits(e)) j->bad = 1;
}

/* {"written by":"a name"}: strings, which are passed over. */
static void flowi_json_metadata(flowi_json *j) {
    flowi_json_need(j, '{');
    if (flowi_json_take(j, '}')) return;
    do {
        flowi_json_string(j);
        flowi_json_need(j, ':');
        flowi_json_string(j);
    } while (flowi_json_take(j, ','));
    flowi_json_need(j, '}');
}

/* An open file with its header. */
typedef struct {
    FILE *file;
    unsigned char *text; /* [length + 1] */
    flowi_entry *entry;  /* [count] */
    size_t length, count;
    uint64_t bytes; /* behind the header */
} flowi_tensors;

static void flowi_json_header(flowi_json *j, flowi_tensors *s) {
    int metadata = 0;
    if (*j->at != '{') j->bad = 1; /* the first byte: not even a blank before it */
    flowi_json_need(j, '{');
    if (flowi_json_take(j, '}')) return;
    do {
        const flowi_text name = flowi_json_string(j);
        flowi_json_need(j, ':');
        if (flowi_text_is(name, "__metadata__")) {
            if (metadata++) j->bad = 1;
            flowi_json_metadata(j);
        } else if (!j->bad) {
            s->entry[s->count].name = name;
            flowi_json_entry(j, &s->entry[s->count++]);
        }
    } while (flowi_json_take(j, ','));
    flowi_json_need(j, '}');
}

static int flowi_entry_by_name(const void *a, const void *b) {
    const flowi_text x = ((const flowi_entry *)a)->name, y = ((const flowi_entry *)b)->name;
    const int order = memcmp(x.text, y.text, x.length < y.length ? x.length : y.length);
    return order ? order : (x.length > y.length) - (x.length < y.length);
}

static int flowi_entry_by_place(const void *a, const void *b) {
    const flowi_entry *x = (const flowi_entry *)a, *y = (const flowi_entry *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Names that differ, and ranges that cover the bytes without gap or overlap? */
static int flowi_tensors_consistent(flowi_tensors *s) {
    uint64_t place = 0;
    size_t k;
    qsort(s->entry, s->count, sizeof *s->entry, flowi_entry_by_name);
    for (k = 1; k < s->count; k++)
        if (flowi_entry_by_name(&s->entry[k - 1], &s->entry[k]) == 0) return 0;
    qsort(s->entry, s->count, sizeof *s->entry, flowi_entry_by_place);
    for (k = 0; k < s->count; place = s->entry[k++].end)
        if (s->entry[k].begin != place) return 0;
    return place == s->bytes;
}

/* The header's text. Memory is taken for what the file really has: the text, and an entry for each
 * 48 bytes of it, than which none is shorter (47 and a comma, with nothing between the quotes). */
static int flowi_tensors_text(flowi_tensors *s) {
    unsigned char b[8];
    uint64_t length;
    int err = flowi_file_read(s->file, b, 8);
    if (err == FLOW_OK) err = flowi_file_rest(s->file, &s->bytes);
    if (err < 0) return err;
    length = flowi_little(b, 8);
    if (length > s->bytes || length > 100000000) return FLOW_E_FORMAT;
    s->bytes -= length;
    s->length = (size_t)length;
    s->text = (unsigned char *)FLOW_MALLOC(s->length + 1);
    s->entry = (flowi_entry *)FLOW_MALLOC((s->length / 48 + 1) * sizeof *s->entry);
    if (!s->text || !s->entry) return FLOW_E_MEMORY;
    s->text[s->length] = 0;
    return flowi_file_read(s->file, s->text, s->length);
}

static int flowi_tensors_read(flowi_tensors *s) {
    flowi_json j;
    int err = flowi_tensors_text(s);
    if (err < 0) return err;
    j.at = s->text;
    j.bad = 0;
    flowi_json_header(&j, s);
    flowi_json_blanks(&j); /* the padding */
    if (j.bad || j.at != s->text + s->length) return FLOW_E_FORMAT;
    return flowi_tensors_consistent(s) ? FLOW_OK : FLOW_E_FORMAT;
}

/* The entry of a tensor's name, if it is of its shape and of a type that is read. */
static int flowi_tensors_find(const flowi_tensors *s, const flowi_entry **e, const flow_tensor *t) {
    size_t k = 0;
    while (k < s->count && !flowi_text_is(s->entry[k].name, t->name)) k++;
    if (k == s->count) return FLOW_E_UNKNOWN;
    *e = &s->entry[k];
    if ((*e)->dims != (t->cols ? 2 : 1) || (*e)->shape[0] != (uint64_t)t->rows) return FLOW_E_SHAPE;
    if (t->cols && (*e)->shape[1] != (uint64_t)t->cols) return FLOW_E_SHAPE;
    return (*e)->type < FLOWI_TYPES_READ ? FLOW_OK : FLOW_E_TYPE;
}

/* F16: sign, 5 bits of exponent e, 10 of fraction f: (1 + f/1024) 2^(e-15), or f/1024 2^-14 when e
 * is 0. BF16: the upper half of an F32. */
static double flowi_tensor_value(const unsigned char *b, int type) {
    const uint64_t wide = flowi_little(b, flowi_type_bytes[type]);
    const uint32_t bits = (uint32_t)(type == FLOWI_BF16 ? wide << 16 : wide);
    const int e = (int)(bits >> 10 & 31), f = (int)(bits & 1023);
    float single;
    double value;
    if (type == FLOWI_F64) {
        memcpy(&value, &wide, sizeof value);
    } else if (type == FLOWI_F16) {
        value = e == 31 ? HUGE_VAL : e == 0 ? ldexp(f, -24) : ldexp(1024 + f, e - 25);
        if (bits >> 15) value = -value;
    } else {
        memcpy(&single, &bits, sizeof single);
        value = (double)single;
    }
    return value;
}

static int flowi_tensor_read(const flowi_tensors *s, const flowi_entry *e, flow_real *to) {
    const size_t bytes = (size_t)flowi_type_bytes[e->type];
    unsigned char block[4096];
    size_t left = (size_t)e->size, count, i;
    int err;
    if (fseek(s->file, (long)(8 + s->length + e->begin), SEEK_SET) != 0) return FLOW_E_FILE;
    for (; left > 0; left -= count, to += count) {
        count = left < sizeof block / bytes ? left : sizeof block / bytes;
        err = flowi_file_read(s->file, block, count * bytes);
        if (err < 0) return err;
        for (i = 0; i < count; i++)
            to[i] = (flow_real)flowi_tensor_value(block + i * bytes, e->type);
        if (!flowi_all_finite(to, (int)count)) return FLOW_E_FINITE;
    }
    return FLOW_OK;
}

/* Reads all of t into a new block, *read, taken when all names, shapes and types are right: then it
 * is at most four times as large as the file. */
static int flowi_tensors_collect(const flowi_tensors *s, flow_real **read, const flow_tensor *t,
                                 int *at, int count) {
    const flowi_entry *e = NULL;
    size_t size = 0;
    int err;
    for (*at = 0; *at < count; ++*at) {
        err = flowi_tensors_find(s, &e, &t[*at]);
        if (err < 0) return err;
        size += flowi_tensor_size(&t[*at]);
    }
    *read = flowi_new((double)size);
    if (!*read) *at = -1;
    if (!*read) return FLOW_E_MEMORY;
    for (*at = 0, size = 0; *at < count; ++*at) {
        flowi_tensors_find(s, &e, &t[*at]);
        err = flowi_tensor_read(s, e, *read + size);
        if (err < 0) return err;
        size += flowi_tensor_size(&t[*at]);
    }
    *at = -1;
    return FLOW_OK;
}

FLOW_API int flow_tensors_load(const flow_tensor *t, int *at, int count, const char *path) {
    const int kept = errno, valid = flowi_tensors_valid(t, count);
    flowi_tensors s;
    flow_real *read = NULL, *from;
    int err = FLOW_E_OPEN, place = -1, k;
    FLOW_ASSERT(valid && path);
    (void)valid;
    memset(&s, 0, sizeof s);
    s.file = fopen(path, "rb");
    if (s.file) {
        err = flowi_tensors_read(&s);
        if (err == FLOW_OK) err = flowi_tensors_collect(&s, &read, t, &place, count);
        fclose(s.file);
    }
    for (k = 0, from = read; k < count && err == FLOW_OK; from += flowi_tensor_size(&t[k++]))
        flowi_copy(t[k].value, from, (int)flowi_tensor_size(&t[k]));
    flow_release(s.text);
    flow_release(s.entry);
    flow_release(read);
    if (at) *at = place;
    errno = kept;
    return err;
}

/* IDX: 0, 0, the type (8: a byte without sign), how many dimensions; then these; then the data. */

static int flowi_idx_header(FILE *file, uint64_t size[3]) {
    unsigned char b[12] = {0};
    int err = flowi_file_read(file, b, 4), dims = b[3], k;
    if (b[0] == 0x1F && b[1] == 0x8B) return FLOW_E_GZIP;
    if (err < 0) return err;
    if (b[0] != 0 || b[1] != 0) return FLOW_E_FORMAT;
    if (b[2] != 8) return FLOW_E_TYPE;
    if (dims != 1 && dims != 3) return FLOW_E_SHAPE;
    err = flowi_file_read(file, b, 4 * (size_t)dims);
    for (k = 0; k < 3; k++) size[k] = k < dims ? flowi_big(b + 4 * k, 4) : 1;
    return err;
}

/* Memory is taken when the sizes agree with the file's. */
static int flowi_idx_data(FILE *file, unsigned char **data, uint64_t size[3]) {
    uint64_t rest, image;
    int err = flowi_idx_header(file, size);
    if (err == FLOW_OK) err = flowi_file_rest(file, &rest);
    if (err < 0) return err;
    image = size[1] * size[2]; /* below 2^64 */
    if (size[0] == 0 || image == 0) return FLOW_E_EMPTY;
    if (rest / image != size[0] || rest % image != 0) return FLOW_E_FORMAT;
    if (rest > (uint64_t)INT_MAX) return FLOW_E_MEMORY;
    *data = (unsigned char *)FLOW_MALLOC((size_t)rest);
    return *data ? flowi_file_read(file, *data, (size_t)rest) : FLOW_E_MEMORY;
}

FLOW_API int flow_idx_read(unsigned char **data, int *n, int *rows, int *cols, const char *path) {
    const int kept = errno;
    uint64_t size[3] = {0, 0, 0};
    FILE *file;
    int err = FLOW_E_OPEN;
    FLOW_ASSERT(data && n && rows && cols && path);
    *data = NULL;
    file = fopen(path, "rb");
    if (file) {
        err = flowi_idx_data(file, data, size);
        fclose(file);
    }
    if (err < 0) {
        flow_release(*data);
        *data = NULL;
    }
    *n = err < 0 ? 0 : (int)size[0];
    *rows = err < 0 ? 0 : (int)size[1];
    *cols = err < 0 ? 0 : (int)size[2];
    errno = kept;
    return err;
}

#ifdef __cplusplus
}
#endif
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
#endif /* FLOW_IMPLEMENTATION: the end of flow.h */
