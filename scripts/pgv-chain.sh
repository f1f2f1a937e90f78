# Sourced, after pgv-common.sh and pgv-way.sh, by pgv-restore: the streams of a chain, which are looked at and then laid down.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

# The stream of a link of the chain, into pgv-apply.
apply_link() { # NUMBER OPTION…
  local link=${urls[$1]}
  [ -z "$time" ] || [ "$link" != "${urls[-1]}" ] || set -- "$@" --before "$time"
  pgv-apply "${talk[@]}" "${@:2}" --expect "${link##*/}" --system-id "$system_id" --record "$tmp/record-$1" "${placed[@]}" "$directory" -- \
    pgv-crypt --no-progress "${talk[@]}" --decrypt -- pgv-s3 --no-progress "${talk[@]}" get ${rate:+--rate "$rate"} "$link/data.pgv"
}

# Reads the head of each stream, with the key: the refusals of a restore, before anything is written or moved. Of the last
# one what it says of places.
look_at_streams() {
  local number given status=0 hints=('nothing was written') talk=(--quiet)
  for number in "${!urls[@]}"; do
    pgv-s3 --quiet get "${urls[number]}/record.json" >"$tmp/record-$number" || die $? "${urls[number]}/record.json cannot be read" 'nothing was written'
    given=(--plan)
    [ "$replace" = no ] || given+=(--replace)
    [ "$number" -eq 0 ] || given+=(--after "$(basename "${urls[number - 1]}")")
    [ "$delta" = no ] || given+=(--delta)
    apply_link "$number" "${given[@]}" >"$tmp/places" || status=$?
    [ "$status" -ne 0 ] || continue
    [ "$status$replace$delta" != 6nono ] || hints+=("to move it aside and restore in its place: $again --replace"
      "if it is this cluster, stopped, to overwrite what differs: $again --delta" 'or give a new directory')
    die "$status" "backup ${urls[number]##*/} cannot be restored into $directory" "${hints[@]}" "${may_again[@]}"
  done
  read_lines places <"$tmp/places"
}

# The chain, oldest first. Nothing can be started before pgv-recover has written the settings.
lay_down() {
  local number drawn=() talk=() given
  [ "$progress_on_stdout" = no ] || drawn=(--progress-on-stdout)
  [ "$quiet" = no ] || talk=(--quiet)
  for number in "${!urls[@]}"; do
    given=(--hold --expected-size "${stream_bytes[number]:-0}")
    [ "$delta" = no ] || [ "$number" -ne 0 ] || given+=(--delta)
    apply_link "$number" "${drawn[@]}" "${given[@]}" || die $? "backup ${urls[number]##*/} was not restored" \
      ${aside:+"the old directory is $aside"} "${may_again[@]}"
  done
}
