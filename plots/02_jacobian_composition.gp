# K maps in a row bend a Gaussian (article A, "Combining multiple flows"): every density p_0 ... p_K
# and one sample on its way, with the determinant that each map has where it meets the sample.
figure = "02_jacobian_composition"
data   = "build/data/02_jacobian.dat"
need   = "path p_0"
stats data index "path" using 1 nooutput
last = int(STATS_max); rows = last / 3 + 1  # three panels a row
do for [k = 1:last] { need = need.sprintf(" p_%d", k) }
width  = 800; height = 75 + 245 * rows
load "plots/style.gp"

array D[last + 1]; array P[last + 1]; top = 0
do for [k = 0:last] {
    stats data index "path" every ::k::k using 4 nooutput; D[k + 1] = STATS_min
    stats data index "path" every ::k::k using 5 nooutput; P[k + 1] = STATS_min
    stats data index sprintf("p_%d", k) using 3 nooutput; if (STATS_max > top) { top = STATS_max }
}

set multiplot title bold("Each map divides a sample's density by the |det J| where it meets it")
set size ratio -1
unset key; unset colorbox; unset grid
set border 15
set xrange [-4.5:4.5]; set yrange [-4.5:4.5]; set xtics 2; set ytics 2
set cbrange [0:top]; set cbtics 0.1
do for [k = 0:last] {
    i = k % 3; j = k / 3; below = k + 3 > last
    set lmargin at screen 0.05 + 0.29 * i; set rmargin at screen 0.32 + 0.29 * i
    set tmargin at screen 1 - (55.0 + 245 * j) / height
    set bmargin at screen 1 - (55.0 + 245 * j + 216) / height
    set format y i ? "" : "%g"; set format x below ? "%g" : ""
    set title k == 0 ? math(sprintf("p_0(x_0) = %.3f", P[1])) : \
        math(sprintf("p_%d(x_%d) = %.3f / %.2f = %.3f", k, k, P[k], D[k + 1], P[k + 1]))
    if (k == last) {
        tall = 245.0 * (rows - 1) + 216
        set colorbox user origin screen 0.91,screen 1 - (55 + tall) / height \
                          size screen 0.015,screen tall / height
        set cblabel "density"
    }
    plot data index sprintf("p_%d", k) using 1:2:3 with image, \
         data index "path" every ::0::k using 2:3 with lines lt 1 lw 1.5 lc rgb "white", \
         data index "path" every ::k::k using 2:3 with points pt 7 ps 0.8 lc rgb "white"
}
unset multiplot
