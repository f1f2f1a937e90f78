# Sourced by pgv-setup: the keys. A key is made only where none is configured and nothing was sealed with another.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Sets `keys`, the files: what is given replaces what is configured, and else that stays, whatever was added to it.
find_keys() {
  local before key
  before=$(configured PGV_KEY_FILE)
  keys=()
  # Only recipients open what is sealed from now on: no shared key is made.
  [ "$has_recipients" = no ] || [ -n "$key_file$before" ] || return 0
  : "${key_file:=${before:-$etc/key}}"
  settings+=("PGV_KEY_FILE=$key_file")
  IFS=: read -r -a keys <<<"$key_file"
  IFS=: read -r -a before <<<"$before"
  for key in ${before[@]+"${before[@]}"}; do
    [[ ":$key_file:" == *":$key:"* ]] ||
      warn "$key is no longer one of the keys, and what it sealed cannot be opened without it; to keep it: --key-file $key_file:$key"
  done
}

# Reads each key, and refuses what is no whole key, before anything is written. Sets `key_names`, in which a passphrase is
# an empty one, and `new_key` to the only file that may be made.
examine_keys() {
  local key
  key_names=() new_key=''
  for key in "${keys[@]}"; do
    examine_key "$key"
  done
}

examine_key() { # FILE
  local text status=0
  local -A facts=()
  # As root, whoever may read it today; who may read it is looked at below.
  text=$(pgv-crypt --key-name --key-file "$1" --key-world-readable=yes 2>&1) || status=$?
  case $status in
    0)
      read_lines facts <<<"$text"
      key_names+=("${facts[key_name]:-}")
      say "the key $1 exists${facts[key_name]:+, named ${facts[key_name]}}"
      ;;
    # Only this is proved absence.
    3)
      # In the place of a lost key another one would look like it.
      if [ "$restore_only" = yes ] || [ "${#keys[@]}" -gt 1 ] || { [ -n "$(configured PGV_KEY_FILE)" ] && [ "$key_lost" = no ]; }; then
        die 2 "the key $1 does not exist" 'mount its file system; if the file is lost, write the line of the recovery sheet that begins with pgvkey1_ into it' \
          'if the key is lost for good: man 7 pgv-runbooks, THE KEY FILE IS LOST' "then: $again"
      fi
      new_key=$1
      ;;
    *) echo "$text" >&2 && die 2 "the key $1 cannot be used: see above" 'nothing was changed' "then: $again" ;;
  esac
}

# The first key's name, unless somebody gave it one; that of another key has been rotated out. One that is of no key here
# says that this is the wrong key.
name_key() {
  local name key
  [ "${#keys[@]}" -gt 0 ] || return 0
  name=$(configured PGV_KEY_NAME)
  [ "$key_lost" = no ] || name=
  for key in "${key_names[@]:1}"; do
    [ "$name" != "$key" ] || name=
  done
  if [[ $name =~ ^[0-9a-f]{8}$ && $name != "${key_names[0]:-}" ]]; then
    die 4 "the key ${keys[0]} is ${key_names[0]:-a passphrase}, but PGV_KEY_NAME in $file is $name" 'nothing was changed' \
      "write the key $name, from the recovery sheet, into ${keys[0]}" 'if the key was changed on purpose, after the old one was lost: --key-lost'
  fi
  : "${name:=${key_names[0]:-}}"
  [ -z "$name" ] || settings+=("PGV_KEY_NAME=$name")
}

# Refuses what protect_keys could not change: it comes when everything was tried.
look_at_readers() {
  local key
  for key in "${keys[@]}"; do
    [ "$key" = "$new_key" ] || as_owner test -r "$key" || only_root_writes "$key" ||
      [ "$(stat --dereference --format=%U -- "$key")" = "$owner" ] || refuse_key "$key"
  done
}

refuse_key() { # FILE
  die 2 "user $owner cannot read the key $1, and other users may write to its directory" \
    "put it where only root may write: install --owner=$owner --mode=0600 $1 $etc/key" "then: $again --key-file $etc/key"
}

# The cluster's owner reads the keys, others do not.
protect_keys() {
  local key mode
  for key in "${keys[@]}"; do
    [ "$key" != "$new_key" ] || continue
    mode=$(stat --dereference --format=%a -- "$key")
    if [ "${mode: -1}" != 0 ] && [[ $(configured PGV_KEY_WORLD_READABLE) =~ ^(y|yes|t|true|on|1)$ ]]; then
      say "every user may read $key, as PGV_KEY_WORLD_READABLE allows"
    elif [ "${mode: -1}" != 0 ] || ! as_owner test -r "$key"; then
      run "letting only $owner read $key" protect "$key"
    fi
  done
}

protect() { # FILE
  local file
  if only_root_writes "$1"; then
    file=$(realpath -- "$1")
    chown --no-dereference -- "$owner" "$file"
    chmod 0600 -- "$file"
  else
    as_owner chmod 0600 -- "$1" || refuse_key "$1"
  fi
}

# Never over a file that exists.
make_key() {
  run "creating the key $new_key" generate_key "$new_key"
  [ "$dry_run" = no ] || return 0
  examine_keys
  name_key
}

# shellcheck disable=SC2016  # of that shell
generate_key() { # FILE
  if only_root_writes "${1%/*}"; then
    (umask 077 && pgv-crypt --generate-key --output "$1")
    chown --no-dereference -- "$owner" "$1"
  else
    as_owner sh -c 'umask 077; exec pgv-crypt --generate-key --output "$1"' sh "$1"
  fi || die 1 "cannot create the key $1" "to continue: $again"
}
