#!/usr/bin/env bash
# Trust, but verify: pgv-verify finds every kind of damage that a disk, an operator or an attacker can do to a
# repository, and nothing where there is none; pgv-drill restores, starts and looks, and touches nothing of the original.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

expect() { # STATUS LINE COMMAND…
  local wanted=$1 line=$2 status=0
  shift 2
  as_postgres "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "$* exits with $status: $(cat "$scratch/out" "$scratch/err")"
  [ -z "$line" ] || grep --quiet --extended-regexp -- "$line" "$scratch/out" "$scratch/err" || fail "no \"$line\" from $*: $(cat "$scratch/out" "$scratch/err")"
}

verdicts() { # KIND: the newest backup's, as pgv-info tells it
  as_postgres pgv-info demo --format json | tail --lines=1 | grep --only-matching "{[^{}]*\"kind\":\"$1\"[^{}]*}"
}

all_is_good() {
  local before
  before=$(find "$scratch/repository" -type f | wc --lines)
  expect 0 "^ok   $full: every file matches its manifest" pgv-verify demo
  [ "$(grep --count '^ok   20' "$scratch/out")" -eq 2 ] || fail "not both backups: $(cat "$scratch/out")"
  grep --quiet '^ok   [0-9]* WAL files of ' "$scratch/out" || fail "no WAL: $(cat "$scratch/out")"
  grep --quiet '^ok   timeline 1: every moment from ' "$scratch/out" || fail "no window: $(cat "$scratch/out")"
  [ "$(find "$scratch/repository" -type f | wc --lines)" -eq $((before + 3)) ] || fail "not a verdict for each backup, and one for WAL"
  [[ $(verdicts wal) == *'"ok":true'* ]] || fail "the verdict on WAL: $(verdicts wal)"
  [[ $(verdicts verify) == *'"ok":true'* ]] || fail "the verdict: $(verdicts verify)"
  as_postgres pgv-info demo --format table | grep --quiet 'verify 20' || fail "the table has no verdict"
  as_postgres pgv-info demo --metrics | grep --quiet '^pgv_last_check_ok{.*kind="verify"} 1$' || fail "no metric"
  expect 0 '' pgv-verify demo --sample 1 --no-verdict
  [ "$(grep --count '^ok   20.*: 1 % of its records open' "$scratch/out")" -eq 2 ] || fail "a sample is not a part of both backups: $(cat "$scratch/out")"
  verdicts_before=$(find "$scratch/repository" -name '*-verify.json' | wc --lines)
  expect 0 '' pgv-verify demo --sample 50 --no-wal
  [ "$(find "$scratch/repository" -name '*-verify.json' | wc --lines)" -eq "$verdicts_before" ] || fail "a good sample is a verdict on all"
  mv "$scratch/repository/demo/$system/backup/$full/index.pgv" "$scratch/index"
  mv "$scratch/repository/demo/$system/backup/$incr/index.pgv" "$scratch/index-incr"
  expect 0 '' pgv-verify demo --sample 1 --no-verdict
  [ "$(grep --count '^ok   20' "$scratch/out")" -eq 1 ] || fail "without an index a sample is not one backup: $(cat "$scratch/out")"
  mv "$scratch/index" "$scratch/repository/demo/$system/backup/$full/index.pgv"
  mv "$scratch/index-incr" "$scratch/repository/demo/$system/backup/$incr/index.pgv"
  # One that does not open costs the sample, and condemns no backup.
  flip "$scratch/repository/demo/$system/backup/$full/index.pgv" 300
  expect 0 'index.pgv: .*; there is no sample of it' pgv-verify demo --sample 1 --no-verdict
  ! grep '^BAD' "$scratch/out" || fail 'a damaged index condemns a backup'
  flip "$scratch/repository/demo/$system/backup/$full/index.pgv" 300
  expect 0 '' pgv-verify demo --label "$incr" --no-verdict --quiet
  [ ! -s "$scratch/out" ] || fail "--quiet prints what is good"
  expect 2 '' pgv-verify demo --sample 0
  expect 2 '' pgv-verify demo --wal --no-wal
}

