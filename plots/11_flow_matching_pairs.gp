# What the network is shown, straight lines that cross; what it learns, trajectories that curve.
figure = "11_flow_matching_pairs"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_paths$/ { sub(/_paths/, \"\"); print $2 }' ".data." 2>&1")
name   = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = name."_paths ".name."_density"
width  = 800; height = 430
load "plots/style.gp"

left = name eq "file" ? 0.11 : 0.055
set multiplot layout 1,2 margins screen left,0.985,0.115,0.91 spacing screen 0.05
set size ratio (name eq "file" ? 1 : -1)  # a file's columns may differ in scale
if (name ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
set palette defined (0 "#FFFFFF", 1 "#BBBBBB"); unset colorbox
unset grid
if (name eq "file") { set xtics rotate by -20 }
unset key
pairs = 50
set xlabel "x_1" offset 0,0.5; set ylabel "x_2" offset 1.5,0
set title bold("Shown").": pairs of noise (black) and data (orange)"
plot data index name."_density" using 1:2:4 with image, \
     "" index name."_paths" using 1:2 every ::0:0:1:pairs-1 with lines lt 1 lw 1 dt solid, \
     "" index name."_paths" using 1:2 every ::1:0:1:pairs-1 with points pt 7 ps 0.5 lc rgb color7, \
     "" index name."_paths" using 1:2 every ::0:0:0:pairs-1 with points pt 7 ps 0.5 lc rgb color2
set ylabel ""; set format y ""
set title bold("Learnt").": trajectories of v from the same noise"
plot data index name."_density" using 1:2:4 with image, \
     "" index name."_paths" using 1:2 every ::1:0::pairs-1 with lines lt 1 lw 1 dt solid, \
     "" index name."_paths" using 1:2 every ::1:0:1:pairs-1 with points pt 7 ps 0.5 lc rgb color7, \
     "" index name."_paths" using 1:2 every ::33:0:33:pairs-1 with points pt 7 ps 0.5 lc rgb color2
unset multiplot
