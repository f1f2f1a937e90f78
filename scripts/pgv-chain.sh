# Sourced, after pgv-common.sh and pgv-way.sh, by pgv-restore, with pgv-databases.sh: the streams of a chain, which are looked at and then laid
# down, merged into one.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

# The backup, into pgv-apply: its stream, or those of all that it builds on and its own as one.
apply_chain() { # OPTION…
  local number stream=() selected=() links=("${urls[@]/%//data.pgv}") open_part open=(pgv-crypt --no-progress "${talk[@]}" --decrypt) get=(pgv-s3 --no-progress "${talk[@]}" get ${rate:+--rate "$rate"})
  if [ "${#urls[@]}" -eq 1 ]; then
    stream=("${open[@]}" -- "${get[@]}" "${links[0]}")
    ! selects || { set_open_part && stream=("${open_part[@]}" 0); }
  else
    # All links are read at the same time: they share what one has alone.
    get+=(--jobs "${way[link_jobs]}" ${rate:+--rate-shared-in "$tmp/rate"})
    stream=("${pgv_merge[@]}" "${talk[@]}")
    for number in "${!urls[@]}"; do stream+=(--record "$tmp/record-$number"); done
    open+=(--jobs "${way[link_jobs]}")
    if selects; then
      set_open_part
      stream+=(--databases "$tmp/selection" "${!urls[@]}" -- "${open_part[@]}")
    else
      stream+=("${links[@]}" -- "${open[@]}" -- "${get[@]}")
    fi
  fi
  ! selects || selected=(--databases "$tmp/selection")
  pgv-apply "${talk[@]}" "$@" "${selected[@]}" ${time:+--before "$time"} --expect "$label" --system-id "$system_id" \
    --record "$tmp/record-$((${#urls[@]} - 1))" "${placed[@]}" "$directory" -- "${stream[@]}"
}

# The records of the chain, which say what each stream must be.
fetch_records() {
  local number
  for number in "${!urls[@]}"; do
    [ ! -e "$tmp/record-$number" ] || continue
    pgv-s3 --quiet get "${urls[number]}/record.json" >"$tmp/record" || die $? "${urls[number]}/record.json cannot be read" 'nothing was written'
    mv "$tmp/record" "$tmp/record-$number"
  done
}

# Reads the head of each stream, with the key: the refusals of a restore, before anything is written or moved.
look_at_streams() {
  local given=(--plan) status=0 hints=('nothing was written') talk=(--quiet)
  fetch_records
  [ "$replace" = no ] || given+=(--replace)
  [ "$delta" = no ] || given+=(--delta)
  apply_chain "${given[@]}" >"$tmp/places" || status=$?
  if [ "$status" -ne 0 ]; then
    [ "$status$replace$delta" != 6nono ] || hints+=("to move it aside and restore in its place: $again --replace"
      "if it is this cluster, stopped, to overwrite what differs: $again --delta" 'or give a new directory')
    die "$status" "backup $label cannot be restored into $directory" "${hints[@]}" "${may_again[@]}"
  fi
  read_lines places <"$tmp/places"
}

# Nothing can be started before pgv-recover has written the settings.
lay_down() {
  local drawn=() talk=() given=()
  [ "$progress_on_stdout" = no ] || drawn=(--progress-on-stdout)
  [ "$quiet" = no ] || talk=(--quiet)
  [ "$delta" = no ] || given=(--delta)
  apply_chain "${drawn[@]}" "${given[@]}" --hold --expected-size "${way[merged_bytes]}" ||
    die $? "backup $label was not restored" ${aside:+"the old directory is $aside"} "${may_again[@]}"
}
