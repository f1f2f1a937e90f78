#!/usr/bin/env bash
# Puts the newest pgBackRest of Debian (unstable: 2.60) into DIR, with the libc and the libraries that it was built with, for a
# machine whose Debian is older. Needs no root, and changes nothing outside DIR. It is then DIR/pgbackrest:
#
#     bench/pgbackrest.sh target/bench-tools/pgbackrest && make bench-cloud
set -euo pipefail
shopt -s inherit_errexit

# Whole: apt takes what is relative for relative to /etc/apt.
directory=$(realpath --canonicalize-missing "${1:?usage: pgbackrest.sh DIR}")
[ ! -x "$directory/pgbackrest" ] || exit 0
mkdir --parents "$directory"
scratch=$(mktemp --directory "$directory/.install-XXXXXX")
trap 'rm --recursive --force "$scratch"' EXIT
mkdir --parents "$scratch"/{lists/partial,cache/archives/partial,parts,root}
: >"$scratch/status"
from=$("$(dirname "$0")/../tests/tools/debian-mirror.sh")
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from sid main" >"$scratch/sources.list"
options=(-o Dir::Etc::SourceList="$scratch/sources.list" -o Dir::Etc::SourceParts="$scratch/parts" -o Dir::State="$scratch" -o Dir::State::status="$scratch/status"
  -o Dir::Cache="$scratch/cache" -o Acquire::Check-Valid-Until=false -o Debug::NoLocking=true -o APT::Sandbox::User="$(id --user --name)")
apt-get "${options[@]}" update --quiet=2
apt-get "${options[@]}" install --quiet=2 --yes --download-only --no-install-recommends pgbackrest libc6 >/dev/null
find "$scratch/cache/archives" -name '*.deb' -exec dpkg-deb --extract {} "$scratch/root" \;

libraries=$scratch/root/usr/lib/x86_64-linux-gnu
mkdir "$directory/libraries"
cp --dereference "$libraries/ld-linux-x86-64.so.2" "$directory/libraries/"
"$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$scratch/root/usr/bin/pgbackrest" |
  awk -v from="$libraries/" 'index($3, from) == 1 { print $3 }' |
  xargs --delimiter='\n' cp --dereference --target-directory="$directory/libraries"
cp "$scratch/root/usr/bin/pgbackrest" "$directory/program"
# It starts its workers by the name that it was given: this script's.
cat >"$directory/pgbackrest" <<'SH'
#!/bin/bash
here=$(cd "$(dirname "$0")" && pwd -P)
exec "$here/libraries/ld-linux-x86-64.so.2" --argv0 "$here/pgbackrest" --library-path "$here/libraries" "$here/program" "$@"
SH
chmod --recursive a+rX "$directory"
chmod a+x "$directory/pgbackrest"
"$directory/pgbackrest" version
