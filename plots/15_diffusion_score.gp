# The score that a network trained for velocities has learned, beside the true one.
figure = "15_diffusion_score"
data   = "build/data/15_diffusion.dat"
need   = "score density"
width  = 800; height = 440
load "plots/style.gp"

set multiplot
unset key; unset colorbox
set size ratio -1
set xrange [-3.1:3.1]; set yrange [-3.1:3.1]; set cbrange [0:*]
set palette defined (0 "white", 1 "#BFDCEC", 2 "#8CC0DE")
set label 1 bold("A network trained for velocities knows the score")." (t = 0.6)" \
    at screen 0.06,0.965
set tmargin at screen 0.88; set bmargin at screen 0.13
set xlabel "x_1" offset 0,0.5; set ylabel "x_2" offset 0.6,0
s = 0.07
do for [k = 0:1] {
    set lmargin at screen k ? 0.55 : 0.06; set rmargin at screen k ? 0.98 : 0.49
    set title k ? "grad log p_t of the mixture itself" \
                : "−E[x_0 | x_t]/σ, from the learned velocity"
    plot data index "density" using 1:2:3 with image, \
         data index "score" using 1:2:(s*column(3 + 2*k)):(s*column(4 + 2*k)) with vectors \
             head size 0.1,20 lt 1 lw 1.2 lc rgb (k ? ink : color2)
    set format y ""; unset ylabel; unset label 1
}
unset multiplot
