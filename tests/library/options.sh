#!/usr/bin/env bash
# The options of scripts.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"

usage() { echo 'the help'; }

# Prints what became of arguments.
parse() {
  local config='' max_age=26h quiet=no annotation=() cluster=''
  parse_options 'c|config=' 'max-age=' 'q|quiet' 'annotation+=' -- "$@"
  take_cluster
  echo "$cluster|$config|$max_age|$quiet|${annotation[*]}"
}

# The parser's own variables are not an option's.
parse_name() {
  local name=''
  parse_options name= -- "$@"
  echo "$name"
}

expect 'an option called --name' 'x y' "$(parse_name --name 'x y')"
expect 'nothing' '||26h|no|' "$(parse)"
expect 'both ways of a value' '15-main|/a b|1h|no|' "$(parse --config '/a b' 15-main --max-age=1h)"
expect 'short letters' '|x|26h|yes|' "$(parse -c x -q)"
expect 'repeated' '||26h|no|a=1 b=2=3' "$(parse --annotation a=1 --annotation=b=2=3)"
expect 'an empty value' '|||no|' "$(parse --max-age=)"
expect 'a value like an option' '|-q|26h|no|' "$(parse --config -q)"
expect 'after --' '-q||26h|no|' "$(parse -- -q)"
for arguments in --help -h 'x --help' '--quiet -h' '--max-age 1h --help'; do
  # shellcheck disable=SC2086  # words
  expect "help at $arguments" 'the help' "$(parse $arguments)"
done
expect_status 0 parse x --version
expect 'version' 'pgv' "${said%% *}"
for arguments in --unknown --quiet=yes --config 'one two' -x '--max-age'; do
  # shellcheck disable=SC2086  # words
  expect_status 2 parse $arguments
  expect "hint at $arguments" 'options.sh --help' "${said##*hint: }"
done
