/* 02_linear_algebra.c - tests of section 2 of flow.h: products, factorisations, spectral norm. */
#include "test.h"

#define FLOW_STATIC
#include "flow.h"
#include "measure.h"

#define MOST 64 /* the largest matrix below is MOST*MOST */

/* ---- products -------------------------------------------------------------------------------- */

/* One product and its naive twin: C[i][j] = sum_p op(A)[i][p] op(B)[p][j]. The arrays are as long
 * as they must be and not one number longer, so that sanitizers see a step beyond. */
typedef struct {
    int m, n, k, ta, tb, accumulate;
    flow_real *a, *b, *c, *before;
} product;

static flow_real *random_array(flow_rng *rng, int count) {
    flow_real *x = (flow_real *)malloc(sizeof(flow_real) * (size_t)(count > 0 ? count : 1));
    flow_normal_sample(rng, x, count, 1);
    return x;
}

static product product_of_sizes(flow_rng *rng, int m, int n, int k, int flags) {
    product p;
    p.m = m;
    p.n = n;
    p.k = k;
    p.ta = flags & 1;
    p.tb = flags & 2; /* "not 0" is what the header asks for */
    p.accumulate = flags & 4;
    p.a = random_array(rng, m * k);
    p.b = random_array(rng, k * n);
    p.c = random_array(rng, m * n);
    p.before = random_array(rng, m * n);
    memcpy(p.before, p.c, sizeof(flow_real) * (size_t)(m * n));
    return p;
}

static void product_free(product *p) {
    free(p->a);
    free(p->b);
    free(p->c);
    free(p->before);
}

/* The largest error of flow_matmul, in multiples of EPS times the sum of the terms' sizes. */
static double product_error_of(const product *p) {
    double worst = 0;
    int i, j, q;
    flow_matmul(p->c, p->a, p->ta, p->b, p->tb, p->m, p->n, p->k, p->accumulate);
    for (i = 0; i < p->m; i++)
        for (j = 0; j < p->n; j++) {
            double sum = p->accumulate ? (double)p->before[i * p->n + j] : 0;
            double size = fabs(sum), off;
            for (q = 0; q < p->k; q++) {
                const double x = (double)(p->ta ? p->a[q * p->m + i] : p->a[i * p->k + q]);
                const double y = (double)(p->tb ? p->b[j * p->k + q] : p->b[q * p->n + j]);
                sum += x * y;
                size += fabs(x * y);
            }
            off = fabs((double)p->c[i * p->n + j] - sum);
            if (off > 0 && !(off / (size * EPS) <= worst)) worst = off / (size * EPS);
        }
    return worst;
}

static void check_product(flow_rng *rng, int m, int n, int k, int flags) {
    product p = product_of_sizes(rng, m, n, k, flags);
    const double worst = product_error_of(&p);
    if (!TEST(worst <= 2 + k / 2.0))
        printf("    m %d, n %d, k %d, flags %d: off by %g\n", m, n, k, flags, worst);
    product_free(&p);
}

/* An edge of the register tile, a transpose, an index off by one: all sizes up to 9 in all eight
 * ways, and up to 20 along each side. */
static void test_products_of_small_sizes(void) {
    flow_rng rng = test_rng(1);
    int m, n, k, flags;
    for (flags = 0; flags < 8; flags++) {
        for (m = 0; m <= 9; m++)
            for (n = 0; n <= 9; n++)
                for (k = 0; k <= 9; k++) check_product(&rng, m, n, k, flags);
        for (m = 10; m <= 20; m++) {
            check_product(&rng, m, 3, 5, flags);
            check_product(&rng, 5, m, 3, flags);
            check_product(&rng, 3, 5, m, flags);
            check_product(&rng, m, m, m, flags);
        }
    }
}

