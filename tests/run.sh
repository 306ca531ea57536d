#!/bin/sh
# run.sh PROGRAM... - what make test runs: every test, even when one fails. A line for each, details
# of the failed ones, and the sum as the last line.
cd "$(dirname "$0")/.." || exit 1
. tests/jobs.sh

export TEST_DIR="$work"
for program in "$@"; do
    case $program in
    *.sh) ;;
    *) job "${program##*/}" "$program" ;;
    esac
done
must_count=yes
run_jobs say
must_count=

# The scripts use every core themselves, so they come one after the other.
for script in "$@"; do
    case $script in
    *.sh) job "${script##*/}" "$script"; run_jobs say ;;
    esac
done
count_up
