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
need age age
# Sets up what runs every night.
[ -d /etc/cron.d ] || packages+=(cron)
[ "${#packages[@]}" -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "the tests need: ${packages[*]}; as root: apt-get install ${packages[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
