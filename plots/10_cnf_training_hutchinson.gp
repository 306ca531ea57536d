# Hutchinson's estimate of div v: right on average, its variance 1/k with k probes.
figure = "10_cnf_training_hutchinson"
data   = "build/data/10_cnf_training.dat"
need   = "probes"
width  = 800; height = 340
load "plots/style.gp"

unset key
set multiplot layout 1,2 margins screen 0.085,0.985,0.17,0.88 spacing screen 0.115
set logscale xy; set xrange [0.8:80]; set xtics (1, 2, 4, 8, 16, 32, 64)
set xlabel "probes k"; set ylabel "variance of the estimate"
set title bold("The variance falls as 1/k")
stats data index "probes" using 2 every ::2::2 name "R" nooutput
stats data index "probes" using 3 every ::2::2 name "G" nooutput
set label 1 "Gaussian probes" at 4.6,1.15*G_max left textcolor rgb color2
set label 2 "Rademacher probes" at 1,0.13*R_max left textcolor rgb color1
set label 3 "grey: theory, slope −1" at graph 0.97,0.93 right textcolor rgb "#777777"
plot data index "probes" using 1:4 with lines ls 31, \
     data index "probes" using 1:5 with lines ls 31, \
     data index "probes" using 1:2 with points lt 1 ps 1, \
     data index "probes" using 1:3 with points lt 2 ps 1
unset label; unset logscale y; set autoscale y
stats data index "probes" using 2 name "V" nooutput
set yrange [-1.7*sqrt(V_max):1.7*sqrt(V_max)]
set title bold("The mean is div v with any k"); set ylabel "estimate − div v"
set label 2 "bars: a single estimate's standard deviation" at graph 0.97,0.07 right \
    textcolor rgb color1
plot 0 with lines ls 31, \
     data index "probes" using 1:6:(sqrt($2)) with yerrorbars lt 1 pt 7 ps 0.8
unset multiplot
