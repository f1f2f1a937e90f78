#!/usr/bin/env bash
# Backups of one MAJOR that only recipients open: the host that makes them has one key, which is younger than its backups.
# Two recipients restore, each with its own identity, one of them with a passphrase, one by a command; so do openssl, zstd
# and tar. What was sealed before the current key opens with nothing that lies on the host. Forged, swapped, renamed and
# truncated keys are refused before anything is written.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

major=${1:?usage: recipients.sh MAJOR}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

# Its output is in $scratch/out and $scratch/err.
expect() { # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || fail "$* exits with $status, not $wanted: $(tail --lines=20 "$scratch/out" "$scratch/err")"
}

says() { # TEXT…
  local text
  for text in "$@"; do
    grep --quiet --fixed-strings -- "$text" "$scratch/out" "$scratch/err" || fail "nothing says \"$text\": $(cat "$scratch/out" "$scratch/err")"
  done
}

# As the owner, with no terminal.
pgv() { # STATUS COMMAND…
  expect "$1" as_postgres setsid --wait "${@:2}"
}

make_certificate() { # NAME ALGORITHM… of openssl req -newkey
  as_postgres openssl req -x509 -nodes -days 36500 -subj "/CN=$1" -newkey "${@:2}" -keyout "$scratch/$1.key" -out "$scratch/$1.pem" 2>"$scratch/openssl.log" ||
    fail "openssl: $(cat "$scratch/openssl.log")"
}

# The key with which a host signs, and its certificate, as pgv-setup makes them.
make_signer() { # FILE CLUSTER SYSTEM-IDENTIFIER
  as_postgres openssl req -x509 -nodes -days 36500 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -subj "/O=pgv/OU=$2/serialNumber=$3/CN=host" \
    -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature -addext "subjectAltName=email:$2@$3" \
    -keyout "$1.key" -out "$1.crt" 2>"$scratch/openssl.log" || fail "openssl: $(cat "$scratch/openssl.log")"
  as_postgres sh -c 'umask 077; cat "$1.key" "$1.crt" >"$1"; rm "$1.key"' sh "$1"
}

# The configurations: of the host, and of the recipients' machines, which have a state directory of their own.
configure() {
  local name
  as_postgres mkdir "$scratch"/{etc,repository,state,elsewhere}
  write_configuration demo "PGV_RECIPIENTS=$scratch/recipients.pem" "PGV_SIGNER=$scratch/signer.pem" "PGV_STATE_DIR=$scratch/state" "PGV_PGDATA=$scratch/source" \
    "PGHOST=$scratch"
  for name in first second; do
    as_postgres mkdir "$scratch/$name"
    as_postgres mkdir "$scratch/$name.etc"
    PGV_CONFIG_DIR=$scratch/$name.etc write_configuration demo "PGV_IDENTITY=$scratch/$name.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/$name"
  done
  as_postgres mkdir "$scratch/command.etc"
  as_postgres cp "$scratch/second.key" "$scratch/command.key"
  PGV_CONFIG_DIR=$scratch/command.etc write_configuration demo "PGV_UNWRAP=\"openssl cms -decrypt -inform PEM -inkey $scratch/command.key\"" \
    "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/elsewhere"
}

write_configuration() { # NAME LINE…
  as_postgres install --mode=0600 /dev/null "$PGV_CONFIG_DIR/$1.conf"
  printf '%s\n' "PGV_REPO=file://$scratch/repository" "${@:2}" | as_postgres tee "$PGV_CONFIG_DIR/$1.conf" >/dev/null
}

as_recipient() { # NAME COMMAND…, the name of a directory with a configuration
  PGV_CONFIG_DIR=$scratch/$1.etc "${@:2}"
}

newest_label() {
  as_postgres pgv-info demo --format label | tail --lines=1
}

key_of() { # LABEL
  sed --quiet 's/.*"key_name": *"\([0-9a-f]*\)".*/\1/p' "$tree/backup/$1/record.json"
}

back_up() { # TYPE
  pgv 0 pgv-backup demo --type "$1"
}

