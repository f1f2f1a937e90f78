# Sourced, after pgv-chain.sh and pgv-parts.sh, by pgv-restore: some databases of a backup instead of all.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

database=()

selects() {
  [ "${#database[@]}" -gt 0 ]
}

# The others are not whole, so nothing may follow or copy this server as if they were; and recovery must be watched.
check_databases() {
  selects && [ "$settings_only" = no ] || return 0 # then what the directory has counts
  ! is_replica || die 2 '--database cannot be combined with --standby' 'a replica has all databases'
  [ "$delta" = no ] || die 2 '--database cannot be combined with --delta' \
    'give a new directory, or --replace'
  [ "$action" = promote ] || die 2 "--database cannot be combined with --action $action" 'whether all is there is known when recovery has ended'
  [ "${archive:-off}" = off ] || die 2 '--database cannot be combined with --archive keep'
  start=yes
}

# Sets what is read of each link, and the way with its bytes: "N.ranges" where a link has an index, and "selection".
choose_databases() {
  local number url status newest=$((${#urls[@]} - 1)) list=() text
  selects || return 0
  fetch_records
  for number in "${!urls[@]}"; do
    url=${urls[number]} status=0
    fetch_lists "$number" "$url" || status=$?
    case $status in
      0) ;;
      # The key opens the backup: that was looked at.
      3 | 4 | 5)
        rm --force "$tmp/$number.index" "$tmp/$number.members"
        say "backup ${url##*/} has no index$([ "$status" -eq 3 ] || echo ' that opens'): all of it is read, and what is not wanted is dropped"
        ;;
      *) die "$status" "cannot read where the files of backup ${url##*/} lie" 'nothing was written' ;;
    esac
  done
  if [ -e "$tmp/$newest.members" ]; then
    read_names "$newest" || die $? "cannot read the names of the databases of backup $label" 'nothing was written'
    [ ! -e "$tmp/list" ] || list=(--list "$tmp/list")
  fi
  text=$(pgv-info databases --way "$way_file" --parts "$tmp" --selection "$tmp/selection" "${list[@]}" -- "${database[@]}") ||
    die $? "cannot restore these databases of backup $label" 'nothing was written'
  echo "$text" >"$way_file"
  read_way
}

# Gets the part of the newest stream with the names of its databases, if it has them.
read_names() { # NUMBER
  local status=0
  pgv-info files --members "$tmp/$1.members" --ranges "$tmp/list.ranges" pgv/databases 2>"$tmp/said" || status=$?
  [ "$status" -ne 3 ] || return 0
  [ "$status" -eq 0 ] || { cat "$tmp/said" >&2 && return "$status"; }
  pgv-crypt --quiet --decrypt --jobs 1 --index "$tmp/$1.index" --ranges "$tmp/list.ranges" --output "$tmp/list" -- \
    pgv-s3 --quiet get --ranges - "$(<"$tmp/$1.url")"
}

# Sets `open_part` to the words of a command that prints what is wanted of the stream of a link, whose number follows.
# shellcheck disable=SC2016  # of that shell
set_open_part() { # of `open` and `get`
  local opens gets
  printf -v opens '%q ' "${open[@]}"
  printf -v gets '%q ' "${get[@]}"
  open_part=(bash -c 'cd "$0" && url=$(<"$1.url") && [ -e "$1.ranges" ] || exec '"$opens -- $gets"'"$url"
    exec '"$opens"'--index "$1.index" --ranges "$1.ranges" -- '"$gets"'--ranges - "$url"' "$tmp")
}
