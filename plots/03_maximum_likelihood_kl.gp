# One Gaussian fitted to two humps: forward KL covers them, reverse KL seeks one.
figure = "03_maximum_likelihood_kl"
data   = "build/data/03_maximum_likelihood.dat"
need   = "kl scores"
width  = 800; height = 340
load "plots/style.gp"

array score[4]
do for [i=1:4] {
    stats data index "scores" using i nooutput
    score[i] = STATS_max
}
stats data index "kl" using 1:2 nooutput
right = STATS_max_x
stats data index "kl" using 1:4 nooutput
top = STATS_max_y
set multiplot layout 1,2 margins screen 0.09,0.98,0.17,0.87 spacing screen 0.05
set xrange [-right:right]; set yrange [0:1.25*top]
set xlabel "x"; set xtics 2
unset key
set ylabel "density"
set title "Forward KL (maximum likelihood) covers both"
set label 1 sprintf("KL(p|q) = %.2f nats, least", score[1]) at graph 0.03,0.93
set label 2 sprintf("KL(q|p) = %.2f", score[2]) at graph 0.03,0.84
set label 3 "data p" at graph 0.72,0.40 textcolor rgb "#6b6b6b"
set label 4 "fit q" at graph 0.72,0.31 textcolor rgb color1
plot data index "kl" using 1:2 with filledcurves y1=0 fc rgb "#d4d4d4", \
     data index "kl" using 1:3 with lines lt 1
set format y ""; unset ylabel
set title "Reverse KL seeks a mode"
set label 1 sprintf("KL(p|q) = %.2f nats", score[3]) at graph 0.45,0.93
set label 2 sprintf("KL(q|p) = %.2f, least", score[4]) at graph 0.45,0.84
set label 4 textcolor rgb color2
plot data index "kl" using 1:2 with filledcurves y1=0 fc rgb "#d4d4d4", \
     data index "kl" using 1:4 with lines lt 2
unset multiplot
