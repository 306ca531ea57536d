# N(0, I) pushed through phi: the source, the density by the rule, and a histogram of samples.
figure = "02_jacobian_density"
data   = "build/data/02_jacobian.dat"
need   = "p_0 rule histogram"
width  = 800; height = 300
load "plots/style.gp"

stats data index "rule" using 3 nooutput; top = STATS_max
n = system("sed -n '1s/.* n=\\([0-9]*\\).*/\\1/p' ".data) + 0

set multiplot layout 1,3 margins screen 0.06,0.89,0.16,0.86 spacing screen 0.025
set size ratio -1
unset key; unset colorbox; unset grid
set border 15
set xrange [-3.5:3.5]; set yrange [-3.5:3.5]; set cbrange [0:top]; set xtics 2; set ytics 2
set xlabel math("x_1") offset 0,0.8; set ylabel math("x_2") rotate by 0 offset 1.5,0
set title "source: N(0, I)"
plot data index "p_0" using 1:2:3 with image
set format y ""; set ylabel ""; set xlabel math("y_1")
set title "the rule: ".math("p_x(φ^{−1}(y))")." / |det J|"
plot data index "rule" using 1:2:3 with image
set title sprintf("%d samples φ(x)", n)
eval colorbar; set cbtics 0.1; set cblabel "density"
plot data index "histogram" using 1:2:3 with image
unset multiplot
