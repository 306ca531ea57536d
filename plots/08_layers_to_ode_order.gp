# The order of each solver is a slope.
figure = "08_layers_to_ode_order"
data   = "build/data/08_layers_to_ode.dat"
need   = "order"
width  = 800; height = 420
load "plots/style.gp"

set title "Twice the steps: the error falls by 2, 4, 16 or 32, the order's power of two"
set xlabel "steps"; set ylabel "error at t = 2"
set logscale xy; set format y "10^{%T}"
set xrange [6:2600]; set yrange [1e-15:10]
set xtics (8, 16, 32, 64, 128, 256, 512)
unset key
set label 1 "Euler, 1" at 560,0.017 textcolor rgb color1
set label 2 "midpoint, 2" at 560,1.5e-4 textcolor rgb color2
set label 3 "Heun, 2" at 560,1e-5 textcolor rgb color3
set label 4 "RK4, 4" at 560,2.2e-10 textcolor rgb color4
set label 5 "Dormand-Prince, 5" at 560,6e-14 textcolor rgb color5
plot for [m = 1:5] data index "order" using 1:(column(m + 1)) with linespoints lt m
