# One flow on the line in three synchronised views: density, velocity, particles (B, figure 6).
# animated
figure = "09_continuous_flow_three_views"; animated = 1
data = "build/data/09_continuous_flow.dat"
need = "line00 line03 line06 line09 line12 line_paths"
width = 800; height = 470; gif_width = 480; gif_height = 500; delay = 20
load "plots/style.gp"

last = 12; one_in = 3                  # the chapter's last frame; of 130 particles, 1 in 3
frame(k) = sprintf("line%02d", k)
top = 0                                # the densest place at any of the five moments
do for [j = 0:4] {
    stats data index frame(3*j) using 3 name "p" nooutput
    top = p_max > top ? p_max : top
}
hue(v) = v > 0 ? int("0x".color2[2:7]) : int("0x".color1[2:7])
if (fmt eq "gif") {                    # which knows no transparency: the pale areas mixed by hand
    set style line 21 lc rgb "#B0D3E7"
    set style line 22 lc rgb "#F3CDB0"
    set style line 28 lc rgb "#D6D6D6"
}
unset key; unset grid
set xrange [-3.5:3.5]; set xtics -2,2,2

# A particle has the colour of its velocity: the sign of its last step (at t = 0, of its next).
# Of each path two rows come in, and with the second a point goes out.
a(k) = k > 0 ? k - 1 : 0
dx = 0; before = 0
step(t, x) = t*last > a(k) + 0.5 ? (dx = x - before, 1) : (before = x, 0)

views = "density velocity particles"
name_density = "density p_t(x)"; name_velocity = "velocity v(x, t)"; name_particles = "time t"
density = "set yrange [0:1.05*top]; set ytics 0.2; plot \
    data index frame(k) using 1:3 with filledcurves y1=0 ls 28, \
    data index frame(k) using 1:3 with lines lt 8 dt solid lw 1.2, \
    data index 'line_paths' every 1:2*one_in:k::k using 2:(exp($3)) \
        with points pt 7 ps 0.3 lc rgb color7"
velocity = "set yrange [-4:4]; set ytics -3,3,3; plot \
    data index frame(k) using 1:($2 > 0 ? $2 : 0) with filledcurves y1=0 ls 22, \
    data index frame(k) using 1:($2 < 0 ? $2 : 0) with filledcurves y1=0 ls 21, \
    data index frame(k) using 1:2 with lines lt 8 dt solid lw 1.2, \
    data index frame(k) every 8::4 using 1:(0):($2/3):(0):(hue($2)) \
        with vectors head filled size 0.3,22 lt 1 lw 1.8 lc rgb variable"
particles = "set yrange [-0.04:1.04]; set ytics 0.5; plot \
    data index 'line_paths' every 1:one_in:0::k using 2:1 \
        with lines lt 1 lw 0.5 lc rgb '#BBBBBB', \
    data index 'line_paths' every 1:one_in:a(k)::a(k)+1 \
        using (step($1, $2) ? (k > 0 ? $2 : before) : NaN):(1.0*k/last):(hue(dx)) \
        with points pt 7 ps 0.35 lc rgb variable"

# A column of the three at time k/last; only the leftmost (first = 1) says what its axes are.
column = "do for [view in views] { unset title; unset label; unset xlabel; \
    set format x (view eq 'particles' ? '%g' : ''); set format y (first ? '%g' : ''); \
    if (view eq 'particles') { set xlabel 'x' offset 0,0.6 }; \
    if (view eq 'density') { set title sprintf('t = %.2f', 1.0*k/last) offset 0,-0.3 }; \
    if (first) { set label value('name_'.view) at screen 0.018, graph 0.5 center rotate }; \
    eval value(view) }"

if (fmt eq "gif") {
    do for [j = 0:last + 6] {
        k = j > last ? last : j; first = 1
        set multiplot layout 3,1 margins screen 0.14,0.97,0.1,0.93 spacing screen 0.03
        eval column
        unset multiplot
    }
} else {
    set multiplot layout 3,5 columnsfirst margins screen 0.075,0.985,0.11,0.86 \
        spacing screen 0.012,0.03 title "One hump becomes two: ". \
        "the velocity moves the particles (dots), each carrying its own density"
    do for [j = 0:4] { k = 3*j; first = j == 0; eval column }
    unset multiplot
}
