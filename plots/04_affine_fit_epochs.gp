# The density of the flow at six moments of its training, over the data that it is fitted to.
figure = "04_affine_fit_epochs"
data   = "build/data/04_affine_fit.dat"
need   = "points training"
width  = 800; height = 610
load "plots/style.gp"

# Rows of the training: step, excess loss, A11, A12, A21, A22, b1, b2; m(k, j) is number j at k.
stats data index "training" using 1 name "step" nooutput
array step[6] = [0, 20, 1000, 16000, 23040, step_max]
array number[48]
do for [k = 0:5] {
    do for [j = 1:8] {
        stats data index "training" using ($1 == step[k + 1] ? column(j) : NaN) name "N" nooutput
        number[8*k + j] = N_min
    }
}
m(k, j) = number[8*k + j]
y1(k, r, t) = m(k, 7) + r*(m(k, 3)*cos(t) + m(k, 4)*sin(t))    # the image of the circle |x| = r
y2(k, r, t) = m(k, 8) + r*(m(k, 5)*cos(t) + m(k, 6)*sin(t))

# The ranges hold the data, the start and the end.
stats data index "points" using 1:2 name "P" nooutput
min(a, b) = a < b ? a : b; max(a, b) = a > b ? a : b
s1(k) = 3*sqrt(m(k, 3)**2 + m(k, 4)**2); s2(k) = 3*sqrt(m(k, 5)**2 + m(k, 6)**2)
x0 = min(P_min_x, min(m(0, 7) - s1(0), m(5, 7) - s1(5)))
x1 = max(P_max_x, max(m(0, 7) + s1(0), m(5, 7) + s1(5)))
z0 = min(P_min_y, min(m(0, 8) - s2(0), m(5, 8) - s2(5)))
z1 = max(P_max_y, max(m(0, 8) + s2(0), m(5, 8) + s2(5)))
dx = 0.04*(x1 - x0); dz = 0.04*(z1 - z0)
set xrange [x0 - dx:x1 + dx]; set yrange [z0 - dz:z1 + dz]
set size ratio ((z1 - z0)/(x1 - x0) > 0.4 && (z1 - z0)/(x1 - x0) < 2.5 ? -1 : 1)

# Three tics or so, of as many digits as the data need, and room for them on the left.
nice(r) = (p = 10**floor(log10(r)), r/p >= 5 ? 5*p : r/p >= 2 ? 2*p : p)
tx = nice((x1 - x0)/3); tz = nice((z1 - z0)/3)
set xtics tx; set ytics tz
digits(z) = strlen(sprintf("%.8g", tz*floor(z/tz)))
room = 0.0095*(max(digits(z0), digits(z1)) - 2)

unset key; unset grid; set border 15; set samples 73
far = m(0, 2) > 5
headline = far ? "The density stretches until it covers the data, then creeps over and tightens" \
               : "The density settles on the data"
set multiplot layout 2,3 margins screen 0.065 + room,0.99,0.08,0.855 \
    spacing screen 0.035,0.085 title bold(headline). \
    "\n1, 2 and 3 standard deviations of the flow, over the data; 1000 steps are one epoch in A"
do for [k = 0:5] {
    set title (k ? sprintf("step %d", step[k + 1]) : "start").sprintf(": %.2f nats to go", m(k, 2))
    set xlabel k > 2 ? math("y_1") : ""
    set ylabel k % 3 ? "" : math("y_2") rotate by 0 offset 1.8,0
    set format x k > 2 ? "%.8g" : ""; set format y k % 3 ? "" : "%.8g"
    plot data index "points" with points pt 7 ps 0.25 lc rgb color8, \
         for [r = 1:3] [0:2*pi] '+' using (y1(k, r, $1)):(y2(k, r, $1)) \
             with filledcurves closed ls 21, \
         for [r = 1:3] [0:2*pi] '+' using (y1(k, r, $1)):(y2(k, r, $1)) with lines lt 1 lw 1
}
unset multiplot
