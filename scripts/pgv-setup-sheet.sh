# Sourced by pgv-setup: the recovery sheet. It shows the keys, so it goes to a terminal or into a file that its reader named.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# To `sheet`, or to the terminal; else it is said how to get it.
deliver_sheet() {
  local text
  if [ -n "$sheet" ] && [ "$sheet" != - ]; then
    text=$(print_sheet)
    run "writing the recovery sheet to $sheet" write_sheet "$sheet" "$text"
    say "print $sheet, keep it away from this host, and remove the file"
  elif [ -t 1 ]; then
    print_sheet
  elif [ "$sheet" = - ]; then
    die 2 'the recovery sheet holds the key, and stdout is no terminal' "give a file: pgv-setup $cluster --sheet FILE"
  else
    say "the recovery sheet holds the key, and stdout is no terminal: print it with pgv-setup $cluster --sheet FILE"
  fi
}

# Root's, in a place of root's; elsewhere a new file, in which nobody else has a hand.
write_sheet() { # FILE TEXT
  if only_root_writes "${1%/*}"; then
    write_file "$1" 0600 "$2" root
  else
    (umask 077 && set -o noclobber && printf '%s\n' "$2" >"$1") ||
      die 2 "cannot make $1" "in a directory that others may write it must be a new file"
    sync --data -- "$1"
  fi
}

# Sets `label`, `sizes`, `version`, `identifier` from what the repository says of the newest full; else to what is known.
learn_backup() {
  local rows status=0 row fields
  label=LABEL sizes='' version='' identifier=$(configured PGV_SYSTEM_ID)
  bound_service
  rows=$(as_owner "${limit[@]}" pgv-info --config "$file" ${identifier:+--system-id "$identifier"} --format tsv) || status=$?
  if ! [[ $status =~ ^[07]$ ]]; then
    warn "the backups cannot be listed: the sheet lacks the newest backup's name and size"
    rows=
  fi
  row=$(awk -F'\t' '$4 == "full"' <<<"$rows" | tail --lines=1)
  if [ -n "$row" ]; then
    IFS=$'\t' read -r -a fields <<<"$row"
    identifier=${fields[1]} label=${fields[2]} version=${fields[8]}
    sizes="$(iec "${fields[6]}") of data, $(iec "${fields[7]}") stored, in $label, the newest full when this was printed"
  fi
  if [ -z "$version" ] && [ -r "${pgdata:-/nowhere}/PG_VERSION" ]; then
    version=$(as_owner cat -- "$pgdata/PG_VERSION") || version=
  fi
}

iec() { # BYTES
  numfmt --to=iec-i --suffix=B --format=%.1f -- "$1"
}

