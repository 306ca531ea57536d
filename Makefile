# flow.h: the commands of a day. Everything that is made is made in build/.
#
#   make                      every chapter built and run, every figure drawn; parallel with -j
#   make 05_planar_flow       one chapter: its program, its data, its figures
#   make figures FMT=png      every figure as svg (the default), png, pdf or tex;
#                             FMT=gif draws the animations only
#   make test                 all tests; the last line is "N passed, N failed"
#   make check                the long tests: sanitizers, valgrind, other compilers and machines
#   make bench                how fast training and sampling are, and how near to the peak
#   make install PREFIX=DIR   flow.h and flow.pc under DIR (default /usr/local)
#   make clean                remove build/
#   make help                 this text
#
#   ARGS='--seed 7'           flags for the chapters, as in: make ARGS='--seed 7' 05_planar_flow
#   CC=clang  CFLAGS=...      another compiler, other flags
#   NATIVE=1                  -O3 -march=native: faster, for this kind of processor only
#   OMP=1                     several threads, where the compiler has OpenMP

PREFIX ?= /usr/local
VERSION = 1.0.0
FMT    ?= svg

# -ffp-contract=off: a fused multiply-add rounds once where a product and a sum round twice, so
# with it the same seed would not give the same bits on every machine. -fpeel-loops, which clang
# does unasked, keeps the tile of the matrix product in registers; -fno-trapping-math and
# -fno-math-errno let a loop with a comparison or a square root become vector code. With -O3 gcc
# would clear a tile's sums by a call of memset, but for -fno-tree-loop-distribute-patterns. They
# leave every result as it is.
CLANG := $(findstring clang,$(CC))
# On some processors compilers would fill but half of each vector register. flow.h sees to it for
# gcc; clang, and the loops of bench that measure the peak, need the flag.
WIDE  := $(shell f=-mprefer-vector-width=512; \
           $(CC) -Werror $$f -E -xc /dev/null >/dev/null 2>&1 && echo $$f)
ifdef NATIVE
OPTIMISE = -O3 -march=native $(WIDE) $(if $(CLANG),,-fno-tree-loop-distribute-patterns)
else
OPTIMISE = -O2 $(if $(CLANG),,-fpeel-loops)
endif
CFLAGS ?= -std=c99 $(OPTIMISE) -fno-trapping-math -fno-math-errno -ffp-contract=off
WARN   ?= -Wall -Wextra
FLAGS  := $(CFLAGS) $(WARN) $(if $(OMP),-fopenmp) -I.

# A target that fails half-way is removed, and make's own rules for C would only get in the way.
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

CHAPTERS := $(patsubst chapters/%.c,%,$(sort $(wildcard chapters/[0-9]*.c)))
PROGRAMS := $(CHAPTERS:%=build/chapters/%)
DATA     := $(CHAPTERS:%=build/data/%.dat)

.PHONY: all programs figures test check bench install clean gallery help FORCE $(CHAPTERS)
all: # the default; what it needs stands below

help:
	@sed -n '/^#   /s/^#   /  /p; /^PREFIX/q' Makefile

# ---- chapters: program, then data -------------------------------------------------------------

programs: $(PROGRAMS)

# The compiler and its flags are kept in a file that changes only when they do: with NATIVE=1, all
# programs are built again; with the same flags, none. ARGS, below, works likewise. The old program
# goes first, so that nobody runs it when the new one does not compile.
export FLAGS ARGS
build/flags: FORCE
	@mkdir -p build
	@echo "$(CC) $$FLAGS" | cmp -s - $@ || echo "$(CC) $$FLAGS" >$@

# The code of flow.h, which a chapter compiled by itself contains, is compiled once for all of them,
# while other cores compile the chapters.
build/objects/flow.o: flow.h build/flags
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -DFLOW_IMPLEMENTATION -c -o $@ -x c $<

build/objects/%.o: chapters/%.c chapters/chapter.h flow.h build/flags
	@mkdir -p $(@D); rm -f build/chapters/$*
	$(CC) $(FLAGS) -DFLOW_IMPLEMENTED -c -o $@ $<

$(PROGRAMS): build/chapters/%: build/objects/%.o build/objects/flow.o
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -o $@ $^ -lm

