# Sourced, after pgv-common.sh and pgv-opening.sh, by the scripts that seal: the data keys of a cluster whose backups only
# recipients open. This host has the current key, and for a while the one before it, in PGV_STATE_DIR/keys/SYSTEM-IDENTIFIER.
#
#   those of pgv-current-key.sh
#   renew_data_key SYSTEM-IDENTIFIER
#                                   a new key seals from now on
#   use_stored_key SYSTEM-IDENTIFIER
#                                   the same as use_data_key, if the current key is in the repository, else a new one
#   hold_data_keys                  these keys stay as long as this run
#   forget_data_keys SYSTEM-IDENTIFIER
#                                   older keys go: nothing that they sealed is compared any more
#
# A key is stored in the repository, wrapped for the recipients, and read back, before anything is sealed with it.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329  # key_every_seconds is of load_config; what each_line calls

# shellcheck source=scripts/pgv-current-key.sh
source "$library/pgv-current-key.sh"
# shellcheck source=scripts/pgv-wrapping.sh
source "$library/pgv-wrapping.sh"
# shellcheck source=scripts/pgv-renewal.sh
source "$library/pgv-renewal.sh"

renew_data_key() { # SYSTEM-IDENTIFIER
  seals_for_recipients || return 0
  make_data_key "$1" yes ''
  point_at_key "$PGV_STATE_DIR/keys/$1"
}

# For who seals for hours: the keys as they are now, in this run's directory. Another run may make new ones meanwhile, and
# delete these. Older ones that went just now are not needed.
hold_data_keys() {
  local key key_files kept=''
  seals_for_recipients || return 0
  mkdir "$tmp/held"
  IFS=: read -r -a key_files <<<"$PGV_KEY_FILE"
  for key in "${key_files[@]}"; do
    if [[ $key == "$PGV_STATE_DIR/keys/"* ]]; then
      ln "$key" "$tmp/held/" 2>/dev/null || cp "$key" "$tmp/held/" 2>/dev/null || [ "${key##*/}" != "$PGV_KEY_NAME" ] ||
        die 75 "the data key $PGV_KEY_NAME was replaced just now" 'nothing was stored' 'give the same command again'
      key=$tmp/held/${key##*/}
      [ -e "$key" ] || continue
    fi
    kept+=${kept:+:}$key
  done
  PGV_KEY_FILE=$kept
}

# Under a lock: a backup and archive_command may want one at the same time. What was not finished is nobody's.
make_data_key() { # SYSTEM-IDENTIFIER ANYWAY WAL-NAME
  local place=$PGV_STATE_DIR/keys/$1 key_lock new name url text until before key made_for
  local -A facts=()
  mkdir --parents "$place" || die 2 "cannot create $place" 'nothing was stored'
  exec {key_lock}>>"$place/.lock"
  flock --timeout "$wal_timeout_seconds" "$key_lock" || die 75 "another run makes a data key ($place/.lock)" 'nothing was stored'
  if [ "$2" = yes ] || is_key_due "$place"; then
    new=$place/.new
    rm --recursive --force "$new"
    mkdir --mode=0700 "$new"
    read_made_for || die 2 "cannot read the certificates of the recipients, PGV_RECIPIENTS=$PGV_RECIPIENTS" 'nothing was stored'
    pgv-crypt --generate-key --output "$new/key" || die $? 'a data key cannot be made' 'nothing was stored'
    text=$(pgv-crypt --key-name --key-file "$new/key") || die $? 'a data key cannot be read back' 'nothing was stored'
    read_lines facts <<<"$text"
    name=${facts[key_id]} url=$PGV_REPO/$PGV_CLUSTER/$1/keys/${facts[key_id]}
    wrap_key "$new/key" "$1" "$new"
    describe_key "$3" >"$new/json"
    store_key_object "$url.json" "$new/json"
    store_key_object "$url.cms" "$new/wrapped"
    before=$(readlink "$place/current" || true) # the first has none before it
    mv "$new/key" "$place/$name"
    ln --symbolic "$name" "$new/current"
    sync "$place"
    mv --no-target-directory "$new/current" "$place/current"
    printf -v until '%(%s)T' -1
    printf '%s\n%s' "$((until + key_every_seconds))" "$made_for" >"$new/until"
    # Its time may be one to come; that would make each segment's key another one.
    [ ! "$PGV_SIGNER" -nt "$new/until" ] || touch --reference="$PGV_SIGNER" "$new/until"
    mv "$new/until" "$place/until"
    rm --recursive --force "$new" "$place/unrenewed"
    for key in "$place"/*; do
      [[ ! ${key##*/} =~ ^[0-9a-f]{16}$ || ${key##*/} =~ ^($name|$before)$ ]] || rm --force "$key"
    done
    say "data key $name seals from now on"
  fi
  exec {key_lock}>&-
}

# For people, and untrusted.
describe_key() { # WAL-NAME
  local host
  host=$(uname --nodename)
  printf '{"format":"pgv-key/1","made_at":"%s","host":"%s","from_wal":%s}\n' "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" "${host//[!A-Za-z0-9_.-]/_}" \
    "$([ -n "$1" ] && echo "\"$1\"" || echo null)"
}

store_key_object() { # URL FILE
  pgv-s3 --quiet ${within[@]+"${within[@]}"} put --read-back "$1" "$2" || die $? "the data key cannot be stored" 'nothing was sealed with it'
}

# Before a backup, which is worth nothing if its key is lost: is the current one still there?
use_stored_key() { # SYSTEM-IDENTIFIER
  local name status=0
  seals_for_recipients || return 0
  name=$(readlink "$PGV_STATE_DIR/keys/$1/current") || name=
  [ -z "$name" ] || find_stored_key "$1" "$name" || status=$?
  case $status in
    0) use_data_key "$1" ;;
    3)
      warn "the data key $name is not in the repository any more: what it sealed only this host can open"
      renew_data_key "$1"
      ;;
    *) die "$status" 'the data keys cannot be listed' 'nothing was stored' ;;
  esac
}

# Not while another run makes one, whose key is there before it is the current one.
forget_data_keys() { # SYSTEM-IDENTIFIER
  local place=$PGV_STATE_DIR/keys/$1 key key_lock
  seals_for_recipients || return 0
  exec {key_lock}>>"$place/.lock"
  flock --timeout "$wal_timeout_seconds" "$key_lock" || { warn "another run makes a data key ($place/.lock): older ones stay until the next backup" && return; }
  for key in "$place"/*; do
    [[ ! ${key##*/} =~ ^[0-9a-f]{16}$ || $key -ef $place/current ]] || rm --force "$key"
  done
  exec {key_lock}>&-
}
