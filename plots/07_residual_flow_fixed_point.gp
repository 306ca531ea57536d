# The inverse by fixed point: the error falls at least as fast as L^k; without a bound it stays.
figure = "07_residual_flow_fixed_point"
data   = "build/data/07_residual_flow.dat"
need   = "bounds iterations"
width  = 800; height = 400
load "plots/style.gp"

set title "Inverting y = x + g(x) by x ← y − g(x): ". \
    "a contraction gets there, as fast as L^k or faster"
set xlabel "iteration k"; set ylabel "error |x_k − x|"
set logscale y; set format y "10^{%T}"
set xrange [0:60]; set yrange [1e-16:1e3]
array first[3]
do for [b = 1:3] {
    stats data index "iterations" using (column(b + 1)) every ::0::0 nooutput
    first[b] = STATS_max
}
bounds = ""
do for [b = 1:3] {
    stats data index "bounds" using (column(b)) nooutput
    bounds = bounds.sprintf(" %g", STATS_max)
}
plot for [b = 1:3] first[b] * word(bounds, b)**x with lines ls 31 notitle, \
     for [b = 1:3] data index "iterations" using 1:(column(b + 1)) with linespoints lt b \
         title "L = ".word(bounds, b), \
     data index "iterations" using 1:($5 < 1e12 ? $5 : NaN) with linespoints lt 4 \
         title "no bound", \
     NaN with lines ls 31 title "guarantee: first error × L^k"
