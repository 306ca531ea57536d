/* 02_jacobian - what a map of the plane does to areas and densities
 *
 * Near a point c a smooth map is its Jacobian: phi(c + v) = phi(c) + J v + O(|v|^2). A small square
 * around c becomes nearly a parallelogram of |det J| times its area; the mass in it stays, so
 *
 *     p_y(y) = p_x(x) / |det J(x)|,      x = phi^-1(y)
 *     p_K(x_K) = p_0(x_0) / (|det J_1(x_0)| |det J_2(x_1)| ... |det J_K(x_(K-1))|)
 *
 * for one map, and for K in a row, each determinant taken where its own map met the sample.
 *
 * Beside: "Introduction to Conditional Flow Matching, Part I: Normalizing Flows" (A), "Generalizing
 * to higher dimensions" and "Combining multiple flows"; "Flow Matching Series, Part 1" (B), "Change
 * of Variables"; "Flow Matching: A Deep Dive" (D), "Change of Variables Theorem" and "Likelihood
 * Calculation"; "Flow-based generative models" (E), "The change of variable formula". The copies
 * of A have lost subscripts: its det J_phi is at phi^-1(y), a point of x-space.
 *
 * The map is A's, phi(x) = [x1 + t sin(x2 + s), x2 + t sin(x1 + s)], with s = 0 but for the layers
 * of a composition, whose s_k = k (else all would bend alike). det J = 1 - t^2 cos cos is positive
 * only for |t| < 1: A's slider goes further, but there the plane folds and phi has no inverse.
 *
 * Alone: cc -O2 -I. chapters/02_jacobian.c -lm -o 02_jacobian && ./02_jacobian --t 0.9
 */
#define FLOW_IMPLEMENTATION
#include "chapter.h"
