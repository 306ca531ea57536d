# Digits while the network trains, and samples of it with and without more guidance.
figure = "14_digits_samples"
data   = "build/data/14_digits.dat"
need   = "size progress stages samples1 samples2"
width  = 800; height = 290
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
    do for [w = 4:1:-3] { line = w > 1 ? 'white' : faint; \
        do for [i = 0:classes] { set arrow from i,0 to i,down nohead front lw w lc rgb line }; \
        do for [i = 0:down] { set arrow from 0,i to classes,i nohead front lw w lc rgb line } }; \
    h = 0.5/fine; plot sample [u = h/cols:classes - h/cols] [v = h/rows:down - h/rows] \
        '++' using 1:2:(at($1, $2)) with image"
set palette gray negative maxcolors 17; set cbrange [0:top]; unset colorbox
unset key; unset tics; unset grid; unset border

set multiplot
stats data index "progress" using 1 nooutput; last = int(STATS_records)
do for [i = 1:last] {
    stats data index "progress" every ::i-1::i-1 using 2 nooutput
    set label i sprintf("%d", STATS_max) at screen 0.066, graph 1 - (i - 0.5)/last right
}
set label last + 1 "steps" at screen 0.066, screen 0.93 right
set lmargin at screen 0.075; set rmargin at screen 0.515
set tmargin at screen 0.89; set bmargin at screen 0.03
set title "Training: from the same noise after more steps"
block = "stages"; down = last; eval tiles
unset label

set lmargin at screen 0.55; set rmargin at screen 0.99
set bmargin at screen 0.52
set title "Samples of the classes, w = 1"
block = "samples1"; down = 3; eval tiles
set tmargin at screen 0.40; set bmargin at screen 0.03
set title "The same noise, more guidance: w = 2"
block = "samples2"; down = 3; eval tiles
unset multiplot
