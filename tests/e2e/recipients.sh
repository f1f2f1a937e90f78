#!/usr/bin/env bash
# Backups of one MAJOR that only recipients open: the host that makes them has one key, which is younger than its backups.
# Two recipients restore, each with its own identity, one of them with a passphrase, one by a command; so do openssl, zstd
# and tar. What was sealed before the current key opens with nothing that lies on the host. Forged, swapped, renamed and
# truncated keys are refused before anything is written. recipients-long.sh has what takes long.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

major=${1:?usage: recipients.sh MAJOR}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/recipients-lib.sh
source "$(dirname "$0")/recipients-lib.sh"

# Keys stay open for a recovery that somebody begins later, but not for ever.
left_open() {
  as_recipient first pgv 0 pgv-restore demo "$scratch/copy" --immediate
  says "$scratch/first/opened" 'remove it when that has ended'
  [ -n "$(ls "$scratch/first/opened")" ] || fail 'no key stays for recovery'
  # Of another copy, whose own recovery has ended.
  as_recipient first pgv 0 pgv-restore demo "$scratch/other" --immediate --port 6012 --start
  says 'for the recovery of another copy'
  stop_cluster "$bin" "$scratch/other"
  rm --recursive "$scratch/other"
  [ -n "$(ls "$scratch"/first/opened/*)" ] || fail 'a restore took the keys of another one'
  as_recipient first pgv 0 pgv-verify demo --no-wal --no-verdict
  [ -n "$(ls "$scratch/first/opened")" ] || fail 'a key went too early'
  find "$scratch/first/opened" -type f -exec touch --date='15 days ago' {} +
  as_recipient first pgv 0 pgv-verify demo --no-wal --no-verdict
  [ -z "$(find "$scratch/first/opened" -type f)" ] || fail 'opened keys stay for ever'
  rm --recursive "$scratch/copy" "$scratch/first/opened"
}

# With openssl, zstd and tar.
stock() {
  local commands
  commands=$(readme_block data-key)
  while read -r line; do
    grep --quiet --fixed-strings -- "$line" "$scratch/repository/RESTORE-1.txt" || fail "RESTORE-1.txt says something else than README: $line"
  done <<<"$commands"
  as_postgres mkdir "$scratch/hand"
  as_postgres cp "$scratch/first.key" "$scratch/hand/PRIVATE.pem"
  as_postgres cp "$scratch/hosts.pem" "$scratch/hand/HOSTS.pem"
  as_postgres cp "$tree/keys/$full_key.cms" "$scratch/hand/NAME.cms"
  as_postgres env -i PATH=/usr/bin:/bin bash -c 'set -euo pipefail; umask 077; cd "$1"; eval "$2"; mv KEY ../stock.key' bash "$scratch/hand" "$commands" 2>"$scratch/err" ||
    fail "openssl: $(cat "$scratch/err")"
  as_postgres mkdir --mode=0700 "$scratch/stock"
  as_postgres env PATH=/usr/bin:/bin bash -c 'set -o pipefail; tail --lines=+2 "$1" | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass "file:$2" | zstd --decompress --quiet | tar --extract --directory="$3"' \
    bash "$tree/backup/$full/data.pgv" "$scratch/stock.key" "$scratch/stock"
  pg_verifies "$scratch/stock" "$major"
  rm --recursive "$scratch/stock"
}

# Typed by hand, with a configuration: the key comes from the repository.
card() {
  as_postgres mkdir "$scratch/card"
  for name in first command; do
    as_recipient "$name" pgv 0 bash -c 'set -o pipefail; pgv-s3 get "$1" | pgv-crypt -d | tar x -C "$2" PG_VERSION' bash "file://$tree/backup/$full/data.pgv" "$scratch/card"
    rm "$scratch/card/PG_VERSION"
  done
  as_recipient second pgv 2 bash -c 'pgv-s3 get "$1" | pgv-crypt -d' bash "file://$tree/backup/$full/data.pgv"
  says 'has a passphrase'
  as_postgres env PGV_CONFIG_DIR="$scratch/none" pgv-crypt -d -k "$scratch/stock.key" "$tree/backup/$full/data.pgv" | tar --list >/dev/null || fail 'the opened key does not open'
}

# The host alone: what needs an identity says so, in one line; what needs none works.
without_identity() {
  pgv 0 pgv-info demo
  # Its newest full is younger than its key.
  rm --recursive "$scratch/state/keys"
  expect_refusal pgv-restore demo "$scratch/nowhere"
  expect_refusal pgv-verify demo
  expect_refusal pgv-files demo
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
  pgv 0 pgv-expire demo --keep-full 5
  pgv 0 pgv-copy "file://$scratch/repository" "file://$scratch/elsewhere/copy"
  [ "$(ls "$scratch"/elsewhere/copy/demo/*/keys)" = "$(ls "$tree/keys")" ] || fail 'the copy lacks keys'
  sql "select pg_switch_wal()" >/dev/null
  wait_until all_is_archived
}

