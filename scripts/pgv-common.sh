# Sourced by pgv's scripts: messages, configuration, the cluster's lock, and the pipes they share.
# A script that sources it has read its own --help already, and knows where it lies: `here`.
# shellcheck shell=bash

set -euo pipefail
shopt -s inherit_errexit

export LC_ALL=C
umask 077
pgv_tool=${0##*/}
# cron's PATH is short: the tools lie beside the scripts, or where make install puts them.
# Exported: a server that pg_ctlcluster starts has no PATH in its environment.
export PATH=${here:?}:$PATH:/usr/local/bin

say() {
  [ "${pgv_quiet:-no}" = yes ] || echo "$pgv_tool: $*" >&2
}

warn() {
  echo "$pgv_tool: warning: $*" >&2
}

# Ends the script: its status, the error, and what to do about it.
die() { # STATUS MESSAGE [HINT…]
  local status=$1 hint
  echo "$pgv_tool: error: $2" >&2
  shift 2
  for hint in "$@"; do
    echo "$pgv_tool: hint: $hint" >&2
  done
  exit "$status"
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
  PGV_KEY_NAME PGV_LEVEL PGV_PGDATA PGV_RATE PGV_REPO PGV_S3_CA_FILE PGV_S3_ENDPOINT_URL PGV_S3_PATH_STYLE
  PGV_S3_PROFILE PGV_S3_REGION PGV_STATE_DIR PGV_SYSTEM_ID PGV_WAL PGV_WAL_JOBS PGV_WAL_SPOOL
  PGV_WAL_TIMEOUT)

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

# Sets the environment: what is there already, then the configuration, then defaults.
load_config() { # [CLUSTER] [FILE]
  local cluster=${1:-${PGV_CLUSTER:-}} file=${2:-} pairs=() pair key mode
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
  [ -z "${1:-}" ] || PGV_CLUSTER=$cluster
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

# The segment after a segment, on its timeline.
following_segment() { # NAME SEGMENT-BYTES
  local per=$((0x100000000 / $2)) high=$((16#${1:8:8})) low=$((16#${1:16:8} + 1))
  [ "$low" -lt "$per" ] || low=0 high=$((high + 1))
  printf '%s%08X%08X\n' "${1:0:8}" "$high" "$low"
}

# How many segments the spool may hold, or be fetching.
spool_segments() { # SEGMENT-BYTES
  local size=${PGV_WAL_SPOOL:-256MiB} bytes
  [[ $size =~ ^([0-9]{1,6})(MiB|GiB)$ ]] || die 2 "PGV_WAL_SPOOL $size is not a size such as 256MiB"
  bytes=$((BASH_REMATCH[1] << 20))
  [ "${BASH_REMATCH[2]}" = MiB ] || bytes=$((bytes << 10))
  echo $((bytes / $1 > 0 ? bytes / $1 : 1))
}

# How large segments are if the last byte before an LSN lies in the named one.
segment_bytes_of() { # NAME LSN
  local bytes lsn=$(((16#${2%%/*} << 32) + 16#${2##*/} - 1))
  for ((bytes = 1 << 20; bytes <= 1 << 30; bytes <<= 1)); do
    if [ "$(printf '%08X%08X' $((lsn / bytes / (0x100000000 / bytes))) $((lsn / bytes % (0x100000000 / bytes))))" = "${1:8}" ]; then
      echo "$bytes"
      return
    fi
  done
  die 1 "segment $1 does not hold the WAL before $2"
}

# Seals a WAL file and stores it, durably, under its name in the tree of a cluster. The same content again is
# success; other content is never overwritten.
store_wal() { # FILE NAME SYSTEM-IDENTIFIER
  local status=0 context=$3/wal/${2:0:8}/$2.pgv limit=${PGV_WAL_TIMEOUT:-60s} said statuses url
  url=$PGV_REPO/$PGV_CLUSTER/$context
  said=$(timeout "$limit" pgv-s3 --quiet put "$url" -- \
    pgv-crypt --quiet --encrypt --wal --level "${PGV_LEVEL:-3}" --context "$context" "$1" 2>&1) || status=$?
  [ "$status" -eq 6 ] || [ -z "$said" ] || echo "$said" >&2
  case $status in
    0) return ;;
    6) ;;
    124) die 1 "$2: not stored after $limit" 'it is tried again' ;;
    *) die 1 "$2 was not stored" 'it is tried again' ;;
  esac
  set +e
  pgv-s3 --quiet get "$url" | pgv-crypt --quiet --decrypt --context "$context" | cmp --silent - "$1"
  statuses=${PIPESTATUS[*]}
  set -e
  [ "$statuses" = '0 0 0' ] || die 1 "$url holds other content, or cannot be read" \
    'nothing was overwritten; two clusters may be archiving under one name'
  say "$2 was there already, with the same content"
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

# One run per cluster. The descriptor is inherited by the tools, so the lock lasts as long as any.
take_lock() { # [WAIT SECONDS]
  mkdir --parents "$PGV_STATE_DIR/tmp" "$PGV_STATE_DIR/manifest" ||
    die 2 "cannot create PGV_STATE_DIR $PGV_STATE_DIR" "as root: install --directory --owner=postgres --mode=0700 $PGV_STATE_DIR"
  exec 9>>"$PGV_STATE_DIR/lock"
  flock --timeout "${1:-0}" 9 ||
    die 75 "another pgv run holds the lock of cluster $PGV_CLUSTER ($PGV_STATE_DIR/lock)" 'wait for it: --wait 1h'
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

# A scratch directory that goes when the script ends, and those that killed runs left.
make_tmp() {
  find "$PGV_STATE_DIR/tmp" -mindepth 1 -maxdepth 1 -exec rm --recursive --force {} +
  # Workers come and go meanwhile; what this misses goes the next time.
  [ ! -d "$PGV_STATE_DIR/spool" ] ||
    find "$PGV_STATE_DIR/spool" -ignore_readdir_race -mindepth 2 -mmin +60 \( -path '*/in/*' -o -path '*/sealed/*' \) \
      -prune -exec rm --recursive --force {} + 2>/dev/null || true
  tmp=$(mktemp --directory "$PGV_STATE_DIR/tmp/run.XXXXXX")
  trap 'rm --recursive --force "$tmp"' EXIT
}

# What is needed of a backup's sets, one line each: state, system identifier, label, URL, parent, mode; "-"
# for what there is not.
list_sets() {
  local line parent mode
  local pattern='"label":"([^"]*)".*"state":"([a-z]*)".*"system_identifier":"([0-9]*)".*"url":"([^"]*)"'
  pgv-info "$PGV_CLUSTER" --repo "$PGV_REPO" --format json >"$tmp/sets" || [ $? -eq 7 ] || return 1
  while IFS= read -r line; do
    [[ $line =~ $pattern ]] || die 1 'pgv-info printed what this script does not understand'
    line="${BASH_REMATCH[2]} ${BASH_REMATCH[3]} ${BASH_REMATCH[1]} ${BASH_REMATCH[4]}|$line"
    parent=- mode=-
    [[ $line =~ \"parent\":\"([^\"]*)\" ]] && parent=${BASH_REMATCH[1]}
    [[ $line =~ \"mode\":\"([a-z]*)\" ]] && mode=${BASH_REMATCH[1]}
    echo "${line%%|*} $parent $mode"
  done <"$tmp/sets"
}

# Removes sets: each record first, so that an interruption leaves no backup that looks whole, and what
# is built on a backup before the backup. The last complete one is never removed.
remove_sets() { # LABEL…
  local sets label doomed url kept newest
  sets=$(list_sets)
  if [ "$(cut --delimiter=' ' --fields=2 <<<"$sets" | sort --unique | wc --lines)" -gt 1 ]; then
    die 2 "$PGV_CLUSTER has backups of more than one system identifier" 'nothing was removed' \
      "set PGV_SYSTEM_ID to one of: $(cut --delimiter=' ' --fields=2 <<<"$sets" | sort --unique | tr '\n' ' ')"
  fi
  for label in "$@"; do
    [[ $label =~ ^[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?$ ]] || die 2 "\"$label\" is not a backup's label"
    grep --quiet --fixed-strings " $label " <<<"$sets" || die 3 "there is no backup $label of $PGV_CLUSTER" 'nothing was removed'
  done
  # Sets come oldest first, so a parent's fate is known before its children's. What an interrupted run
  # left tells its full only.
  doomed=$(awk -v given="$*" 'BEGIN { split(given, labels, " "); for (i in labels) doomed[labels[i]] }
    { full = $3; sub(/_.*/, "", full) }
    $3 in doomed || $5 in doomed || (full in doomed) { doomed[$3]; print $3, $4 }' <<<"$sets" | tac)
  newest=$(awk '$1 == "complete" && $3 !~ /_/ { print $3 }' <<<"$sets" | tail --lines=1)
  if [ -n "$newest" ] && grep --quiet "^$newest " <<<"$doomed" && [ "$(grep --count '^complete ' <<<"$sets")" -gt 1 ]; then
    die 1 "that would remove $newest, the newest full backup of $PGV_CLUSTER" 'nothing was removed; make a new full first, or remove it with pgv-s3 rm'
  fi
  kept=$(awk 'NR == FNR { doomed[$1]; next } $1 == "complete" && !($3 in doomed)' <(echo "$doomed") <(echo "$sets") | wc --lines)
  if [ "$kept" -eq 0 ] && grep --quiet ^complete <<<"$sets"; then
    die 1 "that would remove every complete backup of $PGV_CLUSTER" 'nothing was removed; make a new backup first, or remove them with pgv-s3 rm'
  fi
  while read -r label url; do
    if [ "${dry_run:-no}" = yes ]; then
      echo "$label"
      continue
    fi
    remove_set "$url" || die $? "could not remove $url" 'the same command goes on where it stopped'
    rm --force "$PGV_STATE_DIR/manifest/$label"
    say "removed $label"
  done <<<"$doomed"
  remove_wal "$(head --lines=1 <<<"$sets" | cut --delimiter=' ' --fields=2)"
}

# Removes the WAL that no backup needs any more: segments before the first that a complete one needs, on any
# timeline. Nothing goes while it is not known what every set needs, or while an older backup is running.
remove_wal() { # SYSTEM-IDENTIFIER
  local base=$PGV_REPO/$PGV_CLUSTER/$1 sets oldest_kept least doomed
  [ "${dry_run:-no}" = no ] || return 0
  sets=$(list_sets | awk -v id="$1" '$2 == id')
  if grep --quiet ^damaged <<<"$sets"; then
    warn 'no WAL is removed while a backup is damaged'
    return 0
  fi
  oldest_kept=$(awk '$1 == "complete" { print $3; exit }' <<<"$sets")
  [ -n "$oldest_kept" ] || return 0
  if awk '$1 == "incomplete" { found = 1 } $1 == "complete" { exit } END { exit !found }' <<<"$sets"; then
    warn "no WAL is removed while $(awk '{ print $3; exit }' <<<"$sets") is running, or was interrupted"
    return 0
  fi
  least=$(pgv-info "$PGV_CLUSTER" --repo "$PGV_REPO" --system-id "$1" --format tsv | cut --fields=13 | cut --characters=9-24 | sort | head --lines=1)
  [[ $least =~ ^[0-9A-F]{16}$ ]] || die 1 'pgv-info printed what this script does not understand'
  doomed=$(pgv-s3 --quiet ls --recursive "$base/wal/" |
    { grep --extended-regexp '/[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?\.pgv$' || [ $? -eq 1 ]; } |
    awk -v least="$least" '{ name = $0; sub(/.*\//, "", name); if (substr(name, 9, 16) "" < least "") print }')
  [ -n "$doomed" ] || return 0
  pgv-s3 --quiet rm - <<<"$doomed" || die $? "could not remove WAL below $base/wal/" 'the same command goes on where it stopped'
  say "removed $(wc --lines <<<"$doomed") WAL files that no backup needs"
}

remove_set() { # URL
  local status=0
  pgv-s3 --quiet rm "$1/record.json" || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || return "$status"
  pgv-s3 --quiet rm --recursive "$1/"
}
