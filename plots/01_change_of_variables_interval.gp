# An interval and its image hold the same mass (article A), whether the map increases or decreases.
# Read it from p_x at the bottom up to the curve, and from there across to p_y.
figure = "01_change_of_variables_interval"
data   = "build/data/01_change_of_variables.dat"
need   = "interval curves"
width  = 800; height = 420
load "plots/style.gp"

# the rows of "interval" for x^k and for 1 - sqrt(x): a b k x1 x2 y1 y2 mass_x mass_y
array V[18]
do for [i = 1:18] {
    stats data index "interval" every ::(i > 9 ? 1 : 5)::(i > 9 ? 1 : 5) \
        using (i > 9 ? column(i - 9) : column(i)) nooutput
    V[i] = STATS_min
}
within(x, lo, hi, p) = lo <= x && x <= hi ? p : NaN

set multiplot
unset key
set grid noxtics noytics
set border 15
do for [j = 0:1] {
    m = j ? 1 : 5  # the map's section in "curves"
    x1 = V[9 * j + 4]; x2 = V[9 * j + 5]; y1 = V[9 * j + 6]; y2 = V[9 * j + 7]
    left = 0.08 + 0.495 * j; split = left + 0.27; right = split + 0.135

    # the map: up from the interval, across to its image
    set lmargin at screen left; set rmargin at screen split
    set tmargin at screen 0.885; set bmargin at screen 0.37
    set xrange [0:1]; set yrange [0:1]
    set xtics 0.5; set ytics 0.5; set format x ""; set format y "%g"
    set title j ? "y = 1 − √x turns the interval round" : \
        math(sprintf("y = x^{%g}", V[3]))." keeps its order" offset 4,-0.3
    set ylabel "y" rotate by 0 offset 0.5,0
    plot data index "curves" every :::m::m using 1:(within($1, x1, x2, $2)) \
             with filledcurves y1=0 ls 22, \
         "" index "curves" every :::m::m using (within($1, x1, x2, j ? $1 : x2)):2 \
             with filledcurves x1=1 ls 22, \
         "" index "curves" every :::m::m using 1:2 with lines lt 1, \
         data index "interval" every ::m::m using 4:6 with points pt 7 ps 1 lc rgb color2, \
         data index "interval" every ::m::m using 5:7 with points pt 5 ps 1 lc rgb color2
    unset label

    # p_x below it
    set tmargin at screen 0.34; set bmargin at screen 0.135
    set title ""; set yrange [0:1.5]; set ytics 1; set xtics 0.5; set format x "%g"
    set xlabel "x"; set ylabel math("p_x") rotate by 0 offset 0.5,0
    set label 2 math("x_1") at x1,0.3 right offset -0.3,0
    set label 3 math("x_2") at x2,0.3 offset 0.3,0
    set label 1 sprintf("mass %.3g", V[9 * j + 8]) at 0.97,1.25 right textcolor rgb color2
    plot data index "curves" every :::m::m using 1:(within($1, x1, x2, $3)) \
             with filledcurves y1=0 ls 22, \
         "" index "curves" every :::m::m using 1:3 with lines lt 1

    # p_y beside it, on its side
    set lmargin at screen split + 0.0157; set rmargin at screen right
    set tmargin at screen 0.885; set bmargin at screen 0.37
    set xrange [0:3]; set yrange [0:1]; set xtics 1; set ytics 0.5; set format y ""
    set xlabel math("p_y"); set ylabel ""
    unset label
    low = y1 < y2 ? y1 : y2; high = y1 < y2 ? y2 : y1  # labels keep apart, and inside
    low = low < 0.05 ? 0.05 : low > 0.85 ? 0.85 : low
    high = high > 0.95 ? 0.95 : high < low + 0.1 ? low + 0.1 : high
    set label 1 sprintf("mass %.3g", V[9 * j + 9]) at 2.9,(high < 0.84 ? 0.93 : 0.72) right \
        textcolor rgb color2
    set label 2 math("y_1") at 2.9,(y1 < y2 ? low : high) right
    set label 3 math("y_2") at 2.9,(y1 < y2 ? high : low) right
    plot data index "curves" every :::m::m using (within($1, x1, x2, $4)):2 \
             with filledcurves x1=0 ls 22, \
         "" index "curves" every :::m::m using 4:2 with lines lt 1
    unset label; set xlabel ""
}
unset multiplot
