#!/usr/bin/env bash
# Installs what the tests need from Debian's packages; does nothing where all of it is there.
set -euo pipefail
shopt -s inherit_errexit

packages=()
need() { # COMMAND-OR-PATH PACKAGE
  command -v "$1" >/dev/null 2>&1 || packages+=("$2")
}

"$(dirname "$0")/debian-postgres.sh" >/dev/null 2>&1 || packages+=(postgresql)
need pg_lsclusters postgresql-common
need bsdtar libarchive-tools
need shellcheck shellcheck
need mandoc mandoc
need zstd zstd
need openssl openssl
need jq jq
need npm npm
python3 -c 'import ensurepip' >/dev/null 2>&1 || packages+=(python3-venv)
need cc build-essential
need pgrep procps
need curl curl
# What people come from; it speaks to S3 over TLS only.
need pgbackrest pgbackrest
need stunnel4 stunnel4
need ssh openssh-client
# Two packages with services that listen: a host that backs up another, and the check of alert rules.
services=()
[ -x /usr/sbin/sshd ] || { packages+=(openssh-server) && services+=(ssh.service ssh.socket); }
command -v promtool >/dev/null 2>&1 || { packages+=(prometheus) && services+=(prometheus.service); }
need age age
# Sets up what runs every night.
[ -d /etc/cron.d ] || packages+=(cron)
[ "${#packages[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "the tests need: ${packages[*]}; as root: apt-get install ${packages[*]}" >&2
  exit 1
fi
# The tests start their own: this machine shall not begin to listen to the world because of them.
for service in "${services[@]}"; do
  unit=/etc/systemd/system/$service
  mkdir --parents "${unit%/*}"
  [ -e "$unit" ] || [ -L "$unit" ] || ln --symbolic /dev/null "$unit"
  echo "install-debian.sh: $service is installed and masked; to use it: systemctl unmask $service" >&2
done
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
