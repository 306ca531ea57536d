# The likelihood of the coin's flips against p: the two models of the slides and the maximum.
figure = "03_maximum_likelihood_coin"
data   = "build/data/03_maximum_likelihood.dat"
need   = "coin marks"
width  = 800; height = 380
load "plots/style.gp"

stats data index "marks" using 1 every ::2::2 nooutput
best = STATS_max
set title sprintf("The likelihood of the flips is highest at p = %.3g, the share of heads", best)
set xlabel "p, the coin's probability of heads"
set ylabel "likelihood / its maximum"
set xrange [0:1]; set yrange [0:1.18]
unset key
side = best > 0.8 ? "right" : best < 0.2 ? "left" : "center"  # of the label, inside the frame
plot data index "coin" using 1:2 with filledcurves y1=0 ls 21, \
     data index "coin" using 1:2 with lines lt 1, \
     data index "marks" using 1:3 with impulses ls 31, \
     data index "marks" using 1:3 with points pt 7 ps 1 lc rgb color2, \
     data index "marks" using (abs(best - 0.1) < 0.11 ? NaN : $1):3: \
          (sprintf("p = %.3g\nL = %.2g", $1, $2)) every ::0::0 \
          with labels offset -3,1.7 textcolor rgb ink, \
     data index "marks" using 1:3:(sprintf("p = %.3g: L = %.2g", $1, $2)) every ::2::2 \
          with labels @side offset 0,0.9 textcolor rgb ink
