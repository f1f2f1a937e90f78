# Sourced by pgv-datakeys.sh: a data key as it is stored, signed by this host and wrapped for the recipients.
# shellcheck shell=bash disable=SC2317,SC2329  # what each_line calls

# A key for the recipients: signed by this host, and the signature inside, so that it can be wrapped anew without this host.
wrap_key() { # KEY SYSTEM-IDENTIFIER DIR; the result is DIR/wrapped
  [ -r "$PGV_SIGNER" ] || die 2 "cannot read this host's own key, PGV_SIGNER=$PGV_SIGNER" 'nothing was stored'
  refuse_world_readable "$PGV_SIGNER"
  quiet_openssl cms -sign -binary -nodetach -nosmimecap -md sha256 -outform DER -signer "$PGV_SIGNER" -in "$1" -out "$3/signed" ||
    die 2 "$PGV_SIGNER cannot sign a data key" 'nothing was stored' 'it must have a private key and its certificate: pgv-setup makes both'
  # What is signed in another's name nobody opens.
  { verify_signature "$3/signed" "$PGV_SIGNER" "$2" "$3/verified" && cmp --silent "$1" "$3/verified"; } ||
    die 2 "the certificate in $PGV_SIGNER is not one of system identifier $2" 'nothing was stored' 'pgv-setup makes one for this cluster'
  wrap_signed "$3/signed" "$3" "$3/wrapped"
}

# The outer half.
wrap_signed() { # SIGNED DIR OUTPUT
  local text command recip_options=() status=0
  if [ -n "${PGV_WRAP:-}" ]; then
    read -r -a command <<<"$PGV_WRAP"
    call_out "${command[@]}" <"$1" >"$3" || status=$?
    [[ ! $status =~ ^(75|124|137)$ ]] || die 75 "PGV_WRAP: ${command[0]} $([ "$status" -eq 75 ] && echo 'exited with 75' || echo "was killed, or did not end in ${call_seconds:-60} s")" 'nothing was stored'
    [ "$status" -eq 0 ] || die 2 "PGV_WRAP: ${command[0]} exited with $status" 'nothing was stored'
    [ -s "$3" ] || die 2 "PGV_WRAP: ${command[0]} printed nothing" 'nothing was stored'
    # What it prints, everybody who reads the repository has.
    ! grep --quiet --text pgvkey1_ "$3" || die 2 "PGV_WRAP: ${command[0]} printed the key itself" 'nothing was stored'
    return
  fi
  text=$(pgv-crypt --quiet --certificates --output "$2" "$PGV_RECIPIENTS") || die $? 'the recipients cannot be used: see above' 'nothing was stored'
  each_line add_recipient <<<"$text"
  quiet_openssl cms -encrypt -binary -aes-256-cbc -outform PEM -in "$1" -out "$3" "${recip_options[@]}" ||
    die 2 "a data key cannot be wrapped for the recipients in $PGV_RECIPIENTS" 'nothing was stored'
}

# By its public key, and by nothing that its owner wrote into it.
add_recipient() { # certificate FILE
  local text
  text=$(quiet_openssl x509 -in "$2" -noout -text -certopt no_header,no_version,no_serial,no_signame,no_validity,no_subject,no_issuer,no_sigdump,no_aux,no_extensions) ||
    die 2 "certificate $(basename "$2" .pem) of $PGV_RECIPIENTS cannot be read" 'nothing was stored'
  # What can be broken opens everything.
  [[ ! $text =~ rsaEncryption.*Public-Key:\ \(([0-9]+)\ bit || ${BASH_REMATCH[1]} -ge 2048 ]] ||
    die 2 "certificate $(basename "$2" .pem) of $PGV_RECIPIENTS has an RSA key of ${BASH_REMATCH[1]} bits" 'nothing was stored' 'use P-256, P-384, or RSA of 2048 bits or more'
  recip_options+=(-recip "$2")
  case $text in
    *rsaEncryption*) recip_options+=(-keyopt rsa_padding_mode:oaep -keyopt rsa_oaep_md:sha256 -keyopt rsa_mgf1_md:sha256) ;;
    *'NIST CURVE: P-256'* | *'NIST CURVE: P-384'*) recip_options+=(-keyopt ecdh_kdf_md:sha256) ;;
    *) die 2 "certificate $(basename "$2" .pem) of $PGV_RECIPIENTS is of a kind that not every openssl wraps for" 'nothing was stored' 'use P-256, P-384 or RSA' ;;
  esac
}
