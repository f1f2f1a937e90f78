# Sourced, after pgv-common.sh, by the scripts that open: data keys, which only a recipient opens.
#
#   is_recipient                    whether PGV_IDENTITY or PGV_UNWRAP says how
#   open_data_keys DIR SYSTEM-IDENTIFIER [NAME…]
#                                   opens its keys into DIR, which is private, those of these names first, and adds them to
#                                   PGV_KEY_FILE; with an empty identifier opens those of all, and adds none
#   use_keys_of SYSTEM-IDENTIFIER DIR
#                                   adds those that lie there to PGV_KEY_FILE, in the place of another's
#   require_data_keys NAME…         ends the script unless each of these is among the keys
#
# A key is one of the system identifier below which it lies, and opens nothing of another: who is trusted with one cluster
# could forge backups of all others.
#
# An object in keys/ counts only if a host that PGV_HOSTS pins signed the key, whose certificate is of this system
# identifier, and if its name is the key's own. Of what is left a key may be forged by nobody but those hosts.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329  # pgv_tool is of pgv-common.sh; what each_line calls

# Of SYSTEM-IDENTIFIER/NAME, why it was not opened; empty if it was.
declare -gA key_faults

# shellcheck source=scripts/pgv-identity.sh
source "$library/pgv-identity.sh"

is_recipient() {
  [ -n "${PGV_IDENTITY:-}${PGV_UNWRAP:-}" ]
}

# Opens a key of `opened_in`; or notes in `key_faults` the status that says why not, whether it is lost for everybody or
# kept for another identity, and the reason in words.
open_key() { # SYSTEM-IDENTIFIER NAME FILE
  local status=0 new=$opened_in/.opening fault='' unopened=''
  rm --force "$new"*
  pgv-s3 --quiet get --whole "$PGV_REPO/$PGV_CLUSTER/$1/keys/$3" >"$new.cms" || status=$?
  # It was removed since it was listed.
  [ "$status" -ne 3 ] || return 0
  # One that this user may not read need not be the one that is needed.
  [[ $status =~ ^[015]$ ]] || die "$status" "the data key $3 cannot be read" 'nothing was opened'
  [ "$status" -ne 0 ] || unwrap "$new.cms" "$new.signed" || status=$?
  if [ "$status" -eq 1 ]; then
    fault="1 kept it cannot be read: see above"
  elif [ "$status" -eq 4 ]; then
    fault="4 kept $unopened"
  elif [ "$status" -ne 0 ]; then
    fault="5 ${unopened:+kept }${unopened:-lost it is damaged}"
  elif ! verify_signature "$new.signed" "$PGV_HOSTS" "$1" "$new.key"; then
    fault="5 kept no host that PGV_HOSTS names signed it for system identifier $1"
  elif ! pgv-crypt --quiet --key-name --key-file "$new.key" --expect-name "$2" >/dev/null 2>&1; then
    fault="5 lost the key in it has another name"
  else
    mkdir --parents "$opened_in/$1"
    mv "$new.key" "$opened_in/$1/$2"
    note_opened "$2" "$1" "$new.signed" "$3"
  fi
  # An older wrapping that is damaged says nothing of a newer one that another may open.
  [ -z "${key_faults[$1/$2]:-}" ] || ! is_lost "$fault" || fault=${key_faults[$1/$2]}
  key_faults[$1/$2]=$fault
  rm --force "$new"*
}

# Whether no identity opens such a key, whatever hosts it trusts.
is_lost() { # FAULT
  [[ $1 =~ ^[0-9]+\ lost\  ]]
}

# For who hands keys on as they are opened.
note_opened() { # NAME SYSTEM-IDENTIFIER SIGNED FILE
  :
}

take_key_object() { # KEY VALUE
  local columns fault
  read -r -a columns <<<"$2"
  case $1 in
    object)
      [ -e "$opened_in/${columns[0]}/${columns[1]}" ] || open_key "${columns[@]}"
      # A newer wrapping is no reason to refuse what an older one opens.
      [ ! -e "$opened_in/${columns[0]}/${columns[1]}" ] || key_faults[${columns[0]}/${columns[1]}]=''
      ;;
    untried)
      # Whether another wrapping opens nobody knows, so the key is not lost.
      [ ! -e "$opened_in/${columns[0]}/${columns[1]}" ] || return 0
      untried=$((untried + 1)) fault=${key_faults[${columns[0]}/${columns[1]}]:-'3 lost it was removed'}
      key_faults[${columns[0]}/${columns[1]}]="4 kept ${columns[2]} of its wrappings are too many, and were not tried; of the others: ${fault#* * }"
      ;;
    large) warn "keys/${columns[1]} is too large for a data key, and was not read" ;;
    left_out) left_out=$2 ;;
  esac
}

