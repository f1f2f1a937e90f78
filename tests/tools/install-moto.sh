#!/usr/bin/env bash
# Puts moto, the S3 server of the tests that has IAM policies, versions and object lock, under DIR as a Python
# environment, and the aws command, by which the manual sets them. moto-server.sh starts it.
set -euo pipefail
shopt -s inherit_errexit

directory=${1:?usage: install-moto.sh DIR}

# Pinned, with all that S3 and IAM need of moto's many dependencies; without awscrt moto has no CRC-64/NVME, and answers
# with another checksum under its name.
packages=(
  moto==5.2.5 awscli==1.46.3 awscrt==0.38.1 blinker==1.9.0 boto3==1.44.8 botocore==1.44.8 certifi==2026.10.18 cffi==2.1.1
  charset-normalizer==3.5.2 click==8.5.1 colorama==0.4.6 cryptography==50.0.2 docutils==0.19 Flask==3.1.3 flask-cors==6.0.5 idna==3.20
  itsdangerous==2.2.0 Jinja2==3.1.6 jmespath==1.1.0 MarkupSafe==3.0.4 py-partiql-parser==0.6.3 pyasn1==0.6.5 pycparser==3.12
  python-dateutil==2.9.0.post0 PyYAML==6.0.4 requests==2.34.2 responses==0.26.3 rsa==4.7.2 s3transfer==0.19.3 six==1.17.0
  urllib3==2.8.0 Werkzeug==3.1.9 xmltodict==1.0.4
)

# The list itself is the mark: another list installs anew.
mark=$directory/packages
[ "$(cat "$mark" 2>/dev/null)" != "${packages[*]}" ] || exit 0

rm --recursive --force "$directory"
mkdir --parents "$(dirname "$directory")"
python3 -m venv "$directory"
"$directory/bin/pip" install --quiet --disable-pip-version-check --no-deps "${packages[@]}"
"$directory/bin/python" -c 'import awscli.clidriver, moto.server, moto.s3.responses, moto.iam.responses'
echo "${packages[*]}" >"$mark"
