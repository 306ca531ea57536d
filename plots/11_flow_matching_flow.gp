# Noise becoming data along the trained field.
# animated
figure = "11_flow_matching_flow"; animated = 1
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# flow_/ { sub(/^# flow_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
need   = "flow_".(words(sets) ? word(sets, 1) : "moons")
do for [i = 1:words(sets)] { need = need." flow_".word(sets, i) }
rows   = words(sets) > 1 ? words(sets) : 1
width  = 800; height = 40 + 160*rows
gif_width = 640; gif_height = 250; delay = 9
load "plots/style.gp"

set size ratio -1
set xrange [-4.5:4.5]; set yrange [-4.5:4.5]
unset key; unset tics; unset grid; set border 15
if (fmt eq "gif") {
    do for [k = 0:38] {
        f = k > 32 ? 32 : k
        set multiplot layout 1,rows margins screen 0.01,0.99,0.02,0.87 spacing screen 0.01
        do for [i = 1:words(sets)] {
            set title sprintf("%s, t = %.2f", word(sets, i), f/32.0)
            plot data index "flow_".word(sets, i) using 1:2 every :::f::f with points ls 11
        }
        unset multiplot
    }
} else {
    set multiplot layout rows,5 margins screen 0.04,0.99,0.02,0.93 spacing screen 0.01
    do for [i = 1:words(sets)] {
        do for [k = 0:4] {
            set title i == 1 ? sprintf("t = %.2f", k/4.0) : ""
            set ylabel k == 0 ? word(sets, i) : ""
            plot data index "flow_".word(sets, i) using 1:2 every :::8*k::8*k with points ls 11
        }
    }
    unset multiplot
}
