# Samples of the trained model (100 Euler steps and more are alike) beside data it never saw.
figure = "11_flow_matching_samples"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# held_/ { sub(/^# held_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
need   = "held_".(words(sets) ? word(sets, 1) : "moons")
do for [i = 1:words(sets)] { need = need." held_".word(sets, i)." euler_".word(sets, i) }
cols   = words(sets) > 1 ? words(sets) : 1
width  = cols > 1 ? 800 : 420; height = cols > 1 ? 560 : 760
load "plots/style.gp"

set multiplot layout 2,cols margins screen 0.075,0.99,0.06,0.94 spacing screen 0.025,0.075
set size ratio -1
unset key
last = 7
do for [row = 0:1] {
    do for [i = 1:words(sets)] {
        name = word(sets, i)
        if (name ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
        set title row ? "model" : bold(name).", held-out data"
        set ylabel i == 1 ? "x_2" : ""
        if (row == 0) { plot data index "held_".name using 1:2 with points ls 17
        } else { plot data index "euler_".name using 1:2 every :::last::last with points ls 11 }
    }
}
unset multiplot
