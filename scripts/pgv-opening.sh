# Sourced, after pgv-common.sh, by the scripts that open: data keys, which only a recipient opens.
#
#   is_recipient                    whether PGV_IDENTITY or PGV_UNWRAP says how
#   open_data_keys DIR [NAME…]      opens the keys of the cluster into DIR, which is private, and adds them to PGV_KEY_FILE
#   require_data_keys NAME…         ends the script unless each of these is among the keys
#
# An object in keys/ counts only if a host that PGV_HOSTS pins signed the key, whose certificate is of this system
# identifier, and if its name is the key's own. Of what is left a key may be forged by nobody but those hosts.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329  # pgv_tool is of pgv-common.sh; what each_line calls

is_recipient() {
  [ -n "${PGV_IDENTITY:-}${PGV_UNWRAP:-}" ]
}

# Runs openssl; what it says is shown only in the message of who needs it.
quiet_openssl() { # ARGUMENT…
  openssl "$@" 2>/dev/null
}

# The content of a signature by a certificate of FILE that was made for this system identifier: that is what a cluster is,
# whatever it is called today. No other certificate counts, neither the system's nor those in the message; and no
# certificate ever expires.
verify_signature() { # SIGNED CERTIFICATES SYSTEM-IDENTIFIER OUTPUT
  local by=$4.by names
  quiet_openssl cms -verify -binary -inform DER -in "$1" -CAfile "$2" -certfile "$2" -nointern -no-CApath -no-CAstore \
    -no_check_time -purpose any -signer "$by" -out "$4" || return
  [ "$(grep --count '^-----BEGIN CERTIFICATE-----$' "$by")" = 1 ] && names=$(quiet_openssl x509 -in "$by" -noout -email) || return
  grep --quiet --extended-regexp "^[^@]+@$3\$" <<<"$names"
}

# Before the first key: the identity can be used. Sets `passphrase`, asked for once.
require_identity() {
  [ -r "${PGV_HOSTS:-/nowhere}" ] || die 2 "cannot read the certificates of the hosts, PGV_HOSTS=${PGV_HOSTS:-}" 'nothing was opened'
  [ -n "${PGV_IDENTITY:-}" ] || return 0
  [ -r "$PGV_IDENTITY" ] || die 2 "cannot read the identity $PGV_IDENTITY" 'run the command as a user who may read it'
  passphrase=''
  ! quiet_openssl pkey -in "$PGV_IDENTITY" -passin pass: -noout || return 0
  if [ -n "${PGV_PASSPHRASE_FD:-}" ]; then
    read -r passphrase <&"$PGV_PASSPHRASE_FD" || [ -n "$passphrase" ] || die 2 "descriptor $PGV_PASSPHRASE_FD has no passphrase"
  elif [ "${ask_on_terminal:-yes}" = yes ] && { true </dev/tty; } 2>/dev/null; then
    read -r -s -p "passphrase of $PGV_IDENTITY: " passphrase </dev/tty 2>/dev/tty
    echo >/dev/tty
  else
    die 2 "the identity $PGV_IDENTITY has a passphrase, or is no private key, and there is no terminal" \
      'give the passphrase on a descriptor: PGV_PASSPHRASE_FD=3, and 3<FILE'
  fi
  quiet_openssl pkey -in "$PGV_IDENTITY" -passin fd:4 -noout 4<<<"$passphrase" || die 4 "the passphrase does not open the identity $PGV_IDENTITY"
}

# What was wrapped. 4: this recipient cannot open it; 5: it is no wrapped key.
unwrap() { # WRAPPED OUTPUT
  local status=0 command secret=()
  if [ -n "${PGV_UNWRAP:-}" ]; then
    read -r -a command <<<"$PGV_UNWRAP"
    timeout --kill-after=5 60 "${command[@]}" <"$1" >"$2" 2>"$2.said" || status=$?
    [[ ! $status =~ ^(75|124)$ ]] || die 75 "PGV_UNWRAP: ${command[0]} exited with $status" "$(head --lines=1 "$2.said")"
    [ "$status" -lt 126 ] || die 2 "PGV_UNWRAP: ${command[0]} cannot be run: status $status" "$(head --lines=1 "$2.said")"
    [ "$status" -eq 0 ] || return 4
    return 0
  fi
  [ -z "${passphrase:-}" ] || secret=(-passin fd:4)
  quiet_openssl cms -cmsout -noout -inform PEM -in "$1" || return 5
  quiet_openssl cms -decrypt -binary -inform PEM -inkey "$PGV_IDENTITY" "${secret[@]}" -in "$1" -out "$2" 4<<<"${passphrase:-}" || return 4
}

# Opens a key of `opened_in`; or notes in `key_faults` why not, with the status that says so.
open_key() { # SYSTEM-IDENTIFIER NAME FILE
  local status=0 new=$opened_in/.opening
  rm --force "$new"*
  pgv-s3 --quiet get --whole "$PGV_REPO/$PGV_CLUSTER/$1/keys/$3" >"$new.cms" || status=$?
  # It was removed since it was listed.
  [ "$status" -ne 3 ] || return 0
  [ "$status" -eq 0 ] || die "$status" "the data key $3 cannot be read" 'nothing was opened'
  unwrap "$new.cms" "$new.signed" || status=$?
  if [ "$status" -eq 4 ]; then
    key_faults[$2]="4 it was not wrapped for this recipient"
  elif [ "$status" -ne 0 ]; then
    key_faults[$2]="5 it is damaged"
  elif ! verify_signature "$new.signed" "$PGV_HOSTS" "$1" "$new.key"; then
    key_faults[$2]="5 no host that PGV_HOSTS names signed it for system identifier $1"
  elif ! pgv-crypt --quiet --key-name --key-file "$new.key" --expect-name "$2" >/dev/null 2>&1; then
    key_faults[$2]="5 the key in it has another name"
  else
    unset "key_faults[$2]"
    mv "$new.key" "$opened_in/$2"
    note_opened "$2" "$1" "$new.signed"
  fi
  rm --force "$new"*
}

