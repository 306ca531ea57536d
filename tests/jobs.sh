# jobs.sh - sourced by the test scripts: commands that run side by side, one on each core, and are
# counted.
#
#   job TITLE COMMAND    queues a shell command (run with -e: the first failure ends it)
#   run_jobs [say]       runs the queue; prints what failed, and with "say" a line for each job
#   skip TEXT            says in a line what is left out, and why
#   count_up             prints the last line, "N passed, N failed", and exits with the verdict
#
# A command counts as one test, unless its own last line is "N passed, N failed": then those are
# added, and with must_count=yes a command without that line has failed. One that ends badly and
# admits no failure (a crash, a hang) counts as one failed.
# $work is a folder for everything; it is removed at the end.

work=$(mktemp -d "${TMPDIR:-/tmp}/flow.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cores=$(nproc 2>/dev/null || echo 2)
limit=$(command -v timeout >/dev/null 2>&1 && echo timeout 1800)
export work limit
queued=0 passed=0 failed=0 must_count=

job() {
    queued=$((queued + 1))
    printf '%s\n' "$1" >"$work/$queued.title"
    printf '%s\n' "$2" >"$work/$queued.job"
    echo "$queued" >>"$work/queue"
}

run_jobs() {
    [ -s "$work/queue" ] || return 0
    xargs -P "$cores" -n 1 sh -c '
        $limit sh -e "$work/$0.job" >"$work/$0.log" 2>&1 </dev/null
        echo $? >"$work/$0.status"' <"$work/queue"
    while read -r id; do
        status=$(cat "$work/$id.status")
        last=$(tail -n 1 "$work/$id.log")
        good=0 bad=0
        case $last in
        [0-9]*' passed, '[0-9]*' failed')
            good=${last%% *} bad=${last#*, } bad=${bad%% *}
            [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1 ;;
        *) if [ "$status" -eq 0 ] && [ -z "$must_count" ]; then good=1; else bad=1; fi ;;
        esac
        passed=$((passed + good)) failed=$((failed + bad))
        if [ "${1-}" = say ]; then
            printf '%-32s %d passed, %d failed\n' "$(cat "$work/$id.title")" "$good" "$bad"
        elif [ "$bad" -gt 0 ]; then
            printf 'FAILED: %s\n' "$(cat "$work/$id.title")"
        fi
        if [ "$bad" -gt 0 ]; then
            # Its own count is in the line above; everything else it said is here, indented.
            sed -e '/^[0-9]* passed, [0-9]* failed$/d' -e 's/^/    /' "$work/$id.log" | head -n 40
            [ "$status" -lt 2 ] || echo "    exit status $status"
        fi
    done <"$work/queue"
    : >"$work/queue"
}

skip() {
    echo "skipped: $1"
}

count_up() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}

have() {
    command -v "$1" >/dev/null 2>&1
}
