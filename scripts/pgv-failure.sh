# Sourced, after pgv-common.sh and pgv-way.sh, by the scripts that start a restored server: why a recovery failed.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts

# What the script has to add.
but=()

# Sets `seen` to what a server's logs tell of a recovery that failed. What this machine lacks is not about the backup.
look_at_logs() { # FILE…
  local text
  declare -gA seen=()
  text=$("${pgv_peek[@]}" log "$@") || exit $?
  read_lines seen <<<"$text"
  [ -z "${seen[lacking]:-}" ] || die 1 "${seen[lacking]}" "${seen[advice]}" "${but[@]}"
}

# Nor is an archive that does not answer. What was read may be wrong: a hole, or a file that is damaged.
refuse_unread_archive() {
  local status=0 wanted=${seen[unfetched]:-}
  [ "${way[archive]}" = yes ] || return 0
  pgv-s3 --quiet ls "$PGV_REPO/$PGV_CLUSTER/$system_id/wal/" >/dev/null ||
    die $? 'the archive cannot be listed, and the server did not reach its target' "${but[@]}"
  [ -n "$wanted" ] || return 0
  open_wal "$wanted" "$tmp/unfetched" || status=$?
  case $status in
    5) ;;
    0 | 3) die 75 "recovery could not fetch $wanted" "${seen[fatal]}" "${but[@]}" ;;
    *) die "$status" "WAL file $wanted cannot be read" "${but[@]}" ;;
  esac
}
