# Sourced by the scripts of make bench-cloud, after lib.sh: a long line between two network namespaces, and a Garage server behind TLS at its
# far end. Nothing outside these namespaces sees any of it. haproxy, which speaks TLS, notes every request.
# PGBACKREST is the pgBackRest to compare with: else that of bench/pgbackrest.sh, else that in PATH.
# PGV_BENCH_SERVER=fake takes the S3 service of the scale tests instead, in memory: a trial that does not build Garage.
# shellcheck shell=bash disable=SC2154,SC2034  # scratch, root, tools; what the two scripts use

far=10.113.0.2 near=10.113.0.1
client=pgv-near-$$ server=pgv-far-$$
enter=(ip netns exec "$client")
pgbackrest=${PGBACKREST:-$tools/pgbackrest/pgbackrest}
[ -n "${PGBACKREST:-}" ] || [ -x "$pgbackrest" ] || pgbackrest=$(command -v pgbackrest || true)
server_kind=${PGV_BENCH_SERVER:-garage}
case $server_kind in
  garage) bucket=bench ;;
  fake) bucket=scale ;;
  *) echo "bench: PGV_BENCH_SERVER is neither garage nor fake" >&2 && exit 2 ;;
esac

require_line() {
  require_root 'it makes network namespaces'
  local command
  for command in haproxy openssl curl ip python3; do require "$command" "${command/#ip/iproute2}"; done
  cargo build --quiet --release --locked --example link --example fake-s3
  [ "$server_kind" = fake ] || install_garage
}

require_all() {
  require_line
  require_postgres
  # Block increments are of 2.46.
  printf '%s\n' 'pgBackRest 2.46' "$("$pgbackrest" version 2>/dev/null || echo none)" | sort --version-sort --check=quiet ||
    { echo "bench: pgBackRest 2.46 or newer is missing: bench/pgbackrest.sh $tools/pgbackrest" >&2; exit 2; }
}

# The far end, in the words of each.
far_pgv() {
  cat <<CONF
PGV_S3_ENDPOINT_URL=https://$far
PGV_S3_REGION=garage
PGV_S3_CA_FILE=$scratch/ca.pem
AWS_ACCESS_KEY_ID=$access_key
AWS_SECRET_ACCESS_KEY=$secret_key
CONF
}

far_pgbackrest() {
  cat <<CONF
repo1-type=s3
repo1-s3-bucket=$bucket
repo1-s3-endpoint=$far
repo1-s3-region=garage
repo1-s3-uri-style=path
repo1-s3-key=$access_key
repo1-s3-key-secret=$secret_key
repo1-storage-ca-file=$scratch/ca.pem
CONF
}

# The line is as long as asked for, or nothing is measured on it.
far_apart() { # MILLISECONDS [PERCENT LOST]
  local took
  echo "$1 ${2:-0}" >"$scratch/rtt.new"
  mv "$scratch/rtt.new" "$scratch/rtt"
  for _ in {1..50}; do
    took=$(as_postgres curl --silent --output /dev/null --write-out '%{time_connect}' --cacert "$scratch/ca.pem" "https://$far/")
    awk -v took="$took" -v wanted="$1" 'BEGIN { exit !(wanted == 0 || took * 1000 >= wanted) }' && return
    sleep 0.1
  done
  echo "bench: the line has not become $1 ms long: connecting takes $took s" >&2
  exit 1
}

clean_up_more() {
  ip netns delete "$client" 2>/dev/null || true # it was not made yet
  ip netns delete "$server" 2>/dev/null || true
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

start_fake() {
  access_key=any secret_key=any
  ip netns exec "$server" "$root/target/release/examples/fake-s3" port=3900 backups=0 segments=0 >"$scratch/server.log" 2>&1 &
  echo $! >"$scratch/server.pid"
}

start_server() {
  case $server_kind in
    garage) start_garage "ip netns exec $server" 3900 ;;
    fake) start_fake ;;
  esac
  make_certificates "$far" "IP:$far,DNS:$far"
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
  await_server "https://$far/" "$scratch/server.log" "$scratch/haproxy.log" "$scratch/line.log"
}

# Of the requests after line N: writes and lists, reads, deletes.
requests_after() { # N
  # The note of a request is made when it is over. A connection that nobody used is noted, too, and is none.
  sleep 0.3
  tail --lines="+$(($1 + 1))" "$scratch/requests" |
    awk '$1 == "<BADREQ>" { next } $1 == "DELETE" { d++; next } $1 ~ /^(PUT|POST)$/ || $2 ~ /[?&](list-type=|uploads)/ { w++; next } { r++ } END { print w + 0, r + 0, d + 0 }'
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
  LC_ALL=C awk -v head="$(cut --delimiter=' ' --fields=1 "$scratch/rtt") $row $tool" -v a="$start" -v b="$stop" -v requests="$(requests_after "$before")" \
    'BEGIN { printf "%s %.2f %s\n", head, b - a, requests }' | tee --append "$scratch/rows"
}

# Seconds of another tool over those of pgv: above 1 pgv is faster.
summary() { # TOOL
  echo
  echo "ms   row                  $1/pgv   seconds of pgv and $1   requests (writes and lists, reads, deletes) of each"
  LC_ALL=C sort --key=1,1n --key=2,2 --key=4,4n "$scratch/rows" | awk -v other="$1" '
    { k = $1 " " $2; if (!(k in seen)) { seen[k] = 1; order[++rows] = k }
      n[k, $3]++; s[k, $3, n[k, $3]] = $4; q[k, $3] = $5 "+" $6 "+" $7 }
    END { for (i = 1; i <= rows; i++) { k = order[i]; split(k, a, " ")
      p = s[k, "pgv", int((n[k, "pgv"] + 1) / 2)]; b = s[k, other, int((n[k, other] + 1) / 2)]
      printf "%-4s %-20s %14s   %8.2f %8s   %14s %14s\n", a[1], a[2], b ? sprintf("%.2f", b / p) : "-", p, b ? b : "-",
        q[k, "pgv"], b ? q[k, other] : "-" } }'
}
