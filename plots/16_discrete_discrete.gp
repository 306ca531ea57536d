# p_t of the sampler from a mask and from uniform noise, samples, and the error of N steps.
figure = "16_discrete_discrete"
data   = "build/data/16_discrete.dat"
need   = "mask_t0 mask_t50 mask_t75 mask_oracle mask_network mask_target mask_steps ". \
         "uniform_t0 uniform_t50 uniform_t75 uniform_oracle uniform_network uniform_target ". \
         "uniform_steps"
width  = 800; height = 590
load "plots/style.gp"

stats data index "mask_target" using 3 name "P" nooutput
set multiplot title \
    bold("Tokens jump from noise to data: masks are lifted, or random tokens redrawn")
set label 1 "a point is two tokens of 16 values; beyond the dotted lines they are masked" \
    at screen 0.5,0.925 center
unset key; unset grid; unset colorbox; set border 15; set size square
set cbrange [0:P_max]
set xrange [-0.5:16.5]; set yrange [-0.5:16.5]; unset xtics; unset ytics
array name[6] = ["t = 0", "t = 1/2", "t = 3/4", "t = 1, oracle", "t = 1, network", "target"]
do for [r = 0:1] {
    source = word("mask uniform", r + 1)
    set tmargin at screen 0.845 - 0.24*r; set bmargin at screen 0.635 - 0.24*r
    do for [k = 0:5] {
        set lmargin at screen 0.045 + 0.16*k; set rmargin at screen 0.19 + 0.16*k
        set title (r ? "" : name[k + 1])
        set ylabel (k ? "" : source." noise") offset 0.5,0
        if (r) {
            set xrange [-0.5:15.5]; set yrange [-0.5:15.5]
        } else {
            set arrow 1 from 15.5,-0.5 to 15.5,16.5 nohead front ls 31 dt (4,3)
            set arrow 2 from -0.5,15.5 to 16.5,15.5 nohead front ls 31 dt (4,3)
        }
        plot data index source."_".word("t0 t50 t75 oracle network target", k + 1) \
            using 1:2:3 with image
        unset label 1; unset arrow
    }
}
set border 3; set grid; set size nosquare
set tmargin at screen 0.295; set bmargin at screen 0.085
set lmargin at screen 0.11; set rmargin at screen 0.835
set logscale x 2; set logscale y; set format y "%g"
set xtics nomirror scale 0.5 textcolor rgb ink
set ytics nomirror scale 0.5 textcolor rgb ink
set xrange [0.9:145]; set yrange [*:0.7]; set xlabel "steps N of the sampler"
set ylabel "total variation\nto the target" offset -0.6,0
set title bold("The error falls as 1/N; the network's own remains")
array last[4]
do for [i = 1:4] {
    stats data index word("mask_steps uniform_steps", i % 2 ? 1 : 2) every ::7::7 \
        using (i < 3 ? $2 : $3) name "L" nooutput
    last[i] = L_min
    set label i word("mask uniform mask uniform", i).(i < 3 ? ", oracle" : ", network") \
        at 137,last[i] offset 0,word("-0.4 0.4 -0.5 0.5", i) + 0.0 \
        textcolor rgb word(colors, i)
}
plot data index "mask_steps" using 1:2 with linespoints lt 1, \
     data index "uniform_steps" using 1:2 with linespoints lt 2, \
     data index "mask_steps" using 1:3 with linespoints lt 3, \
     data index "uniform_steps" using 1:3 with linespoints lt 4
unset multiplot
