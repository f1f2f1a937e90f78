# Sourced by pgv-setup: the role with which backups connect. The files of the server are its owner's, who writes them.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# A role that can make backups and nothing else, known by the operating system's user.
make_role() {
  local hba ident rights standby roles
  [ "$no_role" = no ] || return 0
  standby=$(server_sql 'select pg_is_in_recovery()')
  if [ "$standby" = t ]; then
    say 'this is a standby: its role comes from the primary'
    return
  fi
  roles=$(server_sql "select count(*) from pg_roles where rolname = 'pgv'")
  [ "$roles" != 0 ] || run 'creating the role pgv' server_sql 'create role pgv login replication'
  rights=$(backup_functions)
  run 'granting it the rights that backups need' query "grant pg_read_all_settings to pgv; grant execute on function $rights to pgv" ||
    die 1 'cannot grant the role pgv the rights that backups need: see above' "to continue: $again" \
      'or --no-role: backups connect as the owner'
  hba=$(server_sql 'show hba_file')
  ident=$(server_sql 'show ident_file')
  if ! connects_as_pgv 2>/dev/null; then
    run "letting $owner connect as pgv: $hba, $ident" map_role "$hba" "$ident"
    # Backups would fail from now on.
    [ "$dry_run" = yes ] || connects_as_pgv || die 1 "user $owner cannot connect as pgv" "check $hba and $ident, then: $again" \
      'or --no-role: backups connect as the owner'
  fi
  add_setting PGUSER pgv
  add_setting PGDATABASE postgres
}

# What the role may call, under the names of this major.
backup_functions() {
  server_sql "select string_agg(oid::regprocedure::text, ', ') from pg_proc
    where proname in ('pg_start_backup', 'pg_backup_start', 'pg_stop_backup', 'pg_backup_stop', 'pg_create_restore_point')
    or oid = 'pg_switch_wal()'::regprocedure"
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
    replace_text "$2" "$ident_text"$'\n'"$(ident_line)"
  if ! grep --quiet 'map=pgv' <<<"$hba_text"; then
    as_owner bash -c "$keep_script" keep "$1" || die 1 "user $owner cannot save a copy of $1; nothing was changed in it" "then: $again"
    mapped=$(hba_lines)
    replace_text "$1" "$mapped"$'\n'"$hba_text"
  fi
  server_sql 'select pg_reload_conf()' >/dev/null
  for try in $(seq 50); do
    ! connects_as_pgv 2>/dev/null || return 0
    sleep 0.1
  done
  say "the server has not applied the change after $((try / 10)) seconds"
}

hba_lines() {
  echo "# pgv-setup: backups, as the user $owner of the operating system"
  echo 'local   all,replication pgv                                     peer map=pgv'
}

ident_line() {
  echo "pgv             $owner                pgv"
}

replace_text() { # FILE TEXT
  printf '%s\n' "$2" | as_owner bash -c "$replace_script" replace "$1" ||
    die 1 "user $owner cannot change $1; nothing was changed in it" "then: $again" 'or --no-role: backups connect as the owner'
}
