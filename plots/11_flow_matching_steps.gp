# Euler's N steps: one sends all noise to the mean of the data, a few dozen reach the floor.
figure = "11_flow_matching_steps"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_euler$/ { sub(/_euler/, \"\"); print $2 }' ".data." 2>&1")
name   = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = name."_euler"
do for [s in sets] { need = need." ".s."_euler" }
width  = 800; height = 520
load "plots/style.gp"

set multiplot
unset key
set size ratio (name eq "file" ? 1 : -1)  # a file's columns may differ in scale
if (name eq "file") {
    stats data index "file_euler" using 1:2 nooutput
    set xrange [STATS_min_x:STATS_max_x]; set yrange [STATS_min_y:STATS_max_y]
} else {
    set xrange [-4.5:4.5]; set yrange [-4.5:4.5]
}
unset tics; unset grid; set border 15
set tmargin at screen 0.93; set bmargin at screen 0.63
do for [k = 0:4] {
    pick = word("0 1 2 3 7", k + 1) + 0
    set lmargin at screen 0.015 + 0.197*k; set rmargin at screen 0.197 + 0.197*k
    set title (k == 0 ? bold(name).": " : "").sprintf("N = %d", 2**pick)
    plot data index name."_euler" using 1:2 every ::0:pick:299:pick with points ls 11
}
set border 3; set grid; set xtics nomirror; set ytics nomirror
set size noratio
set lmargin at screen 0.075; set rmargin at screen 0.985
set tmargin at screen 0.53; set bmargin at screen 0.105
set xrange [0.9:142]; set yrange [*:*]; set format y "%g"
set logscale x 2; set logscale y
set xlabel "Euler steps N"; set ylabel "W_2 to held-out data" offset 1,0
array w2[8*words(sets)]; array floor_[words(sets)]
do for [i = 1:words(sets)] {
    at = 8*i - 7
    stats data index word(sets, i)."_euler" using (w2[at + column(-1)] = $3) every ::0::0 nooutput
    stats data index word(sets, i)."_euler" using (floor_[i] = $4) every ::0::0 nooutput
}
pale(i) = "#A0".substr(word(colors, i), 2, 7)
steps(k) = 2**(int(k - 1) % 8)
set key at graph 0.99, graph 0.97 right top vertical samplen 3
set ytics (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
set title "The distance falls to that between two samples of data (pale)"
plot for [i = 1:words(sets)] [1:128] "+" using 1:(0.95*floor_[i]):(1.05*floor_[i]) notitle \
         with filledcurves fillcolor rgb pale(i) fillstyle solid noborder, \
     for [i = 1:words(sets)] w2 using (steps($1)):2 every ::8*i - 8::8*i - 1 \
         with linespoints lt i title word(sets, i)
unset multiplot