# What an attacker who may write to the bucket stores in the place of a key.
attacks() {
  local good=$scratch/good
  cp --archive "$tree/keys" "$good"
  forge
  # Of other system identifiers, by hosts that are pinned; the name alone makes no cluster.
  make_signer "$scratch/other.pem" demo 234567890123456789
  make_signer "$scratch/strange.pem" other 1234567890123456789
  cat "$scratch/other.pem.crt" "$scratch/strange.pem.crt" >>"$scratch/hosts.pem"
  for signer in other strange; do forge_with "$scratch/$signer.pem" "a host of $signer"; done
  # Swapped, renamed, truncated, hostile.
  other_key=$(find "$good" -name '*.cms' ! -name "$full_key*" | head --lines=1)
  put_key "$other_key" 5 'another key under its name'
  head --bytes=700 "$good/$full_key.cms" >"$scratch/forged"
  put_key "$scratch/forged" 5 'a truncated key'
  printf -- '-----BEGIN CMS-----\n%s\n-----END CMS-----\n' "$(head --bytes=60000 /dev/zero | base64)" >"$scratch/forged"
  put_key "$scratch/forged" 5 'a hostile PEM'
  : >"$scratch/forged"
  put_key "$scratch/forged" 5 'an empty key'
  head --bytes=300000 /dev/zero >"$scratch/forged"
  put_key "$scratch/forged" 4 'a key without end'
  rm "$tree/keys/$full_key.cms"
  refuse 4 'no key'
  # Wrapped anew by somebody else: the older one is taken.
  as_postgres cp "$good/$full_key.cms" "$tree/keys/"
  as_postgres cp "$other_key" "$tree/keys/$full_key.2.cms"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  rm "$tree/keys/$evil.cms" "$tree/keys/$full_key.2.cms"
}

# A key of the attacker's own, wrapped for the right recipient, and a backup under it.
forge() {
  rm "$tree/keys/$full_key.cms"
  as_postgres sh -c 'umask 077; exec pgv-crypt --generate-key -o "$1"' sh "$scratch/evil.key"
  as_postgres openssl cms -encrypt -binary -aes-256-cbc -outform PEM -in "$scratch/evil.key" -out "$scratch/forged" "$scratch/first.pem" 2>/dev/null
  evil=$(pgv-crypt --key-name --key-file "$scratch/evil.key" | sed --quiet 's/^key_id //p')
  as_postgres cp "$scratch/forged" "$tree/keys/$evil.cms"
  put_key "$scratch/forged" 5 'an unsigned key'
  make_signer "$scratch/evil.pem" demo "${tree##*/}"
  forge_with "$scratch/evil.pem" 'a host that is not pinned'
}

forge_with() { # SIGNER WHAT
  as_postgres openssl cms -sign -binary -nodetach -outform DER -signer "$1" -in "$scratch/evil.key" -out "$scratch/signed" 2>/dev/null
  as_postgres openssl cms -encrypt -binary -aes-256-cbc -outform PEM -in "$scratch/signed" -out "$scratch/forged" "$scratch/first.pem" 2>/dev/null
  put_key "$scratch/forged" 5 "$2"
}

put_key() { # FILE STATUS WHAT
  rm --force "$tree/keys/$full_key.cms"
  as_postgres cp "$1" "$tree/keys/$full_key.cms"
  refuse "$2" "$3"
}

refuse() { # STATUS WHAT
  as_recipient first pgv "$1" pgv-restore demo "$scratch/nowhere" --label "$full" --immediate
  [ ! -e "$scratch/nowhere" ] || fail "$2: something was written"
  says "$full_key"
}

# What the recipient's machine does; and the doctor of the host, and its look at what is stored.
checks() {
  local data=$tree/backup/$full/data.pgv
  as_recipient first pgv 0 pgv-verify demo
  as_recipient first pgv 0 pgv-files demo
  says PG_VERSION
  pgv 0 pgv-verify demo --stored
  says "ok   $full: stored as its record says"
  flip "$data" 5000
  pgv 7 pgv-verify demo --stored
  says "BAD  $full: data.pgv: "
  flip "$data" 5000
  expect_check '^ok   archiving: .* was archived, fetched back, opened, and is the same'
  expect_check '^ok   key: seals for the recipients; the data key is [0-9a-f]{16}$' --no-switch
  as_postgres mv "$scratch/signer.pem" "$scratch/signer.away"
  expect_check '^BAD  key: cannot seal for recipients: cannot read' --no-switch
  as_postgres mv "$scratch/signer.away" "$scratch/signer.pem"
  # A private key among the recipients.
  as_postgres cp "$scratch/recipients.pem" "$scratch/recipients.away"
  cat "$scratch/first.key" >>"$scratch/recipients.pem"
  expect_check '^BAD  key: cannot seal for recipients: .* has a private key' --no-switch
  # One that can be broken.
  make_certificate weak rsa:1024
  cat "$scratch/weak.pem" >>"$scratch/recipients.pem"
  sed --in-place '/PRIVATE KEY/,/PRIVATE KEY/d' "$scratch/recipients.pem"
  expect_check '^BAD  key: cannot seal for recipients: .* an RSA key of 1024 bits' --no-switch
  as_postgres mv "$scratch/recipients.away" "$scratch/recipients.pem"
  chmod 0644 "$scratch/first.key"
  as_recipient first pgv 2 pgv-restore demo "$scratch/nowhere" --plan
  says 'every user may read it'
  chmod 0600 "$scratch/first.key"
}

expect_check() { # TEXT [OPTION]
  as_postgres pgv-check demo "${@:2}" >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-check exits with $?: $(cat "$scratch/err")"
  grep --quiet --extended-regexp -- "$1" "$scratch/out" || fail "pgv-check does not say \"$1\": $(cat "$scratch/out" "$scratch/err")"
}

