# The loss above its optimum, its wall at det W = 0, and two humps that no affine flow can fit.
figure = "04_affine_fit_loss"
data   = "build/data/04_affine_fit.dat"
need   = "levels loss humps_loss wall humps_density"
width  = 800; height = 320
load "plots/style.gp"

do for [k = 1:4] { stats data index "levels" using k name sprintf("V%d", k) nooutput }
noise = V1_min; average = V2_min; gap = V3_min; steps = V4_min

unset key
set multiplot layout 1,3 margins screen 0.095,0.985,0.17,0.88 spacing screen 0.07
set title bold("SGD hovers, its average settles")
set logscale xy; set format xy math("10^{%T}")
set xrange [1:3 * steps]; set yrange [average / 5:*]; set ytics 100
set xlabel "step"; set ylabel "loss above the least possible (nats)" offset 1.2,0
set arrow 1 from first 1, first noise to graph 1, first noise nohead ls 31 dt (4,3)
set label 1 "SGD's noise" at first 1.5, first noise offset 0,0.6 textcolor rgb color8
set label 2 "average" at first steps, first average right offset -1,0 textcolor rgb color3
set label 3 "two humps" at first 1.5, first gap offset 0,-0.5 textcolor rgb color2
plot data index "loss" using 1:2 with lines lt 1, \
     data index "humps_loss" using 1:2 with lines lt 2, \
     data index "levels" using 4:2 with points pt 7 ps 0.9 lc rgb color3
unset label; unset arrow; unset logscale; set format "%g"

set title bold("A wall where det W = 0")
set xrange [-2:2]; set yrange [0:4]; set xtics 1; set ytics 1
set xlabel "W's second row times s"; set ylabel ""
set arrow 1 from 0, graph 0 to 0, graph 1 nohead ls 31 dt (4,3)
set label 1 "as trained" at 1.1,1.2 center
set label 2 "mirrored" at -1.1,1.2 center
plot data index "wall" using 1:($1 < 0 ? $2 : NaN) with lines lt 1, \
     data index "wall" using 1:($1 > 0 ? $2 : NaN) with lines lt 1
unset label; unset arrow

set title bold(sprintf("Two humps: %.2f nats short", gap))
set xrange [-8:8]; set yrange [0:0.24]; set xtics 4; set ytics 0.1
set xlabel math("y_1"); set ylabel "density" offset 0.8,0
set label 1 "target" at -3,0.21 center textcolor rgb color8
set label 2 "affine flow" at 0,0.137 center textcolor rgb color2
plot data index "humps_density" using 1:2 with filledcurves y1=0 ls 28, \
     data index "humps_density" using 1:3 with lines lt 2
unset multiplot
