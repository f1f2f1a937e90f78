#!/usr/bin/env bash
# make bench: the same cluster (about 2 GB: pgbench scale 50 and 4 million rows of text and jsonb) backed
# up and restored by cat, tar | zstd | openssl, pg_basebackup | zstd | openssl, pgBackRest, and pgv, one
# after the other, so that the figures of one run compare; then increments, each after random transactions,
# and the restore of their chain; the sealing alone, and the memory of each stage. Machines are noisy: read ratios, not seconds.
# PGV_BENCH_DIR is where all of it lies: /dev/shm takes the disk out of the figures. PGV_BENCH_PGBACKREST is another
# pgBackRest (bench/pgbackrest.sh), with block increments; PGV_BENCH_OLDER the binaries of another version of pgv.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-3}
scale=${PGV_BENCH_SCALE:-50}
increments=${PGV_BENCH_INCREMENTS:-5}
transactions=${PGV_BENCH_TRANSACTIONS:-5000}
rows=${PGV_BENCH_ROWS:-4000000}
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"
pgbackrest=${PGV_BENCH_PGBACKREST:-pgbackrest} bin=

make_cluster() {
  make_data 'max_wal_size = 1GB' 'archive_mode = on' "archive_command = 'true'"
  fill_with_pgbench "$scale"
  sql "create table documents as
    select id, repeat(md5(id::text) || ' ', 2) || md5((id % 1000)::text) body,
      jsonb_build_object('id', id, 'name', md5((id * 7)::text), 'tags', jsonb_build_array(id % 10, id % 100)) meta
    from generate_series(1, $rows) id; create index on documents (id)"
  # Or autovacuum writes WAL in the middle of a measurement.
  sql 'vacuum analyze'
  sql checkpoint
}

# NAME COMMAND…: wall-clock seconds of one run, the caches as warm as the run before left them.
measure() {
  local name=$1 start stop
  shift
  # What the run before left to be written is not this one's.
  sync
  start=$(date +%s.%N)
  "$@" >/dev/null 2>"$scratch/stderr" || { echo "bench: $name failed:" >&2; cat "$scratch/stderr" >&2; exit 1; }
  stop=$(date +%s.%N)
  LC_ALL=C awk -v n="$name" -v a="$start" -v b="$stop" 'BEGIN { printf "%s %.2f\n", n, b - a }' | tee --append "$scratch/times"
}

backup_cat() { bash -c 'set -euo pipefail; find "$1" -type f -exec cat {} + | cat >"$2"' bash "$scratch/data" /dev/null; }

backup_tar() {
  bash -c 'set -euo pipefail; tar --create --directory="$1" . | zstd -3 -T2 --quiet |
    openssl enc -aes-256-cbc -pbkdf2 -pass "file:$2" >"$3"' bash "$scratch/data" "$scratch/key" "$scratch/tar.out" || true
}

backup_pg_basebackup() {
  bash -c 'set -euo pipefail; pg_basebackup --pgdata=- --format=tar --wal-method=none --checkpoint=fast --no-sync 2>/dev/null |
    zstd -3 -T2 --quiet | openssl enc -aes-256-cbc -pbkdf2 -pass "file:$1" >"$2"' bash "$scratch/key" "$scratch/basebackup.out"
}

pgbackrest_() { as_postgres "$pgbackrest" --config="$scratch/pgbackrest.conf" --stanza=bench "$@"; }

backup_pgbackrest() { pgbackrest_ --type=full --no-archive-check backup; }

backup_pgv() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    rm --force "$1" "$1.manifest"
    pgv-s3 put "file://$1" -- pgv-crypt -e -- pgv-snap --manifest "$2/m" --facts "$2/f" "$2/data"
    pgv-s3 put "file://$1.manifest" -- pgv-crypt -e <"$2/m"' bash "$scratch/pgv.out" "$scratch"
}

# The same by the binaries of another version, if there are some.
older() { # NAME COMMAND…
  local name=$1 bin=$scratch/older
  shift
  [ ! -d "$bin" ] || measure "$name" "$@"
}

# Its manifest becomes the next one's parent.
increment_pgv() { # NUMBER
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    n=$2 since=()
    for older in $(seq 0 $((n - 1))); do since+=(--since "$1/chain/$older.manifest"); done
    pgv-s3 put "file://$1/chain/$n.pgv" -- pgv-crypt -e -- \
      pgv-snap "${since[@]}" --label "20200101-000000F_20200101-00000${n}I" --manifest "$1/chain/$n.manifest" --facts "$1/f" "$1/data"
    pgv-s3 put "file://$1/chain/$n.manifest.pgv" -- pgv-crypt -e <"$1/chain/$n.manifest"' bash "$scratch" "$1"
}

increment_pgbackrest() { pgbackrest_ --type=incr --no-archive-check backup; }

