# Sourced, after pgv-common.sh, by the scripts that start a restored server: its programs, and how far its recovery is. That
# is learnt from the control file, postmaster.pid, and by SQL, never from a log's words, which have many languages and forms.
# They set `directory`, absolute; `owner`; `start_command`; `directory_log`, where it logs at first; and `home`, the options of
# pgv-info prepare that say where its configuration lies.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts

# A recovery that does not move for so long is given up, and so often is its state told, seconds.
stall_limit=3600 tell_every=30
home=() starter=''
# shellcheck source=scripts/pgv-handing-on.sh
source "$library/pgv-handing-on.sh"

as_owner() {
  if [ "$EUID" -eq 0 ]; then
    runuser --user "$owner" -- "$@"
  else
    "$@"
  fi
}

# Without what the configuration holds (keys, the repository's credentials), and without the original's address.
# `environment`: the names of before the configuration was read.
as_server() (
  for variable in "${!PG@}" "${!AWS_@}"; do
    [[ $variable =~ ^(PGV|AWS)_ && " $environment " == *" $variable "* ]] || unset "$variable"
  done
  "$@"
)

# Sets `programs` to the directory of the server's programs of a major, or to nothing.
find_programs() { # MAJOR
  local candidate
  for candidate in ${PGV_TEST_PG_BIN:+"$PGV_TEST_PG_BIN"} "/usr/lib/postgresql/$1/bin" "/usr/pgsql-$1/bin" \
    "$(dirname "$(command -v pg_ctl || echo /nowhere/pg_ctl)")"; do
    if [ -x "$candidate/pg_ctl" ] && [[ $("$candidate/pg_ctl" --version) =~ \ ([0-9]+) ]] && [ "${BASH_REMATCH[1]}" = "$1" ]; then
      programs=$candidate
      return
    fi
  done
  programs=
}

# Sets `postmaster` to lines of postmaster.pid: process, directory, start, port, socket directory, address, key, status. After
# a crash that process may be any other; a server's working directory is its data directory. One that does not let us see
# counts as a server.
server_runs() {
  local text place
  text=$(as_owner cat "$directory/postmaster.pid" 2>/dev/null) || text='' # of one that has just ended there is none
  mapfile -t postmaster <<<"$text"
  [[ ${postmaster[0]} =~ ^[0-9]+$ ]] && [ -d "/proc/${postmaster[0]}" ] || return
  place=/proc/${postmaster[0]}/cwd
  [ ! -e "$place/." ] || [ "$place" -ef "$directory" ]
}

control() { # KEY
  local lines
  local -A values=()
  lines=$(as_owner "${pgv_peek[@]}" control "$directory") || return
  read_lines values <<<"$lines"
  echo "${values[$1]}"
}

# Asks the restored server, as the configuration's user or as the owner.
ask_server() ( # SQL
  local host
  server_runs || return 1
  host=${postmaster[4]:-}
  [ -n "$host" ] || host=${postmaster[5]/\*/localhost}
  unset PGSERVICE PGHOSTADDR PGOPTIONS PGSSLMODE
  export PGCONNECT_TIMEOUT=5 PGDATABASE=${PGDATABASE:-postgres}
  as_owner env ${PGUSER:+"PGUSER=$PGUSER"} psql --no-psqlrc --no-password --quiet --tuples-only --no-align --host="$host" --port="${postmaster[3]}" --command="$1" 2>"$tmp/asked"
)

# Whether it stays at its target. Where nobody may log in, whether its startup process has done nothing for ten seconds.
server_pauses() {
  local paused
  if paused=$(ask_server 'select pg_is_in_recovery() and pg_is_wal_replay_paused()'); then
    [ "$paused" = t ]
    return
  fi
  [ $((SECONDS - moved_at)) -ge 10 ]
}

# Sets `pid` and `title` to those of a child of the server, or fails. Without procps, which not every host has.
find_child() { # WORD OF ITS TITLE
  local children=()
  # The list ends without a newline; what has ended has none.
  { read -r -a children <"/proc/${postmaster[0]}/task/${postmaster[0]}/children" || true; } 2>/dev/null # as said
  for pid in "${children[@]}"; do
    title=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || title=
    [[ $title != *$1* ]] || return 0
  done
  return 1
}

