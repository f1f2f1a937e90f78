#!/usr/bin/env bash
# The Debian package in a clean Debian: installed, used for a first backup and a restore, upgraded, removed, purged.
# Configuration, keys and the repository outlive all of it. For make test-long: it makes a whole Debian.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
need_root
command -v debootstrap >/dev/null || fail "no debootstrap: apt-get install debootstrap"
command -v cargo-deb >/dev/null || fail "no cargo-deb: cargo install --locked cargo-deb"

in_debian() { chroot "$debian" env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }

# Where this machine's own packages come from.
mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } |
    sed --quiet 's/^URIs: *\([^ ]*debian\)\/*$/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*debian\)\/* .*/\2/p' | awk 'NR == 1'
}

leave() {
  in_debian pg_ctlcluster 15 main stop --mode immediate >/dev/null 2>&1 || true
  in_debian pg_ctlcluster 15 restored stop --mode immediate >/dev/null 2>&1 || true
  umount "$debian/proc" 2>/dev/null || true
}

make_debian() {
  local place
  place=$(mirror)
  debootstrap --variant=minbase --include=postgresql,ca-certificates bookworm "$debian" "${place:-http://deb.debian.org/debian}" >"$scratch/debootstrap.log" 2>&1 ||
    fail "debootstrap: $(tail --lines=5 "$scratch/debootstrap.log")"
  mount -t proc proc "$debian/proc"
  cp /etc/resolv.conf "$debian/etc/" 2>/dev/null || true
}

install_package() { # FILE
  cp "$1" "$debian/tmp/pgv.deb"
  in_debian apt-get install --yes --no-install-recommends /tmp/pgv.deb >"$scratch/apt.log" 2>&1 || fail "apt-get: $(tail --lines=8 "$scratch/apt.log")"
}

expect() { # STATUS COMMAND…
  local wanted=$1 status=0
  shift
  in_debian "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "$* exits with $status: $(cat "$scratch/out" "$scratch/err")"
}

as_user() { # STATUS COMMAND… as postgres
  local wanted=$1
  shift
  expect "$wanted" runuser --user postgres -- "$@"
}

main() {
  begin
  trap 'status=$?; set +e; leave; (exit "$status"); end' EXIT
  debian=$scratch/debian
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  (cd "$root" && cargo deb --no-build --locked --output "$scratch/pgv.deb") >"$scratch/deb.log" 2>&1 || fail "cargo deb: $(tail --lines=5 "$scratch/deb.log")"
  if command -v lintian >/dev/null; then
    lintian --fail-on error,warning "$scratch/pgv.deb" >"$scratch/lintian" 2>&1 || fail "lintian: $(cat "$scratch/lintian")"
  else
    echo 'package.sh: lintian was NOT run: apt-get install lintian' >&2
  fi
  make_debian
  install_package "$scratch/pgv.deb"
  [ "$(in_debian stat --format='%a %U %G' /etc/pgv)" = '750 root postgres' ] || fail "/etc/pgv: $(in_debian stat --format='%a %U %G' /etc/pgv)"
  [ -e "$debian/usr/share/man/man1/pgv-backup.1.gz" ] || fail "no man page"
  [ -e "$debian/usr/share/bash-completion/completions/pgv-backup" ] || fail "no completion"
  [ -e "$debian/usr/lib/systemd/system/pgv-backup@.timer" ] || fail "no timer"

  # As README says it.
  expect 0 pg_ctlcluster 15 main start
  as_user 0 psql --quiet --command='create table marks as select generate_series(1, 1000) id'
  expect 0 install --directory --owner=postgres /srv/backups
  expect 7 pgv-setup 15-main --repo file:///srv/backups --schedule none
  expect 0 pg_ctlcluster 15 main restart
  as_user 0 pgv-backup 15-main
  as_user 0 pgv-check 15-main
  as_user 0 pgv-verify 15-main
  expect 0 pgv-restore 15-main /var/lib/postgresql/15/restored --as 15/restored --start
  as_user 0 psql --port=5433 --tuples-only --no-align --command='select count(*) from marks'
  [ "$(cat "$scratch/out")" = 1000 ] || fail "the restored cluster has $(cat "$scratch/out") rows"

  # A newer one, then none.
  dpkg-deb --raw-extract "$scratch/pgv.deb" "$scratch/newer"
  sed --in-place 's/^Version: .*/Version: 999/' "$scratch/newer/DEBIAN/control"
  dpkg-deb --build "$scratch/newer" "$scratch/newer.deb" >/dev/null
  before=$(in_debian find /etc/pgv /srv/backups -type f -exec sha256sum {} +)
  install_package "$scratch/newer.deb"
  as_user 0 pgv-backup 15-main
  expect 0 apt-get remove --yes pgv
  [ ! -e "$debian/usr/bin/pgv-backup" ] || fail "removed, and there"
  # A repository beside the state, and one in the same place.
  expect 0 cp --archive /srv/backups /var/lib/pgv/repository
  expect 0 cp --archive "/srv/backups/15-main/$(in_debian ls /srv/backups/15-main)" /var/lib/pgv/15-main/
  kept=$(in_debian sh -c 'find /var/lib/pgv/repository /var/lib/pgv/15-main/[0-9]* -type f')
  expect 0 apt-get purge --yes pgv
  while read -r line; do
    [ -e "$debian$line" ] || fail "purging removed $line"
  done <<<"$kept"
  [ ! -e "$debian/var/lib/pgv/15-main/lock" ] || fail "purging left state: $(ls "$debian/var/lib/pgv/15-main")"
  in_debian find /etc/pgv /srv/backups -type f -exec sha256sum {} + >"$scratch/after"
  while read -r line; do
    grep --quiet --line-regexp --fixed-strings "$line" "$scratch/after" || fail "purging lost $line"
  done <<<"$before"
  install_package "$scratch/pgv.deb"
  as_user 0 pgv-verify 15-main
  echo "package: installed, used, upgraded, purged, and nothing was lost"
}

main
