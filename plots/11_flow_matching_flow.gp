# Noise becoming data along the trained velocity.
# animated
figure = "11_flow_matching_flow"; animated = 1
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_paths$/ { sub(/_paths/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_paths"
if (words(sets)) { need = ""; do for [s in sets] { need = need." ".s."_paths" } }
cols   = words(sets) > 1 ? words(sets) : 1
width  = 800; height = 30 + 160*cols
gif_width = cols > 1 ? 640 : 320; gif_height = cols > 1 ? 245 : 350; delay = 9
load "plots/style.gp"

wide = 9.0
set size ratio (sets eq "file" ? 1 : -1)  # a file's columns may differ in scale
if (sets eq "file") {
    stats data index "file_paths" using 1:2 nooutput
    set xrange [STATS_min_x:STATS_max_x]; set yrange [STATS_min_y:STATS_max_y]
    wide = STATS_max_x - STATS_min_x
} else {
    set xrange [-4.5:4.5]; set yrange [-4.5:4.5]
}
mark = wide/64  # little squares: in an SVG they take a fifth of what points do
unset key; unset tics; unset grid; set border 15
if (fmt eq "gif") {
    do for [k = 1:39] {
        f = k > 33 ? 33 : k
        set multiplot layout 1,cols margins screen 0.01,0.99,0.02,0.88 spacing screen 0.01
        do for [i = 1:words(sets)] {
            set title sprintf("%s, t = %.2f", word(sets, i), (f - 1)/32.0)
            plot data index word(sets, i)."_paths" using 1:2 every ::f::f with points ls 11
        }
        unset multiplot
    }
} else {
    set multiplot layout cols,5 margins screen 0.04,0.99,0.015,0.93 spacing screen 0.01
    do for [i = 1:words(sets)] {
        do for [k = 0:4] {
            f = 8*k + 1
            set title i == 1 ? sprintf("t = %.2f", k/4.0) : ""
            set ylabel k == 0 ? word(sets, i) : ""
            plot data index word(sets, i)."_paths" using ($1 - mark/2):2:(mark):(0) every ::f::f \
                 with vectors nohead lt 1 lw 2.5 lc rgb color1
        }
    }
    unset multiplot
}
