# What the solver's steps cost: log p_1, the total mass, and there and back.
figure = "09_continuous_flow_logdensity_error"
data = "build/data/09_continuous_flow.dat"
need = "euler rk4"
width = 800; height = 340
load "plots/style.gp"

unset key
set multiplot layout 1,3 margins screen 0.075,0.985,0.16,0.8 spacing screen 0.025 \
    title "A continuous flow is as exact as its solver: ". \
    "twice the steps, Euler errs 2 times less, RK4 16 (there and back 32)"
set logscale xy; set xrange [3:400]; set yrange [3e-12:4]
set xtics (4, 16, 64, 256); set ytics 100; set format y "10^{%T}"
set xlabel "solver steps"
names = "'error of log p_1 (nats)' '|total mass − 1|' 'there and back, |T(T^{−1}(x)) − x|'"
do for [i = 1:3] {
    p = i < 3 ? 4 : 5                  # there and back RK4's leading errors cancel: order 5
    level = i == 3 ? 8e-7 : 2e-6
    set title word(names, i)
    set label 1 "Euler" at 90,0.3 left textcolor rgb color2
    set label 2 "RK4" at 50,1e-5 left textcolor rgb color1
    set label 3 sprintf("slope −%d", p) at 18,level/25 right textcolor rgb "#777777"
    set label 4 "slope −1" at 330,0.0006 right textcolor rgb "#777777"
    plot (x > 14 ? 0.4/x : NaN) with lines ls 31, \
         (x > 6 ? level*(16/x)**p : NaN) with lines ls 31, \
         data index "euler" using 1:i+1 with linespoints lt 2, \
         data index "rk4" using 1:i+1 with linespoints lt 1
    set format y ""
}
unset multiplot