/* A remainder lost beyond a panel's depth or beside its columns; a b that is a panel itself. */
static void test_products_of_awkward_sizes(void) {
    static const int sizes[][3] = {{63, 64, 65},  {64, 65, 63}, {65, 63, 64}, {257, 3, 5},
                                   {5, 257, 3},   {3, 5, 257},  {1, 1, 300},  {2, 17, 256},
                                   {300, 1, 255}, {7, 33, 512}, {1, 300, 1},  {13, 31, 513},
                                   {40, 8, 600}, {5, 9, 600},   {9, 20, 70},  {9, 32, 270}};
    flow_rng rng = test_rng(2);
    int i, flags;
    for (i = 0; i < 16; i++)
        for (flags = 0; flags < 8; flags++)
            check_product(&rng, sizes[i][0], sizes[i][1], sizes[i][2], flags);
}

/* Row i of a product of many rows has the bits of the product of row i alone. */
static void check_product_rows(flow_rng *rng, int m, int n, int k, int flags) {
    product p = product_of_sizes(rng, m, n, k, flags);
    flow_real *row = random_array(rng, k);
    int i, j;
    flow_matmul(p.c, p.a, p.ta, p.b, p.tb, m, n, k, p.accumulate);
    for (i = 0; i < m; i++) {
        for (j = 0; j < k; j++) row[j] = p.a[p.ta ? j * m + i : i * k + j];
        flow_matmul(p.before + i * n, row, p.ta, p.b, p.tb, 1, n, k, p.accumulate);
    }
    if (!TEST(memcmp(p.c, p.before, sizeof(flow_real) * (size_t)(m * n)) == 0))
        printf("    m %d, n %d, k %d, flags %d\n", m, n, k, flags);
    product_free(&p);
    free(row);
}

/* A sum whose order depends on m, on whether c has few columns, or on the thread that takes it: a
 * sample's result must not depend on its batch. The last sizes are large enough for threads. */
static void test_product_bits_do_not_depend_on_m(void) {
    static const int depths[] = {5, 64, 300};
    static const int more[][3] = {{200, 1, 300}, {90, 2, 64}, {33, 5, 700}, {130, 170, 100},
                                  {65, 300, 40}, {300, 3, 2400}};
    flow_rng rng = test_rng(3);
    int i, m, flags;
    for (flags = 0; flags < 8; flags += 2) {
        for (m = 2; m <= 19; m++) check_product_rows(&rng, m, 1 + 3 * m, depths[m % 3], flags);
        for (i = 0; i < 6; i++)
            check_product_rows(&rng, more[i][0], more[i][1], more[i][2], flags);
    }
}

/* A row of A' alone, a column of one number that could pass for a row, summed in another order. */
static void test_product_bits_of_a_transposed_row(void) {
    flow_rng rng = test_rng(11);
    int n, k, flags;
    for (flags = 1; flags < 8; flags += 2)
        for (n = 1; n <= 9; n++)
            for (k = 8; k <= 40; k++) check_product_rows(&rng, 4, n, k, flags);
}

/* A NaN times 0 that is skipped, old contents that survive where they should be overwritten. */
static void test_product_of_nan(void) {
    flow_real a[2] = {0, 1}, b[2] = {FLOWI_INFINITY, 1}, c[1];
    c[0] = FLOWI_INFINITY - FLOWI_INFINITY;
    flow_matmul(c, a, 0, b, 0, 1, 1, 2, 0);
    TEST(c[0] != c[0]);
    b[0] = 5;
    flow_matmul(c, a, 0, b, 0, 1, 1, 2, 0);
    TEST_NEAR(c[0], 1, 0);
    flow_matmul(c, a, 0, b, 0, 1, 1, 2, 1);
    TEST_NEAR(c[0], 2, 0);
    flow_matmul(c, a, 0, b, 0, 1, 1, 0, 1);
    TEST_NEAR(c[0], 2, 0);
    flow_matmul(c, a, 0, b, 0, 1, 1, 0, 0);
    TEST_NEAR(c[0], 0, 0);
    TEST_ASSERT_TRIPS(flow_matmul(c, a, 0, b, 0, -1, 1, 1, 0));
    TEST_ASSERT_TRIPS(flow_matmul(c, a, 0, b, 0, 1, -1, 1, 0));
    TEST_ASSERT_TRIPS(flow_matmul(c, a, 0, b, 0, 1, 1, -1, 0));
}

/* ---- determinants ---------------------------------------------------------------------------- */

