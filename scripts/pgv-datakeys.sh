# Sourced, after pgv-common.sh and pgv-opening.sh, by the scripts that seal: the data keys of a cluster whose backups only
# recipients open. This host has the current key, and for a while the one before it, in PGV_STATE_DIR/keys/SYSTEM-IDENTIFIER.
#
#   seals_for_recipients            whether PGV_RECIPIENTS or PGV_WRAP says so
#   use_data_key SYSTEM-IDENTIFIER  the current key seals from now on; if it is older than PGV_KEY_EVERY, a new one
#   renew_data_key SYSTEM-IDENTIFIER
#                                   a new key seals from now on
#   forget_data_keys SYSTEM-IDENTIFIER
#                                   older keys go: nothing that they sealed is compared any more
#
# A key is stored in the repository, wrapped for the recipients, and read back, before anything is sealed with it.
# shellcheck shell=bash disable=SC2154,SC2317,SC2329  # key_every_seconds is of load_config; what each_line calls

seals_for_recipients() {
  [ -n "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ]
}

# Runs for every segment: without another process.
use_data_key() { # SYSTEM-IDENTIFIER [WAL NAME]
  local place=$PGV_STATE_DIR/keys/$1
  seals_for_recipients || return 0
  drop_old_keys
  ! is_key_due "$place" || make_data_key "$1" no "${2:-}"
  point_at_key "$place"
}

renew_data_key() { # SYSTEM-IDENTIFIER
  seals_for_recipients || return 0
  make_data_key "$1" yes ''
  point_at_key "$PGV_STATE_DIR/keys/$1"
}

# Whether there is no key, or it is too old, or others may open what comes now.
is_key_due() { # PLACE
  local now until=''
  printf -v now '%(%s)T' -1
  [ ! -e "$1/until" ] || read -r until <"$1/until" || true # an empty file says nothing
  [ ! -e "$1/current" ] || [[ ! $until =~ ^[0-9]+$ ]] || [ "$now" -ge "$until" ] || [ "$((until - now))" -gt "$key_every_seconds" ] ||
    [ "${PGV_RECIPIENTS:-/nowhere}" -nt "$1/until" ] || [ "$PGV_SIGNER" -nt "$1/until" ]
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

# Under a lock: a backup and archive_command may want one at the same time. What was not finished is nobody's.
make_data_key() { # SYSTEM-IDENTIFIER ANYWAY WAL-NAME
  local place=$PGV_STATE_DIR/keys/$1 key_lock new name url text until before key
  local -A facts=()
  mkdir --parents "$place" || die 2 "cannot create $place" 'nothing was stored'
  exec {key_lock}>>"$place/.lock"
  flock --timeout "$wal_timeout_seconds" "$key_lock" || die 75 "another run makes a data key ($place/.lock)" 'nothing was stored'
  if [ "$2" = yes ] || is_key_due "$place"; then
    new=$place/.new
    rm --recursive --force "$new"
    mkdir --mode=0700 "$new"
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
    echo "$((until + key_every_seconds))" >"$new/until"
    mv "$new/until" "$place/until"
    rm --recursive --force "$new"
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

# A key for the recipients: signed by this host, and the signature inside, so that it can be wrapped anew without this host.
wrap_key() { # KEY SYSTEM-IDENTIFIER DIR; the result is DIR/wrapped
  [ -r "$PGV_SIGNER" ] || die 2 "cannot read this host's own key, PGV_SIGNER=$PGV_SIGNER" 'nothing was stored'
  quiet_openssl cms -sign -binary -nodetach -nosmimecap -md sha256 -outform DER -signer "$PGV_SIGNER" -in "$1" -out "$3/signed" ||
    die 2 "$PGV_SIGNER cannot sign a data key" 'nothing was stored' 'it must have a private key and its certificate: pgv-setup makes both'
  # What is signed in another's name nobody opens.
  { verify_signature "$3/signed" "$PGV_SIGNER" "$2" "$3/verified" && cmp --silent "$1" "$3/verified"; } ||
    die 2 "the certificate in $PGV_SIGNER is not one of system identifier $2" 'nothing was stored' 'pgv-setup makes one for this cluster'
  wrap_signed "$3/signed" "$3" "$3/wrapped"
}

# The outer half.
wrap_signed() { # SIGNED DIR OUTPUT
  local text command recipients=()
  if [ -n "${PGV_WRAP:-}" ]; then
    read -r -a command <<<"$PGV_WRAP"
    timeout --kill-after=5 60 "${command[@]}" <"$1" >"$3" || die "$([ $? -eq 75 ] && echo 75 || echo 2)" "PGV_WRAP: ${command[0]} failed" 'nothing was stored'
    [ -s "$3" ] || die 2 "PGV_WRAP: ${command[0]} printed nothing" 'nothing was stored'
    return
  fi
  text=$(pgv-crypt --quiet --certificates --output "$2" "$PGV_RECIPIENTS") || die $? 'the recipients cannot be used: see above' 'nothing was stored'
  each_line add_recipient <<<"$text"
  quiet_openssl cms -encrypt -binary -aes-256-cbc -outform PEM -in "$1" -out "$3" "${recipients[@]}" ||
    die 2 "a data key cannot be wrapped for the recipients in $PGV_RECIPIENTS" 'nothing was stored'
}

# By its public key, and by nothing that its owner wrote into it.
add_recipient() { # certificate FILE
  local text
  text=$(quiet_openssl x509 -in "$2" -noout -text -certopt no_header,no_version,no_serial,no_signame,no_validity,no_subject,no_issuer,no_sigdump,no_aux,no_extensions) ||
    die 2 "certificate $(basename "$2" .pem) of $PGV_RECIPIENTS cannot be read" 'nothing was stored'
  recipients+=(-recip "$2")
  case $text in
    *rsaEncryption*) recipients+=(-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256) ;;
    *'NIST CURVE: P-256'* | *'NIST CURVE: P-384'*) recipients+=(-keyopt ecdh_kdf_md:sha256) ;;
    *) die 2 "certificate $(basename "$2" .pem) of $PGV_RECIPIENTS is of a kind that not every openssl wraps for" 'nothing was stored' 'use P-256, P-384 or RSA' ;;
  esac
}

