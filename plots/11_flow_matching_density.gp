# The density that the trained field implies, beside that of the data.
figure = "11_flow_matching_density"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_density$/ { sub(/_density/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_density"
if (words(sets)) { need = ""; do for [s in sets] { need = need." ".s."_density" } }
cols   = words(sets) > 1 ? words(sets) : 1
width  = cols > 1 ? 800 : 340; height = 610
load "plots/style.gp"

set multiplot layout 2,cols margins screen 0.07,0.985,0.09,0.945 spacing screen 0.02,0.065
set size ratio -1
unset key; unset colorbox; unset grid
set label "Brighter is denser: one scale for a set and its model" at screen 0.53, 0.025 center
do for [row = 0:1] {
    do for [i = 1:words(sets)] {
        name = word(sets, i)
        if (name ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
        if (i == 1) { set format y "% h"; set ylabel "x_2" offset 1.5,0 } else { set ylabel ""; set format y "" }
        set title bold(name).(row ? ": model" : ": data")
        stats data index name."_density" using ($3 > $4 ? $3 : $4) nooutput
        set cbrange [0:STATS_max]
        set format x row ? "% h" : ""
        plot data index name."_density" using 1:2:(row ? $3 : $4) with image
    }
}
unset multiplot
