#!/usr/bin/env bash
# The policies of pgv-policies.7, set up by the page's own commands on a server that enforces them (moto: an emulation
# of Amazon's): the database host adds and cannot remove or replace, the expiry host removes without a key, the restore
# host only reads, and what was removed under a lock is had back.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-policies.7


# As the administrator. A page of the listing holds few versions, so that the page's loop sees many.
aws() {
  local few=()
  [ "${2:-}" != list-object-versions ] || few=(--page-size 7)
  env AWS_ACCESS_KEY_ID="$admin_id" AWS_SECRET_ACCESS_KEY="$admin_secret" "$PGV_TEST_TOOLS/moto/bin/aws" "$@" "${few[@]}"
}

# The page's commands, typed in the directory of the page's files.
type_block() { # NAME [SED-EXPRESSION]
  (cd "$scratch/admin" && eval "$(page_block "$page" "$1" | sed "${2:-}")") >"$scratch/out" 2>"$scratch/err" ||
    fail "the page's block \"$1\" exits with $?: $(cat "$scratch/err")"
}

as_host() { # HOST COMMAND…
  as_postgres env PGV_CONFIG_DIR="$scratch/$1" "${@:2}"
}

expect() { # STATUS HOST COMMAND…
  local wanted=$1 status=0
  as_host "${@:2}" >"$scratch/out" 2>"$scratch/err" || status=$?
  [ "$status" -eq "$wanted" ] || fail "${*:2} exits with $status instead of $wanted: $(cat "$scratch/out" "$scratch/err")"
}

expect_denied() { # HOST COMMAND…
  expect 1 "$@"
  grep --quiet --ignore-case 'access \?denied' "$scratch/err" || fail "$* is not denied: $(cat "$scratch/err")"
}

start_service() {
  local line
  mkdir "$scratch/s3" "$scratch/admin"
  "$root/tests/tools/moto-server.sh" start "$scratch/s3" >"$scratch/s3.env" || fail "moto does not start"
  while IFS= read -r line; do export "${line?}"; done <"$scratch/s3.env"
  endpoint=$PGV_S3_ENDPOINT_URL admin_id=$AWS_ACCESS_KEY_ID admin_secret=$AWS_SECRET_ACCESS_KEY
  export AWS_ENDPOINT_URL=$endpoint AWS_DEFAULT_REGION=us-east-1
  unset PGV_S3_ENDPOINT_URL PGV_S3_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
}

# An administrator, and from then on policies count.
enforce() {
  local key
  aws iam create-user --user-name admin >"$scratch/out"
  aws iam put-user-policy --user-name admin --policy-name all --policy-document \
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
  key=$(aws iam create-access-key --user-name admin --output text --query 'AccessKey.[AccessKeyId, SecretAccessKey]')
  "$root/tests/tools/moto-server.sh" enforce "$scratch/s3"
  read -r admin_id admin_secret <<<"$key"
}

set_up_bucket() {
  local name
  for name in database expiry restore lifecycle; do
    page_block "$page" "$name.json" >"$scratch/admin/$name.json"
  done
  type_block bucket
  type_block lifecycle
  type_block users
  mapfile -t ids < <(sed --quiet 's/.*"AccessKeyId": "\(.*\)".*/\1/p' "$scratch/out")
  mapfile -t secrets < <(sed --quiet 's/.*"SecretAccessKey": "\(.*\)".*/\1/p' "$scratch/out")
  [ "${#ids[@]} ${#secrets[@]}" = '3 3' ] || fail "the page's users have no keys: $(cat "$scratch/out")"
}

configure() { # HOST NUMBER [LINE…]
  as_postgres mkdir --parents "$scratch/$1"
  printf '%s\n' PGV_REPO=s3://my-bucket/pgv "PGV_STATE_DIR=$scratch/state-$1" "PGV_S3_ENDPOINT_URL=$endpoint" \
    PGV_S3_REGION=us-east-1 "AWS_ACCESS_KEY_ID=${ids[$2]}" "AWS_SECRET_ACCESS_KEY=${secrets[$2]}" "${@:3}" |
    as_postgres sh -c 'umask 077; cat >"$1"' sh "$scratch/$1/demo.conf"
}

labels() {
  as_host restore pgv-info demo --format label
}