# Whoever wants to know is told how it ended: well, badly, not at all.
outcomes() {
  local server port='' pid child try
  printf '#!/bin/sh\necho "$@" >>"%s/told"\n' "$scratch" >"$scratch/bin/tell"
  chmod 0755 "$scratch/bin/tell"
  as_postgres touch "$scratch/told"
  python3 -c '
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open(sys.argv[1] + "/pinged", "a").write(self.path + "\n")
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
open(sys.argv[1] + "/port", "w").write(str(server.server_port) + "\n")
server.serve_forever()' "$scratch" 2>/dev/null &
  server=$!
  for try in $(seq 100); do
    [ ! -s "$scratch/port" ] || { port=$(cat "$scratch/port") && break; }
    sleep 0.1
  done
  [ -n "$port" ] || fail "no http server (looked $try times)"
  local tell=(env PGV_NOTIFY="$scratch/bin/tell now" PGV_PING_URL="http://127.0.0.1:$port/id/")
  expect 0 '' "${tell[@]}" pgv-verify demo --no-verdict --no-wal --label "$incr"
  expect 0 '' "${tell[@]}" pgv-expire demo --keep-full 10 --dry-run
  expect 75 '' "${tell[@]}" flock "$scratch/state/lock" pgv-backup demo
  expect 2 '' "${tell[@]}" pgv-drill demo --scratch "$(printf '/tmp/%0120d' 0)"
  as_postgres "${tell[@]}" flock "$scratch/state/lock" sh -c 'pgv-backup demo --wait 10min & echo $! >"$1"; wait' sh "$scratch/state/pid" 2>/dev/null &
  wait_until sh -c 'pgrep --parent "$(cat "$1")" --exact flock' sh "$scratch/state/pid"
  pid=$(cat "$scratch/state/pid") child=$(pgrep --parent "$pid" --exact flock)
  kill -TERM "$pid"
  # It inherited the lock that it waits for. The script may have ended it already.
  kill "$child" 2>/dev/null || true
  wait $! || true
  [ "$(cat "$scratch/told")" = "now pgv-verify demo 0
now pgv-expire demo 0
now pgv-backup demo 75
now pgv-drill demo 2
now pgv-backup demo 143" ] || fail "told: $(cat "$scratch/told")"
  [ "$(tr '\n' ' ' <"$scratch/pinged")" = '/id/0 /id/0 /id/75 /id/2 /id/143 ' ] || fail "pinged: $(cat "$scratch/pinged")"
  kill "$server"
  wait "$server" 2>/dev/null || true
  expect 0 'warning: PGV_NOTIFY: false exited with 1' env PGV_NOTIFY=false PGV_PING_URL="http://127.0.0.1:$port" pgv-verify demo --no-verdict --no-wal --label "$incr"
  grep --quiet 'warning: PGV_PING_URL: curl exited with' "$scratch/err" || fail "no warning: $(cat "$scratch/err")"
}

# On a terminal each work of hours says how far it is, how fast, and how long the rest will take; it is one voice. The
# terminal is another user's, as under sudo.
watched() { # LINE COMMAND
  TERM=xterm script --quiet --return --command "$(declare -f as_postgres); as_postgres $2" "$scratch/typed" >"$scratch/out" || fail "$2 exits with $?: $(cat "$scratch/typed")"
  tr '\r' '\n' <"$scratch/typed" >"$scratch/drawn"
  grep --quiet --extended-regexp -- "$1" "$scratch/drawn" || fail "on a terminal $2 says: $(cat -v "$scratch/drawn")"
}

progress() {
  local rate='[0-9.]+ [KMGT]?i?B of [0-9.]+ .iB \([0-9]+%\), [0-9.]+ .?i?B/s, [0-9]+[smhdw] left'
  watched "pgv-snap: $rate" 'pgv-backup demo --type full'
  ! grep --quiet put: "$scratch/drawn" || fail "two draw on one line: $(cat -v "$scratch/drawn")"
  as_postgres mkdir "$scratch/state/watched.spaces"
  watched "pgv-apply: $rate" "pgv-restore demo '$scratch/state/watched' --immediate --tablespaces-under '$scratch/state/watched.spaces'"
  watched "pgv-apply: $rate" 'pgv-verify demo --no-wal --no-verdict'
  watched "pgv-apply: $rate" 'pgv-drill demo --no-verdict'
  watched "put: $rate" "pgv-copy 'file://$scratch/repository' 'file://$scratch/state/watched.copy'"
  # Slow enough to be watched.
  mv "$scratch/bin/pgv-s3" "$scratch/state/quick"
  printf '#!/bin/sh\nsleep 0.5\nexec "%s" "$@"\n' "$scratch/state/quick" >"$scratch/bin/pgv-s3"
  chmod 0755 "$scratch/bin/pgv-s3"
  watched 'WAL files: [0-9]+ of [0-9]+, [0-9]+/s, [0-9]+s left' 'pgv-verify demo --wal --no-verdict'
  watched 'objects: [0-9]+ of [0-9]+, [0-9]+/s, [0-9]+s left' "pgv-copy 'file://$scratch/repository' 'file://$scratch/state/watched.again' --jobs 1"
  mv "$scratch/state/quick" "$scratch/bin/pgv-s3"
  # Nobody looks on.
  expect 0 '' pgv-verify demo --no-verdict
  ! grep --quiet --text left "$scratch/out" "$scratch/err" || fail "progress without a terminal: $(cat -v "$scratch/err")"
}

break_object() { # FILE
  flip "$1" $(($(stat --format=%s "$1") / 2))
}

# Each damage alone; and with it gone all is good again.
damage() { # LINE COMMAND…
  local line=$1
  shift
  cp --archive "$scratch/repository" "$scratch/good"
  "$@"
  expect 7 "^BAD  .*$line" pgv-verify demo
  bad_wal=$(verdicts wal || true)
  rm --recursive "$scratch/repository"
  mv "$scratch/good" "$scratch/repository"
}

# Sealed with our key and under that name, by somebody who has it: another segment.
swap_content() {
  as_postgres bash -c 'cd "$1" && pgv-crypt -k "$2" --decrypt --context "$3/wal/00000001/$4.pgv" "$4.pgv" >"$6/plain" && rm "$5.pgv" &&
    pgv-crypt -k "$2" --encrypt --context "$3/wal/00000001/$5.pgv" -o "$5.pgv" "$6/plain"' \
    bash "$tree/wal/00000001" "$scratch/key" "$system" "$first" "$second" "$scratch"
}

# Sealed again by somebody who has the key, with another content, and the record says so.
reseal() { # LABEL OBJECT SED-PROGRAM
  as_postgres bash -c 'cd "$1" && [ "$3" = data.pgv ] || context=(--context "$5/$3")
    pgv-crypt -k "$6/key" --decrypt "${context[@]}" "$3" >"$6/plain" && LC_ALL=C sed "$4" "$6/plain" >"$6/changed" && ! cmp --quiet "$6/plain" "$6/changed" &&
    pgv-crypt -k "$6/key" --encrypt "${context[@]}" "$6/changed" | pgv-s3 --quiet put --replace "file://$PWD/$3.new" &&
    sed --in-place "s/\"bytes\": *$(stat --format=%s "$3"),/\"bytes\":$(stat --format=%s "$3.new"),/; s/$(sha256sum <"$3" | cut --bytes=1-64)/$(sha256sum <"$3.new" | cut --bytes=1-64)/" record.json &&
    mv "$3.new" "$3"' bash "$tree/backup/$1" - "$2" "$3" "$system/backup/$1" "$scratch" || fail "cannot seal $2 of $1 again"
}

every_damage() {
  damage "$full: data.pgv: .*base/.*" reseal "$full" data.pgv 's/array_agg_transfn/array_agg_transfm/'
  damage "$incr: $full is not the backup on which it was built: timeline differs" reseal "$incr" data.pgv 's/"parent_timeline":1/"parent_timeline":2/'
  damage "$incr: $full is not the backup on which it was built: manifest differs" reseal "$incr" manifest.pgv '1s/"parent_sha256":"..../"parent_sha256":"0000/'
  damage "$full: data.pgv: .*not the object that was stored" sed --in-place 's/"sha256": *"..../"sha256":"0000/g' "$tree/backup/$full/record.json"
  damage "$full: data.pgv" break_object "$tree/backup/$full/data.pgv"
  damage "$incr: manifest.pgv" break_object "$tree/backup/$incr/manifest.pgv"
  damage "$incr: it builds on $full, which does not exist" rm "$tree/backup/$full/record.json"
  damage "$full: it is damaged" sh -c 'echo nonsense >"$1"' sh "$tree/backup/$full/record.json"
}

wal_damage() {
  local before what
  damage "$second: " break_object "$tree/wal/00000001/$second.pgv"
  damage "$second: " cp "$tree/wal/00000001/$first.pgv" "$tree/wal/00000001/$second.pgv"
  damage "$second: .*it is not segment $second" swap_content
  damage "WAL is missing, $second to $second" rm "$tree/wal/00000001/$second.pgv"
  [[ $bad_wal == *"WAL is missing, $second"*'"ok":false'* ]] || fail "the verdict on missing WAL: $bad_wal"
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1/other-key"' sh "$scratch"
  before=$(find "$scratch/repository" -type f | wc --lines)
  for what in --no-wal --wal; do
    expect 4 'nothing opens' env PGV_KEY_FILE="$scratch/other-key" pgv-verify demo "$what"
    [ "$(find "$scratch/repository" -type f | wc --lines)" -eq "$before" ] || fail "a wrong key is a verdict: $what"
  done
  expect 3 'no backups' pgv-verify nothing --config "$scratch/etc/demo.conf"
}

# What cannot be read is neither good nor BAD: it ends the command, and nothing is stored, chosen or removed because of it.
unread() {
  local before name status failed record=$tree/backup/$incr/record.json
  files() { find "$scratch/repository" -type f | sort; }
  before=$(files)
  chmod 000 "$record"
  expect 1 "$incr.*permission denied" pgv-verify demo
  ! grep --quiet '^BAD' "$scratch/out" || fail "a record that cannot be read is BAD: $(cat "$scratch/out")"
  expect 1 "$incr.*permission denied" pgv-copy "file://$scratch/repository" "file://$scratch/state/unread.copy"
  [ ! -e "$scratch/state/unread.copy" ] || fail "something was copied"
  expect 1 "$incr.*permission denied" pgv-backup demo --type incr
  expect 1 "$incr.*permission denied" pgv-expire demo --keep-full 1
  expect 1 "--label $full" pgv-restore demo "$scratch/state/unread" --immediate
  [ ! -e "$scratch/state/unread" ] || fail "another backup was restored"
  expect 1 "$full" pgv-info demo --format label
  expect 0 "^ok   $full" pgv-verify demo --label "$full" --no-verdict
  chmod 600 "$record"
  # The objects themselves: by rights, by a tool that fails here, and one that is killed.
  for name in "$tree/backup/$full/data.pgv" "$tree/backup/$full/manifest.pgv" "$tree/wal/00000001/$second.pgv"; do
    chmod 000 "$name"
    expect 1 'permission denied' pgv-verify demo
    ! grep --quiet '^BAD' "$scratch/out" || fail "$name cannot be read, and is BAD: $(cat "$scratch/out")"
    chmod 600 "$name"
  done
  for name in pgv-s3 pgv-crypt pgv-apply pgv-info; do
    for status in 1 2 74 75; do
      printf '#!/bin/sh\necho "%s: error: no space left on device" >&2\ncat >/dev/null\nexit %s\n' "$name" "$status" >"$scratch/bin/$name"
      chmod 0755 "$scratch/bin/$name"
      failed=0
      as_postgres pgv-verify demo --label "$full" >"$scratch/out" 2>"$scratch/err" || failed=$?
      rm "$scratch/bin/$name"
      cp "$PGV_BIN/$name" "$scratch/bin/"
      case $status:$failed in
        1:1 | 2:2 | 74:1 | 74:74 | 75:75) ;;
        *) fail "$name fails with $status, pgv-verify with $failed: $(cat "$scratch/out" "$scratch/err")" ;;
      esac
      ! grep --quiet '^BAD' "$scratch/out" || fail "$name fails here, and the backup is BAD: $(cat "$scratch/out")"
    done
  done
  find "$tree/backup" -name '*-verify.json' -newer "$scratch/bin/pgv-verify" -exec grep --files-with-matches '"ok":false' {} + && fail "a verdict was stored of what was not read"
  expect 2 'PGV_WAL_JOBS' env PGV_WAL_JOBS=0 pgv-verify demo --wal
  [ "$(comm -23 <(echo "$before") <(files))" = '' ] || fail "gone: $(comm -23 <(echo "$before") <(files))"
}

