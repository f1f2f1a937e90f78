# Sourced by pgv-verify: what a restore of one backup would give, read as one stream.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317,SC2329  # what is set here is for the script, and its own is used

take_merged() { # KEY VALUE
  case $1 in
    backup) chain+=("$2") ;;
    key_name) key_names+=("$2") ;;
    *) way[$1]=$2 ;;
  esac
}

# All that a restore reads, in the order in which it reads; nothing is written. Ends the script.
check_merged() {
  local chain=() key_names=() records=() opened=() open=() jobs try status=0 number began=$EPOCHSECONDS why url gone
  local -A way=()
  text=$(pgv-info recovery "$PGV_CLUSTER" --repo "$PGV_REPO" --immediate ${label:+--label "$label"}) ||
    die $? "there is no backup of $PGV_CLUSTER to check" 'nothing was verified'
  each_line take_merged <<<"$text"
  open_data_keys "$tmp/opened" "${way[system_identifier]}" "${key_names[@]}"
  look_at_key_age "${chain[0]}"
  for number in "${!chain[@]}"; do
    pgv-s3 --quiet get --whole "${chain[number]}/record.json" >"$tmp/records/$number" || die $? "${chain[number]}/record.json cannot be read" 'nothing was verified'
    records+=(--record "$tmp/records/$number")
  done
  jobs=(--jobs "${way[link_jobs]}")
  if [ -n "${PGV_KEY_FILE:-}" ]; then
    opened=(--open "${jobs[@]}")
  else
    open=(pgv-crypt --quiet --decrypt "${jobs[@]}" --)
  fi
  # What is bad is bad twice: a fault on the way is not the backup's.
  for try in once twice; do
    status=0
    pgv-apply --quiet "${drawn[@]}" --expected-size "${way[merged_bytes]}" --check-only --expect "${way[label]}" --record "$tmp/records/$number" --merge "${opened[@]}" -- \
      --quiet "${records[@]}" "${chain[@]/%//data.pgv}" -- "${open[@]}" pgv-s3 --quiet get "${jobs[@]}" 2>"$tmp/said" || status=$?
    [[ $status =~ ^[35]$ ]] || break
  done
  case $status in
    0)
      ok "${way[label]}: a restore would give what its manifest says (${#chain[@]} merged, $((EPOCHSECONDS - began)) s)"
      finish 0
      ;;
    [35])
      # What expiry removed while it was read is no backup any more.
      for url in "${chain[@]}"; do
        gone=0
        pgv-s3 --quiet stat "$url/record.json" >/dev/null 2>&1 || gone=$?
        [ "$gone" -ne 3 ] || die 75 "backup ${url##*/} was removed during the run" 'nothing was verified; the same command checks the newest that is left'
        [ "$gone" -eq 0 ] || die "$gone" "could not find out whether ${url##*/} still exists" 'nothing was verified'
      done
      why=$(grep --max-count=1 ': error: ' "$tmp/said") || why=": error: pgv-apply ended with $status"
      echo "BAD  ${way[label]}: ${why#*: error: }"
      finish 7
      ;;
    *) cat "$tmp/said" >&2 && die "$status" "${way[label]} could not be read" 'nothing was verified' ;;
  esac
}
