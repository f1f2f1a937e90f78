# Sourced by pgv's scripts: messages, configuration, and what they know of WAL.
# A script that sources it has read its own --help already, and knows where it lies: `here`.
# shellcheck shell=bash

set -euo pipefail
shopt -s inherit_errexit

export LC_ALL=C
umask 077
pgv_tool=${0##*/}
library=${BASH_SOURCE[0]%/*}
# shellcheck source=scripts/pgv-lines.sh
source "$library/pgv-lines.sh"
# cron's PATH is short: the tools lie beside the scripts, or where make install puts them.
# Exported: a server that pg_ctlcluster starts has no PATH in its environment.
export PATH=${here:?}:$PATH:/usr/local/bin

# systemd's journal takes a priority from the beginning of a line. JOURNAL_STREAM names it, for children whose stderr is
# another, too.
pgv_error='' pgv_warning='' pgv_info=''
if [ -n "${JOURNAL_STREAM:-}" ] && [ "$(stat --dereference --format=%d:%i /proc/self/fd/2)" = "$JOURNAL_STREAM" ]; then
  pgv_error='<3>' pgv_warning='<4>' pgv_info='<6>'
fi

say() {
  [ "${pgv_quiet:-no}" = yes ] || echo "$pgv_info$pgv_tool: $*" >&2
}

warn() {
  echo "$pgv_warning$pgv_tool: warning: $*" >&2
}

# Ends the script: its status, the error, and what to do about it.
die() { # STATUS MESSAGE [HINT…]
  local status=$1 hint
  echo "$pgv_error$pgv_tool: error: $2" >&2
  shift 2
  for hint in "$@"; do
    echo "$pgv_error$pgv_tool: hint: $hint" >&2
  done
  exit "$status"
}

# Runs CODE when the script ends, however it does, and then tells whoever wants to know: PGV_NOTIFY and PGV_PING_URL. CODE
# sees `pgv_status`, which is `killed` where a signal ended the script, and may end with another.
on_exit() { # CODE
  # shellcheck disable=SC2154  # set when the trap runs
  trap 'pgv_status=$?
    [ "$pgv_status" -ne 0 ] || [ "${pgv_finished:-no}" = yes ] || pgv_status=killed
    ('"$1"') || { pgv_status=$?; tell_outcome "$pgv_status"; exit "$pgv_status"; }
    tell_outcome "$pgv_status"' EXIT
}

# The end of a script that came to its end: a signal leaves a status of 0, too.
finish() { # STATUS
  pgv_finished=yes
  exit "$1"
}

# In bounded time; that nobody could be told is no failure of what was done.
tell_outcome() { # STATUS
  local command status=${1/killed/143}
  if [ -n "${PGV_NOTIFY:-}" ]; then
    read -r -a command <<<"$PGV_NOTIFY"
    timeout --kill-after=5 30 "${command[@]}" "$pgv_tool" "${PGV_CLUSTER:-}" "$status" </dev/null >&2 9>&- ||
      warn "PGV_NOTIFY: ${command[0]} exits with $?"
  fi
  if [ -n "${PGV_PING_URL:-}" ]; then
    # Whoever knows the URL can tell lies: it is for no list of processes.
    curl --silent --show-error --fail --max-time 30 --output /dev/null --config - 9>&- <<<"url = \"${PGV_PING_URL%/}/$status\"" ||
      warn "PGV_PING_URL: curl exits with $?"
  fi
}

# Somebody looks on: it is drawn on one line how far a work of hours is. The terminal may be another user's, and cannot be
# opened then, only inherited.
is_watched() {
  [ "${pgv_quiet:-no}" = no ] && [ -t 2 ]
}

# How much is done of how much, how fast, and how long the rest takes at that rate; nothing more to say is a blank line.
# The cursor goes back to where the line begins, so an error is written over it.
tell_progress() { # [WHAT DONE TOTAL BEGAN]
  local spent
  is_watched || return 0
  if [ $# -eq 0 ]; then
    printf '\e[K' >&2
    return
  fi
  spent=$((SECONDS - $4))
  [ "$spent" -gt 0 ] && [ "$2" -gt 0 ] || return 0
  printf '%s: %s of %s, %s/s, %ss left\e[K\r' "$1" "$2" "$3" $(($2 / spent)) $((($3 - $2) * spent / $2)) >&2
}

# Options of a script that take a value: "--name VALUE" and "--name=VALUE" are the same.
need_value() { # OPTION COUNT
  [ "$2" -ge 2 ] || die 2 "$1 needs a value"
}

# Sets `pairs` to the configuration's KEY=value lines, unquoted, or refuses: it is parsed and never evaluated.
parse_config() { # FILE
  local line number=0 key value forbidden
  pairs=()
  # Patterns, not regular expressions: it is read for every segment of WAL.
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [[ -z ${line//[[:space:]]/} || $line == '#'* ]] && continue
    key=${line%%=*} value=${line#*=}
    [[ $line == [A-Z_]*=* && $key != *[!A-Z0-9_]* ]] ||
      die 2 "$1: line $number is not KEY=value" 'no blanks around =, nothing before KEY'
    case $key in
      PGV_*) [[ " ${pgv_keys[*]} " == *" $key "* ]] || die 2 "$1: line $number: unknown key $key" 'man 5 pgv.conf lists them' ;;
      PG* | AWS_*) ;;
      *) die 2 "$1: line $number: unknown key $key" 'only PGV_, PG and AWS_ keys belong here' ;;
    esac
    if [[ $value == '"'*'"' && ${#value} -ge 2 ]]; then
      value=${value:1:-1}
      forbidden='*["\\$`]*'
    else
      forbidden='*[!A-Za-z0-9_./:@%+,=-]*'
    fi
    # shellcheck disable=SC2053  # a pattern
    [[ $value != $forbidden ]] ||
      die 2 "$1: line $number: the value of $key needs double quotes, without \" \\ \$ and backquote in them"
    pairs+=("$key=$value")
  done <"$1"
}

pgv_keys=(PGV_CHECKPOINT PGV_CLUSTER PGV_EXPIRE PGV_FULL_EVERY PGV_JOBS PGV_KEEP_DAILY PGV_KEEP_DIFF PGV_KEEP_FULL
  PGV_KEEP_HOURLY PGV_KEEP_LAST PGV_KEEP_MONTHLY PGV_KEEP_WEEKLY PGV_KEEP_WITHIN PGV_KEEP_YEARLY PGV_KEY_FILE
  PGV_KEY_NAME PGV_LEVEL PGV_NOTIFY PGV_PGDATA PGV_PING_URL PGV_RATE PGV_REPO PGV_S3_CA_FILE PGV_S3_ENDPOINT_URL
  PGV_S3_OBJECT_LOCK PGV_S3_PATH_STYLE PGV_S3_PROFILE PGV_S3_REGION PGV_S3_SSE PGV_S3_STALL PGV_S3_STORAGE_CLASS
  PGV_S3_TIMEOUT PGV_STATE_DIR PGV_SYSTEM_ID PGV_WAL PGV_WAL_JOBS PGV_WAL_SPOOL PGV_WAL_TIMEOUT)

config_directory() {
  echo "${PGV_CONFIG_DIR:-/etc/pgv}"
}

# The only configuration there is, or a refusal that lists them.
only_cluster() {
  local files=()
  shopt -s nullglob
  files=("$(config_directory)"/*.conf)
  shopt -u nullglob
  [ "${#files[@]}" -ne 0 ] || die 2 "no configuration in $(config_directory)" 'name a cluster, or set PGV_CLUSTER and PGV_REPO'
  [ "${#files[@]}" -eq 1 ] || die 2 "several clusters are configured" "name one: $(basename --multiple --suffix=.conf "${files[@]}" | tr '\n' ' ')"
  basename --suffix=.conf "${files[0]}"
}

# Sets the environment: what is there already, then the configuration, then defaults; and `config_file`, which is empty
# if there is none.
# shellcheck disable=SC2034  # for the caller
load_config() { # [CLUSTER] [FILE]
  local cluster=${1:-${PGV_CLUSTER:-}} file=${2:-} pairs=() pair key mode
  # A name on the command line is the configuration's; what it is called in the repository the configuration may say.
  [ -z "${1:-}" ] || unset PGV_CLUSTER
  if [ -z "$file" ]; then
    [ -n "$cluster" ] || cluster=$(only_cluster)
    file=$(config_directory)/$cluster.conf
    if [ ! -e "$file" ]; then
      [ -n "${PGV_REPO:-}" ] || die 2 "no configuration $file" "there are: $(cd "$(config_directory)" 2>/dev/null && echo *.conf)"
      file=
    fi
  elif [ -z "$cluster" ]; then
    cluster=${file##*/}
    cluster=${cluster%.conf}
  fi
  config_file=$file
  if [ -n "$file" ]; then
    [ -r "$file" ] || die 2 "cannot read $file" "run it as its owner: sudo -u $(stat --format=%U "$file") $pgv_tool …"
    # What runs for every segment leaves that to all the others.
    if [[ $pgv_tool != pgv-wal-* ]]; then
      mode=$(stat --dereference --format=%a "$file")
      [ "${mode: -1}" = 0 ] || die 2 "$file may hold secrets and everybody may read it" "chmod 0600 $file"
    fi
    parse_config "$file"
    for pair in "${pairs[@]}"; do
      key=${pair%%=*}
      [ -n "${!key:-}" ] || export "$key=${pair#*=}"
    done
  fi
  : "${PGV_CLUSTER:=$cluster}"
  [[ $PGV_CLUSTER =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ ]] || die 2 "\"$PGV_CLUSTER\" is not a cluster's name"
  [ -n "${PGV_REPO:-}" ] || die 2 "no PGV_REPO for cluster $PGV_CLUSTER" 'set it in the configuration: s3://bucket/prefix or file:///path'
  PGV_REPO=${PGV_REPO%/}
  : "${PGV_STATE_DIR:=/var/lib/pgv/$PGV_CLUSTER}"
  export PGV_CLUSTER PGV_REPO PGV_STATE_DIR
}

