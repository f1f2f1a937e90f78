# Sourced, after pgv-common.sh, by the scripts that make, read and remove a cluster's backup sets: its lock, scratch
# space, and the sets. The WAL scripts run for every segment, and need none of it.
# shellcheck shell=bash disable=SC2154  # tmp is of make_run_directory

# An option of pgv-expire, which sets it after this; whoever calls a script may have a variable of this name.
dry_run=no

# One run per cluster, or for each other lock. The descriptor is inherited by the tools, so the lock lasts as long as any.
take_lock() { # [WAIT SECONDS] [LOCK FILE]
  local lock=${2:-$PGV_STATE_DIR/lock}
  mkdir --parents "$PGV_STATE_DIR/tmp" "$PGV_STATE_DIR/manifest" "${lock%/*}" ||
    die 2 "cannot create PGV_STATE_DIR $PGV_STATE_DIR" "as root: install --directory --owner=postgres --mode=0700 $PGV_STATE_DIR"
  exec 9>>"$lock"
  flock --timeout "${1:-0}" 9 ||
    die 75 "another pgv run holds the lock of cluster $PGV_CLUSTER ($lock)" 'wait for it: --wait 1h'
}

# As take_lock. For root what is there is made and opened by the owner, who goes on with it: a process of the owner's holds
# the lock until nobody has descriptor 9, its standard input, any more.
take_lock_for() { # OWNER
  local answers keeper status=0
  [ "$EUID" -eq 0 ] || { take_lock 0 && return; }
  # shellcheck disable=SC2016  # of those shells
  coproc lock_keeper {
    exec runuser --user "$1" -- sh -c 'mkdir -m 0700 -p "$1" "$1/tmp" "$1/manifest" && : >>"$1/lock" &&
      exec flock --nonblock --conflict-exit-code 75 "$1/lock" sh -c "trap \"\" INT TERM HUP; echo locked; exec cat >/dev/null"' sh "$PGV_STATE_DIR"
  }
  # Opened again: a copy of the coprocess's descriptor would not be inherited by the tools.
  exec 9>"/proc/$$/fd/${lock_keeper[1]}" {answers}<&"${lock_keeper[0]}"
  keeper=$lock_keeper_PID
  ! read -r <&"$answers" || return 0
  wait "$keeper" || status=$?
  [ "$status" -ne 75 ] || die 75 "another pgv run holds the lock of cluster $PGV_CLUSTER ($PGV_STATE_DIR/lock)" 'nothing was written'
  die 2 "user $1 cannot write to PGV_STATE_DIR $PGV_STATE_DIR" 'nothing was written' \
    "as root: install --directory --owner=$1 --mode=0700 $PGV_STATE_DIR"
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
  local urls=() url status=0
  [ "$dry_run" = yes ] || set -- --unneeded-wal "$tmp/unneeded" --unneeded-keys "$tmp/unneeded-keys" "$@"
  pgv-info prune "$PGV_CLUSTER" --repo "$PGV_REPO" --format url "$@" >"$tmp/doomed"
  # What is built on a backup goes before it: newest first.
  tac "$tmp/doomed" >"$tmp/newest-first"
  mapfile -t urls <"$tmp/newest-first"
  if [ "$dry_run" = yes ]; then
    [ "${#urls[@]}" -eq 0 ] || printf '%s\n' "${urls[@]##*/}"
    return 0
  fi
  if [ "${#urls[@]}" -gt 0 ]; then
    # Of what may go nothing builds on these; were they needed after all, they would be fetched.
    rm --force "${urls[@]/#*\//$PGV_STATE_DIR/manifest/}"
    remove_sets "${urls[@]}" >"$tmp/removed" || status=$?
    while read -r url; do url=${url%/} && say "removed ${url##*/}"; done <"$tmp/removed"
    [ "$status" -eq 0 ] || die "$status" 'could not remove all backups that may go' 'give the same command again: it continues where it stopped'
  fi
  remove_wal
  remove_keys
  # In a directory: what killed writers had not given its name.
  [[ $PGV_REPO != file://* ]] ||
    pgv-s3 --quiet rm --uploads --older-than 2d "$PGV_REPO/$PGV_CLUSTER/${PGV_SYSTEM_ID:+$PGV_SYSTEM_ID/}"
}

# What no backup needs that stays.
remove_wal() {
  [ -s "$tmp/unneeded" ] || return 0
  pgv-s3 --quiet rm --missing-ok - <"$tmp/unneeded" || die $? 'could not remove all WAL that no backup needs' 'give the same command again: it continues where it stopped'
  say "removed $(wc --lines <"$tmp/unneeded") WAL files that no backup needs"
}

# What only sealed what is gone: after that, and of each key what tells its age last.
remove_keys() {
  local list
  [ -s "$tmp/unneeded-keys" ] || return 0
  { grep '\.cms$' "$tmp/unneeded-keys" || [ $? -eq 1 ]; } >"$tmp/wrapped-keys" # of an interrupted expiry there may be none
  for list in "$tmp/wrapped-keys" "$tmp/unneeded-keys"; do
    # Whoever must not delete keys loses nothing by it.
    pgv-s3 --quiet rm --missing-ok - <"$list" || { warn 'could not remove all data keys that nothing needs: see above' && return; }
  done
  say "removed $(grep --count '\.json$' "$tmp/unneeded-keys") data keys that nothing needs"
}

# The record of each first, in this order, so that an interruption leaves no backup that looks whole; the claim last,
# because it tells who left the rest. Prints the URL of each that is gone, with a slash at its end.
remove_sets() { # URL…
  printf '%s/\n' "$@" | pgv-s3 --quiet rm --recursive --first record.json --last claim.json -
}

# What killed runs of this host left goes, by the lines of pgv-info next, unless another host expires.
sweep() { # FILE
  [ "${PGV_EXPIRE:-yes}" = no ] || each_line sweep_one <"$1"
}

# shellcheck disable=SC2317  # by each_line
sweep_one() { # KEY VALUE
  case $1 in
    leftover)
      say "removing what an interrupted run left of ${2##*/}"
      remove_sets "$2" >/dev/null || die $? "cannot remove $2" 'nothing was stored'
      ;;
    # These come after them.
    claim_file) rm --force "$2" ;;
  esac
}

