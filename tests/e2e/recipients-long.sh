#!/usr/bin/env bash
# Backups of one MAJOR that only recipients open, what takes long: a host and its pgv-rekey are killed before one command
# after the other; links of one chain have different keys, whatever reads them; each recipient restores to a moment; another
# host merges and drills; a standby is promoted; age and a bucket; keys expire, are lost, and are buried under 10,000 others.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

major=${1:?usage: recipients-long.sh MAJOR}
# Before each so-many-th command a script is killed.
step=${PGV_TEST_STEP:-1}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/recipients-lib.sh
source "$(dirname "$0")/recipients-lib.sh"

state_keys() {
  echo "$scratch/state/keys/${tree##*/}"
}

# The next segment or increment gets another key.
make_due() {
  rm --force "$(state_keys)/until"
}

# A segment for the archive.
switch() {
  sql "select pg_create_restore_point('any')" >/dev/null
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
}

# Programs before which the whole run is killed, when so many of them were called: in "$scratch/shim".
make_shim() { # PROGRAM…
  local program
  mkdir "$scratch/shim"
  for program in "$@"; do
    printf '#!/bin/sh\necho x >>"%s"\n[ "$(wc -l <"%s")" -lt "$KILL_AT" ] || kill -KILL 0\nexec %s "$@"\n' "$scratch/count" "$scratch/count" "$(command -v "$program")" >"$scratch/shim/$program"
  done
  chmod 0755 "$scratch"/shim/*
  # A script puts its own directory first.
  cp --no-clobber "$scratch"/bin/pgv-* "$scratch/shim/"
}

# Its status is 137, or that of an end.
killed_at() { # NUMBER COMMAND…
  local status=0
  : >"$scratch/count"
  chmod 0666 "$scratch/count"
  as_postgres env KILL_AT="$1" PATH="$scratch/shim:$PATH" setsid --wait "${@:2}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [[ $status =~ ^(0|137)$ ]] || fail "killed before command $1, ${*:2} exits with $status: $(cat "$scratch/err")"
  [ "$status" -eq 137 ]
}

# Nothing is sealed under a key that is not stored; and no secret lies elsewhere than in the state directory.
check_host() { # WHAT
  local key
  key=$(readlink "$(state_keys)/current")
  [ -s "$tree/keys/$key.cms" ] || fail "$1: the key that seals is not stored: $(ls "$tree/keys")"
  openssl cms -decrypt -inform PEM -inkey "$scratch/first.key" -in "$tree/keys/$key.cms" 2>"$scratch/openssl.log" |
    openssl cms -verify -binary -inform DER -purpose any -CAfile "$scratch/hosts.pem" 2>>"$scratch/openssl.log" | cmp - "$(state_keys)/$key" ||
    fail "$1: what is stored is not the key that seals: $(cat "$scratch/openssl.log")"
  # Other tests have files of theirs in /tmp.
  ! find "$scratch" /tmp/pgv-wal-push.* /tmp/tmp.* -type f -newer "$scratch/began" ! -path "$scratch/state/*" ! -path "$scratch/source/*" -user postgres -size -64k -print0 2>/dev/null |
    xargs --null --no-run-if-empty grep --files-with-matches --no-messages pgvkey1_ || fail "$1: a data key lies outside of PGV_STATE_DIR"
}

# Prints the name of a segment that is in the archive, and not yet recycled.
find_archived() {
  local done_mark name
  for done_mark in "$scratch"/source/pg_wal/archive_status/*.done; do
    name=$(basename "$done_mark" .done)
    [[ ! $name =~ ^[0-9A-F]{24}$ ]] || [ ! -e "$scratch/source/pg_wal/$name" ] || { echo "$name" && return; }
  done
  return 1
}

# A data key is made by archive_command; killed before any of its commands, the next one and the next backup go on.
kills_of_a_new_key() {
  local at killed=0 segment keys
  as_postgres touch "$scratch/began"
  for ((at = 1; ; at += step)); do
    find_archived >"$scratch/archived" || { switch && find_archived >"$scratch/archived"; } || fail 'no segment stays in pg_wal'
    segment=$(<"$scratch/archived")
    make_due
    [ "$((at % (9 * step)))" -ne 1 ] || rm --recursive --force "$(state_keys)"
    cd "$scratch/source"
    killed_at "$at" "$scratch/shim/pgv-wal-push" -c "$scratch/etc/demo.conf" "pg_wal/$segment" || break
    pgv 0 pgv-wal-push -c "$scratch/etc/demo.conf" "pg_wal/$segment"
    cd /
    # No backup needs to be made for each to know that one can be.
    [ "$((killed % 5))" -ne 0 ] || back_up incr
    check_host "killed before command $at"
    keys=$(find "$(state_keys)" -type f -name '????????????????' | wc --lines)
    [ "$keys" -le 3 ] || fail "killed before command $at: $keys keys stay on the host"
    killed=$((killed + 1))
  done
  cd /
  [ "$at" -gt 20 ] || fail "only $at commands"
  [ -z "$(find "$scratch/state/tmp" -mindepth 1 -maxdepth 1 2>/dev/null)" ] || back_up incr
  ! find "$(state_keys)" -name '.new' | grep . || fail 'something of an unfinished key is left'
  back_up full
  [ "$(find "$(state_keys)" -type f -name '????????????????' | wc --lines)" -eq 1 ] || fail "more than one key after a full: $(ls "$(state_keys)")"
  as_recipient first pgv 0 pgv-verify demo --no-verdict
  echo "recipients-long: pgv-wal-push was killed before $killed of $at commands that make a key"
}

# From two recipients to a third, killed before any command: the next run goes on, and in the end only the third opens. In a
# copy with few keys, because each costs commands.
kills_of_rekey() {
  local at killed=0 number name from='' few=$scratch/elsewhere/few keys label other
  pgv 0 pgv-copy "file://$scratch/repository" "file://$few" --cluster demo --label "$(newest_label)"
  keys=$(dirname "$few"/demo/*/backup)/keys
  # Of an increment and of its full.
  label=$(newest_label)
  name=$(key_of "$label") other=$(key_of "${label%%_*}")
  find "$keys" -type f ! -name "$name*" ! -name "$other*" -delete
  make_certificate third ec -pkeyopt ec_paramgen_curve:P-384
  for name in first third; do
    as_postgres mkdir --parents "$scratch/$name" "$scratch/few.$name.etc"
    repository=$few PGV_CONFIG_DIR=$scratch/few.$name.etc write_configuration demo "PGV_IDENTITY=$scratch/$name.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/$name"
  done
  number=$(find "$keys" -name '*.cms' | wc --lines)
  [ "$number" -eq 2 ] || fail "$number keys are copied, not 2: $(ls "$keys")"
  as_postgres cp --archive "$keys" "$scratch/keys.before"
  for ((at = 1; ; at += step)); do
    reset_keys
    as_recipient few.first killed_at "$at" "$scratch/shim/pgv-rekey" demo --recipients "$scratch/third.pem" --remove-old || break
    # Each key opens for somebody; what is done is done by either.
    as_recipient few.first expect_any 0 7 4 pgv-rekey demo --recipients "$scratch/third.pem"
    as_recipient few.third pgv 0 pgv-rekey demo --recipients "$scratch/third.pem" --remove-old
    [ "$(find "$keys" -name '*.cms' | wc --lines)" -eq "$number" ] || fail "killed before command $at: not one wrapping of each key: $(ls "$keys")"
    as_recipient few.third pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan
    as_recipient few.first pgv 4 pgv-restore demo "$scratch/nowhere" --immediate --plan
    killed=$((killed + 1))
  done
  [ "$at" -gt 20 ] || fail "only $at commands"
  echo "recipients-long: pgv-rekey was killed before $killed of $at commands"
  reset_keys
  # There and back: what an earlier run did for the same recipients is gone.
  for name in third first third; do
    as_recipient "few.${from:-first}" pgv 0 pgv-rekey demo --recipients "$scratch/$name.pem" --remove-old
    from=$name
  done
  as_recipient few.first pgv 4 pgv-restore demo "$scratch/nowhere" --immediate --plan
  as_recipient few.third pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan
}

