# How divergence moves density: a source, a sink and a rotation (B, figure 8).
figure = "09_continuous_flow_divergence"
data = "build/data/09_continuous_flow.dat"
need = "source00 sink00 rotation00 source_paths sink_paths rotation_paths"
width = 800; height = 280
load "plots/style.gp"

last = 12                              # the chapter's last frame
unset key; unset colorbox; unset grid
set multiplot layout 1,4 margins screen 0.06,0.985,0.18,0.82 spacing screen 0.04 title \
    "A blob from t = 0 (grey) to t = 1 (bright: dense): ". \
    "a source thins it, a sink thickens it, a rotation does neither"
set size ratio -1; set xrange [-3.5:3.5]; set yrange [-3.5:3.5]
set xtics -2,2,2; set ytics -2,2,2
set logscale cb; set cbrange [0.05:12]
set xlabel "x_1"; set ylabel "x_2" rotate by 0 offset 1.8,0
do for [name in "source sink rotation"] {
    stats data index name."00" using 6 name "div" nooutput
    set title name.": div v = ".(div_mean < 0 ? "−" : "").sprintf("%.3g", abs(div_mean))
    plot data index name."00" using 1:2:($3/5):($4/5) with vectors head filled size 0.2,20 \
             lt 1 lw 1 lc rgb "#C4C4C4", \
         data index name."_paths" every ::0:0:0 using 2:3 \
             with points pt 7 ps 0.25 lc rgb "#8C8C8C", \
         data index name."_paths" every 1:26::::129 using 2:3 with lines lt 1 lw 0.8 lc rgb ink, \
         data index name."_paths" every ::last:0:last using 2:3:(exp($4)) \
             with points pt 7 ps 0.35 lc palette
    unset ylabel; set format y ""
}
set size ratio 1; set xrange [0:1]; set yrange [-1.6:1.6]; set format y "%g"
set xtics 0.5; set ytics 1; set grid
set title "change of a particle's log p"; set xlabel "time t"
set label "sink" at 0.42,1.05 center textcolor rgb color1
set label "rotation" at 0.65,0.25 center textcolor rgb color3
set label "source" at 0.42,-1.05 center textcolor rgb color2
start = 0
change(t, l) = t > 0 ? l - start : (start = l, 0)
plot for [i = 1:3] data index word("sink source rotation", i)."_paths" every ::0:0:last:0 \
         using 1:(change($1, $4)) with linespoints lt i pi 3
unset multiplot
