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

# Whether nobody but root can change what a path leads to: every directory on the way, through every link, is root's, and
# no one else may write there. What does not exist yet is as safe as where it is to be made.
only_root_writes() { # PATH
  local at=/ rest=${1#/} next part links=0
  while root_holds "$at" "$rest"; do
    [ -n "$rest" ] || return 0
    part=${rest%%/*} next=${at%/}/${rest%%/*}
    [[ $rest == */* ]] && rest=${rest#*/} || rest=
    if [ -L "$next" ]; then
      links=$((links + 1))
      [ "$links" -le 40 ] || return 1
      part=$(readlink -- "$next")
      rest=$part${rest:+/$rest}
      [[ $part != /* ]] || at=/ rest=${rest#/}
    elif [ "$part" = .. ]; then
      at=$(dirname -- "$at")
    elif [ -d "$next" ]; then
      at=$next
    else
      return 0
    fi
  done
  return 1
}

# In a sticky directory nobody else renames what is root's.
root_holds() { # DIRECTORY NAME/…
  local facts entry
  facts=$(stat --format='%u %a' -- "$1") || return 1
  [ "${facts% *}" -eq 0 ] || return 1
  (((8#${facts#* } & 8#22) != 0)) || return 0
  (((8#${facts#* } & 8#1000) != 0)) && [ -n "$2" ] || return 1
  entry=$(stat --format=%u -- "${1%/}/${2%%/*}" 2>/dev/null) && [ "$entry" -eq 0 ]
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
  fi || die 1 "cannot write $1" "to continue: $again"
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
    die 2 "user $owner cannot use the directory $1" "as its owner or root: chown $owner $1; then: $again"
  fi
}

make_places() {
  # PostgreSQL's group reads the keys; nobody else does.
  as_owner test -x "$etc" || run "creating $etc" make_directory "$etc" 0750
  as_owner test -w "$state" || run "creating $state" make_directory "$state" 0700
}
