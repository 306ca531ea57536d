# What a training step keeps in memory: every state of the solver, or one.
figure = "10_cnf_training_memory"
data   = "build/data/10_cnf_training.dat"
need   = "memory"
width  = 800; height = 330
load "plots/style.gp"

stats data index "memory" using 2 name "B" nooutput
stats data index "memory" using 3 name "A" nooutput
stats data index "memory" using 1 name "N" nooutput
a_step = (B_max - B_min)/(N_max - N_min)
unset key
set lmargin screen 0.1; set rmargin screen 0.97
set title bold("Backprop keeps the state of every step, the adjoint only one")
set xlabel "solver steps"; set ylabel "memory of training (kilobytes)"
set xrange [0:264]; set xtics 32; set yrange [0:1.1e-3*B_max]
set label 1 sprintf("backprop: %g bytes more a step", a_step) at 150,1e-3*(B_min + 163*a_step) \
    right textcolor rgb color1
set label 2 "adjoint: the same for any number of steps" at 250,1e-3*A_max right offset 0,0.9 \
    textcolor rgb color2
plot data index "memory" using 1:($2/1e3) with linespoints lt 1, \
     data index "memory" using 1:($3/1e3) with linespoints lt 2
