# Sourced by pgv-opening.sh: the two halves of what is stored of a data key, what is wrapped for a recipient and what a host
# signed.
#
#   verify_signature …              what a pinned host signed for a system identifier
#   require_identity                before the first key: the identity can be used, with its passphrase
#   unwrap WRAPPED OUTPUT           with PGV_IDENTITY or PGV_UNWRAP
#   call_out COMMAND…               runs a command of the configuration that wraps or unwraps
# shellcheck shell=bash

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

# As any other key.
refuse_world_readable() { # FILE
  local mode
  mode=$(stat --dereference --format=%a -- "$1") || die 2 "cannot look at $1"
  [ $((8#${mode: -1} & 4)) -eq 0 ] || [[ ${PGV_KEY_WORLD_READABLE:-} =~ ^(y|yes|t|true|on|1)$ ]] ||
    die 2 "$1 contains a private key, and every user may read it" "chmod 0600 $1"
}

# Before the first key: the identity can be used. Sets `passphrase`, asked for once.
require_identity() {
  [ -r "${PGV_HOSTS:-/nowhere}" ] || die 2 "cannot read the certificates of the hosts, PGV_HOSTS=${PGV_HOSTS:-}" 'nothing was opened'
  [ -n "${PGV_IDENTITY:-}" ] || return 0
  [ -r "$PGV_IDENTITY" ] || die 2 "cannot read the identity $PGV_IDENTITY" 'run the command as a user who may read it'
  refuse_world_readable "$PGV_IDENTITY"
  passphrase=''
  ! quiet_openssl pkey -in "$PGV_IDENTITY" -passin pass: -noout || return 0
  if [ -n "${PGV_PASSPHRASE_FD:-}" ]; then
    IFS= read -r passphrase <&"$PGV_PASSPHRASE_FD" || [ -n "$passphrase" ] || die 2 "descriptor $PGV_PASSPHRASE_FD has no passphrase"
  elif [ "${ask_on_terminal:-yes}" = yes ] && { true </dev/tty; } 2>/dev/null; then
    IFS= read -r -s -p "passphrase of $PGV_IDENTITY: " passphrase </dev/tty 2>/dev/tty || die 2 'no passphrase was given' 'nothing was opened'
    echo >/dev/tty
  else
    die 2 "the identity $PGV_IDENTITY has a passphrase, or is no private key, and there is no terminal" \
      'give the passphrase on a descriptor: PGV_PASSPHRASE_FD=3, and 3<FILE' ${needed_for:+"$needed_for"}
  fi
  quiet_openssl pkey -in "$PGV_IDENTITY" -passin fd:4 -noout 4<<<"$passphrase" || die 4 "the passphrase does not open the identity $PGV_IDENTITY"
}

# A command of the configuration, in bounded time. Something that it starts and leaves, as an agent, must hold no lock of
# this script. Where there is a terminal it may ask there, as for the PIN of a card.
# shellcheck disable=SC2154,SC2093  # locks of whoever has them
call_out() ( # COMMAND…
  local lock foreground=()
  for lock in 8 9 ${run_lock:-} ${key_lock:-} ${keys_lock:-}; do exec {lock}>&-; done
  if [ "${ask_on_terminal:-yes}" = yes ] && { true </dev/tty; } 2>/dev/null; then foreground=(--foreground); fi
  exec timeout "${foreground[@]}" --kill-after=5 "${call_seconds:-60}" "$@"
)

# What was wrapped; `unopened` says why it was not opened. 4: this recipient cannot open it; 5: it is damaged, or where
# `unopened` says so wrapped in another way.
# shellcheck disable=SC2034  # unopened is of open_key
unwrap() { # WRAPPED OUTPUT
  local status=0 command said secret=()
  unopened='it was not wrapped for this recipient'
  if [ -n "${PGV_UNWRAP:-}" ]; then
    read -r -a command <<<"$PGV_UNWRAP"
    call_out "${command[@]}" <"$1" >"$2" 2>"$2.said" || status=$?
    said=$(head --lines=1 "$2.said")
    case $status in
      0) return 0 ;;
      75) die 75 "PGV_UNWRAP: ${command[0]} exited with 75" "$said" ;;
      124 | 137) die 75 "PGV_UNWRAP: ${command[0]} was killed, or did not end in 60 s" ;;
      126 | 127) die 2 "PGV_UNWRAP: ${command[0]} cannot be run: status $status" "$said" ;;
    esac
    [ "$status" -lt 126 ] || die 2 "PGV_UNWRAP: ${command[0]} exited with $status" "$said"
    unopened="PGV_UNWRAP: ${command[0]} exited with $status: $said"
    return 4
  fi
  # One whose passphrase is empty has none to ask for.
  if [ -n "${passphrase:-}" ]; then secret=(-passin fd:4); else secret=(-passin pass:); fi
  quiet_openssl cms -cmsout -noout -inform PEM -in "$1" || {
    unopened=''
    # What PGV_WRAP printed may be of any form.
    [ ! -s "$1" ] || grep --quiet --text '^-----BEGIN CMS-----' "$1" || unopened='it is no CMS message: PGV_WRAP may have wrapped it'
    return 5
  }
  quiet_openssl cms -decrypt -binary -inform PEM -inkey "$PGV_IDENTITY" "${secret[@]}" -in "$1" -out "$2" 4<<<"${passphrase:-}" || {
    name_recipients "$1"
    return 4
  }
}

# Adds to `unopened` for whom it was wrapped, as far as their certificates' issuers say: of a few, because each costs a
# process. Whoever wrapped it may have written anything there.
name_recipients() { # WRAPPED
  local text
  named_recipients=$((${named_recipients:-0} + 1))
  [ "$named_recipients" -le 5 ] || return 0
  text=$(quiet_openssl cms -cmsout -print -noout -inform PEM -in "$1" | sed --quiet 's/^ *issuer: *//p' | sort --unique | head --lines=8 | paste --serial --delimiters=';' | tr --complement --delete ' -~' | head --bytes=300) || return 0
  [ -z "$text" ] || unopened+=", but for ${text//;/, }"
}
