# Sourced by the scripts that restore, after pgv-opening.sh: the data keys that they opened, for the recovery that follows.
# shellcheck shell=bash

# For recovery, which fetches WAL when this has ended and nobody is there to give a passphrase: into the owner's own
# directory. Called before anything is written.
# shellcheck disable=SC2016,SC2154,SC2034  # of that shell; tmp is of make_run_directory, system_id of the way
hand_on_keys() {
  local key
  handed_on=no
  for key in "$tmp/opened/$system_id"/*; do
    [ -e "$key" ] || continue
    handed_on=yes
    as_owner sh -c 'umask 077; mkdir -p "$1" && cat >"$1/.new.$$" && mv "$1/.new.$$" "$1/$2"' sh "$PGV_STATE_DIR/opened/$system_id" "${key##*/}" <"$key" ||
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
