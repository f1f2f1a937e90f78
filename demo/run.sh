#!/usr/bin/env bash
# make demo: a scratch cluster with real data is backed up into a directory while it is written to,
# lost, and restored twice: with one command, and with tools every system has. Nothing outside one
# scratch directory is touched, and no account is needed.
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "$0")/.." && pwd)
scratch=
pg_bin=

# Everything that is missing, in one message and before the build, which takes minutes.
find_what_it_needs() {
  local candidate missing=() packages=() rust=''
  need() { # WHAT PACKAGE COMMAND…
    "${@:3}" >/dev/null 2>&1 || { missing+=("$1") && packages+=("$2"); }
  }
  for candidate in /usr/lib/postgresql/*/bin; do
    [ ! -x "$candidate/initdb" ] || pg_bin=$candidate
  done
  need 'a PostgreSQL server' postgresql test -n "$pg_bin"
  need psql postgresql-client command -v psql
  need pgbench postgresql-contrib test -x "${pg_bin:-/nowhere}/pgbench"
  need zstd zstd command -v zstd
  need openssl openssl command -v openssl
  if [ ! -x "$root/target/release/pgv-s3" ]; then
    need 'a C compiler' build-essential command -v cc
    command -v cargo >/dev/null || { missing+=(Rust) && rust='Rust 1.94.1 or newer: https://rustup.rs'; }
  fi
  [ "$(id -u)" -ne 0 ] || need 'the user postgres' postgresql id postgres
  [ "${#missing[@]}" -gt 0 ] || return 0
  printf 'demo: error: missing: %s\n' "$(printf '%s, ' "${missing[@]}" | sed 's/, $//')" >&2
  [ "${#packages[@]}" -eq 0 ] ||
    printf 'demo: hint: on Debian or Ubuntu: apt-get install %s\n' "$(printf '%s\n' "${packages[@]}" | sort --unique | xargs)" >&2
  [ -z "$rust" ] || echo "demo: hint: $rust" >&2
  exit 2
}

announce_build() {
  [ -x "$root/target/release/pgv-s3" ] ||
    echo 'demo: the first build compiles some 300 libraries: five to ten minutes on two cores; the demo then takes a minute' >&2
}

say() {
  printf '\n\033[1m%s\033[0m\n' "$*"
}

# Shows a command and runs it.
show() {
  printf '  $ %s\n' "$*"
  "$@" 2>&1 | sed 's/^/    /'
}

clean_up() {
  local data
  for data in "$scratch"/{cluster,restored,by-hand}; do
    [ ! -f "$data/postmaster.pid" ] || "$pg_bin/pg_ctl" --pgdata="$data" --silent --mode=immediate stop || true
  done
  rm --recursive --force "$scratch"
}

query() {
  psql --no-psqlrc --tuples-only --no-align --host="$scratch" --port="$1" --username=postgres \
    --command='select count(*), sum(abalance) from pgbench_accounts' postgres
}

make_cluster() {
  "$pg_bin/initdb" --pgdata="$scratch/cluster" --username=postgres --auth=trust --data-checksums \
    --no-sync >/dev/null
  cat >>"$scratch/cluster/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$scratch'
port = 54391
CONF
  "$pg_bin/pg_ctl" --pgdata="$scratch/cluster" --log="$scratch/cluster.log" --silent --wait start
  "$pg_bin/pgbench" --initialize --quiet --scale=10 --host="$scratch" --port=54391 --username=postgres \
    postgres 2>/dev/null
}

main() {
  find_what_it_needs
  scratch=$(mktemp --directory /tmp/pgv-demo.XXXXXX)
  trap clean_up EXIT
  export PATH="$root/scripts:$root/target/release:$PATH"
  export PGV_CONFIG_DIR=$scratch/etc PGV_STATE_DIR=$scratch/state PGHOST=$scratch PGPORT=54391 \
    PGUSER=postgres PGDATABASE=postgres
  mkdir --mode=0700 "$scratch/etc" "$scratch/state" "$scratch/repository"

  say '1. A cluster with 150 MB of data'
  make_cluster
  show psql --no-psqlrc --command='select version()' --tuples-only

  say '2. A key, a configuration: all the set-up there is'
  (umask 077 && pgv-crypt --generate-key >"$scratch/key")
  cat >"$scratch/etc/demo.conf" <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_PGDATA=$scratch/cluster
CONF
  chmod 0600 "$scratch/etc/demo.conf"
  sed 's/^/    /' "$scratch/etc/demo.conf"

  say '3. A backup, while pgbench writes'
  "$pg_bin/pgbench" --client=1 --time=6 --no-vacuum postgres >/dev/null 2>&1 &
  local load=$!
  show pgv-backup demo --type full
  wait "$load"
  show pgv-info demo --format table

  say '4. The cluster is lost'
  "$pg_bin/pg_ctl" --pgdata="$scratch/cluster" --silent --mode=immediate stop
  rm --recursive --force "$scratch/cluster"
  echo '  its directory is gone'

  say '5. One command brings it back'
  show pgv-restore demo "$scratch/restored" --start
  echo "  accounts and their sum: $(query 54391)"
  "$pg_bin/pg_ctl" --pgdata="$scratch/restored" --silent --mode=fast stop

  say '6. The same backup without pgv: tail, openssl, zstd, tar'
  local object
  object=$(find "$scratch/repository" -name data.pgv)
  echo "  the first line of the file says how:"
  head --bytes=127 "$object" | sed "s/^/    /"; echo
  mkdir --mode=0700 "$scratch/by-hand"
  tail --lines=+2 "$object" | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass "file:$scratch/key" |
    zstd --decompress --quiet | tar --extract --directory="$scratch/by-hand"
  echo "restore_command = 'false'" >>"$scratch/by-hand/postgresql.auto.conf"
  "$pg_bin/pg_ctl" --pgdata="$scratch/by-hand" --log="$scratch/by-hand.log" --silent --wait start
  echo "  accounts and their sum: $(query 54391)"
  say 'Done. README.md says how to do this with your own cluster.'
}

if [ "${1:-}" = --check ]; then
  find_what_it_needs
  announce_build
  exit 0
fi

# A server refuses to run as root; the demo then runs as user postgres on a copy it may read.
if [ "$(id -u)" -eq 0 ]; then
  find_what_it_needs
  copy=$(mktemp --directory /tmp/pgv-demo-root.XXXXXX)
  trap 'rm --recursive --force "$copy"' EXIT
  mkdir --parents "$copy/target/release"
  cp --recursive "$root/scripts" "$root/demo" "$copy/"
  find "$root/target/release" -maxdepth 1 -name "pgv-*" -executable -type f -exec cp --target-directory="$copy/target/release" {} +
  chmod 0755 "$copy"
  runuser --user postgres -- "$copy/demo/run.sh"
else
  main
fi
