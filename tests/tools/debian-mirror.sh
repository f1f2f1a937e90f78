#!/usr/bin/env bash
# Prints where this machine's own packages come from, or Debian's own mirror.
set -euo pipefail

place=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | # one of them may be absent
  sed --quiet 's/^URIs: *\([^ ]*debian\)\/*$/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*debian\)\/* .*/\2/p' | awk 'NR == 1')
echo "${place:-http://deb.debian.org/debian}"
