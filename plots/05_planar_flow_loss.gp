# The distance to the target while chains of 2, 8 and 32 layers train.
figure = "05_planar_flow_loss"
data   = "build/data/05_planar_flow.dat"
need   = "U1_steps U2_steps U3_steps U4_steps moons_steps"
width  = 800; height = 400
load "plots/style.gp"

set multiplot
unset key
set logscale y; set yrange [0.002:5]; set format y "%g"
set bmargin at screen 0.14; set tmargin at screen 0.83
stats data index "U1_steps" using 1 nooutput
last = STATS_max
stats data index "U1_steps" using (two = $2 == 2 ? $1 : two, eight = $2 == 8 ? $1 : eight) nooutput
set lmargin at screen 0.075; set rmargin at screen 0.60
set xrange [0:1.07*last]
set xlabel "step"; set ylabel "KL(q|p) (nats)" offset 1,0
set title "More layers come closer to the energies"
plot for [e = 1:4] data index sprintf("U%d_steps", e) using 1:3 with lines lt e
set lmargin at screen 0.69; set rmargin at screen 0.985
set xrange [*:*]
set title "Two moons, 32 layers"
set ylabel "NLL − entropy (nats)"
plot data index "moons_steps" using 1:3 with lines lt 1
unset multiplot