$(CHAPTERS:%=build/data/%.args): FORCE
	@mkdir -p build/data
	@echo "$$ARGS" | cmp -s - $@ || echo "$$ARGS" >$@

# A file that ARGS names, as --data FILE does, makes new data when it changes.
FILES := $(foreach f,$(wildcard $(ARGS)),$(if $(wildcard $f/.),,$f))

# The table of checks is saved and shown whole, so that tables of parallel chapters do not mix. A
# chapter with a failed check has written its data, and its figures are drawn (they show what went
# wrong); the mark NAME.failed makes the last line name it. One without data stops make here.
$(DATA): build/data/%.dat: build/chapters/% build/data/%.args $(FILES)
	@rm -f $@ build/data/$*.failed
	@$< $(ARGS) --out build/data >build/data/$*.txt || status=$$?; \
	cat build/data/$*.txt; \
	if [ ! -f $@ ]; then echo "$*: stopped without data" >&2; exit 1; fi; \
	if [ -n "$$status" ]; then touch build/data/$*.failed; fi

# ---- figures ----------------------------------------------------------------------------------

FORMATS  := svg png pdf tex gif
ifeq ($(filter $(FMT),$(FORMATS)),)
$(error FMT=$(FMT): choose one of $(FORMATS))
endif

GNUPLOT  ?= gnuplot
HAVE_GNUPLOT := $(shell command -v $(GNUPLOT) 2>/dev/null)

# Scripts of a chapter begin with its name; an animation has a line "# animated".
scripts   = $(patsubst plots/%.gp,%,$(sort $(wildcard $(1:%=plots/%_*.gp))))
ANIMATED := $(patsubst plots/%.gp,%,$(shell grep -ls '^\# animated' plots/[0-9]*.gp))
# $(call stills,chapters) in the format asked for, $(call gifs,chapters) of those that move.
# tex has a folder of its own: beside each NAME.tex there is a NAME.pdf without the text.
folder    = build/figures$(if $(filter tex,$1),/tex)
gifs      = $(patsubst %,build/figures/%.gif,$(filter $(ANIMATED),$(call scripts,$1)))
stills    = $(if $(filter gif,$(FMT)),$(call gifs,$1),$\
              $(patsubst %,$(call folder,$(FMT))/%.$(FMT),$(call scripts,$1)))

# gnuplot only warns when a curve's data have no rows for it; here that is an error. Its count of
# an animation's frames is not news.
define draw
	@mkdir -p $(@D)
	@echo "FMT=$(1) $(GNUPLOT) $<"
	@said=$$(FMT=$(1) LC_ALL=C.UTF-8 $(GNUPLOT) $< 2>&1) || status=$$?; \
	echo "$$said" | grep -v -e '^ *$$' -e 'frames in animation' >&2; \
	case "$$said" in *'no valid points'*) status=1;; esac; exit $${status:-0}
	$(if $(filter tex,$(1)),@sed -i.tmp 's|{$(@D)/|{|' $@ && rm -f $@.tmp)
endef

# One rule for each format, and one line for each chapter: its figures need its data.
define rule_of_format
$(call folder,$1)/%.$1: plots/%.gp plots/style.gp
	$$(call draw,$1)
endef
define needs_of_chapter
$(foreach f,$(FORMATS),$(patsubst %,$(call folder,$f)/%.$f,$(call scripts,$1))): build/data/$1.dat
$1: build/data/$1.dat $(if $(HAVE_GNUPLOT),$(call stills,$1) $(call gifs,$1))
endef
$(foreach f,$(FORMATS),$(eval $(call rule_of_format,$f)))
$(foreach c,$(CHAPTERS),$(eval $(call needs_of_chapter,$c)))

# The last words: where the figures are, which chapters failed a check, what is missing. A mark
# older than the data is out of date: the chapter has been run by hand since.
define closing
	@status=0; \
	$(if $(HAVE_GNUPLOT),echo "figures: $(call folder,$(FMT))/";) \
	for c in $(1); do \
	    if [ -e build/data/$$c.failed ] && ! [ build/data/$$c.dat -nt build/data/$$c.failed ]; \
	    then echo "FAILED: $$c, see build/data/$$c.txt" >&2; status=1; fi; \
	done; \
	$(if $(HAVE_GNUPLOT),,echo "no gnuplot, so no figures; on Debian and Ubuntu:\
	    apt-get install gnuplot-nox" >&2; status=1;) \
	exit $$status
