# Sourced by pgv-server.sh, for the scripts that start a restored server: the data keys that they opened, for the recovery
# that follows. `directory` is that of the copy.
# shellcheck shell=bash

# For recovery, which fetches WAL when this has ended and nobody is there to give a passphrase: into the owner's own
# directory. Called before anything is written. Recoveries share it: the mark of this one comes first, and as long as there
# is a mark no other one removes the keys.
# shellcheck disable=SC2016,SC2154,SC2034  # of that shell; tmp is of make_run_directory, system_id of the way
hand_on_keys() {
  local key
  handed_on=no
  for key in "$tmp/opened/$system_id"/*; do
    [ -e "$key" ] || continue
    name_mark
    as_owner sh -c 'umask 077; mkdir -p "$1" && exec 3<"$1" && flock -w 60 3 && mkdir -p "$1/opened/$2" && : >"$1/opened/$4" &&
      cat >"$1/opened/$2/.new.$$" && mv "$1/opened/$2/.new.$$" "$1/opened/$2/$3"' sh "$PGV_STATE_DIR" "$system_id" "${key##*/}" "$mark" <"$key" ||
      die 2 "recovery needs the opened data keys, and $PGV_STATE_DIR/opened cannot be written" 'nothing was written' 'set PGV_STATE_DIR to a directory of the owner'
    handed_on=yes
  done
}

# Sets `mark` to the name of the file that says that the recovery of this copy needs the keys.
name_mark() {
  local sum
  sum=$(sha256sum <<<"$directory")
  mark=.for-${sum:0:16}
}

# Nobody here knows when it ends.
tell_of_keys() {
  [ "${handed_on:-no}" = no ] || say "the opened data keys stay in $PGV_STATE_DIR/opened for recovery: remove it when that has ended; the first run of pgv after 14 days does so"
}

# Recovery has ended. 3: that of another copy has not, as far as anybody knows.
# shellcheck disable=SC2016  # of that shell
take_back_keys() {
  local status=0
  [ "${handed_on:-no}" = yes ] || return 0
  as_owner sh -c 'exec 3<"$1" && flock -w 60 3 && rm -f "$1/opened/$2" || exit 1
    for other in "$1"/opened/.for-*; do [ ! -e "$other" ] || exit 3; done
    exec rm -rf "$1/opened"' sh "${PGV_STATE_DIR:?}" "$mark" || status=$?
  case $status in
    0) ;;
    3) say "the opened data keys stay in $PGV_STATE_DIR/opened for the recovery of another copy: remove it when that has ended" ;;
    *) warn "the opened data keys in $PGV_STATE_DIR/opened could not be removed: remove that directory" ;;
  esac
}
