#!/usr/bin/env bash
# The reader of "key value" lines.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"

seen=()
remember() { seen+=("$1=$2"); }

each_line remember <<'LINES'
backup s3://b/a one
backup s3://b/b
note a\\nb\tc\x1b\n x
blanks   two before and two after  
nothing 
bare
LINES
expect 'number of lines' 6 "${#seen[@]}"
expect 'a value with a blank' 'backup=s3://b/a one' "${seen[0]}"
expect 'a key again' 'backup=s3://b/b' "${seen[1]}"
expect 'escapes' $'note=a\\nb\tc\e\n x' "${seen[2]}"
expect 'blanks' 'blanks=  two before and two after  ' "${seen[3]}"
expect 'no value' 'nothing=' "${seen[4]}"
expect 'no blank' 'bare=' "${seen[5]}"

seen=()
each_line remember <<<''
expect 'no lines' 0 "${#seen[@]}"

declare -A facts=()
read_lines facts <<<$'label 20261123-010000F\nplace /srv/\\xff\nlabel later'
expect 'the last value of a key' later "${facts[label]}"
expect 'not UTF-8' $'/srv/\xff' "${facts[place]}"

for bad in 'Key value' 'a-b x' ' x' $'ok 1\n{"json":1}'; do
  expect_status 1 each_line remember <<<"$bad"
done
# A command's word in a value stays a value.
# shellcheck disable=SC2016
read_lines facts <<<'label $(touch /nowhere/x) `id` "'
# shellcheck disable=SC2016
expect 'nothing is evaluated' '$(touch /nowhere/x) `id` "' "${facts[label]}"
