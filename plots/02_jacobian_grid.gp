# Zoom in, and the map becomes its Jacobian (article A): a square net bent by phi, and three squares
# around c, each magnified to the same size, with the parallelogram that J makes of it.
figure = "02_jacobian_grid"
data   = "build/data/02_jacobian.dat"
need   = "plane zoom_a zoom_b zoom_c"
width  = 800; height = 300
load "plots/style.gp"

# the ring of a net's outermost lines, drawn where they are
unset key
set multiplot
set size ratio -1
unset grid
set border 15
set lmargin at screen 0.05; set rmargin at screen 0.36
set tmargin at screen 0.89; set bmargin at screen 0.13
set xrange [-5:5]; set yrange [-5:5]; set xtics 2; set ytics 2
set title "what φ does to a square net"
set xlabel math("y_1") offset 0,0.8; set ylabel math("y_2") rotate by 0 offset 2,0
plot data index "plane" using 1:2 with lines ls 31, \
     for [z in "a b c"] data index "zoom_".z using 1:2 with lines lt 1 lw 1

set xlabel ""; set ylabel ""; set format xy ""
do for [i = 1:3] {
    z = word("a b c", i)
    stats data index "zoom_".z using 7 nooutput; h = STATS_min
    set lmargin at screen 0.39 + 0.2 * (i - 1); set rmargin at screen 0.58 + 0.2 * (i - 1)
    set tmargin at screen 0.89; set bmargin at screen 0.13
    set xrange [-1:1]; set yrange [-1:1]; unset xtics; unset ytics
    set title sprintf("side %g", h)
    plot data index "zoom_".z using (($1 - $5) / h):(($2 - $6) / h) with lines lt 1 lw 1.5, \
         data index "zoom_".z using (($3 - $5) / h):(($4 - $6) / h) with lines lt 2 lw 1.5
}
unset multiplot
