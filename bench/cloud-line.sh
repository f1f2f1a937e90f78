# Sourced by cloud.sh and cloud-wal.sh: a long line between two network namespaces, and a Garage server behind TLS at its
# far end. Nothing outside these namespaces sees any of it. haproxy, which speaks TLS, notes every request.
# PGBACKREST is the pgBackRest to compare with: else that of bench/pgbackrest.sh, else that in PATH.
# PGV_BENCH_SERVER=fake takes the S3 service of the scale tests instead, in memory: a trial that does not build Garage.
# shellcheck shell=bash disable=SC2154,SC2034  # scratch, root, tools; what the two scripts use

far=10.113.0.2 near=10.113.0.1
garage_version=2.5.0
client=pgv-near-$$ server=pgv-far-$$
pgbackrest=${PGBACKREST:-$tools/pgbackrest/pgbackrest}
[ -n "${PGBACKREST:-}" ] || [ -x "$pgbackrest" ] || pgbackrest=$(command -v pgbackrest || true)
server_kind=${PGV_BENCH_SERVER:-garage}
case $server_kind in
  garage) bucket=bench ;;
  fake) bucket=scale ;;
  *) echo "bench: PGV_BENCH_SERVER is neither garage nor fake" >&2 && exit 2 ;;
esac

require_all() {
  local command
  for command in haproxy openssl curl ip python3; do
    command -v "$command" >/dev/null || { echo "bench: $command is missing: apt-get install ${command/#ip/iproute2}" >&2; exit 2; }
  done
  # Block increments are of 2.46.
  printf '%s\n' 'pgBackRest 2.46' "$("$pgbackrest" version 2>/dev/null || echo none)" | sort --version-sort --check=quiet ||
    { echo "bench: pgBackRest 2.46 or newer is missing: bench/pgbackrest.sh $tools/pgbackrest" >&2; exit 2; }
  [ "$(id --user)" -eq 0 ] || { echo "bench: run as root: it makes network namespaces" >&2; exit 2; }
  [ -x "$pg_bin/postgres" ] || { echo "bench: $pg_bin is missing: apt-get install postgresql" >&2; exit 2; }
  cargo build --quiet --release --locked --example link --example fake-s3
  [ "$server_kind" = fake ] || "$tools/bin/garage" --version 2>/dev/null | grep --quiet --fixed-strings "$garage_version" ||
    cargo install --locked --quiet --root "$tools" "garage@$garage_version"
}

# A command at the near end, as user postgres.
as_postgres() { ip netns exec "$client" runuser --user postgres -- "$@"; }

# The line is as long as asked for, or nothing is measured on it.
far_apart() { # MILLISECONDS
  local took
  echo "$1" >"$scratch/rtt.new"
  mv "$scratch/rtt.new" "$scratch/rtt"
  for _ in {1..50}; do
    took=$(as_postgres curl --silent --output /dev/null --write-out '%{time_connect}' --cacert "$scratch/ca.pem" "https://$far/")
    awk -v took="$took" -v wanted="$1" 'BEGIN { exit !(wanted == 0 || took * 1000 >= wanted) }' && return
    sleep 0.1
  done
  echo "bench: the line has not become $1 ms long: connecting takes $took s" >&2
  exit 1
}