# For who hands keys on as they are opened.
note_opened() { # NAME SYSTEM-IDENTIFIER SIGNED
  :
}

take_key_object() { # KEY VALUE
  local columns
  read -r -a columns <<<"$2"
  case $1 in
    object)
      [ -e "$opened_in/${columns[1]}" ] || open_key "${columns[@]}"
      # A newer wrapping is no reason to refuse what an older one opens.
      [ ! -e "$opened_in/${columns[1]}" ] || unset "key_faults[${columns[1]}]"
      ;;
    large) warn "keys/${columns[1]} is too large for a data key, and was not read" ;;
    left_out) warn "the repository has more data keys than are tried: $2 of the oldest were not opened" ;;
  esac
}

# Every key that this host has, of its own, too, and those that it opens.
add_key_files() { # DIR
  local key
  for key in "$1"/* "${PGV_STATE_DIR:-/nowhere}"/keys/*/*; do
    [[ ${key##*/} =~ ^[0-9a-f]{16}$ && -r $key && :${PGV_KEY_FILE:-}: != *:"$key":* ]] || continue
    export PGV_KEY_FILE=${PGV_KEY_FILE:-}${PGV_KEY_FILE:+:}$key
  done
}

# In one line what is missing.
refuse_without_identity() {
  die 4 "$pgv_tool needs an identity: backups of $PGV_CLUSTER are sealed for recipients, and this host is none (PGV_IDENTITY or PGV_UNWRAP, and PGV_HOSTS)" \
    'nothing was written'
}

open_data_keys() { # DIR [NAME…]
  local opened_in=$1 text name needed=() shown=0
  declare -gA key_faults
  if ! is_recipient || [ -n "${PGV_KEYS_OPENED:-}" ]; then
    [ -z "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || [ -n "${PGV_KEY_FILE:-}${PGV_KEYS_OPENED:-}" ] || refuse_without_identity
    add_key_files "$opened_in"
    return
  fi
  require_identity
  for name in "${@:2}"; do needed+=(--need "$name"); done
  text=$(pgv-info keys "$PGV_CLUSTER" --repo "$PGV_REPO" --limit "${key_limit:-500}" "${needed[@]}") || die $? 'the data keys cannot be listed' 'nothing was opened'
  mkdir --parents "$opened_in"
  each_line take_key_object <<<"$text"
  for name in "${!key_faults[@]}"; do
    [ "${key_faults[$name]%% *}" = 5 ] || continue
    shown=$((shown + 1))
    [ "$shown" -gt 5 ] || warn "the data key $name was not used: ${key_faults[$name]#* }"
  done
  [ "$shown" -le 5 ] || warn "$((shown - 5)) more data keys were not used"
  add_key_files "$opened_in"
  # What runs below this opens none anew.
  export PGV_KEYS_OPENED=yes
}

# Sets `fault` to the status and the reason why a key is not among the keys; fails if it is.
key_fault() { # NAME
  [[ :${PGV_KEY_FILE:-}: != */$1:* ]] || return
  fault=${key_faults[$1]:-'4 the repository has no such key'}
}

# A chain may need several. Nothing was written yet.
require_data_keys() { # NAME…
  local name fault
  for name in "$@"; do
    key_fault "$name" || continue
    [ -n "${PGV_KEYS_OPENED:-}" ] || die 4 "the data key $name is needed, and this host is no recipient" 'nothing was written' \
      'set PGV_IDENTITY or PGV_UNWRAP, and PGV_HOSTS: pgv.conf(5), RECIPIENTS'
    die "${fault%% *}" "the data key $name is needed, and was not opened: ${fault#* }" 'nothing was written'
  done
}

# For recovery, which fetches WAL when this has ended and nobody is there to give a passphrase: into the owner's own
# directory. Called before anything is written.
# shellcheck disable=SC2016,SC2154  # of that shell; tmp is of make_run_directory
hand_on_keys() {
  local key
  handed_on=no
  for key in "$tmp"/opened/*; do
    [ -e "$key" ] || continue
    handed_on=yes
    as_owner sh -c 'umask 077; mkdir -p "$1" && cat >"$1/.new" && mv "$1/.new" "$1/$2"' sh "$PGV_STATE_DIR/opened" "${key##*/}" <"$key" ||
      die 2 "recovery needs the opened data keys, and $PGV_STATE_DIR/opened cannot be written" 'nothing was written' 'set PGV_STATE_DIR to a directory of the owner'
  done
}

# Nobody here knows when it ends.
tell_of_keys() {
  [ "${handed_on:-no}" = no ] || say "the opened data keys stay in $PGV_STATE_DIR/opened for recovery: remove it when that has ended; pgv does so after 14 days"
}

# Recovery has ended.
take_back_keys() {
  as_owner rm --recursive --force "${PGV_STATE_DIR:?}/opened"
}
