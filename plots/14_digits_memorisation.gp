# How far images are from the nearest training image: new ones, and copies.
figure = "14_digits_memorisation"
data   = "build/data/14_digits.dat"
need   = "size distance0 distance1 distance2 distance3 samples1 nearest1 copies copied"
width  = 800; height = 330
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

unset key
set multiplot
set lmargin at screen 0.045; set rmargin at screen 0.475
set tmargin at screen 0.89; set bmargin at screen 0.15
array n[4]; array m[4]; array sd[4]; far = 0; narrow = 1e9
do for [i = 0:3] {
    stats data index sprintf("distance%d", i) using 1 nooutput
    n[i + 1] = STATS_records; m[i + 1] = STATS_mean; sd[i + 1] = STATS_stddev
    if (STATS_max > far) { far = STATS_max }
    if (i < 3 && STATS_stddev < narrow) { narrow = STATS_stddev }
}
stats data index "distance3" using ($1 < 0.01 ? 1 : NaN) nooutput; copies = STATS_records
unit = m[1]/20; high = 0.53/narrow  # bandwidth of the curves, top of the axis
set title "The network makes new images, v* copies"
set xlabel "distance to the nearest training image"; set ylabel "density of images"
set format y ""
set xrange [0:far]; set yrange [0:high]; set samples 200
set style textbox opaque noborder fillcolor rgb "#60FFFFFF" margins 0.3,0.3
set label 1 sprintf("closed form: %d of %d at 0", copies, n[4]) \
    at 2*unit, 0.93*high textcolor rgb color2
set label 2 "test images" at m[1] + 1.35*sd[1], 0.27/sd[1] textcolor rgb "#555555" front boxed
set label 3 "samples, w = 1" at m[2] + 0.95*sd[2], 0.34/sd[2] textcolor rgb color1 front boxed
set label 4 "w = 2" at m[3] - 0.95*sd[3], 0.34/sd[3] right textcolor rgb color3 front boxed
set object 1 rectangle from 0,0 to unit,high fillcolor rgb color2 fillstyle solid noborder
plot data index "distance0" using 1:(1.0/n[1]) smooth kdensity bandwidth unit \
         with filledcurves y1=0 ls 28, \
     "" index "distance0" using 1:(1.0/n[1]) smooth kdensity bandwidth unit with lines lt 8, \
     "" index "distance2" using 1:(1.0/n[3]) smooth kdensity bandwidth unit with lines lt 3, \
     "" index "distance1" using 1:(1.0/n[2]) smooth kdensity bandwidth unit with lines lt 1
unset object 1
unset tics; unset grid; unset border; unset xlabel; unset ylabel; unset label

set lmargin at screen 0.55; set rmargin at screen 0.99
down = 1
array block_of[4] = ["samples1", "nearest1", "copies", "copied"]
array name[4] = ["samples of the network, w = 1", "their nearest training images", \
    "samples of the closed form v*", "their nearest training images: the same"]
do for [k = 1:4] {
    above = 0.89 - 0.225*(k - 1) - (k > 2 ? 0.03 : 0)
    set tmargin at screen above; set bmargin at screen above - 0.135
    set title name[k]
    block = block_of[k]; eval tiles
}
unset multiplot
