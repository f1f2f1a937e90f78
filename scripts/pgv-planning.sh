# Sourced by pgv-backup: what the next backup is, what it builds on, and its label.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-backup and this share what they set

# Sets `next`, and `chain` to the labels to build on, oldest first.
learn_next() {
  local by=(--type "$type" --server "$tmp/server" --claims "$PGV_STATE_DIR/claims" --newest-record "$tmp/newest")
  [ "$files" = no ] || by+=(--files)
  patiently pgv-info next "$PGV_CLUSTER" --repo "$PGV_REPO" "${by[@]}" >"$tmp/next" ||
    die $? 'cannot plan the next backup' 'nothing was stored'
  next=()
  read_lines next <"$tmp/next"
  read -r -a chain <<<"${next[chain]:-}"
  label=${next[label]}
  [ -z "${next[reason]:-}" ] || warn "making a full backup: ${next[reason]}"
}

# By this host's copies, else from the repository: with the keys that it has.
gather_manifests() (
  local open=(pgv-crypt --quiet --decrypt --context "$system_identifier/backup/{}/manifest.pgv" --output "$manifests/{}" --
    pgv-s3 --quiet get --whole "$base/backup/{}/manifest.pgv")
  if seals_for_recipients; then
    use_keys_of "$system_identifier" "$PGV_STATE_DIR/opened"
    [ -n "${PGV_KEY_FILE:-}" ] || open=(bash -c 'exit 4')
  fi
  patiently pgv-info manifests --keep-in "$manifests" "${chain[@]}" -- "${open[@]}"
)

# Sets `since`: the manifests of the chain, with which an increment is possible. There is none only for a reason that was
# proved, with a warning, and then a full is made.
prepare_increment() {
  local status=0
  since=("${chain[@]/#/--since=$manifests/}")
  [ "${#chain[@]}" -gt 0 ] || return 0
  gather_manifests >"$tmp/refusal" || status=$?
  server[refusal]=''
  # What was sealed for recipients is no more this host's to open.
  if [ "$status" -eq 4 ] && seals_for_recipients; then
    server[refusal]="$manifests lacks manifests of the backups to build on, and this host cannot open those in the repository"
  else
    [ "$status" -eq 0 ] || die "$status" 'cannot read the manifests of the backups to build on' 'nothing was stored'
    read_lines server <"$tmp/refusal"
  fi
  [ -n "${server[refusal]}" ] || ask_server "${since[@]}" "$data_directory" || die $? 'cannot compare the backups to build on with the server' 'nothing was stored'
  [ -n "${server[refusal]}" ] || return 0
  warn "making a full backup: ${server[refusal]}"
  chain=() since=() label=${next[full_label]}
}

# Sets `url` and `claim_file`, by which the next run knows what this one leaves if it is killed. 6: another was first.
claim_label() {
  local status=0
  url=$base/backup/$label claim_file=$PGV_STATE_DIR/claims/$label.$$
  pgv-s3 --quiet put --read-back "$url/claim.json" -- pgv-info claim "$url" --remember "$claim_file" || status=$?
  [[ $status =~ ^[06]$ ]] || die "$status" "cannot reserve the label $label" 'no backup was stored; the next run removes what is left'
  [ "$status" -eq 0 ] || rm --force "$claim_file"
  return "$status"
}

# What the next backup is, and its label, ours.
plan_backup() {
  local try
  for try in 1 2 3 4 5; do
    learn_next
    if [ "$try" -eq 1 ]; then
      # Before anything is stored or removed.
      require_sealing_key "${next[newest]:+$base/backup/${next[newest]}}" "$type" "$tmp/newest"
      require_archive "${next[archiving]}" "${server[archive_library]:-${server[archive_command]:-nothing}}"
      [ "${next[archiving]}" != here ] || archive_histories
    fi
    sweep "$tmp/next"
    prepare_increment
    claim_label && return
    say "another backup took the label $label"
  done
  die 75 "other backups took the label $try times" 'try again'
}
