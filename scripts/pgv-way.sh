# Sourced, after pgv-common.sh, by the scripts that restore: where a recovery ends, from which backup and by which WAL it gets
# there, and what is refused before a byte is written. Their options of the same names set these variables.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts

source "$library/pgv-opening.sh"
source "$library/pgv-wal-keys.sh"

label='' system_id='' time='' lsn='' xid='' name='' immediate=no exclusive=no action='' timeline=''
way_options=(label= system-id= time= lsn= xid= name= immediate exclusive action= timeline=)

# Sets `target`, a word for people, and `goal`, the option of pgv-info recovery.
check_target() {
  local kind given=()
  for kind in time lsn xid name; do
    [ -z "${!kind}" ] || given+=("--$kind=${!kind}")
  done
  [ "$immediate" = no ] || given+=(--immediate)
  [ "${#given[@]}" -le 1 ] || die 2 "give one target, not ${given[*]}"
  goal=("${given[@]}")
  target=${given[0]:-} target=${target#--} target=${target/=/ }
  if [ "$exclusive" = yes ]; then
    [ -n "$time$lsn$xid" ] || die 2 '--exclusive needs --time, --lsn or --xid'
    goal+=(--exclusive)
    target="before $target"
  fi
  : "${action:=promote}"
  [[ $action =~ ^(promote|pause|shutdown)$ ]] || die 2 "--action $action: must be promote, pause or shutdown"
  [[ $timeline =~ ^([0-9]*|latest|current)$ ]] || die 2 "--timeline $timeline: must be a number, latest or current"
  [ "$action" = promote ] || [ -n "$target" ] || die 2 "--action $action needs a target"
  [ -z "$xid" ] || [[ $xid =~ ^[0-9]+$ ]] || die 2 "--xid $xid is not a number"
}

check_format() {
  [[ $format =~ ^(|lines|json)$ ]] || die 2 "--format $format: must be lines or json"
  [ -z "$format" ] || [ "$plan" = yes ] || die 2 '--format needs --plan'
}

# The first stage that failed is the cause; those before it died of its death (SIGPIPE, 141).
pipe_status() { # STATUS…
  local status result=0
  for status in "$@"; do
    if [ "$status" -ne 0 ] && { [ "$result" -eq 0 ] || [ "$result" -eq 141 ]; }; then
      result=$status
    fi
  done
  echo "$result"
}

# Opens a WAL file of the archive; the status is that of the first stage that failed.
open_wal() { # NAME FILE
  local object=wal/${1:0:8}/$1.pgv statuses
  set +e
  pgv-s3 --quiet get --whole "$PGV_REPO/$PGV_CLUSTER/$system_id/$object" |
    pgv-crypt --quiet --decrypt --context "$system_id/$object" >"$2"
  statuses=("${PIPESTATUS[@]}")
  set -e
  return "$(pipe_status "${statuses[@]}")"
}

# Which system identifier, if only one is there; among several pgv-info chooses, or refuses.
find_system_id() {
  local ids status=0
  : "${system_id:=${PGV_SYSTEM_ID:-}}"
  [ -z "$system_id" ] || return 0
  ids=$(pgv-s3 --quiet ls "$PGV_REPO/$PGV_CLUSTER/") || status=$?
  [ "$status" -eq 0 ] || [ "$status" -eq 3 ] || die "$status" "$PGV_REPO/$PGV_CLUSTER/ cannot be listed" 'nothing was written'
  ids=$(sed --quiet 's#.*/\([0-9]\{1,20\}\)/$#\1#p' <<<"$ids")
  if [ "$(wc --words <<<"$ids")" -gt 1 ]; then
    status=0
    ids=$(pgv-info "$PGV_CLUSTER" --format tsv | cut --fields=2 | sort --unique) || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 7 ] || die "$status" "the backups of $PGV_CLUSTER cannot be listed" 'nothing was written'
  fi
  [ "$(wc --words <<<"$ids")" -ne 1 ] || system_id=$ids
}

# Prints the timelines, in eight digits, of which the archive has a history.
list_histories() {
  local listed
  listed=$(pgv-info histories "$PGV_CLUSTER" --quiet --archived --system-id "$system_id") || return
  sed --quiet 's/^history \([0-9A-F]\{8\}\)\.history$/\1/p' <<<"$listed"
}

# Opens the histories that may lead to the timeline that is asked for: pgv-info has no key. The backup's own needs none.
open_histories() { # DIR
  local along=$timeline listed history
  [ -n "$along" ] || along=$([ -n "$target" ] && echo current || echo latest)
  [ "$along" != current ] && [ -n "$system_id" ] || return 0
  listed=$(list_histories) || die $? 'the archive cannot be listed' 'nothing was written'
  for history in $listed; do
    # The latest is one that has no next.
    case $along in
      latest) [[ $listed != *"$(printf '%08X' $((16#$history + 1)))"* ]] || continue ;;
      *) [ $((16#$history)) -eq "$((10#$along))" ] || continue ;;
    esac
    open_wal "$history.history" "$1/$history.history" ||
      die $? "the history of timeline $((16#$history)) cannot be read" 'nothing was written'
  done
}

take_way() { # KEY VALUE
  case $1 in
    backup) urls+=("$2") ;;
    key_name) key_names+=("$2") ;;
    timeline) branches+=("$2") ;;
    tablespace) tablespaces+=("$2") ;;
    wal_newest) newest+=("$2") ;;
    wal_sample) samples+=("$2") ;;
    *) way[$1]=$2 ;;
  esac
}

