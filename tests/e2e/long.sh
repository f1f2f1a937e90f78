#!/usr/bin/env bash
# make test-long: what takes too long for every change.
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "$0")/../.." && pwd)
export PGV_BIN=${PGV_BIN:-$root/target/release} PGV_TEST_TOOLS=${PGV_TEST_TOOLS:-$root/target/test-tools}
# Beside the others: half of the time it waits.
"$root/tests/e2e/soak.sh" 30 &
soak=$!
trap 'kill "$soak" 2>/dev/null || true' EXIT # it may have ended
for major in 13 14 16 17 18 19; do
  "$root/tests/e2e/shapes.sh" "$major"
done
for major in 13 14 16 17 18; do
  "$root/tests/e2e/increments.sh" "$major"
done
for major in 13 14 16 17 18 19; do
  "$root/tests/e2e/wal.sh" "$major"
done
for major in 13 14 17 18 19; do
  "$root/tests/e2e/database.sh" "$major"
done
"$root/tests/e2e/database.sh" "$("$root/tests/tools/debian-postgres.sh")" s3
for major in 13 14 16 17 18 19; do
  "$root/tests/e2e/consolidate.sh" "$major"
done
PGV_TEST_STEP=1 "$root/tests/e2e/consolidate.sh"
"$root/tests/e2e/consolidate.sh" "$("$root/tests/tools/debian-postgres.sh")" s3
for major in 17 18; do
  "$root/tests/e2e/stock.sh" "$major"
done
for major in 15 17 18; do
  "$root/tests/e2e/find.sh" "$major"
done
"$root/tests/e2e/recipients.sh" 18
for major in 15 18; do
  "$root/tests/e2e/recipients-long.sh" "$major"
done
"$root/tests/e2e/drill.sh" 19
# Minutes without a repository.
PGV_TEST_OUTAGE=180 PGV_TEST_SECONDS=200 "$root/tests/e2e/moments.sh" "$("$root/tests/tools/debian-postgres.sh")"
"$root/tests/e2e/memory.sh"
"$root/tests/e2e/kills.sh"
"$root/tests/e2e/drill-kills.sh"
# Ten years, and 100,000 WAL names.
"$root/tests/e2e/expire.sh" 3650 10 28
(cd "$root" && cargo test --release --locked --test s3 -- --ignored)
# Requests in a repository of five years.
(cd "$root" && PGV_TEST_BACKUPS=2000 PGV_TEST_SEGMENTS=200000 cargo test --release --locked --test scale)
(cd "$root" && cargo build --release --locked --example fake-s3)
"$root/tests/e2e/years.sh"
(cd "$root" && PGV_TEST_CASES=40 cargo test --release --locked --test merges)
# Its own tools: nobody else needs them.
{ command -v debootstrap && command -v lintian; } >/dev/null || apt-get install --yes --quiet=2 --no-install-recommends debootstrap lintian
export PATH="$PGV_TEST_TOOLS/cargo/bin:$PATH"
command -v cargo-deb >/dev/null || cargo install --locked --quiet --root "$PGV_TEST_TOOLS/cargo" cargo-deb
"$root/tests/e2e/package.sh"
wait "$soak"
