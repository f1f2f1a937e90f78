# Sourced, after pgv-common.sh, by the scripts that make, read and remove a cluster's backup sets: its lock, scratch
# space, the sets, and where on this machine the original is. The WAL scripts run for every segment, and need none of it.
# shellcheck shell=bash disable=SC2154  # tmp is of make_run_directory

# Options of pgv-expire, which sets them after this; whoever calls a script may have variables of these names.
dry_run=no now=''

# One run per cluster. The descriptor is inherited by the tools, so the lock lasts as long as any.
take_lock() { # [WAIT SECONDS]
  mkdir --parents "$PGV_STATE_DIR/tmp" "$PGV_STATE_DIR/manifest" ||
    die 2 "cannot create PGV_STATE_DIR $PGV_STATE_DIR" "as root: install --directory --owner=postgres --mode=0700 $PGV_STATE_DIR"
  exec 9>>"$PGV_STATE_DIR/lock"
  flock --timeout "${1:-0}" 9 ||
    die 75 "another pgv run holds the lock of cluster $PGV_CLUSTER ($PGV_STATE_DIR/lock)" 'wait for it: --wait 1h'
}

# A scratch directory that goes when the script ends, and those that killed runs left.
make_tmp() {
  make_run_directory
  # Workers come and go meanwhile; what this misses goes the next time.
  [ ! -d "$PGV_STATE_DIR/spool" ] ||
    find "$PGV_STATE_DIR/spool" -ignore_readdir_race -mindepth 2 -mmin +60 \( -path '*/in/*' -o -path '*/sealed/*' \) \
      -prune -exec rm --recursive --force {} + 2>/dev/null || true # as said above
  on_exit drop_tmp
}

# Removes what `pgv-info prune` with these options says may go, and then the WAL that no backup needs any more: that
# also if no set goes, because an earlier run may have been interrupted between the two.
expire_sets() { # OPTION OF PRUNE…
  local url
  pgv-info prune "$PGV_CLUSTER" --repo "$PGV_REPO" --format url "$@" >"$tmp/doomed"
  # What is built on a backup goes before it: newest first.
  tac "$tmp/doomed" >"$tmp/newest-first"
  while read -r url; do
    if [ "$dry_run" = yes ]; then
      echo "${url##*/}"
      continue
    fi
    remove_set "$url" || die $? "could not remove $url" 'run it again: it goes on where it stopped'
    rm --force "$PGV_STATE_DIR/manifest/${url##*/}"
    say "removed ${url##*/}"
  done <"$tmp/newest-first"
  [ "$dry_run" = no ] || return 0
  remove_wal
  # In a directory: what killed writers had not given its name.
  [[ $PGV_REPO != file://* ]] ||
    pgv-s3 --quiet rm --uploads --older-than 2d "$PGV_REPO/$PGV_CLUSTER/${PGV_SYSTEM_ID:+$PGV_SYSTEM_ID/}"
}

# Nothing goes while it is not known what every backup needs.
remove_wal() {
  local status=0
  pgv-info wal "$PGV_CLUSTER" --repo "$PGV_REPO" --unneeded ${now:+--now "$now"} >"$tmp/unneeded" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 7 ] || exit "$status"
  [ -s "$tmp/unneeded" ] || return 0
  pgv-s3 --quiet rm - <"$tmp/unneeded" || die $? 'could not remove all WAL that no backup needs' 'run it again: it goes on where it stopped'
  say "removed $(wc --lines <"$tmp/unneeded") WAL files that no backup needs"
}

# The record first, so that an interruption leaves no backup that looks whole; the claim last, because it tells who
# left the rest. Called where `set -e` is off.
remove_set() { # URL
  local status=0
  # An earlier run may have removed it.
  pgv-s3 --quiet rm "$1/record.json" 2>"$tmp/said" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || { cat "$tmp/said" >&2 && return "$status"; }
  pgv-s3 --quiet ls --recursive "$1/" >"$tmp/objects" || return
  status=0
  grep --invert-match '/claim\.json$' "$tmp/objects" >"$tmp/contents" || status=$?
  case $status in
    0) pgv-s3 --quiet rm - <"$tmp/contents" || return ;;
    1) ;;
    *) return 1 ;;
  esac
  # In a directory: what a killed writer had not given its name yet.
  [[ $1 != file://* ]] || pgv-s3 --quiet rm --uploads "$1/" || return
  pgv-s3 --quiet rm --recursive "$1/"
}

# Sets `original` to a data directory of that cluster on this machine, or to what may be one and cannot be looked at, and
# `original_runs`. Empty: there is none below what this machine can tell.
# shellcheck disable=SC2034  # for the caller
find_original() { # SYSTEM-IDENTIFIER [EXCEPT BELOW DIRECTORY]
  local process place comm directory listed=''
  original='' original_runs=no
  for process in /proc/[0-9]*; do
    place=$process/cwd
    if [ -e "$place/global/pg_control" ]; then
      directory=$(readlink "$place" || true) # the process may have ended
      [[ $directory/ != "${2:-/nowhere}"/* ]] || continue
      ! may_be "$place" "$1" || { original=$directory original_runs=yes && return; }
    elif [ ! -O "$process" ] && [ ! -e "$place/." ] && read -r comm 2>/dev/null <"$process/comm" && [[ $comm =~ ^post(gres|master)$ ]]; then
      original="that of process ${process#/proc/}, which this user may not look at" original_runs=yes
      return
    fi
  done
  if command -v pg_lsclusters >/dev/null; then
    listed=$(pg_lsclusters --no-header) || die 1 'pg_lsclusters cannot list the clusters of this machine: one may be the original' 'nothing was written'
    listed=$(awk '{ print $6 }' <<<"$listed")
  fi
  while read -r directory; do
    if [ -n "$directory" ] && may_be "$directory" "$1"; then
      original=$directory
      return
    fi
  done <<<"${PGV_PGDATA:-}"$'\n'"$listed"
}

# Whether a directory holds that cluster, or does not let us see.
may_be() { # DIR SYSTEM-IDENTIFIER
  local found
  if [ ! -e "$1/global/pg_control" ]; then
    [ -d "$1" ] && [ ! -x "$1" ]
    return
  fi
  found=$(data_system_identifier "$1" 2>/dev/null) || found=$2
  [ "$found" = "$2" ]
}
