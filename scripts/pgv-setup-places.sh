# Sourced by pgv-setup: who writes where. Root writes, follows links and changes owners only in places that nobody but root
# can change; everywhere else the cluster's owner does it, with no more rights than it has anyway.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# What changes the machine goes through here.
run() { # WHAT COMMAND…
  say "$1"
  shift
  [ "$dry_run" = yes ] || "$@"
}

# A path as it is from anywhere.
absolute() { # PATH
  [[ $1 == /* ]] || printf '%s/' "$PWD"
  printf '%s\n' "$1"
}

absolute_list() { # PATH[:PATH…]
  local path paths list=''
  IFS=: read -r -a paths <<<"$1"
  for path in "${paths[@]}"; do
    list+=${list:+:}$(absolute "$path")
  done
  echo "$list"
}

as_owner() {
  runuser --user "$owner" -- env HOME="$owner_home" "$@"
}

# Whether DIR is root's, and all above it: what exists of it, with every link resolved.
only_root_writes() { # DIR
  local place facts above=no
  place=$(realpath --canonicalize-missing -- "$1")
  while :; do
    if facts=$(stat --format='%u %a' -- "$place" 2>/dev/null); then
      [ "${facts%% *}" -eq 0 ] || return 1
      # In a sticky directory nobody can rename what is root's.
      (((8#${facts##* } & 8#22) == 0)) || { [ "$above" = yes ] && (((8#${facts##* } & 8#1000) != 0)); } || return 1
      above=yes
    fi
    [ "$place" != / ] || return 0
    place=$(dirname -- "$place")
  done
}

# Under a name of its own, which is new, until it is complete. $3: whom root gives it to.
# shellcheck disable=SC2016  # of that shell
put_script='set -euo pipefail
umask 077
rm --force -- "$1.pgv-new"
set -o noclobber
cat >"$1.pgv-new"
[ -z "$3" ] || chown --no-dereference -- "$3" "$1.pgv-new"
chmod -- "$2" "$1.pgv-new"
sync --data -- "$1.pgv-new"
mv --no-target-directory -- "$1.pgv-new" "$1"'

# Stdin into a file: whole, or as it was. It belongs to OWNER, the cluster's.
put_file() { # PATH MODE [OWNER]
  if only_root_writes "${1%/*}"; then
    bash -c "$put_script" put "$1" "$2" "${3:-$owner}"
  else
    as_owner bash -c "$put_script" put "$1" "$2" ''
  fi || die 1 "cannot write $1" "the same command goes on: $again"
}

write_file() { # PATH MODE TEXT [OWNER]
  printf '%s\n' "$3" | put_file "$1" "$2" "${4:-}"
}

# For the cluster's owner; MODE 0750 leaves it root's, and its group may enter. What cannot be made is refused.
make_directory() { # DIR MODE
  local options=(--directory --mode="$2" --owner="$owner")
  [ "$2" != 0750 ] || options=(--directory --mode="$2" --owner=root --group="$(id --group --name "$owner")")
  if only_root_writes "$1"; then
    install "${options[@]}" -- "$1"
  elif [ ! -e "$1" ]; then
    as_owner mkdir --parents --mode=0700 -- "$1"
  else
    die 2 "$owner cannot use the directory $1" "its owner must let it: chown $owner $1; then $again"
  fi
}

make_places() {
  # PostgreSQL's group reads the keys; nobody else does.
  as_owner test -x "$etc" || run "making $etc" make_directory "$etc" 0750
  as_owner test -w "$state" || run "making $state" make_directory "$state" 0700
}
