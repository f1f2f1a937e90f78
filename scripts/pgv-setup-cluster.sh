# Sourced by pgv-setup: the cluster, its owner and its server.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Sets `cluster`, `pgdata`, `owner`, `port`: of Debian's clusters the one that is named, or the only one.
find_cluster() {
  local lines='' line version name listed_owner
  owner='' port='' start='start the server'
  if [ -z "$pgdata" ] && command -v pg_lsclusters >/dev/null; then
    lines=$(pg_lsclusters --no-header) || die 1 'pg_lsclusters fails: see above' "name the data directory instead: $again --pgdata DIR"
    lines=$(awk -v name="$cluster" 'name == "" || $1 "-" $2 == name' <<<"$lines")
  fi
  if [[ $lines == *$'\n'* ]]; then
    die 2 'there are several clusters' "name one: $(awk '{ printf "%s-%s ", $1, $2 }' <<<"$lines")"
  fi
  if [ -n "$lines" ]; then
    line=$lines
    read -r version name port _ listed_owner pgdata _ <<<"$line"
    cluster=$version-$name start="pg_ctlcluster $version $name start"
    # A cluster whose data directory does not exist has no owner there.
    ! id --user -- "$listed_owner" >/dev/null 2>&1 || owner=$listed_owner
  fi
  [ -z "$from_pgbackrest" ] || read_pgbackrest
  [ -n "$cluster" ] || die 2 'no cluster is named' 'name it, such as 15-main; without pg_lsclusters also give --pgdata DIR'
  [[ $cluster =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]*$ ]] ||
    die 2 "\"$cluster\" is not a cluster's name" "a name is VERSION-NAME, such as $(tr --squeeze-repeats '/ ' '-' <<<"$cluster"); pg_lsclusters lists the clusters"
  find_owner
}

# Whose files they are. Of what does not exist yet: PostgreSQL's user.
find_owner() {
  if [ "$restore_only$sheet_only$remove" = nonono ]; then
    [ -n "$pgdata" ] || die 2 "no cluster $cluster" "pg_lsclusters lists them; or give --pgdata DIR"
    [ -e "$pgdata/global/pg_control" ] || die 2 "$pgdata is not a data directory of $cluster" \
      'give --pgdata DIR; to restore on this host: --restore-only'
    owner=$(stat --format=%U -- "$pgdata")
  elif [ -n "$pgdata" ] && [ -d "$pgdata" ]; then
    owner=$(stat --format=%U -- "$pgdata")
  fi
  : "${owner:=postgres}"
  [ "$owner" != root ] || die 2 "$pgdata belongs to root, but no server runs as root" 'give the data directory of the server: --pgdata DIR'
  owner_home=$(getent passwd "$owner" | cut --delimiter=: --fields=6) || die 2 "there is no user $owner" 'apt-get install postgresql'
}

# Where the server of a given data directory is: it says so itself. Sets `server`, for the configuration.
find_server() {
  local text lines
  if [ -z "$port" ]; then
    as_owner ls -- "$pgdata" >/dev/null || die 1 "cannot look into $pgdata: see above"
    as_owner test -e "$pgdata/postmaster.pid" ||
      die 1 "no server runs in $pgdata: it has no postmaster.pid" 'start it' "then: $again"
    text=$(as_owner cat -- "$pgdata/postmaster.pid") || die 1 "cannot read $pgdata/postmaster.pid: see above"
    mapfile -t lines <<<"$text"
    port=${lines[3]:-} server=("PGPORT=$port")
    [[ $port =~ ^[0-9]+$ ]] || die 1 "$pgdata/postmaster.pid has no port" "wait until the server has started, then: $again"
    [ -z "${lines[4]:-}" ] || server+=("PGHOST=${lines[4]}")
    export "${server[@]}"
  fi
  reach_server
}

# Before anything is changed: a server that does not answer is said once, with the place where it was looked for.
reach_server() {
  local said
  said=$(query 'select 1' 2>&1) && return
  echo "$said" >&2
  [[ $said != *'authentication failed'* ]] ||
    die 1 "the server of $cluster refuses the user $owner" \
      "its pg_hba.conf must let the operating system's user $owner connect, as Debian does: local all $owner peer" "then: $again"
  die 1 "the server of $cluster does not answer: socket directory ${PGHOST:-/var/run/postgresql}, port $port" "$start" "then: $again"
}

query() { # SQL
  as_owner env --unset=PGUSER --unset=PGDATABASE PGOPTIONS=--client-min-messages=warning psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 \
    ${port:+--port="$port"} --dbname=postgres --command="$1"
}

# Its answer, or the end.
server_sql() { # SQL
  query "$1" || die 1 "the server of $cluster refused a command: see above" "to continue: $again"
}
