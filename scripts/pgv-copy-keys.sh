# Sourced by pgv-copy: the objects of data keys, of which one may be unreadable.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

# The data keys first. One that cannot be read is no reason to copy nothing: what it opens is left out, and all else copied.
# What did not fail in the source is the destination's fault.
copy_keys() {
  local path status failed=()
  copy_objects --accept 1,5
  for path in "${failed[@]}"; do
    status=0
    at_source pgv-s3 --quiet get --whole "$source/$path" >/dev/null || status=$?
    [[ $status =~ ^[15]$ ]] || go_on_unless_failed "${status/#0/1}"
    warn "the data key object $path was not copied: it cannot be read"
    unread_status=$status
    unread+=("$path")
  done
}

# Whether one of the objects of a data key was not copied: nobody knows which of them would open it.
is_unread() { # KEY-NAME
  local path
  for path in "${unread[@]}"; do
    [[ $path != */keys/$1*.cms ]] || return 0
  done
  return 1
}
