# Two moons after some of a trained RealNVP's 14 layers, with the way of each point in grey.
figure = "06_coupling_layers"
data   = "build/data/06_coupling.dat"
layers = "1 2 3 4 5 9 13 16"
need   = ""
do for [k in layers] { need = need.sprintf(" layer%02d", int(k)) }
width  = 800; height = 475
load "plots/style.gp"

set multiplot layout 2,4 margins screen 0.01,0.99,0.012,0.85 spacing screen 0.012,0.075
set size ratio -1
unset key; unset grid; unset tics; set border 31
set label 1 bold("A coupling layer moves one coordinate: ")."two moons turn to noise" \
    at screen 0.01,0.965
set label 2 "(each panel has its own scale)" at screen 0.99,0.965 right textcolor rgb "#666666"
set style arrow 1 nohead back linetype 1 linewidth 0.8 linecolor rgb "#BBBBBB"
do for [i = 1:8] {
    block = word(need, i)
    k = int(word(layers, i)) - 1  # an actnorm comes first, and another one last
    set title k == 0 ? "data, standardised" : k == 15 ? "all 14, scaled: noise" : \
        sprintf("layer %d moves ", k).math(k % 2 ? "x_1" : "x_2") offset 0,-0.5
    stats data index block using 1:2 nooutput
    half = 0.53*(STATS_max_x - STATS_min_x > STATS_max_y - STATS_min_y ? \
        STATS_max_x - STATS_min_x : STATS_max_y - STATS_min_y)
    set xrange [(STATS_min_x + STATS_max_x)/2 - half:(STATS_min_x + STATS_max_x)/2 + half]
    set yrange [(STATS_min_y + STATS_max_y)/2 - half:(STATS_min_y + STATS_max_y)/2 + half]
    moves = k > 0 && k < 15
    plot data index block every 4 using (moves ? $4 : NaN):5:($1 - $4):($2 - $5) \
         with vectors arrowstyle 1, \
         data index block every 4 using ($3 == 0 ? $1 : NaN):2 with points ls 11, \
         data index block every 4 using ($3 == 1 ? $1 : NaN):2 with points ls 12
    unset label 1; unset label 2
    set xrange [*:*]; set yrange [*:*]  # stats would heed them
}
unset multiplot
