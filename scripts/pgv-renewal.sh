# Sourced by pgv-datakeys.sh: a data key that is due and cannot be renewed, as while the service that wraps it does not
# answer; and what pgv-check says of data keys.
#
#   renew_or_keep_key SYSTEM-IDENTIFIER WAL-NAME
#                                   a new key, or for a while still the current one
#   check_data_key SYSTEM-IDENTIFIER
#                                   of pgv-check
#
# Archiving does not stop because a key is old: it goes on until the key is as old again as PGV_KEY_EVERY, but no longer than
# the 90 days that a key seals at most. A key that others may open than those who should, or that is of another repository,
# seals nothing more.
# shellcheck shell=bash disable=SC2154,SC2034  # what is set here is for the script, and its own is used

# A renewal that failed is tried again after these seconds: a service may take long to fail, and each segment would wait.
renewal_pause=300

# Whether a key that is due may seal for a while. Sets `kept_until`.
may_keep_key() { # PLACE
  local now until stored_for longest=$((90 * 86400 - key_every_seconds))
  printf -v now '%(%s)T' -1
  read_due "$1"
  ! is_key_unfit "$1" || return
  kept_until=$((until + (key_every_seconds < longest ? key_every_seconds : longest)))
  [ "$now" -lt "$kept_until" ]
}

# Sets `tried`, when a renewal failed, and `why`, or `tried` to 0.
read_unrenewed() { # PLACE
  tried=0 why=''
  [ ! -e "$1/unrenewed" ] || { read -r tried && IFS= read -r why; } <"$1/unrenewed" || true # it may be cut off
  [[ $tried =~ ^[0-9]+$ ]] || tried=0
}

renew_or_keep_key() { # SYSTEM-IDENTIFIER WAL-NAME
  local place=$PGV_STATE_DIR/keys/$1 now kept_until tried why status=0 said call_seconds=$((wal_timeout_seconds / 2))
  if ! may_keep_key "$place"; then
    call_seconds=
    make_data_key "$1" no "$2"
    return
  fi
  printf -v now '%(%s)T' -1
  read_unrenewed "$place"
  if [ "$tried" -gt "$now" ] || [ "$((now - tried))" -ge "$renewal_pause" ]; then
    # What remains of the time is for what is to be sealed.
    [ "$call_seconds" -ge 1 ] || call_seconds=1
    [ "$call_seconds" -le 60 ] || call_seconds=60
    set +e
    said=$(set -e && make_data_key "$1" no "$2" 2>&1)
    status=$?
    set -e
    [ -z "$said" ] || echo "$said" >&2
    [ "$status" -ne 0 ] || return 0
    why=$(sed --quiet 's/^.*: error: //p' <<<"$said" | head --lines=1)
    : "${why:=it ended with status $status}"
    printf '%s\n%s\n' "$now" "$why" >"$place/.unrenewed" && mv "$place/.unrenewed" "$place/unrenewed"
  fi
  warn "the data key $(readlink "$place/current") is due, and could not be renewed: $why; it seals until $(show_time "$kept_until"), and then nothing does until it is renewed"
}

show_time() { # SECONDS
  TZ=UTC printf '%(%Y-%m-%d %H:%M:%S)T UTC' "$1"
}

# Whether a key that is due could not be renewed when it was tried.
look_at_renewal() { # PLACE
  local kept_until='' tried why name
  read_unrenewed "$1"
  [ "$tried" -gt 0 ] && name=$(readlink "$1/current") && is_key_due "$1" || return 0
  if may_keep_key "$1"; then
    bad "key: the data key $name is due, and could not be renewed: $why" "it seals until $(show_time "$kept_until"); then archiving stops until it is renewed"
  else
    bad "key: the data key $name must be renewed, and could not be: $why" 'archiving stops until it is renewed'
  fi
}

# Of pgv-check: whether this host could seal for the recipients. Nothing is stored.
# shellcheck disable=SC2034  # of wrap_key
check_data_key() { # SYSTEM-IDENTIFIER
  local place=$PGV_STATE_DIR/keys/$1 trial said name=none status=0
  look_at_renewal "$place"
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
  [ "$name" = none ] || find_stored_key "$1" "$name" || status=$?
  if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then
    bad "key: could not find out whether the data key $name is in the repository" 'see the message above'
  elif [ "$status" -eq 3 ]; then
    bad "key: the data key $name, which seals on this host, is not in the repository" "the next backup makes a new key; what $name sealed only this host can open"
  else
    ok "key: seals for the recipients; the data key is $name"
  fi
}

# Whether a key is in the repository, under whatever wrapping. 3: it is not; else nobody knows.
find_stored_key() { # SYSTEM-IDENTIFIER NAME
  local text
  text=$(pgv-info keys "$PGV_CLUSTER" --repo "$PGV_REPO" --system-id "$1" --only-needed --need "$2") || return "${?/#3/1}"
  [[ $text == *"object $1 $2 "* ]] || return 3
}
