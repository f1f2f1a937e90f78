# Sourced by pgv-setup: what the server needs: a role for backups, and WAL archiving. Its files are its owner's, who writes
# them.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# A role that can make backups and nothing else, known by the operating system's user.
make_role() {
  local hba ident start stop standby roles
  [ "$no_role" = no ] || return 0
  standby=$(server_sql 'select pg_is_in_recovery()')
  if [ "$standby" = t ]; then
    say 'this is a standby: its role comes from the primary'
    return
  fi
  roles=$(server_sql "select count(*) from pg_roles where rolname = 'pgv'")
  [ "$roles" != 0 ] || run 'creating the role pgv' server_sql 'create role pgv login replication'
  start=$(server_sql "select oid::regprocedure from pg_proc where proname in ('pg_start_backup', 'pg_backup_start')")
  stop=$(server_sql "select string_agg(oid::regprocedure::text, ', ') from pg_proc where proname in ('pg_stop_backup', 'pg_backup_stop')")
  run 'granting it the rights that backups need' query "grant pg_read_all_settings to pgv;
    grant execute on function $start, $stop, pg_switch_wal(), pg_create_restore_point(text) to pgv" ||
    die 1 'cannot grant the role pgv the rights that backups need: see above' "to continue: $again" \
      'or --no-role: backups connect as the owner'
  hba=$(server_sql 'show hba_file') ident=$(server_sql 'show ident_file')
  if ! connects_as_pgv 2>/dev/null; then
    run "letting $owner connect as pgv: $hba, $ident" map_role "$hba" "$ident"
    # Backups would fail from now on.
    [ "$dry_run" = yes ] || connects_as_pgv || die 1 "user $owner cannot connect as pgv" "check $hba and $ident, then: $again" \
      'or --no-role: backups connect as the owner'
  fi
  add_setting PGUSER pgv
  add_setting PGDATABASE postgres
}

connects_as_pgv() {
  as_owner psql --no-psqlrc --quiet ${port:+--port="$port"} --username=pgv --dbname=postgres --no-password --command='' >/dev/null
}

# Its text into a file of the server: whole, or as it was, with the same mode; where it is a link, what that names.
# shellcheck disable=SC2016  # of that shell
replace_script='set -euo pipefail
file=$(realpath -- "$1")
cp --archive --remove-destination -- "$file" "$file.pgv-new"
cat >"$file.pgv-new"
sync --data -- "$file.pgv-new"
mv --no-target-directory -- "$file.pgv-new" "$file"'

# As it was before the first set-up, whatever happened since.
# shellcheck disable=SC2016  # of that shell
keep_script='set -euo pipefail
[ ! -e "$1.before-pgv" ] || exit 0
cp --archive --dereference --remove-destination -- "$1" "$1.before-pgv.new"
sync --data -- "$1.before-pgv.new"
mv --no-target-directory -- "$1.before-pgv.new" "$1.before-pgv"'

# The first match of pg_hba.conf counts, so ours goes before the others; in pg_ident.conf the order is of no matter.
map_role() { # HBA IDENT
  local hba_text ident_text mapped try
  hba_text=$(as_owner cat -- "$1") || die 1 "user $owner cannot read $1" "then: $again"
  ident_text=$(as_owner cat -- "$2") || die 1 "user $owner cannot read $2" "then: $again"
  grep --quiet '^pgv[[:space:]]' <<<"$ident_text" ||
    replace_text "$2" "$ident_text"$'\n'"pgv             $owner                pgv"
  if ! grep --quiet 'map=pgv' <<<"$hba_text"; then
    as_owner bash -c "$keep_script" keep "$1" || die 1 "user $owner cannot save a copy of $1; nothing was changed in it" "then: $again"
    printf -v mapped '# pgv-setup: backups, as the user %s of the operating system\n%s\n' "$owner" \
      'local   all,replication pgv                                     peer map=pgv'
    replace_text "$1" "$mapped$hba_text"
  fi
  server_sql 'select pg_reload_conf()' >/dev/null
  for try in $(seq 50); do
    ! connects_as_pgv 2>/dev/null || return 0
    sleep 0.1
  done
  say "the server has not applied the change after $((try / 10)) seconds"
}

replace_text() { # FILE TEXT
  printf '%s\n' "$2" | as_owner bash -c "$replace_script" replace "$1" ||
    die 1 "user $owner cannot change $1; nothing was changed in it" "then: $again" 'or --no-role: backups connect as the owner'
}

# In the cluster's conf.d where Debian has one, else by ALTER SYSTEM.
set_up_archiving() {
  local command conf mode current level
  [ "$no_archive" = no ] || return 0
  command="$(command -v pgv-wal-push) -c $file %p"
  mode=$(server_sql 'show archive_mode') level=$(server_sql 'show wal_level')
  # Such a server does not start with archive_mode = on.
  if [ "$level" = minimal ]; then
    todo+=("wal_level is minimal, which allows neither archiving nor backups: set wal_level = replica and max_wal_senders = 10, restart the server, then: $again")
    no_backup=yes
    return
  fi
  current=$(server_sql 'show archive_command')
  # Such as the old cluster's, after an upgrade.
  if [ "$mode" != off ] && [[ $current != *"$file"* && $current =~ pgv-wal-push[\'\"]?\ +(-c|--config)[=\ ]+[\'\"]?([^\ \'\"]+) && ! ${BASH_REMATCH[2]} -ef $file ]]; then
    warn "archive_command reads ${BASH_REMATCH[2]}, which is not $file"
    todo+=("unless that configuration is also this cluster's: set archive_command = '$command', and reload the server")
    return
  fi
  if [ "$mode" != off ] && [[ $current == *pgv-wal-push* ]]; then
    say 'WAL archiving is set up'
    return
  fi
  if [ "$mode" != off ] && [ -n "$current" ] && [ "$current" != '(disabled)' ]; then
    warn "archive_command is $current; it was not changed"
    todo+=("when nothing needs that archive_command any more: set archive_command = '$command', and reload the server")
    return
  fi
  conf=/etc/postgresql/${cluster/-//}/conf.d
  if as_owner grep --quiet pgv-wal-push "$conf/pgv.conf" 2>/dev/null; then
    say "WAL archiving is set up in $conf/pgv.conf"
  elif [ -d "$conf" ]; then
    # The server reads it as its own user, and does not start if it cannot.
    run "writing $conf/pgv.conf" write_file "$conf/pgv.conf" 0644 "archive_mode = on
archive_command = '$command'
archive_timeout = 60"
  else
    run 'setting archive_mode with ALTER SYSTEM' server_sql "alter system set archive_mode = on"
    run 'setting archive_command and archive_timeout with ALTER SYSTEM' server_sql "alter system set archive_command = '$command'"
    [ "$dry_run" = yes ] || server_sql "alter system set archive_timeout = 60"
  fi
  run 'reloading the server' server_sql 'select pg_reload_conf()' >/dev/null
  [ "$mode" != off ] || todo+=("restart the server for archive_mode, then: sudo -u $owner pgv-backup $cluster (until then only the ends of backups can be restored)")
}
