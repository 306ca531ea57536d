# The loss stops at its floor; the excess over the floor, all that training can lower, does not.
figure = "11_flow_matching_loss"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_loss$/ { sub(/_loss/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_loss"
if (words(sets)) { need = ""; do for [s in sets] { need = need." ".s."_loss" } }
width  = 800; height = 360
load "plots/style.gp"

set multiplot
unset key
set bmargin at screen 0.15; set tmargin at screen 0.88
set lmargin at screen 0.08; set rmargin at screen 0.48
set xlabel "training steps (thousands)"
set title "The loss stops at its floor (pale)"
set ylabel "E|v − u|^2" offset 1,0
set xrange [0:*]; set yrange [0:*]
pale(i) = "#A0".substr(word(colors, i), 2, 7)
plot for [i = 1:words(sets)] data index word(sets, i)."_loss" \
         using ($1/1000):(0.99*$3):(1.01*$3) with filledcurves fillcolor rgb pale(i) \
         fillstyle solid noborder, \
     for [i = 1:words(sets)] data index word(sets, i)."_loss" using ($1/1000):2 with lines lt i
set lmargin at screen 0.585; set rmargin at screen 0.985
set title "Its excess over the floor keeps falling"
set ylabel "E|v − v*|^2" offset 1,0
set logscale y; set yrange [*:*]; set format y "%g"
set key at graph 0.99, graph 0.98 right top vertical samplen 3
plot for [i = 1:words(sets)] data index word(sets, i)."_loss" using ($1/1000):4 \
         with lines lt i title word(sets, i)
unset multiplot
