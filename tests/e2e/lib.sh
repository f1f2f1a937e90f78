# Sourced by the end-to-end tests: a scratch directory that user postgres may enter, clusters of any
# major in it, and the pipes of pgv run as that user. A server refuses to run as root.
# shellcheck shell=bash disable=SC2016  # $1 in sh -c '…' is for that shell

# By hand a script tries what `cargo build --release` made; make and cargo test say where that lies.
pgv_tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PGV_BIN=${PGV_BIN:-$pgv_tree/target/release} PGV_TEST_TOOLS=${PGV_TEST_TOOLS:-$pgv_tree/target/test-tools}

if [ "$(id -u)" -eq 0 ]; then
  as_postgres() { runuser --user postgres -- "$@"; }
else
  as_postgres() { "$@"; }
fi

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# What it prints lies in $scratch/out and $scratch/err. A script that asks more of each command has its own.
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

# What only root can try is said loudly, and is no failure of an ordinary user's run.
need_root() {
  [ "$(id --user)" -eq 0 ] || { echo "${0##*/}: was NOT run: it needs root" >&2 && exit 0; }
}

# Sets `scratch` (short: a Unix socket's path has 107 bytes) and puts the binaries first in PATH. The script sees no clusters
# of Debian's and nothing in /etc/pgv: other scripts have theirs there meanwhile.
begin() {
  [ "${major:-0}" -le 18 ] || need_debian_tools "$major"
  [ -x "$PGV_BIN/pgv-snap" ] || fail "no pgv-snap in $PGV_BIN: run cargo build --release --locked"
  [ -d "$PGV_TEST_TOOLS" ] || fail "no $PGV_TEST_TOOLS: run make test-tools"
  scratch=$(mktemp --directory /tmp/pgv-e2e.XXXXXX)
  trap end EXIT
  mkdir "$scratch/bin"
  find "$PGV_BIN" -maxdepth 1 -name "pgv-*" -executable -type f -exec cp --target-directory="$scratch/bin" {} +
  [ "$(id -u)" -ne 0 ] || chown postgres "$scratch"
  chmod 0755 "$scratch"
  export PATH="$scratch/bin:$PATH" PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
  # The caller's settings must not steer the tools under test.
  unset PGV_REPO PGV_CLUSTER PGDATA PGSERVICE
  install --mode=0755 /dev/stdin "$scratch/bin/pg_lsclusters" <<<'#!/bin/sh'
  export PGV_CONFIG_DIR=$scratch/etc
  as_postgres sh -c 'umask 077; pgv-crypt --generate-key >"$1"' sh "$scratch/key"
  export PGV_KEY_FILE=$scratch/key
}

# The same for a script that has clusters of Debian's; no two of these run at a time (tests/e2e.rs).
begin_on_machine() {
  begin
  rm "$scratch/bin/pg_lsclusters"
  unset PGV_CONFIG_DIR
}