# Sets `moved_at` to when its recovery was last seen to move, and `replays` to the segment it is at.
look_at_recovery() {
  local pid title seen
  find_child startup || return 0
  [[ ! $title =~ [0-9A-F]{24} ]] || replays=${BASH_REMATCH[0]}
  # Whatever cannot be read now is read a second later.
  seen="$title $(cut --delimiter=' ' --fields=14-17 "/proc/$pid/stat" 2>/dev/null || true) $(control checkpoint || true)" # as said
  [ "$seen" = "${last_seen:-}" ] || moved_at=$SECONDS
  last_seen=$seen
}

# Raises what the replayed WAL showed to be set too low; fails if that is nothing.
raise_limits() {
  local raised
  raised=$(as_owner pgv-info prepare --raise "${home[@]}" "$directory") || return
  [ -n "$raised" ] || return
  say "recovery needs $(sed 's/^raised //; s/ / = /' <<<"$raised" | paste --serial --delimiters=, | sed 's/,/, /g'): raised in $directory/postgresql.auto.conf; starting the server again"
}

# Of this start: what is fatal, or else the last lines. All of it is in $tmp/log then.
tell_log() {
  local file lines=''
  # What cannot be read is left out: the reason was printed.
  { find_log && lines=$(as_owner tail --bytes=+"$((log_begins + 1))" "$directory_log" 2>/dev/null || true); } || true # as said
  for file in "${logs[@]}"; do
    lines+=$'\n'$(as_owner tail --lines=200 "$file" 2>/dev/null || true) # as said
  done
  echo "$lines" >"$tmp/log"
  { grep --extended-regexp 'FATAL|PANIC' <<<"$lines" || grep . <<<"$lines" || true; } | tail --lines=5 | cut --characters=1-400 >&2 # no lines, no failure
}

# Sets `logs` to where it logs: several forms, or its collector's files.
find_log() {
  local file listed
  logs=()
  listed=$(as_owner cat "$directory/current_logfiles" 2>/dev/null) || listed='' # absent without a collector
  while read -r _ file; do
    [ -n "$file" ] || continue
    [[ $file == /* ]] || file=$directory/$file
    logs+=("$file")
  done <<<"$listed"
  server_log=${logs[0]:-$directory_log}
}

# In the background: how it ends is seen by who watches, and pg_ctl says why it failed. Without the lock of the cluster,
# which the server would hold for as long as it runs.
begin_server() {
  log_begins=$(as_owner stat --format=%s "$directory_log" 2>/dev/null || echo 0)
  as_server "${start_command[@]}" >"$tmp/start" 2>&1 9>&- {run_lock}>&- &
  starter=$!
}

stop_server() {
  as_owner "$programs/pg_ctl" --pgdata="$directory" --mode=fast --silent --wait --timeout=600 stop
}

# Starts it and waits until it is where it was to go: `action`, which is follow for a replica. 0: it is there; 1: it ended, or
# does not go on. Called where `set -e` is off.
run_recovery() {
  local told=$SECONDS looked_at=$SECONDS
  moved_at=$SECONDS replays=
  begin_server
  while :; do
    if server_runs; then
      # "ready" takes connections, if only for reading; before that the state is of the original.
      if [[ ${postmaster[7]:-} == ready* ]]; then
        if [ "$action" = promote ] && [ "$(control state)" = 'in production' ]; then
          return 0
        elif [ "$action" = follow ]; then
          return 0
        elif [ "$action" = pause ] && server_pauses; then
          # It pauses, too, where its limits are too low.
          raise_limits || return 0
          stop_server || return 1
          begin_server
        fi
      fi
      if [ "$SECONDS" -gt "$looked_at" ]; then
        looked_at=$SECONDS
        look_at_recovery
        # Never stopped but where it pauses: just when it leaves recovery it would go on behind its target when it is started
        # again. Where it takes no connections yet, it ends by itself if its limits are too low.
        if [[ ${postmaster[7]:-} == ready* ]] && server_pauses && raise_limits; then
          stop_server || return 1
          begin_server
        fi
      fi
      if [ $((SECONDS - told)) -ge "$tell_every" ]; then
        told=$SECONDS
        say "waiting: the server is $(control state)${replays:+, at WAL segment $replays}; no progress for $((SECONDS - moved_at)) s"
      fi
      [ $((SECONDS - moved_at)) -lt "$stall_limit" ] || return 1
    elif ! kill -0 "$starter" 2>/dev/null; then
      server_runs && continue
      # Without hot_standby it shuts down where it was to pause.
      if [[ $action =~ ^(pause|shutdown)$ ]] && [ "$(control state)" = 'shut down in recovery' ]; then return 0; fi
      raise_limits || return 1
      begin_server
    fi
    sleep 0.2
  done
}
