# The loss above its optimum, its wall at det W = 0, and two humps that no affine flow can fit.
figure = "04_affine_fit_loss"
data   = "build/data/04_affine_fit.dat"
need   = "training fit wall two_humps humps"
width  = 800; height = 320
load "plots/style.gp"

stats data index "fit" using 1 name "noise" nooutput
stats data index "fit" every ::1::1 using 2 name "average" nooutput
stats data index "training" using 1 name "step" nooutput
# The last row of the humps' training: excess loss, A11, A12, A21, A22, b1, b2.
array h[7]
stats data index "two_humps" using 1 name "H" nooutput
end = H_max
do for [j = 1:7] {
    stats data index "two_humps" using ($1 == end ? column(j + 1) : NaN) name "H" nooutput
    h[j] = H_min
}

unset key
set multiplot layout 1,3 margins screen 0.105,0.985,0.17,0.88 spacing screen 0.07
set title bold("SGD strays, its average settles")
set logscale xy; set format xy math("10^{%T}")
set xrange [1:3*step_max]; set yrange [average_min/5:*]; set ytics 100
set xlabel "step"; set ylabel "loss above the least possible (nats)" offset 0.3,0
set arrow 1 from first 1, first noise_min to graph 1, first noise_min nohead ls 31 dt (4,3)
set label 1 "SGD's noise" at first 1.5, first noise_min offset 0,0.6 textcolor rgb color8
set label 2 "average" at first step_max, first average_min right offset -1,0 textcolor rgb color3
set label 3 "two humps" at first 1.5, first h[1] offset 0,-0.5 textcolor rgb color2
plot data index "training" using ($1 > 0 ? $1 : NaN):2 with lines lt 1, \
     data index "two_humps" using ($1 > 0 ? $1 : NaN):2 with lines lt 2, \
     data index "fit" every ::1::1 using (step_max):2 with points pt 7 ps 0.9 lc rgb color3
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

set title bold(sprintf("Two humps: %.2f nats short", h[1]))
set xrange [-10.5:10.5]; set yrange [-11.9:11.9]; set xtics 5; set ytics 5  # equal scales
set xlabel math("y_1"); set ylabel math("y_2") rotate by 0 offset 2.2,0
set label 1 "data" at 0,-5.5 center textcolor rgb color8
set label 2 "affine flow" at 0,5.5 center textcolor rgb color2
plot data index "humps" with points pt 7 ps 0.25 lc rgb color8, \
     for [r = 1:3] [0:2*pi] '+' using (h[6] + r*(h[2]*cos($1) + h[3]*sin($1))): \
         (h[7] + r*(h[4]*cos($1) + h[5]*sin($1))) with lines lt 2 dt solid lw 1.2
unset multiplot