static const int sizes_tried[] = {1, 2, 3, 5, 8, MOST};

static void copy_matrix(flow_real *to, const flow_real *from, int d) {
    memcpy(to, from, sizeof(flow_real) * (size_t)(d * d));
}

/* det A by Laplace's expansion along the first row, which knows nothing of pivots; d <= 5. */
static double laplace_det(const double *a, int d) {
    double det = 0, minor[16];
    int column, i, j;
    if (d == 1) return a[0];
    for (column = 0; column < d; column++) {
        for (i = 1; i < d; i++)
            for (j = 0; j < d - 1; j++) minor[(i - 1) * (d - 1) + j] = a[i * d + j + (j >= column)];
        det += (column % 2 ? -1 : 1) * a[column] * laplace_det(minor, d - 1);
    }
    return det;
}

/* A wrong sign after exchanged rows, a pivot left out of the determinant. */
static void test_determinants_by_expansion(void) {
    flow_rng rng = test_rng(4);
    int trial, d, i, piv[5], sign;
    for (d = 1; d <= 5; d++)
        for (trial = 0; trial < 40; trial++) {
            flow_real a[25];
            double exact[25], det;
            flow_normal_sample(&rng, a, d, d);
            for (i = 0; i < d * d; i++) exact[i] = (double)a[i];
            det = laplace_det(exact, d);
            TEST_ERR(flow_lu(a, piv, d), FLOW_OK);
            TEST_NEAR(flow_lu_logdet(a, piv, &sign, d), log(fabs(det)),
                      500 * EPS * (1 + 1 / fabs(det)));
            TEST_EQ_INT(sign, det > 0 ? 1 : -1);
        }
}

/* The sign of every permutation of four rows: determinants that are nothing but pivots. */
static void test_determinants_of_permutations(void) {
    int perm[4], code, i, j, piv[4], sign;
    for (code = 0; code < 256; code++) {
        flow_real a[16] = {0};
        int inversions = 0, seen = 0;
        for (i = 0; i < 4; i++) seen |= 1 << (perm[i] = code >> 2 * i & 3);
        if (seen != 15) continue;
        for (i = 0; i < 4; i++) {
            a[i * 4 + perm[i]] = 2;
            for (j = i + 1; j < 4; j++) inversions += perm[i] > perm[j];
        }
        TEST_ERR(flow_lu(a, piv, 4), FLOW_OK);
        TEST_NEAR(flow_lu_logdet(a, piv, &sign, 4), 4 * log(2.0), 8 * EPS);
        TEST_EQ_INT(sign, inversions % 2 ? -1 : 1);
        TEST_NEAR(flow_lu_logdet(a, piv, NULL, 4), 4 * log(2.0), 8 * EPS);
    }
}

/* Hilbert's matrix a_ij = 1/(i + j + 1), determinant 1/2160, and Vandermonde's of 1, 2, 3, 4,
 * determinant 12, whose inverse has a closed form too. */
static void test_determinants_of_known_matrices(void) {
    flow_real h[9], v[16], inv[16], logdet = 0;
    int i, j, piv[4], sign;
    for (i = 0; i < 9; i++) h[i] = 1 / (flow_real)(i / 3 + i % 3 + 1);
    TEST_ERR(flow_lu(h, piv, 3), FLOW_OK);
    TEST_NEAR(flow_lu_logdet(h, piv, &sign, 3), -log(2160.0), 3000 * EPS);
    TEST_EQ_INT(sign, 1);
    for (i = 0; i < 4; i++)
        for (v[i * 4] = 1, j = 1; j < 4; j++) v[i * 4 + j] = v[i * 4 + j - 1] * (flow_real)(i + 1);
    TEST_ERR(flow_inverse(inv, &logdet, v, 4), FLOW_OK);
    TEST_NEAR(logdet, log(12.0), 1000 * EPS);
    TEST_NEAR(inv[0], 4, 1000 * EPS);          /* (2 3 4)/((1-2)(1-3)(1-4)) with sign */
    TEST_NEAR(inv[15], 1.0 / 6, 1000 * EPS);   /* 1/((4-1)(4-2)(4-3)) */
    TEST_NEAR(inv[12], -1.0 / 6, 1000 * EPS);  /* 1/((1-2)(1-3)(1-4)) */
    TEST_NEAR(inv[13], 0.5, 1000 * EPS);       /* 1/((2-1)(2-3)(2-4)) */
}

