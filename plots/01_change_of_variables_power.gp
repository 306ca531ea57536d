# Where x^k is flat, samples pile up and the density is high (article A, "a slightly more complex
# example"): four powers, their maps above and their densities below.
figure = "01_change_of_variables_power"
data   = "build/data/01_change_of_variables.dat"
need   = "interval curves histograms"
width  = 800; height = 420
load "plots/style.gp"

array K[4]
do for [i = 1:4] { stats data index "interval" every ::i+2::i+2 using 3 nooutput; K[i] = STATS_min }
stats data index "histograms" using 4 nooutput; n = STATS_max

set multiplot title bold("Where the images of even steps crowd together, the density is high")
unset key
set border 15
set xrange [0:1]; set xtics 0.5
do for [i = 0:3] {
    m = i + 3  # the map's section in the blocks
    set lmargin at screen 0.075 + 0.235 * i; set rmargin at screen 0.275 + 0.235 * i
    set format y i ? "" : "%g"

    set tmargin at screen 0.845; set bmargin at screen 0.525
    set yrange [0:1]; set ytics 0.5; set xlabel "x" offset 0,0.8
    set ylabel i ? "" : math("y = x^k") offset 0,0
    set title sprintf("k = %g", K[i + 1])
    plot data index "curves" every 40::20:m:399:m using 1:(0):(0):2 with vectors nohead ls 31, \
         "" index "curves" every 40::20:m:399:m using 1:2:(-$1):(0) with vectors nohead ls 31, \
         "" index "curves" every :::m::m using 1:2 with lines lt 1

    set tmargin at screen 0.405; set bmargin at screen 0.13
    set yrange [0:4]; set ytics 1; set xlabel "y" offset 0,0.8
    set ylabel i ? "" : math("p_y(y)")
    set title ""
    set label 1 i == 0 ? sprintf("bars: %d samples", n) : \
        K[i + 1] > 1 ? "no bound at 0,\nyet area 1" : "" at (i ? 0.57 : 0.48),3.5 center
    plot data index "histograms" every :::m::m using 1:2:3 with boxes ls 28, \
         "" index "curves" every :::m::m using 2:4 with lines lt 1
}
unset multiplot