print_keys() {
  local key number=0
  for key in "${keys[@]}"; do
    printf 'key         %s\n            %sin %s of this host%s\n' "$(<"$key")" "${key_names[number]:+named ${key_names[number]}, }" "$key" \
      "$([ "${#keys[@]}" -eq 1 ] || { [ "$number" -eq 0 ] && echo '; it seals what is new' || echo '; it opens what is older'; })"
    number=$((number + 1))
  done
}

print_facts() {
  local pair
  for pair in 'endpoint    PGV_S3_ENDPOINT_URL' 'region      PGV_S3_REGION' 'CA          PGV_S3_CA_FILE' 'access key  AWS_ACCESS_KEY_ID'; do
    [ -z "$(configured "${pair##* }")" ] || echo "${pair% *} $(configured "${pair##* }")"
  done
  echo "host        $(hostname), user $owner${pgdata:+, data directory $pgdata}"
  echo "PostgreSQL  ${version:-unknown}${identifier:+, system identifier $identifier}"
  [ -z "$sizes" ] || echo "size        $sizes"
  echo "pgv         $(pgv-crypt --version | cut --delimiter=' ' --fields=2), for $(uname --machine): keep its package with the backups; part 2 needs none"
}

# What a new machine's set-up has to be told, as it is typed.
restore_options() {
  local pair
  printf ' --repo %q --key-file %q' "$repository" "$(configured PGV_KEY_FILE)"
  for pair in endpoint-url=PGV_S3_ENDPOINT_URL region=PGV_S3_REGION ca-file=PGV_S3_CA_FILE; do
    [ -z "$(configured "${pair#*=}")" ] || printf -- ' --%s %q' "${pair%%=*}" "$(configured "${pair#*=}")"
  done
  [[ ! $(configured PGV_S3_PATH_STYLE) =~ ^(y|yes|t|true|on|1)$ ]] || printf ' --path-style'
}

# The command that fetches an object without pgv.
fetch_command() { # URL
  local options
  if [[ $1 == file://* ]]; then
    printf 'cp %q data.pgv' "${1#file://}"
    return
  fi
  options=$(for pair in endpoint-url=PGV_S3_ENDPOINT_URL region=PGV_S3_REGION ca-bundle=PGV_S3_CA_FILE; do
    [ -z "$(configured "${pair#*=}")" ] || printf -- ' --%s %q' "${pair%%=*}" "$(configured "${pair#*=}")"
  done)
  printf 'aws s3 cp%s %q data.pgv' "$options" "$1"
}

print_sheet() {
  local repository name identifier label sizes version major key
  repository=$(configured PGV_REPO) name=$(configured PGV_CLUSTER)
  : "${name:=$cluster}"
  learn_backup
  major=${version%%.*}
  : "${major:=MAJOR}"
  cat <<TEXT

==================== recovery sheet of $cluster, $(date --utc +%Y-%m-%d) ====================
Keep it on paper, away from the host: without the key nobody opens a backup. Print it again when a key was changed.

$(print_keys)
backups     $repository/$name/
$(print_facts)

1. WITH PGV

On a new machine, with pgv and PostgreSQL $major, as root (AWS_SECRET_ACCESS_KEY is not on this sheet, and is asked for):
$(for key in "${keys[@]}"; do printf '  (umask 077; mkdir -p %q; cat > %q)     # then its key, from above, and Ctrl-D\n' "$(dirname "$key")" "$key"; done
    [ -z "$(configured PGV_S3_CA_FILE)" ] || echo "  # the certificate of the service into $(configured PGV_S3_CA_FILE), and then")
  pgv-setup $name --restore-only$(restore_options)
  sudo -u postgres pgv-restore $name DIRECTORY${identifier:+ --system-id $identifier} --start

DIRECTORY is new or empty. With --replace it may hold something, such as the empty cluster that Debian makes: that is
renamed to DIRECTORY.before-TIME first, and nothing is deleted. --plan says what would be done, --time how far.

2. WITHOUT PGV

The newest full as it was at its end, without later backups and WAL; they lie in $repository/$name/${identifier:-SYSTEM-IDENTIFIER}/.
LABEL ends with F, and has a record.json beside data.pgv, which says key_name. It needs PostgreSQL $major, openssl and zstd
$([[ $repository == file://* ]] || echo 'and an S3 client such as aws '; echo '(apt-get install), and KEY, a file with the line of the key from above. The first line of data.pgv says how it opens:')
the number after -iter, which is 1000 for a key that begins with pgvkey1_, goes where 1000 is.
Without pgv, as root:
  $(fetch_command "$repository/$name/${identifier:-SYSTEM-IDENTIFIER}/backup/$label/data.pgv")
  head -c 127 data.pgv; echo
  install -d -o postgres -m 0700 DIRECTORY
  (set -o pipefail; tail -n +2 data.pgv | openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass file:KEY | zstd -d | tar x -C DIRECTORY)
  for f in postgresql.conf postgresql.auto.conf pg_hba.conf pg_ident.conf; do [ ! -e DIRECTORY/\$f ] || mv DIRECTORY/\$f DIRECTORY/\$f.original; done
  printf '%s\n' "port = 5433" "listen_addresses = ''" "hot_standby = off" "archive_mode = off" "restore_command = 'false'" "max_prepared_transactions = 100" > DIRECTORY/postgresql.conf
  echo 'local all all peer' > DIRECTORY/pg_hba.conf
  touch DIRECTORY/pg_ident.conf
  chown -R postgres DIRECTORY
  sudo -u postgres /usr/lib/postgresql/$major/bin/pg_ctl -D DIRECTORY -l DIRECTORY/start.log start
  while ! sudo -u postgres psql -p 5433 -l && sudo -u postgres /usr/lib/postgresql/$major/bin/pg_ctl -D DIRECTORY status; do sleep 2; done

The last line waits until recovery has ended; DIRECTORY/start.log says why it does not. The server listens on no address but port 5433 of the local socket. The configuration as it was is in the files .original and in
DIRECTORY/pgv/config; tablespaces are directories in DIRECTORY/pg_tblspc. RESTORE-1.txt beside the backups says more.
TEXT
}
