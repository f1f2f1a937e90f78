# Sourced, after pgv-opening.sh, by the scripts that fetch WAL: segments that no data key of this recipient opens. A segment
# does not say which key sealed it; so what is said is which keys were not opened, and why.
#
#   require_wal_keys SEGMENT…       before a restore: ends the script unless a key opens each of these
#   refuse_segment STATUS SEGMENT   before a restore: ends the script, because this one cannot be read
#   name_unopened_keys SYSTEM-IDENTIFIER
#                                   sets `hints` to why there may be no key for a segment
# shellcheck shell=bash disable=SC2154,SC2317,SC2329  # system_id and tmp are of the script; what each_line calls

name_unopened_keys() { # SYSTEM-IDENTIFIER
  local key
  hints=()
  is_recipient || { hints=('this host is no recipient: set PGV_IDENTITY or PGV_UNWRAP, and PGV_HOSTS: pgv.conf(5), RECIPIENTS') && return; }
  for key in "${!key_faults[@]}"; do
    [[ $key == "$1/"* && -n ${key_faults[$key]} ]] || continue
    [ "${#hints[@]}" -lt 5 ] || { hints+=('more data keys were not opened') && break; }
    hints+=("the data key ${key#*/} was not opened: ${key_faults[$key]#* * }")
  done
  [ "${#hints[@]}" -gt 0 ] || hints=("every data key in $PGV_REPO/$PGV_CLUSTER/$1/keys/ was opened: the key that sealed it is not there")
}

refuse_segment() { # STATUS SEGMENT
  local hints=()
  [ "$1" -ne 4 ] || ! is_recipient || name_unopened_keys "$system_id"
  die "$1" "WAL segment $2 cannot be read" 'nothing was written' "${hints[@]}"
}

take_sample() { # KEY VALUE
  local status=${2%% *} name=${2##* }
  [ "$1" = ended ] || return 0
  case $status in
    # As settle_beside has it: of who fetched it, and of who opened it.
    3) unopened_wal[$name]='3 0' ;;
    4) unopened_wal[$name]='0 4' ;;
    5) unopened_wal[$name]='0 5' ;;
  esac
}

# Recovery would stop there, after hours. Of each only the beginning is read; one that another host stored, too, may open.
require_wal_keys() { # SEGMENT…
  local text name status hints base=$PGV_REPO/$PGV_CLUSTER/$system_id
  local -A unopened_wal=()
  # A passphrase would be asked for again and again.
  is_recipient && [ $# -gt 0 ] && [ -n "${PGV_KEY_FILE:-}" ] || return 0
  for name in "$@"; do echo "${name:0:8} $name"; done >"$tmp/samples"
  text=$("${pgv_env[@]}" --each 8 --accept 3,4,5 -- pgv-crypt --quiet --check-key --context "$system_id/wal/{1}/{2}.pgv" -- \
    pgv-s3 --quiet get --range 0-239 "$base/wal/{1}/{2}.pgv" <"$tmp/samples") || die $? 'the WAL that recovery needs cannot be read' 'nothing was written'
  each_line take_sample <<<"$text"
  [ "${#unopened_wal[@]}" -gt 0 ] || return 0
  # shellcheck source=scripts/pgv-wal.sh
  source "$library/pgv-wal.sh"
  for name in "$@"; do
    status=${unopened_wal[$name]:-}
    [ -n "$status" ] || continue
    begin_time "$SECONDS"
    bound_time
    settle_beside "$base/wal/${name:0:8}/" "$name" "$tmp/segment"
    case $status in
      # It opens, or was removed meanwhile.
      '0 0' | '3 0') continue ;;
      '0 5') warn "WAL segment $name is damaged at its beginning: recovery cannot continue after it" && continue ;;
    esac
    name_unopened_keys "$system_id"
    die 4 "no data key of this recipient opens WAL segment $name, which recovery needs" 'nothing was written' "${hints[@]}" \
      'use an identity for which the key was wrapped, or wrap it for this one with pgv-rekey' 'to restore without it: --immediate, or --lsn with a place before it'
  done
}
