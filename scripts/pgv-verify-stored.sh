# Sourced by pgv-verify: what is stored, without a key that opens it. It finds loss and bit rot, and no forgery. And what
# is lost with a data key.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317,SC2329,SC2086  # what is set here is for the script, and its own is used

# Adds to `whys` what is wrong with an object, twice: a fault on the way is not the object's.
compare_stored() { # PATH SHA256
  local try status=0 why
  for try in once twice; do
    status=0
    pgv-s3 --quiet get --sha256="$2" "$base/$1" 2>"$tmp/said" >/dev/null || status=$?
    [[ $status =~ ^[35]$ ]] || break
  done
  case $status in
    0) ;;
    [35])
      why=$(grep --max-count=1 ': error: ' "$tmp/said") || why=": error: pgv-s3 ended with $status"
      whys+=("${1##*/}: ${why#*: error: }")
      ;;
    *)
      cat "$tmp/said" >&2
      die "$status" "${1##*/} could not be read" 'the results so far are printed'
      ;;
  esac
}

compare_backup() { # SYSTEM-IDENTIFIER LABEL PARENT STREAM-BYTES STORED-BYTES DATA-SHA256 MANIFEST-SHA256
  local whys=() why began=$EPOCHSECONDS status=0
  compare_stored "$1/backup/$2/data.pgv" "$6"
  compare_stored "$1/backup/$2/manifest.pgv" "$7"
  [ -z "${orphans[$2]:-}" ] || whys+=("it builds on ${orphans[$2]}, which does not exist or is not complete")
  if [ "${#whys[@]}" -eq 0 ]; then
    ok "$2: stored as its record says ($(size "$5"), $((EPOCHSECONDS - began)) s)"
    return
  fi
  pgv-s3 --quiet stat "$base/$1/backup/$2/record.json" >/dev/null || status=$?
  [ "$status" -ne 3 ] || { say "$2 was removed during the run" && return; }
  for why in "${whys[@]}"; do bad "$2: " "$why"; done
}

# All that can be said without a key. Ends the script.
check_stored() {
  local columns
  : >"$tmp/findings"
  for columns in "${backups[@]}"; do compare_backup $columns; done
  for columns in "${archives[@]}"; do
    pgv-info wal "$PGV_CLUSTER" --system-id "${columns% *}" --format lines | each_line take_check
  done
  say 'nothing was opened, and no verdict was stored'
  finish "$found"
}

settle_key() { # STATUS
  [ "$1" -ne 0 ] || key=right
  [ "$1" -ne 4 ] || key=${key:-wrong}
}

# Says of a backup that it cannot be opened because of a key that is not there, or cannot be used; fails if there is none.
# A verdict is only of what is lost for everybody.
check_lost() { # the columns of check_backup
  local fault='' whys=() path=$1/backup/$2
  if [ -n "${key_names[$2]:-}" ] && key_fault "${key_names[$2]}"; then
    [[ $fault != 1* ]] || die 1 "the data key ${key_names[$2]} cannot be read" 'the results so far are printed; no verdict was stored for this'
    settle_key 4
    # Of what another identity may open, or a host is not pinned here, nothing is known.
    if is_lost "$fault"; then
      whys=("the data key ${key_names[$2]} is lost: ${fault#* * }")
    else
      whys=("the data key ${key_names[$2]} was not opened: ${fault#* * }") unknown[$2]=yes
    fi
  elif [ -n "${lost[$3]:-}" ]; then
    whys=("it builds on $3, which cannot be opened")
    [ -z "${unknown[$3]:-}" ] || unknown[$2]=yes
  else
    return 1
  fi
  lost[$2]=yes
  : >"$tmp/findings"
  tell_whys "$path" && [ -s "$tmp/findings" ] && [ -z "${unknown[$2]:-}" ] || return 0
  store_verdict verify "$path" "$EPOCHSECONDS" "$5"
}
