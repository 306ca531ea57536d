# The loss stops at its floor; the excess over the floor, which is what training lowers, does not.
figure = "11_flow_matching_loss"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# loss_/ { sub(/^# loss_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
need   = "loss_".(words(sets) ? word(sets, 1) : "moons")
do for [i = 2:words(sets)] { need = need." loss_".word(sets, i) }
width  = 800; height = 340
load "plots/style.gp"

set multiplot layout 1,2 margins screen 0.075,0.985,0.16,0.87 spacing screen 0.085
set xlabel "training step"
unset key
set title bold("The loss").": it stops at its floor (grey)"
set ylabel "E|v − u|^2" offset 1,0
set yrange [0:*]
plot for [i = 1:words(sets)] data index "loss_".word(sets, i) using 1:3 with lines lt i, \
     for [i = 1:words(sets)] "" index "loss_".word(sets, i) using 1:4 with lines ls 31
set title bold("The excess over the floor").": still falling"
set ylabel "E|v − v*|^2"
set logscale y; set yrange [*:*]; set format y "%g"
set key top right vertical
plot for [i = 1:words(sets)] data index "loss_".word(sets, i) using 1:5 with lines lt i \
     title word(sets, i)
unset multiplot