# To a third recipient, interrupted at any moment; then the first is removed.
rotation() {
  local before keys
  keys=$(find "$tree/keys" -name '*.cms' | wc --lines)
  before=$(find "$tree" -path "$tree/keys" -prune -o -type f -exec sha256sum {} + | sort)
  make_certificate third ec -pkeyopt ec_paramgen_curve:P-384
  as_postgres mkdir "$scratch"/third "$scratch"/third.etc
  PGV_CONFIG_DIR=$scratch/third.etc write_configuration demo "PGV_IDENTITY=$scratch/third.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/third"
  as_recipient third pgv 4 pgv-rekey demo --recipients "$scratch/third.pem"
  as_recipient first as_postgres setsid bash -c 'echo $$ >"$1/pid"; exec pgv-rekey demo --recipients "$1/third.pem"' bash "$scratch" >"$scratch/out" 2>&1 &
  wait_until is_wrapped_anew
  kill -KILL -- "-$(cat "$scratch/pid")" || true # it may have ended
  as_recipient first pgv 0 pgv-rekey demo --recipients "$scratch/third.pem"
  [ "$(find "$tree/keys" -name '*.2.cms' | wc --lines)" -eq "$keys" ] || fail "not each key is wrapped: $(ls "$tree/keys")"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --plan
  # Another object in the place of a new wrapping is no reason to delete the old ones.
  echo junk | as_postgres tee "$tree/keys/$full_key.2.cms" >/dev/null
  as_recipient first pgv 0 pgv-rekey demo --recipients "$scratch/third.pem"
  says "$full_key.2.cms is not the one that was stored"
  [ -e "$tree/keys/$full_key.3.cms" ] || fail "the key is not wrapped again: $(ls "$tree/keys")"
  as_postgres cp "$tree/keys/$full_key.cms" "$scratch/replayed"
  as_recipient third pgv 0 pgv-rekey demo --recipients "$scratch/third.pem" --remove-old
  says 'copied before'
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere"
  as_recipient third pgv 0 pgv-restore demo "$scratch/nowhere" --plan
  # What was deleted and comes back is of use to its old recipients only.
  as_postgres cp "$scratch/replayed" "$tree/keys/$full_key.cms"
  as_recipient third pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  rm "$tree/keys/$full_key.cms"
  [ "$(find "$tree" -path "$tree/keys" -prune -o -type f -exec sha256sum {} + | sort)" = "$before" ] || fail 'a backup was touched'
}

is_wrapped_anew() {
  [ -n "$(find "$tree/keys" -name '*.2.cms')" ]
}

