# Sourced by pgv-setup: the recovery sheet. It shows the keys, so it goes to a terminal or into a file that its reader named.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# To `sheet`, or to the terminal; else a message says how to get it.
deliver_sheet() {
  local text
  if [ -n "$sheet" ] && [ "$sheet" != - ]; then
    text=$(print_sheet)
    run "writing the recovery sheet to $sheet" write_sheet "$sheet" "$text"
    say "print $sheet, keep the paper away from this host, and delete the file"
  elif [ -t 1 ]; then
    print_sheet
  elif [ "$sheet" = - ]; then
    die 2 'print the recovery sheet: it contains the key, and stdout is not a terminal; nothing was printed' "pgv-setup $cluster --sheet FILE"
  else
    say "the recovery sheet was not printed, because it contains the key and stdout is not a terminal: pgv-setup $cluster --sheet FILE"
  fi
}

# Root's, in a place of root's; elsewhere a new file, in which nobody else has a hand.
write_sheet() { # FILE TEXT
  if only_root_writes "${1%/*}"; then
    write_file "$1" 0600 "$2" root
  else
    (umask 077 && set -o noclobber && printf '%s\n' "$2" >"$1") ||
      die 2 "cannot create $1" 'where other users may write, the sheet must be a new file: give another name'
    sync --data -- "$1"
  fi
}

# Sets `label`, `sizes`, `version`, `identifier` from what the repository says of the newest full; else to what is known.
learn_backup() {
  local rows status=0 row fields
  label=LABEL sizes='' version='' rows='' identifier=$(configured PGV_SYSTEM_ID)
  bound_service
  # With --no-backup, where there was none a moment ago, there is nothing to ask for.
  [ "$no_backup$newest" = yes ] || rows=$(as_owner "${limit[@]}" pgv-info --config "$file" ${identifier:+--system-id "$identifier"} --format tsv) || status=$?
  [[ $status =~ ^[07]$ ]] || { warn "cannot list the backups: the sheet does not have the label and size of the newest one" && rows=''; }
  row=$(awk -F'\t' '$4 == "full"' <<<"$rows" | tail --lines=1)
  if [ -n "$row" ]; then
    IFS=$'\t' read -r -a fields <<<"$row"
    identifier=${fields[1]} label=${fields[2]} version=${fields[8]}
    sizes="$(size "${fields[6]}") of data, $(size "${fields[7]}") stored"
  fi
  if [ -z "$version" ] && [ -r "${pgdata:-/nowhere}/PG_VERSION" ]; then
    version=$(as_owner cat -- "$pgdata/PG_VERSION") || version=
  fi
}

print_keys() {
  local key text use number=0
  for key in "${keys[@]}"; do
    text=$(cat -- "$key") || die 1 "cannot read the key $key: no sheet was printed" "pgv-setup $cluster --sheet FILE"
    printf 'key         %s\n            %sin %s on this host\n' \
      "$text" "${key_names[number]:+named ${key_names[number]}, }" "$key"
    use='opens older backups'
    [ "$number" -gt 0 ] || use='seals new backups'
    [ "${#keys[@]}" -eq 1 ] || echo "            $use"
    number=$((number + 1))
  done
}

