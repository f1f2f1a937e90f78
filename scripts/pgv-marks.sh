# Sourced, after pgv-common.sh, by the scripts that pin or annotate a backup: they store a small object beside it.
# shellcheck shell=bash disable=SC2034,SC2154  # cluster is for the scripts, tmp is of make_run_directory

# Stores what this verb of pgv-info makes of the newest mark, and looks whether the backup is still there. The
# caller holds the cluster's lock, so no other change of this host is lost.
store_mark() { # VERB OPTION…
  local text try status=0
  local -A mark=()
  for try in 1 2 3; do
    text=$(pgv-info "$1" "$PGV_CLUSTER" --repo "$PGV_REPO" "${@:2}") || die $? "nothing was stored for ${label:?}"
    read_lines mark <<<"$text"
    status=0
    put_mark "${mark[url]}" "${mark[content]}" || status=$?
    # Another host stored one under the same name.
    [ "$status" -eq 6 ] || break
    say "another $1 was stored in the same moment: trying again ($try of 3)"
  done
  [ "$status" -eq 0 ] || die "${status/#6/75}" "cannot store ${mark[url]}" 'pgv-info --json shows what was stored'
  pgv-s3 --quiet stat "${mark[record]}" >/dev/null 2>"$tmp/said" || status=$?
  [ "$status" -ne 3 ] || die 3 "backup $label was deleted meanwhile" 'an expiry had chosen it before; pgv-info lists the backups that exist'
  [ "$status" -eq 0 ] || { cat "$tmp/said" >&2 && die "$status" "stored, but cannot find out whether $label still exists"; }
}

put_mark() { # URL CONTENT
  printf '%s\n' "$2" >"$tmp/mark"
  pgv-s3 --quiet put "$1" "$tmp/mark"
}

# Of a backup that is being made: it is pinned before it exists.
store_first_pin() { # URL FILE
  local -A mark=()
  read_lines mark <"$2"
  put_mark "$1/${mark[name]}" "${mark[content]}" || die $? "cannot pin $1" 'no backup was recorded'
}

# A cluster, which may be left out, and a label, from the front of `arguments`: sets `cluster` and `label`.
take_label() {
  if [[ ${arguments[0]:-} =~ ^[0-9]{8}-[0-9]{6}F ]]; then
    label=${arguments[0]} arguments=("${arguments[@]:1}")
  else
    if ! [[ ${arguments[1]:-} =~ ^[0-9]{8}-[0-9]{6}F ]]; then
      [ "${#arguments[@]}" -lt 2 ] || die 2 "${arguments[1]@Q} is not the label of a backup" "$pgv_tool --help" 'pgv-info --format label lists the labels'
    fi
    [ "${#arguments[@]}" -ge 2 ] || die 2 'a cluster and a label are needed' "$pgv_tool --help" 'pgv-info --format label lists the labels'
    cluster=${arguments[0]} label=${arguments[1]} arguments=("${arguments[@]:2}")
  fi
}
