# Without a constraint a planar layer folds the plane over itself; with u^ it cannot.
figure = "05_planar_flow_fold"
data   = "build/data/05_planar_flow.dat"
need   = "profile folding"
width  = 800; height = 340
load "plots/style.gp"

set multiplot
unset key
set bmargin at screen 0.16; set tmargin at screen 0.83

set lmargin at screen 0.065; set rmargin at screen 0.345
set xrange [-5:5]; set yrange [-4.2:4.2]; set xtics -4,2,4; set ytics -4,2,4
set xlabel "a = w·x"; set ylabel "w·f(x)" offset 1.5,0
stats data index "profile" using 4 nooutput
folds = STATS_max > 1
set title folds ? "Along w, the raw formula\nturns back" : "Along w, the raw formula\nonly rises"
if (folds) {
    stats data index "profile" using ($4 > 1 ? $1 : NaN) nooutput
    set object 1 rectangle from -5,STATS_min to 5,STATS_max behind \
        fillcolor rgb "#FAE6D9" fillstyle solid noborder
    set label 1 "3 preimages" at -4.8,(STATS_max < 3.4 ? STATS_max + 0.4 : 2.2) \
        textcolor rgb "#8A4A1A"
}
set label 2 "raw" at 1.9,-1.7 textcolor rgb color2
set label 3 "with û" at 1.1,2.6 textcolor rgb color1
plot data index "profile" using 1:2 with lines lt 2, \
     data index "profile" using 1:3 with lines lt 1
unset object 1
unset label

set size ratio -1; unset grid
set xlabel math("f_1"); set ylabel math("f_2") offset 1.5,0 rotate by 0
set xrange [-4.7:4.7]; set yrange [-4.7:4.7]
set lmargin at screen 0.405; set rmargin at screen 0.69
set title folds ? "Raw: three sheets deep;\norange is upside down (det < 0)" : \
    "Raw: one sheet,\nas w·u is above −1"
plot data index "folding" using 3:4 with lines lt 1 lw 1, \
     data index "folding" using ($7 < 0 ? $3 : NaN):4 with lines lt 1 lw 1.5 lc rgb color2
set lmargin at screen 0.705; set rmargin at screen 0.99
set format y ""; unset ylabel
set title folds ? "With û: one sheet,\nsqueezed where it would fold" : \
    "With û: nearly the same"
plot data index "folding" using 5:6 with lines lt 1 lw 1
unset multiplot
