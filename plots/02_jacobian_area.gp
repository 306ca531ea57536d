# What the determinant measures: where phi expands and contracts; the area ratio of shrinking
# squares around c, which tends to |det J|; and their distance to the parallelogram, falling as h^2.
figure = "02_jacobian_area"
data   = "build/data/02_jacobian.dat"
need   = "determinant squares path"
width  = 800; height = 300
load "plots/style.gp"

stats data index "path" every ::0::0 using 2 nooutput; c1 = STATS_min
stats data index "path" every ::0::0 using 3 nooutput; c2 = STATS_min
stats data index "squares" every ::15::16 using (log($4)) nooutput
slope = (STATS_max - STATS_min) / log(2)  # between the two smallest squares, one twice the other
stats data index "squares" using 3 nooutput; det = STATS_min
stats data index "determinant" using 3 nooutput; least = STATS_min; most = STATS_max
far = most - 1 > 1 - least ? most - 1 : 1 - least

set multiplot
unset key
set border 15

set tmargin at screen 0.87; set bmargin at screen 0.17
set lmargin at screen 0.065; set rmargin at screen 0.325
set size ratio -1
set xrange [-4.5:4.5]; set yrange [-4.5:4.5]; set cbrange [1 - far:1 + far]
set xtics 2; set ytics 2
eval diverging
set colorbox user origin screen 0.335,graph 0 size screen 0.012,graph 1
set title "det J: below 1, φ contracts"
set xlabel math("x_1") offset 0,0.8; set ylabel math("x_2") rotate by 0 offset 1.5,0
set label 1 sprintf("%.2f", least) at 0,0 center front textcolor rgb "white"
set label 2 sprintf("%.2f", most) at pi,0 center front textcolor rgb "white"
set label 3 "c" at c1,c2 offset 0.6,0.4 front
plot data index "determinant" using 1:2:3 with image, \
     data index "path" every ::0::0 using 2:3 with points pt 1 ps 1.2 lw 2 lc rgb "black"
unset label

set size noratio; unset colorbox
set lmargin at screen 0.475; set rmargin at screen 0.69
set tmargin at screen 0.87; set bmargin at screen 0.17
set logscale x; set format x "%g"; set format y "%g"; set xtics 0.01,10; set ytics autofreq
set xrange [0.01:5]; set yrange [*:*]
set title "area of φ(square) / h²"
set xlabel "side h"; set ylabel ""
set label 1 sprintf("|det J(c)| = %.3f", det) at 0.012,det offset 0,-0.8
set offsets 0,0,graph 0.1,graph 0.2
plot data index "squares" using 1:3 with lines ls 31, \
     data index "squares" using 1:2 with linespoints lt 1 pt 7 ps 0.6
unset label; set offsets

set lmargin at screen 0.775; set rmargin at screen 0.985
set logscale y; set format xy "10^{%T}"; set xtics 1e-8,100; set ytics 1e-16,100
set xrange [3e-5:8]; set yrange [*:*]
set title "distance to the linear map"
set label 1 sprintf("slope %.2f", slope) at graph 0.08,0.55
plot data index "squares" using 1:5 with lines ls 31, \
     data index "squares" using 1:4 with points lt 1 pt 7 ps 0.6
unset multiplot
