# The distance to the target while chains of 2, 8 and 32 layers train.
figure = "05_planar_flow_loss"
data   = "build/data/05_planar_flow.dat"
need   = "steps00 steps01 steps02 steps03 steps04"
width  = 800; height = 380
load "plots/style.gp"

array edge[4]  # the steps at which a chain of another length takes over
do for [k = 1:3] {
    stats data index "steps01" using ($2 == word("2 8 32", k) ? $1 : NaN) nooutput
    edge[k] = STATS_min
    edge[k + 1] = STATS_max
}
set multiplot
unset key
set bmargin at screen 0.14; set tmargin at screen 0.85

set lmargin at screen 0.075; set rmargin at screen 0.60
set logscale y; set yrange [0.0015:5]; set format y "%g"
tick = 10**floor(log10(edge[4]))  # of --steps, three to six of them
tick = edge[4]/tick < 2 ? tick/2 : edge[4]/tick < 5 ? tick : 2*tick
set xrange [0:edge[4]]; set xtics tick
set xlabel "step"; set ylabel "KL(q|p) (nats)" offset 1,0
set title "More layers come closer to each energy\n(each chain starts from the last, warmed up)"
do for [k = 1:3] {
    if (k > 1) { set arrow k from edge[k],graph 0 to edge[k],graph 1 nohead back ls 31 }
    set label k word("2 8 32", k).(k == 3 ? " layers" : "") \
        at (edge[k] + edge[k + 1])/2,graph 0.95 center
}
array at[4]  # where the curves end, on a scale of decades; labels too near are pushed apart
do for [e = 1:4] {
    stats data index sprintf("steps%02d", e) using (last = $3) nooutput
    at[e] = log10(last)
}
do for [i = 1:40] { do for [e = 1:4] { do for [f = 1:4] {
    near = 0.22 - abs(at[e] - at[f])
    if (e != f && near > 0) { at[e] = at[e] + (at[e] > at[f] ? 0.1 : -0.1)*near }
} } }
do for [e = 1:4] {
    set label 3 + e math(sprintf("U_%d", e)) at graph 1.015,first 10**at[e] \
        textcolor rgb word(colors, e)
}
plot for [e = 1:4] data index sprintf("steps%02d", e) using 1:3 with lines lt e

unset label; unset arrow; unset logscale
set lmargin at screen 0.725; set rmargin at screen 0.965
set xrange [0:*] noextend; set yrange [0:*]; set ytics 0.1; set format y "%.1f"
set ylabel "NLL − entropy (nats)" offset 0.5,0
set title "Two moons, 32 layers"
plot data index "steps00" using 1:3 with lines lt 1
unset multiplot
