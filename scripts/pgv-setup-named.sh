# Sourced by pgv-setup, with pgv-setup-remove.sh: what --remove deletes only if it is named, because it holds backups or
# opens them, and other clusters may use it.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

is_with() { # ITEM
  [[ " ${with[*]-} " == *" $1 "* ]]
}

# Sets `siblings` to other configurations of this data directory, `sharing` to those that name the same key, and `users` to
# those whose backups are in the same place, as a standby's are. `keepers`: those that have something in the state directory;
# `their_files`: what they name of recipients.
find_others() {
  local other text own_repository own_name their_repository their_name
  siblings=() sharing=() users=() keepers=() own_keys=() their_files=()
  own_repository=$(configured PGV_REPO)
  own_name=$(configured PGV_CLUSTER)
  IFS=: read -r -a own_keys <<<"$(configured PGV_KEY_FILE)"
  for other in "$etc"/*.conf; do
    if [ ! -e "$other" ] || [ "$other" -ef "$file" ]; then continue; fi
    text=$("${pgv_env[@]}" --file --config "$other") || die $? "$other may use the same key or cluster, and cannot be read" 'nothing was changed'
    their_repository='' their_name=${other##*/}
    their_name=${their_name%.conf}
    each_line take_other <<<"$text"
    [ -z "$own_repository" ] || [ "${own_repository%/}/${own_name:-$cluster}" != "${their_repository%/}/$their_name" ] || users+=("$other")
  done
}

# shellcheck disable=SC2317  # by each_line
take_other() { # set KEY=VALUE
  local key own value=${2#*=} theirs
  case ${2%%=*} in
    PGV_STATE_DIR) ! is_in_state "$value" || keepers+=("$other") ;;
    PGV_REPO) their_repository=$value ;;
    PGV_CLUSTER) their_name=$value ;;
    PGV_RECIPIENTS | PGV_SIGNER | PGV_IDENTITY | PGV_HOSTS)
      their_files+=("$value")
      ! is_in_state "$value" || keepers+=("$other")
      ;;
    PGV_PGDATA) ! is_same "$value" "$pgdata" || siblings+=("$other") ;;
    PGV_KEY_FILE)
      IFS=: read -r -a theirs <<<"$value"
      for key in "${theirs[@]}"; do
        for own in "${own_keys[@]}"; do ! is_same "$key" "$own" || sharing+=("$other"); done
        ! is_in_state "$key" || keepers+=("$other")
      done
      ;;
  esac
}

is_same() { # PATH PATH
  [ "$1" = "$2" ] || [ "$1" -ef "$2" ]
}

