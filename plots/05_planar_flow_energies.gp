# Four densities known up to their scale, and chains of 2, 8 and 32 planar layers beside them.
figure = "05_planar_flow_energies"
data   = "build/data/05_planar_flow.dat"
need   = ""
do for [e = 1:4] { need = need.sprintf(" final%02d U%d_K02 U%d_K08 U%d_K32", e, e, e, e) }
width  = 800; height = 785
load "plots/style.gp"

set multiplot layout 4,4 margins screen 0.065,0.99,0.012,0.96 spacing screen 0.01,0.01
set size ratio -1
unset key; unset colorbox; unset grid; unset tics; set border 31
set xrange [-4:4]; set yrange [-4:4]
do for [row = 0:3] {
    do for [e = 1:4] {
        block = sprintf("U%d_K%02d", e, row == 0 ? 32 : 2*4**(row - 1))
        stats data index sprintf("U%d_K32", e) using 4 nooutput
        set cbrange [0:STATS_max]
        set title row == 0 ? sprintf("U_%d", e) : "" offset 0,-0.5
        side = row == 0 ? "target exp(−U)/Z" : sprintf("%d layers", 2*4**(row - 1))
        set ylabel e == 1 ? side : ""
        unset label 1
        if (row > 0) {
            stats data index sprintf("final%02d", e) using row nooutput
            set label 1 sprintf("KL %.3f", STATS_max) at -3.8,-3.6 front textcolor rgb "white"
        }
        plot data index block using 1:2:(row ? $3 : $4) with image
    }
}
unset multiplot
