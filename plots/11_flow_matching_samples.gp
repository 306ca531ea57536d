# Samples of the trained model over the density of the data.
figure = "11_flow_matching_samples"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_euler$/ { sub(/_euler/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_euler"
if (words(sets)) { need = ""; do for [s in sets] { need = need." ".s."_euler ".s."_density" } }
cols   = words(sets) > 1 ? words(sets) : 1
width  = cols > 1 ? 800 : 440; height = cols > 1 ? 340 : 460
load "plots/style.gp"

left = cols > 1 ? 0.06 : 0.2; break_ = cols > 1 ? " " : "\n"
set multiplot layout 1,cols margins screen left,0.97,0.13,0.82 spacing screen 0.02 \
    title "Samples after 128 Euler steps".break_."over the density of the data (grey)"
set size ratio (sets eq "file" ? 1 : -1)  # a file's columns may differ in scale
set palette defined (0 "#FFFFFF", 1 "#999999"); unset colorbox
unset key; unset grid
set xlabel "x_1" offset 0,0.5
if (sets eq "file") { set xtics rotate by -20 }
do for [i = 1:words(sets)] {
    name = word(sets, i)
    if (name ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
    if (i == 1) { set ylabel "x_2" offset 0.6,0 } else { set ylabel ""; set format y "" }
    set title name
    plot data index name."_density" using 1:2:4 with image, \
         "" index name."_euler" using 1:2 every :::7::7 with points ls 11
}
unset multiplot
