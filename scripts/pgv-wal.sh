# Sourced, after pgv-common.sh, by the scripts that move WAL: within a time, sealed, and never over other content.
# shellcheck shell=bash disable=SC2154  # wal_timeout_seconds is of load_config

# PostgreSQL waits for a call about one WAL file, however long that takes: so each ends by itself.
# It began at this second of the script. SECONDS counts whole ones, from within one: without one more a limit of 1s may be
# over at once.
begin_time() { # SECONDS
  deadline=$(($1 + wal_timeout_seconds + 1))
}

# Sets `within` to the option by which a tool ends in time.
bound_time() {
  local left=$((deadline - SECONDS))
  [ "$left" -gt 0 ] || die 75 "not done within ${wal_timeout_seconds}s" 'PGV_WAL_TIMEOUT sets this limit'
  within=(--within "$((left < wal_timeout_seconds ? left : wal_timeout_seconds))s")
}

# Where only recipients open what is sealed: with this host's current data key.
seal_for_recipients() { # SYSTEM-IDENTIFIER NAME
  [ -n "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || return 0
  # shellcheck source=scripts/pgv-current-key.sh
  declare -F use_data_key >/dev/null || source "$library/pgv-current-key.sh"
  use_data_key "$1" "$2"
}

# Seals a WAL file and stores it, durably, under its name in the tree of a cluster. The same content again is
# success; other content is never overwritten. All within the time of begin_time.
store_wal() { # FILE NAME SYSTEM-IDENTIFIER
  local status=0 context=$3/wal/${2:0:8}/$2.pgv said tree=$PGV_REPO/$PGV_CLUSTER/$3/
  bound_time
  seal_for_recipients "$3" "$2"
  [[ $2 != *.history || -z ${PGV_RECIPIENTS:-}${PGV_WRAP:-} ]] || leave_digest "$1" "$PGV_REPO/$PGV_CLUSTER/${context%.pgv}.sha256"
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
    # With the key of another host, or one that this host has no more.
    '0 4 '*)
      [ -n "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || die 1 "$url exists, but cannot be opened" 'see the message above; it will be retried'
      store_beside "$@"
      ;;
    '0 0 7')
      [ "${shorter_partial:-enough}" = enough ] ||
        die 1 "$url is shorter than the received segment" "to store all of it: pgv-s3 rm $url, then give the same command again"
      say "$2 is in the archive already, shorter, with the same history: the next timeline has the rest"
      ;;
    "$differs") die 1 "$url has other content" 'nothing was overwritten; two clusters may be archiving under one name' ;;
    *) die 1 "$url exists, but cannot be opened" 'see the message above; it will be retried' ;;
  esac
}

# Beside an object that this host cannot open: under the name of the key, too. So archiving never waits for a key that is
# gone, and whoever has the keys can compare the two. Of two histories under one name no copy is made: they are compared by
# their digests, which lie there in plain.
store_beside() { # FILE NAME CONTEXT
  local status=0 context=${3%.pgv}.$PGV_KEY_NAME.pgv statuses
  bound_time
  if [[ $2 == *.history ]]; then
    same_history "$1" "$PGV_REPO/$PGV_CLUSTER/${3%.pgv}.sha256" ||
      die 1 "$PGV_REPO/$PGV_CLUSTER/$3 is another history, or cannot be compared" 'nothing was overwritten; two clusters may be archiving under one name'
    say "$2 is in the archive already, with the same content"
    return
  fi
  pgv-s3 --quiet "${within[@]}" put "$PGV_REPO/$PGV_CLUSTER/$context" -- \
    pgv-crypt --quiet --encrypt --wal --level "${PGV_LEVEL:-3}" --context "$context" "$1" 2>&1 || status=$?
  if [ "$status" -eq 6 ]; then
    set +e
    pgv-s3 --quiet "${within[@]}" get --whole "$PGV_REPO/$PGV_CLUSTER/$context" | pgv-crypt --quiet --decrypt --context "$context" | cmp --silent - "$1"
    statuses=${PIPESTATUS[*]}
    set -e
    [ "$statuses" = '0 0 0' ] || die 1 "$context exists with other content" 'nothing was overwritten'
  elif [ "$status" -ne 0 ]; then
    die 1 "$2 was not stored" 'it will be retried'
  fi
  warn "$2 is in the archive, sealed with a key that this host does not have; stored beside it, with the key $PGV_KEY_NAME"
}

# By the digest that whoever stored it left beside it.
same_history() { # FILE URL
  local own stored
  own=$(sha256sum <"$1") && stored=$(pgv-s3 --quiet "${within[@]}" get --whole "$2") || return
  [ "${own%% *}" = "$stored" ]
}

