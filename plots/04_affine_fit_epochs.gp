# The density of the flow at six moments of its training, over the data that it is fitted to.
figure = "04_affine_fit_epochs"
data   = "build/data/04_affine_fit.dat"
need   = "points titles contours"
width  = 800; height = 610
load "plots/style.gp"

array title[6]
name(step, epoch) = step == 0 ? "start" : epoch >= 1 && epoch == floor(epoch) ? \
    sprintf("epoch %d", int(epoch)) : sprintf("step %d", int(step))
do for [k = 0:5] {
    stats data index "titles" every ::k::k using 1 name "T" nooutput
    stats data index "titles" every ::k::k using 2 name "E" nooutput
    stats data index "titles" every ::k::k using 3 name "L" nooutput
    far = k == 0 ? L_min : k < 5 ? far : far > L_min + 5
    minus = L_min < 0 ? "−" : ""
    title[k + 1] = sprintf("%s: loss %s%.2f nats", name(T_min, E_min), minus, abs(L_min))
}

# The ranges hold the data, the start and the end.
stats data index "points" using 1:2 name "P" nooutput
stats data index "contours" using 3:4 every :::2::2 name "S" nooutput
stats data index "contours" using 13:14 every :::2::2 name "E" nooutput
min(a, b) = a < b ? a : b; max(a, b) = a > b ? a : b
x0 = min(P_min_x, min(S_min_x, E_min_x)); x1 = max(P_max_x, max(S_max_x, E_max_x))
y0 = min(P_min_y, min(S_min_y, E_min_y)); y1 = max(P_max_y, max(S_max_y, E_max_y))
dx = 0.04 * (x1 - x0); dy = 0.04 * (y1 - y0)
set xrange [x0 - dx:x1 + dx]; set yrange [y0 - dy:y1 + dy]
set size ratio ((y1 - y0) / (x1 - x0) > 0.4 && (y1 - y0) / (x1 - x0) < 2.5 ? -1 : 1)

# Three tics or so, of as many digits as the data need, and room for them on the left.
nice(r) = (p = 10**floor(log10(r)), r / p >= 5 ? 5 * p : r / p >= 2 ? 2 * p : p)
tx = nice((x1 - x0) / 3.0); ty = nice((y1 - y0) / 3.0)
set xtics tx; set ytics ty
room = 0.0095 * (strlen(sprintf("%.8g", ty * ceil(y0 / ty))) - 2)

unset key; unset grid; set border 15
headline = far ? "The density stretches until it covers the data, then creeps over and tightens" \
               : "The density settles on the data"
set multiplot layout 2,3 margins screen 0.065 + room,0.99,0.08,0.855 \
    spacing screen 0.035,0.085 title bold(headline). \
    "\n1, 2 and 3 standard deviations of the flow; the points are the data"
do for [k = 0:5] {
    set title title[k + 1]
    set xlabel k > 2 ? math("y_1") : ""
    set ylabel k % 3 ? "" : math("y_2") rotate by 0 offset 1.8,0
    set format x k > 2 ? "%.8g" : ""; set format y k % 3 ? "" : "%.8g"
    plot data index "points" every 2 with points pt 7 ps 0.25 lc rgb color8, \
         for [r = 0:2] data index "contours" every :::r::r using 3 + 2*k:4 + 2*k \
             with filledcurves closed ls 21, \
         for [r = 0:2] data index "contours" every :::r::r using 3 + 2*k:4 + 2*k \
             with lines lt 1 lw 1
}
unset multiplot
