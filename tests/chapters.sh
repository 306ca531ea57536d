#!/bin/sh
# chapters.sh [twice] - runs every chapter as a reader would, and as a clumsy reader would: with
# another seed, with wrong flags, into a folder that cannot be written. With "twice", as CI wants
# it: only that two runs write the same bytes.
cd "$(dirname "$0")/.." || exit 1
. tests/jobs.sh

programs=$(cd build/chapters 2>/dev/null && pwd)
export programs

# What the jobs call. Each works in a folder of its own and leaves out, err and dir behind.
cat >"$work/lib.sh" <<'END'
name=$1
dir="$work/$name $$"            # with a blank in it, as home folders have
mkdir "$dir"
run() { "$programs/$name" "$@" >"$dir/out" 2>"$dir/err"; }

# expect STATUS ARGUMENT... - this exit status, nothing but the table on stdout when it is 0, and
# otherwise one line on stderr.
expect() {
    wanted=$1
    shift
    status=0
    run "$@" || status=$?
    if [ "$status" -ne "$wanted" ]; then
        echo "$name $*: exit status $status, expected $wanted"
        grep FAIL "$dir/out" || cat "$dir/err"
        exit 1
    fi
    [ "$wanted" -eq 0 ] || return 0
    [ ! -s "$dir/err" ] || { echo "$name $*: stderr is not empty:"; cat "$dir/err"; exit 1; }
}
refuse() {
    wanted=$1
    shift
    expect "$wanted" "$@" --out "$dir/new"
    complains "$@"
    [ ! -e "$dir/new" ] || { echo "$name $*: wrote something all the same"; exit 1; }
}
complains() {
    [ "$(wc -l <"$dir/err")" -eq 1 ] || { echo "$name $*: not one line:"; cat "$dir/err"; exit 1; }
}
END

# try NAME WHAT COMMAND
try() {
    job "$1: $2" "set -- $1; . '$work/lib.sh'
$3"
}

for source in chapters/[0-9]*.c; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .c)
    [ -x "$programs/$name" ] || { job "$name" "echo 'it was not built'; exit 1"; continue; }

    # The long ones first, so that no core idles at the end.
    if [ "${1-}" = twice ]; then
        try "$name" "--quick, twice, the same bytes" '
            expect 0 --quick --out "$dir/one"
            expect 0 --quick --out "$dir/two"
            diff -r "$dir/one" "$dir/two" >"$dir/diff" || { head -n 4 "$dir/diff"; exit 1; }'
    else
        try "$name" "--quick --seed 2" '
            expect 0 --quick --seed 2 --out "$dir/new/deep"
            [ -s "$dir/new/deep/$name.dat" ]'
    fi
done
[ "${1-}" = twice ] && { run_jobs; count_up; }
for source in chapters/[0-9]*.c; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .c)
    [ -x "$programs/$name" ] || continue
    try "$name" "--help" 'expect 0 --help; grep -q -e "--seed" "$dir/out"'
    try "$name" "an unknown flag" 'refuse 2 --nonsense'
    try "$name" "a stray word" 'refuse 2 nonsense'
    for flag in --n --seed --out; do
        try "$name" "$flag without a value" "expect 2 --quick $flag; complains $flag"
    done
    for value in 0 -3 abc 1.5 99999999999999999999 "''"; do
        try "$name" "--n $value" "refuse 2 --n $value"
    done
    for value in x -1 18446744073709551616; do
        try "$name" "--seed $value" "refuse 2 --seed $value"
    done
    # Its own flags, as --help lists them: K is a whole number, X a real one.
    for flag in $("$programs/$name" --help | awk '/^  --/ && $2 ~ /^[KX]$/ { print $1 }'); do
        try "$name" "$flag abc" "refuse 2 $flag abc"
        try "$name" "$flag nan" "refuse 2 $flag nan"
    done
    # /dev/null is no folder, not even for the administrator.
    try "$name" "a folder that cannot be made" '
        expect 1 --quick --out /dev/null/x; complains'
    try "$name" "a folder that is a file" '
        echo precious >"$dir/file"
        expect 1 --quick --out "$dir/file"; complains
        [ "$(cat "$dir/file")" = precious ]'
done

run_jobs
count_up
