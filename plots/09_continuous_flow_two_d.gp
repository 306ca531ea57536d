# The same three views in the plane, and the divergence that changes the density (B, figure 7).
# animated
figure = "09_continuous_flow_two_d"; animated = 1
data = "build/data/09_continuous_flow.dat"
need = "plane00 plane03 plane06 plane09 plane12 plane_paths"
width = 800; height = 515; gif_width = 620; gif_height = 250; delay = 20
load "plots/style.gp"

last = 12                              # the chapter's last frame
frame(k) = sprintf("plane%02d", k)
unset key; unset grid
set size ratio -1; set xrange [-3.5:3.5]; set yrange [-3.5:3.5]
set xtics -2,2,2; set ytics -2,2,2

# Two palettes; a gif knows only one, so there they share it: viridis from 0 to 1, diverging to 2.
shade(p) = fmt eq "gif" ? (p < 0.36 ? p/0.36 : 1)*0.99 : p
tint(div) = fmt eq "gif" ? 1.5 + (abs(div) < 4 ? div : 4*sgn(div))/8.0 : div
palette_p = viridis."; set cbrange [0:0.36]; set cbtics 0.1"
palette_div = diverging."; set cbrange [-4:4]; set cbtics 4"
if (fmt eq "gif") {
    stops = ""
    do for [i = 0:9] { stops = stops.sprintf("%g '%s', ", 0.11*i, word(viridis, 5 + 3*i)) }
    do for [i = 0:8] { stops = stops.sprintf("%g '%s', ", 1 + i/8.0, word(diverging, 5 + 3*i)) }
    stops = stops[1:strlen(stops) - 2]
    palette_p = "set palette maxcolors 120 defined (".stops."); set cbrange [0:2]"
    palette_div = palette_p
}

views = "density velocity particles"
density = "eval palette_p; plot data index frame(k) using 1:2:(shade($5)) with image"
velocity = "eval palette_div; plot data index frame(k) using 1:2:(tint($6)) with image, \
    data index frame(k) every 6:6:1:1 using 1:2:($3/4):($4/4) \
        with vectors head filled size 0.3,20 lt 1 lw 1.1 lc rgb ink"
particles = "eval palette_p; plot \
    data index 'plane_paths' every ::k:0:k using 2:3:(shade(exp($4))) \
        with points pt 7 ps 0.35 lc palette"
name_density = "density p_t(x)"; name_velocity = "div v (colour), v"
name_particles = "particles (own p)"

# A column of the three at time k/last; the leftmost (first = 1) has labels, the last colour bars.
column = "do for [view in views] { unset title; unset label; unset colorbox; \
    set format x (view eq 'particles' ? '%g' : ''); set format y (first ? '%g' : ''); \
    if (view eq 'particles') { set xlabel 'x_1' offset 0,0.7 } else { unset xlabel }; \
    if (first) { set ylabel 'x_2' rotate by 0 offset 1.2,0 } else { unset ylabel }; \
    if (view eq 'density') { set title sprintf('t = %.2f', 1.0*k/last) offset 0,-0.3 }; \
    if (first) { set label value('name_'.view) at screen 0.018, graph 0.5 center rotate }; \
    if (k == last && view ne 'particles') { eval colorbar }; \
    eval value(view) }"

if (fmt eq "gif") {
    do for [j = 0:last + 4] {
        k = j > last ? last : j
        set multiplot layout 1,3 margins screen 0.06,0.98,0.1,0.88 spacing screen 0.04
        do for [view in views] {
            when = view eq "density" ? sprintf(",  t = %.2f", 1.0*k/last) : ""
            set title value("name_".view).when
            unset colorbox
            eval value(view)
        }
        unset multiplot
    }
} else {
    set multiplot layout 3,5 columnsfirst margins screen 0.1,0.9,0.09,0.88 \
        spacing screen 0.012,0.02 title "In the plane: ". \
        "particles thin out where the flow spreads (red), crowd where it contracts (blue)"
    do for [j = 0:4] { k = 3*j; first = j == 0; eval column }
    unset multiplot
}
