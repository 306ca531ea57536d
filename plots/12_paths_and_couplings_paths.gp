# Four ways from noise to two humps: alpha and sigma, and the trajectories of the exact flow.
figure = "12_paths_and_couplings_paths"
data   = "build/data/12_paths_and_couplings.dat"
need   = "linear_path VP_path cosine_path VE_path"
width  = 800; height = 450
load "plots/style.gp"

names = "linear VP cosine VE"
left(i) = i < 4 ? 0.08 + 0.228*(i - 1) : 0.79
set multiplot title \
    "Pairs move on straight lines if the path is linear; samples follow curves on every path"
unset key
set xrange [0:1]; set xtics 0.5
do for [i = 1:4] {
    name = word(names, i); far = name eq "VE"
    set lmargin at screen left(i); set rmargin at screen left(i) + 0.195
    set tmargin at screen 0.86; set bmargin at screen 0.62
    set yrange [0:far ? 27 : 1.08]; step = far ? 10 : 0.5; set ytics 0,step
    if (i == 1 || i == 4) { set format y "%g" } else { set format y "" }
    set format x ""
    set title bold(name)
    if (i == 1) { set label 1 "α" at 0.8,0.6 textcolor rgb color1
                  set label 2 "σ" at 0.12,0.65 textcolor rgb color2 } else { unset label }
    if (i == 4) { set label 1 "α = 1" at 0.6,3.6 textcolor rgb color1
                  set label 2 "σ" at 0.12,16 textcolor rgb color2 }
    plot data index name."_path" using 1:2 with lines lt 1, \
         "" index name."_path" using 1:3 with lines lt 2
}
unset label; set format x "%g"; set title ""
do for [i = 1:4] {
    name = word(names, i); far = name eq "VE"
    set lmargin at screen left(i); set rmargin at screen left(i) + 0.195
    set tmargin at screen 0.57; set bmargin at screen 0.115
    set yrange [far ? -58 : -3.2 : far ? 58 : 3.2]; step = far ? 20 : 1; set ytics step
    if (i == 1 || i == 4) { set format y "%g" } else { set format y "" }
    set ylabel (i == 1 ? "x_t of samples" : "") offset -0.6,0; set xlabel "time t"
    plot for [k = 4:43:3] data index name."_path" using 1:k with lines lt 1 lw 1 dt solid \
        lc rgb (k < 24 ? color3 : color4)
}
unset multiplot
