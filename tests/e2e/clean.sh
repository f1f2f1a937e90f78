#!/usr/bin/env bash
# make test in a clean Debian with nothing but Rust, make and certificates in it, as root or as an ordinary user. For
# make test-long: it makes a whole Debian, and builds everything in it.
#
#     clean.sh SUITE [USER [COMMAND]]
#
# SUITE: bookworm or trixie. USER: root, or a name; the checkout is pgv in that user's home [default: root].
# COMMAND: what is run there, instead of make test and make demo.
# PGV_CLEAN_ROOT: where that Debian is; one that is there is used again, with what was built in it, and stays
# [default: a scratch directory below /var/tmp, removed when all went well].
#
# The tests run in a network of their own, which has nothing but loopback: ports of this machine are not in the way, and
# what is not installed cannot be fetched.
set -euo pipefail
shopt -s inherit_errexit

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

usage() {
  sed --quiet '/^#  /s/^# *//p' "$0" >&2
  exit 2
}

make_debian() {
  local place
  command -v debootstrap >/dev/null || fail "no debootstrap: apt-get install debootstrap"
  place=$("$root/tests/tools/debian-mirror.sh")
  debootstrap --variant=minbase --include=make,ca-certificates "$suite" "$debian" "$place" >"$debian.log" 2>&1 ||
    fail "debootstrap: $(tail --lines=5 "$debian.log")"
  # A machine behind an authority of its own.
  find /usr/local/share/ca-certificates -name '*.crt' -exec cp --target-directory="$debian/usr/local/share/ca-certificates" {} +
  chroot "$debian" update-ca-certificates >>"$debian.log" 2>&1
  # A start at installation would take ports; tests start what they need.
  printf '#!/bin/sh\nexit 101\n' >"$debian/usr/sbin/policy-rc.d"
  chmod 0755 "$debian/usr/sbin/policy-rc.d"
  mkdir "$debian/opt/rust"
  touch "$debian/made"
}

# The toolchain is this machine's; what cargo has fetched already need not be fetched again.
give_rust() {
  local fetched=${CARGO_HOME:-$HOME/.cargo}/registry
  toolchain=$(rustc --print sysroot)
  [ ! -d "$fetched/cache" ] || [ -d "$debian$home/.cargo/registry" ] || {
    mkdir --parents "$debian$home/.cargo/registry"
    cp --recursive "$fetched/cache" "$fetched/index" "$debian$home/.cargo/registry/"
  }
}

give_checkout() {
  local file
  mkdir --parents "$debian$home/pgv"
  # What was built before stays; a file that is not there any more does not. New times tell cargo what is new.
  find "$debian$home/pgv" -mindepth 1 -maxdepth 1 ! -name target -exec rm --recursive {} +
  # What is committed and what is not yet, but nothing that is built.
  git -C "$root" ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do [ ! -e "$root/$file" ] || printf '%s\0' "$file"; done |
    tar --create --directory="$root" --null --files-from=- | tar --extract --touch --no-same-owner --directory="$debian$home/pgv"
  [ "$user" = root ] || chroot "$debian" chown --recursive "$user:" "$home"
}

# Its own processes and mounts, which end with the command, and --net or not: its own network.
enter() { # [--net] USER COMMAND
  local separate=(--mount --pid --ipc --fork --kill-child)
  [ "$1" != --net ] || { separate+=(--net) && shift; }
  cp /etc/resolv.conf "$debian/etc/resolv.conf"
  # shellcheck disable=SC2016  # expands there
  nice --adjustment=10 unshare "${separate[@]}" bash -e -c '
    debian=$1 toolchain=$2 user=$3 command=$4
    ip link set lo up
    mount -t proc proc "$debian/proc"
    mount --rbind /dev "$debian/dev"
    mount --rbind /sys "$debian/sys"
    mount --bind --options ro "$toolchain" "$debian/opt/rust"
    home=$(chroot "$debian" getent passwd "$user" | cut --delimiter=: --fields=6)
    cd /
    exec chroot "$debian" env --ignore-environment HOME="$home" LOGNAME="$user" USER="$user" TERM=dumb \
      ${PIP_CERT:+PIP_CERT=/etc/ssl/certs/ca-certificates.crt} ${NODE_EXTRA_CA_CERTS:+NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt} \
      PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      setpriv --reuid="$user" --regid="$(chroot "$debian" id --group "$user")" --init-groups bash -e -c "cd; $command; exit"' \
    enter "$debian" "$toolchain" "$1" "$2" </dev/null
}

# An ordinary user is told all that is missing at once; that and no more is installed for them.
install_what_is_named() {
  local packages status=0
  enter "$user" 'pgv/tests/tools/install-debian.sh' >"$debian.log" 2>&1 || status=$?
  [ "$status" -ne 0 ] || return 0
  packages=$(sed --quiet 's/.*as root: apt-get install //p' "$debian.log")
  [ -n "$packages" ] || fail "install-debian.sh ends with $status and names no package: $(cat "$debian.log")"
  enter root "apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $packages" >"$debian.log" 2>&1 ||
    fail "apt-get: $(tail --lines=10 "$debian.log")"
}

leave() {
  local status=$?
  if [ "$status" -eq 0 ] && [ -z "${PGV_CLEAN_ROOT:-}" ]; then
    rm --recursive --force --one-file-system "$debian" "$debian.log"
  else
    echo "kept: $debian" >&2
  fi
}

main() {
  trap leave EXIT
  [ -e "$debian/made" ] || make_debian
  [ "$user" = root ] || chroot "$debian" id "$user" >/dev/null 2>&1 || chroot "$debian" useradd --create-home --shell /bin/bash "$user"
  give_rust
  give_checkout
  [ "$user" = root ] || install_what_is_named
  enter "$user" 'cd pgv; make test-tools all'
  enter --net "$user" 'cd pgv; cargo test --release --locked --offline --no-run'
  enter --net "$user" "cd pgv; $command"
}

[ $# -ge 1 ] || usage
case $1 in bookworm | trixie) ;; *) usage ;; esac
[ "$(id --user)" -eq 0 ] || { echo "clean.sh: was NOT run: it needs root" >&2 && exit 0; }
suite=$1 user=${2:-root} command=${3:-make test && make demo}
root=$(cd "$(dirname "$0")/../.." && pwd)
home=/home/$user
[ "$user" != root ] || home=/root
debian=${PGV_CLEAN_ROOT:-$(mktemp --directory "/var/tmp/pgv-$suite.XXXXXX")}
main