# Uses the words of kills_of_rekey.
# shellcheck disable=SC2154
reset_keys() {
  rm --recursive --force "$keys" "$scratch"/{first,third}/rekey-*
  as_postgres cp --archive "$scratch/keys.before" "$keys"
}

expect_any() { # STATUS STATUS STATUS COMMAND…
  local status=0
  as_postgres setsid --wait "${@:4}" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
  [[ " ${*:1:3} " == *" $status "* ]] || fail "${*:4} exits with $status: $(cat "$scratch/err")"
}

# Each link with a key of its own, whatever reads the chain.
different_keys() {
  local label links=() names
  sql 'create database second'
  sql 'create table big as select generate_series(1, 20000) id' second
  back_up full
  links=("$(newest_label)")
  for number in 1 2; do
    sql "insert into marks (mark) values ('link $number')"
    sql "update big set id = id + 1 where id < $((number * 100))" second
    marks+=" link $number"
    make_due
    back_up incr
    links+=("$(newest_label)")
  done
  names=$(for label in "${links[@]}"; do key_of "$label"; done | sort --unique | wc --lines)
  [ "$names" -eq 3 ] || fail "the links have $names keys, not 3"
  label=${links[-1]}
  as_recipient first pgv 0 pgv-verify demo --sample 30 --no-verdict
  as_recipient first pgv 0 pgv-verify demo --merged --label "$label" --no-verdict
  as_postgres mkdir "$scratch/extracted"
  as_recipient first pgv 0 bash -c 'set -o pipefail; pgv-files demo --label "$1" --extract "base/*/PG_VERSION" | tar x -C "$2"' bash "$label" "$scratch/extracted"
  find "$scratch/extracted" -name PG_VERSION | grep --quiet . || fail 'nothing was extracted'
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --label "$label" --immediate --database second --port 6021 --start
  [ "$(PGPORT=6021 sql 'select count(*) from big' second)" = 20000 ] || fail 'the chosen database differs'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # Over an old copy, with the passphrase.
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --label "${links[0]}" --immediate --port 6021 --start
  stop_cluster "$bin" "$scratch/copy"
  PGV_PASSPHRASE_FD=7 as_recipient second pgv 0 pgv-restore demo "$scratch/copy" --label "$label" --immediate --delta --port 6021 --start 7<<<sesame
  compare 6021 'over an old copy'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # Elsewhere, with all keys; and with those of one label.
  pgv 0 pgv-copy "file://$scratch/repository" "file://$scratch/elsewhere/one" --cluster demo --label "$label"
  as_recipient first pgv 0 pgv-verify demo --label "$label" --no-verdict
  as_postgres mkdir "$scratch/one.etc"
  repository=$scratch/elsewhere/one PGV_CONFIG_DIR=$scratch/one.etc write_configuration demo "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/first"
  as_recipient one pgv 0 pgv-restore demo "$scratch/copy" --immediate --port 6021 --start
  compare 6021 'a copy of one backup'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# To a moment between two marks, by each recipient.
moments() {
  local moment name at
  sql "insert into marks (mark) values ('wanted')"
  marks+=' wanted'
  moment=$(sql 'select clock_timestamp()')
  sleep 1.1
  sql "insert into marks (mark) values ('not wanted')"
  make_due
  switch
  for name in first command second; do
    at=$([ "$name" != second ] || echo PGV_PASSPHRASE_FD=7)
    as_recipient "$name" pgv 0 env ${at:+"$at"} pgv-restore demo "$scratch/copy" --time "$moment" --port 6022 --start 7<<<sesame
    compare 6022 "$name, to a moment"
    stop_cluster "$bin" "$scratch/copy"
    rm --recursive "$scratch/copy"
  done
  marks+=' not wanted'
}

# Another host, a recipient that seals with a key of its own, makes a full of the chain, and restores it as a drill; so does
# one that needs a passphrase.
worker() {
  local label
  make_signer "$scratch/worker.pem" demo "${tree##*/}"
  cat "$scratch/worker.pem.crt" >>"$scratch/hosts.pem"
  as_postgres mkdir "$scratch"/worker "$scratch"/worker.etc
  PGV_CONFIG_DIR=$scratch/worker.etc write_configuration demo "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_RECIPIENTS=$scratch/recipients.pem" \
    "PGV_SIGNER=$scratch/worker.pem" "PGV_STATE_DIR=$scratch/worker"
  as_recipient worker pgv 0 pgv-consolidate demo
  label=$(newest_label)
  [ -e "$scratch/worker/keys/${tree##*/}/$(key_of "$label")" ] || fail "the full $label has the key $(key_of "$label"), which is none of the worker's"
  as_recipient worker pgv 0 pgv-drill demo --scratch "$scratch/drill" --no-verdict
  says "$label is good"
  PGV_PASSPHRASE_FD=7 as_recipient second pgv 0 pgv-drill demo --scratch "$scratch/drill" --no-verdict 7<<<sesame
  says "$label is good"
  [ ! -e "$scratch/second/opened" ] || fail "opened keys stay: $(ls "$scratch/second/opened")"
  # The host goes on behind it, without its key.
  back_up incr
}

# Thousands of objects that are no keys, newer than those that are.
many() {
  as_postgres bash -c 'cd "$1" && for number in {10000..19999}; do echo none >"00000000000$number.cms"; done' bash "$tree/keys"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  says 'more data keys than are tried' 'more data keys were not used'
  find "$tree/keys" -name '00000000000*' -delete
}

# By age, and not by openssl: its identity is a file of its own.
age_wraps() {
  local PGV_CONFIG_DIR=$scratch/age.etc
  export PGV_CONFIG_DIR
  command -v age >/dev/null || { echo '*** recipients-long.sh: age was NOT tried: it is not installed ***' >&2 && return; }
  as_postgres mkdir "$scratch/age" "$scratch/age.etc" "$scratch/age.state"
  as_postgres age-keygen --output "$scratch/age.key" 2>/dev/null
  repository=$scratch/age write_configuration demo "PGV_WRAP=\"age --armor -r $(age-keygen -y "$scratch/age.key")\"" "PGV_SIGNER=$scratch/signer.pem" \
    "PGV_STATE_DIR=$scratch/age.state" "PGHOST=$scratch" PGV_WAL_TIMEOUT=1s
  for type in full incr; do
    as_postgres pgv-backup demo --type "$type" >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "age: $(cat "$scratch/err")"
    rm "$scratch/age.state/keys/${tree##*/}/until"
  done
  [ "$(find "$scratch/age" -name '*.cms' | wc --lines)" -eq 2 ] || fail "$(find "$scratch/age" -name '*.cms')"
  repository=$scratch/age write_configuration demo "PGV_UNWRAP=\"age --decrypt -i $scratch/age.key\"" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/elsewhere"
  pgv 0 pgv-restore demo "$scratch/copy" --immediate --port 6023 --start
  compare 6023 age
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # Another identity.
  as_postgres age-keygen --output "$scratch/age.other" 2>/dev/null
  as_postgres sed --in-place "s|age.key|age.other|" "$scratch/age.etc/demo.conf"
  pgv 4 pgv-restore demo "$scratch/copy" --immediate
  [ ! -e "$scratch/copy" ] || fail 'something was written'
}

# The same in a bucket: backups, rotation, restore.
bucket() {
  local PGV_CONFIG_DIR=$scratch/s3.etc bucket_settings=()
  export PGV_CONFIG_DIR
  start_bucket
  as_postgres mkdir "$scratch/s3.etc" "$scratch/s3.state" "$scratch/s3.first"
  bucket_configuration "PGV_RECIPIENTS=$scratch/recipients.pem" "PGV_SIGNER=$scratch/signer.pem" "PGV_STATE_DIR=$scratch/s3.state" "PGHOST=$scratch" PGV_WAL_TIMEOUT=1s
  for type in full incr; do
    as_postgres pgv-backup demo --type "$type" >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "s3: $(cat "$scratch/err")"
    rm "$scratch/s3.state/keys/${tree##*/}/until"
  done
  bucket_configuration "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/s3.first"
  pgv 0 pgv-rekey demo --recipients "$scratch/third.pem" --remove-old
  pgv 4 pgv-restore demo "$scratch/copy" --immediate
  bucket_configuration "PGV_IDENTITY=$scratch/third.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/s3.first"
  pgv 0 pgv-restore demo "$scratch/copy" --immediate --port 6024 --start
  compare 6024 'from a bucket'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

bucket_configuration() { # LINE…
  as_postgres install --mode=0600 /dev/null "$PGV_CONFIG_DIR/demo.conf"
  printf '%s\n' "PGV_REPO=s3://$PGV_TEST_BUCKET/some" "${bucket_settings[@]}" "$@" | as_postgres tee "$PGV_CONFIG_DIR/demo.conf" >/dev/null
}

# A standby, with a key to sign of its own, takes over: it begins a full, and says so; what both archived is stored twice, and
# compared; and a second standby that is promoted, too, is another history.
failover() {
  local label before
  before=$(newest_label)
  make_signer "$scratch/standby.pem" demo "${tree##*/}"
  cat "$scratch/standby.pem.crt" >>"$scratch/hosts.pem"
  make_standby standby 6031
  make_standby rival 6032 1 # it lags behind
  make_standby twin 6034
  sql "insert into marks (mark) values ('replicated')"
  marks+=' replicated'
  switch
  stop_cluster "$bin" "$scratch/source"
  wait_until all_is_archived_by 6031
  wait_until all_is_archived_by 6034
  promote standby 6031
  PGPORT=6031 sql "insert into marks (mark) values ('promoted')"
  marks+=' promoted'
  PGPORT=6031 as_recipient standby pgv 0 pgv-backup demo
  says 'making a full backup: ' 'cannot open those in the repository'
  label=$(newest_label)
  [[ $label == *F ]] || fail "not a full: $label"
  PGPORT=6031 switch
  # A segment that the old primary archived.
  as_recipient standby expect 0 as_postgres bash -c 'cd "$1" && cp pg_wal/00000002.history /dev/null && pgv-wal-push -c "$2" pg_wal/00000002.history' bash "$scratch/standby" "$scratch/standby.etc/demo.conf"
  says 'same content'
  # It was promoted at another place, and its history has the same name.
  PGPORT=6032 sql 'select pg_is_in_recovery()' | grep --quiet t || fail 'the rival is no standby'
  promote rival 6032
  PGPORT=6032 sql "insert into marks (mark) values ('rival')"
  as_recipient rival expect 1 as_postgres bash -c 'cd "$1" && pgv-wal-push -c "$2" pg_wal/00000002.history' bash "$scratch/rival" "$scratch/rival.etc/demo.conf"
  says 'another history'
  stop_cluster "$bin" "$scratch/rival"
  twins
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --port 6033 --start
  compare 6033 'after a failover'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # From a backup of the old primary, over to the new timeline.
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --label "$before" --port 6033 --start
  compare 6033 'along two timelines'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  stop_cluster "$bin" "$scratch/standby"
}

# A third standby is promoted at the same place: its history is the same, byte by byte, and what comes after is not. Neither
# host opens what the other stored, so each stores its own; who has both keys refuses to choose. When what the wrong host
# stored is removed, recovery goes on with the right one.
twins() {
  local segment
  promote twin 6034
  cmp "$scratch/standby/pg_wal/00000002.history" "$scratch/twin/pg_wal/00000002.history" || fail 'they were not promoted at the same place'
  PGPORT=6034 sql "insert into marks (mark) values ('twin')"
  PGPORT=6034 sql "select pg_create_restore_point('twin')" >/dev/null
  segment=$(PGPORT=6034 sql 'select pg_walfile_name(pg_current_wal_lsn())')
  PGPORT=6034 sql 'select pg_switch_wal()' >/dev/null
  wait_until is_stored_twice "$tree/wal/00000002/$segment"
  # By itself the server archives the history, too: nothing holds it up.
  PGPORT=6034 wait_until all_is_archived
  grep --quiet "$segment is in the archive, sealed with a key that this host does not have" "$scratch/twin.log" || fail "it says nothing: $(tail "$scratch/twin.log")"
  as_recipient first pgv 7 pgv-verify demo --wal --no-verdict
  says "$segment" 'different content'
  (cd "$scratch/source" && as_recipient first pgv 200 pgv-wal-get -c "$scratch/first.etc/demo.conf" "$segment" "$scratch/got")
  says 'different content'
  { [ ! -e "$scratch/got" ] && rm --recursive --force "$scratch/first/opened"; } || fail 'one of two histories is chosen'
  stop_cluster "$bin" "$scratch/twin"
  # What the twin stored while it stopped, too.
  find "$tree/wal/00000002" -name '????????????????????????.????????????????.pgv' -delete
}

is_stored_twice() { # OBJECT
  [ -e "$1.pgv" ] && [ -n "$(find "$(dirname "$1")" -name "$(basename "$1").*.pgv")" ]
}

all_is_archived_by() { # PORT
  [ "$(PGPORT=$1 sql "select max(mark) filter (where mark = 'replicated') from marks")" = replicated ]
}

make_standby() { # NAME PORT [PORT OF THE PRIMARY]
  as_recipient first pgv 0 pgv-restore demo "$scratch/$1" --immediate --port "$2"
  as_postgres rm "$scratch/$1/pgv/archiving-undecided"
  as_postgres sh -c 'rm -f "$1/recovery.signal"; : >"$1/standby.signal"; cat >>"$1/postgresql.auto.conf"' sh "$scratch/$1" <<CONF
primary_conninfo = 'host=$scratch port=${3:-5432} user=postgres'
recovery_target = ''
restore_command = ''
recovery_target_timeline = 'latest'
archive_mode = on
archive_command = 'env PGV_CONFIG_DIR=$scratch/$1.etc $scratch/bin/pgv-wal-push -c $scratch/$1.etc/demo.conf %p'
CONF
  as_postgres mkdir "$scratch/$1.etc"
  PGV_CONFIG_DIR=$scratch/$1.etc write_configuration demo "PGV_RECIPIENTS=$scratch/recipients.pem" "PGV_SIGNER=$scratch/standby.pem" "PGV_STATE_DIR=$scratch/state.$1" \
    "PGV_PGDATA=$scratch/$1" "PGHOST=$scratch" "PGPORT=$2"
  start_cluster "$bin" "$scratch/$1"
}

promote() { # NAME PORT
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/$1" --wait promote >/dev/null
  PGPORT=$2 wait_until_promoted
}

# The key of what expired goes; one that a second object names, or of which nothing is known, stays.
expiry() {
  local old=$full_key label
  back_up full
  label=$(newest_label)
  back_up incr
  switch
  # As if all but the newest full were of long ago.
  find "$tree" -type f ! -path "*/$label*" ! -path "$tree/keys/$(key_of "$label").*" ! -newer "$tree/backup/$label/claim.json" -exec touch --date='200 days ago' {} +
  for json in "$tree"/keys/*.json; do
    [[ $json == *"/$(key_of "$label").json" ]] || sed --in-place "s/\"made_at\":\"[^\"]*\"/\"made_at\":\"$(date --utc --date='200 days ago' +%Y-%m-%dT%H:%M:%SZ)\"/" "$json"
  done
  as_postgres cp --archive "$tree/keys" "$scratch/keys.all"
  # Of this one nobody knows when it was made.
  rm "$tree/keys/$old.json"
  # What was there when an expiry began is still needed by its WAL.
  pgv 0 pgv-expire demo --keep-full 1
  pgv 0 pgv-expire demo --keep-full 1
  says 'data keys that nothing needs'
  [ -e "$tree/keys/$old.cms" ] || fail 'a key went whose age is not known'
  as_postgres cp --archive "$scratch/keys.all/$old.json" "$tree/keys/"
  # And this one another object needs.
  as_postgres touch "$tree/wal/00000001/00000001000000000000FFFF.$old.pgv"
  pgv 0 pgv-expire demo --keep-full 1
  [ -e "$tree/keys/$old.cms" ] || fail 'the key of a second object went'
  rm "$tree/wal/00000001/00000001000000000000FFFF.$old.pgv"
  pgv 0 pgv-expire demo --keep-full 1
  says 'removed 1 data keys'
  { [ ! -e "$tree/keys/$old.cms" ] && [ ! -e "$tree/keys/$old.json" ]; } || fail "the key of what expired is still there: $(ls "$tree/keys")"
  as_recipient first pgv 0 pgv-verify demo --no-verdict
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --port 6025 --start
  compare 6025 'after expiry'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# Of the key of an increment: what is built on it is lost, what is before it is not; and a full begins anew.
loss() {
  local before after
  back_up full
  before=$(newest_label)
  make_due
  back_up incr
  after=$(newest_label)
  as_postgres mv "$tree/keys/$(key_of "$after").cms" "$scratch/lost.cms"
  as_recipient first pgv 7 pgv-verify demo --no-wal --no-verdict
  says "BAD  $after: " "ok   $before: "
  [ "$(grep --count ^BAD "$scratch/out")" -eq 1 ] || fail "others are lost, too: $(cat "$scratch/out")"
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere"
  says "$(key_of "$after")" 'no such key'
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --label "$before" --immediate --port 6026 --start
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # The host notices, and goes on with another.
  as_postgres pgv-check demo --no-switch >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-check: $(cat "$scratch/err")"
  says 'is not in the repository'
  as_postgres mv "$scratch/lost.cms" "$tree/keys/$(key_of "$after").cms"
}

begin_with_recipients
as_postgres openssl pkcs8 -topk8 -v2 aes-256-cbc -in "$scratch/second.key" -passout pass:sesame -out "$scratch/second.new" 2>/dev/null
as_postgres mv "$scratch/second.new" "$scratch/second.key"
make_shim pgv-info pgv-s3 pgv-crypt pgv-peek openssl mkdir mktemp mv ln rm sync cmp readlink uname date sha256sum flock cat touch grep timeout
different_keys
moments
worker
loss
many
kills_of_rekey
kills_of_a_new_key
age_wraps
bucket
expiry
failover
echo "PostgreSQL $major: the keys of recipients survive kills, expiry and failover, and are never more than they should be"
