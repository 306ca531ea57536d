# With more noise on the way, paths get rougher; the density they fill stays the same.
figure = "15_diffusion_ode_sde"
data   = "build/data/15_diffusion.dat"
need   = "background path0 path1 path2 ends0 ends1 ends2 levels"
width  = 800; height = 330
load "plots/style.gp"

set multiplot
unset key; unset colorbox
set tmargin at screen 0.80; set bmargin at screen 0.15
set label 10 bold("Noise on the way changes every path and no density") at screen 0.05,0.95
left(k) = 0.06 + 0.245*k
set yrange [-4:4]; set xrange [0:1]; set cbrange [0:0.55]
set palette defined (0 "white", 1 "#9FC9E2", 2 "#56A0CC")
set xtics 0.5; set xlabel "t"; set ylabel "x"
array lambda[3]
stats data index "levels" using (lambda[int($1) + 1] = $2) nooutput
do for [k = 0:2] {
    set lmargin at screen left(k); set rmargin at screen left(k) + 0.225
    set title k == 0 ? "λ = 0: the ODE" : sprintf("λ = %g", lambda[k + 1])
    plot data index "background" using 1:2:3 with image, \
         data index sprintf("path%d", k) using 1:2 with lines lt 1 lw 0.8 lc rgb ink
    set format y ""; unset ylabel; unset label 10
}
set lmargin at screen left(3) + 0.01; set rmargin at screen 0.985
set xrange [0:0.9]; set xtics 0.4
set xlabel "density at t = 1"; set title "where they end"
set key inside center right vertical samplen 0.8 width -1
plot data index "background" using ($1 > 0.999 ? $3 : NaN):2 with lines ls 31 lw 2 title "data", \
     for [k = 0:2] data index sprintf("ends%d", k) using 2:1 with points lt k + 1 ps 0.5 \
         title sprintf("λ = %g", lambda[k + 1])
unset multiplot