restore_chain_pgv() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    rm --recursive --force "$1/restored"
    links=()
    for n in $(seq 0 "$2"); do links+=("file://$1/chain/$n.pgv"); done
    pgv-apply "$1/restored" --merge --open --jobs 1 -- "${links[@]}" -- pgv-s3 get --jobs 1' bash "$scratch" "$increments"
}

# The chain becomes a full in the repository.
consolidate_pgv() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    links=() since=()
    for n in $(seq 0 "$2"); do links+=("file://$1/chain/$n.pgv") since+=(--since "$1/chain/$n.manifest"); done
    pgv-s3 put --replace "file://$1/chain/merged.pgv" -- pgv-crypt -e -- \
      pgv-merge --label 20200102-000000F --manifest "$1/chain/merged.manifest" "${since[@]}" "${links[@]}" -- pgv-crypt -d --jobs 1 -- pgv-s3 get --jobs 1' bash "$scratch" "$increments"
}

full_pgv_again() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    pgv-s3 put --replace "file://$1/chain/again.pgv" -- pgv-crypt -e -- \
      pgv-snap --label 20200102-000000F --manifest "$1/chain/again.manifest" "$1/data"' bash "$scratch"
}

# The whole scripts, with a shared key and with a recipient, whose key is made and stored before a full, looked for before an
# increment, and opened before a restore. No WAL goes there, which is a finding, and waited for a second.
script() { # CONFIGURATION COMMAND…
  local status=0
  as_postgres env PATH="$bin:$PATH" "${@:2}" --config "$scratch/$1.conf" || status=$?
  [[ $status =~ ^[07]$ ]]
}

restore_script() { # CONFIGURATION
  rm --recursive --force "$scratch/restored"
  script "$1" pgv-restore bench "$scratch/restored" --immediate
}