# Full, WAL and increment, of which the increment has the key of its full.
make_backups() {
  local wrapped
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
  back_up full
  full=$(newest_label) tree=$(echo "$scratch"/repository/demo/*)
  full_key=$(key_of "$full")
  [[ $full_key =~ ^[0-9a-f]{16}$ ]] || fail "the record names no data key: $(cat "$tree/backup/$full/record.json")"
  sql "insert into marks (mark) values ('second')"
  back_up incr
  incr=$(newest_label)
  [[ $incr == *I ]] || fail "not an increment: $incr, $(cat "$scratch/err")"
  [ "$(key_of "$incr")" = "$full_key" ] || fail "the increment has another key, $(key_of "$incr"), than its full, $full_key"
  wrapped=$(find "$tree/keys" -name '*.cms' | wc --lines)
  # The first segment came before the first backup.
  [ "$wrapped" -eq 2 ] || fail "$wrapped wrapped keys, not 2: $(ls "$tree/keys")"
  [ ! -e "$tree/keys/$full_key.json" ] || grep --quiet '"format":"pgv-key/1"' "$tree/keys/$full_key.json" || fail 'the key is not described'
  sql "insert into marks (mark) values ('third')"
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
}

compare() { # PORT WHAT
  local found
  found=$(PGPORT=$1 sql "select string_agg(mark, ' ' order by number) from marks")
  [ "$found" = "$marks" ] || fail "$2: the copy has \"$found\""
}

# One command, with recovery.
restore() { # NAME OF THE RECIPIENT PORT [ENVIRONMENT…]
  as_recipient "$1" pgv 0 env "${@:3}" pgv-restore demo "$scratch/copy" --port "$2" --start
  compare "$2" "$1"
  [ ! -e "$scratch/$1/opened" ] || fail "opened keys stay: $(ls "$scratch/$1/opened")"
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
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

expect_refusal() { # COMMAND…
  pgv 4 "$@"
  says PGV_IDENTITY
}

# What an attacker who may write to the bucket stores in the place of a key.
attacks() {
  local good=$scratch/good
  cp --archive "$tree/keys" "$good"
  forge
  # Of another cluster, and of another system identifier, by hosts that are pinned.
  make_signer "$scratch/other.pem" other "${tree##*/}"
  make_signer "$scratch/strange.pem" demo 1234567890123456789
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
  expect_check '^ok   key: seals for the recipients; the data key is [0-9a-f]{16}$'
  expect_check '^ok   archiving: .* was archived, fetched back, opened, and is the same'
  as_postgres mv "$scratch/signer.pem" "$scratch/signer.away"
  expect_check '^BAD  key: cannot seal for recipients: cannot read'
  as_postgres mv "$scratch/signer.away" "$scratch/signer.pem"
  # A private key among the recipients.
  as_postgres cp "$scratch/recipients.pem" "$scratch/recipients.away"
  cat "$scratch/first.key" >>"$scratch/recipients.pem"
  expect_check '^BAD  key: cannot seal for recipients: .* has a private key'
  as_postgres mv "$scratch/recipients.away" "$scratch/recipients.pem"
}

expect_check() { # TEXT
  as_postgres pgv-check demo >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-check exits with $?: $(cat "$scratch/err")"
  grep --quiet --extended-regexp -- "$1" "$scratch/out" || fail "pgv-check does not say \"$1\": $(cat "$scratch/out" "$scratch/err")"
}

# Another host, a recipient that seals with a key of its own, makes a full of the chain, and restores it as a drill.
worker() {
  local label
  make_signer "$scratch/worker.pem" demo "${tree##*/}"
  cat "$scratch/worker.pem.crt" >>"$scratch/hosts.pem"
  as_postgres mkdir "$scratch"/worker "$scratch"/worker.etc
  PGV_CONFIG_DIR=$scratch/worker.etc write_configuration demo "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_RECIPIENTS=$scratch/recipients.pem" \
    "PGV_SIGNER=$scratch/worker.pem" "PGV_STATE_DIR=$scratch/worker"
  back_up incr
  as_recipient worker pgv 0 pgv-consolidate demo
  label=$(newest_label)
  [ -e "$scratch/worker/keys/${tree##*/}/$(key_of "$label")" ] || fail "the full $label has the key $(key_of "$label"), which is none of the worker's"
  as_recipient worker pgv 0 pgv-drill demo --scratch "$scratch/drill" --no-verdict
  says "$label is good"
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
  as_recipient first pgv 0 pgv-rekey demo --recipients "$scratch/third.pem"
  says '0 data keys wrapped'
  restore third 6014
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --plan
  as_recipient third pgv 0 pgv-rekey demo --recipients "$scratch/third.pem" --remove-old
  says 'copied before'
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere"
  as_recipient third pgv 0 pgv-restore demo "$scratch/nowhere" --plan
  [ "$(find "$tree" -path "$tree/keys" -prune -o -type f -exec sha256sum {} + | sort)" = "$before" ] || fail 'a backup was touched'
}

