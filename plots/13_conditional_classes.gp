# One network: each label's samples where its class lies, and all of the data without a label.
figure = "13_conditional_classes"
data   = "build/data/13_conditional.dat"
need   = "data labelled dropped"
width  = 800; height = 325
load "plots/style.gp"

stats data index "data" using 1:2 name "D" nooutput
stats data index "data" using 3 name "K" nooutput
max(a, b) = a > b ? a : b
half = 0.54*max(D_max_x - D_min_x, D_max_y - D_min_y)
set xrange [(D_min_x + D_max_x)/2 - half:(D_min_x + D_max_x)/2 + half]
set yrange [(D_min_y + D_max_y)/2 - half:(D_min_y + D_max_y)/2 + half]
unset key; unset grid; set border 15; set size square
set xlabel math("x_1"); set ylabel math("x_2") rotate by 0 offset 1.8,0
set multiplot layout 1,3 margins screen 0.065,0.985,0.155,0.81 spacing screen 0.025 title \
    bold("One network learns every class, and all of them together")
shape(k) = int(word(points_of, k + 1))
do for [i = 1:3] {
    block = word("data labelled dropped", i)
    if (i == 1) { set title "data, by class" }
    if (i == 2) { set title "samples, by the label given"; set ylabel ""; set format y "" }
    if (i == 3) { set title "samples without label" }
    plot for [k = 0:int(K_max)] data index block using ($3 == k ? $1 : NaN):2 with points \
        pt (i == 3 ? 7 : shape(k)) ps 0.3 lc rgb (i == 3 ? color8 : word(colors, k + 1))
}
unset multiplot