# Sets `way` and what else is known of the backup and of the way from there to the target, and writes it to the file
# `way_file` for pgv-info prepare. A target that cannot be reached is refused here.
find_way() {
  local text keys_of=''
  find_system_id
  [ -z "$system_id" ] || open_data_keys "$tmp/opened" "$system_id"
  mkdir "$tmp/histories"
  open_histories "$tmp/histories"
  text=$(pgv-info recovery "$PGV_CLUSTER" --histories "$tmp/histories" "${goal[@]}" ${label:+--label "$label"} \
    ${timeline:+--timeline "$timeline"} ${system_id:+--system-id "$system_id"}) || refuse_way $?
  way_file=$tmp/way
  echo "$text" >"$way_file"
  read_way
  # Of several clusters in one place it is known only now.
  [ -n "$keys_of" ] || open_data_keys "$tmp/opened" "$system_id"
  require_data_keys "${key_names[@]}"
  if [ -z "$label" ] && [ -n "$xid$name" ]; then
    say "restoring from the newest backup, ${way[label]}; use --label to choose an older one"
  fi
  [ -z "${way[passed_over]:-}" ] ||
    say "backup ${way[passed_over]% *} is newer, but the way to the target leaves timeline ${way[passed_over]#* } before that backup ends; to use it: --timeline current"
  label=${way[label]} system_id=${way[system_identifier]}
  [ -z "${way[timelines_taken]:-}" ] ||
    warn "the archive has no history of timeline ${way[timelines_taken]//,/, }, which exists: the copy takes a later number; pgv-info wal $PGV_CLUSTER"
  [ -z "${way[wal_missing]:-}" ] || [ "$immediate" = yes ] ||
    warn "the archive has a hole at ${way[wal_missing]}: recovery cannot continue after it"
  require_wal_keys "${samples[@]}"
  [ -z "$time" ] || find_end_of_time
}

# What was typed wrong is not looked for in the repository.
refuse_way() { # STATUS
  local hints=("to see its backups: pgv-info $PGV_CLUSTER; to see its archived WAL: pgv-info wal $PGV_CLUSTER")
  [ "$1" -ne 2 ] || hints=()
  die "$1" "$PGV_CLUSTER cannot be restored${target:+ to $target}" 'nothing was written' ${hints[@]+"${hints[@]}"}
}

read_way() {
  declare -gA way=()
  urls=() key_names=() branches=() tablespaces=() newest=() samples=()
  each_line take_way <"$way_file"
  label=${way[label]} system_id=${way[system_identifier]}
  version=${way[pg_version]} major=${way[pg_version]%%[!0-9]*} partial=${way[wal_partial]:-}
  [ "$immediate" = no ] || partial=
}

# PostgreSQL fails at the end of the archive unless it met a transaction that ended after the target. Where there is none,
# recovery is told to end with the archive's last record.
find_end_of_time() {
  local segment older='' lines last='' files
  local -A found
  for segment in ${partial:+"$partial.partial"} "${newest[@]}"; do
    files=("$tmp/segment")
    open_wal "$segment" "$tmp/segment" || refuse_segment $? "$segment"
    # Its only record may have begun in the segment before.
    [ -z "$older" ] || files+=("$tmp/newer")
    lines=$("${pgv_peek[@]}" records --until "$time" "${goal[@]:1}" "${files[@]}") || die $? "WAL segment $segment cannot be read" 'nothing was written'
    found=()
    read_lines found <<<"$lines"
    [ "${found[transactions_after]}" -eq 0 ] || return 0
    older=''
    if [ -z "$last" ] && [ -z "${found[last_record]:-}" ]; then
      mv "$tmp/segment" "$tmp/newer"
      older=yes
      continue
    fi
    : "${last:=${found[last_record]}}"
    [ "${found[transactions_long_before]}" -eq 0 ] || break
  done
  [ -n "$last" ] || return 0
  # When a segment was stored says little of when it was written, least of all in a copy of the repository.
  [ -z "${way[wal_missing]:-}" ] ||
    die 3 "$PGV_CLUSTER cannot be restored to $target: the archive has a hole at ${way[wal_missing]}, and no transaction before it ended after $time" \
      'nothing was written' "to recover to the end of the backup only, ${way[stopped_at]}: --label $label --immediate" \
      "to see what can be restored: pgv-info wal $PGV_CLUSTER"
  echo "recovery_target_end $last" >>"$way_file"
  way[recovery_target_end]=$last
  say "no transaction in the archive ended after $time: recovery goes to the end of the archive, $last"
}

# What a restore needs of this machine, beside room.
require_machine() {
  find_programs "$major"
  [ "$start" = no ] || [ -n "$programs" ] || die 2 "PostgreSQL $major, which must start it, is not installed on this machine" 'nothing was written' \
    "apt-get install postgresql-$major"
  [ "${way[archive]}" = yes ] && [ ! -r "${config_file:-/nowhere}" ] || return 0
  [ "$immediate${way[wal_included]}" = yestrue ] || die 2 'recovery needs a configuration to fetch WAL, and there is none' 'nothing was written' \
    'create one with pgv-setup --restore-only, or give one: --config FILE'
}