# Whether an archive may hold a file of that name.
is_wal_name() { # NAME
  [[ $1 =~ ^[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?$|^[0-9A-F]{8}\.history$ ]]
}

# Sets `next` to the segment after a segment, on its timeline.
following_segment() { # NAME SEGMENT-BYTES
  local per=$((0x100000000 / $2)) high=$((16#${1:8:8})) low=$((16#${1:16:8} + 1))
  [ "$low" -lt "$per" ] || low=0 high=$((high + 1))
  # shellcheck disable=SC2034  # for the caller
  printf -v next '%s%08X%08X' "${1:0:8}" "$high" "$low"
}

# How many segments a share of the spool may hold, or be fetching.
spool_segments() { # SEGMENT-BYTES ONE-OF-HOW-MANY
  local size=${PGV_WAL_SPOOL:-1GiB} bytes
  [[ $size =~ ^([0-9]{1,6})(MiB|GiB)$ ]] || die 2 "PGV_WAL_SPOOL $size is not a size such as 512MiB"
  bytes=$((BASH_REMATCH[1] << 20))
  [ "${BASH_REMATCH[2]}" = MiB ] || bytes=$((bytes << 10))
  bytes=$((bytes / $2))
  echo $((bytes / $1 > 0 ? bytes / $1 : 1))
}

# PostgreSQL waits for a call about one WAL file, however long that takes: so it ends by itself, and all that it calls.
begin_time() {
  time_limit=${PGV_WAL_TIMEOUT:-60s}
  if [[ $time_limit =~ ^([0-9]{1,9})s$ ]]; then
    time_limit=${BASH_REMATCH[1]}
  else
    time_limit=$(seconds "$time_limit")
  fi
  deadline=$((SECONDS + time_limit))
}

# Sets `time_left`, in seconds, and `bounded` to what stands before a command that may hang. In the foreground: it dies
# of the signals that end this script.
bound_time() {
  time_left=$((deadline - SECONDS))
  [ "$time_left" -gt 0 ] || die 75 "not done within ${time_limit}s" 'PGV_WAL_TIMEOUT is how long it may take'
  bounded=(timeout --foreground --kill-after=5s "$time_left")
}

# Nothing is archived into the empty directory on which the repository's disk is not mounted: where the tree was seen
# once, it must be. Sets `inside` to what makes sure of that when the object is stored.
refuse_unmounted() { # SYSTEM-IDENTIFIER
  local tree=${PGV_REPO#file://}/$PGV_CLUSTER/$1 seen=$PGV_STATE_DIR/seen-$1
  inside=()
  [[ $PGV_REPO == file://* ]] || return 0
  [ ! -d "$tree" ] || inside=(--inside "file://$tree/")
  [[ ! ( -e $seen && -d $tree ) ]] || return 0
  [ ! -e "$seen" ] ||
    die 1 "$tree was there, and is gone" "is the repository mounted? if it was moved away for good: rm $seen"
  [ -d "$tree" ] || return 0
  [ -d "$PGV_STATE_DIR" ] || mkdir --parents "$PGV_STATE_DIR" 2>/dev/null || true
  { : >"$seen"; } 2>/dev/null ||
    warn "cannot write to PGV_STATE_DIR $PGV_STATE_DIR: a repository that is not mounted would not be noticed"
}

# Seals a WAL file and stores it, durably, under its name in the tree of a cluster. The same content again is
# success; other content is never overwritten. All within the time of begin_time.
store_wal() { # FILE NAME SYSTEM-IDENTIFIER
  local status=0 context=$3/wal/${2:0:8}/$2.pgv said url
  url=$PGV_REPO/$PGV_CLUSTER/$context
  refuse_unmounted "$3"
  bound_time
  said=$("${bounded[@]}" pgv-s3 --quiet put "${inside[@]}" "$url" -- \
    pgv-crypt --quiet --encrypt --wal --level "${PGV_LEVEL:-3}" --context "$context" "$1" 2>&1) || status=$?
  [ "$status" -eq 6 ] || [ -z "$said" ] || echo "$said" >&2
  case $status in
    0) return ;;
    6) compare_wal "$1" "$2" "$context" ;;
    124 | 137) die 1 "$2: not stored within ${time_limit}s" 'it is tried again' ;;
    *) die 1 "$2 was not stored" 'it is tried again' ;;
  esac
}

# What is stored must be what is here. Of a partial segment it is enough that one begins as the other: they are of one
# history, and a server that was promoted has all of it on its new timeline. What was received has no such second place.
compare_wal() { # FILE NAME CONTEXT
  local url=$PGV_REPO/$PGV_CLUSTER/$3 statuses compare=(cmp --silent - "$1")
  bound_time
  [[ $2 != *.partial ]] || compare=(pgv-info segment --beside - "$1")
  set +e
  "${bounded[@]}" pgv-s3 --quiet get "$url" | "${bounded[@]}" pgv-crypt --quiet --decrypt --context "$3" | "${compare[@]}" >/dev/null
  statuses=${PIPESTATUS[*]}
  set -e
  # cmp reads no further than to the difference.
  case ${statuses//141/0} in
    '0 0 0') say "$2 was there already, with the same content" ;;
    '0 0 7')
      [ "${shorter_partial:-enough}" = enough ] ||
        die 1 "$url ends before what was received" "pgv-s3 rm $url removes it; then the same command stores all of it"
      say "$2 was there already, shorter, and of the same history: its timeline's successor has the rest"
      ;;
    *124* | *137*) die 1 "$2: not compared with what is stored within ${time_limit}s" 'it is tried again' ;;
    '0 0 1') die 1 "$url holds other content" 'nothing was overwritten; two clusters may be archiving under one name' ;;
    *) die 1 "$url is there, and cannot be opened" 'see the message above; it is tried again' ;;
  esac
}

