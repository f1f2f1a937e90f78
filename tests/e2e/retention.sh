#!/usr/bin/env bash
# Retention by the lines of README.md, as they stand there, over a repository of five months: weekly fulls, and an
# increment on every other day. The sets are small files; which of them are there is all that counts.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
id=7711175703245852542

add_set() { # LABEL
  local directory=$scratch/repository/15-main/$id/backup/$1 full=${1%%_*} type=full parent=null at=${1##*_}
  [ "$1" = "$full" ] || type=incr parent="\"${previous:?}\""
  at=${at:0:4}-${at:4:2}-${at:6:2}T${at:9:2}:${at:11:2}
  mkdir --parents "$directory"
  echo '{}' >"$directory/claim.json"
  echo data >"$directory/data.pgv"
  cat >"$directory/record.json" <<JSON
{"format":"pgv-record/1","label":"$1","type":"$type","mode":null,"parent":$parent,"cluster":"15-main",
 "system_identifier":"$id","pg_version":"15.18","host":"h","started_at":"$at:00Z","stopped_at":"$at:59Z",
 "start_lsn":"0/28","stop_lsn":"0/100","timeline":1,"wal_first":"000000010000000000000001",
 "wal_last":"000000010000000000000001","wal_included":true,"tablespaces":[],"database_bytes":1000,"stream_bytes":1000,
 "objects":[{"name":"data.pgv","bytes":5,"sha256":"00"}],"files":{"total":1,"whole":1,"blocks":0,"same":0,"removed":0},
 "blocks":{"read":0,"sent":0},"findings":{"bad_pages":0,"links":0},"key_name":null,"annotations":{},"tool_version":"0.1.0"}
JSON
  previous=$1
}

# 150 days, of which the last is yesterday.
fill_repository() {
  local day full label
  rm --recursive --force "$scratch/repository" "$scratch/state"
  for day in $(seq 150 -1 1); do
    label=$(date --utc --date="$day days ago" +%Y%m%d)-010000
    if [ $((day % 7)) -eq 3 ] || [ "$day" -eq 150 ]; then
      full=${label}F
      add_set "$full"
    else
      add_set "${full}_${label}I"
    fi
  done
}

labels() {
  pgv-info --format label
}

# The line, after which exactly these are there.
type_line() { # NAME WANTED
  bash -o pipefail -c "$(readme_block "$1")" >"$scratch/out" 2>"$scratch/err" || fail "the line \"$1\" exits with $?: $(cat "$scratch/err")"
  [ "$(labels)" = "$2" ] || fail "\"$1\" leaves what is marked >: $(diff <(echo "$2") <(labels))"
  # Nothing to remove is no error either.
  bash -o pipefail -c "$(readme_block "$1")" >"$scratch/out" 2>"$scratch/err" || fail "the line \"$1\" again exits with $?: $(cat "$scratch/err")"
  [ "$(labels)" = "$2" ] || fail "\"$1\" again leaves other sets"
}

# Of the labels, those of the given fulls.
of_fulls() { # FULLS
  awk 'NR == FNR { kept[$1]; next } { full = $1; sub(/_.*/, "", full) } full in kept' <(echo "$1") <(labels)
}

begin
# All of it is the caller's, who may be root: there is nobody to step down to.
export PGV_STAYS_ROOT=yes
cp "$root"/scripts/pgv-* "$scratch/bin/"
mkdir "$scratch/etc"
(umask 077 && printf 'PGV_REPO=file://%s/repository\nPGV_STATE_DIR=%s/state\n' "$scratch" "$scratch" >"$scratch/etc/15-main.conf")
export PGV_CONFIG_DIR=$scratch/etc

fill_repository
fulls=$(labels | grep --invert-match _)
[ "$(wc --lines <<<"$fulls")" -eq 22 ] || fail "not 22 fulls: $fulls"
type_line keep-7 "$(of_fulls "$(tail --lines=7 <<<"$fulls")")"

fill_repository
# By another way than the line's: the least label of each month.
firsts=$(for month in $(head --lines=-7 <<<"$fulls" | cut --characters=1-6 | sort --unique); do grep --max-count=1 "^$month" <<<"$fulls"; done)
[ "$(wc --lines <<<"$firsts")" -ge 4 ] || fail "too few months: $firsts"
type_line monthly "$(of_fulls "$(sort --unique <(echo "$firsts") <(tail --lines=7 <<<"$fulls"))")"

fill_repository
day=$(date --utc --date='30 days ago' +%Y%m%d)
type_line increments "$(labels | while read -r label; do
  if [[ $label == *F || $label > $day ]]; then echo "$label"; fi
done)"
[ "$(labels | grep --count _)" -ge 20 ] || fail "young increments went: $(labels)"
[ "$(labels | grep --count --invert-match _)" -eq 22 ] || fail "fulls went: $(labels)"
echo "retention: README's lines leave what they say"
