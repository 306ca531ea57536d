# The table of Tong et al. 2024: this run's dots beside the paper's.
figure = "12_paths_and_couplings_table"
data   = "build/data/12_paths_and_couplings.dat"
tasks  = system("awk '/^# (N|moons)-.*_independent$/ { sub(/_independent/, \"\"); print $2 }' ". \
                data." 2>&1")
need   = "N-8gaussians_independent"
do for [t in tasks] { need = (t eq word(tasks, 1) ? "" : need)." ".t."_independent ".t."_optimal" }
width  = 800; height = 360
load "plots/style.gp"

set multiplot
set tmargin at screen 0.9; set bmargin at screen 0.26
lines = words(tasks)
set logscale x; set yrange [0.5:lines + 0.5]
full(t) = t eq "N-8gaussians" ? "N → 8 Gaussians" : t eq "moons-8gaussians" ? \
          "moons → 8 Gaussians" : t eq "N-moons" ? "N → moons" : "N → S-curve"
set ytics ()
do for [i = 1:lines] { set ytics add (full(word(tasks, i)) lines + 1 - i) }
block(i, k) = word(tasks, i)."_".word("independent optimal", k)
at(i, k) = lines + 1 - i + (k == 1 ? 0.13 : -0.13)
low(mean, spread) = mean > spread ? mean - spread : 1e-9  # bars where there are seeds
open(k) = k == 1 ? 4 : 6
col(k) = k == 1 ? color2 : color1
set label 1 "independent pairs" at screen 0.04,0.06 point pt 5 ps 1.2 lc rgb color2 offset 1,0
set label 2 "optimal pairs" at screen 0.235,0.06 point pt 7 ps 1.2 lc rgb color1 offset 1,0
set label 3 "Tong et al. 2024 (filled: this run)" at screen 0.395,0.06 point pt 4 ps 1.6 lw 1.5 \
    lc rgb color8 offset 1,0
set label 4 "grey: between two sets of data" at screen 0.74,0.067
unset key
set lmargin at screen 0.215; set rmargin at screen 0.585
set xrange [0.0005:5]; set xtics (0.001, 0.01, 0.1, 1); set format x "%g"
set title bold("Straighter to the left")
set xlabel "normalised path energy"
plot for [k = 1:2] for [i = 1:lines] data index block(i, k) using 7:(at(i, k)) \
         with points pt open(k) ps 1.6 lw 1.5 lc rgb col(k), \
     for [k = 1:2] for [i = 1:lines] data index block(i, k) \
         using 1:(at(i, k)):(low($1, $4)):($1 + $4) \
         with xerrorbars pt open(k) + 1 ps 1.2 lw 1.5 dt solid lc rgb col(k)
unset label
set lmargin at screen 0.61; set rmargin at screen 0.985
set format y ""; do for [i = 1:lines] { set ytics add ("" i) }
set xrange [0.15:7]; set xtics (0.2, 0.5, 1, 2, 4)
set title bold("Closer to data to the left")
set xlabel "W_2"
plot for [i = 1:lines] data index block(i, 1) using 3:(lines + 0.64 - i):(0):(0.72) \
         with vectors nohead ls 31 lw 4, \
     for [k = 1:2] for [i = 1:lines] data index block(i, k) using 8:(at(i, k)) \
         with points pt open(k) ps 1.6 lw 1.5 lc rgb col(k), \
     for [k = 1:2] for [i = 1:lines] data index block(i, k) \
         using 2:(at(i, k)):(low($2, $5)):($2 + $5) \
         with xerrorbars pt open(k) + 1 ps 1.2 lw 1.5 dt solid lc rgb col(k)
unset multiplot