end() {
  local status=$? pid
  # What this began and did not end; whoever waits for its output would wait for ever.
  for pid in $(jobs -p); do
    kill -TERM "$pid" 2>/dev/null || true # it has ended
  done
  # Servers lie one or two directories down.
  for pid in "$scratch"/*/postmaster.pid "$scratch"/*/*/postmaster.pid; do
    [ -e "$pid" ] && kill -QUIT "$(head --lines=1 "$pid")" 2>/dev/null
  done
  if [ "$status" -eq 0 ]; then
    rm --recursive --force "$scratch"
  else
    tail --lines=20 "$scratch"/*.log >&2 || true
    echo "kept for inspection: $scratch" >&2
  fi
}

# Another byte in the place of the one at OFFSET, whatever that was.
flip() { # FILE OFFSET
  local byte
  byte=$(od --address-radix=n --format=u1 --skip-bytes="$2" --read-bytes=1 "$1")
  # shellcheck disable=SC2059 # the format is the byte
  printf "\\$(printf %03o $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# The directory of one major's server binaries, as user postgres can read it.
server_bin() { # MAJOR
  if [ -x "/usr/lib/postgresql/$1/bin/postgres" ]; then
    echo "/usr/lib/postgresql/$1/bin"
    return
  fi
  [ -x "$PGV_TEST_TOOLS/postgres/$1/bin/postgres" ] || { debian_tools "$1" && return; }
  [ -d "$scratch/pg$1" ] || cp --archive "$PGV_TEST_TOOLS/postgres/$1" "$scratch/pg$1"
  echo "$scratch/pg$1/bin"
}

# The same of Debian's packages, with all client tools: 17 and newer.
debian_tools() { # MAJOR
  [ -x "$PGV_TEST_TOOLS/debian/$1/bin/postgres" ] || fail "no PostgreSQL $1: run make test-tools"
  [ -d "$scratch/debian$1" ] || cp --archive "$PGV_TEST_TOOLS/debian/$1" "$scratch/debian$1"
  # Not by the link: a server names its own place.
  echo "$scratch/debian$1/usr/lib/postgresql/$1/bin"
}

# Ends the script, and says so, where Debian's packages could not be had.
need_debian_tools() { # MAJOR
  [ -x "$PGV_TEST_TOOLS/debian/$1/bin/postgres" ] && return
  echo "*** ${0##*/} $1: NOT run: tests/tools/install-debian-tools.sh could not install PostgreSQL $1 ***" >&2
  exit 0
}

# Debian's own, which has psql, pgbench and all other programs; the other majors have only what a server needs.
debian_major=$("$(dirname "${BASH_SOURCE[0]}")/../tools/debian-postgres.sh")
# shellcheck disable=SC2034  # scripts that source this use it
debian_bin=/usr/lib/postgresql/$debian_major/bin

# The manifests of 17 and later name the cluster, and only their own pg_verifybackup reads them.
pg_verifies() { # DIR MAJOR
  "$debian_bin/pg_verifybackup" --no-parse-wal "$1" >/dev/null 2>"$scratch/verify.log" ||
    { [ "$2" -ge 17 ] && [ "$2" -ne "$debian_major" ]; } || fail "pg_verifybackup: $(cat "$scratch/verify.log")"
}

initdb_options=(--data-checksums)

create_cluster() { # BIN DATA
  as_postgres "$1/initdb" --pgdata="$2" --username=postgres --auth=trust "${initdb_options[@]}" --no-sync \
    --locale=C --encoding=UTF8 >"$scratch/initdb.log"
  as_postgres tee --append "$2/postgresql.conf" >/dev/null <<CONF
listen_addresses = ''
unix_socket_directories = '$scratch'
fsync = off
max_wal_size = 256MB
shared_buffers = 64MB
CONF
}

start_cluster() { # BIN DATA
  as_postgres "$1/pg_ctl" --pgdata="$2" --log="$2.log" --wait --timeout=120 start >/dev/null ||
    fail "the server in $2 does not start: $(tail --lines=5 "$2.log")"
}

stop_cluster() { # BIN DATA
  as_postgres "$1/pg_ctl" --pgdata="$2" --wait --mode=fast stop >/dev/null
}

sql() { # SQL [DATABASE]
  psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1" "${2:-postgres}"
}

# A configuration of the cluster in DATA, whose repository is `repository` or a directory, with more LINEs; and what the
# tools need to find it, and the server programs in `bin`.
# shellcheck disable=SC2154 # bin is of the script
configure_demo() { # DATA [LINE…]
  as_postgres mkdir "$scratch/etc" "$scratch/repository"
  as_postgres install --mode=0600 /dev/null "$scratch/etc/demo.conf"
  printf '%s\n' "PGV_REPO=${repository:-file://$scratch/repository}" "PGV_KEY_FILE=$PGV_KEY_FILE" "PGV_STATE_DIR=$scratch/state" "PGV_PGDATA=$1" \
    "PGHOST=\"$scratch\"" "${@:2}" | as_postgres tee "$scratch/etc/demo.conf" >/dev/null
  unset PGV_KEY_FILE
  export PGV_CONFIG_DIR=$scratch/etc PGV_TEST_PG_BIN=$bin
}

