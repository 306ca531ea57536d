# What a chain does, layer after layer, in both directions.
figure = "05_planar_flow_layers"
data   = "build/data/05_planar_flow.dat"
need   = "after00 after02 after04 after08 after16 after32"
need   = need." moons00 moons08 moons16 moons24 moons32 moons_samples"
width  = 800; height = 350
load "plots/style.gp"

set multiplot
set size ratio -1
unset key; unset colorbox; unset grid; unset tics; set border 31
set xrange [-4:4]; set yrange [-4:4]
shown = "00 02 04 08 16 32"
place(i) = 0.012 + 0.1635*i
do for [i = 0:5] {
    set lmargin at screen place(i); set rmargin at screen place(i) + 0.155
    set tmargin at screen 0.87; set bmargin at screen 0.52
    block = "after".word(shown, i + 1)
    set title i == 0 ? "noise, moved and scaled" : sprintf("%d layers", int(word(shown, i + 1))) \
        font ",11" offset 0,-0.7
    plot data index block using 1:2:3 with image
}
set xrange [-3.6:3.6]; set yrange [-3.6:3.6]
blocks = "moons00 moons08 moons16 moons24 moons32 moons_samples"
titles = "'data' '8 layers' '16 layers' '24 layers' '32 layers: noise' 'samples by inversion'"
do for [i = 0:5] {
    set lmargin at screen place(i); set rmargin at screen place(i) + 0.155
    set tmargin at screen 0.38; set bmargin at screen 0.03
    set title word(titles, i + 1) font ",11" offset 0,-0.7
    plot data index word(blocks, i + 1) using 1:2 with points ls (i == 5 ? 12 : 11)
}
unset multiplot
