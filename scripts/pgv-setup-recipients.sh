# Sourced by pgv-setup: backups that only recipients open, and the key with which this host signs.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Its subject, such as CN = NAME, and its SHA-256 fingerprint.
describe_certificate() { # FILE
  openssl x509 -in "$1" -noout -subject -nameopt oneline -fingerprint -sha256 | sed 's/^subject=//; /^[Ss][Hh][Aa]256 Fingerprint=/ { s/.*=//; s/.\{48\}/&\n/; s/^/SHA-256 fingerprint:\n/ }'
}

# Sets `has_recipients`, and the settings. What is given replaces the recipients that are configured.
find_recipients() {
  local file text
  has_recipients=no recipients_text=''
  recipients_file=$(configured PGV_RECIPIENTS)
  signer=$(configured PGV_SIGNER)
  [ -z "$identity" ] || settings+=("PGV_IDENTITY=$identity")
  [ -z "$hosts" ] || settings+=("PGV_HOSTS=$hosts")
  [ -z "$identity$(configured PGV_IDENTITY)$(configured PGV_UNWRAP)" ] || has_recipients=yes
  if [ "${#recipient[@]}" -gt 0 ]; then
    for file in "${recipient[@]}"; do
      text=$(cat -- "$file") || die 2 "cannot read the certificate $file" 'nothing was changed'
      recipients_text+=$text$'\n'
    done
    file=$(mktemp --directory)
    pgv-crypt --quiet --certificates --output "$file" <<<"$recipients_text" >/dev/null || { rm --recursive "$file" && die 2 'the recipients cannot be used: see above' 'nothing was changed'; }
    rm --recursive "$file"
    : "${recipients_file:=$etc/$cluster.recipients.pem}"
    settings+=("PGV_RECIPIENTS=$recipients_file")
  fi
  [ -n "$recipients_file$(configured PGV_WRAP)" ] || return 0
  has_recipients=yes
  : "${signer:=$etc/$cluster.signer.pem}"
  settings+=("PGV_SIGNER=$signer")
}

# The certificates, and the key with which this host signs, if they are not there.
make_recipients() {
  [ "$has_recipients$restore_only" = yesno ] && [ -n "$signer" ] || return 0
  [ -z "$recipients_text" ] || { [ -e "$recipients_file" ] && [ "$(<"$recipients_file")"$'\n' = "$recipients_text" ]; } ||
    run "writing the recipients to $recipients_file" write_file "$recipients_file" 0600 "${recipients_text%$'\n'}"
  if [ -e "$signer" ]; then
    say "the key with which this host signs exists: $signer"
  else
    run "creating the key with which this host signs: $signer" make_signer
  fi
  say "recipients trust this host by its certificate: copy ${signer%.pem}.crt to the file that their PGV_HOSTS names"
}

# Its certificate names cluster, system identifier and host. The private key is in no file before it is in its own.
make_signer() {
  local name identifier text said
  local -A control=()
  name=$(configured PGV_CLUSTER)
  identifier=$(configured PGV_SYSTEM_ID)
  : "${name:=$cluster}"
  if [ -z "$identifier" ]; then
    text=$("${pgv_peek[@]}" control "$pgdata") || die 1 "cannot read the data directory $pgdata" "then: $again"
    read_lines control <<<"$text"
    identifier=${control[system_identifier]}
  fi
  text=$(uname --nodename)
  said=$(mktemp)
  text=$(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -sha256 -days 36500 -nodes -subj "/O=pgv/OU=${name:0:64}/serialNumber=$identifier/CN=${text:0:64}" \
    -addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature -addext "subjectAltName=email:$name@$identifier" \
    -keyout /dev/stdout -out /dev/stdout 2>"$said") || { cat "$said" >&2 && rm "$said" && die 1 'openssl cannot make a key' "then: $again"; }
  rm "$said"
  write_file "${signer%.pem}.crt" 0644 "$(openssl x509 <<<"$text")"
  write_file "$signer" 0600 "$text"
}