print_facts() {
  local pair
  for pair in 'endpoint    PGV_S3_ENDPOINT_URL' 'region      PGV_S3_REGION' 'CA          PGV_S3_CA_FILE' 'access key  AWS_ACCESS_KEY_ID'; do
    [ -z "$(configured "${pair##* }")" ] || echo "${pair% *} $(configured "${pair##* }")"
  done
  echo "host        $(hostname), user $owner"
  [ -z "$pgdata" ] || echo "directory   $pgdata"
  echo "PostgreSQL  ${version:-unknown}${identifier:+, system identifier $identifier}"
  [ -z "$sizes" ] || printf 'size        %s\n            (%s, the newest full backup when this was printed)\n' "$sizes" "$label"
  echo "pgv         $(pgv-crypt --version | cut --delimiter=' ' --fields=2), $(uname --machine); keep its package with the backups"
}

# Ends a line of a command that goes on in the next: a page of 80 columns cuts no command.
goes_on=$' \\\n    '

# What pgv-setup needs on a new machine, as it is typed.
restore_options() {
  printf '%s--repo %q' "$goes_on" "$repository"
  [ -z "$(configured PGV_KEY_FILE)" ] || printf '%s--key-file %q' "$goes_on" "$(configured PGV_KEY_FILE)"
  [ "$has_recipients" = no ] || printf '%s--identity PRIVATE.pem --hosts HOSTS.pem' "$goes_on"
  service_options ca-file
  [[ ! $(configured PGV_S3_PATH_STYLE) =~ ^(y|yes|t|true|on|1)$ ]] || printf '%s--path-style' "$goes_on"
}

service_options() { # NAME-OF-THE-CA-OPTION
  local pair
  for pair in endpoint-url=PGV_S3_ENDPOINT_URL region=PGV_S3_REGION "$1=PGV_S3_CA_FILE"; do
    [ -z "$(configured "${pair#*=}")" ] || printf '%s--%s %q' "$goes_on" "${pair%%=*}" "$(configured "${pair#*=}")"
  done
}

# How each key comes into its file again.
key_commands() {
  local key number=0
  for key in "${keys[@]}"; do
    echo "  # type the key${key_names[number]:+ named ${key_names[number]}}, then Control-D:"
    printf '  (umask 077; mkdir -p %q; cat > %q)\n' "$(dirname "$key")" "$key"
    number=$((number + 1))
  done
  [ -z "$(configured PGV_S3_CA_FILE)" ] || echo "  # copy the certificate of the service to $(configured PGV_S3_CA_FILE)"
}

# The command that fetches an object without pgv.
fetch_command() { # URL
  if [[ $1 == file://* ]]; then
    printf 'cp %q%sdata.pgv' "${1#file://}" "$goes_on"
  else
    printf 'aws s3 cp%s%s%q%sdata.pgv' "$(service_options ca-bundle)" "$goes_on" "$1" "$goes_on"
  fi
}

print_sheet() {
  local repository name identifier label sizes version major tree client='' secret='' in_place='' keys_text recipients
  keys_text=$(print_keys)
  recipients=$(print_recipients)
  repository=$(configured PGV_REPO)
  name=$(configured PGV_CLUSTER)
  : "${name:=$cluster}"
  learn_backup
  major=${version%%[!0-9]*}
  : "${major:=MAJOR}"
  # Tablespaces stay directories, which servers refuse since 15.
  [[ ! $major =~ ^[0-9]+$ ]] || [ "$major" -lt 15 ] || in_place=$'"allow_in_place_tablespaces = on" \\\n    '
  tree=$repository/$name/${identifier:-SYSTEM-IDENTIFIER}
  if [[ $repository != file://* ]]; then
    client=', an S3 client such as aws'
    secret=$'\npgv-setup asks for AWS_SECRET_ACCESS_KEY, which is not on this sheet.'
  fi
  cat <<TEXT

========== recovery sheet of $cluster, printed $(date --utc +%Y-%m-%d) ==========
Keep this sheet on paper, away from the host: without the key nobody can open
a backup. Print a new sheet after you change a key.

$keys_text$recipients
backups     $repository/$name/
$(print_facts)

In the commands below, a line that ends with \\ continues on the next line.

1. RESTORE WITH PGV

Install pgv and PostgreSQL $major.$secret

On a new machine, as root:
$(key_commands)
  pgv-setup $name --restore-only$(restore_options)
  sudo -u postgres pgv-restore $name DIRECTORY${identifier:+$goes_on--system-id $identifier} --start

DIRECTORY must be new or empty. With --replace, pgv-restore first renames an
existing DIRECTORY, such as the empty cluster that Debian creates, to
DIRECTORY.before-TIME; it deletes nothing. --plan shows what a restore would
do, and writes nothing. --time '2026-11-23 14:30:00+01' restores to a moment.

2. RESTORE WITHOUT PGV

This restores a full backup as it was when the backup ended, without later
backups and WAL. The backups are below
  $tree/backup/
The label of a full backup ends with F. A backup is complete if record.json is
beside data.pgv; key_name in record.json is the name of its key.

You need PostgreSQL $major, openssl, zstd$client, and a file
named KEY that contains the key from above, in one line. The first line of
data.pgv says how it opens. If the number after -iter there is not 1000, use
that number; it is 1000 for a key that begins with pgvkey1_.
$(print_unwrapping)

Without pgv, as root:
  $(fetch_command "$tree/backup/$label/data.pgv")
  head -c 127 data.pgv; echo
  install -d -o postgres -m 0700 DIRECTORY
  (set -o pipefail; tail -n +2 data.pgv | \\
    openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter 1000 -pass file:KEY | \\
    zstd -d | tar x -C DIRECTORY)
  for f in postgresql.conf postgresql.auto.conf pg_hba.conf pg_ident.conf; do \\
    [ ! -e DIRECTORY/\$f ] || mv DIRECTORY/\$f DIRECTORY/\$f.original; done
  printf '%s\n' "port = 5433" "listen_addresses = ''" "hot_standby = off" \\
    "archive_mode = off" "restore_command = 'false'" \\
    $in_place"max_prepared_transactions = 100" > DIRECTORY/postgresql.conf
  echo 'local all all peer' > DIRECTORY/pg_hba.conf
  touch DIRECTORY/pg_ident.conf
  chown -R postgres DIRECTORY
  sudo -u postgres /usr/lib/postgresql/$major/bin/pg_ctl -D DIRECTORY \\
    -l DIRECTORY/start.log start
  while ! sudo -u postgres psql -p 5433 -l && \\
    sudo -u postgres /usr/lib/postgresql/$major/bin/pg_ctl -D DIRECTORY status; \\
    do sleep 2; done

The last command waits until recovery has ended. If the server stops instead,
DIRECTORY/start.log says why. The server accepts connections only on its local
socket, port 5433. The original configuration is in DIRECTORY/*.original, or in
DIRECTORY/pgv/config. Tablespaces are directories in DIRECTORY/pg_tblspc.
RESTORE-1.txt, at the top of the repository, says more.
TEXT
}
