# The network has learnt v*, the mean of the pairs' velocities, which it was never shown.
figure = "11_flow_matching_velocity"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# velocity_/ { sub(/^# velocity_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
one    = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = "arrows_".one." velocity_".one
do for [i = 1:words(sets)] { need = need." velocity_".word(sets, i) }
width  = 800; height = 400
load "plots/style.gp"

set multiplot
unset key
set margins screen 0.06, screen 0.47, screen 0.13, screen 0.88
set size ratio -1
set xlabel "x_1"; set ylabel "x_2"
set title bold(one).", t = 0.5: the network (blue) on v* (grey)"
s = 0.16
plot data index "arrows_".one using 1:2:(s*$3):(s*$4) with vectors nohead lw 5 lc rgb "#BBBBBB", \
     "" index "arrows_".one using 1:2:(s*$5):(s*$6) with vectors head size 0.12,20 filled lw 1.3 lc rgb color1
set margins screen 0.57, screen 0.985, screen 0.13, screen 0.88
set size noratio
set logscale y; set format y "%g"
set xrange [0:1]
set xlabel "t"; set ylabel "mean square per sample"
set title "far below the scatter of the pairs"
plot for [i = 1:words(sets)] data index "velocity_".word(sets, i) using 1:3 with lines lt i, \
     for [i = 1:words(sets)] data index "velocity_".word(sets, i) using 1:2 with lines lt i lw 1
unset multiplot
