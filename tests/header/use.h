/* use.h - a little of flow.h, for the programs that compile it in every way there is: numbers that
 * depend on no flag, an object that allocates, an error. Returns main's exit status. */
#include <stdio.h>

static int use_flow(void) {
    const flow_real weight[2] = {1, 3}, mean[2] = {-1, 2}, cov[2] = {1, (flow_real)0.25};
    flow_real x[1] = {2}, logp[1] = {0};
    flow_mixture mixture;
    flow_rng a, b;
    int equal;

    flow_rng_init(&a, 7);
    flow_rng_init(&b, 7);
    equal = flow_rng_next(&a) == flow_rng_next(&b) && flow_rng_below(&a, 10) < 10;

    if (flow_mixture_init(&mixture, weight, mean, cov, 2, 1) != FLOW_OK) return 1;
    flow_mixture_logprob(&mixture, logp, x, 1); /* log(0.75 N(2; 2, 0.25) + ...) = -0.5116 */
    flow_mixture_free(&mixture);
    printf("%.4f %s\n", (double)logp[0], flow_strerror(FLOW_E_SINGULAR));
    return equal && logp[0] > (flow_real)-0.52 && logp[0] < (flow_real)-0.50 ? 0 : 1;
}
