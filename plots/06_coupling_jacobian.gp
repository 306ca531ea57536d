# The zeros of four Jacobians: a triangle's determinant is the product of its diagonal.
figure = "06_coupling_jacobian"
data   = "build/data/06_coupling.dat"
need   = "coupling two_layers maf residual"
width  = 800; height = 285
load "plots/style.gp"

set multiplot layout 1,4 margins screen 0.055,0.915,0.15,0.745 spacing screen 0.02,0
set size ratio -1
unset key; unset colorbox; unset grid; set border 31
set xrange [0.5:8.5]; set yrange [8.5:0.5]; set tics scale 0
set xtics 1,7,8; set ytics 1,7,8 offset 0.6,0
set palette defined (0 "#CFE1F2", 0.35 "#6BAED6", 0.7 "#2171B5", 1 "#08306B")
set logscale cb; set cbrange [0.03:3]; set cbtics (0.03, 0.1, 0.3, 1, 3)
set label 1 bold("Triangles: ")."the log-determinant is the sum of the diagonal’s logs" \
    at screen 0.012,0.945
set label 2 "colour: |∂y_i/∂x_j|; white: 0" at screen 0.985,0.945 right textcolor rgb "#666666"
head = "'One coupling layer:\n4 of 8 coordinates move' ". \
       "'Two, halves swapped:\nall move, log-dets add' ". \
       "'Autoregressive (MAF):\nall move, d passes back' ". \
       "'Residual layer: full,\na true determinant'"
set ylabel "output i" offset 2.5,0
set xlabel "input j" offset 0,1.2
do for [k = 1:4] {
    set title word(head, k) offset 0,-0.4
    if (k == 4) { set colorbox user origin screen 0.924,0.15 size screen 0.014,0.595 }
    plot data index word(need, k) using 2:1:($3 == 0 ? NaN : abs($3)) with image pixels
    unset label 1; unset label 2
    unset ylabel; set format y ""
}
unset multiplot
