#!/usr/bin/env bash
# Backups of one MAJOR that only recipients open, when something fails or is not as it should be: junk beside a wrapped key,
# the service that wraps keys is down when one is due, a key cannot be copied, the last WAL is for other recipients, a key
# expires while it is wrapped anew, and a passphrase comes on a descriptor that scripts use.
set -euo pipefail
shopt -s inherit_errexit

major=${1:?usage: recipients-edges.sh MAJOR}
# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/recipients-lib.sh
source "$(dirname "$0")/recipients-lib.sh"

archive_one() {
  sql "select pg_create_restore_point('one')" >/dev/null
  sql 'select pg_switch_wal()' >/dev/null
  wait_until all_is_archived
}

count_keys() {
  find "$tree/keys" -name '*.cms' | wc --lines
}

# Newer objects, and more of them than are tried of any key, hide none; and none stays for the old recipients.
junk_beside_a_key() {
  local number keys
  keys=$(count_keys)
  for number in {2..40}; do echo junk | as_postgres tee "$tree/keys/$full_key.$number.cms" >/dev/null; done
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --label "$full" --immediate --plan
  as_recipient first pgv 0 pgv-verify demo --no-wal --no-verdict
  # One whose own wrapping is not among those that are tried is not lost.
  as_postgres mv "$tree/keys/$full_key.cms" "$scratch/first.cms"
  pgv 0 pgv-info keys demo --only-needed --need "$full_key"
  [ "$(grep --count "^object .* $full_key " "$scratch/out")" -eq 39 ] || fail "not all wrappings of a needed key are tried: $(cat "$scratch/out")"
  pgv 0 pgv-info keys demo
  says "$full_key 23"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan --label "$other"
  says '1 data keys have more wrappings than are tried'
  as_postgres mv "$scratch/first.cms" "$tree/keys/$full_key.cms"
  as_recipient first pgv 0 pgv-rekey demo --recipients "$scratch/recipients.pem" --remove-old
  [ "$(count_keys)" -eq "$keys" ] || fail "wrappings stay for the old recipients: $(ls "$tree/keys")"
}

state_keys() {
  echo "$scratch/state/keys/${tree##*/}"
}

# As if the current key had been due for so long.
make_due() { # SECONDS
  as_postgres sed --in-place "1s/.*/$(($(date +%s) - $1))/" "$(state_keys)/until"
}

use_wrap() { # COMMAND
  as_postgres rm "$scratch/etc/demo.conf"
  write_configuration demo "PGV_WRAP=\"$1\"" "PGV_SIGNER=$scratch/signer.pem" "PGV_STATE_DIR=$scratch/state" "PGV_PGDATA=$scratch/source" "PGHOST=$scratch" PGV_KEY_EVERY=1h
}

push_newest() { # STATUS
  local segment
  segment=$(find "$scratch/source/pg_wal/archive_status" -name '????????????????????????.done' -printf '%f\n' | sort | tail --lines=1)
  (cd "$scratch/source" && pgv "$1" pgv-wal-push -c "$scratch/etc/demo.conf" "pg_wal/${segment%.done}")
}

