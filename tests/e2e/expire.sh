#!/usr/bin/env bash
# pgv-expire killed before each command that it runs and before each object that it removes, and night after night of years whose clock is --now: what stays
# is what the rules say, every chain that is kept is whole, and so is the WAL since the oldest backup, or that of a
# window. The sets are small files; which of them are there is all that counts.
# shellcheck disable=SC2016  # the shims are shell, too
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
nights=${1:-200} every=${2:-20} wal_a_night=${3:-4}
id=7711175703245852542

segment() { # NUMBER
  printf -v name '00000001%08X%08X' $(($1 / 256)) $(($1 % 256))
}

add_set() { # LABEL FIRST-SEGMENT
  local directory=$tree/backup/$1 full=${1%%_*} type=full mode=null parent=null at=${1##*_} first name low
  [ "$1" = "$full" ] || type=incr mode='"blocks"' parent="\"${previous:?}\""
  at=${at:0:4}-${at:4:2}-${at:6:2}T${at:9:2}:${at:11:2}
  segment "$2"
  first=$name
  printf -v low '%X/%X' $(($2 / 256)) $(($2 % 256 * 16777216 + 40))
  mkdir --parents "$directory"
  echo '{}' >"$directory/claim.json"
  echo data >"$directory/data.pgv"
  cat >"$directory/record.json" <<JSON
{"format":"pgv-record/1","label":"$1","type":"$type","mode":$mode,"parent":$parent,"cluster":"demo",
 "system_identifier":"$id","pg_version":"15.18","host":"h","started_at":"$at:00Z","stopped_at":"$at:59Z",
 "start_lsn":"$low","stop_lsn":"${low%28}F0","timeline":1,"wal_first":"$first","wal_last":"$first","wal_included":true,
 "tablespaces":[],"database_bytes":1000,"stream_bytes":1000,"objects":[{"name":"data.pgv","bytes":5,"sha256":"00"}],
 "files":{"total":1,"whole":1,"blocks":0,"same":0,"removed":0},"blocks":{"read":0,"sent":0},
 "findings":{"bad_pages":0,"links":0},"key_name":null,"annotations":{},"tool_version":"0.1.0"}
JSON
  previous=$1
}

# A backup at one o'clock, a full one on every seventh night, and the WAL of that day.
add_night() { # NUMBER
  local label number name
  label=${days[$1]}-010000
  if [ $(($1 % 7)) -eq 0 ]; then
    full=${label}F
    label=$full
  else
    label=${full}_${label}I
  fi
  add_set "$label" $(($1 * wal_a_night))
  all+=("$label")
  for ((number = $1 * wal_a_night; number < ($1 + 1) * wal_a_night; number++)); do
    segment "$number"
    : >"$tree/wal/00000001/$name.pgv"
  done
}

begin_repository() {
  rm --recursive --force "$scratch/repository" "$scratch/state"
  mkdir --parents "$tree/wal/00000001"
  all=()
}

# Every listed backup has its data and its parent, and all WAL since the oldest is there.
check_whole() { # NIGHTS
  local number name oldest=''
  for record in "$tree"/backup/*/record.json; do
    read -r -d '' json <"$record" || true
    [ -s "${record%/*}/data.pgv" ] || fail "$when: $record has no data"
    [[ ! $json =~ \"parent\":\"([^\"]*)\" ]] || [ -e "$tree/backup/${BASH_REMATCH[1]}/record.json" ] || fail "$when: $record has no parent"
    [[ $json =~ \"wal_first\":\"([^\"]*)\" ]]
    [[ -n $oldest && $oldest < ${BASH_REMATCH[1]} ]] || oldest=${BASH_REMATCH[1]}
  done
  [ -n "$oldest" ] || fail "$when: no backup is left"
  for ((number = 16#${oldest:8:8} * 256 + 16#${oldest:16:8}; number < $1 * wal_a_night; number++)); do
    segment "$number"
    [ -e "$tree/wal/00000001/$name.pgv" ] || fail "$when: $name is needed and gone"
  done
  least=$oldest
}

# Before the N-th command all processes of the run are killed.
make_shims() {
  local command
  mkdir "$scratch/shim"
  for command in pgv-info pgv-s3 flock mkdir find mktemp rm tac grep wc readlink dirname cat date; do
    printf '#!/bin/sh\nread -r n <"$COUNT"\necho $((n + 1)) >"$COUNT"\n[ "$n" -lt "$KILL_AT" ] || kill -KILL 0\nexec %s "$@"\n' \
      "$(command -v "$command")" >"$scratch/shim/$command"
  done
  chmod 0755 "$scratch"/shim/*
}

# Before the N-th object of a backup goes all processes of the run are killed.
make_preload() {
  cc -shared -fPIC -o "$scratch/unlink.so" -x c - -ldl <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
int unlink(const char *path)
{
    static int count;
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    if (strstr(path, "/repository/") && strstr(path, "/backup/") && count++ == atoi(getenv("KILL_AT")))
        kill(0, SIGKILL);
    return real(path);
}
C
}

# What a run that was killed leaves, the next one finishes. Sets `at` to the number of the first that was not killed.
kill_at_each() { # NIGHTS KEEP-FULL ENVIRONMENT…
  local status now=${days[$1]:0:4}-${days[$1]:4:2}-${days[$1]:6:2}T02:00:00Z wanted
  local expire=(pgv-expire demo --quiet --keep-full "$2" --now "$now")
  begin_repository
  for ((night = 0; night < $1; night++)); do add_night "$night"; done
  # Left by a backup that was interrupted long ago.
  mkdir "$tree/backup/20200102-120000F"
  echo '{}' >"$tree/backup/20200102-120000F/claim.json"
  echo data >"$tree/backup/20200102-120000F/data.pgv"
  rm --recursive --force "$scratch/before"
  cp --archive "$scratch/repository" "$scratch/before"
  "${expire[@]}" || fail "an unkilled run exits with $?"
  wanted=$(cd "$scratch/repository" && find . | sort)
  for ((at = 0; ; at++)); do
    when="killed at ${*:3} $at"
    rm --recursive "$scratch/repository"
    cp --archive "$scratch/before" "$scratch/repository"
    echo 0 >"$scratch/count"
    status=0
    env COUNT="$scratch/count" KILL_AT=$at "${@:3}" setsid --wait "${expire[@]}" || status=$?
    check_whole "$1"
    [ "$status" -ne 0 ] || break
    [ "$status" -eq 137 ] || fail "$when: exits with $status"
    "${expire[@]}" 2>"$scratch/err" || fail "$when: the next exits with $?"
    [ ! -s "$scratch/err" ] || fail "$when: the next says $(cat "$scratch/err")"
    [ "$(cd "$scratch/repository" && find . | sort)" = "$wanted" ] || fail "$when: the next leaves $(cd "$scratch/repository" && find . | sort | diff <(echo "$wanted") -)"
  done
  left=$(grep --count record.json <<<"$wanted")
}

kills() {
  local at left
  kill_at_each 41 3 PATH="$scratch/shim:$PATH"
  [ "$left" -eq 20 ] || fail "$left instead of 20 of 41 are left"
  [ "$at" -ge 10 ] || fail "only $at commands"
  echo "expire: killed before each of $at commands, and finished by the next run"
  kill_at_each 16 1 LD_PRELOAD="$scratch/unlink.so"
  [ "$left" -eq 2 ] || fail "$left instead of 2 of 16 are left"
  # Three of each of fourteen sets, and of the remains, which have no record.
  [ "$at" -eq 45 ] || fail "$at instead of 45 objects"
  echo "expire: killed before each of $at objects, and finished by the next run"
}

# By another way than the program's: the four newest fulls with all that is built on them, and the newest of each of
# the last twelve months with what it is built on.
expected() {
  printf '%s\n' "${all[@]}" | awk '{ label[NR] = $1; full = $1; sub(/_.*/, "", full); of[NR] = full; if (full == $1) fulls[++count] = full
      at = $1; sub(/.*_/, "", at); month = substr(at, 1, 6); if (month != newest) { months++; newest = month } last[months] = NR }
    END { for (i = count - 3; i <= count; i++) kept[fulls[i]]
      for (m = months - 11; m <= months; m++) for (i = last[m]; i >= 1 && of[i] == of[last[m]]; i--) stays[i]
      for (i = 1; i <= NR; i++) if (i in stays || of[i] in kept) print label[i] }'
}

