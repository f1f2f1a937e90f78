#!/usr/bin/env bash
# make test: every test, and then a table of what took how long, the longest first. Options go to cargo test.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

mkdir -p target
log=$(mktemp target/test.XXXXXX)
trap 'rm --force "$log"' EXIT
status=0
# Most of them wait for servers and clocks most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
cargo test --release --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

# Scripts say their own time ("wal.sh 15: 213 s"); of the other files the test harness says it.
echo
echo "what took how long (e2e.rs runs its scripts side by side):"
sed --quiet --regexp-extended \
  --expression='s/^ *Running (unittests )?([^ ]+).*/file \2/p' \
  --expression='s/^test result: .* finished in ([0-9.]+)s$/took \1/p' \
  --expression='s/^(.* )?([a-z0-9-]+\.sh [a-z0-9]*): ([0-9]+) s$/script \3 \2/p' \
  --expression='s/^ *Finished .* in (([0-9]+)m )?([0-9.]+)s$/built \2 \3/p' "$log" |
  awk '$1 == "file" { file = $2 }
    $1 == "took" && $2 >= 1 { printf "%7.0f s  %s\n", $2, file }
    $1 == "script" { printf "%7.0f s    %s %s\n", $2, $3, $4 }
    $1 == "built" { printf "%7.0f s  building\n", NF == 3 ? $2 * 60 + $3 : $2 }' | sort --numeric-sort --reverse
# What takes longer is not run here.
sed --quiet --regexp-extended 's/^test ([^ ]+) \.\.\. ignored(, (.*))?$/NOT run: \1 (\3)/p' "$log"
exit "$status"
