# Without a constraint a planar layer folds the plane over itself; with u^ it cannot.
figure = "05_planar_flow_fold"
data   = "build/data/05_planar_flow.dat"
need   = "profile folding"
width  = 800; height = 330
load "plots/style.gp"

stats data index "profile" using ($4 > 1 ? $1 : NaN) nooutput
folded = STATS_records > 0
low = folded ? STATS_min : 0; high = folded ? STATS_max : 0
set multiplot
unset key
set bmargin at screen 0.17; set tmargin at screen 0.83

set lmargin at screen 0.065; set rmargin at screen 0.335
set xrange [-5:5]; set yrange [-4.2:4.2]; set xtics -4,2,4; set ytics -4,2,4
set xlabel "a = w·x"; set ylabel "w·f(x)" offset 1.5,0
set title "The profile along w"
if (folded) {
    set object 1 rectangle from -5,low to 5,high fillcolor rgb "#F3E3D8" fillstyle solid behind
    set label 1 "3 preimages" at 4.8,high-0.35 right font ",11" textcolor rgb color2
}
set label 2 "raw formula" at -4.7,3.4 textcolor rgb color2
set label 3 "with û" at 1.2,-1.9 textcolor rgb color1
plot data index "profile" using 1:2 with lines lt 2, \
     data index "profile" using 1:3 with lines lt 1
unset object 1; unset label

set size ratio -1; unset grid
set xlabel "f_1"; set ylabel "f_2" offset 1.5,0
set xrange [-5.6:5.6]; set yrange [-5.6:5.6]
set lmargin at screen 0.40; set rmargin at screen 0.67
set title "Raw: three sheets deep\nwhere orange (det < 0)"
plot data index "folding" using 3:4 with lines lt 1 lw 1, \
     data index "folding" using ($7 < 0 ? $3 : NaN):4 with lines lt 1 lw 1.4 lc rgb color2
set lmargin at screen 0.71; set rmargin at screen 0.98
set format y ""; unset ylabel
set title "With û: squeezed,\nbut one sheet"
plot data index "folding" using 5:6 with lines lt 1 lw 1
unset multiplot
