# Sourced, after pgv-common.sh, by the scripts that lay down a backup: is there room for it?
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts

declare -A places=() spaces=()

# What pgv-apply --plan says of one place: `places` by key, and `spaces` by key and OID.
take_place() { # KEY VALUE
  case $1 in
    tablespace_place | tablespace_device | tablespace_free) spaces[${1#tablespace_} ${2%% *}]=${2#* } ;;
    *) places[$1]=$2 ;;
  esac
}

# Sets `rooms` to lines for the plan, and `tight` to what has too little room: several may go to one file system.
look_at_rooms() {
  local space oid bytes tablespace_name device left=${way[database_bytes]} where
  local -A needed=()
  rooms=() tight=
  for space in "${tablespaces[@]}" "0 0 data"; do
    read -r oid bytes tablespace_name <<<"$space"
    where=${spaces[place $oid]:-} device=${spaces[device $oid]:-}
    [ "$oid" -ne 0 ] || where=$directory bytes=$left device=${places[device]}
    if [ -z "$where" ]; then
      rooms+=("tablespace   $tablespace_name ($oid): $bytes bytes into $directory, where it lay")
      continue
    fi
    left=$((left - bytes))
    free=$(free_bytes "$where")
    needed[$device]=$((${needed[$device]:-0} + bytes))
    [ "${needed[$device]}" -le "$free" ] || tight="$where needs ${needed[$device]} bytes and has $free"
    [ "$oid" -ne 0 ] && rooms+=("tablespace   $tablespace_name ($oid): $bytes bytes into $where; free there: $free") ||
      rooms=("write        $bytes bytes into $where; free there: $free" "${rooms[@]}")
  done
}

free_bytes() { # PLACE
  local parent=$1 free
  while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
  free=$(df --output=avail --block-size=1 "$parent") || die 1 "the room in $parent cannot be told" 'nothing was written'
  tail --lines=1 <<<"$free" | tr --delete ' '
}
