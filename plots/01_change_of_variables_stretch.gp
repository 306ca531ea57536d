# A stretched density sinks: U(0, 1) under 2x (article B, figure 2), N(0, 1) under a + b x (E).
figure = "01_change_of_variables_stretch"
data   = "build/data/01_change_of_variables.dat"
need   = "interval curves histograms"
width  = 800; height = 420
load "plots/style.gp"

within(x, lo, hi, p) = lo <= x && x <= hi ? p : NaN
min(x, y) = x < y ? x : y
max(x, y) = x > y ? x : y

# the rows of "interval" for 2x and for a + b x: a b k x1 x2 y1 y2 mass_x mass_y
array V[18]
do for [i = 1:18] {
    stats data index "interval" every ::(i > 9 ? 2 : 0)::(i > 9 ? 2 : 0) \
        using (i > 9 ? column(i - 9) : column(i)) nooutput
    V[i] = STATS_min
}

stats data index "histograms" using 4 nooutput; n = STATS_max

set multiplot
unset key
do for [j = 0:1] {
    m = 2 * j  # the map's section in "curves" and "histograms"
    a = V[9 * j + 1]; b = V[9 * j + 2]; s = abs(b); top = j ? 0.5 * max(1, 1 / s) : 1.25
    x1 = V[9 * j + 4]; x2 = V[9 * j + 5]
    lo = j ? min(-3.5, a - 3.5 * s) : -0.2; hi = j ? max(3.5, a + 3.5 * s) : 2.2
    step = top < 1.1 ? 0.25 : 0.5 * ceil(top / 2.5)
    side = j && a >= 0 ? 0.03 : 0.98  # where the panels have room for a label
    set lmargin at screen 0.085 + 0.49 * j; set rmargin at screen 0.495 + 0.49 * j
    set xrange [lo:hi]; set yrange [0:top]; set ytics step

    set tmargin at screen 0.90; set bmargin at screen 0.65; set format x ""
    set title j ? sprintf("y = %g %s %g x makes ", a, b < 0 ? "−" : "+", s). \
        math(sprintf("N(%g, %g^2)", a, s))." of N(0, 1)" : "y = 2x: twice as wide, half as high"
    set ylabel j ? "" : math("p_x(x)")
    set label 1 sprintf("shaded: mass %.3g", V[9 * j + 8]) at graph side,0.9 textcolor rgb color2
    if (side > 0.5) { set label 1 right } else { set label 1 left }
    plot data index "curves" every :::m::m using 1:(within($1, x1, x2, $3)) \
             with filledcurves y1=0 ls 22, \
         "" index "curves" every :::m::m using 1:3 with lines lt 1, \
         "" index "curves" every (j ? 3000 : 399):::m::m using 1:3 with impulses lt 1

    set tmargin at screen 0.635; set bmargin at screen 0.405; set yrange [0:1]
    set title ""; set ylabel ""; unset border; unset xtics; unset ytics; unset grid
    unset label; set label 1 "x" at graph -0.045,0.88 center
    set label 2 "y" at graph -0.045,0.12 center
    plot data index "curves" every (j ? 12 : 19):::m::m using \
             (abs(j * $1) < 3.2 ? $1 : NaN):(1):($2 - $1):(-1) with vectors nohead ls 31, \
         data index "interval" every ::m::m using 4:(1):($6 - $4):(-1) \
             with vectors nohead lt 2 dashtype solid, \
         data index "interval" every ::m::m using 5:(1):($7 - $5):(-1) \
             with vectors nohead lt 2 dashtype solid
    unset label 2

    set tmargin at screen 0.39; set bmargin at screen 0.10; set yrange [0:top]
    set border 3; set xtics nomirror out scale 0.5 textcolor rgb ink; set format x "%g"; set grid
    set ytics step nomirror out scale 0.5 textcolor rgb ink
    set ylabel j ? "" : math("p_y(y)")
    set label 1 sprintf("shaded: mass %.3g", V[9 * j + 9]) at graph side,0.9 textcolor rgb color2
    if (side > 0.5) { set label 1 right } else { set label 1 left }
    if (!j) { set label 2 sprintf("grey: %d samples", n) at graph side,0.74 right }
    plot data index "curves" every :::m::m using 2:(within($1, x1, x2, $4)) \
             with filledcurves y1=0 ls 22, \
         "" index "histograms" every :::m::m using 1:2 with histeps ls 31, \
         "" index "curves" every :::m::m using 2:4 with lines lt 1, \
         "" index "curves" every (j ? 3000 : 399):::m::m using 2:4 with impulses lt 1
    unset label
}
unset multiplot