/* ---- LU and inverse -------------------------------------------------------------------------- */

/* P A from the pivots, and L U from the factors. */
static void check_factors(const flow_real *a, const flow_real *lu, const int *piv, int d) {
    static flow_real pa[MOST * MOST], product_lu[MOST * MOST];
    int i, j, k;
    copy_matrix(pa, a, d);
    for (k = 0; k < d; k++) {
        TEST(piv[k] >= k && piv[k] < d);
        for (j = 0; j < d; j++) {
            const flow_real swap = pa[k * d + j];
            pa[k * d + j] = pa[piv[k] * d + j];
            pa[piv[k] * d + j] = swap;
        }
    }
    for (i = 0; i < d; i++)
        for (j = 0; j < d; j++) {
            double sum = i <= j ? (double)lu[i * d + j] : 0; /* L's diagonal is 1 */
            for (k = 0; k < i && k <= j; k++) sum += (double)lu[i * d + k] * (double)lu[k * d + j];
            product_lu[i * d + j] = FLOWI_R(sum);
            if (i > j) TEST(lu[i * d + j] <= 1 && lu[i * d + j] >= -1); /* the largest pivots */
        }
    TEST(distance(pa, product_lu, d * d) <= 10 * d * EPS);
}

/* Rows that are not exchanged everywhere, a multiplier not kept, a pivot that is not the largest,
 * a solve with the wrong triangle or in the wrong order. */
static void test_lu(void) {
    static flow_real a[MOST * MOST], lu[MOST * MOST], x[MOST], ax[MOST];
    flow_rng rng = test_rng(5);
    int i, j, s, piv[MOST];
    for (s = 0; s < 6; s++) {
        const int d = sizes_tried[s];
        flow_normal_sample(&rng, a, d, d);
        copy_matrix(lu, a, d);
        TEST_ERR(flow_lu(lu, piv, d), FLOW_OK);
        check_factors(a, lu, piv, d);
        flow_normal_sample(&rng, x, d, 1);
        for (i = 0; i < d; i++)
            for (ax[i] = 0, j = 0; j < d; j++) ax[i] += a[i * d + j] * x[j];
        flow_lu_solve(lu, piv, ax, d);
        TEST(distance(ax, x, d) <= 3000 * d * EPS);
    }
}

/* An inverse from the left only, a log-determinant set instead of added, or of the wrong sign. */
static void test_inverse(void) {
    static flow_real a[MOST * MOST], work[MOST * MOST], inv[MOST * MOST], unit[MOST * MOST];
    static flow_real one[MOST * MOST];
    flow_rng rng = test_rng(6);
    int i, s, piv[MOST];
    for (s = 0; s < 6; s++) {
        const int d = sizes_tried[s];
        flow_real logdet = 5;
        flow_normal_sample(&rng, a, d, d);
        copy_matrix(work, a, d);
        TEST_ERR(flow_inverse(inv, &logdet, work, d), FLOW_OK);
        for (i = 0; i < d * d; i++) unit[i] = i % (d + 1) == 0;
        flow_matmul(one, a, 0, inv, 0, d, d, d, 0);
        TEST(distance(one, unit, d * d) <= 3000 * d * EPS);
        flow_matmul(one, inv, 0, a, 0, d, d, d, 0);
        TEST(distance(one, unit, d * d) <= 3000 * d * EPS);
        TEST_ERR(flow_lu(a, piv, d), FLOW_OK);
        TEST_NEAR(logdet, 5 + (double)flow_lu_logdet(a, piv, NULL, d), 8 * d * EPS);
    }
}