# Before a history is stored: what other hosts compare, which do not have its key. One that lies there is not trusted to be
# this history's: whoever left it may not have stored its own.
leave_digest() { # FILE URL
  local sum said status=0
  sum=$(sha256sum <"$1") || die 1 "$1 cannot be read" 'it will be retried'
  said=$(pgv-s3 --quiet "${within[@]}" put "$2" <<<"${sum%% *}" 2>&1) || status=$?
  case $status in
    0) ;;
    6) same_history "$1" "$2" || die 1 "$2 is of another history, or cannot be compared" 'nothing was overwritten; two clusters may be archiving under one name' ;;
    *) die 1 "the digest of ${1##*/} was not stored: ${said%%$'\n'*}" 'it will be retried' ;;
  esac
}

# For recovery: the data keys that pgv-restore opened, or an earlier call. They stay for the calls to come.
use_opened_keys() {
  has_opened=no ask_on_terminal=no
  [ -n "${PGV_IDENTITY:-}${PGV_UNWRAP:-}" ] || [ -d "$PGV_STATE_DIR/opened" ] || return 0
  # shellcheck source=scripts/pgv-opening.sh
  source "$library/pgv-opening.sh"
  export PGV_KEYS_OPENED=yes
  use_keys_of "$system_identifier" "$PGV_STATE_DIR/opened"
}

# Once in a call, where none of these keys opens a segment.
# shellcheck disable=SC2034  # of open_data_keys
open_more_keys() {
  local keys_lock needed_for="it is needed because no data key in $PGV_STATE_DIR/opened opens $name"
  [ "$has_opened" = no ] && [ -n "${PGV_IDENTITY:-}${PGV_UNWRAP:-}" ] || return
  has_opened=yes
  mkdir --parents "$PGV_STATE_DIR/opened"
  exec {keys_lock}>>"$PGV_STATE_DIR/opened/.lock"
  flock --timeout "$((deadline - SECONDS))" "$keys_lock" || die 75 'another call opens data keys'
  PGV_KEYS_OPENED='' open_data_keys "$PGV_STATE_DIR/opened" "$system_identifier"
  export PGV_KEYS_OPENED=yes
  exec {keys_lock}>&-
}

# Two hosts may have stored a segment, each with a key of its own. Sets `status` to that of a file that opens, FILE; two
# that open must be the same. What could not be fetched decides nothing. Where only another one is there, which no key
# opens, `status` says so.
settle_beside() { # WAL-DIRECTORY NAME FILE
  local listed url name key after=$2. strange=0
  while :; do
    listed=$(pgv-s3 --quiet "${within[@]}" ls --limit 100 --after "$after" "$1") || die 1 "cannot tell whether there is another object of $2"
    for url in $listed; do
      name=${url##*/}
      [[ $name == "$2".* ]] || return 0
      [[ $name =~ ^$2\.([0-9a-f]{16})\.pgv$ ]] || continue
      key=${BASH_REMATCH[1]}
      # Objects of any name may lie there; a key may have another file name.
      [[ :${PGV_KEY_FILE:-}: == */$key:* ]] || { strange=$((strange + 1)) && [ "$strange" -le 16 ]; } || continue
      settle_one "$url" "$2" "$3"
    done
    [ -n "$listed" ] || return 0
    after=$name
  done
}

settle_one() { # URL NAME FILE
  local said of=${1##*/}
  said=$({ open_file "$1" "${1#"$PGV_REPO/$PGV_CLUSTER/"}" "$3.beside"; } 3>&1)
  case ${said##*$'\n'} in
    '0 0')
      if [ "$status" != '0 0' ]; then
        mv "$3.beside" "$3" && status='0 0'
      else
        cmp --silent "$3" "$3.beside" ||
          die 1 "$1 and $2.pgv $([ $? -eq 1 ] && echo 'have different content' || echo 'cannot be compared')" 'two clusters may be archiving under one name'
      fi
      ;;
    # Not this host's to open, or damaged; or it was removed since.
    '0 '* | '141 '*) [[ $status != 3* ]] || status='0 4' ;;
    '3 '* | '5 '*) ;;
    *) die 1 "$of was not fetched, so nobody knows whether it is the same" "${said%$'\n'*}" ;;
  esac
  rm --force "$3.beside"
}

# Fetches an object and opens it. Prints what the tools say, which descriptor 3 is, and their statuses.
open_file() { # URL CONTEXT FILE
  set +e
  umask "${server_umask:-077}"
  pgv-s3 --quiet "${within[@]}" get --whole --inside "$base/" "$1" 2>&3 | pgv-crypt --quiet --decrypt --context "$2" >"$3" 2>&3
  echo "${PIPESTATUS[*]}"
}

# Whether another host stored segments that are still to be fetched: these are not fetched ahead, where nobody compares.
has_beside() {
  local listed
  [ -n "${PGV_KEYS_OPENED:-}" ] || return
  listed=$(pgv-s3 --quiet "${within[@]}" ls --after "$name.pgv" "$base/wal/${name:0:8}/") || return 0
  grep --quiet --extended-regexp '\.[0-9a-f]{16}\.pgv$' <<<"$listed"
}