# Of the cluster in a data directory: the first eight bytes of its control file.
data_system_identifier() { # DIR
  local text
  text=$(od --address-radix=n --format=u8 --read-bytes=8 "$1/global/pg_control") ||
    die 1 "$1 is no data directory"
  echo "${text// /}"
}

# The port of Debian's cluster VERSION-NAME, unless libpq was told otherwise.
debian_port() {
  local port
  [ -z "${PGPORT:-}${PGHOST:-}${PGSERVICE:-}" ] && command -v pg_lsclusters >/dev/null || return 0
  port=$(pg_lsclusters --no-header 2>/dev/null | awk -v name="$PGV_CLUSTER" '$1 "-" $2 == name { print $3 }')
  [ -z "$port" ] || export PGPORT=$port
}

# "90s", "15min", "36h", "7d", "2w" as seconds.
seconds() { # DURATION
  [[ $1 =~ ^([0-9]{1,9})(s|min|h|d|w)$ ]] || die 2 "$1 is not a duration such as 90s, 15min, 36h, 7d or 2w"
  case ${BASH_REMATCH[2]} in
    s) echo "${BASH_REMATCH[1]}" ;;
    min) echo $((BASH_REMATCH[1] * 60)) ;;
    h) echo $((BASH_REMATCH[1] * 3600)) ;;
    d) echo $((BASH_REMATCH[1] * 86400)) ;;
    w) echo $((BASH_REMATCH[1] * 604800)) ;;
  esac
}
