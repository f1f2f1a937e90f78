#!/usr/bin/env bash
# Puts the S3 server of the tests, OpenStack Swift with its s3api, under DIR as a Python environment.
# s3-server.sh starts it.
set -euo pipefail
shopt -s inherit_errexit

directory=${1:?usage: install-s3.sh DIR}

# Pinned, with all they need, so that a failing test means a change of ours. setuptools: Swift wants
# pkg_resources, which newer ones do not have; older ones do not run on Python 3.12.
packages=(
  swift==2.38.3 certifi==2026.10.18 cffi==2.1.1 charset-normalizer==3.5.2 cryptography==50.0.2
  dnspython==2.9.2 eventlet==0.41.3 greenlet==3.5.6 idna==3.20 lxml==6.1.3 PasteDeploy==3.1.0
  pycparser==3.12 pyeclib==1.8.0 requests==2.34.2 setuptools==80.9.0 urllib3==2.8.0 xattr==1.3.0
)

# The list itself is the mark: another list installs anew.
mark=$directory/packages
[ "$(cat "$mark" 2>/dev/null)" != "${packages[*]}" ] || exit 0

rm --recursive --force "$directory"
mkdir --parents "$(dirname "$directory")"
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check --no-deps "${packages[@]}"
"$directory/bin/python" -W ignore -c 'import swift.common.middleware.s3api.s3api'
echo "${packages[*]}" >"$mark"
