# Sourced, after pgv-common.sh, by the scripts that read parts of a backup's streams: what tells where they lie.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the scripts, and theirs is used

# Opens a sealed object that lies beside a backup's stream.
fetch_beside() { # URL NAME FILE
  pgv-crypt --quiet --decrypt --context "${1#"$PGV_REPO/$PGV_CLUSTER/"}/$2" --output "$3" -- pgv-s3 --quiet get --whole "$1/$2"
}

# Gets the index and the list of members of a link, with its number in the chain as their name. The status is 3 where it
# has none.
fetch_lists() { # NUMBER URL
  printf '%s' "$2/data.pgv" >"$tmp/$1.url"
  fetch_beside "$2" index.pgv "$tmp/$1.index" && fetch_beside "$2" members.pgv "$tmp/$1.members"
}
