# Zoom in, and the map becomes its Jacobian (article A): a square net bent by phi, and three squares
# around c, magnified to one size, each over the parallelogram that J makes of it.
figure = "02_jacobian_grid"
data   = "build/data/02_jacobian.dat"
need   = "plane zoom_a zoom_b zoom_c"
width  = 800; height = 310
load "plots/style.gp"

array H[3]
do for [i = 1:3] {
    stats data index "zoom_".word("a b c", i) using 7 nooutput; H[i] = STATS_min
}

set multiplot
unset key
set size ratio -1
set border 15
unset grid

set lmargin at screen 0.06; set rmargin at screen 0.37
set tmargin at screen 0.88; set bmargin at screen 0.14
set xrange [-5:5]; set yrange [-5:5]; set xtics 2; set ytics 2
set title "a square net under φ"
set xlabel math("y_1") offset 0,0.8; set ylabel math("y_2") rotate by 0 offset 1.5,0
plot data index "plane" using 1:2 with lines ls 31, \
     for [z in "a b c"] for [e in "0 8 9 17"] data index "zoom_".z every :::e+0::e+0 using 1:2 \
         with lines lt 1 lw 1.5

set title ""; set xlabel ""; set ylabel ""; unset xtics; unset ytics
set xrange [-1:1]; set yrange [-1:1]
set label 1 bold("Zoom in, and the map becomes its Jacobian") at screen 0.695,0.93 center
set label 2 "blue: the square's image under φ" at screen 0.695,0.14 center textcolor rgb color1
set label 3 "dashed: its image under the linear map φ(c) + J (x − c)" \
    at screen 0.695,0.06 center textcolor rgb color2
do for [i = 1:3] {
    z = "zoom_".word("a b c", i)
    h = H[i]
    set lmargin at screen 0.40 + 0.2 * (i - 1); set rmargin at screen 0.59 + 0.2 * (i - 1)
    set tmargin at screen 0.83; set bmargin at screen 0.22
    set title sprintf("a square of side %g", h)
    plot for [e in "0 8 9 17"] data index z every :::e+0::e+0 using \
             (($3 - $5) / h):(($4 - $6) / h) with lines lt 2 lw 3, \
         data index z using (($1 - $5) / h):(($2 - $6) / h) with lines lt 1 lw 1
    unset label
}
unset multiplot
