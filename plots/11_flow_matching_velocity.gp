# The network agrees with v*, the mean over the pairs, though it was shown only single pairs' u.
figure = "11_flow_matching_velocity"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_probes$/ { sub(/_probes/, \"\"); print $2 }' ".data." 2>&1")
name   = strstrt(sets, "8gaussians") ? "8gaussians" : words(sets) ? word(sets, 1) : "moons"
need   = name."_probes"
do for [s in sets] { need = need." ".s."_probes" }
width  = 800; height = 420
load "plots/style.gp"

set multiplot
unset key
set lmargin at screen 0.055; set rmargin at screen 0.485
set bmargin at screen 0.125; set tmargin at screen 0.86
set size ratio -1
set xlabel "x_1" offset 0,0.5; set ylabel "x_2" offset 0.6,0
set title "Pairs' u (grey), their mean v* (orange), v (blue)" offset 0,0.7
set label 1 name.", t = 0.4 to 0.5" at graph 0.5, 1.03 center textcolor rgb "#666666"
s = 0.25
at(a) = $3 >= 0.4 && $3 < 0.5 ? a : 1/0
plot data index name."_probes" using (at($1)):2:(s*$8):(s*$9) with vectors \
         nohead lt 1 lw 1 lc rgb "#BBBBBB", \
     "" index name."_probes" using (at($1)):2:(s*$6):(s*$7) with vectors \
         nohead lt 1 lw 6 lc rgb color5, \
     "" index name."_probes" using (at($1)):2:(s*$4):(s*$5) with vectors \
         head size 0.1,20 lt 1 lw 1.6 lc rgb color1
set lmargin at screen 0.58; set rmargin at screen 0.985
set size noratio
set logscale y; set format y "%g"
set xrange [0:1]; set yrange [0.001:100]
set xlabel "t"; set ylabel "mean square"
set title "The network errs far less than pairs scatter" offset 0,0
unset label 1
set label "E|v* − u|^2, the scatter of pairs" at 0.04, 40
set label "E|v − v*|^2, the network" at 0.04, 0.0014
set key at graph 0.99, graph 0.02 right bottom vertical samplen 2
bin(t) = (floor(20*t) + 0.5)/20
sq(a, b) = a*a + b*b
plot for [i = 1:words(sets)] data index word(sets, i)."_probes" \
         using (bin($3)):(sq($6 - $8, $7 - $9)) smooth unique with lines lt i lw 1 notitle, \
     for [i = 1:words(sets)] data index word(sets, i)."_probes" \
         using (bin($3)):(sq($6 - $4, $7 - $5)) smooth unique with lines lt i title word(sets, i)
unset multiplot
