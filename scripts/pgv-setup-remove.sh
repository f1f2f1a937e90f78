# Sourced by pgv-setup: takes back what set-up did to the machine and the server. What holds backups, or opens them, stays
# unless it is named. Every step looks at what is there, so a run that was killed is run again.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

remove_set_up() {
  local item left=() tree=''
  for item in ${with[@]+"${with[@]}"}; do
    [[ $item =~ ^(configuration|key|repository)$ ]] || die 2 "--with $item: must be configuration, key or repository"
  done
  is_with key && ! is_with repository && die 2 '--with key: nobody could open the backups any more' 'nothing was changed' \
    'to delete the backups, too: --with key --with repository'
  [ -n "$pgdata" ] || pgdata=$(configured PGV_PGDATA)
  find_others
  ! is_with key || [ "${#sharing[@]}" -eq 0 ] || die 2 "--with key: ${sharing[*]} uses the same key" 'nothing was changed'
  ! is_with repository || find_tree
  ! is_with configuration || look_into_state
  wait_for_nothing
  remove_schedule
  if [ "$no_archive$no_role" = yesyes ]; then
    say "the server of $cluster is left as it is"
  elif [ -n "$pgdata" ] && [ -e "$pgdata/global/pg_control" ]; then
    find_server
    [ "$no_archive" = yes ] || remove_archiving
    [ "$no_role" = yes ] || remove_role
  else
    say "the cluster $cluster does not exist: nothing is removed from a server"
  fi
  remove_named
  for item in "${left[@]}"; do say "left: $item"; done
  for item in ${todo[@]+"${todo[@]}"}; do warn "left to do: $item"; done
  [ "${#todo[@]}" -eq 0 ] || [ "$dry_run" = yes ] || exit 7
  exit 0
}

# A backup, an expiry or a restore ends first.
wait_for_nothing() {
  [ -e "$state/lock" ] || return 0
  exec 9<"$state/lock"
  flock --nonblock 9 || die 75 "a backup, an expiry or a restore of $cluster runs" "wait until it has ended, then: $again"
}

remove_schedule() {
  local unit names
  find_cron
  if [ -e "$cron" ]; then
    names=$(names_like_ours "$cron")
    names=$(grep --invert-match --line-regexp --fixed-strings -- "$cluster" <<<"$names" | sort --unique) || [ $? -eq 1 ]
    if [ -n "$names" ]; then
      left+=("the schedule $cron, which names ${names//$'\n'/ }, too: delete the lines of $cluster")
    else
      run "deleting the schedule $cron" rm --force -- "$cron"
    fi
  fi
  ! as_owner test -e "$state/no-schedule" || run "deleting $state/no-schedule" as_owner rm --force -- "$state/no-schedule"
  command -v systemctl >/dev/null || return 0
  for unit in pgv-{backup,verify,age,drill}@"$cluster.timer"; do
    ! systemctl is-enabled --quiet "$unit" 2>/dev/null || run "disabling $unit" systemctl disable --now "$unit"
  done
}

# What a file or ALTER SYSTEM sets archive_command to.
archive_commands() { # is|is not
  server_sql "select setting from pg_file_settings where name = 'archive_command' and (sourcefile ~ '/postgresql[.]auto[.]conf\$') $1 true order by seqno"
}

# PostgreSQL goes from one archive_command to the other in one step.
remove_archiving() {
  local conf before='' auto files now reads
  conf=$(debian_settings)
  conf=${conf:+$conf/pgv.conf}
  # It lies where the owner writes.
  [ ! -e "$state/archive_command.before" ] || before=$(as_owner cat -- "$state/archive_command.before")
  if [ -n "$conf" ] && [ -e "$conf" ] && as_owner grep --quiet pgv-wal-push "$conf"; then
    run "deleting $conf" as_owner rm --force -- "$conf"
  fi
  auto=$(archive_commands 'is')
  files=$(archive_commands 'is not')
  # As a standby has it that came with pg_basebackup from a primary of another name.
  if reads_another "$auto" "$file" && [ "${reads##*/}" != "${file##*/}" ]; then
    left+=("archive_command, which reads $reads and not $file")
    run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
    return
  fi
  if [[ $auto == *pgv-wal-push* ]]; then
    if [ -n "$before" ] && [ "${files##*$'\n'}" != "$before" ]; then
      run "setting archive_command = $before, as it was" server_sql "alter system set archive_command = '${before//\'/\'\'}'"
    else
      run 'resetting archive_command' server_sql 'alter system reset archive_command'
      [ -n "$before" ] || reset_mode
    fi
  fi
  run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  [ "$dry_run" = no ] || return 0
  look_at_rest
  as_owner rm --force -- "$state/archive_command.before"
}

