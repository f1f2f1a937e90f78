#!/usr/bin/env bash
# make test-long: the memory of pgv-snap and pgv-apply from 1,000 to 1,000,000 files, and from 1 GB to a
# sparse 50 GB, in fulls and increments; that nothing is read of what did not change; and that of pgv-s3 put, as its page
# states it.
# shellcheck disable=SC2016  # $1 in bash -c '…' is for that shell
set -euo pipefail
shopt -s inherit_errexit

# shellcheck source=tests/e2e/lib.sh
source "$(dirname "$0")/lib.sh"
label=20260101-000000F
increment=${label}_20260101-000001I

# Sets `kib`, the peak of one run.
peak() { # COMMAND…
  as_postgres /usr/bin/time --output="$scratch/kib" --format=%M bash -c 'exec "$@" >/dev/null' bash "$@" 2>"$scratch/err" ||
    fail "$* exits with $?: $(cat "$scratch/err")"
  kib=$(tail --lines=1 "$scratch/kib")
}

close_enough() { # WHAT SMALL LARGE
  echo "$1: $2 KiB, $3 KiB"
  [ "$3" -lt $(($2 + 24 * 1024)) ] || fail "$1: $2 KiB grow to $3 KiB"
  [ "$3" -lt $((96 * 1024)) ] || fail "$1: $3 KiB"
}

measure() { # NAME: sets full, since, files, checked
  # What was written in the last two seconds is read again by an increment.
  sleep 3
  peak pgv-snap --label "$label" --manifest "$scratch/tar/$1" "$source"
  full=$kib
  peak pgv-snap --label "$increment" --since "$scratch/tar/$1" --manifest "$scratch/tar/$1.since" --facts "$scratch/tar/facts" "$source"
  since=$kib
  read_pages=$(grep --only-matching '"blocks":{"read":[0-9]*' "$scratch/tar/facts" | grep --only-matching '[0-9]*$')
  peak pgv-snap --label "$increment" --since "$scratch/tar/$1" --files "$source"
  files=$kib
  peak bash -c 'pgv-snap "$1" | pgv-apply --check-only' bash "$source"
  checked=$kib
}

# Sets `merged`: a full and an increment of the same files, whose streams are stored for it.
merge_two() {
  as_postgres bash -c 'pgv-snap --label "$2" --manifest "$1/m" "$4" >"$1/full.tar" && pgv-snap --label "$3" --since "$1/m" "$4" >"$1/one.tar"' \
    bash "$scratch/tar" "$label" "$increment" "$source" || fail "taking two backups exits with $?"
  peak pgv-merge "$scratch/tar/full.tar" "$scratch/tar/one.tar"
  merged=$kib
  rm "$scratch"/tar/*.tar
}

# The most links that a chain has.
merge_sixty() {
  local number older=() chain=() name
  for number in $(seq 100 159); do
    name=$label
    [ "$number" -eq 100 ] || name+=_20260101-000${number}I
    as_postgres pgv-snap --wal none --label "$name" --manifest "$scratch/tar/$number" "${older[@]}" "$source" >"$scratch/$number.tar" || fail "$name exits with $?"
    older+=(--since "$scratch/tar/$number") chain+=("$scratch/$number.tar")
  done
  peak pgv-merge "${chain[@]}"
  echo "a merge of 60 links: $kib KiB"
  [ "$kib" -lt $((64 * 1024)) ] || fail "60 links: $kib KiB"
  # Opened in the same process: pgv-apply(1) states it for each.
  for name in "${chain[@]}"; do
    as_postgres bash -c 'pgv-crypt -e -k "$1" <"$2" >"$2.pgv"' bash "$PGV_KEY_FILE" "$name" || fail "sealing $name exits with $?"
  done
  peak pgv-apply --check-only --merge --open --jobs 1 -- "${chain[@]/%/.pgv}" -- cat
  echo "a merge of 60 sealed links: $kib KiB"
  [ "$kib" -lt $((10 * 1024 + 60 * 30 * 1024)) ] || fail "60 sealed links: $kib KiB"
  rm "${chain[@]}" "${chain[@]/%/.pgv}"
}

# A long stream of 1 GB in small parts and, as if it were 100 GB, in larger ones. The program itself has 40 MiB.
store() {
  local size
  start_bucket
  for size in '' 100GiB; do
    peak env "${bucket_settings[@]}" bash -c 'set -o pipefail; head --bytes=1G /dev/zero | pgv-s3 put ${2:+--expected-size "$2"} "$1"' \
      bash "s3://$PGV_TEST_BUCKET/memory/${size:-small}" "$size"
    echo "pgv-s3 put${size:+ of as much as $size}: $kib KiB"
    [ "$kib" -lt $(((144 + 40) * 1024)) ] || fail "pgv-s3 put: $kib KiB"
  done
}

main() {
  begin
  [ -x /usr/bin/time ] || fail "/usr/bin/time is missing: apt-get install time"
  source=$scratch/source
  bin=$debian_bin
  as_postgres mkdir "$scratch/tar"
  store
  create_cluster "$bin" "$source"
  start_cluster "$bin" "$source"

  as_postgres bash -c 'mkdir "$1"/base/7777; for i in $(seq 1000); do : >"$1/base/7777/$i"; done' bash "$source"
  sql checkpoint
  merge_sixty
  measure few
  merge_two
  local few=("$full" "$since" "$files" "$checked" "$merged")
  as_postgres bash -c 'for d in $(seq 10001 11000); do mkdir "$1/base/$d"; (cd "$1/base/$d" && seq 1000 | xargs touch); done' bash "$source"
  measure many
  close_enough "a full of 1,000 and of 1,000,000 files" "${few[0]}" "$full"
  close_enough "an increment in blocks" "${few[1]}" "$since"
  close_enough "an increment of files" "${few[2]}" "$files"
  close_enough "a check of the stream" "${few[3]}" "$checked"
  merge_two
  close_enough "a merge" "${few[4]}" "$merged"
  echo "manifest of 1,000,000 empty files: $(stat --format=%s "$scratch/tar/many") bytes, of an increment without changes $(stat --format=%s "$scratch/tar/many.since"), sealed $(pgv-crypt -e -k "$scratch/key" "$scratch/tar/many.since" | wc --bytes)"
  as_postgres bash -c 'rm --recursive "$1"/base/1????' bash "$source" 2>/dev/null || true

  as_postgres bash -c 'mkdir "$1"/base/77777; truncate --size=1G "$1"/base/77777/1' bash "$source"
  measure one
  local one=("$full" "$since" "$files" "$checked")
  [ "$read_pages" -lt 5000 ] || fail "an increment without changes reads $read_pages pages"
  as_postgres bash -c 'for i in $(seq 2 50); do truncate --size=1G "$1/base/77777/$i"; done' bash "$source"
  measure fifty
  close_enough "a full of 1 GB and of a sparse 50 GB" "${one[0]}" "$full"
  close_enough "an increment in blocks" "${one[1]}" "$since"
  close_enough "an increment of files" "${one[2]}" "$files"
  close_enough "a check of the stream" "${one[3]}" "$checked"
  [ "$read_pages" -lt 5000 ] || fail "an increment without changes reads $read_pages pages"
  stop_cluster "$bin" "$source"
}

main
