# Densities of trained residual flows, and samples by inversion over them.
figure = "07_residual_flow_density"
data   = "build/data/07_residual_flow.dat"
need   = "density_moons density_8gaussians density_checkerboard samples_moons"
width  = 800; height = 350
load "plots/style.gp"

set multiplot layout 1,3 margins screen 0.075,0.985,0.16,0.80 spacing screen 0.03
set label 1 "Contracting blocks: density (each panel its own scale), ". \
    "samples by fixed point" at screen 0.53,0.94 center
set size ratio -1; set xrange [-4:4]; set yrange [-4:4]; set cbrange [0:*]
set xtics -2,2,2; set ytics -2,2,2; unset grid
set xlabel math("x_1"); set ylabel math("x_2") rotate by 0
unset key; unset colorbox
names = "moons 8gaussians checkerboard"
do for [k = 1:3] {
    name = word(names, k)
    set title (k == 2 ? "8 Gaussians" : name)
    plot data index "density_".name using 1:2:3 with image, \
         data index "samples_".name using 1:2 every ::0::299 with points pt 7 ps 0.18 \
              lc rgb "#60ffffff"
    unset label 1; set format y ""; unset ylabel
}
unset multiplot
