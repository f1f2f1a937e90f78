#!/usr/bin/env bash
# The wrong key is noticed before anything is stored, moved or written, whoever holds it: set-up, the doctor, the functions
# that backups and restores call. And what set-up refuses leaves what was there as it was.
# shellcheck disable=SC2016  # $1 in sh -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
need_root
bin=$debian_bin

name_of() { # FILE
  { echo 'pgv key name' && cat "$1"; } | sha256sum | head --bytes=8
}

# Its output is in $scratch/out and $scratch/err.
check() { # STATUS OF THE LINE ABOUT KEYS: TEXT
  as_postgres pgv-check demo --no-switch >"$scratch/out" 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-check exits with $?: $(cat "$scratch/err")"
  grep --quiet --extended-regexp "$1" "$scratch/out" || fail "pgv-check does not say \"$1\": $(cat "$scratch/out" "$scratch/err")"
}

# The functions of pgv-keys.sh, as a script of the owner calls them.
ask_library() { # STATUS FUNCTION…
  expect "$1" runuser --user postgres -- "${PGV_ENV:-pgv-env}" --config "$etc/demo.conf" demo bash -c \
    'here=$1; source "$1/pgv-common.sh"; source "$1/pgv-keys.sh"; "${@:2}"' bash "$scratch/bin" "${@:2}"
}

set_up() { # STATUS [OPTION…]
  expect "$1" pgv-setup demo --pgdata "$scratch/data/source" --no-archive --no-role --schedule none "${@:2}"
}

# All that a refusal must not change.
state() {
  find "$etc" "$scratch/data/repository" -type f -exec sha256sum {} + | sort
  stat --format='%n %a %U' "$etc" "$etc"/*
}

unchanged() { # WHAT
  [ "$(state)" = "$before" ] || fail "$1 changed something: $(diff <(echo "$before") <(state))"
}

wrong_keys() {
  local right other url
  right=$(name_of "$etc/key")
  url=$(as_postgres pgv-info --config "$etc/demo.conf" --format url)
  check '^ok   key: opens the newest backup'
  ask_library 0 require_key "$url"
  ask_library 0 require_sealing_key "$url"
  (umask 077 && pgv-crypt --generate-key >"$scratch/other")
  other=$(name_of "$scratch/other")
  cp --archive "$etc/key" "$scratch/right"
  # Exchanged: named, and nothing written.
  put_key <"$scratch/other"
  before=$(state)
  set_up 4
  says "$etc/key" "$right" "$other"
  set_up 4 --dry-run
  expect 4 pgv-setup demo --restore-only --repo "file://$scratch/data/repository" --key-file "$etc/key"
  check "^BAD  key: PGV_KEY_NAME is $right"
  check '^BAD  key: no file of .* opens the newest backup'
  for call in require_key require_sealing_key; do
    ask_library 4 "$call"
    says "$right" "$other" "$etc/key"
    ask_library 4 "$call" "$url"
  done
  # Mistyped, cut, padded: no passphrase.
  for damage in 's/.$/-/' 's/^\(.\{30\}\).*/\1/' 's/^/ /' 's/pgvkey1/PGVKEY1/'; do
    sed "$damage" "$scratch/right" | put_key
    before=$(state)
    set_up 2
    says "$etc/key" 'damaged generated key'
    check '^BAD  key: .* cannot be used'
    ask_library 2 require_key
    # Everything of it, but for its beginning, stays unsaid.
    ! grep --quiet --fixed-strings "$(cut --characters=10-28 "$scratch/right")" "$scratch/out" "$scratch/err" || fail "the key is printed"
    unchanged 'a damaged key'
  done
  # The name of a record does for a configuration that has none.
  put_key <"$scratch/other"
  sed --in-place '/^PGV_KEY_NAME=/d' "$etc/demo.conf"
  chown postgres "$etc/demo.conf"
  before=$(state)
  set_up 4
  says "$right" "$other"
  unchanged 'a key that does not open'
  ask_library 4 require_sealing_key "$url"
  # Not there, and what cannot be read: nobody is told to make another.
  rm "$etc/key"
  before=$(state)
  set_up 2
  says 'recovery sheet'
  ! grep --quiet generate-key "$scratch/err" || fail "the advice destroys: $(cat "$scratch/err")"
  check '^BAD  key: a file of .* does not exist'
  ask_library 2 check_key "$url"
  says "$etc/key"
  unchanged 'a key that is gone'
  mkdir "$etc/key"
  set_up 2
  says 'is a directory'
  rmdir "$etc/key"
  # A new host without its key makes none.
  mv "$etc/demo.conf" "$scratch/demo.conf"
  before=$(find "$etc")
  set_up 4 --repo "file://$scratch/data/repository"
  [ "$(find "$etc")" = "$before" ] || fail "set-up made something beside a repository of another key: $(find "$etc")"
  mv "$scratch/demo.conf" "$etc/demo.conf"
  put_key <"$scratch/right"
  set_up 7
  lose_key "$url"
  put_key <"$scratch/right"
  set_up 7 --key-lost
}

# What was sealed with it is given up on purpose, and only a full begins anew.
lose_key() { # URL
  rm "$etc/key"
  set_up 7 --key-lost
  grep --quiet "^PGV_KEY_NAME=$(name_of "$etc/key")\$" "$etc/demo.conf" || fail "the new key's name is not written"
  ask_library 4 require_sealing_key "$1"
  ask_library 0 require_sealing_key "$1" full
}

