# Sourced by pgv-setup: a recipient's own key.
# shellcheck shell=bash disable=SC2154  # pgv-setup and its steps share what they set

# A recipient's key pair, on the machine on which it is called, which needs no cluster and no network. Ends the script.
make_recovery_key() { # DIR
  local key=$1/recovery.key certificate=$1/recovery.pem secret=() said status
  { [ ! -e "$key" ] && [ ! -e "$certificate" ]; } || die 6 "$1 has a recovery key already" 'nothing was written' 'backups may need it: give another directory'
  [ -z "${PGV_PASSPHRASE_FD:-}" ] || { read_passphrase && secret=(-passout fd:8); }
  mkdir --parents -- "$1" || die 1 "cannot create $1"
  # Without an option openssl asks for the passphrase on the terminal, twice.
  said=$(umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -days 36500 -subj "/CN=pgv recovery $(date --utc +%Y-%m-%d)" \
    "${secret[@]}" -keyout "$key" -out "$certificate" 2>&1 8< <(printf '%s\n' "${passphrase:-}")) || {
    status=1
    rm --force "$key" "$certificate"
    grep --invert-match --extended-regexp '^([-.+*]*|Enter PEM pass phrase:)$' <<<"$said" >&2 || true # openssl said nothing
    ! grep --quiet --ignore-case 'password\|pass phrase\|passphrase\|UI routines' <<<"$said" || status=2
    [ "$status" -eq 1 ] || die 2 'no recovery key was made: openssl has no passphrase' "$passphrase_hint"
    die 1 "no recovery key was made in $1: see above"
  }
  # The certificate is public, and copied to each database host.
  { chmod 0600 "$key" && chmod 0644 "$certificate"; } || die 1 "cannot set the modes of $key and $certificate"
  cat "$certificate"
  recovery_sheet "$key" "$certificate" >&2
  exit 0
}

passphrase_hint='give a passphrase of at least 4 characters, on the terminal or on the descriptor PGV_PASSPHRASE_FD'

# Sets `passphrase`. openssl takes any from a descriptor, an empty one too.
read_passphrase() {
  IFS= read -r -u "$PGV_PASSPHRASE_FD" passphrase || [ -n "$passphrase" ] ||
    die 2 "no recovery key was made: no line can be read from the descriptor PGV_PASSPHRASE_FD=$PGV_PASSPHRASE_FD" "$passphrase_hint"
  [ "${#passphrase}" -ge 4 ] || die 2 'no recovery key was made: the passphrase is too short' "$passphrase_hint"
}

recovery_sheet() { # KEY CERTIFICATE
  cat <<TEXT

========== recovery key, made $(date --utc +%Y-%m-%d) on $(uname --nodename) ==========
$1 opens every backup that is sealed for
$2, the certificate of
$(describe_certificate "$2")

Keep copies of the private key on media away from every database host, and the
passphrase apart from them. Without both nobody can open these backups.

On each database host, as root, with a copy of the certificate:
  pgv-setup CLUSTER --recipient $(basename "$2")
It prints where the certificate of that host is. Keep a copy beside the private
key: it proves that a backup is from that host.

Restore with pgv, on a new machine, as root:
  pgv-setup CLUSTER --restore-only --repo URL --identity recovery.key --hosts HOSTS.pem
  pgv-restore CLUSTER DIRECTORY --start

Without pgv, NAME is key_name in record.json, and keys is beside backup:
  openssl cms -decrypt -inform PEM -inkey recovery.key -in keys/NAME.cms |
    openssl cms -verify -inform DER -CAfile HOSTS.pem > KEY
RESTORE-1.txt, at the top of the repository, says what to do with KEY.
TEXT
}
