# Sourced by pgv-common.sh: reads what a binary tells a script, which is "key value" lines (src/cli/lines.rs).
# Capture the text first, so that the binary's status counts:  text=$(pgv-info …) || exit $?; each_line take <<<"$text"
# shellcheck shell=bash

# Runs FUNCTION KEY VALUE for each line of stdin, in this shell, so that it may set variables. Keys may repeat.
each_line() { # FUNCTION
  local line_of_text line_key line_value
  while IFS= read -r line_of_text || [ -n "$line_of_text" ]; do
    # A here-string of nothing is one empty line.
    [ -n "$line_of_text" ] || continue
    line_key=${line_of_text%% *} line_value=
    [[ $line_of_text != *' '* ]] || line_value=${line_of_text#* }
    [[ $line_key != *[!a-z_]* && -n $line_key ]] || die 1 "internal error: a line of a pgv tool has no key: ${line_of_text@Q}"
    unescape "$line_value"
    "$1" "$line_key" "$unescaped"
  done
}

# Sets ARRAY, an associative array that the caller declared, to the values of the lines of stdin by their keys. Of a key
# that repeats the last value counts: use each_line for those.
read_lines() { # ARRAY
  local -n lines_target=$1
  each_line keep_line
}

# shellcheck disable=SC2034  # the caller's array
keep_line() { # KEY VALUE
  lines_target[$1]=$2
}

# Sets `unescaped` to the text of a value. No other escapes are written than \\, \n, \t and \xHH, and printf reads these.
unescape() { # VALUE
  unescaped=$1
  [[ $1 != *\\* ]] || printf -v unescaped %b "$1"
}
