# Sourced by pgv-setup: the repository and its backups, tried with the new configuration before anything is changed.
# shellcheck shell=bash disable=SC2016,SC2034,SC2154  # pgv-setup and its steps share what they set; $PGV_REPO is of another shell

# Sets `limit` to what stands before a command that asks the service: a dead one is given up after seconds, unless something
# else is configured.
bound_service() {
  limit=()
  [ -n "${PGV_S3_TIMEOUT:-}$(configured PGV_S3_TIMEOUT)" ] || limit=(env PGV_S3_TIMEOUT=10s)
}

# A command with the environment of the new configuration.
with_trial() { # COMMAND…
  bound_service
  as_owner "${limit[@]}" "${pgv_env[@]}" --config "$trial" "$cluster" "$@"
}

# A directory that the owner can neither use nor make. It is not made here: the disk that is to hold it may not be mounted.
look_at_directory() {
  local place=${repository#file://}
  [[ $repository == file://* ]] && [ "$restore_only" = no ] || return 0
  while [ "$place" != / ] && ! as_owner test -e "$place"; do place=$(dirname -- "$place"); done
  ! { as_owner test -w "$place" && as_owner test -x "$place"; } || return 0
  [ "$place" = "${repository#file://}" ] ||
    die 1 "user $owner cannot create the repository: it may not write to $place" 'the configuration was not changed' \
      "as root: install --directory --owner=$owner --mode=0700 ${repository#file://}" "then: $again"
  die 1 "user $owner may not write to the repository $place" 'the configuration was not changed' \
    "as root, if it holds nothing but backups: chown --recursive $owner $place" "then: $again"
}

# Every operation that backups need. With --dry-run and --restore-only nothing is stored, not even a probe.
try_repository() {
  local tried status=0
  look_at_directory
  if [ "$dry_run$restore_only" != nono ]; then
    say "listing $repository/; nothing is stored there$([ "$dry_run" = no ] || echo ', and storing is not tested')"
    with_trial sh -c 'exec pgv-s3 --quiet ls "$PGV_REPO/"' >/dev/null || refuse_repository $?
    return
  fi
  say "testing the repository $repository/"
  tried=$(with_trial sh -c 'exec pgv-s3 check "$PGV_REPO/$PGV_CLUSTER/"') || status=$?
  [ -z "$tried" ] || echo "$tried" >&2
  if [ "$status" -eq 7 ] && ! grep '^BAD' <<<"$tried" | grep --quiet --invert-match '^BAD  rm: '; then
    [ -n "$(configured PGV_EXPIRE)" ] || settings+=(PGV_EXPIRE=no)
    todo+=('run pgv-expire on another host, with credentials that may delete')
    return
  fi
  [ "$status" -eq 0 ] || refuse_repository "$status"
}

refuse_repository() { # STATUS
  die "${1/#7/1}" "the repository $repository/ cannot be used: see above" 'the configuration was not changed' "then: $again"
}

# Sets `newest` to the URL of the newest backup of this cluster, or to nothing, `newest_wal` to its last segment, and `others` to system identifiers of
# other clusters under this name. What cannot be listed is not empty.
list_backups() {
  local trees sets text status=0 own='' state system url wal
  local -A control=()
  newest='' newest_wal='' others=''
  trees=$(with_trial sh -c 'exec pgv-s3 --quiet ls "$PGV_REPO/$PGV_CLUSTER/"') || refuse_repository $?
  [ -n "$trees" ] || return 0
  sets=$(with_trial sh -c 'exec pgv-info sets "$PGV_CLUSTER" --repo "$PGV_REPO"') || status=$?
  [[ $status =~ ^[03]$ ]] || die "$status" "the backups below $repository/ cannot be listed: see above" "then: $again"
  if [ "$restore_only" = no ]; then
    own=$(configured PGV_SYSTEM_ID)
    if [ -z "$own" ]; then
      text=$("${pgv_peek[@]}" control "$pgdata") || die 1 "cannot read the data directory $pgdata" "then: $again"
      read_lines control <<<"$text"
      own=${control[system_identifier]}
    fi
  fi
  # Oldest first.
  while read -r state system _ _ _ _ _ _ wal _ url; do
    if [ "$state" = complete ] && [ "${own:-$system}" = "$system" ]; then
      newest=$url newest_wal=$wal
    elif [ "$state" = complete ] && [[ " $others " != *" $system "* ]]; then
      others+=${others:+ }$system
    fi
  done <<<"$sets"
  # A name that has backups of another cluster would mix strangers.
  [ -z "$others" ] || [ -n "$(configured PGV_SYSTEM_ID)" ] ||
    die 2 "the repository has backups of another cluster under the name $cluster (system identifier $others; this one is $own)" \
      "give this one another name: add PGV_CLUSTER=name to $file" "or, if it was restored or upgraded and continues those backups, add PGV_SYSTEM_ID=$own"
}

# RESTORE-1.txt lies in every repository. Where it does not, the path may be wrong.
look_for_mark() {
  local status=0 said
  [ -z "$newest" ] || return 0
  said=$(with_trial sh -c 'exec pgv-s3 --quiet stat "$PGV_REPO/RESTORE-1.txt"' 2>&1 >/dev/null) || status=$?
  case $status in
    0)
      [ "$restore_only" = no ] || die 3 "$repository/ is a repository, but has no backup of $cluster" \
        "it has backups of: $(with_trial sh -c 'exec pgv-s3 --quiet ls "$PGV_REPO/"' | sed --quiet 's:.*/\([^/]*\)/$:\1:p' | paste --serial --delimiters=' ')"
      say "$repository/ exists, and has no backup of $cluster yet"
      ;;
    3)
      [ "$restore_only" = no ] || die 3 "no repository at $repository/: it has no RESTORE-1.txt, and no backup of $cluster" \
        'check the path, and that its file system is mounted'
      say "no repository at $repository/ yet: the first backup creates it; if one should exist, check the path"
      ;;
    *) echo "$said" >&2 && refuse_repository "$status" ;;
  esac
}

