# What a solver pays for each path: error against evaluations of the exact velocity.
figure = "12_paths_and_couplings_evaluations"
data   = "build/data/12_paths_and_couplings.dat"
names  = "linear VP cosine VE"
solver = "euler midpoint rk4 dopri5"
need   = ""
do for [n in names] { do for [s in solver] { need = need." ".n."_".s } }
width  = 800; height = 580
load "plots/style.gp"

set multiplot layout 2,2 title \
    "Midpoint and Runge-Kutta need fewer evaluations on the linear path than on VP; Euler more" \
    margins screen 0.09,0.98,0.1,0.88 spacing screen 0.07,0.12
unset key
set logscale xy
set xtics (8, 16, 32, 64, 128, 256); set xrange [6:330]
set yrange [1e-6:10]; set ytics 100; set format y "10^{%T}"
titles = "'Euler' 'midpoint' 'Runge-Kutta 4' 'Dormand-Prince, adaptive'"
do for [i = 1:4] {
    set title bold(word(titles, i))
    set xlabel (i > 2 ? "evaluations of the velocity" : "")
    set ylabel (i % 2 ? "error of samples" : "")
    if (i == 4) { set key at graph 0.42, graph 0.52 right top vertical samplen 4 width 1 }
    plot for [k = 1:4] data index word(names, k)."_".word(solver, i) using 1:2 \
        with linespoints lt k ps 0.8 title word(names, k)
}
unset multiplot
