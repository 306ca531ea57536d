# Noise becoming digits, one of each class, along the velocity of the network.
# animated
figure = "14_digits_trajectory"; animated = 1
data   = "build/data/14_digits.dat"
need   = "size frame00 frame04 frame08 frame12 frame16"
width  = 800; height = 400
gif_width = 560; gif_height = 203; delay = 16
load "plots/style.gp"

# A block as one picture, `down` images high; a browser would blur pixels as large as these, so each
# is drawn as many small ones. Thin frames tell the images apart.
stats data index "size" using (rows = $1, cols = $2, classes = $3, top = $4, 0) nooutput
fine = cols < 16 ? 6 : 1
array grey[rows*cols*classes*7]
set_grey(j, i, value) = (grey[1 + int(j) + int(i)*cols*classes] = value, 0)
at(x, y) = grey[1 + int(x*cols) + int(y*rows)*cols*classes]
tiles = "set xrange [*:*]; set yrange [*:*]; \
    stats data index block matrix using (set_grey($1, $2, $3)) nooutput; \
    set xrange [0:classes]; set yrange [down:0]; \
    set samples fine*cols*classes; set isosamples 2, fine*rows*down; \
    unset arrow; \
    do for [w = 5:1:-4] { line = w > 1 ? 'white' : faint; \
        do for [i = 0:classes] { set arrow from i,0 to i,down nohead front lw w lc rgb line }; \
        do for [i = 0:down] { set arrow from 0,i to classes,i nohead front lw w lc rgb line } }; \
    h = 0.5/fine; plot sample [u = h/cols:classes - h/cols] [v = h/rows:down - h/rows] \
        '++' using 1:2:(at($1, $2)) with image"
set palette gray negative maxcolors 17; set cbrange [0:top]; unset colorbox
unset key; unset tics; unset grid; unset border

last = 16  # the chapter's last frame
if (fmt eq "gif") {
    set tmargin at screen 0.87; set bmargin at screen 0.03
    set lmargin at screen 0.02; set rmargin at screen 0.98
    down = 3
    do for [k = 0:last + 3] {
        f = k > last ? last : k
        set title sprintf("Noise becomes digits, t = %.2f", 1.0*f/last)
        block = sprintf("frame%02d", f); eval tiles
    }
} else {
    set multiplot
    set lmargin at screen 0.11; set rmargin at screen 0.985
    down = 1
    do for [k = 0:4] {
        set tmargin at screen 0.915 - 0.182*k; set bmargin at screen 0.74 - 0.182*k
        set title k == 0 ? "Noise becomes digits: one sample of each class on its way" : ""
        set label 1 sprintf("t = %.2f", k/4.0) at screen 0.1, graph 0.5 right
        block = sprintf("frame%02d", 4*k); eval tiles
    }
    unset multiplot
}
