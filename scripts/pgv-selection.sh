# Sourced, after pgv-common.sh, pgv-server.sh and pgv-home.sh, by pgv-recover: the recovery of a directory in which only some
# databases are whole (pgv-restore --database). Replay finds no content in the others, which PostgreSQL would take for
# damage. So the server recovers with ignore_invalid_pages, and what it warns of is looked at before anybody is told that it is up.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

is_selection() {
  as_owner test -e "$directory/pgv/selection"
}

# Of a selection nothing is known before its recovery has ended.
check_selection() {
  is_selection || return 0
  ! is_replica || die 2 "$directory has only some databases of the backup: it cannot become a replica" 'nothing was written'
  [ "$action" = promote ] || die 2 "$directory has only some databases of the backup: --action must be promote" 'nothing was written'
  [ "$archive" = off ] || die 2 "$directory has only some databases of the backup: it must not archive" 'nothing was written'
  [ "$plan" = yes ] || start=yes
}

# Recovers, ends the script if that fails, and sets `selection` to what pgv-info skipped prints. All but the settings of this one start are those of every start.
recover_selection() {
  local usual=("${start_command[@]}") usual_log=$directory_log options setting
  options=(ignore_invalid_pages=on lc_messages=C log_min_messages=warning log_destination=stderr logging_collector=off
    autovacuum=off listen_addresses=)
  [ "${home[0]:-}" = '' ] || options+=("config_file=${home[1]}/postgresql.conf")
  printf -v setting ' -c %q' "${options[@]}" # of the shell that pg_ctl starts
  # It is kept: who starts this recovery again must know of what was there before.
  directory_log=$directory/pgv/recovery.log
  start_command=(as_owner "$programs/pg_ctl" --pgdata="$directory" --log="$directory_log" --options="$setting" --silent --wait --timeout=864000 start)
  say 'recovering; pages that are missing in databases that were left out are passed over'
  run_recovery || give_up
  replayed=$(ask_server 'select pg_last_xact_replay_timestamp()') || replayed='unknown: see its log'
  stop_server || die 1 "the server in $directory does not stop" "its log is $directory_log"
  selection=$(as_owner pgv-info skipped "$directory" --log "$directory_log") ||
    die $? "$directory cannot be used: see above" "its server is stopped; its log is $directory_log" \
      'the backup or the WAL is damaged: restore another backup (--label), or an earlier moment'
  start_command=("${usual[@]}") directory_log=$usual_log
}

# After the start: what is not whole, and the SQL that drops it, on stdout and in a file. Template1 is always whole.
tell_selection() {
  local chosen=() skipped=() copied=() sql=$directory/pgv/drop-skipped.sql status=0 found names="string_agg(quote_ident(datname), ', ' order by datname)"
  each_line take_database <<<"$selection"
  found=$(ask_of 'count(*)' "${chosen[@]}")
  [ "$found" = "${#chosen[@]}" ] ||
    { warn "a database that was asked for was dropped before the target of the recovery; there is $(ask_of "$names" "${chosen[@]}")" && status=7; }
  found=$(ask_of "$names" "${copied[@]}")
  [ -z "$found" ] || { warn "not usable, because replay copied the files of a database that is not whole: $found" && status=7; }
  {
    ask_of "format('DROP DATABASE %I;', datname)" "${skipped[@]}" "${copied[@]}"
    [ -n "$isolated" ] || printf '%s\n' 'ALTER SYSTEM RESET autovacuum;' 'SELECT pg_reload_conf();'
  } >"$tmp/drop"
  as_owner tee "$sql" <"$tmp/drop"
  found=$(ask_of "$names" "${skipped[@]}" "${copied[@]}")
  [ -z "$found" ] || say "these databases are empty, and refuse connections: $found"
  say "next: drop them, and switch autovacuum on again, with the SQL above: psql$(printf ' %q' --host="${postmaster[4]:-localhost}" --port="${postmaster[3]}" --dbname=template1 --file="$sql")"
  finish "$status"
}

ask_of() { # EXPRESSION OID…
  local IFS=, expression=$1
  shift
  ask_server "select $expression from pg_database where oid in (0${*:+,}$*)" ||
    die 1 "the server in $directory is up, but does not answer" "$(cat "$tmp/asked")"
}

take_database() { # KEY VALUE
  case $1 in
    chosen) chosen+=("$2") ;;
    skipped) skipped+=("$2") ;;
    copied) copied+=("$2") ;;
  esac
}
