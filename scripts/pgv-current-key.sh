# Sourced, after pgv-common.sh, by the scripts that seal: the current data key of a cluster whose backups only recipients open.
# It runs for every WAL segment; what makes a new key is sourced when one is due.
#
#   seals_for_recipients            whether PGV_RECIPIENTS or PGV_WRAP says so
#   use_data_key SYSTEM-IDENTIFIER [WAL-NAME]
#                                   the current key seals from now on; if it is older than PGV_KEY_EVERY, a new one, or if
#                                   none can be made now, for a while still the current one
# shellcheck shell=bash disable=SC2154  # key_every_seconds is of load_config

seals_for_recipients() {
  [ -n "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ]
}

# Without another process.
use_data_key() { # SYSTEM-IDENTIFIER [WAL NAME]
  local place=$PGV_STATE_DIR/keys/$1
  seals_for_recipients || return 0
  drop_old_keys
  if is_key_due "$place"; then
    # shellcheck source=scripts/pgv-opening.sh
    declare -F verify_signature >/dev/null || source "$library/pgv-opening.sh"
    # shellcheck source=scripts/pgv-datakeys.sh
    declare -F renew_or_keep_key >/dev/null || source "$library/pgv-datakeys.sh"
    renew_or_keep_key "$1" "${2:-}"
  fi
  point_at_key "$place"
}

# Sets `made_for` to where the current key would be stored, and for whom. Fails if that cannot be read now.
read_made_for() {
  local text=()
  [ -z "${PGV_RECIPIENTS:-}" ] || { [ -r "$PGV_RECIPIENTS" ] && mapfile text <"$PGV_RECIPIENTS"; } || return
  printf -v made_for '%s' "$PGV_REPO/$PGV_CLUSTER ${PGV_WRAP:-}"$'\n' "${text[@]}"
}

# Sets `until`, when the current key is due, and `stored_for`, as `made_for` was when it was made.
read_due() { # PLACE
  until='' stored_for=''
  [ ! -e "$1/until" ] || { read -r until && IFS= read -r -d '' stored_for; } <"$1/until" || true # to the end of the file
}

# Whether there is no key, or it is too old, or not in this repository, or others may open what comes now: by what the
# recipients are, because their file may have any time. What cannot be read has not changed.
is_key_due() { # PLACE
  local now until stored_for
  printf -v now '%(%s)T' -1
  read_due "$1"
  is_key_unfit "$1" || [ "$now" -ge "$until" ]
}

# The same, whatever the time is, of what read_due has set.
is_key_unfit() { # PLACE
  local made_for
  [ ! -e "$1/current" ] || [[ ! $until =~ ^[0-9]+$ ]] || [ "$((until - now))" -gt "$key_every_seconds" ] ||
    { read_made_for && [ "$stored_for" != "$made_for" ]; } || [ "$PGV_SIGNER" -nt "$1/until" ]
}

# The current key seals; older ones and those of PGV_KEY_FILE open what was sealed before.
point_at_key() { # PLACE
  local key older=''
  for key in "$1"/*; do
    [[ ${key##*/} =~ ^[0-9a-f]{16}$ ]] || continue
    if [ "$key" -ef "$1/current" ]; then
      export PGV_KEY_NAME=${key##*/}
    else
      older+=:$key
    fi
  done
  configured_keys=${configured_keys-${PGV_KEY_FILE:-}}
  export PGV_KEY_FILE=$1/$PGV_KEY_NAME$older${configured_keys:+:$configured_keys}
}
