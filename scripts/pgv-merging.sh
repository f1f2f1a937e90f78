# Sourced by pgv-consolidate: the chain that is merged, what it takes, and what has to open before anything is stored.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317,SC2329  # pgv-consolidate and this share what they set; what each_line calls

# Sets `chain` to facts, and of what is merged, oldest first, `links` and `urls`.
learn_chain() {
  chain=() links=() urls=() key_names=()
  pgv-info merging "$PGV_CLUSTER" --repo "$PGV_REPO" --claims "$place/claims" --records "$tmp/records" ${up_to:+--label "$up_to"} >"$tmp/chain" ||
    die $? "the backups of $PGV_CLUSTER cannot be merged" 'nothing was stored'
  each_line take_chain <"$tmp/chain"
  system_identifier=${chain[system_identifier]} label=${chain[label]:-}
  # Everything below is about these backups only.
  export PGV_SYSTEM_ID=$system_identifier
  base=$PGV_REPO/$PGV_CLUSTER/$system_identifier
}

take_chain() { # KEY VALUE
  case $1 in
    backup) urls+=("$2") ;;
    link) links+=("$2") ;;
    key_name) key_names+=("$2") ;;
    *) chain[$1]=$2 ;;
  esac
}

# What there is to do.
describe() {
  echo "merge ${#links[@]} backups of $PGV_CLUSTER, ${links[0]} to ${links[-1]}"
  echo "read $(size "${chain[read_bytes]}") from the repository, $(size "${chain[stream_bytes]}") when opened"
  echo "write about $(size "${chain[write_bytes]}"), and read it back"
  [ "${#key_names[@]}" -eq 0 ] || echo "open with ${key_names[*]}"
  [ "${chain[bad_pages]}" = 0 ] || echo "bad pages: at most ${chain[bad_pages]}, which had a wrong checksum when they were backed up"
}

# Every backup has to open, before anything is stored or removed.
require_keys() {
  local link
  open_data_keys "$tmp/opened" "$system_identifier" "${key_names[@]}"
  [ -n "${PGV_RECIPIENTS:-}${PGV_WRAP:-}" ] || require_key_name
  for link in "${urls[@]}"; do require_key "$link"; done
}

# Of every link, as for an increment: by this host's copies, else from the repository.
gather_manifests() {
  local -A gathered=()
  pgv-info manifests --keep-in "$manifests" "${links[@]}" -- \
    pgv-crypt --quiet --decrypt --context "$system_identifier/backup/{}/manifest.pgv" --output "$manifests/{}" -- \
    pgv-s3 --quiet get --whole "$base/backup/{}/manifest.pgv" >"$tmp/refusal" || die $? 'cannot read the manifests of the chain' 'nothing was stored'
  read_lines gathered <"$tmp/refusal"
  [ -z "${gathered[refusal]:-}" ] || die 5 "the chain cannot be merged: ${gathered[refusal]}" 'nothing was stored' \
    'take a full backup: pgv-backup --type full'
}
