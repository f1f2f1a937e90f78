#!/usr/bin/env bash
# Prints the major of Debian's PostgreSQL: the newest that is here with server and client. 15 on Debian 12, 17 on 13.
# Every test that means "Debian's PostgreSQL" asks here.
set -euo pipefail
shopt -s inherit_errexit

majors=()
for bin in /usr/lib/postgresql/*/bin; do
  [ ! -x "$bin/postgres" ] || [ ! -x "$bin/psql" ] || majors+=("$(basename "$(dirname "$bin")")")
done
if [ "${#majors[@]}" -eq 0 ]; then
  echo "no PostgreSQL of Debian's: as root: apt-get install postgresql" >&2
  exit 1
fi
printf '%s\n' "${majors[@]}" | sort --version-sort | tail --lines=1
