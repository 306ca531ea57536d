# What a chain does, layer after layer, in both directions.
figure = "05_planar_flow_layers"
data   = "build/data/05_planar_flow.dat"
need   = "after00 after02 after04 after08 after16 after32"
need   = need." moons00 moons08 moons16 moons24 moons32 samples"
width  = 800; height = 350
load "plots/style.gp"

set multiplot
set size ratio -1
unset key; unset colorbox; unset grid; unset tics; set border 31
place(i) = "set lmargin at screen ".sprintf("%.4f", 0.007 + 0.1655*i)."; ". \
           "set rmargin at screen ".sprintf("%.4f", 0.165 + 0.1655*i)
set xrange [-4:4]; set yrange [-4:4]
set tmargin at screen 0.85; set bmargin at screen 0.49
set label 1 bold("Noise → target: ")."the density after the first layers of 32" \
    at screen 0.008,0.965
do for [i = 1:6] {
    eval place(i - 1)
    set title i == 1 ? "affine layer only" : word("0 2 4 8 16 32", i)." layers" offset 0,-0.7
    plot data index "after".word("00 02 04 08 16 32", i) using 1:2:3 with image
    unset label 1
}
set xrange [-4:4]; set yrange [-4:4]
set tmargin at screen 0.37; set bmargin at screen 0.01
set label 1 bold("Data → noise: ")."two moons after the layers; samples run back" \
    at screen 0.008,0.455
do for [i = 1:6] {
    eval place(i - 1)
    set title i == 1 ? "data" : i == 6 ? "samples" : word("0 8 16 24 32", i)." layers" offset 0,-0.7
    plot data index word("moons00 moons08 moons16 moons24 moons32 samples", i) using 1:2 \
         with points ls (i == 6 ? 12 : 11)
    unset label 1
}
unset multiplot
