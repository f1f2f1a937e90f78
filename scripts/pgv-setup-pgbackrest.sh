# Sourced by pgv-setup: the configuration of pgBackRest, as pgv-env reads it.
# shellcheck shell=bash disable=SC2034,SC2154,SC2317  # pgv-setup and its steps share what they set

# Sets `imported`, and `pgdata` where nothing else did.
read_pgbackrest() {
  local text
  imported=() imported_pgdata=''
  text=$("${pgv_env[@]}" --from-pgbackrest "$from_pgbackrest" ${stanza:+--stanza "$stanza"} ${pgdata:+--pgdata "$pgdata"} \
    ${config_include_path:+--config-include-path "$config_include_path"} "$cluster") || exit $?
  each_line take_option <<<"$text"
  [ -n "$pgdata" ] || pgdata=$imported_pgdata
  [ -z "$imported_pgdata" ] || [ "$imported_pgdata" -ef "$pgdata" ] ||
    die 2 "pg1-path in $from_pgbackrest is $imported_pgdata, but the data directory of $cluster is $pgdata" 'name the stanza of this cluster: --stanza NAME'
}

take_option() { # KEY VALUE
  local option=${2%% *} rest=${2#* }
  case $1 in
    stanza) say "reading stanza $2 of $from_pgbackrest" ;;
    pgdata) imported_pgdata=$2 ;;
    set) imported+=("$2") ;;
    became) say "  $option becomes $rest" ;;
    left) say "  $option: $rest" ;;
    do)
      # What an option of this call answers.
      if { [[ $rest == *'give --ca-file '* ]] && [ -n "$ca_file" ]; } || { [[ $rest == *'give --repo '* ]] && [ -n "$repo" ]; }; then
        return
      fi
      warn "$option: $rest"
      todo+=("$option: $rest")
      ;;
  esac
}

# What options say, and what is configured already, stays.
use_imported() {
  local pair key shown present
  for pair in ${imported[@]+"${imported[@]}"}; do
    key=${pair%%=*} shown=$pair
    case $key in
      # Where the server listens it says itself.
      PGPORT) continue ;;
      PGHOST) [[ ! ${pair#*=} =~ ^(/var)?/run/postgresql/?$ ]] || continue ;;
      AWS_SECRET_ACCESS_KEY | AWS_SESSION_TOKEN) shown="$key=..." ;;
    esac
    [[ " ${settings[*]%%=*} " != *" $key "* ]] || continue
    present=$(configured "$key")
    if [ -z "$present" ]; then
      say "  $shown"
      settings+=("$pair")
    elif [ "$present" != "${pair#*=}" ]; then
      warn "$key stays as it is in $file: pgBackRest has another value"
    fi
    [ "$key" != PGHOST ] || export PGHOST=${present:-${pair#*=}}
  done
}