# Instead of keys, on the sheet.
print_recipients() {
  local number=0 text place file
  [ "$has_recipients" = yes ] || return 0
  [ "${#keys[@]}" -eq 0 ] || echo
  if [ -n "$(configured PGV_WRAP)" ]; then
    echo "recipient   whoever opens what this command wraps: $(configured PGV_WRAP)"
  elif [ -n "$recipients_file" ]; then
    place=$(mktemp --directory)
    text=$(pgv-crypt --quiet --certificates --output "$place" "$recipients_file") ||
      { rm --recursive "$place" && die 1 "cannot read the certificates in $recipients_file: no sheet was printed" "pgv-setup $cluster --sheet FILE"; }
    while read -r _ file; do
      number=$((number + 1))
      print_certificate 'recipient   ' "$file"
    done <<<"$text"
    rm --recursive "$place"
    echo "            $number in all; the private key of each opens every backup"
  fi
  if [ -n "$signer" ]; then
    echo "signed by   ${signer%.pem}.crt: keep a copy with the private keys"
    [ ! -r "${signer%.pem}.crt" ] || print_certificate '            ' "${signer%.pem}.crt"
  fi
  if [ -n "$(configured PGV_UNWRAP)" ]; then
    echo "opened by   $(configured PGV_UNWRAP)"
  elif [ -n "$(configured PGV_IDENTITY)" ]; then
    echo "opened by   the private key $(configured PGV_IDENTITY) on this host; it is not on this sheet"
  fi
  [ -z "$(configured PGV_HOSTS)" ] || echo "hosts       $(configured PGV_HOSTS), the certificates of the hosts that are trusted"
}

print_certificate() { # BEFORE-THE-FIRST-LINE FILE
  local text
  text=$(describe_certificate "$2") || die 1 "cannot read the certificate $2: no sheet was printed"
  echo "$1${text//$'\n'/$'\n'            }"
}

# What the shell of try_identity does: opens one data key.
# shellcheck disable=SC2016  # of that shell
first_key='here=$1; source "$2/pgv-common.sh"; source "$2/pgv-opening.sh"
note_opened() { echo "opened $1"; exit 0; }
[ "$EUID" -ne 0 ] || unset PGV_STATE_DIR
make_run_directory
trap drop_tmp EXIT
open_data_keys "$tmp/opened" ""
for key in "${!key_faults[@]}"; do
  [ -z "${key_faults[$key]}" ] || die 4 "the identity opens none of the ${#key_faults[@]} data keys in $PGV_REPO/$PGV_CLUSTER/" "${key#*/}: ${key_faults[$key]#* * }"
done
echo none yes'

# Before a host that is to restore is configured: its identity opens a data key of this repository, or none is there yet.
try_identity() {
  local own who=(as_owner) text
  local -A found=()
  [ "$restore_only" = yes ] && [ -n "$identity$(configured PGV_IDENTITY)$(configured PGV_UNWRAP)" ] || return 0
  own=${identity:-$(configured PGV_IDENTITY)}
  if [ -n "$own" ]; then
    [ -r "$own" ] || die 2 "cannot read the identity $own" 'the configuration was not changed' "then: $again"
    as_owner test -r "$own" || { who=() && warn "user $owner cannot read the identity $own: only root can restore with it, and recovery after that cannot open more keys; chown $owner $own"; }
    if [ -z "${PGV_PASSPHRASE_FD:-}" ] && ! { true </dev/tty; } 2>/dev/null && "${who[@]}" grep --quiet ENCRYPTED "$own"; then
      todo+=("the identity $own was not tried, because it has a passphrase and there is no terminal; to try it: PGV_PASSPHRASE_FD=3 $again 3<FILE")
      return
    fi
  fi
  bound_service
  # shellcheck disable=SC2154  # of bound_service
  text=$("${who[@]}" "${limit[@]}" "${pgv_env[@]}" --config "$trial" "$cluster" bash -c "$first_key" pgv-setup "$here" "$library") ||
    die $? 'the configuration was not changed' "then: $again"
  read_lines found <<<"$text"
  if [ -n "${found[opened]:-}" ]; then
    say "the identity opens data keys of $repository/, such as ${found[opened]}"
  else
    say "the identity was not tried: $repository/ has no data key of $cluster yet"
  fi
}

# How KEY is made of the data key in the repository.
print_unwrapping() {
  [ "$has_recipients" = no ] || printf '\n%s\n' 'A key_name of 16 digits is a data key, which a private key of a recipient opens:
  openssl cms -decrypt -inform PEM -inkey PRIVATE.pem -in keys/NAME.cms | \
    openssl cms -verify -inform DER -CAfile HOSTS.pem > KEY'
}