years() {
  local night now
  begin_repository
  for ((night = 0; night < nights; night++)); do
    add_night "$night"
    # Half of them are there before the first expiry.
    if [ "$night" -lt $((nights / 2)) ] || [ $((night % every)) -ne 0 ]; then continue; fi
    when="night $night"
    now=${days[night]:0:4}-${days[night]:4:2}-${days[night]:6:2}T02:00:00Z
    pgv-expire demo --quiet --keep-full 4 --keep-monthly 12 --now "$now" || fail "$when: exits with $?"
    pgv-info demo --format label >"$scratch/left"
    expected | diff - "$scratch/left" >"$scratch/diff" || fail "$when: other backups are left: $(cat "$scratch/diff")"
    check_whole $((night + 1))
    [ "$(find "$tree/wal" -name '*.pgv' -printf '%f\n' | sort | head --lines=1)" = "$least.pgv" ] || fail "$when: WAL before $least stays"
  done
  echo "expire: $nights nights, $((nights * wal_a_night)) WAL names, every rule kept"
}

# The same with WAL for every moment of 30 days: older backups keep what they need, and nothing else lies before.
windows() {
  local night now from number label
  begin_repository
  for ((night = 0; night < nights / 2; night++)); do
    add_night "$night"
    find "$tree/wal" -name '*.pgv' -newermt '1 day ago' -exec touch --date="${days[night]} 01:01 UTC" {} +
    if [ "$night" -lt 40 ] || [ $((night % every)) -ne 0 ]; then continue; fi
    when="night $night of the window"
    # The newest that an expiry before this one has left.
    for ((from = night - 30; from > 0; from--)); do [ ! -e "$tree/backup/${all[from]}/record.json" ] || break; done
    now=${days[night]:0:4}-${days[night]:4:2}-${days[night]:6:2}T02:00:00Z
    for _ in once again; do
      pgv-expire demo --quiet --keep-full 2 --keep-monthly 12 --keep-wal 30d --now "$now" || fail "$when: exits with $?"
      pgv-info demo --format label >"$scratch/left"
      grep --quiet --line-regexp --fixed-strings "${all[from]}" "$scratch/left" || fail "$when: ${all[from]}, with which it begins, went"
      {
        for ((number = from * wal_a_night; number < (night + 1) * wal_a_night; number++)); do segment "$number" && echo "$name"; done
        for label in "${!all[@]}"; do
          ! grep --quiet --line-regexp --fixed-strings "${all[label]}" "$scratch/left" || { segment $((label * wal_a_night)) && echo "$name"; }
        done
      } | sort --unique >"$scratch/wanted"
      find "$tree/wal" -name '*.pgv' -printf '%f\n' | sed 's/\.pgv$//' | sort | diff "$scratch/wanted" - >"$scratch/diff" || fail "$when: other WAL is left: $(cat "$scratch/diff")"
    done
    [ "$(head --lines=1 "$scratch/left")" != "${all[from]}" ] || fail "$when: no backup lies before the window"
    PGV_KEEP_WAL=30d pgv-info wal demo --now "$now" --format tsv >"$scratch/out" || fail "$when: pgv-info wal exits with $?: $(cat "$scratch/out")"
    grep --quiet '^point' "$scratch/out" || fail "$when: no point: $(cat "$scratch/out")"
  done
  echo "expire: $((nights / 2)) nights with a window of WAL, and nothing else before it"
}

begin
# All of it is the caller's, who may be root: there is nobody to step down to.
export PGV_STAYS_ROOT=yes
cp "$root"/scripts/pgv-* "$scratch/bin/"
mkdir "$scratch/etc"
(umask 077 && printf 'PGV_REPO=file://%s/repository\nPGV_STATE_DIR=%s/state\n' "$scratch" "$scratch" >"$scratch/etc/demo.conf")
export PGV_CONFIG_DIR=$scratch/etc
tree=$scratch/repository/demo/$id
mapfile -t days < <(for ((day = 0; day <= nights || day <= 41; day++)); do echo "2020-01-01 $day days"; done | date --utc --file=- +%Y%m%d)
make_shims
make_preload
kills
years
windows
