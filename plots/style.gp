# style.gp - what every figure shares: format, size, fonts, colours, and a guard for missing data.
#
# A figure is one script, plots/NN_name_figure.gp, run from the top folder once its data exist:
#
#     figure = "05_planar_flow_loss"              # the output's name, without its ending
#     data   = "build/data/05_planar_flow.dat"
#     need   = "loss samples"                     # the blocks it plots; stops if one is missing
#     width  = 800; height = 320                  # optional, in pixels of the SVG (default 800x450)
#     load "plots/style.gp"
#
#     set title "More layers, a lower free energy"
#     set xlabel "step"; set ylabel "free energy (nats)"
#     plot data index "loss" using 1:2 with lines lt 1 title "2 layers", \
#          data index "loss" using 1:3 with lines lt 2 title "8 layers"
#
# Several panels share their ranges, and one colour bar beside the last of them:
#
#     set multiplot layout 1,3 margins screen 0.07,0.88,0.17,0.87 spacing screen 0.03
#     set size ratio -1; set xrange [-4:4]; set yrange [-4:4]; set cbrange [0:0.3]
#     unset key; unset colorbox
#     set title "data";  plot data index "a" using 1:2:3 with image
#     set format y ""; unset ylabel               # the panels to the right repeat no labels
#     set title "flow";  plot data index "b" using 1:2:3 with image
#     eval colorbar                               # a bar at the right edge, as high as the panels
#     set title "error"; plot data index "c" using 1:2:3 with image
#     unset multiplot
#
# An animation has a line beginning "# animated" (the Makefile looks for it), sets animated = 1, and
# draws frames when fmt is "gif" and a still strip of a few of them in every other format:
#
#     # animated
#     figure = "09_continuous_flow_three_views"; animated = 1; width = 800; height = 220
#     gif_width = 480; gif_height = 360; delay = 8  # optional; delay in 1/100 s
#     ...
#     if (fmt eq "gif") { do for [k = 0:40] { plot data index sprintf("frame%02d", k) ... } }
#     else { set multiplot layout 1,5 ... }
#
# What it gives:
#     fmt                svg, png, pdf, tex or gif: taken from the environment, FMT=png
#     lt 1 .. lt 8       lines: a colour and a dash pattern each, told apart without colour too
#     ls 11 .. ls 18     small translucent points in the same colours: "with points ls 11"
#     ls 21 .. ls 28     pale areas in the same colours: "with filledcurves y1=0 ls 21"
#     ls 31              thin grey lines: axes, references, the truth behind an estimate
#     color1 .. color8   the colours themselves; "ink" for text, "faint" for grids
#     eval viridis       sequential palette (already set); eval diverging: blue, white, red about 0
#     eval colorbar      a slim colour bar at the right of a row of panels
#     bold("text")       bold, in every format
#     math("x_1")        a formula: markup here, $x_1$ in LaTeX
# Elsewhere, text is gnuplot's "enhanced": ~ _ ^ @ & { } are markup, and want a \\ before them.

# ---- what to draw, and in which format --------------------------------------------------------

set encoding utf8
if (!exists("figure") || !exists("data") || !exists("need")) {
    exit error "set figure, data and need before loading plots/style.gp"
}
if (!exists("width"))      width = 800
if (!exists("height"))     height = 450
if (!exists("animated"))   animated = 0
if (!exists("gif_width"))  gif_width = width
if (!exists("gif_height")) gif_height = height
if (!exists("delay"))      delay = 8

fmt = system("echo ${FMT:-svg}")
if (strstrt(" svg png pdf tex gif ", " ".fmt." ") == 0) {
    exit error "FMT=".fmt.": choose svg, png, pdf, tex or gif"
}
if (fmt eq "gif" && !animated) { exit error figure." is not animated: choose svg, png, pdf or tex" }

# ---- the guard --------------------------------------------------------------------------------
# gnuplot draws an empty picture where a block is missing, and takes the first comment line that
# merely begins with the name it looks for. So ask awk, before the output file is opened; it answers
# with "" when the block is there and has rows, or with what is wrong.
trouble(file, block) = system(sprintf("test -r '%s' || { echo is missing; exit; }; ", file). \
    "awk -v block='".block."' '". \
    "/^#/ { blank = 0; sub(/^#[ \t]*/, \"\"); ". \
    "       if (!name && index($0, block) == 1) { name = $0; here = 1 }; next } ". \
    "NF == 0 { if (++blank == 2) here = 0; next } ". \
    "{ blank = 0; if (here && /[0-9]/) rows++ } ". \
    "END { if (!name) print \"has no block \" block; ". \
    "      else if (name != block) print \"has \" name \" in the way of block \" block; ". \
    "      else if (!rows) print \"has an empty block \" block }' '".file."'")
do for [block in need] {
    wrong = trouble(data, block)
    if (wrong ne "") { exit error figure.": ".data." ".wrong }
}

