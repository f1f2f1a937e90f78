# Sourced, after pgv-common.sh, by the scripts that look at whether a server's WAL arrives in the archive.
# shellcheck shell=bash disable=SC2034  # what is set here is for them

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

# Sets `fault` to what keeps WAL from the archive as far as the server knows, and `advice`; or `fault` to nothing.
find_archiving_fault() { # CONFIGURATION-FILE
  local failed never
  fault='' advice="archive_command = 'pgv-wal-push -c $1 %p'"
  if [ "$in_recovery" = t ] && [ "$archive_mode" != always ]; then
    fault='this is a standby: its primary archives the WAL, a segment when it is full'
    advice='on the primary: select pg_switch_wal()'
  elif [ "$archive_mode" = off ] && [ "$(ask "select pending_restart from pg_settings where name = 'archive_mode'")" = t ]; then
    fault='archive_mode is on in the configuration, but off in the server' advice='it needs a restart, not a reload'
  elif [ "$archive_mode" = off ]; then
    fault='archive_mode is off' advice='only the ends of backups can be restored; archive_mode = on needs a restart'
  elif [ -n "$archive_library" ]; then
    fault="archive_library is $archive_library" advice='it is used instead of archive_command'
  elif [[ $archive_command != *pgv-wal-push* ]]; then
    fault="archive_command is $archive_command"
  elif [ -e "$1" ] && [[ $archive_command =~ (-c|--config)[=\ ]+([^\ \'\"]+) ]] && [ ! "${BASH_REMATCH[2]}" -ef "$1" ]; then
    fault="archive_command reads ${BASH_REMATCH[2]}, which is not $1"
  else
    failed=$(ask "select last_failed_wal || ' at ' || last_failed_time from pg_stat_archiver
      where last_failed_time > coalesce(last_archived_time, '-infinity')")
    never=$(ask 'select archived_count = 0 from pg_stat_archiver')
    advice="the server's log has what pgv-wal-push said"
    if [ -n "$failed" ]; then
      fault="fails, last with $failed"
      [ "$never" != t ] || fault="never succeeded, and $fault"
    fi
  fi
}
