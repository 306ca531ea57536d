# Adaptive steps: short where the field is fast, and an error that follows the tolerance.
figure = "08_layers_to_ode_adaptive"
data   = "build/data/08_layers_to_ode.dat"
need   = "gallop tolerance"
width  = 800; height = 340
load "plots/style.gp"

set multiplot layout 1,2 margins screen 0.10,0.965,0.18,0.87 spacing screen 0.12
unset key
set logscale y; set format y "10^{%T}"
set xlabel "time t"; set xrange [0:1]; set yrange [1e-3:100]
set title "Steps shrink where the field leaps"
set label 1 "angular speed" at 0.60,14 textcolor rgb color2
set label 2 "step h" at 0.62,0.012 textcolor rgb color1
plot data index "gallop" using 1:3 with lines lt 2, \
     data index "gallop" using 1:2 with linespoints lt 1 pt 7
unset label
set logscale x; set format x "10^{%T}"
set xrange [1e-12:1e-2]; set yrange [1e-13:1e-1]
set xtics 1e-12,100,1e-2
set xlabel "tolerance"
set title "The error follows the tolerance"
set label 1 "error at t = 1" at 3e-9,2e-10 left textcolor rgb color1
set label 2 "there and back" at 3e-12,1e-7 left textcolor rgb color2
set label 3 "error = tolerance" at 2e-6,1.2e-7 left textcolor rgb "#6b6b6b"
plot x with lines ls 31, \
     data index "tolerance" using 1:2 with linespoints lt 1 pt 7, \
     data index "tolerance" using 1:3 with linespoints lt 2 pt 5
unset multiplot
