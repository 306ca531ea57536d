#!/bin/sh
# check.sh [strict] - the long tests: everything that needs another compiler, another machine or
# much time. What this machine cannot do is skipped, and said. With "strict", only the first part.
cd "$(dirname "$0")/.." || exit 1
. tests/jobs.sh

strict="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion"
strict="$strict -Wvla -Werror -I. -Ichapters -Itests -Itests/header"
bits="-std=c99 -ffp-contract=off -I. -Ichapters -Itests"    # what equal bits stand on
tests=$(ls tests/[0-9]*.c 2>/dev/null)
chapters=$(ls chapters/[0-9]*.c 2>/dev/null)

# part TITLE - runs what is queued, with a line of its own for the counts.
part() {
    before_passed=$passed before_failed=$failed
    run_jobs
    echo "$1: $((passed - before_passed)) passed, $((failed - before_failed)) failed"
}

# links COMPILER FLAG... - can it build a program with these flags, and this machine run it?
links() {
    printf '%s\n' '#include <errno.h>' '#include <math.h>' 'int main(void) { return 0; }' \
        >"$work/probe.c"
    "$@" -o "$work/probe.exe" "$work/probe.c" >/dev/null 2>&1 && "$work/probe.exe" 2>/dev/null
}

# each TITLE BUILD RUNNER FILE... - for each file: BUILD it, and run it under RUNNER (may be "").
each() {
    title=$1 build=$2 run=$3
    shift 3
    for file in "$@"; do
        exe="$work/$((queued + 1)).exe"
        job "$title: $file" "$build -o '$exe' $file -lm
mkdir '$exe.d'; export TEST_DIR='$exe.d'
$run '$exe' $(case $file in chapters/*) echo "--quick --out '$exe.d'" ;; esac)"
    done
}

# The compilers that are here, each once: gcc is often gcc-12 under another name.
compilers=$(for c in gcc clang $(seq -f 'gcc-%g' 8 20) $(seq -f 'clang-%g' 10 25); do
    have "$c" && echo "$(readlink -f "$(command -v "$c")") $c"
done | sort -u -k 1,1 | cut -d ' ' -f 2)

# ---- strict warnings: every compiler, every standard, both precisions --------------------------
# Some warnings need the optimiser (a variable that may be unset), so C99 is compiled with -O2; for
# the other standards the syntax will do. The rest of tests/header/ is header.sh's.

job "header.sh all" "tests/header.sh all"
for c in $compilers; do
    cxx=$(echo "$c" | sed -e 's/gcc/g++/' -e 's/clang/clang++/')
    have "$cxx" || skip "$cxx is not here"
    for standard in c99 c11 c++11 c++17; do
        own=
        case $standard in
        c99) command="$c -std=c99 -O2 -c -o /dev/null $strict" ;;
        c11) command="$c -std=c11 -fsyntax-only $strict" ;;
        *) have "$cxx" || continue
           command="$cxx -std=$standard -x c++ -fsyntax-only $strict"
           # An enum constant is C's way to name a size, and a chapter may well divide by one.
           own=-Wno-enum-float-conversion ;;
        esac
        for file in tests/header/plain.c tests/header/static_a.c; do
            job "$c $standard: $file" "$command $file"
            job "$c $standard float: $file" "$command -DFLOW_FLOAT $file"
        done
        for file in $tests $chapters tests/bench.c; do
            job "$c $standard: $file" "$command $own $file"
        done
    done
done
part "strict warnings"
[ "${1-}" = strict ] && count_up

# ---- sanitizers and valgrind -------------------------------------------------------------------

for c in gcc clang; do
    have $c || { skip "$c is not here"; continue; }
    flags="-fsanitize=address,undefined -fno-sanitize-recover=all"
    links $c $flags || { skip "$c has no sanitizers"; continue; }
    # shellcheck disable=SC2086 # the lists are meant to be split
    each "$c sanitizers" "$c -O1 -g $flags $bits" "" $tests $chapters
done
part "addresses and undefined behaviour"

# Reading what was never written. The tests' allocator must not fill what it gives out, or there
# would be nothing to find.
if have clang && links clang -fsanitize=memory; then
    each "clang memory" "clang -O1 -g -fsanitize=memory -DTEST_NO_FILL $bits" "" $tests $chapters
    part "uninitialised memory"
else
    skip "no clang with -fsanitize=memory"
fi
if have valgrind; then
    each "valgrind" "cc -O1 -g -DTEST_NO_FILL $bits" \
        "valgrind -q --error-exitcode=99 --leak-check=full" $tests $chapters
    part "valgrind"
else
    skip "valgrind is not here"
fi

# ---- other optimisations, compilers and threads: the same bits ---------------------------------

mkdir "$work/bits"
variants=0
# same COMPILER FLAGS - every chapter built so writes its data into a folder of its own.
same() {
    variants=$((variants + 1))
    folder="$work/bits/$variants"
    mkdir "$folder"
    echo "$1 $2" >"$work/bits/$variants.title"
    for file in $chapters; do
        name=$(basename "$file" .c)
        job "$1 $2: $name" "$1 $2 $bits -o '$folder.$name' $file -lm
'$folder.$name' --quick --out '$folder'"
    done
}
for c in $compilers; do
    for level in -O0 -O2 -O3; do same "$c" $level; done
    links "$c" -march=native && same "$c" "-O3 -march=native"
    links "$c" -fopenmp && same "$c" "-O2 -fopenmp"
done
same cc "-O2 -DNDEBUG"
part "chapters, $variants builds"
for k in $(seq 2 $variants); do
    job "equal bits: $(cat "$work/bits/1.title") and $(cat "$work/bits/$k.title")" \
        "diff -rq '$work/bits/1' '$work/bits/$k'"
done
part "equal bits"

# ---- other machines ----------------------------------------------------------------------------

# SSE, because the older x87 unit keeps more digits than a double has.
if links cc -m32 -msse2 -mfpmath=sse; then
    each "32 bits" "cc -m32 -msse2 -mfpmath=sse -O2 $bits" "" tests/header/plain.c $tests
    part "32 bits"
else
    skip "no 32-bit C library"
fi

# s390x and powerpc64 keep the most significant byte first; aarch64 has a fused multiply-add.
for machine in s390x:s390x powerpc64:ppc64 aarch64:aarch64; do
    triple=${machine%%:*}-linux-gnu
    emulator=$(command -v "qemu-${machine#*:}" || command -v "qemu-${machine#*:}-static")
    if have "$triple-gcc" && [ -n "$emulator" ]; then
        each "$triple" "$triple-gcc -static -O2 $bits" "$emulator" tests/header/plain.c $tests
        part "$triple"
    else
        skip "no $triple-gcc with qemu-user"
    fi
done
count_up
