#!/usr/bin/env bash
# Puts s3rver, the S3 server of the tests that ignores conditions and checksums, under DIR. s3rver-server.sh starts it.
set -euo pipefail
shopt -s inherit_errexit

directory=${1:?usage: install-s3rver.sh DIR}

# Pinned, so that a failing test means a change of ours.
package=s3rver@3.7.1

mark=$directory/package
[ "$(cat "$mark" 2>/dev/null)" != "$package" ] || exit 0

rm --recursive --force "$directory"
mkdir --parents "$directory"
npm install --silent --no-audit --no-fund --prefix "$directory" "$package" >/dev/null
node -e 'require(require("path").resolve(process.argv[1]))' "$directory/node_modules/s3rver"
echo "$package" >"$mark"