# Archiving goes on with a key that is due, loudly, and no longer than it is as old again; with one that others may open, or
# that is of another repository, it does not.
service_is_down() {
  local before name
  install --mode=0755 /dev/stdin "$scratch/bin/wrap" <<CONF
#!/bin/sh
echo called >>"$scratch/elsewhere/calls"
[ ! -e "$scratch/down" ] || { echo "no answer" >&2; exit 3; }
exec openssl cms -encrypt -binary -aes-256-cbc -outform PEM "$scratch/first.pem" "$scratch/second.pem"
CONF
  use_wrap "$scratch/bin/wrap"
  archive_one
  name=$(readlink "$(state_keys)/current") before=$(count_keys)
  touch "$scratch/down"
  make_due 60
  : >"$scratch/source.log"
  archive_one
  grep --quiet "the data key $name is due, and could not be renewed: PGV_WRAP: .*exited with 3; it seals until 20.* UTC" "$scratch/source.log" || fail "archiving says nothing: $(cat "$scratch/source.log")"
  # Its failure is remembered, so that no segment waits for it.
  : >"$scratch/elsewhere/calls"
  push_newest 0
  says "the data key $name is due"
  pgv 7 pgv-check demo
  says "BAD  key: the data key $name is due, and could not be renewed" 'archiving stops'
  [ "$(wc --lines <"$scratch/elsewhere/calls")" -eq 1 ] || fail "the service was called $(wc --lines <"$scratch/elsewhere/calls") times, not by pgv-check alone"
  back_up incr
  says "the data key $name is due"
  { [ "$(key_of "$(newest_label)")" = "$name" ] && [ "$(count_keys)" -eq "$before" ]; } || fail "another key: $(ls "$tree/keys")"
  # As old again.
  make_due 3700
  push_newest 1
  says 'exited with 3'
  # For others.
  make_due 60
  use_wrap "$scratch/bin/wrap others"
  push_newest 1
  says 'exited with 3'
  use_wrap "$scratch/bin/wrap"
  push_newest 0
  rm "$scratch/down" "$(state_keys)/unrenewed"
  archive_one
  [ "$(readlink "$(state_keys)/current")" != "$name" ] || fail 'the key is not renewed when the service answers'
  [ "$(count_keys)" -eq $((before + 1)) ] || fail "not one more key: $(ls "$tree/keys")"
  as_postgres rm "$scratch/etc/demo.conf"
  write_configuration demo "PGV_RECIPIENTS=$scratch/recipients.pem" "PGV_SIGNER=$scratch/signer.pem" "PGV_STATE_DIR=$scratch/state" "PGV_PGDATA=$scratch/source" "PGHOST=$scratch"
}

# All but what it opens is copied, and what is left out follows when it can be read.
unreadable_key() {
  local copy=$scratch/elsewhere/copy there object
  object=$(echo "$tree/keys/$full_key".*cms)
  chmod 0000 "$object"
  pgv 1 pgv-copy "file://$scratch/repository" "file://$copy"
  says "${object##*/} was not copied" "backup $full is left out" "backup $incr is left out"
  there=$copy/demo/${tree##*/}
  [ -e "$there/backup/$other/record.json" ] || fail "the other backup is not copied: $(ls "$there/backup")"
  [ -z "$(find "$there/backup" -path "*/$full*" -name record.json)" ] || fail 'a backup whose key is not there looks complete'
  [ "$(find "$there/wal" -type f | wc --lines)" -eq "$(find "$tree/wal" -type f | wc --lines)" ] || fail 'WAL is missing'
  PGV_REPO=file://$copy pgv 0 pgv-info demo --format label
  [ "$(<"$scratch/out")" = "$other" ] || fail "the copy has the backups $(cat "$scratch/out")"
  chmod 0600 "$object"
  pgv 0 pgv-copy "file://$scratch/repository" "file://$copy"
  PGV_REPO=file://$copy pgv 0 pgv-info demo --format label
  grep --quiet --line-regexp "$incr" "$scratch/out" || fail "the copy has only the backups $(cat "$scratch/out")"
  # The destination's own failure is none of a key.
  rm --recursive "$there/keys"
  chmod 0500 "$there"
  pgv 1 pgv-copy "file://$scratch/repository" "file://$copy"
  ! grep 'cannot be read' "$scratch/err" || fail 'a fault of the destination is called one of the source'
  chmod 0700 "$there"
  rm --recursive "$copy"
}

# As recovery asks, which goes on whatever it gets up to 125.
get_nothing() { # RECIPIENT SEGMENT
  (cd "$scratch/source" && as_recipient "$1" pgv 200 pgv-wal-get -c "$scratch/$1.etc/demo.conf" "$2" "$scratch/got")
  [ ! -e "$scratch/got" ] || fail 'something was fetched'
}

# The last segments are not for this recipient: known before anything is written, and said by name.
tail_for_others() {
  local segment key before
  before=$(sql 'select pg_current_wal_lsn()')
  archive_one
  as_postgres cp "$scratch/recipients.pem" "$scratch/recipients.away"
  as_postgres cp "$scratch/second.pem" "$scratch/recipients.pem"
  archive_one
  segment=$(find "$tree/wal" -name '????????????????????????.pgv' -printf '%f\n' | sort | tail --lines=1)
  archive_one
  key=$(readlink "$(state_keys)/current")
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere"
  says "opens WAL segment ${segment%.pgv}" "the data key $key was not opened: it was not wrapped for this recipient, but for CN=second" '--immediate'
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --immediate --plan
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --lsn "$before" --plan
  as_recipient command pgv 0 pgv-restore demo "$scratch/nowhere" --plan
  get_nothing first "${segment%.pgv}"
  says "$key was not opened: it was not wrapped for this recipient" 'is in the archive'
  rm --recursive "$scratch/first/opened"
  # Recovery that somebody begins later, whose identity has a passphrase.
  as_recipient second pgv 0 env PGV_PASSPHRASE_FD=7 pgv-restore demo "$scratch/copy" --immediate 7<<<sesame
  rm --recursive "$scratch/second/opened"/*/
  get_nothing second "${segment%.pgv}"
  says "no data key in $scratch/second/opened opens ${segment%.pgv}"
  rm --recursive "$scratch/second/opened" "$scratch/copy"
  as_postgres mv "$scratch/recipients.away" "$scratch/recipients.pem"
  archive_one
  # Only the segments between are for others: recovery cannot pass them.
  as_recipient first pgv 4 pgv-restore demo "$scratch/nowhere"
  as_recipient command pgv 0 pgv-rekey demo --recipients "$scratch/recipients.pem"
  as_recipient first pgv 0 pgv-restore demo "$scratch/nowhere" --plan
}

# A key that expires while it is wrapped anew does not come back.
removed_while_rewrapped() {
  local keys=$scratch/elsewhere/again/demo/${tree##*/}/keys
  pgv 0 pgv-copy "file://$scratch/repository" "file://$scratch/elsewhere/again"
  as_postgres mkdir "$scratch/again.etc"
  repository=$scratch/elsewhere/again PGV_CONFIG_DIR=$scratch/again.etc write_configuration demo "PGV_IDENTITY=$scratch/first.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_STATE_DIR=$scratch/first"
  mv "$scratch/bin/pgv-crypt" "$scratch/bin/crypt"
  # What runs between its being fetched and its being stored again.
  install --mode=0755 /dev/stdin "$scratch/bin/pgv-crypt" <<CONF
#!/bin/sh
case "\$*" in *"--expect-name $full_key"*) rm -f "$keys/$full_key".* ;; esac
exec "$scratch/bin/crypt" "\$@"
CONF
  as_recipient again pgv 7 pgv-rekey demo --recipients "$scratch/second.pem"
  mv "$scratch/bin/crypt" "$scratch/bin/pgv-crypt"
  says "$full_key was removed"
  [ -z "$(find "$keys" -name "$full_key*")" ] || fail "an expired key is back: $(ls "$keys")"
  rm --recursive "$scratch/elsewhere/again" "$scratch/again.etc"
}

