#!/usr/bin/env bash
# Where pgv-setup lets root write: only where nobody else can change the way there; what it adds to a configuration; and
# which other configurations need what --remove would delete; and what runs every week; and
# which configuration an archive_command reads; and which file of cron's is a cluster's.
set -euo pipefail
# shellcheck source=tests/library/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/pgv-setup-places.sh
source "$root/scripts/pgv-setup-places.sh"

# shellcheck source=scripts/pgv-setup-configuration.sh
source "$root/scripts/pgv-setup-configuration.sh"
# shellcheck source=scripts/pgv-setup-named.sh
source "$root/scripts/pgv-setup-named.sh"

# shellcheck disable=SC2034  # of that function
composed() { # PAIR…
  local file=/nowhere settings=() secrets=() pgdata='' state=/s configuration='' pairs=("$@")
  compose_configuration
  echo "${configuration//$'\n'/ }"
}

expect 'a rule for who has none' 'PGV_KEEP_FULL=2 PGV_STATE_DIR=/s' "$(composed PGV_REPO=file:///r)"
expect 'no rule that is refused beside it' 'PGV_STATE_DIR=/s' \
  "$(composed PGV_FULL_EVERY=never PGV_KEEP_WITHIN=14d)"

verdict() { # PATH
  only_root_writes "$1" && echo root || echo other
}

for place in /etc /etc/not-there/yet /etc/cron.d/../cron.d; do
  expect "$place" root "$(verdict "$place")"
done
for place in /tmp /tmp/x /etc/../tmp /var/tmp/not-there; do
  expect "$place" other "$(verdict "$place")"
done
expect 'a path from here' "$PWD/a" "$(absolute a)"
expect 'a list' "/b:$PWD/c d" "$(absolute_list '/b:c d')"
if [ "$(id --user)" -ne 0 ]; then
  exit 0
fi
scratch=$(mktemp --directory /tmp/pgv-places.XXXXXX)
trap 'rm --recursive --force "$scratch"' EXIT
chmod 0755 "$scratch"
mkdir "$scratch/own" "$scratch/theirs" "$scratch/group"
chown nobody "$scratch/theirs"
chmod 0770 "$scratch/group"
ln --symbolic /etc "$scratch/theirs/to-root"
ln --symbolic ../theirs "$scratch/own/to-theirs"
ln --symbolic /etc "$scratch/own/to-root"
ln --symbolic circle "$scratch/own/circle"
expect "root's directory in /tmp" root "$(verdict "$scratch/own/file")"
expect "root's link to a place of root's" root "$(verdict "$scratch/own/to-root/file")"
expect "a directory of another" other "$(verdict "$scratch/theirs")"
expect "another's link to a place of root's" other "$(verdict "$scratch/theirs/to-root/file")"
expect "root's link to another's directory" other "$(verdict "$scratch/own/to-theirs/file")"
expect "a group's directory" other "$(verdict "$scratch/group/file")"
expect "links in a circle" other "$(verdict "$scratch/own/circle")"

# shellcheck source=scripts/pgv-setup-schedule.sh
source "$root/scripts/pgv-setup-schedule.sh"

# Two clusters never have one file, and each keeps the one that it has.
# shellcheck disable=SC2034  # of that function
file_of() { # CLUSTER
  local cluster=$1 cron cron_directory=$scratch/cron
  find_cron
  echo "${cron##*/}"
}
begin_cron() { # [FILE CLUSTER…]
  local name
  rm --recursive --force "$scratch/cron"
  mkdir "$scratch/cron"
  for name in "${@:2}"; do printf '# x\n1 1 * * *  postgres  pgv-backup %s --quiet --wait 6h\n' "$name" >>"$scratch/cron/$1"; done
}
begin_cron
expect 'a name without dots' pgv-15-main "$(file_of 15-main)"
expect 'four clusters, four files' 'pgv-a_b pgv_a_db pgv_a___db pgv-a__b' "$(file_of a_b) $(file_of a.b) $(file_of a_.b) $(file_of a__b)"
begin_cron pgv-a_b a.b
expect 'an old file' pgv-a_b "$(file_of a.b)"
expect "another's old file" pgv_a__b "$(file_of a_b)"
begin_cron pgv-a_b a_b
expect 'a file of a name without dots' 'pgv-a_b pgv_a_db' "$(file_of a_b) $(file_of a.b)"
begin_cron pgv_a__b a_b
expect 'the file stays after the other went' pgv_a__b "$(file_of a_b)"
begin_cron pgv-a_b somebody
expect 'as somebody wants it' pgv-a_b "$(file_of a_b)"

