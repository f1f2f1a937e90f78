# Sourced by pgv-setup: WAL archiving, by pgv alone, or beside the archive_command that is there.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Debian's directory for more settings of this server; nothing where the cluster of that name is another one's.
debian_settings() {
  local own=/etc/postgresql/${cluster/-//} used
  used=$(server_sql 'show config_file') || return
  [ ! -d "$own/conf.d" ] || [ ! "$used" -ef "$own/postgresql.conf" ] || echo "$own/conf.d"
}

# In the cluster's conf.d where Debian has one, else by ALTER SYSTEM.
set_up_archiving() {
  local command conf mode current level name standby
  [ "$no_archive" = no ] || return 0
  command="$(command -v pgv-wal-push) -c $file %p"
  mode=$(server_sql 'show archive_mode')
  level=$(server_sql 'show wal_level')
  # Such a server does not start with archive_mode = on.
  if [ "$level" = minimal ]; then
    todo+=("wal_level is minimal, which allows neither archiving nor backups: set wal_level = replica and max_wal_senders = 10, restart the server, then: $again")
    no_backup=yes
    return
  fi
  current=$(server_sql 'show archive_command')
  conf=$(debian_settings)
  if [ "$mode" != off ]; then
    ! set_up_beside || return 0
  elif [ "$archive" = both ]; then
    die 2 'archive_mode is off: there is no archive_command beside which pgv could archive' "then: pgv-setup $cluster, without --archive"
  fi
  if as_owner grep --quiet pgv-wal-push "${conf:+$conf/pgv.conf}" 2>/dev/null; then
    say "WAL archiving is set up in $conf/pgv.conf"
  elif [ -d "$conf" ]; then
    write_archiving
  else
    run 'setting archive_mode with ALTER SYSTEM' server_sql "alter system set archive_mode = on"
    run 'setting archive_command and archive_timeout with ALTER SYSTEM' server_sql "alter system set archive_command = '$command'"
    [ "$dry_run" = yes ] || server_sql "alter system set archive_timeout = 60"
  fi
  run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  [ "$mode" = off ] || return 0
  standby=$(server_sql 'select pg_is_in_recovery()')
  if [ "$standby" = t ]; then
    name=$(configured PGV_CLUSTER)
    todo+=("restart the server for archive_mode: it archives once it is promoted"
      "until then its primary archives: later moments than the ends of its backups need WAL of the name ${name:-$cluster} (another: PGV_CLUSTER in $file)")
  else
    todo+=("restart the server for archive_mode, then: sudo -u $owner pgv-backup $cluster (until then only the ends of backups can be restored)")
  fi
}

# The server reads it as its own user, and does not start if it cannot.
write_archiving() {
  run "writing $conf/pgv.conf" write_file "$conf/pgv.conf" 0644 "archive_mode = on
archive_command = '$command'
archive_timeout = 60"
}

# Something archives already: it goes on unless --archive says otherwise. Fails if nothing does.
set_up_beside() {
  local both reads
  [ -n "$current" ] && [ "$current" != '(disabled)' ] || return 1
  # Such as the old cluster's, after an upgrade.
  if [[ $archive = alone && $current = *pgv-wal-push* && $current != *"$file"* ]] && as_owner grep --quiet pgv-wal-push "${conf:+$conf/pgv.conf}" 2>/dev/null; then
    say "archive_command was: $current"
    write_archiving
    run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  elif [[ $archive != alone && $current != *"$file"* ]] && reads_another "$current" "$file"; then
    warn "archive_command reads $reads, which is not $file"
    todo+=("unless that configuration is also this cluster's: pgv-setup $cluster --archive alone")
  elif [[ $current == *pgv-wal-push*"$file"* && ( $archive != alone || $current != *--also* ) || $current == *pgv-wal-push* && $archive = '' ]]; then
    say "WAL archiving is set up$([[ $current != *--also* ]] || echo ', beside another archiver')"
  elif [ "$archive" = alone ]; then
    change_archiving "$command"
  elif [ "$archive" = both ]; then
    both="$(command -v pgv-wal-push) -c $file --also '${current//\'/\'\\\'\'}' %p"
    change_archiving "$both"
  else
    warn "archive_command is $current; it was not changed"
    todo+=("to archive with it and with pgv, side by side: pgv-setup $cluster --archive both"
      "when nothing needs that archive_command any more: pgv-setup $cluster --archive alone")
  fi
}

# What was there is kept for --remove. ALTER SYSTEM counts more than every file.
change_archiving() { # COMMAND
  local now try
  say "archive_command was: $current"
  [ -e "$state/archive_command.before" ] || [[ $current == *pgv-wal-push* ]] ||
    run "keeping it in $state/archive_command.before" write_file "$state/archive_command.before" 0600 "$current"
  run "setting archive_command = $1" server_sql "alter system set archive_command = '${1//\'/\'\'}'"
  run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  [ "$dry_run" = no ] || return 0
  for try in $(seq 50); do
    now=$(server_sql 'show archive_command')
    [ "$now" != "$1" ] || return 0
    sleep 0.1
  done
  die 1 "archive_command is still $now after $((try / 10)) seconds" 'the command line of the server may set it' "then: $again"
}