/* Elimination without exchanged rows: a zero, and a tiny number, where the pivot stands. */
static void test_pivoting(void) {
    flow_real zero[4] = {0, 2, 3, 0}, tiny[4], inv[4], logdet = 0, x[2] = {4, 9};
    int piv[2], sign;
    TEST_ERR(flow_lu(zero, piv, 2), FLOW_OK);
    TEST_EQ_INT(piv[0], 1);
    TEST_EQ_INT(piv[1], 1);
    flow_lu_logdet(zero, piv, &sign, 2);
    TEST_EQ_INT(sign, -1);
    flow_lu_solve(zero, piv, x, 2); /* 2 x1 = 4, 3 x0 = 9 */
    TEST_NEAR(x[0], 3, 4 * EPS);
    TEST_NEAR(x[1], 2, 4 * EPS);
    tiny[0] = FLOWI_EPS / 1000;
    tiny[1] = tiny[2] = tiny[3] = 1; /* the inverse is near [[-1, 1], [1, 0]] */
    TEST_ERR(flow_inverse(inv, &logdet, tiny, 2), FLOW_OK);
    TEST_NEAR(inv[0], -1, 4 * EPS);
    TEST_NEAR(inv[3], 0, 4 * EPS);
    TEST_NEAR(logdet, 0, 4 * EPS);
    tiny[0] = 2;
    tiny[1] = 1;
    tiny[2] = -3; /* a negative pivot of the largest size is taken */
    tiny[3] = 5;
    TEST_ERR(flow_lu(tiny, piv, 2), FLOW_OK);
    TEST_EQ_INT(piv[0], 1);
}

/* ---- what is singular ------------------------------------------------------------------------ */

/* Both factorisations of the d*d matrix a return this error; an inverse leaves logdet alone. */
static void check_refused(const flow_real *a, int d, int error) {
    static flow_real work[MOST * MOST], inv[MOST * MOST];
    flow_real logdet = 5;
    int piv[MOST];
    copy_matrix(work, a, d);
    TEST_ERR(flow_lu(work, piv, d), error);
    copy_matrix(work, a, d);
    TEST_ERR(flow_inverse(inv, &logdet, work, d), error);
    if (error < 0) TEST_NEAR(logdet, 5, 0);
}

/* Matrices of less than full rank that pass: all zero, a zero column, proportional rows. */
static void test_singular_matrices(void) {
    static flow_real a[MOST * MOST];
    flow_rng rng = test_rng(7);
    int i, s;
    for (s = 0; s < 6; s++) {
        const int d = sizes_tried[s];
        for (i = 0; i < d * d; i++) a[i] = 0;
        check_refused(a, d, FLOW_E_SINGULAR);
        if (d == 1) continue;
        for (i = 0; i < d * d; i++) a[i] = (flow_real)((1 + i / d) * (1 + i % d)); /* rank 1 */
        check_refused(a, d, FLOW_E_SINGULAR);
        flow_normal_sample(&rng, a, d, d);
        for (i = 0; i < d; i++) a[(d - 1) * d + i] = -4 * a[i]; /* 4: cancels to the last bit */
        check_refused(a, d, FLOW_E_SINGULAR);
        flow_normal_sample(&rng, a, d, d);
        for (i = 0; i < d; i++) a[i * d + d - 1] = 0;
        check_refused(a, d, FLOW_E_SINGULAR);
    }
}

/* A threshold that is absolute, forgets d, or the largest element: the last pivot of
 * scale diag(-1, ..., p) is zero below d EPS, whatever the scale and its sign. */
static void test_singular_threshold(void) {
    static flow_real a[MOST * MOST];
    int i, s, e;
    for (s = 1; s < 6; s++)
        for (e = -30; e <= 30; e += 15) {
            const int d = sizes_tried[s];
            const flow_real scale = FLOWI_R(ldexp(1, e));
            for (i = 0; i < d * d; i++) a[i] = i % (d + 1) == 0 ? -scale : 0;
            a[d * d - 1] = scale * (flow_real)d * FLOWI_EPS * FLOWI_R(0.9);
            check_refused(a, d, FLOW_E_SINGULAR);
            a[d * d - 1] = scale * (flow_real)d * FLOWI_EPS * FLOWI_R(1.1);
            check_refused(a, d, FLOW_OK);
        }
}