endef

all: $(DATA) $(if $(HAVE_GNUPLOT),$(call stills,$(CHAPTERS)) $(call gifs,$(CHAPTERS)))
	$(call closing,$(CHAPTERS))

figures: $(DATA) $(if $(HAVE_GNUPLOT),$(call stills,$(CHAPTERS)))
	$(call closing,$(CHAPTERS))

$(CHAPTERS):
	$(call closing,$@)

# A script whose name begins with no chapter's would never be drawn: say so.
SCRIPTS := $(patsubst plots/%.gp,%,$(wildcard plots/[0-9]*.gp))
STRAY   := $(filter-out $(call scripts,$(CHAPTERS)),$(SCRIPTS))
$(if $(STRAY),$(warning no chapter for these scripts in plots/: $(STRAY)))

# For maintainers: the figures that README.md shows are the only made files that are committed.
GALLERY := $(shell grep -so 'plots/gallery/[0-9]\w*\.[a-z]*' README.md | sort -u)
gallery: $(GALLERY:plots/gallery/%=build/figures/%)
	@mkdir -p plots/gallery
	@rm -f plots/gallery/*
	$(if $(GALLERY),cp $^ plots/gallery/)

# ---- tests ------------------------------------------------------------------------------------

TESTS := $(patsubst tests/%.c,build/tests/%,$(sort $(wildcard tests/[0-9]*.c)))

# Tests take longer to compile than to run: they want -O1, unless somebody asks for other flags.
TEST_FLAGS := $(if $(NATIVE)$(filter-out file,$(origin CFLAGS)),$(FLAGS),\
                $(filter-out -fpeel-loops,$(FLAGS)) -O1) -Itests

$(TESTS): build/tests/%: tests/%.c $(wildcard tests/*.h) flow.h build/flags
	@mkdir -p build/tests; rm -f $@
	@$(CC) $(TEST_FLAGS) -o $@ $< -lm

# Without -j, still use every core. What does not compile is counted as a failure by run.sh.
CORES := $(shell nproc 2>/dev/null || echo 2)
test:
	+@$(MAKE) --no-print-directory -sk $(if $(findstring -j,$(MAKEFLAGS)),,-j$(CORES)) \
	    $(TESTS) $(PROGRAMS) || true
	@tests/run.sh $(TESTS) tests/header.sh tests/chapters.sh

check:
	@tests/check.sh

# ---- speed ------------------------------------------------------------------------------------

# Here a multiply-add may be fused: half of the arithmetic of most processors is that. The last bits
# then differ from machine to machine, which a clock does not mind. NATIVE=1 stays without it,
# because the tests compare bits.
BENCH_FLAGS ?= -std=c99 -O3 -march=native $(WIDE) -ffp-contract=fast -fno-trapping-math \
    -fno-math-errno $(if $(CLANG),,-fno-tree-loop-distribute-patterns)
BENCH := build/bench/float build/bench/double

BENCH_ALL := $(BENCH_FLAGS) $(WARN) $(if $(OMP),-fopenmp)
build/bench/flags: FORCE
	@mkdir -p build/bench
	@echo "$(CC) $(BENCH_ALL)" | cmp -s - $@ || echo "$(CC) $(BENCH_ALL)" >$@

$(BENCH): tests/bench.c flow.h build/bench/flags
	$(CC) $(BENCH_ALL) $(if $(@:%float=),,-DFLOW_FLOAT) -I. -o $@ $< -lm
bench: $(BENCH)
	@for program in $(BENCH); do $$program || exit 1; done

# ---- install, clean ---------------------------------------------------------------------------

install:
	mkdir -p "$(DESTDIR)$(PREFIX)/include" "$(DESTDIR)$(PREFIX)/share/pkgconfig"
	cp flow.h "$(DESTDIR)$(PREFIX)/include/flow.h"
	printf '%s\n' 'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: flow' \
	    'Description: normalizing flows and flow matching in one C header' \
	    'Version: $(VERSION)' 'Cflags: -I$${includedir}' 'Libs: -lm' \
	    >"$(DESTDIR)$(PREFIX)/share/pkgconfig/flow.pc"

clean:
	rm -rf build