put_key() {
  (umask 077 && cat >"$etc/key")
  chown postgres "$etc/key"
}

readers() {
  chmod 0644 "$etc/key"
  check '^BAD  key: .* cannot be used'
  expect 2 as_postgres env PGV_KEY_FILE="$etc/key" pgv-crypt --encrypt "$etc/demo.conf"
  says 'chmod 0600'
  # Set-up corrects what it may.
  set_up 7
  [ "$(stat --format=%a "$etc/key")" = 600 ] || fail "the key stays open to all"
  chown root:postgres "$etc/key"
  chmod 0440 "$etc/key"
  set_up 7
  [ "$(stat --format='%a %U' "$etc/key")" = '440 root' ] || fail "root's key, which the group may read, was changed"
  chmod 0444 "$etc/key"
  echo PGV_KEY_WORLD_READABLE=yes >>"$etc/demo.conf"
  set_up 7
  check '^note key: every user'
  check '^ok   key: opens the newest backup'
  sed --in-place '/WORLD_READABLE/d' "$etc/demo.conf"
  chmod 0440 "$etc/key"
}

# What cannot work is refused before the configuration is touched, with the place that was tried.
refused_changes() {
  local began
  # Not even who may read the key.
  chown root:root "$etc/key"
  chmod 0640 "$etc/key"
  before=$(state)
  began=$SECONDS
  AWS_ACCESS_KEY_ID=id AWS_SECRET_ACCESS_KEY=secret set_up 1 --repo s3://bucket/prefix --endpoint-url http://127.0.0.1:9 --region us-east-1
  [ $((SECONDS - began)) -lt 40 ] || fail "a dead service is waited for during $((SECONDS - began)) s"
  unchanged 'a dead service'
  [ "$(stat --format='%U %a' "$etc/key")" = 'root 640' ] || fail "a refusal changed the key's rights: $(ls -l "$etc/key")"
  chown postgres "$etc/key"
  chmod 0600 "$etc/key"
  before=$(state)
  set_up 2 --repo 'file:///srv/a"b'
  unchanged 'a value that a configuration cannot hold'
  expect 3 pgv-setup demo --restore-only --repo "file://$scratch/data/mistyped" --key-file "$etc/key"
  says RESTORE-1.txt
  unchanged 'a mistyped path'
  set_up 0 --dry-run --keep-full 7
  says 'nothing is stored there'
  unchanged '--dry-run'
  stop_cluster "$bin" "$scratch/data/source"
  set_up 1
  says "postmaster.pid" "then: pgv-setup demo --pgdata $scratch/data/source"
  check "^BAD  server: $scratch, port 5432"
  check '^ok   repository: '
  unchanged 'a stopped server'
  start_cluster "$bin" "$scratch/data/source"
}

# In a directory of postgres root follows no link.
links() {
  local PGV_CONFIG_DIR=$scratch/data/etc name
  export PGV_CONFIG_DIR
  echo precious >"$scratch/precious"
  chmod 0600 "$scratch/precious"
  as_postgres mkdir --mode=0700 "$scratch/data/etc"
  as_postgres cp "$scratch/key" "$scratch/data/etc/key"
  for name in demo.conf.pgv-new demo.conf.new key.new sheet; do
    as_postgres ln --symbolic "$scratch/precious" "$scratch/data/etc/$name"
  done
  set_up 7 --repo "file://$scratch/data/elsewhere" --no-backup
  # The key's owner and mode are not changed through a link, either.
  as_postgres rm "$scratch/data/etc/key"
  as_postgres sed --in-place '/^PGV_KEY_NAME=/d' "$scratch/data/etc/demo.conf"
  as_postgres ln --symbolic "/etc/pgvprecious$$" "$scratch/data/etc/key"
  install --mode=0600 "$scratch/precious" "/etc/pgvprecious$$"
  set_up 2 --no-backup
  [ "$(stat --format='%a %U' "/etc/pgvprecious$$")" = '600 root' ] || fail "a link of postgres gave it a file of root"
  expect 2 pgv-setup demo --pgdata "$scratch/data/source" --sheet "$scratch/data/etc/sheet"
  [ "$(cat "$scratch/precious") $(stat --format='%a %U' "$scratch/precious")" = 'precious 600 root' ] ||
    fail "root followed a link of postgres: $(ls -l "$scratch/precious")"
}

main() {
  begin
  etc=/etc/pgvkeys$$
  trap 'status=$?; set +e; rm --recursive --force "$etc" "/etc/pgvprecious$$"; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  unset PGV_KEY_FILE PGDATABASE PGUSER
  as_postgres mkdir "$scratch/data"
  create_cluster "$bin" "$scratch/data/source"
  start_cluster "$bin" "$scratch/data/source"
  export PGV_CONFIG_DIR=$etc PGV_STATE_DIR=$scratch/data/state
  as_postgres mkdir "$scratch/data/repository"
  set_up 7 --repo "file://$scratch/data/repository"
  wrong_keys
  readers
  refused_changes
  links
  echo "keys: the wrong one is refused everywhere, and nothing is written"
}

main