# A signal while a backup is planned leaves nothing that runs, and the lock is free.
ended_while_planning() {
  local script
  mv "$scratch/bin/pgv-snap" "$scratch/state/real"
  printf '#!/bin/sh\necho $$ >"%s/state/hangs"\nexec sleep 300\n' "$scratch" >"$scratch/bin/pgv-snap"
  chmod 0755 "$scratch/bin/pgv-snap"
  # shellcheck disable=SC2016  # of that shell
  as_postgres sh -c 'echo $$ >"$1"; exec pgv-backup demo' sh "$scratch/state/script" 2>"$scratch/err" &
  script=$!
  wait_until test -s "$scratch/state/hangs"
  kill -TERM "$(cat "$scratch/state/script")"
  ! wait "$script" || fail "it was ended, and exits with 0: $(cat "$scratch/err")"
  ! kill -0 "$(cat "$scratch/state/hangs")" 2>/dev/null || fail 'pgv-snap runs on without its script'
  flock --nonblock "$scratch/state/lock" true || fail 'the lock is held by nobody'
  mv "$scratch/state/real" "$scratch/bin/pgv-snap"
}

# What fails temporarily is tried again, and then the end; it never makes a full of an increment.
patience() {
  local before tool
  before=$(find "$tree/backup" -mindepth 1 -maxdepth 1 | sort)
  for tool in 'pgv-info next' 'pgv-s3 manifest.pgv' 'pgv-snap --since'; do
    mv "$scratch/bin/${tool% *}" "$scratch/state/real"
    [ "$tool" != 'pgv-s3 manifest.pgv' ] || rm "$scratch"/state/manifest/*
    printf '#!/bin/sh\ncase "$*" in *"%s"*) exit 75;; esac\nexec "%s" "$@"\n' \
      "${tool#* }" "$scratch/state/real" >"$scratch/bin/${tool% *}"
    chmod 0755 "$scratch/bin/${tool% *}"
    expect 75 'nothing was stored' pgv-backup demo --type incr --retry 0s
    ! grep --quiet 'making a full' "$scratch/err" || fail "$tool: $(cat "$scratch/err")"
    [ "$(find "$tree/backup" -mindepth 1 -maxdepth 1 | sort)" = "$before" ] || fail "$tool: something was stored"
    mv "$scratch/state/real" "$scratch/bin/${tool% *}"
  done
  # Once only, and it goes on as if nothing had been.
  mv "$scratch/bin/pgv-info" "$scratch/state/real"
  printf '#!/bin/sh\ncase "$*" in next*) [ -e "%s/state/once" ] || { : >"%s/state/once"; exit 75; };; esac\nexec "%s" "$@"\n' "$scratch" "$scratch" "$scratch/state/real" >"$scratch/bin/pgv-info"
  chmod 0755 "$scratch/bin/pgv-info"
  # Whoever calls it may have variables of the scripts' names.
  expect 0 'is complete' env pgv_quiet=yes pgv_finished=yes dry_run=yes now=nonsense pgv-backup demo --type incr
  mv "$scratch/state/real" "$scratch/bin/pgv-info"
  [ -e "$scratch/state/once" ] || fail "pgv-info next was not asked"
  incr=$(as_postgres pgv-info demo --format label | tail --lines=1)
  [[ $incr == *I ]] || fail "a full because of what was temporary: $incr"
  [ -z "$(ls "$scratch/state/claims")" ] || fail "claims are left: $(ls "$scratch/state/claims")"
  # A listing that fails keeps its status.
  for tool in pgv-s3 pgv-info; do
    mv "$scratch/bin/$tool" "$scratch/state/real"
    printf '#!/bin/sh\ncase "$*" in *"ls file"* | *"histories "*) exit 75;; esac\nexec "%s" "$@"\n' "$scratch/state/real" >"$scratch/bin/$tool"
    chmod 0755 "$scratch/bin/$tool"
    expect 75 'cannot be listed' pgv-restore demo "$scratch/state/unlisted" --plan
    mv "$scratch/state/real" "$scratch/bin/$tool"
  done
  expect 2 'must be OID=DIR or NAME=DIR' pgv-restore demo "$scratch/state/unlisted" --tablespace 16385
}

# A backup that was committed, and lost a byte or an object since: damaged, not running; and no other is restored unasked.
committed_and_incomplete() {
  local data=$tree/backup/$incr/data.pgv how
  as_postgres mv "$data" "$scratch/state/whole"
  for how in short gone; do
    [ "$how" = gone ] || as_postgres sh -c 'head --bytes=-1 "$1" >"$2"' sh "$scratch/state/whole" "$data"
    expect 7 "^BAD  $incr: it is damaged" pgv-verify demo --no-verdict
    expect 7 "^BAD  $incr: it is damaged" pgv-verify demo --no-verdict --label "$incr"
    expect 7 "$incr.*data.pgv" pgv-info demo
    for target in --immediate "--label=$incr" "--time=$(date --utc --date=tomorrow +%FT%TZ)"; do
      expect 5 "--label $full" pgv-restore demo "$scratch/state/damaged" "$target"
      [ ! -e "$scratch/state/damaged" ] || fail "another backup was restored"
    done
    expect 7 "not copied, because they are damaged: $incr" pgv-copy "file://$scratch/repository" "file://$scratch/state/$how.copy"
    expect 5 '' pgv-copy "file://$scratch/repository" "file://$scratch/state/$how.one" --cluster demo --label "$incr"
    rm --force "$data"
  done
  as_postgres mv "$scratch/state/whole" "$data"
}

# A new key seals, the old one goes on opening what it sealed.
rotation() {
  local newest
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1/new-key"' sh "$scratch"
  as_postgres sed --in-place "s|^PGV_KEY_FILE=.*|PGV_KEY_FILE=$scratch/new-key:$scratch/key\nPGV_KEY_NAME=second|" "$scratch/etc/demo.conf"
  expect 0 '' pgv-backup demo
  newest=$(as_postgres pgv-info demo --format label | tail --lines=1)
  [[ $newest == *I ]] || fail "with a new key no increment is possible: $(cat "$scratch/err")"
  sql "select pg_switch_wal()" >/dev/null
  sleep 1
  as_postgres pgv-info demo --format json | tail --lines=1 | grep --quiet '"key_name":"second"' || fail "the record does not name the key"
  expect 0 "^ok   $newest" pgv-verify demo --no-verdict
  expect 7 "^BAD  $newest: data.pgv: .*wrong key" env PGV_KEY_FILE="$scratch/key" pgv-verify demo --no-verdict
  grep --quiet "^ok   $full" "$scratch/out" || fail "the old key does not open what it sealed: $(cat "$scratch/out")"
  expect 7 "^BAD  $full: data.pgv: .*wrong key" env PGV_KEY_FILE="$scratch/new-key" pgv-verify demo --no-verdict
  expect 0 "is good" pgv-drill demo --no-verdict
  incr=$newest
}

# What is left in a listing of a copy's files beside those of the original.
missing_in() { # COPY
  (cd "$scratch/repository" && find demo -type f | sort) | comm -23 - <(cd "$1" && find demo -type f | sort)
}

copies() {
  local try status copy=$scratch/copy
  as_postgres mkdir "$copy" "$scratch/one" "$scratch/from-copy.spaces"
  # Killed again and again; what is listed meanwhile is whole.
  for try in 1 2 3 4 5 6; do
    as_postgres env TMPDIR="$scratch" timeout --signal=KILL "0.$((try * 2))" pgv-copy "file://$scratch/repository" "file://$copy" --jobs "$try" --quiet >/dev/null 2>&1 || true
    status=0
    as_postgres pgv-verify demo --config "$scratch/copy.conf" --no-verdict --no-wal >"$scratch/out" 2>&1 || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || fail "a copy that was killed is not whole: $(cat "$scratch/out")"
  done
  expect 0 'objects copied' pgv-copy "file://$scratch/repository" "file://$copy"
  [ -z "$(missing_in "$copy")" ] || fail "not copied: $(missing_in "$copy")"
  (cd "$scratch/repository" && find . -type f -exec cmp {} "$copy/{}" \;) >"$scratch/differs" 2>&1
  [ ! -s "$scratch/differs" ] || fail "the copy differs: $(cat "$scratch/differs")"
  expect 0 '^ok   [0-9]* WAL files' pgv-verify demo --config "$scratch/copy.conf" --no-verdict
  expect 0 ' 0 objects copied' pgv-copy "file://$scratch/repository" "file://$copy"
  # What is there with another content is not overwritten.
  as_postgres sh -c 'rm "$1/record.json"; echo >>"$1/data.pgv"' sh "$copy/demo/$system/backup/$incr"
  expect 6 'nothing was overwritten' pgv-copy "file://$scratch/repository" "file://$copy"
  # One backup is enough to restore it.
  expect 0 '' pgv-copy "file://$scratch/repository" "file://$scratch/one" --cluster demo --label "$full"
  [ "$(find "$scratch/one/demo" -name record.json | wc --lines)" -eq 1 ] || fail "not one backup"
  [ "$(find "$scratch/one/demo" -path '*/wal/*' | wc --lines)" -lt "$(find "$scratch/repository/demo" -path '*/wal/*' | wc --lines)" ] || fail "all WAL was copied"
  as_postgres env PGV_REPO="file://$scratch/one" pgv-restore demo "$scratch/from-copy" --immediate --tablespaces-under "$scratch/from-copy.spaces" 2>"$scratch/err" || fail "restoring from the copy exits with $?: $(cat "$scratch/err")"
  expect 0 '' pgv-copy "file://$scratch/repository" "file://$scratch/since" --cluster demo --label "$incr" --wal-since "$second"
  [ "$(find "$scratch/since/demo" -path '*/wal/*' -name '????????????????????????.pgv' -printf '%f\n' | sort)" = \
    "$(find "$tree/wal" -name '????????????????????????.pgv' -printf '%f\n' | sort | awk -v since="$second" '$1 >= since')" ] || fail "not the WAL since $second"
  expect 3 'no backup' pgv-copy "file://$scratch/repository" "file://$scratch/one" --cluster demo --label 20200101-000000F
  expect 2 '' pgv-copy "file://$scratch/repository" "file://$scratch/repository/"
  sides
}

# Each side has its own keys, and nobody reads them in a list of processes.
sides() {
  local try
  as_postgres sh -c 'umask 077; printf "AWS_SECRET_ACCESS_KEY=Secret\nPGV_S3_REGION=here\n" >"$1/state/from.conf"
    printf "AWS_SECRET_ACCESS_KEY=Other\nPGV_S3_ENDPOINT_URL=http://there\n" >"$1/state/to.conf"; : >"$1/state/asked"; : >"$1/state/seen"' sh "$scratch"
  mv "$scratch/bin/pgv-s3" "$scratch/state/real"
  cat >"$scratch/bin/pgv-s3" <<SHIM
#!/bin/sh
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' >>"$scratch/state/seen"
echo "\$AWS_SECRET_ACCESS_KEY \$PGV_S3_REGION \$PGV_S3_ENDPOINT_URL \$(printf %s "\$*" | head --lines=1)" >>"$scratch/state/asked"
exec "$scratch/state/real" "\$@"
SHIM
  chmod 0755 "$scratch/bin/pgv-s3"
  local one=("file://$scratch/repository" "file://$scratch/state/sides.copy" --cluster demo --label "$full")
  expect 0 'objects copied' env PGV_S3_REGION=mine pgv-copy "${one[@]}" --source-config "$scratch/state/from.conf" --destination-config "$scratch/state/to.conf"
  as_postgres mv "$scratch/state/asked" "$scratch/state/asked.both"
  as_postgres rm --recursive "$scratch/state/sides.copy"
  as_postgres touch "$scratch/state/asked"
  expect 0 'objects copied' env PGV_S3_REGION=mine pgv-copy "${one[@]}" --destination-config "$scratch/state/to.conf"
  mv "$scratch/state/real" "$scratch/bin/pgv-s3"
  ! grep --quiet --text -e Secret -e Other "$scratch/state/seen" || fail "a secret in a list of processes"
  for try in 'Secret here :asked.both' ' mine :asked'; do
    grep --quiet "^${try%:*} .*get " "$scratch/state/${try#*:}" || fail "the source has not its keys: $(cat "$scratch/state/${try#*:}")"
    grep --quiet '^Other  http://there .*put ' "$scratch/state/${try#*:}" || fail "the destination has not its keys: $(cat "$scratch/state/${try#*:}")"
    ! grep --quiet --invert-match -e "^${try%:*} " -e '^Other  http://there ' "$scratch/state/${try#*:}" || fail "mixed keys: $(cat "$scratch/state/${try#*:}")"
  done
}

# Every file of the original, and what the server says of it.
fingerprint() {
  (cd "$scratch/space" && find . -type f -exec sha256sum {} + | sort --key=2)
}

# Whatever tells of the original is enough, and so is the lack of anything that does.
beside_the_original() {
  local before newest none=
  as_postgres sh -c 'umask 077; grep --invert-match "^PGV_PGDATA=" "$1/demo.conf" >"$1/elsewhere.conf"' sh "$scratch/etc"
  expect 2 "the original is on this machine \\($source\\)" pgv-drill demo --latest --not-the-original-host
  expect 2 "the original is on this machine \\($source\\)" pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest --not-the-original-host
  stop_cluster "$bin" "$source"
  expect 2 "the original is on this machine \\($source\\)" pgv-drill demo --latest --not-the-original-host
  # Another user's cluster may be it, for all that an ordinary user knows.
  [ "$(id --user)" -eq 0 ] || none='the original may be on this machine|none was found here'
  expect 2 "${none:-none was found here}" pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest
  # What cannot be listed is not absent.
  mv "$scratch/bin/pg_lsclusters" "$scratch/bin/lists-none"
  printf '#!/bin/sh\nexit 9\n' >"$scratch/bin/pg_lsclusters"
  chmod 0755 "$scratch/bin/pg_lsclusters"
  expect 1 'cannot list the clusters' pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest --not-the-original-host --no-verdict
  mv "$scratch/bin/lists-none" "$scratch/bin/pg_lsclusters"
  # An archive that does not answer while the copy recovers is no verdict.
  before=$(find "$tree/backup" -name '*-drill.json' | wc --lines)
  mv "$scratch/bin/pgv-wal-get" "$scratch/state/real"
  printf '#!/bin/sh\nexit 200\n' >"$scratch/bin/pgv-wal-get"
  chmod 0755 "$scratch/bin/pgv-wal-get"
  expect 75 'recovery could not fetch 0' pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest --not-the-original-host
  # Nor is it a failure of a restore that the same command cannot overcome.
  as_postgres mkdir "$scratch/state/unfetched.spaces"
  expect 75 'recovery could not fetch 0' pgv-restore demo "$scratch/state/unfetched" --config "$scratch/etc/elsewhere.conf" --start --tablespaces-under "$scratch/state/unfetched.spaces"
  mv "$scratch/state/real" "$scratch/bin/pgv-wal-get"
  [ "$(find "$tree/backup" -name '*-drill.json' | wc --lines)" -eq "$before" ] || fail "a verdict was stored"
  newest=$(find "$tree/wal/00000001" -name '????????????????????????.pgv' | sort | tail --lines=1)
  as_postgres cp --archive "$newest" "$scratch/state/whole"
  break_object "$newest"
  expect 7 'the restored server does not start' pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest --not-the-original-host --no-verdict
  as_postgres mv "$scratch/state/whole" "$newest"
  expect 0 'is good' pgv-drill demo --config "$scratch/etc/elsewhere.conf" --latest --not-the-original-host --no-verdict \
    --sql "select count(*) = 1 from pg_class where relname = 'last'"
  start_cluster "$bin" "$source"
}

# A tablespace that came while the backup ran: at the end of the backup, too, recovery makes it where it was.
tablespace_meanwhile() {
  local label backup
  as_postgres mkdir "$scratch/late"
  as_postgres env PGV_RATE=10MiB/s pgv-backup demo --type full 2>"$scratch/err" &
  backup=$!
  wait_until is_streaming "$scratch"
  sql "create tablespace late location '$scratch/late'"
  sql "create table late tablespace late as select generate_series(1, 1000)"
  wait "$backup" || fail "the backup exits with $?: $(cat "$scratch/err")"
  label=$(as_postgres pgv-info demo --format label | tail --lines=1)
  expect 2 "the original is on this machine .* and a restore of $label, during which a tablespace" pgv-drill demo
  expect 2 'the original runs on this machine' pgv-restore demo "$scratch/beside" --immediate --tablespaces-under "$scratch/beside.spaces"
  [ ! -e "$scratch/beside" ] || fail "something was written"
  sql "drop table late"
  sql "drop tablespace late"
  expect 0 '' pgv-backup demo --type full
  expect 0 'is good' pgv-drill demo --no-verdict
}

# What this machine lacks is no verdict on a backup, and what another drill left is no obstacle.
without_verdict() {
  local before last hole long=$scratch/state/drill/123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890
  before=$(find "$tree/backup" -name '*-drill.json' | wc --lines)
  expect 2 'too long for the path' pgv-drill demo --scratch "$long"
  [ ! -e "$long" ] || fail "something was written"
  as_postgres mkdir "$scratch/small"
  mv "$scratch/bin/pgv-apply" "$scratch/state/real"
  printf '#!/bin/sh\nsaid=$("%s" "$@") || exit\n[ -z "$said" ] || echo "$said" | sed "s/^free .*/free 1000/"\n' "$scratch/state/real" >"$scratch/bin/pgv-apply"
  chmod 0755 "$scratch/bin/pgv-apply"
  expect 1 'not enough room in .*: .* needed, 1000 B free' pgv-drill demo --scratch "$scratch/small"
  mv "$scratch/state/real" "$scratch/bin/pgv-apply"
  mv "$scratch/bin/pgv-s3" "$scratch/state/real"
  printf '#!/bin/sh\ncase "$*" in *-drill.json) cat >/dev/null; exit 75;; esac\nexec "%s" "$@"\n' "$scratch/state/real" >"$scratch/bin/pgv-s3"
  chmod 0755 "$scratch/bin/pgv-s3"
  expect 75 'is good, but the verdict could not be stored' pgv-drill demo
  mv "$scratch/state/real" "$scratch/bin/pgv-s3"
  # Another key, and a stage that is killed.
  expect 4 '' env PGV_KEY_FILE="$scratch/other-key" pgv-drill demo
  mv "$scratch/bin/pgv-apply" "$scratch/state/real"
  printf '#!/bin/sh\ncase " $* " in *" --plan "*) exec "%s" "$@";; esac\nkill -KILL $$\n' "$scratch/state/real" >"$scratch/bin/pgv-apply"
  chmod 0755 "$scratch/bin/pgv-apply"
  expect 137 '' pgv-drill demo
  mv "$scratch/state/real" "$scratch/bin/pgv-apply"
  as_postgres mkdir "$scratch/state/drill/pgv-drill"
  expect 6 "was not made by pgv-drill" pgv-drill demo
  as_postgres touch "$scratch/state/drill/pgv-drill.marker"
  expect 0 'is good' env PGHOSTADDR=127.0.0.1 PGSERVICE=nowhere PGOPTIONS=--nonsense=1 pgv-drill demo --no-verdict
  [ -z "$(find "$scratch/state/drill" -name 'pgv-drill*' ! -name '*.lock')" ] || fail "left: $(ls "$scratch/state/drill")"
  [ "$(find "$tree/backup" -name '*-drill.json' | wc --lines)" -eq "$before" ] || fail "a verdict was stored"
  # The WAL of this one is in the archive alone.
  expect 0 '' env PGV_WAL=none pgv-backup demo --type full
  last=$(as_postgres pgv-info demo --format tsv | tail --lines=1 | cut --fields=14)
  for _ in 1 2 3; do sql "create table behind (); drop table behind; select pg_switch_wal()" >/dev/null; done
  wait_until is_true "select last_archived_wal > '$last' and not exists (select from pg_ls_archive_statusdir() where name like '%.ready') from pg_stat_archiver"
  # A hole behind it is none of its business.
  hole=$(find "$tree/wal" -name '????????????????????????.pgv' -printf '%f %p\n' | sort | awk -v last="$last.pgv" '$1 > last { print $2 }' | head --lines=1)
  as_postgres mv "$hole" "$scratch/away"
  expect 0 'is good' pgv-drill demo --no-verdict
  as_postgres mv "$scratch/away" "$hole"
}

