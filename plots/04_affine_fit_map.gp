# Where the trained flow takes each point: source on the left, target on the right, same colours.
figure = "04_affine_fit_map"
data   = "build/data/04_affine_fit.dat"
need   = "points carried circles axes"
width  = 800; height = 400
load "plots/style.gp"

tip(i) = i ? math("2 e_2") : math("2 e_1")
max(a, b) = a > b ? a : b

# Square panels; one scale for both axes of the target unless their units are too different.
stats data index "carried" using 3:4 name "C" nooutput
hx = 0.53 * (C_max_x - C_min_x); hy = 0.53 * (C_max_y - C_min_y)
if (hx < 2.5 * hy && hy < 2.5 * hx) { hx = max(hx, hy); hy = hx }
x = 0.5 * (C_max_x + C_min_x); y = 0.5 * (C_max_y + C_min_y)

# Three tics or so, of as many digits as the data need, and room for them on the left.
nice(r) = (p = 10**floor(log10(r)), r / p >= 5 ? 5 * p : r / p >= 2 ? 2 * p : p)
tx = nice(0.67 * hx); ty = nice(0.67 * hy)
room = 0.0095 * (strlen(sprintf("%.8g", ty * ceil((y - hy) / ty))) - 2)

unset key; unset grid; set border 15; unset colorbox; set size square
set style textbox opaque noborder fillcolor rgb "#D0FFFFFF" margins 0.3,0.3
set cbrange [-2.5:2.5]; set cbtics 1; set cblabel "the point's ".math("x_1") offset 1,0
set format xy "%.8g"
set multiplot layout 1,2 margins screen 0.065,0.89,0.135,0.83 spacing screen 0.07 + room title \
    bold("Every point of the source has its place in the target")
do for [k = 0:1] {
    c = 1 + 2*k
    if (k) { set xrange [x - hx:x + hx]; set yrange [y - hy:y + hy]; eval colorbar; \
             set xtics tx; set ytics ty } \
    else { set xrange [-3.6:3.6]; set yrange [-3.6:3.6] }
    set title k ? "target: y = A x + b, data in grey" : "source: x from N(0, I)"
    set xlabel k ? math("y_1") : math("x_1")
    set ylabel k ? math("y_2") : math("x_2") rotate by 0 offset 1.8,0
    plot data index "points" using (k ? $1 : NaN):2 with points pt 7 ps 0.2 lc rgb "#B0B0B0", \
         data index "carried" using c:c + 1:1 with points pt 7 ps 0.3 lc palette, \
         for [r = 0:1] data index "circles" every :::r::r using c:c + 1 \
             with lines lt 7 dt solid lw 1.5, \
         for [w in "4 2"] for [i = 0:2:2] data index "axes" every ::i::i + 1 using c:c + 1 \
             with lines lt 1 lw w + 0 lc rgb w eq "4" ? "white" : color2, \
         for [i = 1:3:2] data index "axes" every ::i::i using c:c + 1 with points pt 7 ps 0.9 \
             lc rgb color2, \
         for [i = 0:18:18] data index "circles" every ::i:2:i:2 using c:c + 1:(tip(i)) \
             with labels boxed textcolor rgb color2  # beside the tips, on the third circle
}
unset multiplot
