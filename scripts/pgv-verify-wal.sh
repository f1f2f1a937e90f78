# Sourced by pgv-verify: the archived WAL. Its words and counts are the script's.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317,SC2329  # what is set here is for the script, and its own is used

# How the reading of one WAL file ended.
take_end() { # KEY VALUE
  local status=${2%% *} name=${2##*/}
  [[ $1 == ended ]] || { why=$2 reading=$1 && return; }
  settle_key "$status"
  count=$((count + 1))
  tell_progress 'WAL files' "$count" "$total" "$began"
  case $status in
    0) [ "$reading" != again ] || warn "${name%.pgv}: the first read failed, the second was good: $why" ;;
    3) say "${name%.pgv} was removed during the run" ;;
    *) bad '' "${name%.pgv}: $why" ;;
  esac
  reading=
}

check_wal() { # SYSTEM-IDENTIFIER NEWEST-LABEL
  local before=$found begun=$EPOCHSECONDS began=$SECONDS count=0 total reading='' why open=(pgv-crypt --quiet --decrypt --context '{1}')
  total=$(wc --lines <"$tmp/files-$1") found=0
  : >"$tmp/findings"
  # The first segment of a timeline is known by its history.
  "${pgv_env[@]}" --each 1 --accept 3,4,5 --twice -- "${open[@]}" --output "$tmp/histories/{2}" -- \
    pgv-s3 --quiet get --whole "$base/{1}" <"$tmp/histories-$1" >/dev/null
  "${pgv_env[@]}" --each "$wal_jobs" --accept 3,4,5 --twice -- "${pgv_peek[@]}" archived {} --histories "$tmp/histories" -- "${open[@]}" -- \
    pgv-s3 --quiet get --whole "$base/{}" <"$tmp/files-$1" | each_line take_end
  tell_progress
  compare_beside "$1"
  [ "$found" -ne 0 ] || ok "$total WAL files of $1 open, and match their names"
  pgv-info wal "$PGV_CLUSTER" --system-id "$1" --format lines | each_line take_check
  # Beside the newest backup, which says how much WAL there was. Some that are good do not take back what was found in all.
  [ "$2" = - ] || { [ -n "$sample" ] && [ "$found" -eq 0 ]; } ||
    store_verdict wal "$1/backup/$2" "$begun" 0
  [ "$found" -ne 0 ] || found=$before
}

# Of each segment that another host stored, too, whether both are the same; parts of one may differ in length. What does not
# open was found by itself.
compare_beside() { # SYSTEM-IDENTIFIER
  local path first status
  { grep --extended-regexp '/[0-9A-F]{24}\.[0-9a-f]{16}\.pgv$' "$tmp/files-$1" || [ $? -eq 1 ]; } >"$tmp/beside" # there may be none
  while read -r path; do
    first=${path%.*.pgv}.pgv status=0
    { open_to "$first" "$tmp/first" && open_to "$path" "$tmp/second"; } || status=$?
    [[ $status =~ ^[02345]$ ]] || die "$status" "${path##*/} could not be compared with ${first##*/}: $(head --lines=1 "$tmp/said")" 'the results so far are printed'
    [ "$status" -eq 0 ] || continue
    cmp --silent "$tmp/first" "$tmp/second" || status=$?
    [ "$status" -le 1 ] || die 1 "${path##*/} could not be compared with ${first##*/}" 'the results so far are printed'
    [ "$status" -eq 0 ] || bad '' "${first:(-28):24}: ${path##*/} has different content: two clusters may be archiving under one name"
  done <"$tmp/beside"
  rm --force "$tmp/first" "$tmp/second"
}

open_to() { # PATH FILE
  pgv-crypt --quiet --decrypt --context "$1" -- pgv-s3 --quiet get --whole "$base/$1" >"$2" 2>"$tmp/said"
}
