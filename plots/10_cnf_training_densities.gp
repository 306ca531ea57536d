# Densities learned by maximum likelihood, beside the data's.
figure = "10_cnf_training_densities"
data   = "build/data/10_cnf_training.dat"
sets   = system("awk '/^# [a-z0-9]*_density$/ { sub(/_density/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_density"
if (words(sets)) { need = "excess"; do for [s in sets] { need = need." ".s."_density" } }
cols   = words(sets) > 1 ? words(sets) : 1
width  = cols > 1 ? 800 : 440; height = 610
load "plots/style.gp"

left = cols > 1 ? 0.07 : 0.2
set multiplot layout 2,cols margins screen left,0.985,0.09,0.945 spacing screen 0.02,0.065
set size ratio -1
unset key; unset colorbox; unset grid
set xrange [-4.5:4.5]; set yrange [-4.5:4.5]
do for [row = 0:1] {
    do for [i = 1:words(sets)] {
        name = word(sets, i)
        set format y i == 1 ? "% h" : ""
        if (i == 1) { set ylabel "x_2" offset 0.2,0 } else { set ylabel "" }
        stats data index name."_density" using ($3 > $4 ? $3 : $4) nooutput
        set cbrange [0:STATS_max]
        set format x row ? "% h" : ""
        column = name eq "moons" ? 1 : name eq "8gaussians" ? 2 : 3
        stats data index "excess" using column name "KL" nooutput
        set title bold(name).(row ? sprintf(": model, +%.3f", KL_max) : ": data")
        if (row == 1 && i == words(sets)) { set label 1 "+: nats above the entropy". \
            (cols > 1 ? "; brighter is denser, one scale for a set and its model" : "") \
            at screen 0.53, 0.025 center }
        plot data index name."_density" using 1:2:(row ? $3 : $4) with image
    }
}
unset multiplot