clean_up() {
  local data pid
  for data in "$scratch"/{data,restored,restored-pgbackrest}; do
    [ ! -f "$data/postmaster.pid" ] || as_postgres "$pg_bin/pg_ctl" --pgdata="$data" --silent --mode=immediate stop || true # it may be gone
  done
  for pid in "$scratch"/*.pid; do [ ! -e "$pid" ] || kill "$(cat "$pid")" 2>/dev/null || true; done # likewise
  wait
  ip netns delete "$client" 2>/dev/null || true # it was not made yet
  ip netns delete "$server" 2>/dev/null || true
  rm --recursive --force "$scratch"
}

start_line() {
  local end
  echo 0 >"$scratch/rtt"
  "$root/bench/tun.py" "pgvn$$" "pgvf$$" "$root/target/release/examples/link" "$scratch/rtt" "${PGV_BENCH_MBIT:-1000}" 2>"$scratch/line.log" &
  echo $! >"$scratch/line.pid"
  for _ in {1..50}; do [ ! -e "/sys/class/net/pgvf$$" ] || break; sleep 0.1; done
  for end in "$client pgvn$$ $near" "$server pgvf$$ $far"; do
    # shellcheck disable=SC2086  # three words
    set -- $end
    ip netns add "$1"
    ip link set "$2" netns "$1"
    ip -netns "$1" address add "$3/30" dev "$2"
    ip -netns "$1" link set "$2" up
    ip -netns "$1" link set lo up
  done
}

make_certificates() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=bench CA" -keyout "$scratch/ca.key" -out "$scratch/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$far" -keyout "$scratch/tls.key" -out "$scratch/tls.csr" 2>/dev/null
  openssl x509 -req -in "$scratch/tls.csr" -CA "$scratch/ca.pem" -CAkey "$scratch/ca.key" -CAcreateserial -days 2 \
    -extfile <(echo "subjectAltName=IP:$far,DNS:$far") -out "$scratch/tls.crt" 2>/dev/null
  cat "$scratch/tls.crt" "$scratch/tls.key" >"$scratch/tls.pem"
}

start_fake() {
  access_key=any secret_key=any
  ip netns exec "$server" "$root/target/release/examples/fake-s3" port=3900 backups=0 segments=0 >"$scratch/server.log" 2>&1 &
  echo $! >"$scratch/server.pid"
}

start_garage() {
  mkdir "$scratch/meta" "$scratch/objects"
  cat >"$scratch/garage.toml" <<CONF
metadata_dir = "$scratch/meta"
data_dir = "$scratch/objects"
db_engine = "sqlite"
replication_factor = 1
compression_level = "none"
rpc_bind_addr = "127.0.0.1:3901"
rpc_secret = "$(openssl rand -hex 32)"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:3900"
CONF
  access_key=GK$(openssl rand -hex 12) secret_key=$(openssl rand -hex 32)
  GARAGE_DEFAULT_ACCESS_KEY=$access_key GARAGE_DEFAULT_SECRET_KEY=$secret_key GARAGE_DEFAULT_BUCKET=bench \
    ip netns exec "$server" "$tools/bin/garage" --config "$scratch/garage.toml" server --single-node --default-bucket >"$scratch/server.log" 2>&1 &
  echo $! >"$scratch/server.pid"
}

start_server() {
  "start_$server_kind"
  make_certificates
  cat >"$scratch/haproxy.cfg" <<CONF
global
  log stdout format raw local0
defaults
  mode http
  log global
  # With the status: what is known earlier is noted twice.
  log-format "%HM %HU %ST"
  timeout connect 10s
  timeout client 10m
  timeout server 10m
frontend far
  bind $far:443 ssl crt $scratch/tls.pem alpn http/1.1
  default_backend store
backend store
  server one 127.0.0.1:3900
CONF
  ip netns exec "$server" haproxy -db -f "$scratch/haproxy.cfg" >"$scratch/requests" 2>"$scratch/haproxy.log" &
  echo $! >"$scratch/haproxy.pid"
  for _ in {1..100}; do
    ! as_postgres curl --silent --output /dev/null --cacert "$scratch/ca.pem" "https://$far/" || return 0
    sleep 0.1
  done
  echo "bench: the S3 server does not answer:" >&2
  cat "$scratch/server.log" "$scratch/haproxy.log" "$scratch/line.log" >&2
  exit 1
}

# Of the requests after line N: writes and lists, reads, deletes.
requests_after() { # N
  # The note of a request is made when it is over.
  sleep 0.3
  tail --lines="+$(($1 + 1))" "$scratch/requests" |
    awk '$1 == "DELETE" { d++; next } $1 ~ /^(PUT|POST)$/ || $2 ~ /[?&](list-type=|uploads)/ { w++; next } { r++ } END { print w + 0, r + 0, d + 0 }'
}

# ROW TOOL COMMAND…: seconds and requests of one run; a status that is not 0 ends all, but for 7, which means findings.
measure() {
  local row=$1 tool=$2 before start stop status=0
  shift 2
  before=$(wc --lines <"$scratch/requests")
  start=$(date +%s.%N)
  "$@" >"$scratch/output" 2>&1 || status=$?
  stop=$(date +%s.%N)
  case $status in 0 | 7) ;; *) echo "bench: $row $tool failed ($status):" >&2; cat "$scratch/output" >&2; exit 1 ;; esac
  LC_ALL=C awk -v head="$(cat "$scratch/rtt") $row $tool" -v a="$start" -v b="$stop" -v requests="$(requests_after "$before")" \
    'BEGIN { printf "%s %.2f %s\n", head, b - a, requests }' | tee --append "$scratch/rows"
}

# Seconds of pgBackRest over those of pgv: above 1 pgv is faster.
summary() {
  echo
  echo "ms   row                  pgBackRest/pgv   seconds of pgv and pgBackRest   requests (writes and lists, reads, deletes) of each"
  LC_ALL=C sort --key=1,1n --key=2,2 --key=4,4n "$scratch/rows" | awk '
    { k = $1 " " $2; if (!(k in seen)) { seen[k] = 1; order[++rows] = k }
      n[k, $3]++; s[k, $3, n[k, $3]] = $4; q[k, $3] = $5 "+" $6 "+" $7 }
    END { for (i = 1; i <= rows; i++) { k = order[i]; split(k, a, " ")
      p = s[k, "pgv", int((n[k, "pgv"] + 1) / 2)]; b = s[k, "pgbackrest", int((n[k, "pgbackrest"] + 1) / 2)]
      printf "%-4s %-20s %14s   %8.2f %8s   %14s %14s\n", a[1], a[2], b ? sprintf("%.2f", b / p) : "-", p, b ? b : "-",
        q[k, "pgv"], b ? q[k, "pgbackrest"] : "-" } }'
}
