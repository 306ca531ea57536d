# Which noise goes with which data: pairs of a batch, and the trajectories of flows trained on such
# (if the run has trained them: --task may leave them out).
figure = "12_paths_and_couplings_couplings"
data   = "build/data/12_paths_and_couplings.dat"
kinds  = "independent sinkhorn optimal"
rows   = strlen(system("grep '^# flow_sinkhorn$' ".data." 2>&1")) ? 2 : 1
need   = ""
do for [k in kinds] { need = need." pairs_".k.(rows == 2 ? " flow_".k : "") }
width  = 800; height = 70 + 235*rows
load "plots/style.gp"

set multiplot layout rows,3 title \
    "Pairs that cross less (black: moons, orange: 8 Gaussians)". \
    (rows == 2 ? " make a flow that bends less" : "") \
    margins screen 0.08,0.99,33.0/height,1 - 54.0/height spacing screen 0.015,0.03
set size ratio -1
set xrange [-18.5:18.5]; set yrange [-16.5:16.5]; set xtics 10; set ytics 10
unset key; unset grid
titles = "'Independent pairs' 'Pairs by Sinkhorn' 'Optimal pairs'"
if (rows == 2) { set format x "" }
do for [i = 1:3] {
    set title bold(word(titles, i))
    set ylabel (i == 1 ? "pairs of a batch" : "") offset 0.3,0
    if (i > 1) { set format y "" }
    block = "pairs_".word(kinds, i)
    plot data index block using 1:2:($3 - $1):($4 - $2) every 2 with vectors nohead lt 1 lw 0.8 \
             dt solid lc rgb "#888888", \
         "" index block using 1:2 every 2 with points pt 7 ps 0.4 lc rgb color7, \
         "" index block using 3:4 every 2 with points pt 7 ps 0.4 lc rgb color2
}
set format x "%g"; set format y "%g"
do for [i = 1:3*(rows - 1)] {
    set title ""
    set ylabel (i == 1 ? "trajectories of the flow" : "") offset 0.3,0
    if (i > 1) { set format y "" }
    block = "flow_".word(kinds, i)
    plot for [k = 0:29] data index block using (column(4 + 2*k)):(column(5 + 2*k)) every 2 \
             with lines lt 1 lw 1 dt solid, \
         for [k = 0:29] "" index block using (column(4 + 2*k)):(column(5 + 2*k)) every ::0::0 \
             with points pt 7 ps 0.4 lc rgb color7, \
         for [k = 0:29] "" index block using (column(4 + 2*k)):(column(5 + 2*k)) every ::50::50 \
             with points pt 7 ps 0.4 lc rgb color2
}
unset multiplot