# Every key of a cluster that this host has, of its own, too, and those that were opened.
use_keys_of() { # SYSTEM-IDENTIFIER DIR
  local key
  keys_of=$1
  given_keys=${given_keys-${PGV_KEY_FILE:-}}
  export PGV_KEY_FILE=$given_keys
  for key in "$2/$1"/* "${PGV_STATE_DIR:-/nowhere}/keys/$1"/*; do
    [[ ${key##*/} =~ ^[0-9a-f]{16}$ && -r $key && :$PGV_KEY_FILE: != *:"$key":* ]] || continue
    PGV_KEY_FILE+=${PGV_KEY_FILE:+:}$key
  done
  [ -n "$PGV_KEY_FILE" ] || unset PGV_KEY_FILE
}

# In one line what is missing.
refuse_without_identity() {
  die 4 "$pgv_tool needs an identity: backups of $PGV_CLUSTER are sealed for recipients, and this host is none (PGV_IDENTITY or PGV_UNWRAP, and PGV_HOSTS)" \
    'nothing was written'
}

open_data_keys() { # DIR SYSTEM-IDENTIFIER [NAME…]
  local opened_in=$1 name shown=0 left_out=0 untried=0 only=()
  if ! is_recipient || [ -n "${PGV_KEYS_OPENED:-}" ]; then
    [ -z "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || [ -n "${PGV_KEY_FILE:-}${PGV_KEYS_OPENED:-}" ] || refuse_without_identity
    [ -z "$2" ] || use_keys_of "$2" "$1"
    return
  fi
  require_identity
  mkdir --parents "$opened_in"
  outlive_run
  open_listed "${@:2}"
  [ "$left_out" -eq 0 ] || warn "the repository has more data keys than are tried: $left_out of the oldest were not opened"
  [ "$untried" -eq 0 ] || warn "$untried data keys have more wrappings than are tried, and were not opened: someone may store objects in keys/"
  for name in "${!key_faults[@]}"; do
    [[ ${key_faults[$name]} == 5* ]] || continue
    shown=$((shown + 1))
    [ "$shown" -gt 5 ] || warn "the data key ${name#*/} was not used: ${key_faults[$name]#* * }"
  done
  [ "$shown" -le 5 ] || warn "$((shown - 5)) more data keys were not used"
  # shellcheck disable=SC2034  # of require_data_keys
  keys_opened_in=$opened_in
  [ -z "$2" ] || use_keys_of "$2" "$1"
  # What runs below this opens none anew.
  export PGV_KEYS_OPENED=yes
}

# Removes the directory of this run, with the keys in it, when nothing of the run is left that holds its lock: also if it
# is killed, and its whole process group with it. It holds no other lock.
outlive_run() {
  [ -z "${outliving:-}" ] && [ -n "${tmp:-}" ] && [[ $opened_in == "$tmp"/* ]] || return 0
  outliving=yes
  # shellcheck disable=SC2154  # of make_locked_directory
  setsid flock "$tmp" rm --recursive --force "$tmp" </dev/null >/dev/null 2>&1 8>&- 9>&- {run_lock}<&- &
}

# Those that the repository lists, or with `only` those of these names only.
open_listed() { # SYSTEM-IDENTIFIER [NAME…]
  local text name needed=()
  for name in "${@:2}"; do needed+=(--need "$name"); done
  text=$(pgv-info keys "$PGV_CLUSTER" --repo "$PGV_REPO" ${1:+--system-id "$1"} --limit "${key_limit:-500}" ${all_wrappings:+--all-wrappings} "${only[@]}" "${needed[@]}") ||
    die $? 'the data keys cannot be listed' 'nothing was opened'
  each_line take_key_object <<<"$text"
}

# Sets `fault` to the status and the reason why a key of `keys_of` is not among the keys; fails if it is.
key_fault() { # NAME
  [[ :${PGV_KEY_FILE:-}: != */"$1":* ]] || return
  fault=${key_faults[$keys_of/$1]:-'4 lost the repository has no such key'}
}

# A chain may need several. Nothing was written yet.
require_data_keys() { # NAME…
  local name fault opened_in=${keys_opened_in:-} left_out=0 untried=0 only=(--only-needed)
  # Behind thousands of others that were tried before it.
  if [ -n "$opened_in" ] && [ $# -gt 0 ]; then
    # More of their wrappings are tried now.
    for name in "$@"; do unset "key_faults[$keys_of/$name]"; done
    open_listed "$keys_of" "$@"
    use_keys_of "$keys_of" "$opened_in"
  fi
  for name in "$@"; do
    key_fault "$name" || continue
    [ -n "${PGV_KEYS_OPENED:-}" ] || die 4 "the data key $name is needed, and this host is no recipient" 'nothing was written' \
      'set PGV_IDENTITY or PGV_UNWRAP, and PGV_HOSTS: pgv.conf(5), RECIPIENTS'
    die "${fault%% *}" "the data key $name is needed, and was not opened: ${fault#* * }" 'nothing was written'
  done
}
