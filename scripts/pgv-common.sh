# Sourced by pgv's scripts: messages, and what they know of WAL; with it come options, configuration and lines.
# A script that sources it has read its own --help already, and knows where it lies: `here`.
# shellcheck shell=bash

set -euo pipefail
shopt -s inherit_errexit

export LC_ALL=C
umask 077
pgv_tool=${0##*/}
# Whoever calls a script may have variables of these names. `pgv_tells`: whether PGV_NOTIFY and PGV_PING_URL are told.
# `starter` and `lock_keeper_PID` are background processes that a script's end leaves alone.
pgv_quiet=no pgv_finished=no pgv_tells=yes starter='' lock_keeper_PID=''
library=${BASH_SOURCE[0]%/*}
# shellcheck source=scripts/pgv-lines.sh
source "$library/pgv-lines.sh"
# shellcheck source=scripts/pgv-options.sh
source "$library/pgv-options.sh"
# shellcheck source=scripts/pgv-config.sh
source "$library/pgv-config.sh"
# cron's PATH is short: the tools lie beside the scripts, or where make install puts them.
# Exported: a server that pg_ctlcluster starts has no PATH in its environment.
# runuser, with which root steps down, lies in sbin.
export PATH=${here:?}:$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
# Where only the tools of 0.1.0 lie beside the scripts, pgv-info has the verbs of those that came later.
pgv_env=(pgv-env) pgv_peek=(pgv-peek) pgv_merge=(pgv-merge)
# shellcheck disable=SC2034  # for the scripts
command -v pgv-merge >/dev/null || pgv_merge=(pgv-info merge)
command -v pgv-env >/dev/null || pgv_env=(pgv-info env)
command -v pgv-peek >/dev/null || pgv_peek=(pgv-info)

# Scripts use the descriptors below 10 for themselves, as for locks: whoever gave a passphrase on one of them gave it to all.
if [[ ${PGV_PASSPHRASE_FD:-} =~ ^[3-9]$ ]] && { true <&"$PGV_PASSPHRASE_FD"; } 2>/dev/null; then
  exec {pgv_passphrase}<&"$PGV_PASSPHRASE_FD" {PGV_PASSPHRASE_FD}<&-
  export PGV_PASSPHRASE_FD=$pgv_passphrase
fi

# systemd's journal takes a priority from the beginning of a line. JOURNAL_STREAM names it, for children whose stderr is
# another, too.
pgv_error='' pgv_warning='' pgv_info=''
if [ -n "${JOURNAL_STREAM:-}" ] && [ "$(stat --dereference --format=%d:%i /proc/self/fd/2)" = "$JOURNAL_STREAM" ]; then
  pgv_error='<3>' pgv_warning='<4>' pgv_info='<6>'
fi

say() {
  [ "$pgv_quiet" = yes ] || echo "$pgv_info$pgv_tool: $*" >&2
}

warn() {
  echo "$pgv_warning$pgv_tool: warning: $*" >&2
}

# Ends the script: its status, the error, and what to do about it.
die() { # STATUS MESSAGE [HINT…]
  local status=$1 hint
  echo "$pgv_error$pgv_tool: error: $2" >&2
  shift 2
  for hint in "$@"; do
    echo "$pgv_error$pgv_tool: hint: $hint" >&2
  done
  exit "$status"
}

# Runs CODE when the script ends, however it does, and no stage that it began runs any more; and then tells whoever wants
# to know: PGV_NOTIFY and PGV_PING_URL. CODE sees `pgv_status`, which is `killed` where a signal ended the script, and may
# end with another.
on_exit() { # CODE
  # shellcheck disable=SC2154  # set when the trap runs
  trap 'pgv_status=$?
    [ "$pgv_status" -ne 0 ] || [ "$pgv_finished" = yes ] || pgv_status=killed
    [ "$pgv_finished" = yes ] || end_stages
    tell_room "$pgv_status"
    ('"$1"') || { pgv_status=$?; tell_outcome "$pgv_status"; exit "$pgv_status"; }
    tell_outcome "$pgv_status"' EXIT
}

# A tool that found no room for a temporary file may have said so, but not where: the place was the script's choice.
tell_room() { # STATUS
  [ "$1" = 1 ] && [ -n "$tmp" ] && [ -d "$tmp" ] || return 0
  { head --bytes=65536 /dev/zero >"$tmp/room"; } 2>/dev/null ||
    echo "$pgv_error$pgv_tool: hint: the disk of $tmp, the directory for temporary files, is full: make room there, or set PGV_STATE_DIR to a directory on another disk" >&2
}

# A signal ends bash, and not what it waits for: an upload would go on while the set that it belongs to is removed. After
# a minute it is not waited for any more.
end_stages() { # [PID of a subshell]
  local stages=() own=() stage try=0
  mapfile -d '' -t own <"/proc/$$/cmdline"
  find_stages "${1:-$$}"
  for stage in "${stages[@]}"; do
    kill -TERM "$stage" 2>/dev/null || true # it may have just ended
  done
  for stage in "${stages[@]}"; do
    while [ "$try" -lt 600 ] && kill -0 "$stage" 2>/dev/null; do
      sleep 0.1
      try=$((try + 1))
    done
  done
}

# Adds to `stages` what runs below a process of this script. Scripts end their own.
find_stages() { # PID
  local children=() child words name
  # The list ends without a newline; of what has just ended there is none.
  { read -r -a children <"/proc/$1/task/$1/children" || true; } 2>/dev/null # it may have ended
  for child in "${children[@]}"; do
    [[ " $starter $lock_keeper_PID " != *" $child "* ]] || continue
    stages+=("$child")
    { mapfile -d '' -t words <"/proc/$child/cmdline" && read -r name <"/proc/$child/comm"; } 2>/dev/null || continue
    # A subshell of this script, and a tool that runs the stage before it.
    [[ ${words[*]} != "${own[*]}" && ! $name =~ ^pgv-(apply|crypt|env|info|merge|peek|s3)$ ]] || find_stages "$child"
  done
}

# The end of a script that came to its end: a signal leaves a status of 0, too.
finish() { # STATUS
  pgv_finished=yes
  exit "$1"
}

# In bounded time; that nobody could be told is no failure of what was done.
tell_outcome() { # STATUS
  local command status=${1/killed/143}
  [ "$pgv_tells" = yes ] || return 0
  if [ -n "${PGV_NOTIFY:-}" ]; then
    read -r -a command <<<"$PGV_NOTIFY"
    timeout --kill-after=5 30 "${command[@]}" "$pgv_tool" "${PGV_CLUSTER:-}" "$status" </dev/null >&2 9>&- ||
      warn "PGV_NOTIFY: ${command[0]} exited with $?"
  fi
  if [ -n "${PGV_PING_URL:-}" ]; then
    # Whoever knows the URL can tell lies: it is for no list of processes.
    curl --silent --show-error --fail --max-time 30 --output /dev/null --config - 9>&- <<<"url = \"${PGV_PING_URL%/}/$status\"" ||
      warn "PGV_PING_URL: curl exited with $?"
  fi
}

# Somebody looks on: it is drawn on one line how far a work of hours is. The terminal may be another user's, and cannot be
# opened then, only inherited.
is_watched() {
  [ "$pgv_quiet" = no ] && [ -t 2 ]
}

# How much is done of how much, how fast, and how long the rest takes at that rate; nothing more to say is a blank line.
# The cursor goes back to where the line begins, so an error is written over it.
tell_progress() { # [WHAT DONE TOTAL BEGAN]
  local spent
  is_watched || return 0
  if [ $# -eq 0 ]; then
    printf '\e[K' >&2
    return
  fi
  spent=$((SECONDS - $4))
  [ "$spent" -gt 0 ] && [ "$2" -gt 0 ] || return 0
  printf '%s: %s of %s, %s/s, %ss left\e[K\r' "$1" "$2" "$3" $(($2 / spent)) $((($3 - $2) * spent / $2)) >&2
}

# "1.5 GiB".
size() { # BYTES
  numfmt --to=iec-i --suffix=B --format=%.1f -- "$1" | sed 's/\.0B$/ B/; s/[A-Z]i/ &/'
}

# The system identifier of the cluster in a data directory.
data_system_identifier() { # DIR
  local text
  local -A control=()
  text=$("${pgv_peek[@]}" control "$1") || die 1 "cannot read the data directory $1"
  read_lines control <<<"$text"
  echo "${control[system_identifier]}"
}