# A host that is pinned, too, but for another cluster, forges a backup of this one, under a key that it signed for its own.
foreign_key() {
  local system=234567890123456789 place=$scratch/foreign forged
  as_postgres mkdir "$place" "$scratch/foreign.etc"
  as_postgres cp --archive "$scratch/repository" "$place/repository"
  forged=$place/repository/demo/${tree##*/}/backup/$full
  make_signer "$place/signer.pem" other "$system"
  as_postgres sh -c 'cat "$1/hosts.pem" "$2/signer.pem.crt" >"$2/hosts.pem"; mkdir -p "$2/repository/demo/$3/keys"; umask 077; exec pgv-crypt --generate-key -o "$2/key"' \
    sh "$scratch" "$place" "$system"
  foreign=$(pgv-crypt --key-name --key-file "$place/key" | sed --quiet 's/^key_id //p')
  as_postgres openssl cms -sign -binary -nodetach -outform DER -signer "$place/signer.pem" -in "$place/key" -out "$place/signed" 2>/dev/null
  as_postgres openssl cms -encrypt -binary -aes-256-cbc -outform PEM -in "$place/signed" -out "$place/repository/demo/$system/keys/$foreign.cms" "$scratch/first.pem" 2>/dev/null
  as_postgres bash -c 'set -o pipefail; pgv-crypt -d -k "$1" "$3" | pgv-crypt -e -k "$2/key" >"$2/data" && mv "$2/data" "$3"' bash "$scratch/stock.key" "$place" "$forged/data.pgv"
  as_postgres sed --in-place "s/\"key_name\": *\"$full_key\"/\"key_name\": \"$foreign\"/; s/\"sha256\": *\"[0-9a-f]*\"/\"sha256\": \"$(sha256sum <"$forged/data.pgv" | head --bytes=64)\"/" "$forged/record.json"
  grep --quiet "$foreign" "$forged/record.json" || fail 'nothing was forged'
  repository=$place/repository PGV_CONFIG_DIR=$scratch/foreign.etc write_configuration demo "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$place/hosts.pem" "PGV_STATE_DIR=$scratch/foreign.state"
  as_recipient foreign pgv 4 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate
  says "$foreign" 'no such key'
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
  as_recipient foreign pgv 4 pgv-verify demo --label "$full" --no-verdict
  as_recipient foreign pgv 4 pgv-verify demo --label "$full" --merged
  # Nor a segment, of which recovery asks.
  forged=$place/repository/demo/${tree##*/}/wal/00000001/000000010000000000000003
  as_postgres bash -c 'set -o pipefail; pgv-crypt -d -k "$1" --context "$4" "$3" | pgv-crypt -e --wal -k "$2/key" --context "$4" >"$2/data" && mv "$2/data" "$3"' \
    bash "$scratch/stock.key" "$place" "$forged.pgv" "${forged#*/demo/}.pgv"
  (cd "$scratch/source" && as_recipient foreign pgv 200 pgv-wal-get -c "$scratch/foreign.etc/demo.conf" "${forged##*/}" "$scratch/got")
  rm --recursive "$place" "$scratch/foreign.state"
}

# New keys, two of them, come while a backup runs, and its own is deleted.
renewed_meanwhile() {
  local segment
  archive_one
  segment=$(newest_archived)
  mv "$scratch/bin/pgv-snap" "$scratch/bin/snap"
  install --mode=0755 /dev/stdin "$scratch/bin/pgv-snap" <<CONF
#!/bin/sh
case "\$*" in
  *--manifest*) for again in 1 2; do
    rm -f "$scratch"/state/keys/*/until
    (cd "$scratch/source" && "$scratch/bin/pgv-wal-push" -c "$scratch/etc/demo.conf" pg_wal/$segment >>"$scratch/pushed" 2>&1)
  done ;;
esac
exec "$scratch/bin/snap" "\$@"
CONF
  back_up full
  mv "$scratch/bin/snap" "$scratch/bin/pgv-snap"
  [ "$(find "$scratch"/state/keys -type f -name "$(key_of "$(newest_label)")" | wc --lines)" -eq 0 ] || fail "the key of the backup was not replaced: $(cat "$scratch/pushed")"
  as_recipient first pgv 0 pgv-verify demo --label "$(newest_label)" --no-verdict
  [ -z "$(find "$scratch/state/tmp" -mindepth 1)" ] || fail 'a key stays in the directory of a run'
}

# The recipients and not the time of their file decide who opens what comes now; nor is a key that is in one repository used
# for another.
who_opens() {
  local keys before
  before=$(count_keys)
  as_postgres touch --date='2 years' "$scratch/recipients.pem" "$scratch/signer.pem"
  archive_one && archive_one
  keys=$(count_keys)
  [ "$keys" -le $((before + 1)) ] || fail "$((keys - before)) new keys because a file is of a time to come"
  as_postgres touch "$scratch/recipients.pem" "$scratch/signer.pem"
  as_postgres cp "$scratch/recipients.pem" "$scratch/recipients.away"
  as_postgres sh -c 'cp "$1/first.pem" "$1/recipients.new"; touch -d "10 days ago" "$1/recipients.new"; mv "$1/recipients.new" "$1/recipients.pem"' sh "$scratch"
  before=$(count_keys)
  archive_one
  [ "$(count_keys)" -eq $((before + 1)) ] || fail 'other recipients, whose file is older, and no new key'
  as_postgres mv "$scratch/recipients.away" "$scratch/recipients.pem"
  archive_one
  # What cannot be read has not changed.
  as_postgres mv "$scratch/recipients.pem" "$scratch/recipients.away"
  before=$(count_keys)
  archive_one
  [ "$(count_keys)" -eq "$before" ] || fail 'a new key, for nobody'
  as_postgres mv "$scratch/recipients.away" "$scratch/recipients.pem"
}

count_keys() {
  find "$tree/keys" -name '*.cms' | wc --lines
}

archive_one() {
  sql "select pg_create_restore_point('one')" >/dev/null
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
}

# A host that lost its keys, or another host, has the segment too: it is stored beside the first.
second_object() {
  local segment=000000010000000000000003 object copies
  object=$tree/wal/00000001/$segment
  as_postgres cp "$object.pgv" "$scratch/first.object"
  rm --recursive "$scratch/state/keys"
  # As it was: the archive has it, opened.
  as_postgres sh -c 'umask 077; pgv-crypt -d -k "$1" --context "$2" "$3" >"$4"' sh "$scratch/stock.key" "${tree##*/}/wal/00000001/$segment.pgv" "$object.pgv" "$scratch/source/pg_wal/$segment" \
    2>"$scratch/err" || fail "the segment does not open: $(cat "$scratch/err")"
  push "$segment"
  says 'stored beside it'
  push "$segment"
  copies=$(find "$tree/wal" -name "$segment.????????????????.pgv" | wc --lines)
  [ "$copies" -eq 1 ] || fail "$copies objects beside the first"
  as_recipient first pgv 0 pgv-verify demo --wal --no-verdict
  # The key of the first is lost.
  as_postgres mv "$tree/keys/$full_key.cms" "$scratch/lost.cms"
  get 0 "$segment"
  cmp "$scratch/source/pg_wal/$segment" "$scratch/got" || fail 'another segment came'
  as_postgres mv "$scratch/lost.cms" "$tree/keys/$full_key.cms"
  get 0 "$segment"
  # Two histories under one name.
  flip "$scratch/source/pg_wal/$segment" 9000
  rm "$tree"/wal/00000001/"$segment".????????????????.pgv
  push "$segment"
  get 200 "$segment"
  says 'different content'
  as_recipient first pgv 7 pgv-verify demo --wal --no-verdict
  says 'different content'
  rm "$tree"/wal/00000001/"$segment".????????????????.pgv "$scratch/source/pg_wal/$segment"
}

push() { # SEGMENT
  (cd "$scratch/source" && pgv 0 pgv-wal-push -c "$scratch/etc/demo.conf" "pg_wal/$1")
}

get() { # STATUS SEGMENT
  rm --recursive --force "$scratch/first/opened" "$scratch/got"
  (cd "$scratch/source" && as_recipient first pgv "$1" pgv-wal-get -c "$scratch/first.etc/demo.conf" "$2" "$scratch/got")
}