database_host() {
  local url
  create_cluster "$bin" "$scratch/source"
  as_postgres tee --append "$scratch/source/postgresql.conf" >/dev/null <<CONF
archive_mode = on
archive_command = 'env PGV_CONFIG_DIR=$scratch/database $scratch/bin/pgv-wal-push -c $scratch/database/demo.conf %p'
CONF
  start_cluster "$bin" "$scratch/source"
  sql 'create table marks as select generate_series(1, 1000) as id'
  expect 0 database pgv-backup demo --type full
  # Its own copy of the manifest is lost: it may read the repository's.
  rm "$scratch/state-database/manifest/"*
  sql 'insert into marks select generate_series(1001, 2000)'
  expect 2 database pgv-backup demo --pin-until '2020-01-01 00:00:00Z'
  [ "$(labels | wc --lines)" -eq 1 ] || fail "there is a backup that is pinned until a time of the past: $(labels)"
  expect 0 database pgv-backup demo --type incr --pin-until '2126-01-01 00:00:00Z'
  [ "$(labels | grep --count I$)" -eq 1 ] || fail "no increment: $(cat "$scratch/err")"
  expect 0 database pgv-backup demo --type full
  sql 'insert into marks select generate_series(2001, 3000)'
  sql 'select pg_switch_wal()' >/dev/null
  expect 0 database pgv-check demo
  [ "$(sql 'select failed_count from pg_stat_archiver')" = 0 ] || fail "WAL was not archived at once: $(tail "$scratch/source.log")"

  url=$(as_host database pgv-info choose demo --latest | head --lines=1)
  expect 6 database bash -c 'echo other | pgv-env demo pgv-s3 put "$1/data.pgv"' bash "$url"
  expect_denied database bash -c 'echo other | pgv-env demo pgv-s3 put --replace "$1/data.pgv"' bash "$url"
  expect_denied database pgv-env demo pgv-s3 rm "$url/data.pgv"
  expect_denied database pgv-env demo pgv-s3 rm --recursive "$url/"
  expect_denied database pgv-expire demo --keep-last 1
  # Not pgv's caution, the service's refusal.
  ! AWS_ACCESS_KEY_ID=${ids[0]} AWS_SECRET_ACCESS_KEY=${secrets[0]} "$PGV_TEST_TOOLS/moto/bin/aws" s3api put-object \
    --bucket my-bucket --key pgv/new >"$scratch/out" 2>&1 || fail "the service stores what does not say If-None-Match"
  grep --quiet AccessDenied "$scratch/out" || fail "not refused but failed: $(cat "$scratch/out")"
  [ "$(labels | wc --lines)" -eq 3 ] || fail "a refusal changed the listing: $(labels)"
}

# What pgv-s3 check says to each host, against the page's table.
check_says() {
  local lines
  expect 7 database pgv-env demo pgv-s3 check s3://my-bucket/pgv/demo/
  lines=$(grep ^BAD "$scratch/out")
  [[ $lines == 'BAD  rm: '* && $lines != *$'\n'* ]] || fail "check says to the database host: $(cat "$scratch/out")"
  expect 7 restore pgv-env demo pgv-s3 check s3://my-bucket/pgv/demo/
  grep --quiet '^BAD  put: store an object' "$scratch/out" || fail "check says to the restore host: $(cat "$scratch/out")"
  page_block "$page" replace >"$scratch/replace"
  expect_denied database pgv-env demo bash "$scratch/replace"
  [ "$(as_host restore pgv-env demo pgv-s3 get s3://my-bucket/replace-me)" = one ] || fail "replaced all the same"
}

restore_host() {
  local url
  expect 0 restore pgv-info demo
  expect 0 restore pgv-restore demo "$scratch/restored" --plan
  url=$(as_host restore pgv-info choose demo --latest | head --lines=1)
  as_postgres mkdir --mode=0700 "$scratch/by-hand"
  expect 0 restore bash -c 'set -o pipefail; pgv-env demo pgv-s3 get "$1/data.pgv" | pgv-env demo pgv-crypt -d | tar x -C "$2"' bash "$url" "$scratch/by-hand"
  [ -s "$scratch/by-hand/global/pg_control" ] || fail "nothing came out of the pipe"
  expect 0 restore pgv-verify demo --no-verdict
  expect_denied restore bash -c 'echo x | pgv-env demo pgv-s3 put s3://my-bucket/pgv/x'
  expect_denied restore pgv-env demo pgv-s3 rm "$url/data.pgv"
  stop_cluster "$bin" "$scratch/source"
  expect 0 restore pgv-restore demo "$scratch/restored" --start
  [ "$(sql 'select count(*) from marks')" = 3000 ] || fail "the restored cluster lacks rows"
  stop_cluster "$bin" "$scratch/restored"
}