# A backup that is not to be: what was stored of it goes, as far as our rights allow.
give_up_set() { # URL CLAIM-FILE
  if [ "${PGV_EXPIRE:-yes}" = no ]; then
    return 0
  elif remove_sets "$1" >/dev/null 2>"$tmp/unremoved"; then
    rm --force "$2"
  else
    warn "cannot remove the unfinished backup $1: $(head --lines=1 "$tmp/unremoved"); the next run tries again"
  fi
}

# What follows the stream, at once, because each waits for the repository only. A pipe that nobody uses: bash waits for all
# of it, also when it is told to end. The status is the manifest's.
store_rest() {
  store_manifest | store_index | leave_note
}

store_manifest() {
  pgv-s3 "${talk[@]}" put --json "$url/manifest.pgv" -- \
    pgv-crypt "${talk[@]}" --encrypt "${seal[@]}" --context "$system_identifier/backup/$label/manifest.pgv" "$tmp/manifest" \
    >"$tmp/manifest.json"
}

# Where records and members of the stream lie: what pgv-files needs. Without it the backup is complete.
store_index() {
  local stages inside=(--inside "$base/" --remember "$PGV_STATE_DIR/seen-$system_identifier")
  set +e
  printf '%s\n' "$tmp/index" "$tmp/members" |
    pgv-crypt --quiet --encrypt --batch --context "$system_identifier/backup/$label/" --output "$tmp" 2>"$tmp/unindexed" |
    pgv-s3 --quiet put --batch "${inside[@]}" "$url/" >/dev/null 2>>"$tmp/unindexed"
  stages=${PIPESTATUS[*]}
  set -e
  [ "$stages" = '0 0 0' ] || warn "backup $label has no index, and pgv-files cannot extract from it: $(head --lines=1 "$tmp/unindexed")"
}

# How to restore without pgv, for whoever finds the bucket. 6: it is there.
leave_note() {
  pgv-s3 --quiet put "$PGV_REPO/RESTORE-1.txt" -- pgv-info note 2>"$tmp/unnoted" || [ $? -eq 6 ] ||
    warn "cannot store $PGV_REPO/RESTORE-1.txt: $(head --lines=1 "$tmp/unnoted")"
}
