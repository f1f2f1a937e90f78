#!/usr/bin/env bash
# A MAJOR UPGRADE of pgv-runbooks(7), typed as it stands but for names and places, with two real majors: Debian's own, and 17
# where only this script sees it. By pg_upgradecluster and by pg_upgrade; nothing is mixed, and the way back is there.
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-runbooks.7
need_root
to=17
need_debian_tools "$to"
if [ "${1:-}" != inside ]; then
  unshare --mount true 2>/dev/null || { echo "${0##*/}: was NOT run: this machine allows no mounts" >&2 && exit 0; }
  exec unshare --mount --propagation private "$0" inside
fi

name=pgvupg$$
etc=/etc/$name

drop() {
  local version
  for version in "$debian_major" "$to"; do
    pg_dropcluster --stop "$version" "$name" 2>/dev/null || true # there may be none
    rm --recursive --force "/etc/postgresql/$version/$name" "/var/lib/postgresql/$version/$name"
    rm --force "/etc/cron.d/pgv-$version-$name" "/var/log/postgresql/postgresql-$version-$name.log"
    rmdir "/etc/postgresql/$version" "/var/lib/postgresql/$version" 2>/dev/null || true # others may have clusters there
  done
  rm --recursive --force "$etc" "$scratch/state" "$scratch/bucket"
}

# Both majors where postgresql-common looks for them.
show_majors() {
  mkdir --parents "$scratch/majors/$debian_major"
  chmod 0755 "$scratch/majors"
  debian_tools "$to" >/dev/null
  ln --symbolic "$scratch/debian$to/usr/lib/postgresql/$to" "$scratch/majors/$to"
  mount --bind "/usr/lib/postgresql/$debian_major" "$scratch/majors/$debian_major"
  mount --rbind "$scratch/majors" /usr/lib/postgresql
}

type_block() { # NAME [STATUS]
  local status=0
  page_block "$page" "$1" | sed --expression="s|15-main|$debian_major-$name|g; s|17-main|$to-$name|g; s|15 main|$debian_major $name|g; s|17 main|$to $name|g" \
    --expression="s|15/main|$debian_major/$name|g; s|17/main|$to/$name|g; s|postgresql/15|postgresql/$debian_major|g; s|/etc/pgv|$etc|g" \
    --expression="s|s3://my-bucket/|file://$scratch/bucket/|g; s|--endpoint-url[^\\\\]*||" >"$scratch/typed"
  (cd / && bash -e -o pipefail "$scratch/typed") </dev/null >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "${2:-0}" ] || fail "the page's block \"$1\" exits with $status: $(cat "$scratch/typed" "$scratch/out" "$scratch/err")"
}

sql_of() { # VERSION SQL
  as_postgres psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --cluster "$1/$name" --dbname=postgres --command="$2"
}

begin_old() {
  pg_createcluster "$debian_major" "$name" -- --data-checksums >/dev/null
  pg_ctlcluster "$debian_major" "$name" start
  sql_of "$debian_major" 'create table marks as select generate_series(1, 1000) as id'
  as_postgres mkdir "$scratch/bucket"
  pgv-setup "$debian_major-$name" --repo "file://$scratch/bucket/pgv" --no-backup </dev/null 2>"$scratch/err" || [ $? -eq 7 ] || fail "pgv-setup: $(cat "$scratch/err")"
  pg_ctlcluster "$debian_major" "$name" restart
}

upgraded_by() { # BLOCK STATUS-OF-SET-UP
  local before
  begin_old
  type_block upgrade-before
  type_block "$1"
  [ "$(sql_of "$to" 'select count(*) from marks')" = 1000 ] || fail "the upgraded cluster lacks rows"
  # pg_upgradecluster leaves conf.d behind; with the old configuration nothing is archived.
  before=$(find "$scratch/bucket" -name '*.pgv' | sort)
  sql_of "$to" 'select pg_switch_wal()' >/dev/null
  [ "$2" -eq 7 ] || wait_until refused_to_mix
  [ "$(find "$scratch/bucket" -name '*.pgv' | sort)" = "$before" ] || fail "the new cluster archives as the old one"
  type_block upgrade "$2"
  type_block upgrade-backup
  [ ! -e "/etc/cron.d/pgv-$debian_major-$name" ] || fail "the old schedule is there"
  [ -e "/etc/cron.d/pgv-$to-$name" ] || fail "no schedule"
  as_postgres pgv-restore "$debian_major-$name" "$scratch/old" --plan >"$scratch/out" 2>&1 || fail "the old cluster cannot be restored: $(cat "$scratch/out")"
  as_postgres env PGV_TEST_PG_BIN="/usr/lib/postgresql/$to/bin" pgv-drill "$to-$name" --quiet 2>"$scratch/err" || fail "the drill of the new cluster exits with $?: $(cat "$scratch/err")"
  type_block upgrade-remove
  [ -z "$(find "$scratch/bucket/pgv/$debian_major-$name" -type f 2>/dev/null)" ] || fail "something of the old cluster is left"
  as_postgres pgv-info "$to-$name" >"$scratch/out" || fail "the new backups are gone"
}

refused_to_mix() {
  [ "$(sql_of "$to" 'select failed_count > 0 from pg_stat_archiver')" = t ] && grep --quiet "is not /var/lib/postgresql/$debian_major/$name" "/var/log/postgresql/postgresql-$to-$name.log"
}

main() {
  begin_on_machine
  trap 'status=$?; set +e; drop; umount --recursive /usr/lib/postgresql; umount "$scratch/majors/$debian_major"; (exit "$status"); end' EXIT
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  printf '#!/bin/sh\nshift 2\nexec runuser --user postgres -- "$@"\n' >"$scratch/bin/sudo"
  chmod 0755 "$scratch/bin/sudo"
  ln --symbolic /bin/true "$scratch/bin/cron"
  unset PGHOST PGPORT PGUSER PGDATABASE PGV_KEY_FILE
  export PGV_CONFIG_DIR=$etc TMPDIR=$scratch
  show_majors
  upgraded_by upgrade-cluster 7
  drop
  upgraded_by upgrade-by-hand 0
  echo "from $debian_major to $to, by pg_upgradecluster and by pg_upgrade"
}

main
