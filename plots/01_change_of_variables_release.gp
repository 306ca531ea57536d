# animated
# Release samples (article A): each goes up from its x to the curve y = x^k, across to p_y, and
# lands there. The bars they build close in on the derived density, their error falls as 1/sqrt(n).
figure = "01_change_of_variables_release"; animated = 1
data   = "build/data/01_change_of_variables.dat"
need   = "interval curves frames carried errors"
width  = 800; height = 430; gif_width = 640; gif_height = 320; delay = 20
load "plots/style.gp"

gif = fmt eq "gif"
stats data index "interval" every ::5::5 using 3 nooutput; k = STATS_min
stats data index "errors" using 2 nooutput; best = STATS_min
stats data index "errors" using 1 nooutput; last = int(STATS_records) - 1; n = STATS_max
array N[last + 1]
do for [f = 0:last] {
    stats data index "errors" every ::f::f using 1 nooutput; N[f + 1] = STATS_min
}

# A flight lasts 5 frames: the first half of it upwards, the second across, to x = 1.
u(f, lands) = f > lands ? NaN : (f - lands) / 5.0 + 1
px(f, x, lands) = u(f, lands) < 0.5 ? x : x + (1 - x) * (2 * u(f, lands) - 1)
py(f, y, lands) = u(f, lands) < 0 ? NaN : u(f, lands) < 0.5 ? 2 * y * u(f, lands) : y

unset key
set border 15
set grid noxtics noytics
if (!gif) { set multiplot }
do for [i = 1:gif ? last + 4 : 4] {
    if (gif) { set multiplot }
    # gif: every frame, the last held a while; otherwise four moments
    f = !gif ? (i * last) / 4 : i > last + 1 ? last : i - 1
    left = gif ? 0.105 : i % 2 ? 0.075 : 0.405
    split = left + (gif ? 0.325 : 0.185)
    high = gif ? 0.88 : i < 3 ? 0.925 : 0.475
    low = gif ? 0.18 : high - 0.345
    bottom = gif || i > 2
    unset logscale

    set lmargin at screen left; set rmargin at screen split
    set tmargin at screen high; set bmargin at screen low
    set xrange [0:1]; set yrange [0:1]; set xtics 0.5; set ytics 0.5
    set format x bottom ? "%g" : ""; set format y i % 2 || gif ? "%g" : ""
    set title sprintf("%d samples have landed", N[f + 1]) offset 3,-0.3
    set xlabel bottom ? "x" : ""; set ylabel i % 2 || gif ? math(sprintf("y = x^{%g}", k)) : ""
    plot data index "curves" every :::5::5 using 1:2 with lines lt 1, \
         data index "carried" using (px(f, $1, $3)):(py(f, $2, $3)) \
             with points pt 7 ps (gif ? 0.6 : 0.4) lc rgb color2

    set lmargin at screen split + 0.012; set rmargin at screen split + (gif ? 0.21 : 0.1)
    set xrange [0:4]; set xtics 2,2; set format y ""
    set title ""; set xlabel bottom ? math("p_y") : ""; set ylabel ""
    plot data index "frames" every :::f::f using (0):1:(0):2:($1 - $3/2):($1 + $3/2) \
             with boxxyerror lc rgb "#F0C3A4", \
         data index "curves" every :::5::5 using 4:2 with lines lt 1

    if (gif || i == 4) {
        set lmargin at screen gif ? 0.745 : 0.77; set rmargin at screen 0.985
        set tmargin at screen gif ? 0.88 : 0.93; set bmargin at screen gif ? 0.18 : 0.14
        set logscale xy; set xrange [0.7:2 * n]; set yrange [best / 2:1.5]
        set xtics 1,10; set ytics 0.0001,10; set format xy "10^{%T}"
        set title "error of the bars: 1/√n" offset 0,-0.3; set xlabel "samples n"
        plot data index "errors" using 1:3 with lines lt 1, \
             data index "errors" every ::0::f using 1:2 with points pt 7 ps 0.5 lc rgb color2, \
             data index "errors" every ::f::f using 1:2 with points pt 6 ps 1.4 lw 2 lc rgb color2
    }
    if (gif) { unset multiplot }
}
if (!gif) { unset multiplot }