# The keys against the newest backup: what it sealed is opened, not only its name compared.
try_keys() {
  [ -n "$newest" ] || return 0
  # What they sealed this host need not open.
  [ "$has_recipients" = no ] || return 0
  if [ "$key_lost" = yes ]; then
    warn "--key-lost: not testing whether a key opens $newest"
    return
  fi
  [ -z "$new_key" ] ||
    die 4 "$repository/ has backups of $cluster, but the key $new_key does not exist" 'no key was created: a new key opens none of them' \
      "write the key from the recovery sheet into $new_key, then: $again" 'if it is lost for good: --key-lost'
  bound_service
  # Its rights are made right when nothing is refused: until then root hands the keys on that the owner cannot read.
  PGV_KEY_FILE=$key_file PGV_KEY_WORLD_READABLE=yes "${pgv_env[@]}" --step-down --owner-of "$trial" -- '' \
    "${limit[@]}" "${pgv_env[@]}" --config "$trial" "$cluster" \
    bash -c 'here=$1; source "$2/pgv-common.sh"; source "$2/pgv-keys.sh"; require_key "$3"' \
    pgv-setup "$here" "$library" "$newest" || die $? 'the configuration was not changed' "then: $again"
  say "the key opens the newest backup, ${newest##*/}"
}

# After a restore or a failover the next backup puts the history of the new timeline into the archive, if PostgreSQL did
# not, and from it on the new timeline can be restored whatever became of the older one.
take_first_backup() {
  local status=0 text what='the first backup'
  local -A control=()
  if [ -n "$newest" ]; then
    text=$("${pgv_peek[@]}" control "$pgdata") || die 1 "cannot read the data directory $pgdata" "then: $again"
    read_lines control <<<"$text"
    if ! [[ $newest_wal =~ ^[0-9A-F]{24}$ ]] || [ "${control[timeline]}" -le $((16#${newest_wal:0:8})) ]; then
      say "backup ${newest##*/} exists, so no backup is taken now"
      return
    fi
    what="a backup of timeline ${control[timeline]}, because the newest is of timeline $((16#${newest_wal:0:8}))"
  fi
  run "taking $what" as_owner pgv-backup "$cluster" --config "$file" || status=$?
  [[ $status =~ ^[07]$ ]] || die "$status" "${what%%,*} failed: see above" "to continue: $again"
  [ "$status" -eq 0 ] || todo+=("look at the findings of ${what%%,*}: pgv-info $cluster")
}
