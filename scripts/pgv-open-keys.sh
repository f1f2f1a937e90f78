# Run by pgv-crypt, which is typed in a pipe and meets a stream that none of its keys opens: prints each data key that this
# host can open as a recipient, the newest first. pgv-crypt stops it when one fits.
# shellcheck shell=bash
set -euo pipefail

library=$(dirname "$(readlink --canonicalize "$0")")
here=$library
[ -x "$here/pgv-crypt" ] || here=$library/../../bin
# shellcheck source=scripts/pgv-common.sh
source "$library/pgv-common.sh"
# shellcheck source=scripts/pgv-opening.sh
source "$library/pgv-opening.sh"

pgv_tells=no opened=0
enter_root PGV_CONFIGURED_FROM
load_config '' "${PGV_CONFIGURED_FROM:-}"
make_run_directory
trap drop_tmp EXIT

# shellcheck disable=SC2317,SC2329  # by open_key
note_opened() { # NAME SYSTEM-IDENTIFIER
  opened=$((opened + 1))
  cat "$tmp/opened/$2/$1"
}

open_data_keys "$tmp/opened" ''
[ "$opened" -gt 0 ] || die 4 "no data key of $PGV_CLUSTER could be opened as a recipient"
