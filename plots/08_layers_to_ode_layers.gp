# K small layers against the trajectory that they become.
figure = "08_layers_to_ode_layers"
data   = "build/data/08_layers_to_ode.dat"
need   = "layers K001 K002 K004 K016 K256"
width  = 800; height = 290
load "plots/style.gp"

set multiplot
set label 99 "Layers x + dt u h(w·x + b), dt = 1/K: ". \
    "with K they close in on the trajectory of an ODE" \
    at screen 0.5,0.95 center
unset key
set xrange [-3:3]; set yrange [-3:3]; set size ratio -1
set xtics -2,2,2; set ytics -2,2,2
set xlabel math("x_1"); set ylabel math("x_2") rotate by 0
left = 0.075
do for [k = 1:3] {
    name = word("K001 K004 K016", k)
    set lmargin at screen left; set rmargin at screen left + 0.19
    set bmargin at screen 0.17; set tmargin at screen 0.80
    set title "K = ".word("1 4 16", k)
    plot data index "K256" using 1:2 with lines lw 3 lc rgb "#c8c8c8" dt 1, \
         data index name using 1:2 with lines lt 1 lw 1.2, \
         data index name using 1:2 with points pt 7 ps 0.35 lc rgb color1
    unset label 99; set format y ""; unset ylabel
    left = left + 0.2
}
set size noratio
set lmargin at screen 0.765; set rmargin at screen 0.985
set bmargin at screen 0.17; set tmargin at screen 0.80
set logscale xy; set format y "10^{%T}"; set format x "%g"
set xrange [0.8:320]; set yrange [1e-3:3]
set xtics (1, 4, 16, 64, 256); set ytics autofreq
set xlabel "layers K"
set title "error falls as 1/K"
set label 1 "position" at 7,0.16 textcolor rgb color1
set label 2 "log-det" at 1.2,0.06 textcolor rgb color2
set label 3 "slope −1" at 20,0.9 textcolor rgb "#6b6b6b"
plot data index "layers" using 1:2 with linespoints lt 1 pt 7, \
     data index "layers" using 1:3 with linespoints lt 2 pt 5, \
     [4:256] 8/x with lines ls 31
unset multiplot
