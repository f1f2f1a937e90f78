# Sourced by recipients.sh and recipients-long.sh, after lib.sh: a cluster whose backups only two recipients open, and what
# they do with them.
# shellcheck shell=bash disable=SC2016,SC2154  # $1 in sh -c '…' is for that shell; what is set elsewhere is used

# Its output is in $scratch/out and $scratch/err.
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
  printf '%s\n' "PGV_REPO=file://${repository:-$scratch/repository}" "${@:2}" | as_postgres tee "$PGV_CONFIG_DIR/$1.conf" >/dev/null
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

expect_refusal() { # COMMAND…
  pgv 4 "$@"
  says PGV_IDENTITY
}

# Begins, with a server that archives and what was backed up of it. Sets `bin`, `marks`, `full`, `incr`, `full_key`, `tree`.
begin_with_recipients() {
  begin
  cp "$pgv_tree"/scripts/pgv-* "$scratch/bin/"
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
}
