# Sourced by the scripts that restore or verify, after pgv-opening.sh: whether a full is as old as its data key. A host begins
# each with a new key: so whoever stole a key can make an old full, or be noticed.
# shellcheck shell=bash disable=SC2154  # tmp is of make_run_directory

# When a key was signed is in the signature. In this run's directory, which goes with it.
note_opened() { # NAME SYSTEM-IDENTIFIER SIGNED
  mkdir --parents "$tmp/signed"
  cp "$3" "$tmp/signed/$1"
}

# The clocks are one host's.
look_at_key_age() { # URL-OF-A-FULL
  local label=${1##*/} text signed began status=0
  local -A fits=()
  # Of a shared key nobody signs anything.
  [ -e "$tmp/signed" ] || return 0
  # What is damaged, or does not open, is found by who opens it; what cannot be read now is not looked at.
  text=$(pgv-crypt --quiet --check-key -- pgv-s3 --quiet get --range 0-239 "$1/data.pgv" 2>/dev/null) || status=$?
  [[ $status =~ ^[0345]$ ]] || warn "whether backup $label is as old as its data key cannot be told: it cannot be read now"
  [ "$status" -eq 0 ] || return 0
  read_lines fits <<<"$text"
  signed=$tmp/signed/${fits[key_id]:-none}
  [ -e "$signed" ] && [[ $label =~ ^([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})([0-9]{2})F$ ]] || return 0
  began=$(date --utc --date="${BASH_REMATCH[1]}-${BASH_REMATCH[2]}-${BASH_REMATCH[3]} ${BASH_REMATCH[4]}:${BASH_REMATCH[5]}:${BASH_REMATCH[6]}" +%s) || return 0
  text=$(quiet_openssl cms -cmsout -print -inform DER -in "$signed") && [[ $text == *'object: signingTime'* ]] || return 0
  text=${text#*object: signingTime}
  [[ $text =~ (UTCTIME|GENERALIZEDTIME):([^$'\n']*) ]] && signed=$(date --utc --date="${BASH_REMATCH[2]}" +%s) || return 0
  [ "$began" -gt "$((signed + 3600))" ] || return 0
  warn "backup $label began $(((began - signed) / 3600)) hours after its data key ${fits[key_id]} was made, though each full begins with a new key: whoever stole that key may have made it"
}
