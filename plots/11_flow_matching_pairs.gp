# Straight lines of the pairs, curved trajectories of the velocity that was learnt from them.
figure = "11_flow_matching_pairs"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# lines_/ { sub(/^# lines_/, \"\"); print }' ".data." 2>/dev/null")
set_   = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = sprintf("lines_%s curves_%s held_%s", set_, set_, set_)
width  = 800; height = 430
load "plots/style.gp"

set multiplot layout 1,2 margins screen 0.06,0.985,0.12,0.89 spacing screen 0.06
set size ratio -1
set xlabel "x_1" offset 0,0.6; set ylabel "x_2" offset 1.2,0
unset key
if (set_ ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
set title bold("What it is shown").": pairs on straight lines, which cross"
plot data index "held_".set_ using 1:2 with points ls 18, \
     data index "lines_".set_ using 1:2 with lines lt 1 lw 1 dt solid, \
     "" index "lines_".set_ using 1:2 every ::0::0 with points pt 6 ps 0.6 lc rgb color7, \
     "" index "lines_".set_ using 1:2 every ::1::1 with points pt 7 ps 0.6 lc rgb color2
set ylabel ""; set format y ""
set title bold("What it learns").": trajectories that curve"
plot data index "held_".set_ using 1:2 with points ls 18, \
     data index "curves_".set_ using 1:2 with lines lt 1 lw 1 dt solid, \
     "" index "curves_".set_ using 1:2 every ::0::0 with points pt 6 ps 0.6 lc rgb color7, \
     "" index "curves_".set_ using 1:2 every ::32::32 with points pt 7 ps 0.6 lc rgb color2
unset multiplot
