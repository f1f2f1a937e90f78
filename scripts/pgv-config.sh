# Sourced by pgv-common.sh: a cluster's configuration as the script's environment, which pgv-env reads and checks, as whom
# the script runs, and where its temporary files go.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts, and theirs is used

config_file='' wal_timeout_seconds='' wal_spool_bytes='' wal_jobs='' full_every_seconds='' key_every_seconds='' tmp=''

# Sets the environment: what is there already, then the configuration, then defaults. And `config_file`, which is empty if
# there is none, and the numbers `wal_timeout_seconds`, `wal_spool_bytes`, `wal_jobs`,
# `full_every_seconds` and `key_every_seconds`.
load_config() { # [CLUSTER] [FILE] [OPTION OF PGV-ENV…]
  local text name
  config_file=''
  text=$("${pgv_env[@]}" --print "${@:3}" ${2:+--config "$2"} -- "${1:-}") || exit $?
  each_line take_setting <<<"$text"
  # What is set to nothing is not set.
  for name in "${!PGV_@}"; do
    [ -n "${!name}" ] || unset "$name"
  done
}

take_setting() { # KEY VALUE
  case $1 in
    # NAME=VALUE. The name is a key of a configuration, which pgv-env has checked.
    set) export "${2?}" ;;
    config_file | wal_timeout_seconds | wal_spool_bytes | wal_jobs | full_every_seconds | key_every_seconds) printf -v "$1" %s "$2" ;;
  esac
}

# The file by which a cluster is configured, for messages and for other programs' configurations.
config_directory() {
  echo "${PGV_CONFIG_DIR:-/etc/pgv}"
}

# "90s", "15min", "36h", "7d", "2w" as seconds.
seconds() { # DURATION
  local text
  text=$("${pgv_env[@]}" --seconds="$1") || exit $?
  echo "${text#seconds }"
}

# Sets each of these variables that holds a relative path to the absolute one, those of the environment, too, and then leaves
# the caller's directory, which the user as whom the work is done may not be able to enter. Called before anything is done,
# and once.
enter_root() { # VARIABLE…
  local name key_files key_file absolute=
  if [ -n "${PGV_KEY_FILE:-}" ]; then
    IFS=: read -r -a key_files <<<"$PGV_KEY_FILE"
    for key_file in "${key_files[@]}"; do
      [[ -z $key_file || $key_file == /* ]] || key_file=$PWD/$key_file
      absolute+=:$key_file
    done
    PGV_KEY_FILE=${absolute#:}
  fi
  for name in "$@" PGV_STATE_DIR PGV_PGDATA PGV_S3_CA_FILE PGV_CONFIG_DIR PGV_RECIPIENTS PGV_SIGNER PGV_HOSTS PGV_IDENTITY; do
    [ -n "${!name:-}" ] || continue
    local -n path_variable=$name
    [[ $path_variable == /* ]] || path_variable=$PWD/$path_variable
    unset -n path_variable
  done
  cd /
}

# Where root began this script, begins it again as the owner of the configuration; what follows is done by that user. What
# root leaves in a repository or a state directory its owner cannot use any more. Called in the caller's directory, with the
# arguments as they were typed.
step_down() { # CLUSTER CONFIG ARGUMENT…
  [ "$EUID" -eq 0 ] && [ -z "${PGV_STAYS_ROOT:-}" ] || return 0
  exec "${pgv_env[@]}" --step-down ${2:+--config "$2"} -- "$1" "$(readlink --canonicalize "$0")" "${@:3}"
}

# The same, as the owner of a path, or of the directory where that is to be made.
step_down_to() { # PATH CONFIG ARGUMENT…
  [ "$EUID" -eq 0 ] && [ -z "${PGV_STAYS_ROOT:-}" ] || return 0
  exec "${pgv_env[@]}" --step-down --owner-of "$1" ${2:+--config "$2"} -- '' "$(readlink --canonicalize "$0")" "${@:3}"
}

# Sets `tmp` to a directory for this run's temporary files, and TMPDIR, so that they are never elsewhere: in PGV_STATE_DIR
# if there is one. Removes what killed runs left there: each run holds a lock of its directory, and so do its children.
make_run_directory() {
  local place=${PGV_STATE_DIR:+$PGV_STATE_DIR/tmp} lock other
  if [ -n "$place" ] && mkdir --parents "$place" 2>/dev/null && [ -w "$place" ]; then
    # Nobody removes a directory between its making and its lock.
    exec {lock}<"$place"
    flock --timeout 60 "$lock" || die 75 "another run has held the lock of $place for 60 s" 'give the same command again'
    remove_dead_runs "$place"
    drop_old_keys
    make_locked_directory "$place"
    exec {lock}<&-
  else
    for other in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
      [ ! -d "$other" ] || [ ! -w "$other" ] || break
    done
    remove_own_dead_runs "$other"
    make_locked_directory "$other"
  fi
  export TMPDIR=$tmp
}

make_locked_directory() { # PLACE
  tmp=$(mktemp --directory "$1/$pgv_tool.XXXXXX") || die 1 "cannot create temporary files in $1" \
    'free space there, or set PGV_STATE_DIR to a directory on another disk'
  exec {run_lock}<"$tmp"
  flock --nonblock "$run_lock"
}

# Data keys that were opened for a recovery, which never came or has ended long since.
drop_old_keys() {
  [ ! -d "$PGV_STATE_DIR/opened" ] || find "$PGV_STATE_DIR/opened" -maxdepth 2 -type f -mtime +13 -delete ||
    warn "$PGV_STATE_DIR/opened has data keys that were opened weeks ago, and cannot be removed"
}

remove_dead_runs() { # PLACE
  local run
  for run in "$1"/*; do
    [ -e "$run" ] || continue
    if [ -d "$run" ]; then
      # Its run lives.
      flock --nonblock "$run" rm --recursive --force "$run" || continue
    else
      rm --force "$run"
    fi
  done
}

# In a place of everybody: of this tool and this user only, and none that could be between its making and its lock.
remove_own_dead_runs() { # PLACE
  find "$1" -maxdepth 1 -type d -name "$pgv_tool.??????" -user "$EUID" -mmin +10 \
    -exec flock --nonblock '{}' rm --recursive --force '{}' \; || true # what cannot be removed is no reason to stop
}

drop_tmp() {
  rm --recursive --force "$tmp"
}
