#!/usr/bin/env bash
# Watching a cluster: every metric that rules and dashboard name is printed, and every one that is printed is used; alerts
# fire by a driven clock; a Prometheus that has read the metrics answers each query of the dashboard. While the archive is
# down, pgv-check and the metrics say how long pg_wal has room. The page and the plugin of pgv-watching(7).
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
page=$root/man/pgv-watching.7
alerts=$root/packaging/pgv-alerts.yml dashboard=$root/packaging/pgv-dashboard.json
bin=$debian_bin

# A line of the page for cron, without its time and user, in this place.
type_line() { # NAME
  page_block "$page" "$1" | sed "s|^[*/0-9 ]*postgres  ||; s|/var/lib/node_exporter|$scratch/web|g; s|/var/www/html|$scratch/web|g" >"$scratch/typed"
  as_postgres bash "$scratch/typed" 2>"$scratch/err" || true # cron ignores it
}

names_in() { # FILE…: of metrics
  grep --no-filename --only-matching --extended-regexp 'pgv_[a-z_]+' "$@" | sort --unique
}

make_history() {
  local row
  sql 'create table marks (id int)'
  as_postgres pgv-backup demo --quiet
  sql 'insert into marks select generate_series(1, 1000); select pg_switch_wal()' >/dev/null
  as_postgres pgv-backup demo --quiet
  as_postgres pgv-verify demo --quiet
  as_postgres pgv-drill demo --quiet --scratch "$scratch/drill"
  # The rate of new WAL is that of the time since the oldest segment that is remembered.
  for row in 1 2 3; do sql "insert into marks values ($row); select pg_switch_wal()" >/dev/null; done
  wait_until all_is_archived
  find "$scratch/primary/pg_wal/archive_status" -name '*0?.done' | sort | head --lines=1 | xargs touch --date='50 minutes ago'
}

metrics() {
  local name
  type_line metrics
  [ ! -s "$scratch/err" ] || fail "the metrics' line says: $(cat "$scratch/err")"
  promtool check metrics <"$scratch/web/pgv.prom" >"$scratch/out" 2>&1 || fail "promtool: $(cat "$scratch/out")"
  sed --quiet 's/^# TYPE \([a-z_]*\) .*/\1/p' "$scratch/web/pgv.prom" | sort --unique >"$scratch/printed"
  [ "$(wc --lines <"$scratch/printed")" -gt 30 ] || fail "only these are printed: $(cat "$scratch/printed")"
  names_in "$alerts" "$dashboard" >"$scratch/used"
  [ -z "$(comm -13 "$scratch/printed" "$scratch/used")" ] || fail "used and never printed: $(comm -13 "$scratch/printed" "$scratch/used")"
  [ -z "$(comm -23 "$scratch/printed" "$scratch/used")" ] || fail "printed and not in the dashboard: $(comm -23 "$scratch/printed" "$scratch/used")"
  names_in "$page" >"$scratch/used"
  [ -z "$(comm -13 "$scratch/printed" "$scratch/used")" ] || fail "pgv-watching(7) names $(comm -13 "$scratch/printed" "$scratch/used")"
  while read -r name; do
    grep --quiet --word-regexp "$name" "$root/tests/prometheus/alerts.yml" || fail "no test of the alert $name"
  done < <(sed --quiet 's/^ *- alert: //p' "$alerts")
  promtool check rules "$alerts" >"$scratch/out" 2>&1 || fail "promtool: $(cat "$scratch/out")"
  promtool test rules "$root/tests/prometheus/alerts.yml" >"$scratch/out" 2>&1 || fail "promtool: $(cat "$scratch/out")"
}

# What the dashboard asks, with what Grafana puts into it.
# shellcheck disable=SC2016  # the dashboard's variable
queries() {
  jq --raw-output '.panels[] | select(.type != "row") | .title as $title | .targets[] | [$title, .expr] | @tsv' "$dashboard" | sed 's/\$cluster/.*/g'
}

answers() { # QUERY
  curl --silent --fail --get "http://127.0.0.1:$1/api/v1/query" --data-urlencode "query=$2" | jq --exit-status '.data.result | length > 0' >/dev/null
}

# Grafana is not there; its queries are asked of a server that has read the metrics.
a_server_answers() {
  local title query asked=0 free
  jq --exit-status '[.panels[] | select(.type != "row") | .targets[].datasource.uid] | all(. == "${datasource}")' "$dashboard" >/dev/null || fail "a panel has a data source of its own"
  # A range would show the last value of days ago as if it were of now.
  jq --exit-status '[.panels[] | select(.type == "stat") | .targets[]] | all(.instant and (.range | not))' "$dashboard" >/dev/null || fail "a panel of one value asks for a range"
  [ "$(jq '[.panels[].id] | length - (unique | length)' "$dashboard")" = 0 ] || fail 'two panels have one number'
  free=$(python3 -c 'import socket; s = [socket.socket() for _ in "ab"]; [x.bind(("127.0.0.1", 0)) for x in s]; print(*[x.getsockname()[1] for x in s])')
  mkdir "$scratch/prometheus"
  printf 'scrape_configs:\n  - job_name: pgv\n    scrape_interval: 1s\n    metrics_path: /pgv.prom\n    static_configs: [{targets: ["127.0.0.1:%s"]}]\n' "${free% *}" >"$scratch/prometheus/config"
  (cd "$scratch/web" && exec python3 -m http.server --bind 127.0.0.1 "${free% *}" >/dev/null 2>&1) &
  prometheus --config.file="$scratch/prometheus/config" --storage.tsdb.path="$scratch/prometheus/data" --web.listen-address="127.0.0.1:${free#* }" >"$scratch/prometheus.log" 2>&1 &
  wait_until answers "${free#* }" pgv_repository_readable
  while IFS=$'\t' read -r title query; do
    asked=$((asked + 1))
    # Nothing waits just now, a day is needed to know what is new each day, and no node_exporter runs here.
    [[ $query != *node_textfile_mtime* && $query != *oldest_ready* && $query != *new_bytes_per_day* && $query != *pgv_expiry_* ]] || continue
    answers "${free#* }" "$query" || fail "$title: no answer to $query"
  done < <(queries)
  [ "$asked" -gt 25 ] || fail "only $asked queries were seen"
}

