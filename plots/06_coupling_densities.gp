# Four flows trained on three targets: a row a target, a column a model, the data on the left.
figure = "06_coupling_densities"
data   = "build/data/06_coupling.dat"
need   = "data_moons density_moons data_8gaussians density_8gaussians"
need   = need." data_checkerboard density_checkerboard scores"
width  = 800; height = 600
load "plots/style.gp"

set multiplot layout 3,5 margins screen 0.008,0.992,0.01,0.885 spacing screen 0.008,0.05
set size ratio -1
unset key; unset colorbox; unset grid; unset tics; set border 31
set label 1 bold("Scales let a coupling match its target; ")."NICE, which keeps volumes, ". \
    "falls behind" at screen 0.01,0.972
set label 3 "(+: nats above the entropy)" at screen 0.99,0.972 right textcolor rgb "#666666"
do for [row = 1:3] {
    name = word("moons 8gaussians checkerboard", row)
    block = "density_".name
    reach = row == 1 ? 3.7 : 4.5
    set xrange [-reach:reach]; set yrange [-reach:reach]
    set title name offset 0,-0.6
    plot data index "data_".name every 4 using 1:2 with points ls 11
    unset label 1; unset label 3
    # One scale a row, from RealNVP's humps; a bright thread of a few pixels must not set it.
    stats data index block using 4 nooutput
    least = STATS_max/5
    stats data index block using ($4 > least ? $4 : NaN) nooutput
    set cbrange [0:1.4*STATS_up_quartile]
    do for [k = 1:4] {
        stats data index "scores" using (column(k)) every ::(row - 1)::(row - 1) nooutput
        set title bold(word("NICE RealNVP Glow MAF", k)).sprintf(" +%.3f", STATS_mean)
        plot data index block using 1:2:(column(k + 2)) with image
    }
}
unset multiplot
