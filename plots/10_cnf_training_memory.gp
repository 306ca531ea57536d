# What a training step keeps in memory: all that was computed, states of the solver, or one state.
figure = "10_cnf_training_memory"
data   = "build/data/10_cnf_training.dat"
need   = "memory"
width  = 800; height = 330
load "plots/style.gp"

stats data index "memory" using 2 name "B" nooutput
stats data index "memory" using 3 name "C" nooutput
stats data index "memory" using 4 name "A" nooutput
stats data index "memory" using 1 name "N" nooutput
a_step(min, max) = (max - min)/(N_max - N_min)
unset key
set lmargin screen 0.1; set rmargin screen 0.97
set title bold("Backprop keeps all of every step, checkpoints its state, the adjoint only one")
set xlabel "solver steps"; set ylabel "memory of training (kilobytes)"
set logscale xy; set format y "10^{%T}"
set xrange [0.9:285]; set xtics (1, 2, 4, 8, 16, 32, 64, 128, 256)
set yrange [10**floor(log10(1e-3*C_min)):10**ceil(log10(1e-3*B_max))]
set label 1 sprintf("backprop: %g bytes more a step", a_step(B_min, B_max)) at 9,2.4e-2*B_min \
    right textcolor rgb color1
set label 2 sprintf("checkpoints: %g bytes more a step", a_step(C_min, C_max)) \
    at 1.1,0.5e-3*C_min left textcolor rgb color3
set label 3 "adjoint: the same for any number of steps" at 250,1e-3*A_max right offset 0,-0.9 \
    textcolor rgb color2
plot data index "memory" using 1:($2/1e3) with linespoints lt 1, \
     data index "memory" using 1:($3/1e3) with linespoints lt 3, \
     data index "memory" using 1:($4/1e3) with linespoints lt 2
