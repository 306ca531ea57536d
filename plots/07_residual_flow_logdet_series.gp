# log|det(I + J)| as a series: cut off it is biased, with Russian roulette it is not.
figure = "07_residual_flow_logdet_series"
data   = "build/data/07_residual_flow.dat"
need   = "cut roulette"
width  = 800; height = 340
load "plots/style.gp"

set multiplot layout 1,2 margins screen 0.10,0.98,0.18,0.87 spacing screen 0.12
unset key
set title "Cut after n terms: a bias, L^n and smaller"
set logscale xy; set format y "10^{%T}"
set xrange [0.9:25]; set xtics (1, 2, 5, 10, 20)
set xlabel "terms n"; set ylabel "|series − log det| (nats)"
plot data index "cut" using 1:(abs($2 - $3)) with linespoints lt 1
set title "Cut at random, reweighted: no bias"
unset logscale y; set format y "%g"
set xrange [10:30000]; set xtics (16, 256, 4096, 16384); set autoscale y
set xlabel "draws averaged"; set ylabel "estimate (nats)" offset 0.3
set label 1 "exact" at graph 0.97,0.60 right textcolor rgb "#6b6b6b"
set label 2 "bars: ± 2 standard errors" at graph 0.97,0.10 right textcolor rgb color2
plot data index "roulette" using 1:4 with lines ls 31 lw 2, \
     data index "roulette" using 1:2:(2 * $3) with yerrorbars lt 2 pt 5
unset multiplot
