# Sourced, after pgv-common.sh, by the scripts that look at whether a server's WAL arrives in the archive.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for them, and theirs is used

ask() { # SQL
  psql --no-psqlrc --quiet --tuples-only --no-align --dbname="${PGDATABASE:-postgres}" --command="$1"
}

# Sets `archive_mode`, `in_recovery`, `archive_library` and `archive_command` to what the server says, or fails.
learn_archiving() {
  local row
  command -v psql >/dev/null || return 1
  row=$(ask "select current_setting('archive_mode'), pg_is_in_recovery(), coalesce(current_setting('archive_library', true), ''),
    current_setting('archive_command')") || return 1
  IFS='|' read -r archive_mode in_recovery archive_library archive_command <<<"$row"
}

# Sets `reads` to the configuration that an archive_command of pgv reads, if that is not this one; else fails.
reads_another() { # ARCHIVE-COMMAND CONFIGURATION-FILE
  local words=${1#*pgv-wal-push}
  # Those of another archiver beside it are its own.
  [ "$words" != "$1" ] && [[ ${words%%--also*} =~ \ (-c|--config)[=\ ]+[\'\"]?([^\ \'\"]+) && ! ${BASH_REMATCH[2]} -ef $2 ]] && reads=${BASH_REMATCH[2]}
}

# Sets `fault` to what keeps WAL from the archive as far as the server knows, and `advice`; or `fault` to nothing. Fails if
# the server cannot say.
find_archiving_fault() { # CONFIGURATION-FILE
  local failed never line reads
  fault='' advice="archive_command = 'pgv-wal-push -c $1 %p'"
  if [ "$in_recovery" = t ] && [ "$archive_mode" != always ]; then
    fault='this is a standby: its primary archives a WAL segment when it is full'
    advice='on the primary: select pg_switch_wal()'
  elif [ "$archive_mode" = off ] && [ "$(ask "select pending_restart from pg_settings where name = 'archive_mode'")" = t ]; then
    fault='archive_mode is on in the configuration, but off in the server' advice='restart the server: a reload is not enough'
  elif [ "$archive_mode" = off ] && line=$(ask "select sourcefile || ', line ' || sourceline from pg_settings
      where name = 'archive_mode' and sourcefile like '%postgresql.auto.conf'") && [ -n "$line" ]; then
    fault="archive_mode is off, by $line" advice='if it is to archive, delete that line, as pgv-restore says there, and restart the server'
  elif [ "$archive_mode" = off ]; then
    fault='archive_mode is off' advice='set archive_mode = on and restart the server; until then only the ends of backups can be restored'
  elif [ -n "$archive_library" ]; then
    fault="archive_library is $archive_library" advice='the server uses archive_library instead of archive_command: clear it'
  elif [[ $archive_command != *pgv-wal-push* ]]; then
    fault="archive_command is $archive_command"
  elif [ -e "$1" ] && reads_another "$archive_command" "$1"; then
    fault="archive_command reads $reads, which is not $1"
  else
    failed=$(ask "select last_failed_wal || ' at ' || last_failed_time from pg_stat_archiver
      where last_failed_time > coalesce(last_archived_time, '-infinity')") || return 1
    never=$(ask 'select archived_count = 0 from pg_stat_archiver') || return 1
    advice="the server's log has the messages of pgv-wal-push"
    if [ -n "$failed" ]; then
      fault="fails, last with $failed"
      [ "$never" != t ] || fault="never succeeded, and $fault"
    fi
  fi
}

# Before a backup: does the WAL go where a restore finds it?
require_archive() { # here|elsewhere|nowhere BY-WHAT
  [ "$1" != elsewhere ] ||
    warn "the server archives elsewhere (by $2), so only the ends of backups can be restored from this repository"
  [ "$1" = here ] || [ "${PGV_WAL:-}" != none ] ||
    die 2 'PGV_WAL is none, but no WAL goes into this repository: this backup could not be restored' 'nothing was stored' \
      'archive with pgv-wal-push, or set PGV_WAL=include'
}

# Before a backup: a server that was promoted while it did not archive has the history of its timeline only in its pg_wal,
# and PostgreSQL never archives it. Without it no older backup could follow the timeline of this one.
archive_histories() {
  local text
  text=$(patiently pgv-info histories "$PGV_CLUSTER" --repo "$PGV_REPO" --server "$data_directory") ||
    die $? 'could not find out whether the archive has the history of each timeline' 'nothing was stored'
  each_line archive_history <<<"$text"
}

# By the archive_command itself: it compares, and overwrites nothing.
# shellcheck disable=SC2317,SC2329  # by each_line
archive_history() { # KEY VALUE
  local said
  [ "$1" = history ] || return 0
  said=$(cd "$data_directory" && PGV_PGDATA=$data_directory pgv-wal-push ${config_file:+--config "$config_file"} "pg_wal/$2" 2>&1) || {
    echo "$said" >&2
    # What a lost key sealed is compared with nothing any more.
    [ "${begins_anew:-no}" = no ] || { warn "the history of timeline $((16#${2:0:8})) was not compared with the archive's" && return 0; }
    die 1 "the history of timeline $((16#${2:0:8})) could not be archived: see above" 'no backup was stored'
  }
  [[ $said == *'in the archive already'* ]] || say "archived the history of timeline $((16#${2:0:8}))"
}

# Of pgv-check, and by the server's files alone: it may have stopped because the disk is full.
check_wal_room() { # DATA-DIRECTORY
  local text
  [ -n "$1" ] || return 0
  text=$("${pgv_peek[@]}" waiting "$1") || {
    bad 'pg_wal: could not find out how much waits, and how much room there is' 'see the message above; the cluster'\''s owner may read it'
    return
  }
  each_line take_finding <<<"$text"
}

# Of pgv-check, now that the server's timeline is in the archive, too.
check_histories() {
  local text
  text=$(pgv-info histories "$PGV_CLUSTER" --repo "$PGV_REPO" --system-id "$system_identifier") || {
    bad 'archiving: could not find out whether the archive has the history of each timeline' 'see the message above'
    return
  }
  each_line take_finding <<<"$text"
}

# Waits until the archive has the WAL that a backup needs; or sets `fault` and `advice`. Called where `set -e` is off.
await_wal() { # FACTS CONFIGURATION-FILE
  local status=0 missing
  pgv-info await "$PGV_CLUSTER" --quiet --repo "$PGV_REPO" --facts "$1" --wait "${wal_timeout_seconds}s" 2>"$tmp/said" || status=$?
  [ "$status" -ne 0 ] || return 0
  missing=$(sed --quiet 's/^[^ ]*: error: //p' "$tmp/said" | head --lines=1)
  fault=${missing:-cannot look for the WAL that the backup needs: status $status} advice='check that the repository can be reached and read'
  [ "$status" -ne 3 ] || { explain_archiving "$2" && fault="$missing; $fault"; }
  return "$status"
}

# Sets `fault` and `advice` where WAL has not arrived, by what the server knows.
explain_archiving() { # CONFIGURATION-FILE
  # Where `set -e` is off: the server may have gone.
  if learn_archiving && find_archiving_fault "$1"; then
    fault="archiving: ${fault:-the archiver reports no failure; it may be slow}"
    return
  fi
  fault='archiving: cannot query the server about it' advice="pg_stat_archiver and the server's log say why"
}

# After a restore nothing is archived until somebody decides what for: sets `fault` and `advice`, or `fault` to nothing.
find_undecided() { # DATA-DIRECTORY
  local mark=$1/pgv/archiving-undecided
  fault='' advice="to archive, delete archive_mode = 'off' from its postgresql.auto.conf; in any case, remove $mark then"
  [ ! -e "$mark" ] || fault="archiving: $1 was restored, and you have not decided whether it archives"
}

# Of pgv-backup. The backup holds the WAL it needs; but an archive that lacks it has a hole in the way to every later moment.
look_at_archiving() {
  local fault='' advice
  wal_arrived=yes
  [ "${next[archiving]}" != here ] || [ "${PGV_WAL:-}" = none ] || await_wal "$tmp/facts" "$file" || { warn "$fault; $advice" && findings=7 wal_arrived=no; }
  find_undecided "$data_directory"
  [ -z "$fault" ] || { warn "$fault: $advice" && findings=7; }
}
