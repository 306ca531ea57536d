# The density that the trained field implies, beside the truth.
figure = "11_flow_matching_density"
data   = "build/data/11_flow_matching.dat"
sets   = system("awk '/^# density_/ { sub(/^# density_/, \"\"); printf \"%s \", $0 }' ".data." 2>/dev/null")
need   = "density_".(words(sets) ? word(sets, 1) : "moons")
do for [i = 1:words(sets)] { need = need." density_".word(sets, i) }
width  = 800; height = 560
load "plots/style.gp"

set multiplot layout 2,words(sets) margins screen 0.075,0.99,0.06,0.94 spacing screen 0.025,0.075
set size ratio -1
unset key; unset colorbox
do for [row = 0:1] {
    do for [i = 1:words(sets)] {
        name = word(sets, i)
        set title row ? "model" : bold(name).", truth"
        set ylabel i == 1 ? "x_2" : ""
        stats data index "density_".name using 4 nooutput name "T"
        set cbrange [0:T_max]
        plot data index "density_".name using 1:2:(row ? $3 : $4) with image
    }
}
unset multiplot
