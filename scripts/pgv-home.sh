# Sourced, after pgv-common.sh and pgv-server.sh, by pgv-recover: where the configuration of a copy lies, and what starts it.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

# "15 main", if Debian has a cluster with that data directory.
debian_cluster() {
  local version name data listed
  command -v pg_lsclusters >/dev/null || return 0
  listed=$(pg_lsclusters --no-header) || die 1 'pg_lsclusters cannot list the clusters of this machine' 'nothing was written'
  while read -r version name _ _ _ data _; do
    [ "$data" = "$directory" ] || [ "$data" -ef "$directory" ] || continue
    echo "$version $name"
    return
  done <<<"$listed"
}

# Sets `home` and what else the configuration's place decides.
choose_home() {
  local cluster=() listed
  pid_file='' debian=()
  if [ -n "$isolated" ]; then
    home=(--isolated "$isolated")
  elif [ -n "$as" ]; then
    debian=("${as%%/*}" "${as#*/}") home=(--into "/etc/postgresql/$as") pid_file=/var/run/postgresql/${as/\//-}.pid
    [ -n "$port" ] || port=$(pg_lsclusters --no-header | awk 'BEGIN { port = 5432 } $3 >= port { port = $3 + 1 } END { print port }')
    as_owner mkdir --parents --mode=0755 "/etc/postgresql/${as%%/*}" "/etc/postgresql/$as"
  else
    listed=$(debian_cluster)
    read -r -a cluster <<<"$listed" || true # an empty one is none
    [ "${#cluster[@]}" -ne 2 ] || debian=("${cluster[@]}") home=(--existing "/etc/postgresql/${cluster[0]}/${cluster[1]}")
  fi
}

# What starts the server, as it may be typed, in `start_command`; and where it logs first.
choose_start() {
  directory_log=$directory.log
  # shellcheck disable=SC2016  # of that shell
  as_owner sh -c ': >>"$1"' sh "$directory_log" 2>/dev/null || directory_log=$directory/pgv/server.log
  if [ "${#debian[@]}" -eq 2 ]; then
    directory_log=/var/log/postgresql/postgresql-${debian[0]}-${debian[1]}.log
    start_command=(pg_ctlcluster "${debian[@]}" start)
    typed="pg_ctlcluster ${debian[*]} start"
    return
  fi
  start_command=("${programs:-/usr/lib/postgresql/$major/bin}/pg_ctl" --pgdata="$directory" --log="$directory_log")
  [ -z "$isolated" ] || start_command+=(--options="-c config_file=${isolated@Q}/postgresql.conf")
  typed="$([ "$EUID" -ne 0 ] || echo "runuser --user $owner -- ")${start_command[*]@Q} start"
  start_command=(as_owner "${start_command[@]}" --silent --wait --timeout=864000 start)
}
