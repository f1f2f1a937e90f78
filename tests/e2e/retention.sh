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
  local directory=$scratch/repository/15-main/$id/backup/$1 full=${1%%_*} type=full mode=null parent=null at=${1##*_}
  [ "$1" = "$full" ] || type=incr mode='"blocks"' parent="\"${previous:?}\""
  at=${at:0:4}-${at:4:2}-${at:6:2}T${at:9:2}:${at:11:2}
  mkdir --parents "$directory"
  echo '{}' >"$directory/claim.json"
  echo data >"$directory/data.pgv"
  cat >"$directory/record.json" <<JSON
{"format":"pgv-record/1","label":"$1","type":"$type","mode":$mode,"parent":$parent,"cluster":"15-main",
 "system_identifier":"$id","pg_version":"15.18","host":"h","started_at":"$at:00Z","stopped_at":"$at:59Z",
 "start_lsn":"0/1000028","stop_lsn":"0/1000100","timeline":1,"wal_first":"000000010000000000000001",
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

# Rules and labels that would delete everything but the newest full.
expire() { # COMMAND…
  "$@" >"$scratch/out" 2>"$scratch/err" || fail "$* exits with $?: $(cat "$scratch/err")"
}

expect_failure() { # STATUS WORDS COMMAND…
  local status=0
  "${@:3}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$1" ] || fail "${*:3} exits with $status instead of $1: $(cat "$scratch/err")"
  grep --quiet -- "$2" "$scratch/err" || fail "${*:3} does not say \"$2\": $(cat "$scratch/err")"
}

# Of the third full and its chain, as the scripts are typed.
pins_and_notes() {
  local full incr newest before pins
  full=$(sed --quiet 3p <<<"$fulls")
  incr=$(labels | grep "^${full}_" | sed --quiet 2p)
  before=$(labels | grep "^$full" | head --lines=3)
  newest=$(tail --lines=1 <<<"$fulls")
  newest=$(labels | grep "^$newest")
  expire pgv-pin 15-main "$incr" --until '2126-01-01 00:00:00+00' --note "it's \"kept\" \\ for -x"
  expire pgv-annotate 15-main "$incr" reason='an audit' other=x "quote=\"\\\"'"
  expire pgv-annotate "$incr" other=
  # The lock is that of an expiry.
  exec 8>>"$scratch/state/lock"
  flock 8
  expect_failure 75 'holds the lock' pgv-pin 15-main "$full"
  exec 8>&-
  expect_failure 1 "pgv-pin 15-main $incr --remove" pgv-expire 15-main - <<<"$full"
  expect_failure 2 "labels come on stdin" pgv-expire 15-main "$full"
  expect_failure 2 "is not the label of a backup" pgv-annotate 15-main ticket=4711
  expect_failure 3 'no backup' pgv-pin 15-main 20200101-010000F
  expect_failure 2 'not in the future' pgv-pin 15-main "$full" --until '2020-01-01 00:00:00Z'
  expire pgv-expire 15-main --keep-full 1 --dry-run
  ! grep --line-regexp --fixed-strings "$before" "$scratch/out" || fail "a dry run deletes what is pinned"
  expire pgv-copy "file://$scratch/repository" "file://$scratch/copy"
  expire pgv-expire 15-main --keep-full 1
  [ "$(labels)" = "$before"$'\n'"$newest" ] || fail "with a pin there are: $(labels)"
  # In the copy it is pinned, too, and annotated.
  PGV_REPO=file://$scratch/copy PGV_STATE_DIR=$scratch/other expire pgv-expire 15-main --keep-full 1
  [ "$(PGV_REPO=file://$scratch/copy labels)" = "$before"$'\n'"$newest" ] || fail "in the copy there are: $(PGV_REPO=file://$scratch/copy labels)"
  PGV_REPO=file://$scratch/copy pgv-info 15-main --label "$incr" --format table | sed 1,3d >"$scratch/shown"
  cat >"$scratch/wanted" <<'TEXT'
pinned until 2126-01-01T00:00:00Z: it's "kept" \\ for -x
annotation quote="\\"'
annotation reason=an audit
TEXT
  diff "$scratch/wanted" "$scratch/shown" || fail "that is what the copy shows of $incr"
  # Unpinned, it goes; and so it does where that was copied to a backup that was there.
  expire pgv-pin 15-main "$incr" --remove
  pins=$(find "$scratch/copy" -name '*-pin.json' | wc --lines)
  expire pgv-copy "file://$scratch/repository" "file://$scratch/copy"
  [ "$(find "$scratch/copy" -name '*-pin.json' | wc --lines)" -eq $((pins + 1)) ] || fail "the removal of the pin was not copied"
  for repository in "$scratch/copy" "$scratch/repository"; do
    PGV_REPO=file://$repository expire pgv-expire 15-main --keep-full 1
    [ "$(PGV_REPO=file://$repository labels)" = "$newest" ] || fail "without a pin there are: $(PGV_REPO=file://$repository labels)"
  done
}

# Another host stores a pin under the same name, once.
pin_twice() { # LABEL
  mkdir "$scratch/twice"
  cat >"$scratch/twice/pgv-s3" <<SH
#!/bin/sh
[ "\$2" != put ] || [ -e "$scratch/twice/put" ] || { echo "\$3" >"$scratch/twice/put" && exit 6; }
exec "$scratch/bin/pgv-s3" "\$@"
SH
  chmod +x "$scratch/twice/pgv-s3"
  cp "$scratch"/bin/pgv-{pin,*.sh} "$scratch/twice"
  expire "$scratch/twice/pgv-pin" 15-main "$1"
  [ -s "$scratch/twice/put" ] || fail "nothing was in the way"
  [[ $(pgv-info --json --label "$1") == *'"pinned":true'* ]] || fail "$1 is not pinned"
  expire pgv-pin 15-main "$1" --remove
}

# It is deleted by an expiry on another host, between the listing and the storing of the pin.
pin_too_late() { # LABEL
  local url
  url=$(pgv-info --format url --label "$1")
  mkdir "$scratch/late"
  cat >"$scratch/late/pgv-s3" <<SH
#!/bin/sh
[ "\$2" != put ] || rm "${url#file://}/record.json"
exec "$scratch/bin/pgv-s3" "\$@"
SH
  chmod +x "$scratch/late/pgv-s3"
  # The scripts look for tools beside themselves first.
  cp "$scratch"/bin/pgv-{pin,*.sh} "$scratch/late"
  expect_failure 3 'was deleted meanwhile' "$scratch/late/pgv-pin" 15-main "$1"
  # What is left of it does not stay because of the pin.
  pgv-info prune --keep-last 1000 15-main >"$scratch/out"
  [ "$(cat "$scratch/out")" = "$1" ] || fail "after a pin that came too late there may go: $(cat "$scratch/out")"
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
fill_repository
fulls=$(labels | grep --invert-match _)
pins_and_notes
fill_repository
pin_twice "$(labels | head --lines=1)"
# The last of its chain: nothing is built on it.
pin_too_late "$(labels | grep --before-context=1 "F$" | grep _ | tail --lines=1)"
echo "retention: README's lines leave what they say, pins keep what they name"
