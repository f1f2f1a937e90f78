#!/usr/bin/env bash
# A repository that release 0.1.0 wrote (tests/compatibility) is listed, verified, restored and started, built upon and
# expired by this one.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
full=20261129-035923F

pgv() {
  as_postgres env PGV_CONFIG_DIR="$scratch/etc" "$@" 2>"$scratch/err"
}

done_or_fail() { # COMMAND…
  pgv "$@" >"$scratch/out" || fail "$* exits with $?: $(cat "$scratch/out" "$scratch/err")"
}

labels() {
  pgv pgv-info demo --format label
}

configure() {
  as_postgres mkdir "$scratch/etc"
  cp --recursive "$root/tests/compatibility/0.1.0/repository" "$scratch/repository"
  # As pgv makes directories: only such does it remove when they are empty. A checkout has the umask's.
  find "$scratch/repository" -type d -exec chmod 0700 {} +
  cp "$root/tests/compatibility/0.1.0/key" "$scratch/key"
  chmod 0600 "$scratch/key"
  as_postgres tee "$scratch/etc/demo.conf" >/dev/null <<CONF
PGV_REPO=file://$scratch/repository
PGV_KEY_FILE=$scratch/key
PGV_STATE_DIR=$scratch/state
PGV_PGDATA=$scratch/restored
PGHOST=$scratch
CONF
  as_postgres chmod 0600 "$scratch/etc/demo.conf"
  [ "$(id --user)" -ne 0 ] || chown --recursive postgres "$scratch/repository" "$scratch/key"
}

restores() { # ROWS OPTION…
  local rows=$1 directory=$scratch/restored
  shift
  done_or_fail pgv-restore demo "$directory" "$@"
  # The socket directory of the cluster that was backed up does not exist here.
  echo "unix_socket_directories = '$scratch'" | as_postgres tee --append "$directory/postgresql.auto.conf" >/dev/null
  start_cluster "$bin" "$directory"
  wait_until_promoted
  [ "$(sql 'select count(*) from marks')" = "$rows" ] || fail "$*: $(sql 'select count(*) from marks') rows instead of $rows"
  stop_cluster "$bin" "$directory"
}

# The restored cluster takes the place of the original: it archives.
continues() {
  as_postgres sed --in-place '/^archive_/d' "$scratch/restored/postgresql.auto.conf"
  as_postgres tee --append "$scratch/restored/postgresql.auto.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'PGV_CONFIG_DIR=$scratch/etc $scratch/bin/pgv-wal-push demo %p'
CONF
  rm "$scratch/restored/pgv/archiving-undecided"
}

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
bin=$(server_bin 15)
configure

expected=$(printf '%s\n' "$full" "${full}_20261129-035925I" "${full}_20261129-035926I")
[ "$(labels)" = "$expected" ] || fail "listed are: $(labels)"
[ "$(pgv pgv-info demo --format json | grep --count '"state":"complete"')" -eq 3 ] || fail "not complete: $(pgv pgv-info demo)"
done_or_fail pgv-info wal demo
# The verdicts of that release are read, and then those of this one stand beside them.
[ "$(pgv pgv-info demo --format json | grep --count '"kind":"verify","ok":true')" -gt 0 ] || fail "no verdicts: $(pgv pgv-info demo --format json)"
done_or_fail pgv-verify demo

restores 1000 --label "$full" --immediate
rm --recursive "$scratch/restored"
restores 2000 --label "${full}_20261129-035925I" --immediate
rm --recursive "$scratch/restored"
# An increment of whole files, and the WAL behind it.
restores 4000

# Built upon by this release, its WAL and an increment, and expired by a full.
continues
start_cluster "$bin" "$scratch/restored"
sql "insert into marks select 5, id from generate_series(1, 1000) id"
done_or_fail pgv-backup demo --type incr
[[ $(labels | tail --lines=1) == "$full"_*I ]] || fail "no increment on a backup of 0.1.0: $(labels; cat "$scratch/err")"
stop_cluster "$bin" "$scratch/restored"
rm --recursive "$scratch/restored"
restores 5000
continues
start_cluster "$bin" "$scratch/restored"
done_or_fail pgv-backup demo --type full
stop_cluster "$bin" "$scratch/restored"
done_or_fail pgv-expire demo --keep-full 1
[ "$(labels | wc --lines)" -eq 1 ] || fail "expiry keeps $(labels)"
[ ! -e "$(echo "$scratch"/repository/demo/*/backup)/$full" ] || fail "something of $full stays"
echo "compatibility: a repository of 0.1.0 is listed, verified, restored, built upon, expired"
