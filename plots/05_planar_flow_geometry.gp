# One planar layer: every point moves along u^, equally far all over a line w'x + b = const.
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
set xrange [-4.2:4.2]; set yrange [-4.2:4.2]; set xtics -4,2,4; set ytics -4,2,4
set xlabel math("x_1"); set ylabel math("x_2") offset 1.5,0 rotate by 0
set bmargin at screen 0.13; set tmargin at screen 0.86

set lmargin at screen 0.065; set rmargin at screen 0.455
set title "All points move along one direction, and\nequally far on a line w·x + b = const (grey)"
set arrow 1 from 0,0 to 1.4*w1,1.4*w2 lw 3 lc rgb color2 front
set label 1 bold("w") at 1.4*w1+0.2,1.4*w2 front textcolor rgb color2
line(x, c) = (c - b - w1*x)/w2
plot for [c = -7:7] line(x, c) with lines lt 1 lw 1 lc rgb "#CCCCCC", \
     data index "geometry" using 1:2:($5-$1):($6-$2) every 10:2:10:2:70:14 \
         with vectors lt 1 lw 1.5 head size 0.2,20 filled

unset arrow 1; unset label 1
set lmargin at screen 0.495; set rmargin at screen 0.885
set format y ""; unset ylabel
set title "The sheet stretches where tanh is steep,\nand elsewhere it only shifts"
set cbrange [0:most]; set cblabel "log|det df/dx| (nats)" offset 0,0
set colorbox user origin screen 0.89,0.13 size screen 0.015,0.73
plot data index "geometry" using 5:6:8 with lines lt 1 lw 1.5 lc palette
unset multiplot