# ---- terminal ---------------------------------------------------------------------------------
# The SVG is the measure: 800 of its pixels fill the width of a README, and the text is legible
# there. The others are the same picture: PNG at twice the pixels, PDF and TeX at 96 to the inch.
# An SVG embeds no font, so it names substitutes for a reader without the first.
# TeX: inputs from LaTeX with UTF-8 (lualatex, xelatex); the Makefile says where it is.

folder = fmt eq "tex" ? "build/figures/tex" : "build/figures"
system("mkdir -p ".folder)
if (fmt eq "svg") {
    set terminal svg size width,height fixed enhanced background "white" linewidth 1 butt \
        font "DejaVu Sans,Verdana,Arial,Helvetica,sans-serif,13"
}
if (fmt eq "png") {
    set terminal pngcairo size 2*width,2*height enhanced background "white" \
        font "DejaVu Sans,10" fontscale 2 linewidth 2 pointscale 2 butt
}
if (fmt eq "pdf") {
    set terminal pdfcairo size width/96.0,height/96.0 enhanced background "white" \
        font "DejaVu Sans,10" fontscale 0.75 linewidth 1.6 butt
}
if (fmt eq "tex") {
    set terminal cairolatex pdf size width/96.0,height/96.0 input background "white" \
        linewidth 1.6 butt
}
if (fmt eq "gif") {
    set terminal gif animate delay delay loop 0 size gif_width,gif_height enhanced \
        background "#ffffff" font "DejaVu Sans,10"
}
set output folder."/".figure.".".fmt

bold(s) = fmt eq "tex" ? "\\textbf{".s."}" : "{/:Bold ".s."}"
math(s) = fmt eq "tex" ? "$".s."$" : s

# ---- colours ----------------------------------------------------------------------------------
# Okabe and Ito's set, which colour-blind readers tell apart; its yellow is too pale for a line on
# white, so grey stands in. Dashes and points differ too, for print and for everyone else.

color1 = "#0072B2"; color2 = "#D55E00"; color3 = "#009E73"; color4 = "#CC79A7"
color5 = "#E69F00"; color6 = "#56B4E9"; color7 = "#000000"; color8 = "#777777"
ink = "#222222"; faint = "#E4E4E4"
colors = color1." ".color2." ".color3." ".color4." ".color5." ".color6." ".color7." ".color8
points_of = "7 5 9 13 11 6 4 8"

set linetype 1 dashtype solid
set linetype 2 dashtype (9,3)
set linetype 3 dashtype (9,3,2,3)
set linetype 4 dashtype (2,2)
set linetype 5 dashtype (16,4)
set linetype 6 dashtype (9,3,2,3,2,3)
set linetype 7 dashtype (5,2)
set linetype 8 dashtype (1.2,3)
do for [i = 1:8] {
    color = word(colors, i)
    cloud = (fmt eq "gif" ? "#" : "#78").color[2:7]  # "#AARRGGBB": AA is how much shines through
    pale  = "#B0".color[2:7]
    set linetype i linecolor rgb color linewidth 2 pointtype int(word(points_of, i)) pointsize 0.7
    j = 10 + i; set style line j linetype 1 pointtype 7 pointsize 0.3 linecolor rgb cloud
    j = 20 + i; set style line j linetype 1 linewidth 1 linecolor rgb pale
}
set linetype cycle 8
set style line 31 linetype 1 linewidth 1 linecolor rgb "#888888"
set style fill solid 1.0 noborder

viridis = "set palette defined (0 '#440154', 1 '#482878', 2 '#3E4989', 3 '#31688E', ". \
          "4 '#26828E', 5 '#1F9E89', 6 '#35B779', 7 '#6ECE58', 8 '#B5DE2B', 9 '#FDE725')"
diverging = "set palette defined (0 '#2166AC', 1 '#4393C3', 2 '#92C5DE', 3 '#D1E5F0', ". \
            "4 '#F7F7F7', 5 '#FDDBC7', 6 '#F4A582', 7 '#D6604D', 8 '#B2182B')"
eval viridis

# ---- axes, grid, key --------------------------------------------------------------------------

set border 3 linewidth 0.8 linecolor rgb "#666666"
set tics nomirror out scale 0.5 textcolor rgb ink
set grid back linetype 1 linewidth 0.7 linecolor rgb faint
set xtics offset 0,0.3
set minussign
set title offset 0,-0.3 textcolor rgb ink
set xlabel textcolor rgb ink offset 0,0.6
set ylabel textcolor rgb ink offset 0.5,0
set cblabel textcolor rgb ink
# The key stands below the axes, where it covers no curve; a label on the curve is better still. To
# move it inside, say so first: set key inside top right vertical.
set key bmargin center horizontal Left reverse samplen 3 width 1 height 0.4 textcolor rgb ink
set colorbox border 31
set cbtics scale 0.3
set bars small

colorbar = "set colorbox user origin screen 0.905,graph 0 size screen 0.015,graph 1"
