# Sourced, after pgv-common.sh, pgv-way.sh and pgv-server.sh, by pgv-restore and pgv-recover: a copy that is a replica. Their
# options --standby and --slot set `standby` and `slot`.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts, and theirs is used

standby=() slot='' primary_lines=''
standby_options=('standby+=' slot=)
# So long a replica may take to begin to stream, seconds; before that it may have hours of the archive to replay.
streaming_limit=60

is_replica() {
  [ "${#standby[@]}" -gt 0 ]
}

# Refuses what no replica has, before anything else is looked at. Sets `primary_lines` to what pgv-info says of the connection
# string, and `primary`.
check_standby() {
  local option refused=()
  declare -gA primary=()
  if ! is_replica; then
    [ -z "$slot" ] || die 2 '--slot needs --standby'
    return
  fi
  [ "${#standby[@]}" -eq 1 ] || die 2 'give --standby once'
  for option in time lsn xid name action timeline isolated archive; do
    [ -z "${!option}" ] || refused+=("--$option")
  done
  for option in immediate exclusive; do
    [ "${!option}" = no ] || refused+=("--$option")
  done
  [ "${#refused[@]}" -eq 0 ] || die 2 "--standby cannot be combined with ${refused[*]}" 'nothing was written' \
    'a replica follows its primary along the latest timeline, and archives as its configuration says after a failover'
  primary_lines=$(pgv-info primary ${slot:+--slot "$slot"} <<<"${standby[0]}") || die $? '--standby: see above' 'nothing was written' \
    "it is a connection string of libpq, such as 'host=db1 user=replicator application_name=db2'"
  read_lines primary <<<"$primary_lines"
}

# For pgv-info plan and prepare, which read it where they read the way.
note_primary() {
  ! is_replica || echo "$primary_lines" >>"$way_file"
}

# A quick look, with the rights and the passwords of the user whose server connects later. Another cluster is an error; a
# primary that does not answer is none, because the archive may have what the replica needs.
look_at_primary() {
  local row found
  is_replica && [ "$start" = yes ] || return 0
  command -v psql >/dev/null || { warn 'no psql on this machine, so the primary was not looked at' && return; }
  row=$(as_server as_owner timeout 30 psql --no-psqlrc --no-password --quiet --tuples-only --no-align --field-separator=' ' \
    --dbname="${primary[primary_probe]}" --command=IDENTIFY_SYSTEM 2>"$tmp/said") || {
    warn "the primary does not answer, and the replica follows the archive until it does: $(grep . "$tmp/said" | head --lines=1 || echo 'no reason given')"
    return
  }
  read -r found _ <<<"$row"
  [ "$found" = "$system_id" ] || die 2 "the server that --standby names is cluster $found, but the backup is of cluster $system_id" 'nothing was written' \
    'give the connection string of a server of this cluster, or choose another backup: --label, --system-id'
}

# Whether a backup lies there in which no server was started. A replica keeps its standby.signal, but its backup_label only
# until then.
is_unstarted() {
  [ -e "$directory/recovery.signal" ] ||
    { [ -e "$directory/standby.signal" ] && { [ -e "$directory/pgv/held" ] || [ -e "$directory/backup_label" ]; }; }
}

# Where nobody may log in, or may not see it, the title of the process tells it.
streams() {
  local pid title
  server_runs || return
  [ "$(ask_server 'select status from pg_stat_wal_receiver' || true)" != streaming ] || return 0 # as said
  find_child walreceiver && [[ $title == *streaming* ]]
}

# The last words about a replica that is up.
tell_replica() {
  local until=$((SECONDS + streaming_limit))
  while ! streams; do
    if ! server_runs; then
      tell_log
      die 1 'the replica has ended' "its log is ${server_log:-$directory_log}" "the data in $directory is complete"
    fi
    if [ "$SECONDS" -ge "$until" ]; then
      tell_log
      warn "the replica is up, and follows the archive only: it does not stream from ${primary[primary_shown]} yet"
      say 'it tries again by itself; to see whether it streams: select * from pg_stat_wal_receiver'
      return
    fi
    sleep 0.5
  done
  say "the replica is up, and streams from ${primary[primary_shown]}"
}

# pgv-wal-push archives for no directory but PGV_PGDATA.
tell_archiving() {
  [ "${PGV_PGDATA:-}" = "$directory" ] ||
    say "after a failover it archives only if PGV_PGDATA is $directory; in the configuration ${config_file:-of this host} it is ${PGV_PGDATA:-not set}"
}
