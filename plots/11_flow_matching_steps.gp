# Euler's N steps: one step sends all noise to the mean of the data; a few dozen reach the floor.
figure = "11_flow_matching_steps"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# steps_/ { sub(/^# steps_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
one    = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = "euler_".one." steps_".one
do for [i = 1:words(sets)] { need = need." steps_".word(sets, i) }
width  = 800; height = 520
load "plots/style.gp"

set multiplot
unset key
set size ratio -1
if (one ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
unset tics; unset grid; set border 15
do for [k = 0:4] {
    pick = word("0 1 2 3 7", k + 1) + 0
    set margins screen 0.015 + 0.197*k, screen 0.197 + 0.197*k, screen 0.625, screen 0.93
    set title sprintf("N = %d", 2**pick)
    plot data index "euler_".one using 1:2 every :::pick::pick with points ls 11
}
set border 3; set tics nomirror; set grid
set size noratio
set margins screen 0.075, screen 0.86, screen 0.1, screen 0.54
set logscale x 2; set logscale y
set xrange [0.9:142]; set yrange [*:*]; set format y "%g"
set xlabel "Euler steps N"; set ylabel "W_2 to held-out data" offset 1,0
set title "Distance to held-out data; grey: between two sets of data"
plot for [i = 1:words(sets)] data index "steps_".word(sets, i) using 1:2 with linespoints lt i, \
     for [i = 1:words(sets)] "" index "steps_".word(sets, i) using 1:3 with lines ls 31
unset multiplot