is_wrapped_anew() {
  [ -n "$(find "$tree/keys" -name '*.2.cms')" ]
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
  copies=$(find "$tree/wal" -name "$segment.*.pgv" | wc --lines)
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
  rm "$tree"/wal/00000001/"$segment".*.pgv
  push "$segment"
  get 200 "$segment"
  says 'different content'
  rm "$tree"/wal/00000001/"$segment".*.pgv "$scratch/source/pg_wal/$segment"
}

push() { # SEGMENT
  (cd "$scratch/source" && pgv 0 pgv-wal-push -c "$scratch/etc/demo.conf" "pg_wal/$1")
}

get() { # STATUS SEGMENT
  rm --recursive --force "$scratch/first/opened" "$scratch/got"
  (cd "$scratch/source" && as_recipient first pgv "$1" pgv-wal-get -c "$scratch/first.etc/demo.conf" "$2" "$scratch/got")
}

# Thousands of objects that are no keys, newer than those that are; and a key that is lost.
many_and_few() {
  as_postgres bash -c 'cd "$1" && for number in {10000..19999}; do echo none >"00000000000$number.cms"; done' bash "$tree/keys"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  says 'more data keys than are tried' 'more data keys were not used'
  find "$tree/keys" -name '00000000000*' -delete
  as_postgres mv "$tree/keys/$full_key.cms" "$scratch/lost.cms"
  as_recipient first pgv 7 pgv-verify demo --no-wal --no-verdict
  says "BAD  $full: "
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere" --label "$full"
  says "$full_key" 'no such key'
  as_postgres mv "$scratch/lost.cms" "$tree/keys/$full_key.cms"
}