# Who stole a data key makes a full with it, later than its host could have.
late_full() {
  local label
  label=$(date --utc --date='5 hours' +%Y%m%d-%H%M%SF)
  as_postgres mkdir "$scratch/late" "$tree/backup/$label"
  as_postgres bash -c 'set -euo pipefail; cd "$1"; export PGV_KEY_FILE=$2 PGV_KEY_NAME=$4 PGV_REPO=file://$6 PGV_CLUSTER=demo
    pgv-s3 --quiet put --json "file://$5/data.pgv" -- pgv-crypt --quiet --encrypt -- \
      pgv-snap --quiet --label "$3" --manifest manifest --members members --facts facts "$7" >data.json
    pgv-s3 --quiet put --json "file://$5/manifest.pgv" -- pgv-crypt --quiet --encrypt --context "${5##*/demo/}/manifest.pgv" manifest >manifest.json
    pgv-info record demo --facts facts --wait 60s --object data.pgv=data.json --object manifest.pgv=manifest.json >record.json
    pgv-s3 --quiet put "file://$5/record.json" record.json' bash "$scratch/late" "$scratch/stock.key" "$label" "$full_key" "$tree/backup/$label" "$scratch/repository" "$scratch/source" \
    >"$scratch/out" 2>"$scratch/err" || fail "the thief: $(cat "$scratch/err")"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan
  says "$label" "its data key $full_key" 'whoever stole that key'
  as_recipient first pgv 0 pgv-verify demo --label "$label" --no-verdict
  says "backup $label began 5 hours" 'whoever stole that key'
  as_recipient first pgv 0 pgv-verify demo --label "$incr" --no-verdict
  ! grep 'whoever stole' "$scratch/err" || fail 'a good backup is suspected'
  rm --recursive "$tree/backup/$label" "$scratch/late"
}

# The object of the current key is gone: nothing more is sealed with it. Wrapped anew, it is not gone.
gone_object() {
  local key before
  back_up incr
  before=$(readlink "$scratch"/state/keys/*/current)
  as_postgres mv "$tree/keys/$before.cms" "$tree/keys/$before.2.cms"
  expect_check "^ok   key: .* the data key is $before\$" --no-switch
  back_up incr
  [ "$(key_of "$(newest_label)")" = "$before" ] || fail 'a key that is wrapped anew is not used any more'
  as_postgres mv "$tree/keys/$before.2.cms" "$scratch/gone.cms"
  expect_check "^BAD  key: the data key $before" --no-switch
  back_up incr
  says "the data key $before is not in the repository"
  key=$(key_of "$(newest_label)")
  { [ "$key" != "$before" ] && [ -e "$tree/keys/$key.cms" ]; } || fail 'the backup has a key that is not stored'
  [ -z "$(find "$tree/keys" -name "$before*.cms")" ] || fail 'the key that was removed is stored again'
  as_postgres mv "$scratch/gone.cms" "$tree/keys/$before.cms"
}

# Root restores, and is killed, with all its processes, when the keys are open: they do not stay.
killed_as_root() {
  local place=$scratch/roots
  [ "$(id --user)" -eq 0 ] || return 0
  mkdir "$place"
  mv "$scratch/bin/pgv-info" "$scratch/bin/info"
  install --mode=0755 /dev/stdin "$scratch/bin/pgv-info" <<CONF
#!/bin/sh
[ "\$1" != recovery ] || exec sleep 600
exec "$scratch/bin/info" "\$@"
CONF
  TMPDIR=$place as_recipient first setsid bash -c 'echo $$ >"$1/pid"; exec pgv-restore demo "$2/nowhere" --immediate' bash "$place" "$scratch" >"$scratch/out" 2>"$scratch/err" &
  wait_until has_opened_keys
  kill -KILL -- "-$(cat "$place/pid")"
  mv "$scratch/bin/info" "$scratch/bin/pgv-info"
  wait_until has_no_run
}

has_opened_keys() {
  [ -n "$(find "$scratch/roots" -path "*/opened/*/$full_key")" ]
}

has_no_run() {
  [ -z "$(find "$scratch/roots" -mindepth 1 -type d)" ]
}

# Of two objects of one segment: junk beside it hides none, what could not be read is not settled by the other, and a segment
# is not absent because its first object is.
beside_attacks() {
  local segment object other
  archive_one
  segment=$(newest_archived)
  object=$tree/wal/00000001/$segment
  rm --recursive "$scratch/state/keys"
  push "$segment"
  other=$(echo "$object".*.pgv)
  as_postgres mv "$object.pgv" "$scratch/first.object"
  for number in {100..180}; do as_postgres cp "$scratch/first.object" "$object.0000000000000$number.pgv"; done
  echo junk | as_postgres tee "$object.pgv" >/dev/null
  get 0 "$segment"
  cmp "$scratch/source/pg_wal/$segment" "$scratch/got" || fail 'another segment came'
  rm "$object".0000000000000*.pgv "$object.pgv"
  # Its first object is gone.
  get 0 "$segment"
  as_postgres mv "$other" "$object.0000000000000100.pgv"
  get 200 "$segment"
  as_postgres mv "$object.0000000000000100.pgv" "$other"
  as_postgres cp "$scratch/first.object" "$object.pgv"
  for unread in "$object.pgv" "$other"; do
    chmod 0000 "$unread"
    get 200 "$segment"
    says 'was not fetched'
    chmod 0600 "$unread"
  done
  get 0 "$segment"
  rm "$other"
}

newest_archived() {
  find "$scratch/source/pg_wal/archive_status" -name '????????????????????????.done' -printf '%f\n' | sort | tail --lines=1 | cut --characters=-24
}

# A key that is lost: what is lost is said, and no more is.
few() {
  local other
  # What this user may not read is neither lost, nor needed for the others.
  other=$(find "$tree/keys" -name '*.cms' ! -name "$full_key*" | head --lines=1)
  chmod 0000 "$other"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  chmod 0600 "$other"
  chmod 0000 "$tree/keys/$full_key.cms"
  as_recipient first pgv 1 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate
  says "$full_key is needed" 'cannot be read'
  as_recipient first pgv 1 pgv-verify demo --label "$full"
  chmod 0600 "$tree/keys/$full_key.cms"
  as_postgres mv "$tree/keys/$full_key.cms" "$scratch/lost.cms"
  as_recipient first pgv 7 pgv-verify demo --no-wal --no-verdict
  says "BAD  $full: the data key $full_key is lost" "BAD  $incr: the data key $full_key is lost"
  [ "$(grep --count ^BAD "$scratch/out")" -eq "$(grep --files-with-matches "\"$full_key\"" "$tree"/backup/*/record.json | wc --lines)" ] || fail "others are lost, too: $(cat "$scratch/out")"
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere" --label "$full"
  says "$full_key" 'no such key'
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan
  as_postgres mv "$scratch/lost.cms" "$tree/keys/$full_key.cms"
}