# Of pgv-check: whether this host could seal for the recipients. Nothing is stored.
# shellcheck disable=SC2034  # of wrap_key
check_data_key() { # SYSTEM-IDENTIFIER
  local place=$PGV_STATE_DIR/keys/$1 trial said name=none
  make_run_directory
  trap drop_tmp EXIT
  trial=$tmp/trial
  mkdir --mode=0700 "$trial"
  said=$( (pgv-crypt --generate-key --output "$trial/key" && wrap_key "$trial/key" "$1" "$trial") 2>&1) || {
    said=$(sed --quiet 's/^[^ ]*: error: //p' <<<"$said" | head --lines=1)
    bad "key: cannot seal for recipients: ${said:-see pgv-backup}" 'man 5 pgv.conf, RECIPIENTS'
    return
  }
  [ ! -e "$place/current" ] || name=$(readlink "$place/current")
  if [ "$name" != none ] && ! pgv-s3 --quiet stat "$PGV_REPO/$PGV_CLUSTER/$1/keys/$name.cms" >/dev/null; then
    bad "key: the data key $name, which seals on this host, is not in the repository" "remove $place/current: the next backup makes a new key; what $name sealed only this host can open"
  else
    ok "key: seals for the recipients; the data key is $name"
  fi
}

forget_data_keys() { # SYSTEM-IDENTIFIER
  local place=$PGV_STATE_DIR/keys/$1 key
  seals_for_recipients || return 0
  for key in "$place"/*; do
    [[ ! ${key##*/} =~ ^[0-9a-f]{16}$ || $key -ef $place/current ]] || rm --force "$key"
  done
}