# Everything that lies on the host opens nothing that was sealed before its current key.
thief() {
  local file opened=0 tried=0
  back_up full
  find "$scratch/state" -type f -size -512c >"$scratch/loot"
  [ "$(grep --count --extended-regexp '/keys/[0-9]+/[0-9a-f]{16}$' "$scratch/loot")" -eq 1 ] || fail "not one key on the host: $(cat "$scratch/loot")"
  while read -r file; do
    tried=$((tried + 1))
    ! pgv-crypt --check-key --key-world-readable -k "$file" "$tree/backup/$full/data.pgv" >/dev/null 2>&1 || opened=$((opened + 1))
  done <"$scratch/loot"
  [ "$opened" -eq 0 ] || fail "$opened of $tried files open an older backup"
  [ "$tried" -gt 1 ] || fail 'nothing was tried'
  file=$(grep --extended-regexp '/keys/[0-9]+/[0-9a-f]{16}$' "$scratch/loot")
  pgv-crypt --check-key -k "$file" "$tree/backup/$(newest_label)/data.pgv" >/dev/null || fail 'the current key does not open the newest backup'
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

# From nothing, by pgv-setup: a recovery key of another machine, and a host that makes its own.
set_up() {
  local PGV_CONFIG_DIR=$scratch/set PGV_STATE_DIR=$scratch/set.state
  export PGV_CONFIG_DIR PGV_STATE_DIR
  [ "$(id --user)" -eq 0 ] || return 0
  expect 2 pgv-setup --make-recovery-key "$scratch/recovery"
  says 'no recovery key was made'
  PGV_PASSPHRASE_FD=7 expect 0 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<'open sesame'
  says 'BEGIN CERTIFICATE' 'opens every backup'
  grep --quiet ENCRYPTED "$scratch/recovery/recovery.key" || fail 'the private key has no passphrase'
  PGV_PASSPHRASE_FD=7 expect 6 pgv-setup --make-recovery-key "$scratch/recovery" 7<<<'open sesame'
  as_postgres mkdir "$scratch/vault"
  expect 7 pgv-setup demo --pgdata "$scratch/source" --no-archive --no-role --schedule none --repo "file://$scratch/vault" --recipient "$scratch/recovery/recovery.pem" \
    --sheet "$scratch/sheet"
  [ ! -e "$scratch/set/key" ] || fail 'a shared key was made'
  [ "$(stat --format='%a %U' "$scratch/set/demo.signer.pem")" = '600 postgres' ] || fail "$(ls -l "$scratch/set")"
  grep --quiet '^recipient   CN = pgv recovery' "$scratch/sheet" || fail "the sheet names no recipient: $(cat "$scratch/sheet")"
  grep --quiet 'openssl cms -decrypt' "$scratch/sheet" || fail 'the sheet does not say how a data key opens'
  cp "$scratch/set/demo.signer.pem" "$scratch/signer.before"
  expect 7 pgv-setup demo --pgdata "$scratch/source" --no-archive --no-role --schedule none --no-backup
  cmp "$scratch/signer.before" "$scratch/set/demo.signer.pem" || fail 'set-up made another key to sign with'
  # On a new machine.
  cp "$scratch/set/demo.signer.crt" "$scratch/recovery/hosts.pem"
  chown --recursive postgres "$scratch/recovery"
  rm --recursive "$scratch/set" "$scratch/set.state"
  expect 0 pgv-setup demo --restore-only --repo "file://$scratch/vault" --identity "$scratch/recovery/recovery.key" --hosts "$scratch/recovery/hosts.pem"
  PGV_PASSPHRASE_FD=7 expect 0 as_postgres setsid --wait pgv-restore demo "$scratch/copy" --immediate --port 6015 --start 7<<<'open sesame'
  compare 6015 'set-up'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
}

# A chain that began with a shared key goes on for recipients, whose keys a service wraps: both restore in one command.
mixed() {
  local PGV_CONFIG_DIR=$scratch/mixed.etc own=("PGV_REPO=file://$scratch/mixed" "PGV_KEY_FILE=$scratch/shared" "PGV_STATE_DIR=$scratch/mixed.state" "PGHOST=$scratch") label
  export PGV_CONFIG_DIR
  as_postgres mkdir "$scratch/mixed" "$scratch/mixed.etc" "$scratch/mixed.state" "$scratch/mixed.away"
  as_postgres sh -c 'umask 077; exec pgv-crypt --generate-key -o "$1"' sh "$scratch/shared"
  as_postgres tee "$scratch/kms" >/dev/null <<<'the key of the service'
  install --mode=0755 /dev/stdin "$scratch/bin/fake-kms" <<CONF
#!/bin/sh
exec openssl enc "\$1" -aes-256-cbc -pbkdf2 -pass file:$scratch/kms
CONF
  mixed_configuration "${own[@]}"
  mixed_backup full
  mixed_configuration "${own[@]}" "PGV_WRAP=\"$scratch/bin/fake-kms -e\"" "PGV_SIGNER=$scratch/signer.pem"
  mixed_backup incr
  label=$(newest_label)
  [[ $label == *I ]] || fail "not an increment: $label, $(cat "$scratch/err")"
  find "$scratch/mixed" -name "$(find "$scratch/mixed.state/keys" -name '????????????????' -printf '%f').cms" | grep --quiet . || fail 'no key is wrapped'
  mixed_configuration "${own[@]:0:2}" "PGV_STATE_DIR=$scratch/mixed.away" "PGV_UNWRAP=\"$scratch/bin/fake-kms -d\"" "PGV_HOSTS=$scratch/hosts.pem"
  pgv 0 pgv-restore demo "$scratch/copy" --immediate --port 6016 --start
  compare 6016 'a mixed chain'
  stop_cluster "$bin" "$scratch/copy"
  rm --recursive "$scratch/copy"
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

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
unset PGV_KEY_FILE
bin=$(server_bin "$major")
export PGV_TEST_PG_BIN=$bin
create_cluster "$bin" "$scratch/source"
make_certificate first ec -pkeyopt ec_paramgen_curve:P-256
make_certificate second rsa:2048
cat "$scratch/first.pem" "$scratch/second.pem" | as_postgres tee "$scratch/recipients.pem" >/dev/null
as_postgres tee --append "$scratch/source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'env PGV_CONFIG_DIR=$scratch/etc $scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'
CONF
make_signer "$scratch/signer.pem" demo "$(pgv-peek control "$scratch/source" | sed --quiet 's/^system_identifier //p')"
as_postgres cp "$scratch/signer.pem.crt" "$scratch/hosts.pem"
configure
start_cluster "$bin" "$scratch/source"
marks='first second third'
sql "create table marks (number serial, mark text); insert into marks (mark) values ('first')"
make_backups
stock
restore first 6011
restore command 6012
as_postgres openssl pkcs8 -topk8 -v2 aes-256-cbc -in "$scratch/second.key" -passout pass:sesame -out "$scratch/second.new" 2>/dev/null
as_postgres mv "$scratch/second.new" "$scratch/second.key"
restore second 6013 PGV_PASSPHRASE_FD=7 7<<<sesame
card
checks
attacks
second_object
without_identity
thief
lost_manifests
many_and_few
worker
rotation
set_up
mixed
echo "PostgreSQL $major: only recipients open backups, with pgv and without; forged keys are refused"