# The increment was pinned by a host that cannot delete; expiry leaves it and its full, and it restores. That host unpins
# it, too.
keep_pinned() {
  local incr
  incr=$(labels | grep I$)
  as_host restore pgv-info demo --label "$incr" --format table | grep --quiet '^pinned until 2126-01-01' ||
    fail "the increment is not pinned"
  expect_denied restore pgv-pin demo "$incr"
  expect 0 expiry env --unset=PGV_KEY_FILE pgv-expire demo
  [ "$(labels)" = "$before" ] || fail "of $before, where $incr is pinned, there are still $(labels)"
  expect 0 restore pgv-restore demo "$scratch/pinned" --label "$incr" --immediate --start
  [ "$(sql 'select count(*) from marks')" = 2000 ] || fail "the pinned backup lacks rows"
  stop_cluster "$bin" "$scratch/pinned"
  expect 0 database pgv-pin demo "$incr" --remove
}

expiry_host() {
  local before
  page_block "$page" leftovers | sed 's/15-main/demo/' >"$scratch/leftovers"
  expect 0 expiry pgv-env demo pgv-s3 ls --recursive s3://my-bucket/pgv/demo/
  grep --quiet /pgv-check- "$scratch/out" || fail "pgv-s3 check left nothing"
  expect 0 expiry pgv-env demo bash -o pipefail "$scratch/leftovers"
  # moto goes on to list a directory in which nothing is left but markers.
  expect 0 expiry pgv-env demo pgv-s3 ls --recursive s3://my-bucket/pgv/demo/
  ! grep /pgv-check- "$scratch/out" || fail "what pgv-s3 check left stays"
  before=$(labels)
  keep_pinned
  expect 0 expiry env --unset=PGV_KEY_FILE pgv-expire demo
  [ "$(labels)" = "$(tail --lines=1 <<<"$before")" ] || fail "of $before there are still $(labels)"
  expect_denied expiry bash -c 'echo x | pgv-env demo pgv-s3 put s3://my-bucket/pgv/x'
}

# Everything is removed by whoever has the expiry host's rights, at a time that is not expiry's.
attack_and_undelete() {
  local key version time before
  sleep 1
  time=$(date --utc +%Y-%m-%dT%H:%M:%S)
  sleep 1
  before=$(labels)
  expect 0 expiry pgv-env demo pgv-s3 rm --recursive s3://my-bucket/pgv/demo/
  [ -z "$(labels)" ] || fail "removed, and there are: $(labels)"
  read -r key version <<<"$(aws s3api list-object-versions --bucket my-bucket --prefix pgv/demo/ \
    --output text --query 'Versions[0].[Key, VersionId]')"
  if aws s3api delete-object --bucket my-bucket --key "$key" --version-id "$version" >"$scratch/out" 2>&1; then
    fail "the administrator removes what is locked"
  fi
  type_block undelete "s/TIME/$time/"
  [ "$(labels)" = "$before" ] || fail "had back: $(labels) instead of $before"
  expect 0 restore pgv-verify demo --no-verdict
}

begin
cp "$root"/scripts/pgv-* "$scratch/bin/"
bin=$debian_bin
start_service
enforce
set_up_bucket
configure database 0 "PGV_KEY_FILE=$PGV_KEY_FILE" PGV_EXPIRE=no "PGV_PGDATA=$scratch/source"
configure expiry 1 PGV_KEEP_FULL=1
configure restore 2 "PGV_KEY_FILE=$PGV_KEY_FILE" "PGV_PGDATA=$scratch/source"
unset PGV_KEY_FILE
database_host
check_says
restore_host
expiry_host
attack_and_undelete
echo "policies: the database host cannot remove or replace, expiry needs no key, locked versions come back"