# A server in "$scratch/primary" that archives by pgv, and the configuration of the cluster demo. Sets `system`, its identifier.
# shellcheck disable=SC2034  # of the script
start_primary() { # BIN [LINE…]
  create_cluster "$1" "$scratch/primary"
  { echo "archive_mode = on" && echo "archive_command = '$scratch/bin/pgv-wal-push -c $scratch/etc/demo.conf %p'"; } |
    as_postgres tee --append "$scratch/primary/postgresql.conf" >/dev/null
  start_cluster "$1" "$scratch/primary"
  configure_demo "$scratch/primary" "${@:2}"
  system=$(sql "select system_identifier from pg_control_system()")
}

# Starts an S3 server that ends with this script. Sets PGV_TEST_BUCKET, and `bucket_settings`: lines of a configuration that
# reach it.
# shellcheck disable=SC2034  # of the script
start_bucket() {
  local line
  mkdir "$scratch/s3"
  "$pgv_tree/tests/tools/s3-server.sh" start "$scratch/s3" >"$scratch/s3.env" || fail "the S3 server does not start"
  while IFS= read -r line; do export "${line?}"; done < <(grep '^[A-Z_0-9]*=' "$scratch/s3.env")
  bucket_settings=("PGV_S3_ENDPOINT_URL=$PGV_S3_ENDPOINT_URL" PGV_S3_REGION=us-east-1
    "AWS_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY")
  unset PGV_S3_ENDPOINT_URL PGV_S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}

# Polls for a minute: machines stall, and a sleep that was long enough is not.
wait_until() { # COMMAND…: until it succeeds
  local try
  for try in $(seq 600); do
    ! "$@" >/dev/null 2>&1 || return 0
    sleep 0.1
  done
  fail "never, in $try tries: $*"
}

# Transactions of pgbench until `end_load`, and the first of them. So many that every page of a small database changes, and
# not so many that the others, beside whom this runs, wait for them.
begin_load() {
  pgbench --client=2 --time=300 --rate=200 --no-vacuum >/dev/null 2>&1 &
  load=$!
  wait_until is_true 'select exists (select from pgbench_history)'
}

end_load() {
  kill "$load" 2>/dev/null || true # it may have ended
  wait "$load" || true             # by that
}

is_true() { # SQL
  [ "$(sql "$1")" = t ]
}

# A megabyte of a backup is on its way, so its server session has begun it long since.
is_streaming() { # PATTERN of the rest of pgv-snap's command line
  local pid
  pid=$(pgrep --full "^(.*/)?pgv-snap .*$1")
  as_postgres awk '$1 == "wchar:" { begun = $2 > 1000000 } END { exit !begun }' "/proc/$pid/io"
}

all_is_archived() {
  is_true "select not exists (select from pg_ls_archive_statusdir() where name like '%.ready')"
}

wait_until_promoted() {
  wait_until is_true 'select not pg_is_in_recovery()'
}

# The text between .Bd and .Ed after the comment "tried: NAME" of a man page, as its reader sees it: what a page tells
# people to type is what the tests run.
page_block() { # PAGE NAME
  local text
  text=$(awk -v mark=".\\\\\" tried: $2" '$0 == mark { found = 1 } found && /^\.Ed/ { exit } found == 2 { print } found && /^\.Bd/ { found = 2 }' "$1" |
    sed 's/\\e/\\/g; s/\\-/-/g; s/\\&//g')
  [ -n "$text" ] || fail "$1 has no block \"$2\""
  printf '%s\n' "$text"
}

# The same of README.md: the indented lines after the comment "tried: NAME", which may be indented itself.
readme_block() { # NAME
  local text
  text=$(awk -v mark="<!-- tried: $1 -->" '{ text = $0; sub(/^ +/, "", text) } text == mark { found = 1; next } found && /^    / { print substr($0, 5); begun = 1; next }
    begun && !/^$/ { exit }' "$(dirname "${BASH_SOURCE[0]}")/../../README.md")
  [ -n "$text" ] || fail "README.md has no block \"$1\""
  printf '%s\n' "$text"
}