/* Finite numbers whose elimination overflows: 1e308 - (-1) 1e308 is the second pivot. */
static void test_elimination_that_overflows(void) {
    const flow_real large = LARGEST;
    const flow_real two[4] = {large, large, -large, large};
    const flow_real three[9] = {large, large, 0, -large, large, 0, 0, 0, large};
    check_refused(two, 2, FLOW_E_FINITE);
    check_refused(three, 3, FLOW_E_FINITE);
}

/* A NaN or an infinity that comes through as a number. */
static void test_matrices_that_are_not_finite(void) {
    static flow_real a[MOST * MOST];
    flow_rng rng = test_rng(8);
    int s, where;
    for (s = 0; s < 6; s++)
        for (where = 0; where < 16; where++) { /* everywhere, of a small one */
            const int d = sizes_tried[s], at = where * (d * d - 1) / 15;
            flow_normal_sample(&rng, a, d, d);
            a[at] = FLOWI_INFINITY;
            check_refused(a, d, FLOW_E_FINITE);
            a[at] = FLOWI_INFINITY - FLOWI_INFINITY;
            check_refused(a, d, FLOW_E_FINITE);
        }
}

/* An infinite inverse passed off as a matrix: of a number so small that 1/x overflows. */
static void test_inverse_that_overflows(void) {
    flow_real tiny = EPS < 1e-10 ? (flow_real)1e-310 : FLOWI_R(1e-39), inv = 0, logdet = 0;
    const int err = flow_inverse(&inv, &logdet, &tiny, 1);
    TEST(err == FLOW_E_FINITE || err == FLOW_E_SINGULAR);
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

/* The factor of a product of triangular matrices is that matrix, with nothing left above; its two
 * substitutions undo its products. */
static void test_cholesky(void) {
    static flow_real l[MOST * MOST], a[MOST * MOST], x[MOST], y[MOST];
    flow_rng rng = test_rng(9);
    int i, s;
    for (s = 0; s < 6; s++) {
        const int d = sizes_tried[s];
        flow_normal_sample(&rng, l, d, d);
        for (i = 0; i < d * d; i++) l[i] *= FLOWI_R(i / d < i % d ? 0 : 0.2);
        for (i = 0; i < d; i++) l[i * d + i] = 1 + l[i * d + i] * l[i * d + i];
        flow_matmul(a, l, 0, l, 1, d, d, d, 0);
        TEST_ERR(flow_cholesky(a, d), FLOW_OK);
        TEST(distance(a, l, d * d) <= 1000 * d * EPS);
        for (i = 0; i < d * d; i++)
            if (i / d < i % d) TEST(a[i] == 0);
        flow_normal_sample(&rng, x, d, 1);
        flow_matmul(y, l, 0, x, 0, d, 1, d, 0);
        flow_lower_solve(l, y, d);
        TEST(distance(x, y, d) <= 1000 * d * EPS);
        flow_matmul(y, l, 1, x, 0, d, 1, d, 0);
        flow_lower_solve_transposed(l, y, d);
        TEST(distance(x, y, d) <= 1000 * d * EPS);
    }
}

/* A root or a quotient left out: [[4, 2], [2, 10]] = L L' with L = [[2, 0], [1, 3]]. */
static void test_cholesky_by_hand(void) {
    flow_real a[4] = {4, 2, 2, 10}, x[2] = {8, 31};
    TEST_ERR(flow_cholesky(a, 2), FLOW_OK);
    TEST_NEAR(a[0], 2, 0);
    TEST_NEAR(a[1], 0, 0);
    TEST_NEAR(a[2], 1, 0);
    TEST_NEAR(a[3], 3, 0);
    flow_lower_solve(a, x, 2);
    TEST_NEAR(x[0], 4, 0);
    TEST_NEAR(x[1], 9, 0);
    flow_lower_solve_transposed(a, x, 2);
    TEST_NEAR(x[0], 0.5, 0);
    TEST_NEAR(x[1], 3, 0);
}

/* A root of a negative number, or of rounding errors: what is not positive definite is refused,
 * and what is merely small is not. */
static void test_cholesky_refuses(void) {
    static const double eps_times[2] = {0.5, 4};
    flow_real a[4] = {1, 2, 2, 1}, negative[1] = {-1}, zero[1] = {0}, bad[9];
    int i, k;
    TEST_ERR(flow_cholesky(a, 2), FLOW_E_SINGULAR);
    TEST_ERR(flow_cholesky(negative, 1), FLOW_E_SINGULAR);
    TEST_ERR(flow_cholesky(zero, 1), FLOW_E_SINGULAR);
    for (k = 0; k < 2; k++) { /* what is left of the last 4 is half an EPS of it, or four */
        a[0] = 4;
        a[1] = a[2] = 4;
        a[3] = 4 * (1 + FLOWI_R(eps_times[k]) * FLOWI_EPS);
        TEST_ERR(flow_cholesky(a, 2), k == 0 ? FLOW_E_SINGULAR : FLOW_OK);
    }
    for (k = 0; k < 18; k++) {
        const flow_real infinity = FLOWI_INFINITY;
        for (i = 0; i < 9; i++) bad[i] = i % 4 == 0;
        if (k % 9 / 3 < k % 9 % 3) continue; /* above the diagonal nothing is read */
        bad[k % 9] = k < 9 ? infinity : infinity - infinity;
        TEST_ERR(flow_cholesky(bad, 3), FLOW_E_SINGULAR);
    }
    a[0] = FLOWI_R(4e-20), a[1] = a[2] = 0, a[3] = FLOWI_R(9e-20);
    TEST_ERR(flow_cholesky(a, 2), FLOW_OK);
}

/* ---- spectral norm --------------------------------------------------------------------------- */

/* The singular values of a 2*2 matrix: 2 s^2 = F +- sqrt(F^2 - 4 det^2), F = sum a_ij^2. */
static double norm_of_two_by_two(const flow_real *a) {
    const double p = (double)a[0], q = (double)a[1], r = (double)a[2], s = (double)a[3];
    const double f = p * p + q * q + r * r + s * s, det = p * s - q * r;
    return sqrt((f + sqrt(f * f - 4 * det * det)) / 2);
}

/* The Frobenius norm, the spectral radius or A A for A'A: any random matrix tells them apart. */
static void test_spectral_norm_of_two_by_two(void) {
    flow_rng rng = test_rng(10);
    int trial;
    for (trial = 0; trial < 50; trial++) {
        flow_real a[4], u[2], v[2], av[2], s;
        flow_normal_sample(&rng, a, 2, 2);
        flow_normal_sample(&rng, v, 2, 1);
        s = flow_spectral_norm(a, u, v, 2, 2, 5000);
        TEST_NEAR(s, norm_of_two_by_two(a), 1e-3 * (double)s);
        TEST_NEAR(flowi_dot(u, u, 2), 1, 8 * EPS);
        TEST_NEAR(flowi_dot(v, v, 2), 1, 8 * EPS);
        flow_matmul(av, a, 0, v, 0, 2, 1, 2, 0); /* A v = s u */
        TEST_NEAR(flowi_dot(av, u, 2), s, 1e-3 * (double)s);
    }
}

/* Rows taken for columns: a b' has the norm |a| |b| and the singular vectors a/|a|, b/|b|. One
 * iteration finds them. */
static void test_spectral_norm_of_rank_one(void) {
    static const flow_real a[3] = {1, -2, 2}, b[5] = {2, 4, -1, 0, 2}; /* norms 3 and 5 */
    flow_real outer[15], u[3], v[5] = {1, 1, 1, 1, 1};
    int i;
    for (i = 0; i < 15; i++) outer[i] = a[i / 5] * b[i % 5];
    TEST_NEAR(flow_spectral_norm(outer, u, v, 3, 5, 1), 15, 100 * EPS);
    for (i = 0; i < 3; i++) TEST_NEAR(u[i], (double)a[i] / 3, 10 * EPS);
    for (i = 0; i < 5; i++) TEST_NEAR(v[i], (double)b[i] / 5, 10 * EPS);
}

/* An iteration too many or too few, or an estimate from above. One step from v = (1, 1)/sqrt 2 for
 * diag(3, 1): u = (3, 1)/sqrt 10, A'u = (9, 1)/sqrt 10, so s = sqrt(82/10), and v = (9, 1)/...;
 * k steps: s_k^2 = (9^2k + 1)/(9^(2k-1) + 1). */
static void test_spectral_norm_step_by_step(void) {
    const flow_real a[4] = {3, 0, 0, 1};
    flow_real u[2], v[2] = {5, 5}, w[2] = {1, 1}, before = 0;
    int k;
    for (k = 1; k <= 6; k++) {
        const double nine = pow(9, 2 * k - 1);
        const flow_real s = flow_spectral_norm(a, u, v, 2, 2, 1);
        TEST_NEAR(s, sqrt((9 * nine + 1) / (nine + 1)), 10 * EPS);
        TEST(s >= before && s <= 3 * (1 + 2 * FLOWI_EPS));
        before = s;
    }
    TEST_NEAR(flow_spectral_norm(a, u, w, 2, 2, 6), before, 10 * EPS);
    TEST_NEAR(w[1] / w[0], v[1] / v[0], 10 * EPS);
}

/* A division by a norm of zero. */
static void test_spectral_norm_of_nothing(void) {
    const flow_real a[6] = {0};
    flow_real u[2] = {1, 1}, v[3] = {1, 2, 2}, none[3] = {0};
    TEST_NEAR(flow_spectral_norm(a, u, v, 2, 3, 3), 0, 0);
    TEST_NEAR(v[0], 1.0 / 3, EPS);
    TEST_NEAR(flow_spectral_norm(a, u, none, 2, 3, 3), 0, 0);
    TEST_ASSERT_TRIPS(flow_spectral_norm(a, u, v, 2, 3, 0));
    TEST_ASSERT_TRIPS(flow_spectral_norm(NULL, u, v, 2, 3, 1));
    TEST_ASSERT_TRIPS(flow_spectral_norm(a, NULL, v, 2, 3, 1));
    TEST_ASSERT_TRIPS(flow_spectral_norm(a, u, NULL, 2, 3, 1));
}

/* Mistakes of the caller that go unnoticed. */
static void test_assertions(void) {
    flow_real a[1] = {1}, inv[1], logdet = 0;
    int piv[1];
    TEST_ASSERT_TRIPS((void)flow_lu(NULL, piv, 1));
    TEST_ASSERT_TRIPS((void)flow_lu(a, NULL, 1));
    TEST_ASSERT_TRIPS((void)flow_lu(a, piv, 0));
    TEST_ASSERT_TRIPS((void)flow_inverse(NULL, &logdet, a, 1));
    TEST_ASSERT_TRIPS((void)flow_inverse(inv, NULL, a, 1));
    TEST_ASSERT_TRIPS((void)flow_inverse(inv, &logdet, NULL, 1));
    TEST_ASSERT_TRIPS((void)flow_inverse(inv, &logdet, a, 0));
    TEST_ASSERT_TRIPS((void)flow_cholesky(NULL, 1));
    TEST_ASSERT_TRIPS((void)flow_cholesky(a, 0));
}

int main(void) {
    test_section("products");
    test_products_of_small_sizes();
    test_products_of_awkward_sizes();
    test_product_bits_do_not_depend_on_m();
    test_product_bits_of_a_transposed_row();
    test_product_of_nan();
    test_section("determinants");
    test_determinants_by_expansion();
    test_determinants_of_permutations();
    test_determinants_of_known_matrices();
    test_section("LU and inverse");
    test_lu();
    test_inverse();
    test_pivoting();
    test_section("singular matrices");
    test_singular_matrices();
    test_singular_threshold();
    test_elimination_that_overflows();
    test_matrices_that_are_not_finite();
    test_inverse_that_overflows();
    test_section("Cholesky");
    test_cholesky();
    test_cholesky_by_hand();
    test_cholesky_refuses();
    test_section("spectral norm");
    test_spectral_norm_of_two_by_two();
    test_spectral_norm_of_rank_one();
    test_spectral_norm_step_by_step();
    test_spectral_norm_of_nothing();
    test_assertions();
    return test_done();
}
