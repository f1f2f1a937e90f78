# Sourced, after pgv-common.sh and pgv-way.sh, by pgv-restore, with pgv-databases.sh: the streams of a chain, which are
# looked at and then written, merged into one. With --delta only what differs is fetched, with --database what is wanted.
# shellcheck shell=bash disable=SC2034,SC2154  # what is set here is for the script, and its own is used

# shellcheck source=scripts/pgv-key-age.sh
source "$library/pgv-key-age.sh"

# Whether the streams are fetched in parts, and the directory that has the rest, once it is known which parts.
parts=no over=''
# One stream in parts: how many words open it, those, those that get it, and its number.
# shellcheck disable=SC2016  # of that shell
part='n=${!#} && cd "$0" && exec ${1:+pgv-apply --quiet --complete "$n.steps" "$1" --} "${@:3:$2}" --index "$n.index" \
  --ranges "$n.ranges" -- "${@:3+$2:$#-3-$2}" --ranges - "$(<"$n.url")"'

# The backup, into pgv-apply: its stream, or those of all that it builds on and its own as one.
apply_chain() { # OPTION…
  local number links=("${!urls[@]}") stream=() merge=() selected=() open_part opened=() jobs=() open=(pgv-crypt --no-progress "${talk[@]}" --decrypt) get=(pgv-s3 --no-progress "${talk[@]}" get ${rate:+--rate "$rate"})
  ! selects || selected=(--databases "$tmp/selection")
  jobs=(${PGV_JOBS:+--jobs "$PGV_JOBS"})
  if [ "${#urls[@]}" -gt 1 ]; then
    # All links are read at the same time: they share what one has alone.
    jobs=(--jobs "${way[link_jobs]}")
    open+=("${jobs[@]}") get+=("${jobs[@]}" ${rate:+--rate-shared-in "$tmp/rate"})
    merge=(--merge) stream=("${talk[@]}" ${head:+--head} "${selected[@]}")
    for number in "${!urls[@]}"; do stream+=(--record "$tmp/record-$number"); done
  fi
  if [ "$parts" = yes ]; then
    open=(bash -c "$part" "$tmp/parts" "$over" "${#open[@]}" "${open[@]}" "${get[@]}")
  elif selects; then
    set_open_part
    open=("${open_part[@]}")
  else
    links=("${urls[@]/%//data.pgv}")
    if [ -n "${PGV_KEY_FILE:-}" ]; then
      opened=(--open "${jobs[@]}") open=("${get[@]}")
    else
      open+=(-- "${get[@]}")
    fi
  fi
  [ "${#urls[@]}" -gt 1 ] && stream+=("${links[@]}" -- "${open[@]}") || stream=("${open[@]}" "${links[0]}")
  pgv-apply "${talk[@]}" "$@" "${selected[@]}" ${time:+--before "$time"} --expect "$label" --system-id "$system_id" \
    --record "$tmp/record-$((${#urls[@]} - 1))" "${placed[@]}" "$directory" "${merge[@]}" "${opened[@]}" -- "${stream[@]}"
}

take_place() { # KEY VALUE
  local status=${2%% *} path=${2#* } of
  path=${path% *} of=${path%/*}
  case $1 in
    why) why=$2 ;;
    ended)
      case $status in
        0) ;;
        3) whole="backup ${of##*/} has no ${path##*/}; an older pgv made it" ;;
        *) whole="${path##*/} of backup ${of##*/} does not open: $why" ;;
      esac
      ;;
  esac
}

# With --delta: what says where in each stream a block lies. Without it everything is fetched, and what differs written.
fetch_places() {
  local number name text why='' whole='' base=$PGV_REPO/$PGV_CLUSTER
  [ "$delta" = yes ] || return 0
  mkdir "$tmp/parts"
  for number in "${!urls[@]}"; do
    printf '%s' "${urls[number]}/data.pgv" >"$tmp/parts/$number.url"
    for name in index members manifest; do echo "${urls[number]#"$base/"}/$name.pgv $number.$name"; done
  done >"$tmp/parts/list"
  text=$("${pgv_env[@]}" --each 8 --accept 3,4,5 -- pgv-crypt --quiet --decrypt --jobs 1 --context '{1}' --output "$tmp/parts/{2}" -- \
    pgv-s3 --quiet get --whole "$base/{1}" <"$tmp/parts/list") || die $? "what says where the blocks of $label lie cannot be read" 'nothing was written'
  each_line take_place <<<"$text"
  [ -z "$whole" ] || { say "everything is fetched: $whole" && return; }
  pgv-apply --quiet --compare "$tmp/parts" || die $? "the lists of members of $label cannot be read" 'nothing was written'
  parts=yes
}

# The records of the chain, which say what each stream must be.
fetch_records() {
  local number
  for number in "${!urls[@]}"; do
    [ ! -e "$tmp/record-$number" ] || continue
    pgv-s3 --quiet get --whole "${urls[number]}/record.json" >"$tmp/record" || die $? "${urls[number]}/record.json cannot be read" 'nothing was written'
    mv "$tmp/record" "$tmp/record-$number"
  done
}

# Reads the head of each stream, with the key: the refusals of a restore, before anything is written or moved.
look_at_streams() {
  local given=(--plan) status=0 hints=('nothing was written') talk=(--quiet) head=''
  fetch_records
  look_at_key_age "${urls[0]}"
  fetch_places
  # Of streams in parts nothing but their heads is there yet.
  [ "$parts" = no ] || head=yes
  [ "$replace" = no ] || given+=(--replace)
  [ "$delta" = no ] || given+=(--delta)
  apply_chain "${given[@]}" >"$tmp/places" || status=$?
  if [ "$status" -ne 0 ]; then
    [ "$status$replace$delta" != 6nono ] || hints+=("to move it aside and restore in its place: $again --replace"
      "if it is this cluster, stopped, to overwrite what differs: $again --delta" 'or give a new directory')
    die "$status" "backup $label cannot be restored into $directory" "${hints[@]}" "${may_again[@]}"
  fi
  read_lines places <"$tmp/places"
  # Nothing lies there that could be compared.
  [ "${places[laid]}" = over ] || parts=no
}

# Reads the directory, and finds what it lacks of each stream.
find_missing() {
  local text
  local -A found=()
  [ "$parts" = yes ] || return 0
  text=$(pgv-apply --quiet --compare "$tmp/parts" "$directory") || die $? "$directory cannot be compared with backup $label" 'nothing was written'
  read_lines found <<<"$text"
  over=$directory
  say "fetching $(size "${found[wanted_bytes]}") of $(size "${found[stream_bytes]}"): the rest lies in $directory"
}

# Nothing can be started before pgv-recover has written the settings.
lay_down() {
  local drawn=() talk=() given=() head=''
  find_missing
  [ "$progress_on_stdout" = no ] || drawn=(--progress-on-stdout)
  [ "$quiet" = no ] || talk=(--quiet)
  [ "$delta" = no ] || given=(--delta)
  apply_chain "${drawn[@]}" "${given[@]}" --hold --expected-size "${way[merged_bytes]}" ||
    die $? "backup $label was not restored" ${aside:+"the old directory is $aside"} "${may_again[@]}"
}
