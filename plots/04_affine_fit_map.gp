# Where the trained flow takes each point: source on the left, target on the right, same colours.
figure = "04_affine_fit_map"
data   = "build/data/04_affine_fit.dat"
need   = "points source maps"
width  = 800; height = 400
load "plots/style.gp"

# The trained map y = A x + b, the row of no turn: A11, A12, A21, A22, b1, b2.
array m[6]
do for [j = 1:6] {
    stats data index "maps" every ::1::1 using (column(j + 2)) name "N" nooutput
    m[j] = N_min
}
y1(x1, x2) = m[5] + m[1]*x1 + m[2]*x2; y2(x1, x2) = m[6] + m[3]*x1 + m[4]*x2

# Square panels; one scale for both axes of the target unless their units are too different.
max(a, b) = a > b ? a : b
hx = 3.4*sqrt(m[1]**2 + m[2]**2); hy = 3.4*sqrt(m[3]**2 + m[4]**2)
if (hx < 2.5*hy && hy < 2.5*hx) { hx = max(hx, hy); hy = hx }

# Three tics or so, of as many digits as the data need, and room for them on the left.
nice(r) = (p = 10**floor(log10(r)), r/p >= 5 ? 5*p : r/p >= 2 ? 2*p : p)
tx = nice(0.67*hx); ty = nice(0.67*hy)
digits(z) = strlen(sprintf("%.8g", ty*floor(z/ty)))
room = 0.0095*(max(digits(m[6] - hy), digits(m[6] + hy)) - 2)

unset key; unset grid; set border 15; unset colorbox; set size square; set samples 73
set style textbox opaque noborder fillcolor rgb "#D0FFFFFF" margins 0.3,0.3
set cbrange [-2.5:2.5]; set cbtics 1; set cblabel "the point's ".math("x_1") offset 1,0
set format xy "%.8g"
set multiplot layout 1,2 margins screen 0.065,0.89,0.135,0.83 spacing screen 0.07 + room title \
    bold("Every point of the source has its place in the target")
do for [k = 0:1] {
    if (k) { set xrange [m[5] - hx:m[5] + hx]; set yrange [m[6] - hy:m[6] + hy]; eval colorbar; \
             set xtics tx; set ytics ty } \
    else { set xrange [-3.6:3.6]; set yrange [-3.6:3.6] }
    u1(x1, x2) = k ? y1(x1, x2) : x1; u2(x1, x2) = k ? y2(x1, x2) : x2
    do for [i = 1:2] {                 # the axes to 2 e_i, their names beside the tips
        e = i == 1; f = i == 2
        set arrow 2*i - 1 from u1(0, 0),u2(0, 0) to u1(2*e, 2*f),u2(2*e, 2*f) nohead front lw 4 \
            lc rgb "white"
        set arrow 2*i from u1(0, 0),u2(0, 0) to u1(2*e, 2*f),u2(2*e, 2*f) nohead front lw 2 \
            lc rgb color2
        set label i math(sprintf("2 e_%d", i)) at u1(2.8*e, 2.8*f),u2(2.8*e, 2.8*f) center front \
            boxed textcolor rgb color2
    }
    set title k ? "target: y = A x + b, data in grey" : "source: x from N(0, I)"
    set xlabel k ? math("y_1") : math("x_1")
    set ylabel k ? math("y_2") : math("x_2") rotate by 0 offset 1.8,0
    plot data index "points" using (k ? $1 : NaN):2 with points pt 7 ps 0.2 lc rgb "#B0B0B0", \
         data index "source" using (u1($1, $2)):(u2($1, $2)):1 with points pt 7 ps 0.3 lc palette, \
         for [r = 1:2] [0:2*pi] '+' using (u1(r*cos($1), r*sin($1))):(u2(r*cos($1), r*sin($1))) \
             with lines lt 7 dt solid lw 1.5
}
unset multiplot
