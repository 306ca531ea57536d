# Guidance in closed form: guided samples over the tilted density, and what w does to their mean and
# spread; then the network's distance to the class, least where the label is merely obeyed.
figure = "13_conditional_guidance"
data   = "build/data/13_conditional.dat"
need   = "tilted0 tilted1 tilted2 tilted4 guided0 guided1 guided2 guided4 moments network"
width  = 800; height = 575
load "plots/style.gp"

stats data index "network" using 2:3 name "W" nooutput
array cx[3] = [0, -1.04, 1.04]; array cy[3] = [1.2, -0.6, -0.6]; s = 0.8
set multiplot title bold("Guidance drives samples out of their class, and past the tilted density")
set label 1 "dots: guided samples; shade: tilted density; circles: one deviation of each class" \
    at screen 0.5,0.915 center
unset key; unset grid; set border 15; unset colorbox; set samples 73
set palette defined (0 "#FFFFFF", 1 "#5B9BD0")
set xrange [-3:3]; set yrange [-2.6:4.2]; set size ratio -1
set xtics 2; set ytics 2
set tmargin at screen 0.83; set bmargin at screen 0.475
set xlabel math("x_1"); set ylabel math("x_2") rotate by 0 offset 1.8,0
do for [k = 0:3] {
    w = word("0 1 2 4", k + 1)
    set lmargin at screen 0.065 + 0.235*k; set rmargin at screen 0.285 + 0.235*k
    set title bold("w = ".w).(w eq "0" ? ": all" : w eq "1" ? ": the class" : "")
    if (k) { set ylabel ""; set format y ""; unset label 1 }
    plot data index "tilted".w using 1:2:3 with image, \
         data index "guided".w using 1:2 with points pt 7 ps 0.17 lc rgb color2, \
         for [i = 3:1:-1] [0:2*pi] '+' using (cx[i] + s*cos($1)):(cy[i] + s*sin($1)) \
             with lines lt 1 lw (i == 1 ? 1.8 : 1) lc rgb (i == 1 ? ink : color8)
}
set format y "%g"; set size noratio; set border 3; set grid; set xtics 1 nomirror
set tmargin at screen 0.35; set bmargin at screen 0.1
set xrange [0:4]; set xlabel "guidance w"; set ylabel "" rotate
do for [k = 1:3] {
    set lmargin at screen -0.265 + 0.33*k; set rmargin at screen -0.02 + 0.33*k
    unset label
    if (k == 1) {
        set title bold("Further away"); set ylabel "mean of ".math("x_2") offset 0.5,0
        set yrange [0:3]; set ytics 1 nomirror
        set label 1 "guided" at 2.3,2.35 right textcolor rgb color2
        set label 2 "tilted" at 3.2,1.2 center textcolor rgb color1
    }
    if (k == 2) {
        set title bold("Closer together"); set ylabel "spread" offset 1,0
        set yrange [0.4:1.25]; set ytics 0.2 nomirror
        set label 1 "guided" at 2.3,0.5 center textcolor rgb color2
        set label 2 "tilted" at 3.2,0.76 center textcolor rgb color1
    }
    if (k == 3) {
        set title bold("Network: best at w = 1")
        set ylabel math("W_2")." to the class" offset 0.8,0
        set logscale y; set yrange [0.6*W_min_y:1.5*W_max_x]; set ytics (0.1, 0.2, 0.5, 1, 2, 5)
        set label 1 "data to data" at 2.5,W_min_y offset 0,-0.7 center textcolor rgb color8
        plot data index "network" using 1:2 with linespoints lt 2, \
             data index "network" using 1:3 with lines lt 8
        break
    }
    plot data index "moments" using 1:(column(k + 1)) with linespoints lt 2, \
         data index "moments" using 1:(column(k + 3)) with lines lt 1
}
unset multiplot
