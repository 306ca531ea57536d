# The continuity equation dp/dt = -div(p v): its two sides, and how they meet on finer grids.
figure = "09_continuous_flow_continuity"
data = "build/data/09_continuous_flow.dat"
need = "terms residual_line residual_plane"
width = 800; height = 330
load "plots/style.gp"

unset key
set multiplot layout 1,2 margins screen 0.085,0.98,0.16,0.88 spacing screen 0.135
set title "At a fixed place density grows by what flows in"
set xrange [-4:4]; set xtics 2; set xlabel "x"
set yrange [-1.5:1]; set ytics 0.5; set ylabel "rate of change at t = 1/2"
set label "line: dp/dt" at 0.95,-0.75 left textcolor rgb color1
set label "rings: −d(p v)/dx" at 0.95,-1.0 left textcolor rgb color2
plot data index "terms" using 1:2 with lines lt 1 lw 2.5, \
     data index "terms" every 3 using 1:3 with points lt 2 pt 6 ps 0.7
unset label
set title "The balance closes with the grid if v is right"
set logscale xy; set xrange [0.03:0.45]; set yrange [2e-4:0.3]
set xtics ("0.05" 0.05, "0.1" 0.1, "0.2" 0.2, "0.4" 0.4); set ytics autofreq
set format y "10^{%T}"
set xlabel "grid spacing h"; set ylabel "Σ |dp/dt + div(p v)| / Σ |dp/dt|" offset -0.5,0
set label "v 5% too fast" at 0.047,0.075 left textcolor rgb color4
set label "plane" at 0.062,0.0058 right textcolor rgb color2
set label "line" at 0.105,0.0062 left textcolor rgb color1
set label "slope 2" at 0.06,0.0007 left textcolor rgb "#777777"
plot data index "residual_line" using 1:3 with linespoints lt 4, \
     data index "residual_plane" using 1:2 with linespoints lt 2, \
     data index "residual_line" using 1:2 with linespoints lt 1, \
     0.25*x**2 with lines ls 31
unset multiplot
