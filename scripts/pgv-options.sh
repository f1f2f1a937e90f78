# Sourced by pgv-common.sh: the options of a script, which are all written and read in the same way.
# shellcheck shell=bash disable=SC2034,SC2154,SC2178  # what is set here is for the scripts

# Reads a script's arguments, up to --, by its OPTIONs:
#   name        a flag: sets `name` to yes
#   name=       takes a value, as "--name VALUE" or "--name=VALUE": sets `name`
#   name+=      may come more than once: adds the value to the array `name`
#   c|name=     has a short letter, too
# Hyphens of a name are underscores in its variable. The script sets the variables before to what they are without the
# option. All other arguments go into the array `arguments`. Help and version are printed wherever they are asked for.
parse_options() { # OPTION… -- ARGUMENT…
  local options=() option word value
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  shift
  arguments=()
  for word in "$@"; do
    case $word in
      -h | --help) usage && exit 0 ;;
      -V | --version) "${pgv_env[@]}" --version && exit 0 ;;
      --) break ;;
    esac
  done
  while [ $# -gt 0 ]; do
    word=$1
    shift
    case $word in
      --)
        arguments+=("$@")
        return
        ;;
      --*=*)
        find_option "${word%%=*}"
        [[ $option == *= ]] || die 2 "${word%%=*} takes no value" "$pgv_tool --help"
        set_option "$option" "${word#*=}"
        ;;
      -?*)
        find_option "$word"
        if [[ $option == *= ]]; then
          [ $# -gt 0 ] || die 2 "$word needs a value" "$pgv_tool --help"
          set_option "$option" "$1"
          shift
        else
          set_option "$option" yes
        fi
        ;;
      *) arguments+=("$word") ;;
    esac
  done
}

# Sets `option` to the one that a word names.
find_option() { # WORD
  local candidate name
  for candidate in "${options[@]}"; do
    name=${candidate#?|}
    name=${name%=}
    option=${candidate#?|}
    [ "$1" != "--${name%+}" ] || return 0
    [[ $candidate != ?\|* || $1 != "-${candidate:0:1}" ]] || return 0
  done
  die 2 "unknown option $1" "$pgv_tool --help"
}

set_option() { # OPTION VALUE
  # Any name but these may be an option's.
  local option_name=${1%=}
  option_name=${option_name%+}
  local -n option_variable=${option_name//-/_}
  if [[ $1 == *+= ]]; then
    option_variable+=("$2")
  else
    option_variable=$2
  fi
}

# The only argument, which names a cluster, or nothing: sets `cluster`.
take_cluster() { # of `arguments`
  [ "${#arguments[@]}" -le 1 ] || die 2 "give one cluster, not ${arguments[*]@Q}" "$pgv_tool --help"
  cluster=${arguments[0]:-}
}
