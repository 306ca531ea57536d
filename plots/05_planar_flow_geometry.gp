# One planar layer: every point moves along u^, equally all over a line w'x + b = const.
figure = "05_planar_flow_geometry"
data   = "build/data/05_planar_flow.dat"
need   = "layer geometry"
width  = 800; height = 420
load "plots/style.gp"

stats data index "layer" using (w1 = $3, w2 = $4, b = $5) nooutput
stats data index "geometry" using 8 nooutput
most = STATS_max
set multiplot
set size ratio -1
unset key; unset grid
set xrange [-4.4:4.4]; set yrange [-4.4:4.4]; set xtics -4,2,4; set ytics -4,2,4
set xlabel "x_1"; set ylabel "x_2" offset 1.5,0
set bmargin at screen 0.13; set tmargin at screen 0.85

set lmargin at screen 0.06; set rmargin at screen 0.46
set title "Each point moves along one direction, equally far\nall along a line w·x + b = const (grey)"
set arrow 1 from 0,0 to 1.5*w1,1.5*w2 lw 2.5 lc rgb ink front
set label 1 bold("w") at 1.5*w1+0.2,1.5*w2+0.1 front
line(x, c) = (c - b - w1*x)/w2
plot for [c = -6:6] line(x, c) with lines lt 1 lw 1 lc rgb "#D0D0D0", \
     data index "geometry" using 1:2:($5-$1):($6-$2) every 10:2:0:0:80:16 \
         with vectors filled head size 0.17,22,60 lw 1.6 lc rgb color1

unset arrow 1; unset label 1
set lmargin at screen 0.52; set rmargin at screen 0.92
set format y ""; unset ylabel
set title "The sheet stretches where tanh is steep,\nand only shifts elsewhere"
set cbrange [0:most]; set cblabel "log|det df/dx| (nats)" offset 0.5,0
set colorbox user origin screen 0.925,0.13 size screen 0.015,0.72
plot data index "geometry" using 5:6:8 with lines lt 1 lw 1.3 lc palette
unset multiplot