scripts() {
  local kind
  for kind in '' _recipients; do
    rm --recursive --force "$scratch/repository$kind"/* "$scratch/state$kind"
    measure "scriptfull-pgv$kind" script "bench$kind" pgv-backup bench --type full
    measure "scriptincr-pgv$kind" script "bench$kind" pgv-backup bench --type incr
    measure "scriptrestore-pgv$kind" restore_script "bench${kind/_recipients/_identity}"
  done
  rm --recursive --force "$scratch/repository"/* "$scratch/repository_recipients"/* "$scratch/restored" "$scratch/state_identity"
}

stored() { # NAME PATH…
  local name=$1
  shift
  du --bytes --summarize --total "$@" | awk -v n="$name" 'END { print n, $1 }' | tee --append "$scratch/increments"
}

chain() {
  local n before
  echo "increments: $transactions random transactions before each"
  as_postgres mkdir "$scratch/chain"
  backup_pgbackrest 2>/dev/null
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    pgv-s3 put "file://$1/chain/0.pgv" -- pgv-crypt -e -- \
      pgv-snap --label 20200101-000000F --manifest "$1/chain/0.manifest" "$1/data"' bash "$scratch"
  sleep 3
  for n in $(seq "$increments"); do
    "$pg_bin/pgbench" --no-vacuum --transactions="$transactions" >/dev/null 2>&1
    sql checkpoint
    before=$(du --bytes --summarize "$scratch/pgbackrest/backup" | cut --fields=1)
    measure increment-pgbackrest increment_pgbackrest
    echo "increment-pgbackrest $(($(du --bytes --summarize "$scratch/pgbackrest/backup" | cut --fields=1) - before))" | tee --append "$scratch/increments"
    measure increment-pgv increment_pgv "$n"
    stored increment-pgv "$scratch/chain/$n.pgv" "$scratch/chain/$n.manifest.pgv"
    sleep 3
  done
  echo "pages sent by the last: $(grep --only-matching '"blocks":{[^}]*}' "$scratch/f")"
  for n in 1 2 3; do
    measure restorechain-pgbackrest restore_pgbackrest
    measure restorechain-pgv restore_chain_pgv
  done
  # A full in the repository, from the chain and from the server.
  for n in 1 2 3; do
    measure consolidate-server full_pgv_again
    measure consolidate-pgv consolidate_pgv
  done
}

# Resident KiB at most, of each stage and what it started.
memory() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    rm --recursive --force "$1" "$2/restored"
    t=(/usr/bin/time --append "--output=$2/memory" "--format=%M %C")
    "${t[@]}" pgv-s3 put "file://$1" -- "${t[@]}" pgv-crypt -e -- "${t[@]}" pgv-snap --manifest "$2/m" "$2/data"
    "${t[@]}" pgv-s3 get "file://$1" | "${t[@]}" pgv-crypt -d | "${t[@]}" pgv-apply "$2/restored"' \
    bash "$scratch/pgv.out" "$scratch"
  echo
  echo "resident KiB at most, of each stage with what it started:"
  awk '{ print $1, $2, $3 }' "$scratch/memory"
}

# As pgv-restore does.
restore_pgv() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    rm --recursive --force "$2/restored"
    pgv-apply "$2/restored" --open -- pgv-s3 get "file://$1"' bash "$scratch/pgv.out" "$scratch"
}

restore_pgv_piped() {
  as_postgres env PATH="$bin:$PATH" PGV_KEY_FILE="$scratch/key" bash -c 'set -euo pipefail
    rm --recursive --force "$2/restored"
    pgv-s3 get "file://$1" | pgv-crypt -d | pgv-apply "$2/restored"' bash "$scratch/pgv.out" "$scratch"
}

seal_pgv() { bash -c '"$2/pgv-crypt" -e -k "$1/key" <"$1/plain.tar" >"$1/sealed.pgv"' bash "$scratch" "$bin"; }

open_pgv() { bash -c '"$2/pgv-crypt" -d -k "$1/key" <"$1/sealed.pgv" >/dev/null' bash "$scratch" "$bin"; }

seal_openssl() {
  bash -c 'set -euo pipefail; zstd -3 -T2 --quiet --stdout <"$1/plain.tar" |
    openssl enc -aes-256-cbc -pbkdf2 -pass "file:$1/key" >"$1/sealed.openssl"' bash "$scratch"
}

open_openssl() {
  bash -c 'set -euo pipefail; openssl enc -d -aes-256-cbc -pbkdf2 -pass "file:$1/key" -in "$1/sealed.openssl" |
    zstd --decompress --quiet >/dev/null' bash "$scratch"
}

restore_pgbackrest() {
  rm --recursive --force "$scratch/restored"
  as_postgres mkdir --mode=0700 "$scratch/restored"
  pgbackrest_ --pg1-path="$scratch/restored" restore
}

restore_tar() {
  bash -c 'set -euo pipefail; rm --recursive --force "$3"; mkdir "$3"
    openssl enc -d -aes-256-cbc -pbkdf2 -pass "file:$2" -in "$1" | zstd --decompress --quiet | tar --extract --directory="$3"; sync --file-system "$3"' \
    bash "$scratch/tar.out" "$scratch/key" "$scratch/restored"
}

configure_pgbackrest() {
  as_postgres mkdir "$scratch/pgbackrest"
  write_pgbackrest 2 <<CONF
repo1-path=$scratch/pgbackrest
repo1-retention-full=1
start-fast=y
archive-check=n
CONF
  # What 2.46 and newer have.
  if [ -n "${PGV_BENCH_PGBACKREST:-}" ]; then
    sed --in-place '/^repo1-path/a repo1-bundle=y\nrepo1-block=y' "$scratch/pgbackrest.conf"
  fi
  pgbackrest_ stanza-create --no-online
}

summary() {
  echo
  echo "median of $rounds, in seconds, and the ratio to pgv:"
  medians "$scratch/times" %7.2f
  echo
  echo "stored bytes:"
  du --bytes "$scratch/tar.out" "$scratch/basebackup.out" "$scratch/pgv.out" "$scratch/pgv.out.manifest" | sed "s#$scratch/##"
  sed "s#$scratch/##" "$scratch/size"
  echo
  echo "stored bytes of an increment, the median:"
  sort --key=1,1 --key=2,2n "$scratch/increments" | awk '{ v[$1] = v[$1] " " $2; n[$1]++ }
    END { for (k in v) { split(v[k], t, " "); print k, t[int((n[k] + 1) / 2)] } }' | sort
}

main() {
  require_root 'it starts a server as user postgres'
  require_postgres
  require "$pgbackrest" pgbackrest
  require zstd zstd
  require /usr/bin/time time
  begin
  install_pgv
  bin=$scratch/bin
  if [ -n "${PGV_BENCH_OLDER:-}" ]; then
    mkdir "$scratch/older"
    copy_binaries "$PGV_BENCH_OLDER" "$scratch/older"
  fi
  make_cluster
  du --summarize --human-readable "$scratch/data"
  configure_pgbackrest
  configure_twice "$scratch/bench" "PGHOST=$scratch" PGV_WAL_TIMEOUT=1s
  backup_cat
  backup_pgv
  "$scratch/bin/pgv-crypt" -d -k "$scratch/key" <"$scratch/pgv.out" >"$scratch/plain.tar"
  local round
  for round in $(seq "$rounds"); do
    echo "round $round"
    measure backup-cat backup_cat
    measure backup-tar backup_tar
    measure backup-pg_basebackup backup_pg_basebackup
    measure backup-pgbackrest backup_pgbackrest
    older backup-pgv_older backup_pgv
    measure backup-pgv backup_pgv
    measure restore-tar restore_tar
    measure restore-pgbackrest restore_pgbackrest
    older restore-pgv_older restore_pgv_piped
    measure restore-pgv_piped restore_pgv_piped
    measure restore-pgv restore_pgv
    measure seal-openssl seal_openssl
    older seal-pgv_older seal_pgv
    measure seal-pgv seal_pgv
    measure open-openssl open_openssl
    older open-pgv_older open_pgv
    measure open-pgv open_pgv
    scripts
  done
  du --bytes --summarize "$scratch/pgbackrest/backup" >"$scratch/size"
  chain
  summary
  memory
}

main
