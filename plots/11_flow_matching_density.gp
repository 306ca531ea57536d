# The density that the trained field implies, beside that of the data.
figure = "11_flow_matching_density"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# [a-z0-9]*_density$/ { sub(/_density/, \"\"); print $2 }' ".data." 2>&1")
need   = "moons_density"
if (words(sets)) { need = ""; do for [s in sets] { need = need." ".s."_density" } }
cols   = words(sets) > 1 ? words(sets) : 1
width  = cols > 1 ? 800 : 440; height = 610
load "plots/style.gp"

left = cols > 1 ? 0.07 : 0.2
set multiplot layout 2,cols margins screen left,0.985,0.09,0.945 spacing screen 0.02,0.065
set size ratio (sets eq "file" ? 1 : -1)  # a file's columns may differ in scale
unset key; unset colorbox; unset grid
if (sets eq "file") { set xtics rotate by -45 }
do for [row = 0:1] {
    do for [i = 1:words(sets)] {
        name = word(sets, i)
        if (name ne "file") { set xrange [-4.5:4.5]; set yrange [-4.5:4.5] }
        set format y i == 1 ? "% h" : ""
        if (i == 1) { set ylabel "x_2" offset 0.6,0 } else { set ylabel "" }
        set title bold(name).(row ? ": model" : ": data")
        stats data index name."_density" using ($3 > $4 ? $3 : $4) nooutput
        set cbrange [0:STATS_max]
        set format x row ? "% h" : ""
        last = row == 1 && i == words(sets)  # once, not with every panel
        if (last) { set label "Brighter is denser: one scale for a set and its model" \
                        at screen 0.53, 0.025 center }
        plot data index name."_density" using 1:2:(row ? $3 : $4) with image
    }
}
unset multiplot
