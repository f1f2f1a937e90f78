# Sourced by pgv-setup: /etc/pgv/CLUSTER.conf, which is composed, tried, and only then put in its place.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Sets `pairs`, what is configured already.
read_configuration() {
  local text
  pairs=()
  [ -e "$file" ] || return 0
  text=$("${pgv_env[@]}" --file --config "$file") || exit $?
  each_line take_pair <<<"$text"
}

# shellcheck disable=SC2317  # by each_line
take_pair() { # set KEY=VALUE
  pairs+=("$2")
}

# As the configuration has it, or nothing.
configured() { # KEY
  local pair
  for pair in ${pairs[@]+"${pairs[@]}"}; do
    [ "${pair%%=*}" != "$1" ] || { echo "${pair#*=}" && return; }
  done
}

# Quoted where it has to be.
setting() { # KEY VALUE
  # shellcheck disable=SC1003  # one backslash
  if [[ $2 == *['"\$`']* || $2 == *[[:cntrl:]]* ]]; then
    die 2 "the value of $1 contains a character that a configuration cannot contain: \" \\ \$ or a backquote" \
      'choose a value without it; for secrets: PGV_S3_PROFILE, or the environment of the service'
  elif [[ $2 == *[!A-Za-z0-9_./:@%+,=-]* ]]; then
    printf '%s="%s"\n' "$1" "$2"
  else
    printf '%s=%s\n' "$1" "$2"
  fi
}

# Sets `configuration` to what is there, comments too, with the options' values; then what options add, then defaults.
compose_configuration() {
  local line pair given wanted lines=() keep=(PGV_KEEP_FULL=2)
  [ ! -e "$file" ] || mapfile -t lines <"$file"
  for line in "${!lines[@]}"; do
    for given in "${settings[@]}"; do
      [ "${given%%=*}" != "${lines[line]%%=*}" ] || lines[line]=$(setting "${given%%=*}" "${given#*=}")
    done
  done
  wanted=(${pairs[@]+"${pairs[@]}"})
  # Refused beside it.
  [[ " ${wanted[*]} " != *' PGV_FULL_EVERY=never '* ]] || keep=()
  for pair in "${settings[@]}" ${secrets[@]+"${secrets[@]}"} ${pgdata:+"PGV_PGDATA=$pgdata"} "${keep[@]}" "PGV_STATE_DIR=$state"; do
    [[ " ${wanted[*]%%=*} " != *" ${pair%%=*} "* ]] || continue
    wanted+=("$pair")
    line=$(setting "${pair%%=*}" "${pair#*=}")
    lines+=("$line")
  done
  configuration=$(printf '%s\n' "${lines[@]}")
}

# For s3://, once; other ways of Amazon's chain (a profile, a role of the machine) are left to who knows of them. Sets
# `secrets`.
ask_for_secret() {
  local repository=$1 key value
  secrets=()
  [[ $repository == s3://* ]] && [ -z "$(configured PGV_S3_PROFILE)" ] || return 0
  for key in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY; do
    [ -z "$(configured "$key")" ] || continue
    [[ " ${settings[*]%%=*} " != *" $key "* ]] || continue
    value=${!key:-}
    if [ -z "$value" ] && [ -t 0 ]; then
      read -r -s -p "$key: " value
      echo >&2
    fi
    [ -z "$value" ] || secrets+=("$key=$value")
  done
}

# Where the backups go: what is given, else what is configured. Sets `repository`.
find_repository() {
  local given before
  before=$(configured PGV_REPO) repository=$before
  for given in ${settings[@]+"${settings[@]}"}; do
    [[ $given != PGV_REPO=* ]] || repository=${given#*=}
  done
  [ -n "$repository" ] || die 2 'no repository is given' 'give --repo s3://bucket/prefix or file:///path'
  [ -z "$before" ] || [ "${before%/}" = "$repository" ] || warn "PGV_REPO changes from $before to $repository"
  ask_for_secret "$repository"
}

# The new configuration where only the cluster's owner sees it, so that it can be tried before the old one is touched.
# Sets `trial`. The old ones are of runs that were killed.
make_trial() {
  local place=${TMPDIR:-/tmp}
  # Root's own, as libpam-tmpdir makes it.
  as_owner test -w "$place" || place=/tmp
  as_owner find "$place/" -maxdepth 1 -name 'pgv-setup.??????' -user "$owner" -mmin +60 -exec rm --recursive --force {} + ||
    warn "cannot search $place for files of killed runs"
  trial_directory=$(as_owner mktemp --directory "$place/pgv-setup.XXXXXX") || die 1 "cannot create a directory in $place" "then: $again"
  trap 'as_owner rm --recursive --force "$trial_directory"' EXIT
  trial=$trial_directory/$cluster.conf
  # shellcheck disable=SC2016  # of that shell
  printf '%s\n' "$configuration" | as_owner sh -c 'umask 077; cat >"$1"' sh "$trial" ||
    die 1 "cannot write $trial" "then: $again"
}

put_configuration() {
  if [ -e "$file" ] && [ "$(<"$file")" = "$configuration" ]; then
    say "the configuration $file is up to date"
  else
    run "writing $file" write_file "$file" 0600 "$configuration"
  fi
}

add_setting() { # KEY VALUE
  local line
  grep --quiet "^$1=" "$file" 2>/dev/null && return
  line=$(setting "$1" "$2")
  run "adding $line to $file" append "$file" "$line"
}

append() { # FILE LINE
  local text
  text=$(cat -- "$1") || die 1 "cannot read $1" "then: $again"
  write_file "$1" 0600 "$text"$'\n'"$2"
}
