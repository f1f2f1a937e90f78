# Sourced, after pgv-common.sh, by pgv-find: the names of relations, as a server tells them.
# shellcheck shell=bash disable=SC2154,SC2031  # what is used here is of the script

# What all databases share is of database 0.
names_sql="select case when c.relisshared then 0 else d.oid end, d.datname,
    case when c.reltablespace <> 0 then c.reltablespace else d.dattablespace end,
    c.oid, coalesce(pg_catalog.pg_relation_filenode(c.oid), 0), c.relkind, n.nspname, c.relname
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_database d on d.datname = pg_catalog.current_database();"

# Asks a server in bounded time.
ask_names() { # ARGUMENT…
  timeout --kill-after=5 120 psql --no-psqlrc --no-password --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --record-separator-zero \
    "$@" "${server[@]}" 2>"$tmp/asked"
}

# Why psql failed.
reason() {
  grep --max-count=1 --invert-match NOTICE "$tmp/asked" | tr --delete '[:cntrl:]' | grep . || echo 'psql printed no reason, or did not end in time'
}

# The names of all relations of all databases of one server, if that is of this cluster. Without them there are numbers.
learn_names() {
  local server=() name status=0 row=()
  : >"$tmp/names"
  [ "$no_names" = no ] || return 0
  [ -z "$dbname" ] || server=("$dbname")
  export PGDATABASE=${PGDATABASE:-postgres} PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10}
  ask_names --command='select system_identifier from pg_catalog.pg_control_system()' \
    --command='select datname from pg_catalog.pg_database where datallowconn and datconnlimit <> -2' >"$tmp/databases" || status=$?
  if [ "$status" -ne 0 ]; then
    [ -z "$dbname" ] || die 1 'the server of --dbname cannot be asked for names' "$(reason)"
    warn "no server can be asked for names, so relations are numbers: $(reason)"
    return 0
  fi
  mapfile -d '' -t row <"$tmp/databases"
  if [ "${row[0]}" != "$system_id" ]; then
    [ -z "$dbname" ] || die 2 "the server of --dbname is of cluster ${row[0]}, and not of $system_id"
    warn "the server that psql reaches is of cluster ${row[0]}, and not of $system_id, so relations are numbers"
    return 0
  fi
  for name in "${row[@]:1}"; do
    # For libpq, and then for psql: a name must not be taken for a connection string.
    name=${name//\\/\\\\} name=dbname=\'${name//\'/\\\'}\'
    { [[ $name != *$'\n'* ]] && printf '\\connect -reuse-previous=on "%s"\n%s\n' "${name//\"/\"\"}" "$names_sql" |
      ask_names --field-separator-zero >"$tmp/more"; } || {
      warn "the relations of one database stay numbers: $(reason)"
      continue
    }
    cat "$tmp/more" >>"$tmp/names"
  done
}
