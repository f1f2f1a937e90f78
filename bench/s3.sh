#!/usr/bin/env bash
# The part of make bench that is about pgv-s3: one GiB up and down by pgv-s3, s5cmd, rclone and aws, all against one
# Garage server on this machine, in turn, over http and over TLS (stunnel before the same server), streams as a backup's
# pipe has them; then how long each takes to its first answer. Ratios of medians: above 1 pgv-s3 is faster. Garage knows
# blocks by their hash: after the first round nobody's upload waits for its disk.
set -euo pipefail
shopt -s inherit_errexit

rounds=${PGV_BENCH_ROUNDS:-3}
mebibytes=${PGV_BENCH_S3_MIB:-1024}
# shellcheck source=bench/lib.sh
source "$(dirname "$0")/lib.sh"

install_tools() {
  local command
  for command in stunnel4 rclone openssl curl; do require "$command" "$command"; done
  install_garage
  install_python "${python_packages[@]}"
}

start_server() {
  start_garage '' 13900
  export AWS_ACCESS_KEY_ID=$access_key AWS_SECRET_ACCESS_KEY=$secret_key AWS_REGION=garage AWS_DEFAULT_REGION=garage
  export AWS_EC2_METADATA_DISABLED=true
}

start_tls() {
  make_certificates localhost DNS:localhost,IP:127.0.0.1
  cat >"$scratch/stunnel.conf" <<CONF
foreground = yes
pid =
[s3]
accept = 127.0.0.1:13943
connect = 127.0.0.1:13900
cert = $scratch/tls.crt
key = $scratch/tls.key
CONF
  stunnel4 "$scratch/stunnel.conf" >"$scratch/stunnel.log" 2>&1 &
  echo $! >"$scratch/stunnel.pid"
  # Everyone here reads one of these, and rclone cannot do with the second.
  export SSL_CERT_FILE=$scratch/ca.pem AWS_CA_BUNDLE=$scratch/ca.pem RCLONE_CONFIG=/notfound
}

endpoint() { case $1 in http) echo http://127.0.0.1:13900 ;; https) echo https://localhost:13943 ;; esac; }

# TOOL_up SCHEME KEY reads the object, TOOL_down SCHEME KEY writes it.
pgv_up() { "$scratch/run" "$root/target/release/pgv-s3" put --replace --endpoint-url "$(endpoint "$1")" "s3://bench/$2"; }
pgv_down() { "$scratch/run" "$root/target/release/pgv-s3" get --endpoint-url "$(endpoint "$1")" "s3://bench/$2"; }
s5cmd_up() { "$scratch/run" "$tools/python/bin/s5cmd" --endpoint-url "$(endpoint "$1")" pipe "s3://bench/$2"; }
s5cmd_down() { "$scratch/run" "$tools/python/bin/s5cmd" --endpoint-url "$(endpoint "$1")" cat "s3://bench/$2"; }
aws_up() { "$scratch/run" "$tools/python/bin/aws" --endpoint-url "$(endpoint "$1")" s3 cp --quiet - "s3://bench/$2"; }
aws_down() { "$scratch/run" "$tools/python/bin/aws" --endpoint-url "$(endpoint "$1")" s3 cp --quiet "s3://bench/$2" -; }
rclone_remote() { echo ":s3,provider=Other,env_auth=true,region=garage,force_path_style=true,endpoint='$(endpoint "$1")':bench/$2"; }
rclone_up() { "$scratch/run" env --unset=AWS_CA_BUNDLE rclone rcat "$(rclone_remote "$1" "$2")"; }
rclone_down() { "$scratch/run" env --unset=AWS_CA_BUNDLE rclone cat "$(rclone_remote "$1" "$2")"; }

# Runs a tool as the kernel's accounting sees it: seconds, CPU seconds and peak memory go to $scratch/usage.
make_runner() {
  cat >"$scratch/run" <<PYTHON
#!/usr/bin/env python3
import os, resource, sys, time
start = time.monotonic()
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
with open("$scratch/usage", "w") as f:
    print(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, file=f)
sys.exit(status)
PYTHON
  chmod 0755 "$scratch/run"
}

# Into a pipe that somebody reads, as a restore has it: a file would measure the disk.
measure() { # TOOL DIRECTION SCHEME
  local key=$1-$3
  if [ "$2" = up ]; then
    "$1_up" "$3" "$key" <"$scratch/object" >/dev/null
  else
    "$1_down" "$3" "$key" | cat >/dev/null
  fi 2>"$scratch/stderr" || { echo "bench: $1 $2 over $3 failed:" >&2; cat "$scratch/stderr" >&2; exit 1; }
  echo "$2-$3 $1 $(cat "$scratch/usage")" >>"$scratch/times"
}

# Nobody is fast with other bytes.
compare() { # TOOL SCHEME
  "$1_down" "$2" "$1-$2" | cmp - "$scratch/object" || { echo "bench: $1 gives other bytes over $2" >&2; exit 1; }
}

# The start alone: a look for what is not there. The least of twenty, because only noise adds to it.
first_answer() { # TOOL SCHEME
  for _ in {1..20}; do
    "$1_down" "$2" nothing >/dev/null 2>&1 || true
    cut --delimiter=' ' --fields=1 "$scratch/usage"
  done | LC_ALL=C sort --numeric-sort | head --lines=1
}

summary() {
  echo "one stream of $mebibytes MiB, medians of $rounds rounds:"
  echo "what          tool    seconds  of pgv  cpu s  MiB"
  LC_ALL=C sort --key=1,2 --key=3,3n "$scratch/times" | awk '
    { k = $1 " " $2; n[k]++; s[k, n[k]] = $3; cpu[k] = cpu[k] + $4; if ($5 > rss[k]) rss[k] = $5 }
    END { for (k in n) { split(k, a, " "); base = a[1] " pgv"
      m = s[k, int((n[k] + 1) / 2)]; b = s[base, int((n[base] + 1) / 2)]
      printf "%-13s %-7s %7.2f  %6.2f  %5.2f  %3d\n", a[1], a[2], m, m / b, cpu[k] / n[k], rss[k] } }' | LC_ALL=C sort
  echo "milliseconds from the start to the first answer, the least of 20:"
  local scheme tool
  for scheme in http https; do
    for tool in pgv s5cmd rclone aws; do
      LC_ALL=C awk -v k="$scheme $tool" -v s="$(first_answer "$tool" "$scheme")" 'BEGIN { printf "%-13s %6.1f\n", k, s * 1000 }'
    done
  done
}

main() {
  local round scheme tool
  install_tools
  begin
  make_runner
  head --bytes="${mebibytes}M" /dev/urandom >"$scratch/object"
  start_server
  start_tls
  await_server https://localhost:13943/ "$scratch/server.log" "$scratch/stunnel.log"
  for round in $(seq "$rounds"); do
    echo "round $round"
    for scheme in http https; do
      for tool in pgv s5cmd rclone aws; do
        measure "$tool" up "$scheme"
        measure "$tool" down "$scheme"
        [ "$round" -gt 1 ] || compare "$tool" "$scheme"
      done
    done
  done
  summary
}

main