# What set-up set with it.
reset_mode() {
  local name
  for name in archive_mode archive_timeout; do
    run "resetting $name" server_sql "alter system reset $name"
  done
}

# What still archives, or should.
look_at_rest() {
  local now='' mode wanted try
  for try in $(seq 50); do
    now=$(server_sql 'show archive_command')
    [[ $now == *pgv-wal-push* ]] || break
    sleep 0.1
  done
  mode=$(server_sql 'show archive_mode')
  wanted=$(server_sql "select coalesce((select setting from pg_file_settings where name = 'archive_mode' order by seqno desc limit 1), 'off')")
  if [[ $now == *pgv-wal-push* ]]; then
    todo+=("remove archive_command from $(server_sql "select coalesce(sourcefile || ' line ' || sourceline, source) from pg_settings where name = 'archive_command'"): pgv did not put it there")
  elif [ -n "$now" ] && [ "$now" != '(disabled)' ]; then
    say "archive_command is $now"
  elif [ "$mode" != off ] && [ "$wanted" = off ]; then
    todo+=('restart the server: until then archive_mode is on, nothing archives, and pg_wal grows')
  elif [ "$mode" != off ]; then
    todo+=('set an archive_command, or archive_mode = off and restart the server: nothing archives, and pg_wal grows')
  fi
}

remove_role() {
  local hba ident standby roles rights said
  if [ "${#siblings[@]}" -gt 0 ]; then
    left+=("the role pgv, which ${siblings[*]} uses")
    return
  fi
  hba=$(server_sql 'show hba_file')
  ident=$(server_sql 'show ident_file')
  remove_lines "$hba" "$(hba_lines)"
  remove_lines "$ident" "$(ident_line)"
  [ ! -e "$hba.before-pgv" ] || forget_copy "$hba"
  run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  standby=$(server_sql 'select pg_is_in_recovery()')
  roles=$(server_sql "select count(*) from pg_roles where rolname = 'pgv'")
  if [ "$standby" = t ]; then
    left+=('the role pgv: this is a standby, and it comes from the primary')
  elif [ "$roles" != 0 ]; then
    rights=$(backup_functions)
    run 'dropping the role pgv' server_sql "revoke pg_read_all_settings from pgv; revoke execute on function $rights from pgv"
    [ "$dry_run" = no ] || return 0
    said=$(query 'drop role pgv' 2>&1) || {
      echo "$said" >&2
      todo+=('the role pgv was not dropped: see above; it has rights or objects that pgv-setup did not give it')
    }
  fi
}

# Whole lines, as set-up writes them.
remove_lines() { # FILE LINES
  local text kept
  text=$(as_owner cat -- "$1") || die 1 "user $owner cannot read $1" "then: $again"
  kept=$(grep --invert-match --line-regexp --fixed-strings -- "$2" <<<"$text") || [ $? -eq 1 ]
  [ "$kept" = "$text" ] || run "removing the lines of pgv from $1" replace_text "$1" "$kept"
}

# If nothing else was changed since, it says nothing more.
forget_copy() { # HBA
  if [ "$dry_run" = no ] && as_owner cmp --silent -- "$1" "$1.before-pgv"; then
    as_owner rm --force -- "$1.before-pgv"
  else
    left+=("$1.before-pgv, as it was before pgv")
  fi
}
