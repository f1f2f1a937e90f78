# Sourced by pgv-verify: records of a backup that are chosen at random. Its words and counts are the script's.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317,SC2329  # what is set here is for the script, and its own is used

# Whether a sample is wanted, and the backup has an index that opens, without which all of it must be read: no index is a
# loss of ranges, and not of the backup.
has_index() { # PATH
  local status=0 whys=()
  [ -n "$sample" ] || return
  pgv-s3 --quiet stat "$base/$1/index.pgv" >/dev/null || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || die "$status" "could not find out whether ${1##*/} has an index"
  [ "$status" -eq 0 ] || return "$status"
  judge_by "$1/index.pgv" pgv-crypt --quiet --decrypt --context "$1/index.pgv" --output "$tmp/index" -- \
    pgv-s3 --quiet get --whole "$base/$1/index.pgv"
  [ "${#whys[@]}" -eq 0 ] || { warn "${1##*/}: ${whys[0]}; there is no sample of it" && return 3; }
}

# Opens the manifest, and so many of the records of the data. Nothing is known of the others: only what is bad is a verdict.
check_sample() { # the columns of check_backup
  local label=$2 path=$1/backup/$2 whys=() began=$EPOCHSECONDS
  check_manifest "$path" "$7"
  [ "${#whys[@]}" -gt 0 ] ||
    judge_by "$path/data.pgv" pgv-crypt --quiet --decrypt --index "$tmp/index" --sample "$sample" --output - -- \
      pgv-s3 --quiet get --ranges - "$base/$path/data.pgv" >/dev/null
  : >"$tmp/findings"
  if tell_whys "$path"; then
    [ ! -s "$tmp/findings" ] || store_verdict verify "$path" "$began" "$5"
  else
    ok "$label: $sample % of its records open, chosen at random (of $(size "$5"), $((EPOCHSECONDS - began)) s)"
  fi
}

# A backup that is not in the sample, unless a part of it can be read.
check_unchosen() { # the columns of check_backup
  if has_index "$1/backup/$2"; then check_sample "$@"; fi
}
