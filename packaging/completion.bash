# Bash completion of pgv's tools and scripts. Options and verbs come from what --help prints, so they are those of the
# installed version; clusters are those that are configured.
_pgv() {
  local tool=$1 word=$2 before=$3 help words
  case $before in
    -c | --config | -k | --key-file | -o | --output | --scratch | --pgdata | --ca-file | --source-config | --destination-config)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
  esac
  if [ "${COMP_CWORD:-1}" -gt 1 ] && [[ ${COMP_WORDS[1]} =~ ^[a-z]+$ && $tool =~ pgv-(s3|info|peek)$ ]]; then
    help=$("$tool" "${COMP_WORDS[1]}" --help 2>/dev/null || "$tool" --help 2>/dev/null)
  else
    help=$("$tool" --help 2>/dev/null)
  fi
  if [[ $word == -* ]]; then
    words=$(grep --only-matching --extended-regexp -- '--[a-z][a-z0-9-]*' <<<"$help" | sort --unique)
  else
    # Verbs are the first words of the section Commands.
    words=$(sed --quiet '/^Commands:/,/^$/s/^  \([a-z]\{1,\}\) .*/\1/p' <<<"$help")
    words+=" $(cd "${PGV_CONFIG_DIR:-/etc/pgv}" 2>/dev/null && printf '%s\n' *.conf | sed 's/\.conf$//; /^\*$/d')"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  [ "${#COMPREPLY[@]}" -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -F _pgv pgv-snap pgv-apply pgv-merge pgv-crypt pgv-s3 pgv-info pgv-peek pgv-backup pgv-restore pgv-recover pgv-expire \
  pgv-consolidate pgv-pin pgv-annotate pgv-files pgv-check pgv-copy pgv-drill pgv-verify pgv-find pgv-setup pgv-env pgv-wal-receive pgv-rekey
