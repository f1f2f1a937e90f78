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
export PATH=${here:?}:$PATH:/usr/local/bin
# Where only the tools of 0.1.0 lie beside the scripts, pgv-info has the verbs of the two that came later.
pgv_env=(pgv-env) pgv_peek=(pgv-peek)
command -v pgv-env >/dev/null || pgv_env=(pgv-info env)
command -v pgv-peek >/dev/null || pgv_peek=(pgv-info)

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

# Runs CODE when the script ends, however it does, and no stage that it began runs any more; and then tells whoever wants to know: PGV_NOTIFY and PGV_PING_URL. CODE
# sees `pgv_status`, which is `killed` where a signal ended the script, and may end with another.
on_exit() { # CODE
  # shellcheck disable=SC2154  # set when the trap runs
  trap 'pgv_status=$?
    [ "$pgv_status" -ne 0 ] || [ "$pgv_finished" = yes ] || pgv_status=killed
    [ "$pgv_finished" = yes ] || end_stages
    ('"$1"') || { pgv_status=$?; tell_outcome "$pgv_status"; exit "$pgv_status"; }
    tell_outcome "$pgv_status"' EXIT
}

# A signal ends bash, and not what it waits for: an upload would go on while the set that it belongs to is removed. After
# a minute it is not waited for any more.
end_stages() {
  local stages=() own=() stage try=0
  mapfile -d '' -t own <"/proc/$$/cmdline"
  find_stages $$
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
    [[ ${words[*]} != "${own[*]}" && ! $name =~ ^pgv-(s3|crypt)$ ]] || find_stages "$child"
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
      warn "PGV_NOTIFY: ${command[0]} exits with $?"
  fi
  if [ -n "${PGV_PING_URL:-}" ]; then
    # Whoever knows the URL can tell lies: it is for no list of processes.
    curl --silent --show-error --fail --max-time 30 --output /dev/null --config - 9>&- <<<"url = \"${PGV_PING_URL%/}/$status\"" ||
      warn "PGV_PING_URL: curl exits with $?"
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

# Options of a script that take a value: "--name VALUE" and "--name=VALUE" are the same.
need_value() { # OPTION COUNT
  [ "$2" -ge 2 ] || die 2 "$1 needs a value"
}

# Whether an archive may hold a file of that name.
is_wal_name() { # NAME
  [[ $1 =~ ^[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?$|^[0-9A-F]{8}\.history$ ]]
}

# How many segments a share of the spool may hold, or be fetching.
spool_segments() { # SEGMENT-BYTES ONE-OF-HOW-MANY
  local bytes=$((wal_spool_bytes / $2))
  echo $((bytes / $1 > 0 ? bytes / $1 : 1))
}

# PostgreSQL waits for a call about one WAL file, however long that takes: so it ends by itself, and all that it calls.
begin_time() {
  time_limit=$wal_timeout_seconds
  deadline=$((SECONDS + time_limit))
}

# Sets `time_left`, in seconds, and `bounded` to what stands before a command that may hang. In the foreground: it dies
# of the signals that end this script.
bound_time() {
  time_left=$((deadline - SECONDS))
  [ "$time_left" -gt 0 ] || die 75 "not done within ${time_limit}s" 'PGV_WAL_TIMEOUT is how long it may take'
  bounded=(timeout --foreground --kill-after=5s "$time_left")
}

# Nothing is archived into the empty directory on which the repository's disk is not mounted: where the tree was seen
# once, it must be. Sets `inside` to what makes sure of that when the object is stored.
refuse_unmounted() { # SYSTEM-IDENTIFIER
  local tree=${PGV_REPO#file://}/$PGV_CLUSTER/$1 seen=$PGV_STATE_DIR/seen-$1
  inside=()
  [[ $PGV_REPO == file://* ]] || return 0
  [ ! -d "$tree" ] || inside=(--inside "file://$tree/")
  [[ ! ( -e $seen && -d $tree ) ]] || return 0
  [ ! -e "$seen" ] ||
    die 1 "$tree was there, and is gone" "is the repository mounted? if it was moved away for good: rm $seen"
  [ -d "$tree" ] || return 0
  [ -d "$PGV_STATE_DIR" ] || mkdir --parents "$PGV_STATE_DIR" 2>/dev/null || true # warned of below
  { : >"$seen"; } 2>/dev/null ||
    warn "cannot write to PGV_STATE_DIR $PGV_STATE_DIR: a repository that is not mounted would not be noticed"
}

# Seals a WAL file and stores it, durably, under its name in the tree of a cluster. The same content again is
# success; other content is never overwritten. All within the time of begin_time.
store_wal() { # FILE NAME SYSTEM-IDENTIFIER
  local status=0 context=$3/wal/${2:0:8}/$2.pgv said url
  url=$PGV_REPO/$PGV_CLUSTER/$context
  refuse_unmounted "$3"
  bound_time
  said=$("${bounded[@]}" pgv-s3 --quiet put "${inside[@]}" "$url" -- \
    pgv-crypt --quiet --encrypt --wal --level "${PGV_LEVEL:-3}" --context "$context" "$1" 2>&1) || status=$?
  [ "$status" -eq 6 ] || [ -z "$said" ] || echo "$said" >&2
  case $status in
    0) return ;;
    6) compare_wal "$1" "$2" "$context" ;;
    124 | 137) die 1 "$2: not stored within ${time_limit}s" 'it is tried again' ;;
    *) die 1 "$2 was not stored" 'it is tried again' ;;
  esac
}

# What is stored must be what is here. Of a partial segment it is enough that one begins as the other: they are of one
# history, and a server that was promoted has all of it on its new timeline. What was received has no such second place.
compare_wal() { # FILE NAME CONTEXT
  local url=$PGV_REPO/$PGV_CLUSTER/$3 statuses compare=(cmp --silent - "$1") differs='0 0 1'
  bound_time
  [[ $2 != *.partial ]] || compare=("${pgv_peek[@]}" segment --beside - "$1") differs='0 0 6'
  set +e
  "${bounded[@]}" pgv-s3 --quiet get "$url" | "${bounded[@]}" pgv-crypt --quiet --decrypt --context "$3" | "${compare[@]}" >/dev/null
  statuses=${PIPESTATUS[*]}
  set -e
  # cmp reads no further than to the difference.
  case ${statuses//141/0} in
    '0 0 0') say "$2 was there already, with the same content" ;;
    '0 0 7')
      [ "${shorter_partial:-enough}" = enough ] ||
        die 1 "$url ends before what was received" "pgv-s3 rm $url removes it; then the same command stores all of it"
      say "$2 was there already, shorter, and of the same history: its timeline's successor has the rest"
      ;;
    *124* | *137*) die 1 "$2: not compared with what is stored within ${time_limit}s" 'it is tried again' ;;
    "$differs") die 1 "$url holds other content" 'nothing was overwritten; two clusters may be archiving under one name' ;;
    *) die 1 "$url is there, and cannot be opened" 'see the message above; it is tried again' ;;
  esac
}

# Of the cluster in a data directory: the first eight bytes of its control file.
data_system_identifier() { # DIR
  local text
  text=$(od --address-radix=n --format=u8 --read-bytes=8 "$1/global/pg_control") ||
    die 1 "$1 is no data directory"
  echo "${text// /}"
}