# And none removes another's.
# shellcheck source=scripts/pgv-setup-remove.sh
source "$root/scripts/pgv-setup-remove.sh"
# shellcheck disable=SC2034,SC2317,SC2329  # of that function
removed() { # CLUSTER
  local cluster=$1 cron_directory=$scratch/cron cron state=$scratch/nothing left=() dry_run=no
  systemctl() { return 1; }
  as_owner() { "$@"; }
  say() { :; }
  remove_schedule
  echo "$(ls "$scratch/cron") ${left[*]}"
}
begin_cron pgv-a_b a.b
expect "another's schedule" 'pgv-a_b ' "$(removed a_b)"
expect 'its own' ' ' "$(removed a.b)"
begin_cron pgv-a_b a.b a_b
expect 'of both' "pgv-a_b the schedule $scratch/cron/pgv-a_b, which names a.b, too: delete the lines of a_b" "$(removed a_b)"

# What was chosen stays.
# shellcheck disable=SC2034,SC2317,SC2329  # of that function
chosen() { # GIVEN
  local cluster=demo schedule=$1 state=$scratch/chosen cron_directory=$scratch/cron cron chosen_before dry_run=no
  has_timer() { return 1; }
  as_owner() { "$@"; }
  choose_schedule
  echo "$schedule $chosen_before"
}
begin_cron
mkdir "$scratch/chosen"
expect 'the first time' 'cron no' "$(chosen '')"
expect 'none is asked for' 'none no' "$(chosen none)"
touch "$scratch/chosen/no-schedule"
expect 'none was chosen' 'none yes' "$(chosen '')"
expect 'and is no more' 'cron no' "$(chosen cron)"
begin_cron pgv-demo demo
expect 'a schedule that came since' 'cron no' "$(chosen '')"

# A path is no pattern, and may be written in another way.
# shellcheck disable=SC2034  # of that function
others() { # KEY-FILE DATA-DIRECTORY
  local etc=$scratch/etc file=$scratch/etc/own.conf pairs=("PGV_KEY_FILE=$1") pgdata=$2 state=$scratch/state siblings sharing
  find_others
  echo "${siblings[*]##*/} ${sharing[*]##*/}"
}
mkdir "$scratch/etc"
touch "$scratch/key+1" "$scratch/etc/own.conf"
ln --symbolic "key+1" "$scratch/link"
install --mode=0600 /dev/stdin "$scratch/etc/other.conf" <<<"PGV_PGDATA=$scratch/own/
PGV_KEY_FILE=$scratch/new:$scratch/key+1"
expect 'a key of two' ' other.conf' "$(others "$scratch/key+1" /nowhere)"
expect 'by a link' ' other.conf' "$(others "$scratch/link" /nowhere)"
expect 'the same data' 'other.conf ' "$(others "$scratch/key" "$scratch/own")"
expect 'neither' ' ' "$(others "$scratch/ke" "$scratch/ow.")"
echo nonsense >>"$scratch/etc/other.conf"
expect_status 2 others "$scratch/key" "$scratch/own"

# What a host that opens nothing does every week.
# shellcheck disable=SC2034,SC2317,SC2329  # of that function
weekly() { # PAIR…
  local cluster=demo owner=postgres pairs=("$@")
  write_file() { echo "$3"; }
  write_cron /nowhere 7 | grep --only-matching 'pgv-verify demo.* --quiet'
}
expect 'a shared key' 'pgv-verify demo --quiet' "$(weekly PGV_KEY_FILE=/k)"
expect 'recipients' 'pgv-verify demo --stored --quiet' "$(weekly PGV_RECIPIENTS=/r)"
expect 'a service that wraps' 'pgv-verify demo --stored --quiet' "$(weekly 'PGV_WRAP=kms wrap')"

# shellcheck source=scripts/pgv-archiving.sh
source "$root/scripts/pgv-archiving.sh"
read_by() { # ARCHIVE-COMMAND
  local reads=''
  reads_another "$1" "$scratch/etc/own.conf" || true # none is an answer
  echo "$reads"
}
own=$scratch/etc/own.conf
expect 'this one' '' "$(read_by "/usr/bin/pgv-wal-push -c $own %p")"
expect 'another' /etc/other.conf "$(read_by '"/usr/bin/pgv-wal-push" --config="/etc/other.conf" %p')"
expect 'behind the file' /etc/other.conf "$(read_by 'pgv-wal-push %p -c /etc/other.conf')"
expect "another archiver's" '' "$(read_by "pgv-wal-push -c $own --also 'pgbackrest --config=/etc/other.conf archive-push %p' %p")"
expect "a shell's own" '' "$(read_by "sh -c 'pgv-wal-push %p'")"
expect 'no pgv' '' "$(read_by 'pgbackrest --config=/etc/other.conf archive-push %p')"