drill() {
  local before
  sql "checkpoint"
  before=$(fingerprint)
  expect 0 "$incr is good" pgv-drill demo --sql 'select count(*) = 200000 from pgbench_accounts' --sql "select count(*) > 0 from spaced"
  grep --quiet 'restored in [0-9]* s, recovered in [0-9]* s, checked in [0-9]* s' "$scratch/err" || fail "no times: $(cat "$scratch/err")"
  [[ $(verdicts drill) == *'"ok":true'* ]] || fail "the verdict: $(verdicts drill)"
  [ ! -e "$scratch/state/drill/pgv-drill" ] || fail "the copy stays"
  [ "$(fingerprint)" = "$before" ] || fail "the drill touched the original's tablespace"
  [ "$(sql 'select count(*) from spaced')" -gt 0 ] || fail "the original lost its rows"
  beside_the_original
  expect 7 'SQL: select false: f' pgv-drill demo --sql 'select false'
  [[ $(verdicts drill) == *'select false'*'"ok":false'* ]] || fail "the verdict: $(verdicts drill)"
  as_postgres pgv-info demo --format table | grep --quiet 'drill BAD' || fail "the table does not say BAD"
  expect 7 'SQL: ERROR' pgv-drill demo --sql 'select nonsense' --no-verdict
  without_verdict
  # Killed in the middle, it leaves a server and a copy; the next one removes both.
  as_postgres pgv-drill demo --no-verdict --sql 'select pg_sleep(600)' >/dev/null 2>&1 &
  local victim=$!
  wait_until pgrep --full "psql.*$scratch/state/drill.*pg_sleep"
  pkill -KILL --full "^bash $scratch/bin/pgv-drill" || fail "nothing to kill"
  wait "$victim" 2>/dev/null || true
  pkill -KILL --full "psql.*$scratch/state/drill.*pg_sleep" || true
  [ -e "$scratch/state/drill/pgv-drill/data/postmaster.pid" ] || fail "the killed drill left no server"
  expect 0 'is good' pgv-drill demo --no-verdict
  [ ! -e "$scratch/state/drill/pgv-drill" ] || fail "the copy stays"
  tablespace_meanwhile
  # An index that lacks rows, and a backup that is damaged.
  sql "update pg_index set indisready = false where indexrelid = 'pgbench_accounts_pkey'::regclass"
  sql "insert into pgbench_accounts select generate_series(300000, 300100), 1, 0, ''"
  sql "update pg_index set indisready = true where indexrelid = 'pgbench_accounts_pkey'::regclass"
  expect 0 '' pgv-backup demo --type full
  expect 7 'BAD  .*amcheck.*lacks matching index tuple' pgv-drill demo --no-verdict
  break_object "$tree/backup/$(as_postgres pgv-info demo --format label | tail --lines=1)/data.pgv"
  expect 7 'the restore exited with 5' pgv-drill demo
  ! grep 'hint:.*pgv-restore demo' "$scratch/err" || fail "a hint for the copy that is gone"
  [[ $(verdicts drill) == *'"ok":false'* ]] || fail "the verdict: $(verdicts drill)"
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  source=$scratch/source bin=$debian_bin
  create_cluster "$bin" "$source"
  configure_demo "$source"
  as_postgres sh -c 'umask 077; sed "s|^PGV_REPO=.*|PGV_REPO=file://$1/copy|" "$1/etc/demo.conf" >"$1/copy.conf"' sh "$scratch"
  as_postgres tee --append "$source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
  start_cluster "$bin" "$source"
  system=$(sql "select system_identifier from pg_control_system()")
  tree=$scratch/repository/demo/$system
  as_postgres mkdir "$scratch/space"
  sql "create tablespace space location '$scratch/space'"
  sql "create table spaced tablespace space as select generate_series(1, 1000)"
  pgbench --initialize --scale=2 --quiet 2>/dev/null
  expect 0 '' pgv-backup demo
  pgbench --transactions=200 --no-vacuum >/dev/null 2>&1
  sql "select pg_switch_wal()" >/dev/null
  expect 0 '' pgv-backup demo
  sql "create table last (id int)"
  sql "select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
  full=$(as_postgres pgv-info demo --format label | head --lines=1)
  incr=$(as_postgres pgv-info demo --format label | tail --lines=1)
  mapfile -t segments < <(find "$tree/wal/00000001" -name '????????????????????????.pgv' -printf '%f\n' | sort | sed 's/\.pgv$//')
  first=${segments[-3]} second=${segments[-2]}
  all_is_good
  outcomes
  every_damage
  wal_damage
  unread
  committed_and_incomplete
  copies
  ended_while_planning
  patience
  progress
  rotation
  drill
  stop_cluster "$bin" "$source"
  echo "trust: every damage found, and nothing where there is none"
}

main
