# Sourced, after pgv-common.sh, by the scripts that seal or open backups: is the key the one that is needed? Nothing is
# stored, moved or deleted before that is known.
#
#   require_key                     there is no backup yet: only PGV_KEY_NAME is compared
#   require_key URL                 before a restore: a key opens the backup at URL (…/backup/LABEL)
#   require_sealing_key [URL [TYPE [RECORD-FILE]]]
#                                   before a backup: the same, but a newest backup that is damaged does not forbid another,
#                                   nor does a lost key a full (TYPE full) that was asked for
#   check_key URL                   the same as require_key, for who goes on: prints the refusal, returns the status
# shellcheck shell=bash

# The key files, for messages. What root handed on is a copy in memory, which has the name of its file.
shown_keys() {
  local file key_files shown=''
  IFS=: read -r -a key_files <<<"${PGV_KEY_FILE:-PGV_KEY_FILE}"
  for file in "${key_files[@]}"; do
    [[ $file != /dev/fd/* ]] || file=$(readlink "$file" || echo "$file")
    file=${file#/memfd:}
    shown+=${shown:+:}${file% (deleted)}
  done
  echo "$shown"
}

# Refuses unless a key is called PGV_KEY_NAME; a name that a person chose says nothing, and is not compared.
require_key_name() {
  local text status=0 key_names=()
  text=$(pgv-crypt --key-name ${PGV_KEY_NAME:+--expect-name="$PGV_KEY_NAME"}) || status=$?
  case $status in
    0) ;;
    4) die 4 "the key is not $PGV_KEY_NAME, the value of PGV_KEY_NAME${config_file:+ in $config_file}" 'nothing was written or moved' \
      'if you changed the key on purpose, record its name: pgv-setup CLUSTER --no-backup' ;;
    # That the key is not there is a matter of configuration, and no answer to what the caller asked.
    *) die "${status/#3/2}" 'no usable key: see above' 'nothing was written or moved' ;;
  esac
  each_line add_key_name <<<"$text"
  [ -z "${PGV_KEY_NAME:-}" ] || [[ " ${key_names[*]:1} " != *" $PGV_KEY_NAME "* || ${key_names[0]} = "$PGV_KEY_NAME" ]] ||
    warn "PGV_KEY_NAME is $PGV_KEY_NAME, but the first key, which seals, is ${key_names[0]:-a passphrase}: pgv-setup CLUSTER --no-backup corrects it"
}

# A passphrase has no name; its place in the list is kept.
add_key_name() { # KEY VALUE
  case $1 in
    key_file) key_names+=('') ;;
    key_name) key_names[-1]=$2 ;;
  esac
}

# Whether a key opens a backup: its stream's beginning is read, and its record only for the name of the key that is needed.
# Returns 0; 3 there is no such stream; 4 the key is wrong; 5 the stream is damaged at its beginning; else why it was not
# read, which says nothing about the key.
check_key() { # URL-OF-A-BACKUP [FILE WITH ITS RECORD]
  local record said statuses
  if [ -n "${2:-}" ]; then record=$(<"$2"); else record=$(pgv-s3 --quiet get --whole "$1/record.json") || return; fi
  # 128 bytes of text, 16 of salt, and the first record's header of 96.
  said=$(
    set +e
    # A key that root handed on may be descriptor 3.
    exec {record_fd}<<<"$record"
    pgv-s3 --quiet get --range 0-239 "$1/data.pgv" |
      pgv-crypt --quiet --check-key ${PGV_KEY_NAME:+--expect-name="$PGV_KEY_NAME"} --expect-record "/dev/fd/$record_fd" 2>&1 >/dev/null
    echo "${PIPESTATUS[*]}"
  )
  read -r -a statuses <<<"${said##*$'\n'}"
  # A pgv-crypt that has no key ends before it reads, and pgv-s3 dies of that: the reason is pgv-crypt's.
  [ "${statuses[0]}" -eq 0 ] || { [ "${statuses[0]}" -eq 141 ] && [ "${statuses[1]}" -ne 0 ]; } || return "${statuses[0]}"
  [ "${statuses[1]}" -ne 0 ] || return 0
  echo "${said%$'\n'*}" >&2
  # That the key file is not there is a matter of configuration; here 3 is of the stream.
  return "${statuses[1]/#3/2}"
}

# Before a restore, and wherever else the backup itself is needed.
require_key() { # [URL-OF-A-BACKUP]
  local status=0
  if [ -z "${1:-}" ]; then
    require_key_name
    return
  fi
  check_key "$1" || status=$?
  case $status in
    0) ;;
    4)
      [ -n "${PGV_KEY_FILE:-}" ] || die 4 "no key opens $1/data.pgv: see above" 'nothing was written or moved'
      die 4 "no key of $(shown_keys) opens $1/data.pgv" 'nothing was written or moved'
      ;;
    *) die "$status" "could not test whether the key opens $1/data.pgv: see above" 'nothing was written or moved' ;;
  esac
}

# Before a backup: what it seals must open with what is known, and the newest backup, where there is one, too. After a key
# was lost, pgv-setup --key-lost has written the new one's name, and only a full that was asked for begins anew with it.
require_sealing_key() { # [URL-OF-THE-NEWEST-BACKUP [TYPE [FILE WITH ITS RECORD]]]
  local status=0
  begins_anew=no
  # This host makes its keys, and need not open what it sealed with older ones.
  [ -z "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || return 0
  require_key_name
  [ -n "${1:-}" ] || return 0
  check_key "$1" "${3:-}" || status=$?
  case $status in
    0) ;;
    3 | 5) warn "the newest backup $1 is damaged, so it cannot show whether the key is right" ;;
    4)
      { [ "${2:-}" = full ] && [[ ${PGV_KEY_NAME:-} =~ ^[0-9a-f]{8}$ ]]; } ||
        die 4 "no key of $(shown_keys) opens the newest backup $1" 'nothing was stored' \
          'if you changed the key, keep the old one after the new: PGV_KEY_FILE=NEW:OLD' \
          'if the old key is lost: pgv-setup CLUSTER --key-lost --no-backup, then pgv-backup CLUSTER --type full'
      # shellcheck disable=SC2034  # of archive_histories
      begins_anew=yes
      warn "no key opens the newest backup $1: this full backup starts again, with the key $PGV_KEY_NAME"
      ;;
    *) die "$status" "could not test whether the key opens the newest backup $1: see above" 'nothing was stored' ;;
  esac
}
