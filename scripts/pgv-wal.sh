# Sourced, after pgv-common.sh, by the scripts that move WAL: within a time, sealed, and never over other content.
# shellcheck shell=bash disable=SC2154  # wal_timeout_seconds is of load_config

# PostgreSQL waits for a call about one WAL file, however long that takes: so each ends by itself.
begin_time() {
  deadline=$((SECONDS + wal_timeout_seconds))
}

# Sets `within` to the option by which a tool ends in time.
bound_time() {
  local left=$((deadline - SECONDS))
  [ "$left" -gt 0 ] || die 75 "not done within ${wal_timeout_seconds}s" 'PGV_WAL_TIMEOUT sets this limit'
  within=(--within "${left}s")
}

# Seals a WAL file and stores it, durably, under its name in the tree of a cluster. The same content again is
# success; other content is never overwritten. All within the time of begin_time.
store_wal() { # FILE NAME SYSTEM-IDENTIFIER
  local status=0 context=$3/wal/${2:0:8}/$2.pgv said tree=$PGV_REPO/$PGV_CLUSTER/$3/
  bound_time
  said=$(pgv-s3 --quiet "${within[@]}" put --inside "$tree" --remember "$PGV_STATE_DIR/seen-$3" "$PGV_REPO/$PGV_CLUSTER/$context" -- \
    pgv-crypt --quiet --encrypt --wal --level "${PGV_LEVEL:-3}" --context "$context" "$1" 2>&1) || status=$?
  [ "$status" -eq 6 ] || [ -z "$said" ] || echo "$said" >&2
  case $status in
    0) ;;
    6) compare_wal "$1" "$2" "$context" ;;
    *) die 1 "$2 was not stored" 'it will be retried' ;;
  esac
}

# What is stored must be what is here. Of a partial segment it is enough that one begins as the other: they are of one
# history, and a server that was promoted has all of it on its new timeline. What was received has no such second place.
compare_wal() { # FILE NAME CONTEXT
  local url=$PGV_REPO/$PGV_CLUSTER/$3 statuses compare=(cmp --silent - "$1") differs='0 0 1'
  bound_time
  [[ $2 != *.partial ]] || compare=("${pgv_peek[@]}" segment --beside - "$1") differs='0 0 6'
  set +e
  pgv-s3 --quiet "${within[@]}" get --whole "$url" | pgv-crypt --quiet --decrypt --context "$3" | "${compare[@]}" >/dev/null
  statuses=${PIPESTATUS[*]}
  set -e
  # cmp reads no further than to the difference.
  case ${statuses//141/0} in
    '0 0 0') say "$2 is in the archive already, with the same content" ;;
    '0 0 7')
      [ "${shorter_partial:-enough}" = enough ] ||
        die 1 "$url is shorter than the received segment" "to store all of it: pgv-s3 rm $url, then give the same command again"
      say "$2 is in the archive already, shorter, with the same history: the next timeline has the rest"
      ;;
    "$differs") die 1 "$url has other content" 'nothing was overwritten; two clusters may be archiving under one name' ;;
    *) die 1 "$url exists, but cannot be opened" 'see the message above; it will be retried' ;;
  esac
}
