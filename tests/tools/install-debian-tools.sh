#!/usr/bin/env bash
# Puts PostgreSQL 17, 18 and 19 of Debian, with all their client tools, under DIR, as DIR/MAJOR/bin: pg_combinebackup,
# pg_verifybackup, pg_waldump and pg_amcheck, which the npm packages of install-postgres.sh lack, and a server of 19, which
# they do not have yet. Needs no root. Where that cannot be done it says so, and what needs them does not run.
#
# They need a newer libc than Debian 12 has, so each program is a script that starts it with its own.
set -euo pipefail
shopt -s inherit_errexit

# Whole: apt takes what is relative for relative to /etc/apt.
directory=$(realpath --canonicalize-missing "${1:?usage: install-debian-tools.sh DIR}")
majors=(17 18 19)
# 19 is not in unstable yet; apt would take more than it needs from where it is.
packages=(postgresql-17 postgresql-18 postgresql-19/experimental postgresql-client-19/experimental locales-all/sid libc6/sid)

# All packages, with what they depend on, for a machine that has none.
fetch() { # PLACE
  local suite from options
  from=$("$(dirname "$0")/debian-mirror.sh")
  mkdir --parents "$1"/{lists/partial,cache/archives/partial,etc,parts}
  : >"$1/status"
  for suite in trixie sid experimental; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main"
  done >"$1/etc/sources.list"
  # A mirror may be a snapshot of some day.
  options=(-o Dir::Etc::SourceList="$1/etc/sources.list" -o Dir::Etc::SourceParts="$1/parts" -o Dir::State="$1" -o Dir::State::status="$1/status"
    -o Dir::Cache="$1/cache" -o Acquire::Check-Valid-Until=false -o Acquire::Retries=1 -o Acquire::http::Timeout=30 -o Debug::NoLocking=true -o APT::Sandbox::User="$(id --user --name)")
  apt-get "${options[@]}" update --quiet=2
  apt-get "${options[@]}" install --quiet=2 --yes --download-only --no-install-recommends "${packages[@]}" >"$1/said" || { cat "$1/said" >&2 && return 1; }
  mkdir "$1/root"
  find "$1/cache/archives" -name '*.deb' -exec dpkg-deb --extract {} "$1/root" \;
}

# One major, with the libraries of them all, and nothing outside its directory.
lay_out() { # MAJOR ROOT PLACE
  local bin=$3/usr/lib/postgresql/$1/bin program
  mkdir --parents "$3/usr/lib/postgresql/$1" "$3/usr/share/postgresql" "$3/libraries"
  cp --archive "$2/usr/lib/postgresql/$1/lib" "$3/usr/lib/postgresql/$1/"
  # Just-in-time compilation would need a library of 150 MB; without it a server does without.
  rm --force "$3/usr/lib/postgresql/$1"/lib/llvmjit*
  cp --archive "$2/usr/lib/postgresql/$1/bin" "$3/usr/lib/postgresql/$1/programs"
  cp --archive "$2/usr/share/postgresql/$1" "$3/usr/share/postgresql/"
  copy_libraries "$2/usr/lib/x86_64-linux-gnu" "$3/libraries" "$3/usr/lib/postgresql/$1"/{programs/*,lib/*.so}
  mkdir "$bin"
  for program in "$3/usr/lib/postgresql/$1/programs"/*; do
    cat >"$bin/${program##*/}" <<'SH'
#!/bin/bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
name=${0##*/} libraries=$here/../../../../../libraries
exec "$libraries/ld-linux-x86-64.so.2" --argv0 "$here/$name" --library-path "$libraries" "$here/../programs/$name" "$@"
SH
  done
  chmod a+x "$bin"/*
  ln --symbolic "usr/lib/postgresql/$1/bin" "$3/bin"
  chmod --recursive a+rX "$3"
}

# What these need.
copy_libraries() { # FROM TO FILE…
  local loader=$1/ld-linux-x86-64.so.2 from=$1 to=$2 file
  shift 2
  cp --dereference "$loader" "$to/"
  for file in "$@"; do
    "$loader" --library-path "$from" --list "$file" 2>/dev/null || true # a script has none
  done | awk -v from="$from/" 'index($3, from) == 1 { print $3 }' | sort --unique |
    xargs --delimiter='\n' cp --dereference --target-directory="$to"
}

main() {
  local major scratch
  for major in "${majors[@]}"; do
    [ -x "$directory/$major/bin/postgres" ] || break
  done
  [ ! -x "$directory/$major/bin/postgres" ] || return 0
  mkdir --parents "$directory"
  scratch=$(mktemp --directory "$directory/.install-XXXXXX")
  # shellcheck disable=SC2064  # that of now
  trap "rm --recursive --force '$scratch'" EXIT
  [ "$(dpkg --print-architecture)" = amd64 ] || { echo 'it is not an amd64 machine' >&2 && return 1; }
  fetch "$scratch"
  for major in "${majors[@]}"; do
    rm --recursive --force "${directory:?}/$major"
    lay_out "$major" "$scratch/root" "$scratch/$major"
    "$scratch/$major/bin/postgres" --version
    mv "$scratch/$major" "$directory/$major"
  done
}

# Not by a condition, which would turn `set -e` off.
set +e
(
  set -e
  main
)
status=$?
[ "$status" -eq 0 ] ||
  echo '*** PostgreSQL 19 and the real client tools of 17 to 19 were NOT installed: what needs them is NOT tested. ***' >&2
