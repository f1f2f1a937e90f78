# Sourced, after pgv-common.sh, by the scripts that make, read and remove a cluster's backup sets: its lock, scratch
# space, the sets, and where on this machine the original is. The WAL scripts run for every segment, and need none of it.
# shellcheck shell=bash

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
  find "$PGV_STATE_DIR/tmp" -mindepth 1 -maxdepth 1 -exec rm --recursive --force {} +
  # Workers come and go meanwhile; what this misses goes the next time.
  [ ! -d "$PGV_STATE_DIR/spool" ] ||
    find "$PGV_STATE_DIR/spool" -ignore_readdir_race -mindepth 2 -mmin +60 \( -path '*/in/*' -o -path '*/sealed/*' \) \
      -prune -exec rm --recursive --force {} + 2>/dev/null || true
  tmp=$(mktemp --directory "$PGV_STATE_DIR/tmp/run.XXXXXX")
  trap 'rm --recursive --force "$tmp"' EXIT
}

# What is needed of a backup's sets, one line each: state, system identifier, label, URL, parent, mode; "-"
# for what there is not.
list_sets() {
  local line parent mode
  local pattern='"label":"([^"]*)".*"state":"([a-z]*)".*"system_identifier":"([0-9]*)".*"url":"([^"]*)"'
  pgv-info "$PGV_CLUSTER" --repo "$PGV_REPO" --format json >"$tmp/sets" || [ $? -eq 7 ] || return 1
  while IFS= read -r line; do
    [[ $line =~ $pattern ]] || die 1 'pgv-info printed what this script does not understand'
    line="${BASH_REMATCH[2]} ${BASH_REMATCH[3]} ${BASH_REMATCH[1]} ${BASH_REMATCH[4]}|$line"
    parent=- mode=-
    [[ $line =~ \"parent\":\"([^\"]*)\" ]] && parent=${BASH_REMATCH[1]}
    [[ $line =~ \"mode\":\"([a-z]*)\" ]] && mode=${BASH_REMATCH[1]}
    echo "${line%%|*} $parent $mode"
  done <"$tmp/sets"
}

# Removes sets: each record first, so that an interruption leaves no backup that looks whole, and what
# is built on a backup before the backup. The last complete one is never removed.
remove_sets() { # LABEL…
  local sets label doomed url kept newest
  sets=$(list_sets)
  if [ "$(cut --delimiter=' ' --fields=2 <<<"$sets" | sort --unique | wc --lines)" -gt 1 ]; then
    die 2 "$PGV_CLUSTER has backups of more than one system identifier" 'nothing was removed' \
      "set PGV_SYSTEM_ID to one of: $(cut --delimiter=' ' --fields=2 <<<"$sets" | sort --unique | tr '\n' ' ')"
  fi
  for label in "$@"; do
    [[ $label =~ ^[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?$ ]] || die 2 "\"$label\" is not a backup's label"
    grep --quiet --fixed-strings " $label " <<<"$sets" || die 3 "there is no backup $label of $PGV_CLUSTER" 'nothing was removed'
  done
  # Sets come oldest first, so a parent's fate is known before its children's. What an interrupted run
  # left tells its full only.
  doomed=$(awk -v given="$*" 'BEGIN { split(given, labels, " "); for (i in labels) doomed[labels[i]] }
    { full = $3; sub(/_.*/, "", full) }
    $3 in doomed || $5 in doomed || (full in doomed) { doomed[$3]; print $3, $4 }' <<<"$sets" | tac)
  newest=$(awk '$1 == "complete" && $3 !~ /_/ { print $3 }' <<<"$sets" | tail --lines=1)
  if [ -n "$newest" ] && grep --quiet "^$newest " <<<"$doomed" && [ "$(grep --count '^complete ' <<<"$sets")" -gt 1 ]; then
    die 1 "that would remove $newest, the newest full backup of $PGV_CLUSTER" 'nothing was removed; make a new full first, or remove it with pgv-s3 rm'
  fi
  kept=$(awk 'NR == FNR { doomed[$1]; next } $1 == "complete" && !($3 in doomed)' <(echo "$doomed") <(echo "$sets") | wc --lines)
  if [ "$kept" -eq 0 ] && grep --quiet ^complete <<<"$sets"; then
    die 1 "that would remove every complete backup of $PGV_CLUSTER" 'nothing was removed; make a new backup first, or remove them with pgv-s3 rm'
  fi
  while read -r label url; do
    if [ "${dry_run:-no}" = yes ]; then
      echo "$label"
      continue
    fi
    remove_set "$url" || die $? "could not remove $url" 'the same command goes on where it stopped'
    rm --force "$PGV_STATE_DIR/manifest/$label"
    say "removed $label"
  done <<<"$doomed"
  remove_wal "$(head --lines=1 <<<"$sets" | cut --delimiter=' ' --fields=2)"
}

# Removes the WAL that no backup needs any more: segments before the first that a complete one needs, on any
# timeline. Nothing goes while it is not known what every set needs, or while an older backup is running.
remove_wal() { # SYSTEM-IDENTIFIER
  local base=$PGV_REPO/$PGV_CLUSTER/$1 sets oldest_kept least doomed
  [ "${dry_run:-no}" = no ] || return 0
  sets=$(list_sets | awk -v id="$1" '$2 == id')
  if grep --quiet ^damaged <<<"$sets"; then
    warn 'no WAL is removed while a backup is damaged'
    return 0
  fi
  oldest_kept=$(awk '$1 == "complete" { print $3; exit }' <<<"$sets")
  [ -n "$oldest_kept" ] || return 0
  if awk '$1 == "incomplete" { found = 1 } $1 == "complete" { exit } END { exit !found }' <<<"$sets"; then
    warn "no WAL is removed while $(awk '{ print $3; exit }' <<<"$sets") is running, or was interrupted"
    return 0
  fi
  least=$(pgv-info "$PGV_CLUSTER" --repo "$PGV_REPO" --system-id "$1" --format tsv | cut --fields=13 | cut --characters=9-24 | sort | head --lines=1)
  [[ $least =~ ^[0-9A-F]{16}$ ]] || die 1 'pgv-info printed what this script does not understand'
  doomed=$(pgv-s3 --quiet ls --recursive "$base/wal/" |
    { grep --extended-regexp '/[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?\.pgv$' || [ $? -eq 1 ]; } |
    awk -v least="$least" '{ name = $0; sub(/.*\//, "", name); if (substr(name, 9, 16) "" < least "") print }')
  [ -n "$doomed" ] || return 0
  pgv-s3 --quiet rm - <<<"$doomed" || die $? "could not remove WAL below $base/wal/" 'the same command goes on where it stopped'
  say "removed $(wc --lines <<<"$doomed") WAL files that no backup needs"
}

remove_set() { # URL
  local status=0
  pgv-s3 --quiet rm "$1/record.json" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || return "$status"
  pgv-s3 --quiet rm --recursive "$1/"
}

# Sets `original` to a data directory of that cluster on this machine, or to what may be one and cannot be looked at, and
# `original_runs`. Empty: there is none below what this machine can tell.
# shellcheck disable=SC2034  # for the caller
find_original() { # SYSTEM-IDENTIFIER [EXCEPT BELOW DIRECTORY]
  local process place comm directory
  original='' original_runs=no
  for process in /proc/[0-9]*; do
    place=$process/cwd
    if [ -e "$place/global/pg_control" ]; then
      directory=$(readlink "$place" || true)
      [[ $directory/ != "${2:-/nowhere}"/* ]] || continue
      ! may_be "$place" "$1" || { original=$directory original_runs=yes && return; }
    elif [ ! -O "$process" ] && [ ! -e "$place/." ] && read -r comm 2>/dev/null <"$process/comm" && [[ $comm =~ ^post(gres|master)$ ]]; then
      original="that of process ${process#/proc/}, which this user may not look at" original_runs=yes
      return
    fi
  done
  while read -r directory; do
    if [ -n "$directory" ] && may_be "$directory" "$1"; then
      original=$directory
      return
    fi
  done < <(echo "${PGV_PGDATA:-}" && { ! command -v pg_lsclusters >/dev/null || pg_lsclusters --no-header | awk '{ print $6 }'; })
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
