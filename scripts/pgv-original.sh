# Sourced, after pgv-common.sh, by the scripts that restore: other data directories of this machine, which no restore may touch.
# shellcheck shell=bash disable=SC2154  # what the script has read

# The data directories that the configuration and Debian name.
named_directories() {
  local listed
  echo "${PGV_PGDATA:-}"
  command -v pg_lsclusters >/dev/null || return 0
  listed=$(pg_lsclusters --no-header) || die 1 'pg_lsclusters cannot list the clusters of this machine: one may be the original' 'nothing was written'
  awk '{ print $6 }' <<<"$listed"
}

# Sets `original` to a data directory of that cluster on this machine, and `original_runs`; or to what may be one and
# cannot be looked at, with `original_known` no. Empty: there is none below what this machine can tell.
# shellcheck disable=SC2034  # for the caller
find_original() { # SYSTEM-IDENTIFIER [EXCEPT BELOW DIRECTORY]
  local process comm directory listed stranger=no
  original='' original_runs=no original_known=yes
  for process in /proc/[0-9]*; do
    if [ -e "$process/cwd/global/pg_control" ]; then
      directory=$(readlink "$process/cwd" || true) # the process may have ended
      [[ $directory/ != "${2:-/nowhere}"/* ]] || continue
      ! is_original "$process/cwd" "$1" "$directory" || original_runs=yes
    elif [ ! -O "$process" ] && [ ! -e "$process/cwd/." ] && read -r comm 2>/dev/null <"$process/comm" && [[ $comm =~ ^post(gres|master)$ ]]; then
      suspect "process ${process#/proc/}, whose data directory this user may not see"
      stranger=yes
    fi
    [ "$original_runs$original_known" != yesyes ] || return 0
  done
  listed=$(named_directories) || exit $?
  while read -r directory; do
    [ -z "$directory" ] || ! is_original "$directory" "$1" "$directory" || return 0
  done <<<"$listed"
  [ "$original_known" = yes ] || original_runs=$stranger
}

# Whether a directory is known to hold that cluster. One that cannot be looked at may.
is_original() { # DIRECTORY SYSTEM-IDENTIFIER NAME
  local found
  if [ ! -e "$1/global/pg_control" ]; then
    [ ! -d "$1" ] || [ -x "$1" ] || suspect "$3, which this user may not look at"
    return 1
  fi
  found=$(data_system_identifier "$1" 2>/dev/null) || { suspect "$3, whose pg_control cannot be read" && return 1; }
  [ "$found" = "$2" ] || return 1
  original=$3 original_known=yes
}

suspect() { # WHAT
  [ -n "$original" ] || original=$1 original_known=no
}

# Tablespaces that came while the backup ran are made again by recovery, where they were.
look_for_the_original() {
  [ "${way[tablespaces_changed]}" = true ] || return 0
  find_original "$system_id" "$directory"
  [ "$original_runs" = no ] ||
    die 2 "a tablespace was created or dropped during $label, and the original $([ "$original_known" = yes ] && echo runs || echo may run) on this machine ($original): recovery would create the tablespace again in the same place" \
      'nothing was written' 'restore another backup (--label), restore on another machine, or stop the original'
  warn "a tablespace was created or dropped during $label: recovery creates it again in its old place, which must exist and contain nothing of value"
}

# A copy of a data directory has the links of its original: what they lead to is not the copy's to change.
look_at_links() {
  local link other named others=(/proc/[0-9]*/cwd)
  [ "$delta" = yes ] || return 0
  named=$(named_directories) || exit $?
  while read -r other; do others+=("${other:-/nowhere}"); done <<<"$named"
  for link in "$directory"/pg_tblspc/* "$directory/pg_wal"; do
    [ -L "$link" ] || continue
    for other in "${others[@]}"; do
      if [ "$other/${link#"$directory/"}" -ef "$link" ] && [ ! "$other" -ef "$directory" ] && [ -e "$other/global/pg_control" ]; then
        die 6 "$link leads to $(readlink --canonicalize "$link"), which is of the data directory $(readlink --canonicalize "$other")" 'nothing was written' \
          'restore into a new directory, with --tablespaces-under or --waldir; or remove the links of this copy'
      fi
    done
  done
}