# All files that lie on the host open nothing that was sealed before its current key, nor before the one before that as long
# as it stays for what is not archived yet.
thief() {
  local before
  back_up full
  [ "$(host_keys | wc --lines)" -eq 1 ] || fail "not one key on the host: $(host_keys)"
  before=$(host_keys)
  loot "$before"
  # Due, and the next full is not there yet.
  sql "select pg_create_restore_point('thief')" >/dev/null
  rm "$scratch"/state/keys/*/until
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  [ "$(host_keys | wc --lines)" -eq 2 ] || fail "not two keys on the host: $(host_keys)"
  loot "$before"
}

host_keys() {
  find "$scratch/state/keys" -type f -name '????????????????'
}

# Each file of the host as a key, the keys that it has, too, on each object that is older than the key FIRST.
loot() { # FIRST
  local file object opened=0 tried=0 context
  find "$scratch/state" "$scratch/etc" "$scratch/recipients.pem" "$scratch/signer.pem" "$scratch/signer.pem.crt" -type f >"$scratch/loot"
  find "$tree/backup" "$tree/wal" -name '*.pgv' ! -newer "$tree/keys/${1##*/}.cms" >"$scratch/sealed"
  { [ "$(wc --lines <"$scratch/loot")" -gt 8 ] && [ "$(wc --lines <"$scratch/sealed")" -gt 8 ]; } || fail "too little to try: $(cat "$scratch/loot" "$scratch/sealed")"
  while read -r file; do
    while read -r object; do
      tried=$((tried + 1)) context=()
      [[ $object == */data.pgv ]] || context=(--context "${object#"$scratch"/repository/demo/}")
      ! pgv-crypt --check-key --key-world-readable "${context[@]}" -k "$file" "$object" >/dev/null 2>&1 || opened=$((opened + 1))
    done <"$scratch/sealed"
  done <"$scratch/loot"
  [ "$opened" -eq 0 ] || fail "of $tried tries $opened open an older object"
  # They were tried as they should be: what it sealed opens so.
  object=$(find "$tree/backup" -name manifest.pgv -newer "$tree/keys/${1##*/}.cms" | head --lines=1)
  pgv-crypt --check-key --key-world-readable --context "${object#"$scratch"/repository/demo/}" -k "$1" "$object" >/dev/null || fail "the key $1 opens nothing"
  for file in "$tree"/keys/*.cms; do
    ! openssl cms -decrypt -inform PEM -inkey "$scratch/signer.pem" -in "$file" -out /dev/null 2>/dev/null || fail "the host opens $file"
  done
  host_keys >"$scratch/known"
  ! grep --recursive --files-with-matches pgvkey1_ "$scratch/state" "$scratch/etc" | grep --invert-match --fixed-strings --line-regexp --file="$scratch/known" ||
    fail 'a key lies in another file, too'
}

# Manifests that the host lost, and cannot open any more.
lost_manifests() {
  sql "insert into marks (mark) values ('fourth')"
  rm --recursive "$scratch/state/manifest" "$scratch/state/keys"
  marks+=' fourth'
  back_up incr
  says 'making a full backup: ' 'cannot open those in the repository'
  [[ $(newest_label) == *F ]] || fail 'not a full'
}

# The cluster and its directory in the repository get another name, on the host, too: system identifiers tell clusters apart.
renamed() {
  local label
  pgv 0 pgv-copy "file://$scratch/repository" "file://$scratch/elsewhere/moved"
  as_postgres mv "$scratch/elsewhere/moved/demo" "$scratch/elsewhere/moved/other"
  as_postgres mkdir "$scratch/reader.etc" "$scratch/sealer.etc"
  repository=$scratch/elsewhere/moved PGV_CONFIG_DIR=$scratch/reader.etc write_configuration other "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" \
    "PGV_STATE_DIR=$scratch/first"
  # Its WAL goes where it went.
  repository=$scratch/elsewhere/moved PGV_CONFIG_DIR=$scratch/sealer.etc write_configuration other "PGV_RECIPIENTS=$scratch/recipients.pem" "PGV_SIGNER=$scratch/signer.pem" \
    "PGV_STATE_DIR=$scratch/state.renamed" "PGHOST=$scratch" PGV_WAL_TIMEOUT=1s
  as_recipient reader pgv 0 pgv-restore other "$scratch/nowhere" --label "$full" --immediate --plan
  as_recipient sealer as_postgres pgv-backup other --type full >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "renamed: $(cat "$scratch/err")"
  label=$(as_recipient sealer as_postgres pgv-info other --format label | tail --lines=1)
  as_recipient reader pgv 0 pgv-restore other "$scratch/nowhere" --immediate --plan
  says "$label"
}

# From nothing, by pgv-setup: a recovery key of another machine, and a host that makes its own.
set_up() {
  local PGV_CONFIG_DIR=$scratch/set PGV_STATE_DIR=$scratch/set.state PGV_WAL_TIMEOUT phrase certificate line
  # No WAL goes there.
  export PGV_CONFIG_DIR PGV_STATE_DIR PGV_WAL_TIMEOUT=1s
  [ "$(id --user)" -eq 0 ] || return 0
  expect 2 pgv-setup --make-recovery-key "$scratch/recovery"
  says 'no recovery key was made'
  # Why is said, and what openssl takes from a descriptor is no passphrase if it is too short.
  for phrase in '' abc; do PGV_PASSPHRASE_FD=7 expect 2 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<"$phrase"; done
  says 'the passphrase is too short'
  PGV_PASSPHRASE_FD=7 expect 2 pgv-setup --make-recovery-key "$scratch/recovery" 7</dev/null
  says 'no line can be read'
  OPENSSL_CONF=/nowhere/openssl.cnf PGV_PASSPHRASE_FD=7 expect 1 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<'open sesame'
  says '/nowhere/openssl.cnf' "no recovery key was made in $scratch/recovery"
  [ -z "$(ls "$scratch/recovery")" ] || fail "something was left: $(ls "$scratch/recovery")"
  PGV_PASSPHRASE_FD=7 expect 0 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<'open sesame'
  says 'BEGIN CERTIFICATE' 'opens every backup' 'CN = pgv recovery'
  certificate=$(openssl x509 -in "$scratch/recovery/recovery.pem" -noout -fingerprint -sha256 | sed 's/.*=//; s/.\{48\}/&\n/')
  while read -r line; do says "$line"; done <<<"$certificate"
  [ "$(stat --format=%a "$scratch/recovery/recovery.key" "$scratch/recovery/recovery.pem" | paste --serial)" = "600	644" ] || fail "$(ls -l "$scratch/recovery")"
  grep --quiet ENCRYPTED "$scratch/recovery/recovery.key" || fail 'the private key has no passphrase'
  PGV_PASSPHRASE_FD=7 expect 6 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<'open sesame'
  as_postgres mkdir "$scratch/vault"
  expect 7 pgv-setup demo --pgdata "$scratch/source" --no-archive --no-role --schedule none --repo "file://$scratch/vault" --recipient "$scratch/recovery/recovery.pem" \
    --sheet "$scratch/sheet"
  [ ! -e "$scratch/set/key" ] || fail 'a shared key was made'
  [ "$(stat --format='%a %U' "$scratch/set/demo.signer.pem")" = '600 postgres' ] || fail "$(ls -l "$scratch/set")"
  grep --quiet '^recipient   CN = pgv recovery' "$scratch/sheet" || fail "the sheet names no recipient: $(cat "$scratch/sheet")"
  while read -r line; do grep --quiet --fixed-strings "$line" "$scratch/sheet" || fail "the sheet has no fingerprint: $(cat "$scratch/sheet")"; done <<<"$certificate"
  grep --quiet 'openssl cms -decrypt' "$scratch/sheet" || fail 'the sheet does not say how a data key opens'
  cp "$scratch/set/demo.signer.pem" "$scratch/signer.before"
  expect 7 pgv-setup demo --pgdata "$scratch/source" --no-archive --no-role --schedule none --no-backup
  cmp "$scratch/signer.before" "$scratch/set/demo.signer.pem" || fail 'set-up made another key to sign with'
  # What stays is named, and goes with the key.
  expect 0 pgv-setup demo --pgdata "$scratch/source" --remove --no-archive --no-role --dry-run
  says "left: the key with which this host signs, $scratch/set/demo.signer.pem" "$scratch/set/demo.signer.crt" "left: the certificates of the recipients, $scratch/set/demo.recipients.pem"
  expect 0 pgv-setup demo --pgdata "$scratch/source" --remove --no-archive --no-role --dry-run --with repository --with key
  says "deleting the key with which this host signs, $scratch/set/demo.signer.pem" "deleting the certificates of the recipients, $scratch/set/demo.recipients.pem"
  # On a new machine.
  cp "$scratch/set/demo.signer.crt" "$scratch/recovery/hosts.pem"
  chown --recursive postgres "$scratch/recovery"
  # With a service instead of recipients, there is a sheet, too.
  sed --in-place "s|^PGV_RECIPIENTS=.*|PGV_WRAP=/usr/local/bin/wrap-it|" "$scratch/set/demo.conf"
  expect 0 pgv-setup demo --sheet "$scratch/sheet.wrap"
  grep --quiet 'what this command wraps: /usr/local/bin/wrap-it' "$scratch/sheet.wrap" || fail "$(cat "$scratch/sheet.wrap")"
  rm --recursive "$scratch/set" "$scratch/set.state"
  # The identity is tried before anything is written.
  expect 4 pgv-setup demo --restore-only --repo "file://$scratch/vault" --identity "$scratch/first.key" --hosts "$scratch/recovery/hosts.pem"
  says 'opens none of the' 'not wrapped for this recipient'
  [ ! -e "$scratch/set/demo.conf" ] || fail 'the configuration is written'
  PGV_PASSPHRASE_FD=7 expect 4 pgv-setup demo --restore-only --repo "file://$scratch/vault" --identity "$scratch/recovery/recovery.key" --hosts "$scratch/recovery/hosts.pem" 7<<<wrong
  [ ! -e "$scratch/set/demo.conf" ] || fail 'the configuration is written'
  expect 7 setsid --wait pgv-setup demo --restore-only --repo "file://$scratch/vault" --identity "$scratch/recovery/recovery.key" --hosts "$scratch/recovery/hosts.pem"
  says 'was not tried, because it has a passphrase'
  rm --recursive "$scratch/set" "$scratch/set.state"
  PGV_PASSPHRASE_FD=7 expect 0 pgv-setup demo --restore-only --repo "file://$scratch/vault" --identity "$scratch/recovery/recovery.key" --hosts "$scratch/recovery/hosts.pem" \
    --sheet "$scratch/sheet.restore" 7<<<'open sesame'
  says 'the identity opens data keys of'
  grep --quiet "the private key $scratch/recovery/recovery.key" "$scratch/sheet.restore" || fail "$(cat "$scratch/sheet.restore")"
  expect 0 pgv-setup demo --sheet "$scratch/sheet.again"
  grep --quiet 'identity PRIVATE.pem' "$scratch/sheet.again" || fail "$(cat "$scratch/sheet.again")"
  PGV_PASSPHRASE_FD=7 expect 0 as_postgres setsid --wait pgv-restore demo "$scratch/copy" --immediate --port 6015 --start 7<<<'open sesame'
  compare 6015 'set-up'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# A chain that began with a shared key goes on for recipients, whose keys a service wraps: both restore in one command.
mixed() {
  local PGV_CONFIG_DIR=$scratch/mixed.etc own=("PGV_REPO=file://$scratch/mixed" "PGV_KEY_FILE=$scratch/shared" "PGV_STATE_DIR=$scratch/mixed.state" "PGHOST=$scratch" PGV_WAL_TIMEOUT=1s) label
  export PGV_CONFIG_DIR
  as_postgres mkdir "$scratch/mixed" "$scratch/mixed.etc" "$scratch/mixed.state" "$scratch/mixed.away"
  as_postgres sh -c 'umask 077; exec pgv-crypt --generate-key -o "$1"' sh "$scratch/shared"
  as_postgres tee "$scratch/kms" >/dev/null <<<'the key of the service'
  install --mode=0755 /dev/stdin "$scratch/bin/fake-kms" <<CONF
#!/bin/sh
# It leaves an agent.
sleep 600 >/dev/null 2>&1 &
echo \$! >>$scratch/mixed.away/agents
exec openssl enc "\$1" -aes-256-cbc -pbkdf2 -pass file:$scratch/kms
CONF
  mixed_configuration "${own[@]}"
  mixed_backup full
  mixed_configuration "${own[@]}" "PGV_WRAP=\"$scratch/bin/fake-kms -e\"" "PGV_SIGNER=$scratch/signer.pem"
  mixed_backup incr
  label=$(newest_label)
  [[ $label == *I ]] || fail "not an increment: $label, $(cat "$scratch/err")"
  find "$scratch/mixed" -name "$(find "$scratch/mixed.state/keys" -name '????????????????' -printf '%f').cms" | grep --quiet . || fail 'no key is wrapped'
  # The agent holds no lock.
  rm "$scratch"/mixed.state/keys/*/until
  mixed_backup incr
  mixed_configuration "${own[@]:0:2}" "PGV_STATE_DIR=$scratch/mixed.away" "PGV_UNWRAP=\"$scratch/bin/fake-kms -d\"" "PGV_HOSTS=$scratch/hosts.pem"
  pgv 0 pgv-restore demo "$scratch/copy" --immediate --port 6016 --start
  compare 6016 'a mixed chain'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
  # It asks on the terminal, as for the PIN of a card.
  sed --in-place "2i read -r pin </dev/tty; [ \"\$pin\" = 1234 ] || exit 3" "$scratch/bin/fake-kms"
  printf '1234\n%.0s' {1..9} | as_postgres script --quiet --return --command "pgv-restore demo $scratch/nowhere --immediate --plan" /dev/null >"$scratch/out" 2>&1 ||
    fail "with a PIN: $(cat "$scratch/out")"
  xargs kill <"$scratch/mixed.away/agents" 2>/dev/null || true # some have ended
  # The service refuses some of the keys, and a command says nothing of what others may open.
  printf '#!/bin/sh\necho denied >&2\nexit 1\n' >"$scratch/bin/fake-kms"
  pgv 7 pgv-verify demo --no-wal
  says 'was not opened: PGV_UNWRAP: ' 'exited with 1: denied'
  ! find "$scratch/mixed" -path '*I/check/*' | grep . || fail 'there is a verdict on what nobody read'
  # The service does not answer.
  printf '#!/bin/sh\nexit 75\n' >"$scratch/bin/fake-kms"
  pgv 75 pgv-restore demo "$scratch/copy" --immediate
  [ ! -e "$scratch/copy" ] || fail 'something was written'
}

mixed_configuration() { # LINE…
  as_postgres install --mode=0600 /dev/null "$PGV_CONFIG_DIR/demo.conf"
  printf '%s\n' "$@" | as_postgres tee "$PGV_CONFIG_DIR/demo.conf" >/dev/null
}

# Its WAL goes to the other repository.
mixed_backup() { # TYPE
  as_postgres pgv-backup demo --type "$1" >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-backup exits with $?: $(cat "$scratch/err")"
}

begin_with_recipients
stock
restore first 6011
as_postgres openssl pkcs8 -topk8 -v2 aes-256-cbc -in "$scratch/second.key" -passout pass:sesame -out "$scratch/second.new" 2>/dev/null
as_postgres mv "$scratch/second.new" "$scratch/second.key"
restore second 6013 PGV_PASSPHRASE_FD=7 7<<<sesame
card
checks
left_open
attacks
foreign_key
late_full
killed_as_root
second_object
beside_attacks
who_opens
renewed_meanwhile
gone_object
without_identity
thief
lost_manifests
few
renamed
rotation
set_up
mixed
echo "PostgreSQL $major: only recipients open backups, with pgv and without; forged keys are refused"
