# Three maps of the same points: the density is one, for A A' is; only the points change places.
figure = "04_affine_fit_rotation"
data   = "build/data/04_affine_fit.dat"
need   = "source maps"
width  = 800; height = 325
load "plots/style.gp"

# Rows of the maps, A Q for a third of a turn, A and Sigma^(1/2): A11, A12, A21, A22, b1, b2.
array m[18]
do for [k = 0:2] {
    do for [j = 1:6] {
        stats data index "maps" every ::k::k using (column(j + 2)) name "N" nooutput
        m[6*k + j] = N_min
    }
}

# Square panels; one scale for both axes of the target unless their units are too different.
max(a, b) = a > b ? a : b
hx = 3.4*sqrt(m[1]**2 + m[2]**2); hy = 3.4*sqrt(m[3]**2 + m[4]**2)
if (hx < 2.5*hy && hy < 2.5*hx) { hx = max(hx, hy); hy = hx }
set xrange [m[5] - hx:m[5] + hx]; set yrange [m[6] - hy:m[6] + hy]

# Three tics or so, of as many digits as the data need, and room for them on the left.
nice(r) = (p = 10**floor(log10(r)), r/p >= 5 ? 5*p : r/p >= 2 ? 2*p : p)
tx = nice(0.67*hx); ty = nice(0.67*hy)
set xtics tx; set ytics ty
digits(z) = strlen(sprintf("%.8g", ty*floor(z/ty)))
room = 0.0095*(max(digits(m[6] - hy), digits(m[6] + hy)) - 2)

unset key; unset grid; set border 15; unset colorbox; set size square; set samples 73
set style textbox opaque noborder fillcolor rgb "#D0FFFFFF" margins 0.3,0.3
set cbrange [-2.5:2.5]; set cbtics 1; set cblabel "the point's ".math("x_1") offset 1,0
set format xy "%.8g"
root = fmt eq "tex" ? "$\\Sigma^{1/2}$" : "Σ^{1/2}"
array name[3] = ["A Q, with Q a third of a turn", "A, as trained", root.": the symmetric map"]
set multiplot layout 1,3 margins screen 0.07 + room,0.89,0.175,0.8 spacing screen 0.02 title \
    bold("Different maps, one density: A A' is the same, only the points change places")
do for [k in "2 1 0"] {
    n = 6*k
    y1(x1, x2) = m[n + 5] + m[n + 1]*x1 + m[n + 2]*x2
    y2(x1, x2) = m[n + 6] + m[n + 3]*x1 + m[n + 4]*x2
    do for [i = 1:2] {                 # where the axes go, to 2 e_i, their names at the tips
        e = i == 1; f = i == 2
        set arrow 2*i - 1 from y1(0, 0),y2(0, 0) to y1(2*e, 2*f),y2(2*e, 2*f) nohead front lw 4 \
            lc rgb "white"
        set arrow 2*i from y1(0, 0),y2(0, 0) to y1(2*e, 2*f),y2(2*e, 2*f) nohead front lw 2 \
            lc rgb color2
        set label i math(sprintf("2 e_%d", i)) at y1(2.8*e, 2.8*f),y2(2.8*e, 2.8*f) center front \
            boxed textcolor rgb color2
    }
    set title name[k + 1]; set xlabel math("y_1")
    if (n == 12) { set ylabel math("y_2") rotate by 0 offset 1.8,0 } \
    else { set ylabel ""; set format y "" }
    if (n == 0) { eval colorbar }
    plot data index "source" using (y1($1, $2)):(y2($1, $2)):1 with points pt 7 ps 0.3 lc palette, \
         for [r = 1:2] [0:2*pi] '+' using (y1(r*cos($1), r*sin($1))):(y2(r*cos($1), r*sin($1))) \
             with lines lt 7 dt solid lw 1.5
}
unset multiplot
