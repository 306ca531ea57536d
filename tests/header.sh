#!/bin/sh
# header.sh [all] - compiles flow.h in every way that a program may include it, with every warning
# an error, by the first C and the first C++ compiler that is here; with "all", as make check wants
# it, by each of gcc, clang, g++ and clang++. The programs are in tests/header/.
cd "$(dirname "$0")/.." || exit 1
. tests/jobs.sh

strict="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wdouble-promotion"
strict="$strict -Wvla -Werror -O0 -I. -Itests/header"

# build COMPILER FLAGS FILE... - one program, built and run
build() {
    compiler=$1 flags=$2
    shift 2
    exe="$work/$((queued + 1)).exe"
    job "$compiler $flags $*" "$compiler $strict $flags $* -o '$exe' -lm && '$exe'"
}

# parse COMPILER FLAGS FILE... - read, with its warnings, and not built
parse() {
    compiler=$1 flags=$2
    shift 2
    job "$compiler $flags $*" "$compiler $strict $flags -fsyntax-only $*"
}

# Every program is built and run by the first compiler; a second one reads them.
way=build
for cc in gcc clang; do
    have $cc || { skip "$cc is not here"; continue; }
    [ $way = build ] || [ "${1-}" = all ] || continue
    for program in first last own_malloc own_assert bare; do
        $way $cc -std=c99 tests/header/$program.c
    done
    $way $cc "-std=c99 -DFLOW_FLOAT" tests/header/plain.c
    parse $cc "-std=c99 -DNDEBUG" tests/header/plain.c
    parse $cc -std=c11 tests/header/plain.c
    build $cc -std=c99 tests/header/plain.c
    build $cc -std=c99 tests/header/two_a.c tests/header/two_b.c
    build $cc -std=c99 tests/header/static_a.c tests/header/static_b.c
    way=parse
done

standards='c++11 c++17'
for cxx in g++ clang++; do
    have $cxx || { skip "$cxx is not here"; continue; }
    [ -n "$standards" ] || continue
    build $cxx "-std=c++11 -x c++" tests/header/two_a.c tests/header/two_b.c
    build $cxx "-std=c++17 -x c++" tests/header/static_a.c tests/header/static_b.c
    for standard in $standards; do
        for program in plain first last own_malloc own_assert bare; do
            parse $cxx "-std=$standard -x c++" tests/header/$program.c
        done
        parse $cxx "-std=$standard -DFLOW_FLOAT -x c++" tests/header/plain.c
    done
    [ "${1-}" = all ] || standards=
done

# The program in flow.h's first comment must compile as it stands, with no flag at all.
cc=$(command -v cc || command -v gcc || command -v clang)
cat >"$work/first_comment.sh" <<'END'
sed -n '/^ \*     #define FLOW_IMPLEMENTATION/,/^ \*     }$/s/^ \*     //p' flow.h >"$work/hw.c"
[ -s "$work/hw.c" ]
$1 -I. -o "$work/hw" "$work/hw.c" -lm
"$work/hw"
END
job "the program in flow.h's first comment" "sh -e '$work/first_comment.sh' '$cc'"

# Headers of C99 only: nothing of POSIX, nothing of a compiler's own but OpenMP's.
job "includes of flow.h" "! grep -n '#include *<' flow.h | \
    grep -vE '<(assert|errno|float|limits|math|stdarg|stddef|stdint|stdio|stdlib|string)\.h>'"

# Every name that a program can see begins with flow_ or FLOW_ (flowi_ and FLOWI_ are private). And
# with the assertions gone, the library has no way left to print or to end the program.
if have nm; then
    job "names that the library defines" "$cc -I. -x c -c -o '$work/n.o' \
        -DFLOW_IMPLEMENTATION flow.h
        ! nm -g '$work/n.o' | grep ' [A-TV-Z] ' | grep -v ' _*flow_'"
    job "names that the library uses" "$cc -DNDEBUG -I. -x c -c -o '$work/u.o' \
        -DFLOW_IMPLEMENTATION flow.h
        ! nm -u '$work/u.o' |
        grep -wE '_*(printf|puts|putchar|perror|exit|abort|rand|srand|stdout|stderr)'"
fi
cat >"$work/macros.sh" <<'END'
headers='assert errno float limits math stdarg stddef stdint stdio stdlib string'
for h in $headers; do echo "#include <$h.h>"; done >"$work/without.c"
{ cat "$work/without.c"; echo '#define FLOW_IMPLEMENTATION'; echo '#include "flow.h"'; } \
    >"$work/with.c"
for f in with without; do
    $1 -I. -E -dM "$work/$f.c" | sed 's/(.*//' | awk '{ print $2 }' |
        LC_ALL=C sort >"$work/$f.names"
done
! LC_ALL=C comm -23 "$work/with.names" "$work/without.names" | grep -vi '^flowi\{0,1\}_'
END
job "macros that flow.h leaves behind" "sh -e '$work/macros.sh' '$cc'"

run_jobs
count_up