is_in_state() { # PATH
  local path place
  path=$(realpath --canonicalize-missing -- "$1")
  place=$(realpath --canonicalize-missing -- "$state")
  [[ $path/ == "$place"/* ]]
}

# Its owner may have chosen a directory that holds more than the state of pgv: clusters, repositories, keys.
look_into_state() {
  local found key
  [ "${#keepers[@]}" -eq 0 ] || die 2 "--with configuration: ${keepers[*]} keeps something in $state, too" 'nothing was changed'
  for key in "${own_keys[@]}"; do
    is_with key || ! is_in_state "$key" || die 2 "--with configuration: the key $key is in $state, which would be deleted" 'nothing was changed' \
      "move the key, set PGV_KEY_FILE in $file, then: $again"
  done
  for key in PGV_SIGNER PGV_RECIPIENTS PGV_IDENTITY PGV_HOSTS; do
    found=$(configured "$key")
    [ -z "$found" ] || ! is_in_state "$found" || die 2 "--with configuration: $key, $found, is in $state, which would be deleted" \
      'nothing was changed' "move the file, set $key in $file, then: $again"
  done
  [ -d "$state" ] || return 0
  # shellcheck disable=SC2016  # of that shell
  found=$(as_owner sh -c 'cd -- "$1" && exec find . -path "./drill*" -prune -o \( -path "*/global/pg_control" -o -name RESTORE-1.txt \) -print -quit' sh "$state") ||
    die 1 "cannot look into $state: see above" 'nothing was changed' "then: $again"
  [ -z "$found" ] || die 2 "--with configuration: $state also holds a cluster or a repository: $found" 'nothing was changed' \
    "move it away, or leave out --with configuration, and delete what is not needed by hand"
}

# Sets `tree`: the backups and WAL of this cluster alone, whose name other clusters may have had. Theirs need the key.
find_tree() {
  local system name others
  tree=$(configured PGV_REPO)
  name=$(configured PGV_CLUSTER)
  system=$(configured PGV_SYSTEM_ID)
  [ -n "$tree" ] || return 0
  tree+=/${name:-$cluster}/
  [ "${#users[@]}" -eq 0 ] || die 2 "--with repository: ${users[*]} has its backups in $tree, too" 'nothing was changed'
  if [ -n "$pgdata" ] && as_owner test -e "$pgdata/standby.signal"; then
    die 2 "--with repository: $pgdata is a standby, and its primary may have its backups in $tree, too" 'nothing was changed' \
      "on the primary: pgv-setup CLUSTER --remove --with repository"
  fi
  [ -n "$system" ] || system=$(data_system_identifier "$pgdata") ||
    die 1 '--with repository: which backups are of this cluster is not known' 'nothing was changed' "set PGV_SYSTEM_ID in $file, then: $again"
  if is_with key; then
    others=$(in_repository ls "$tree") || die $? "$tree cannot be listed" 'nothing was changed'
    others=$(grep --invert-match --line-regexp --fixed-strings -- "$tree$system/" <<<"$others") || [ $? -eq 1 ]
    [ -z "$others" ] || die 2 "--with key: $others may need the same key" 'nothing was changed' 'give --with repository alone'
  fi
  tree+=$system/
}

in_repository() { # VERB ARGUMENT…
  as_owner "${pgv_env[@]}" --config "$file" "$cluster" pgv-s3 --quiet "$@"
}

# The configuration last: it says where the rest is.
remove_named() {
  local repository key name keys
  repository=$(configured PGV_REPO)
  name=$(configured PGV_CLUSTER)
  IFS=: read -r -a keys <<<"$(configured PGV_KEY_FILE)"
  if [ -n "$tree" ]; then
    run "deleting the backups and WAL in $tree" delete_tree "$tree"
  elif [ -n "$repository" ]; then
    left+=("the backups in $repository/${name:-$cluster}/")
  fi
  for key in "${keys[@]}"; do
    if ! is_with key; then
      [ ! -e "$key" ] || left+=("the key $key, without which nobody opens a backup")
    elif [ -e "$key" ]; then
      run "deleting the key $key" delete "$key"
    fi
  done
  remove_recipients
  if ! is_with configuration; then
    [ ! -e "$file" ] || left+=("$file and $state")
    return
  fi
  [ ! -d "$state" ] || run "deleting $state" as_owner find "$state" -mindepth 1 -delete
  [ ! -d "$state" ] || [ "$dry_run" = yes ] || rmdir -- "$state" 2>/dev/null || left+=("the directory $state")
  [ ! -e "$file" ] || run "deleting $file" delete "$file"
}

# What set-up made for recipients goes with the key; what other people put there stays.
remove_recipients() {
  local signer certificate path key
  signer=$(configured PGV_SIGNER)
  certificate=${signer:+${signer%.pem}.crt}
  take_away "$signer" signer.pem 'the key with which this host signs,'
  take_away "$certificate" signer.crt 'the certificate of this host, without which no recipient knows its backups,'
  take_away "$(configured PGV_RECIPIENTS)" recipients.pem 'the certificates of the recipients,'
  for key in PGV_IDENTITY PGV_HOSTS; do
    path=$(configured "$key")
    [ -z "$path" ] || [ ! -e "$path" ] || left+=("$path, which is $key")
  done
}

take_away() { # FILE NAME-OF-PGV-SETUP WHAT
  local path
  [ -n "$1" ] && [ -e "$1" ] || return 0
  for path in ${their_files[@]+"${their_files[@]}"}; do
    if is_same "$path" "$1" || is_same "${path%.pem}.crt" "$1"; then
      left+=("$3 $1: another configuration needs it")
      return
    fi
  done
  if is_with key && [ "$1" = "$etc/$cluster.$2" ]; then
    run "deleting $3 $1" delete "$1"
  else
    left+=("$3 $1")
  fi
}

delete_tree() { # URL
  in_repository rm --recursive "$1" || die $? "cannot delete $1" "to continue: $again"
}

delete() { # FILE
  if only_root_writes "${1%/*}"; then rm --force -- "$1"; else as_owner rm --force -- "$1"; fi
}