# The server's pg_wal on a small disk, which no archive empties. Files that wait are made older, not waited for.
outage() {
  local row ready
  sql "alter system set archive_command = 'false'"
  sql 'select pg_reload_conf()' >/dev/null
  for row in 1 2 3; do sql "insert into marks values ($row); select pg_switch_wal()" >/dev/null; done
  as_postgres pgv-check demo --no-switch >"$scratch/out" 2>&1 || true # archiving fails, as it says
  grep --quiet '^ok   pg_wal: [0-9]* files\? (.*) waiting to be archived' "$scratch/out" || fail "what waits for a second is bad: $(cat "$scratch/out")"
  ready=$(find "$scratch/primary/pg_wal/archive_status" -name '*.ready' | sort | head --lines=1)
  touch --date='50 minutes ago' "$ready"
  as_postgres pgv-check demo --no-switch >"$scratch/out" 2>&1 && fail "pgv-check is content with WAL that waits for 50 minutes"
  grep --after-context=1 '^BAD  pg_wal: [0-9]* files .* waiting to be archived, the oldest for 50 min' "$scratch/out" | grep --quiet 'PG_WAL FILLS' ||
    fail "pgv-check says: $(cat "$scratch/out")"
  grep --quiet 'full in about .* of WAL an hour' "$scratch/out" || fail "no rate: $(cat "$scratch/out")"
  # Neither the repository nor the server answers.
  mv "$scratch/repository" "$scratch/repository.away"
  as_postgres "$bin/pg_ctl" --pgdata="$scratch/primary" --silent --wait --mode=immediate stop
  as_postgres pgv-check demo --no-switch >"$scratch/out" 2>&1 && fail "pgv-check is content without a server"
  grep --quiet '^BAD  pg_wal: ' "$scratch/out" || fail "without the server pgv-check says: $(cat "$scratch/out")"
  type_line metrics
  grep --quiet '^pgv_wal_ready_files{cluster="demo",.*} [1-9]' "$scratch/web/pgv.prom" || fail "no word of what waits: $(cat "$scratch/web/pgv.prom" "$scratch/err")"
  grep --quiet '^pgv_wal_full_after_seconds{cluster="demo",.*} [0-9]' "$scratch/web/pgv.prom" || fail "no word of the room: $(cat "$scratch/web/pgv.prom")"
  type_line page
  grep --quiet 'the repository cannot be read' "$scratch/web/pgv.html" || fail "the page does not say that it is blind: $(cat "$scratch/err")"
  mv "$scratch/repository.away" "$scratch/repository"
  type_line page
  [ "$(grep --count '<section' "$scratch/web/pgv.html")" = 1 ] || fail "the page: $(cat "$scratch/web/pgv.html")"
}

plugin() { # STATUS WORDS COMMAND…
  local status=0
  as_postgres "$scratch/check_pgv" "${@:3}" >"$scratch/out" 2>&1 || status=$?
  [[ $status:$(head --lines=1 "$scratch/out") == "$1:PGV $2"* ]] || fail "the plugin exits with $status for ${*:3}: $(cat "$scratch/out")"
  # What is after a bar would be numbers.
  ! grep --quiet '|' "$scratch/out" || fail "a bar: $(cat "$scratch/out")"
}

monitors() {
  page_block "$page" nagios | as_postgres tee "$scratch/check_pgv" >/dev/null
  as_postgres chmod 0755 "$scratch/check_pgv"
  plugin 0 'OK: pgv-info exits with 0' pgv-info demo --quiet --max-age 26h --format label
  plugin 1 'WARNING: ' pgv-info demo --max-age 0s --format label
  plugin 2 'CRITICAL: BAD  server' pgv-check demo --no-switch
  plugin 2 'CRITICAL: pgv-info: error: no repository' pgv-info --repo "file://$scratch/nothing"
  plugin 3 'UNKNOWN: ' pgv-no-such-program
  plugin 3 'UNKNOWN: sh exits with 75' sh -c 'echo "a|b"; exit 75'
}

main() {
  begin
  cp "$root"/scripts/pgv-* "$scratch/bin/"
  start_primary "$bin"
  as_postgres mkdir "$scratch/web"
  make_history
  metrics
  a_server_answers
  outage
  monitors
  echo 'watching: metrics, alerts, dashboard, page, room of pg_wal, plugin'
}

main
