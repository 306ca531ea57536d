# The adjoint's gradient meets backprop's as its solver's tolerance falls, or its steps shrink.
figure = "10_cnf_training_adjoint"
data   = "build/data/10_cnf_training.dat"
need   = "tolerance rk4"
width  = 800; height = 340
load "plots/style.gp"

unset key
set multiplot layout 1,2 margins screen 0.095,0.985,0.17,0.88 spacing screen 0.11
set logscale xy; set format y "10^{%T}"; set xtics ()
set xrange [2e-1:5e-13]; set yrange [1e-15:1]; set ytics 1e-15, 1e3
do for [k = 1:6] { set xtics add (sprintf("10^{−%d}", 2*k) 10.0**(-2*k)) }
set title bold("The adjoint is as exact as its tolerance")
set xlabel "tolerance of the adaptive solver"; set ylabel "relative error of the gradient"
set label 1 "error = tolerance" at 2e-6,2e-5 left textcolor rgb "#777777"
set label 2 "adjoint" at 4e-7,2e-10 right textcolor rgb color2
plot x with lines ls 31, \
     data index "tolerance" using 1:2 with linespoints lt 2
unset label
set xrange [1.6:40]; set xtics (2, 4, 8, 16, 32); set format x "%g"
set title bold("Backprop is exact with any steps")
set xlabel "RK4 steps"; unset ylabel
stats data index "rk4" using 3 every ::2::2 name "A" nooutput
set label 1 "adjoint from backprop" at 6,60*A_max left textcolor rgb color2
set label 2 "backprop from central differences" at 2,1e-10 left textcolor rgb color1
set label 3 "slope −4" at 4.5,A_max/8 right textcolor rgb "#777777"
plot 0.2*A_max*(8/x)**4 with lines ls 31, \
     data index "rk4" using 1:2 with linespoints lt 1, \
     data index "rk4" using 1:3 with linespoints lt 2
unset multiplot