# Scripts have their locks there.
low_descriptors() {
  local descriptor
  for descriptor in 8 9; do
    as_recipient second pgv 0 env PGV_PASSPHRASE_FD="$descriptor" pgv-drill demo --scratch "$scratch/drill" --no-verdict 8<<<sesame 9<<<sesame
    as_recipient second pgv 0 env PGV_PASSPHRASE_FD="$descriptor" pgv-restore demo "$scratch/nowhere" --plan 8<<<sesame 9<<<sesame
  done
  # This one has the lock of the place before it opens a key.
  back_up incr
  as_postgres mkdir "$scratch/worker" "$scratch/worker.etc"
  PGV_CONFIG_DIR=$scratch/worker.etc write_configuration demo "PGV_IDENTITY=$scratch/second.key" "PGV_HOSTS=$scratch/hosts.pem" "PGV_RECIPIENTS=$scratch/recipients.pem" \
    "PGV_SIGNER=$scratch/signer.pem" "PGV_STATE_DIR=$scratch/worker"
  as_recipient worker pgv 0 env PGV_PASSPHRASE_FD=9 pgv-consolidate demo 9<<<sesame
  as_recipient second pgv 2 env PGV_PASSPHRASE_FD=8 pgv-restore demo "$scratch/nowhere" --plan
  [ ! -e "$scratch/nowhere" ] || fail 'something was written'
}

begin_with_recipients
as_postgres openssl pkcs8 -topk8 -v2 aes-256-cbc -in "$scratch/second.key" -passout pass:sesame -out "$scratch/second.new" 2>/dev/null
as_postgres mv "$scratch/second.new" "$scratch/second.key"
back_up full
other=$(newest_label)
junk_beside_a_key
unreadable_key
service_is_down
tail_for_others
removed_while_rewrapped
low_descriptors
echo "PostgreSQL $major: what fails around the keys of recipients is said, hides nothing, and stops nothing that can go on"
