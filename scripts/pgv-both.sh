# Sourced by pgv-wal-push --also: pgv and another archiver under one archive_command. Each gets every file, whatever the
# other does, and PostgreSQL keeps a file until both have it.
# shellcheck shell=bash disable=SC2154  # what is set by pgv-wal-push and its library

# Both at once: neither waits for the other longer than PGV_WAL_TIMEOUT. As jobs, so that set -e counts in them.
push_both() {
  # shellcheck disable=SC2034  # ahead is of begin_ahead
  local name=${path##*/} text own=0 other=0 own_PID='' other_PID stored='' system_identifier='' ahead=no both='' limit
  [[ $also == *"$name"* ]] || die 2 "the command of --also does not name $name" 'PostgreSQL puts the path for %p, and the name for %f'
  text=$("${pgv_peek[@]}" push ${config:+--config "$config"} "$path") || own=$?
  if [ "$own" -eq 0 ]; then
    each_line take_answer <<<"$text"
    both=$PGV_STATE_DIR/spool/both
    [ -d "$both" ] || mkdir --parents "$both" || both=''
  fi
  # The other archives, too, where pgv cannot even read its configuration.
  limit=${wal_timeout_seconds:-60}
  push_other "$path" &
  other_PID=$!
  if [ "$own" -eq 0 ]; then
    push_own &
    own_PID=$!
    wait "$own_PID" || own=$?
  fi
  wait "$other_PID" || other=$?
  settle_both "$own" "$other"
}

# What one has while the other fails is noted, so that the calls to come do not send it again; and the one that works goes
# on with the files that wait after this one.
settle_both() { # STATUS STATUS-OF-THE-OTHER
  if [ "$1" -eq 0 ]; then
    [ "$2" -eq 0 ] || note own "$path" "$PGV_REPO/$PGV_CLUSTER"
    begin_ahead
  fi
  if [ "$1" -ne 0 ] && [ "$2" -eq 0 ]; then
    note other "$path" "$also"
    (other_ahead) </dev/null >/dev/null 2>&1 &
  fi
  if [ "$1" -ne 0 ] || [ "$2" -ne 0 ]; then
    [ "$1" -eq 0 ] || warn "$name is not in the repository of pgv: it stays in pg_wal"
    [ "$2" -eq 0 ] || warn "the command of --also exited with $2: $name stays in pg_wal"
    exit 1
  fi
  if [ -n "$both" ] && { [ -e "$both/$name.own" ] || [ -e "$both/$name.other" ]; }; then
    rm --force "$both/$name".{own,other}
  fi
}

push_own() {
  [ "$stored" = no ] && ! is_noted own "$path" "$PGV_REPO/$PGV_CLUSTER" || return 0
  begin_time 0
  store_wal "$path" "$name" "$system_identifier"
}

# The command as it was given, or as PostgreSQL would give it for another file: a name is nothing else than itself. Never
# twice at a time, and what it leaves in the background inherits no lock.
push_other() ( # PATH [keep]
  command=${also//"$name"/"${1##*/}"}
  # Without room for a lock it archives all the same.
  if [ -n "$both" ] && exec 8>>"$both/one"; then
    flock --timeout "$limit" 8 || die 75 "another command of --also still runs after ${limit}s"
  fi
  ! is_noted other "$1" "$command" || exit 0
  timeout --kill-after=5 "$limit" sh -c "$command" </dev/null 8>&- 9>&- || exit $?
  [ "${2:-}" != keep ] || note other "$1" "$command"
)

# The files that wait, by name, until one fails or PostgreSQL has done with them.
other_ahead() {
  local ready next
  [ -n "$both" ] || return 0
  exec 9>>"$both/lock"
  flock --nonblock 9 || return 0
  exec >"$both/log" 2>&1
  for ready in "${path%/*}"/archive_status/*.ready; do
    next=${ready##*/}
    next=${path%/*}/${next%.ready}
    if [ -e "$ready" ] && [ "$next" != "$path" ]; then
      push_other "$next" keep || return 1
    fi
  done
}

# A note holds for one file as it is, and for one place.
note() { # own|other PATH PLACE
  [ -z "$both" ] || note_of "$2" "$3" >"$both/${2##*/}.$1" || warn "cannot write to $both"
}

is_noted() { # own|other PATH PLACE
  local now
  [ -n "$both" ] && [ -e "$both/${2##*/}.$1" ] && now=$(note_of "$2" "$3") && [ "$now" = "$(<"$both/${2##*/}.$1")" ]
}

note_of() { # PATH PLACE
  stat --format='%d:%i %s %y %z' -- "$1" && printf '%s\n' "$2"
}
