# Sourced by pgv-setup: what runs every night, every week and every month.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

# Where cron looks.
cron_directory=/etc/cron.d

# Sets `cron`, the file of this cluster's schedule. cron ignores names with dots, and a_b is a cluster, too: where the plain
# name is another's, or would be ambiguous, it is pgv_ and a name in which _ is __ and . is _d.
find_cron() {
  local plain=$cron_directory/pgv-${cluster//./_} name=${cluster//_/__}
  cron=$cron_directory/pgv_${name//./_d}
  # As it was before there were such names.
  if [ -e "$plain" ] && ! is_of_others "$plain"; then
    cron=$plain
  elif [ ! -e "$plain" ] && [ ! -e "$cron" ] && [[ $cluster != *.* ]]; then
    cron=$plain
  fi
}

# Whether it names a cluster whose name differs in dots only, and not this one.
is_of_others() { # FILE
  local names
  names=$(names_like_ours "$1") || exit $?
  [ -n "$names" ] && ! grep --quiet --line-regexp --fixed-strings -- "$cluster" <<<"$names"
}

names_like_ours() { # FILE
  local text word
  text=$(cat -- "$1") || die 1 "cannot read $1" 'nothing was changed' "then: $again"
  while IFS= read -r word; do
    [ "${word//./_}" != "${cluster//./_}" ] || echo "$word"
  done < <(tr --complement --squeeze-repeats 'A-Za-z0-9_.-' '\n' <<<"$text")
}

# Sets `schedule` where it is not given, and `cron`: timers stay timers, or backups would start twice; and none stays none.
choose_schedule() {
  find_cron
  chosen_before=no
  if [ -z "$schedule" ]; then
    schedule=cron
    if has_timer; then
      schedule=systemd
    elif [ ! -e "$cron" ] && as_owner test -e "$state/no-schedule"; then
      schedule=none chosen_before=yes
    fi
  fi
  [ "$schedule" != cron ] || [ -d /etc/cron.d ] ||
    die 2 'this machine has no cron: there is no /etc/cron.d' 'nothing was changed' 'apt-get install cron, or give --schedule systemd or none' "then: $again"
}

has_timer() {
  command -v systemctl >/dev/null && systemctl is-enabled --quiet "pgv-backup@$cluster.timer" 2>/dev/null
}

set_up_schedule() {
  local minute=$((RANDOM % 60)) mark=$state/no-schedule
  if [ "$schedule" = none ]; then
    as_owner test -e "$mark" || run "keeping in $mark that pgv schedules nothing" write_file "$mark" 0600 "$(date --utc +%Y-%m-%d)"
  elif as_owner test -e "$mark"; then
    run "deleting $mark" as_owner rm --force -- "$mark"
  fi
  case $schedule in
    cron)
      if [ -e "$cron" ]; then
        say "the schedule $cron exists"
      else
        run "writing $cron: every night at 1:$(printf %02d "$minute")" write_cron "$cron" "$minute"
      fi
      ! has_timer || todo+=("systemctl disable --now pgv-{backup,verify,age,drill}@$cluster.timer: these timers start the same backups as $cron")
      command -v cron >/dev/null || todo+=("apt-get install cron: without it nothing starts the backups of $cron")
      ;;
    systemd)
      local timers=(pgv-{backup,verify,age}@"$cluster.timer")
      if is_for_recipients; then
        timers=(pgv-{backup,age}@"$cluster.timer")
        say "no verification is scheduled: this host cannot open its backups; schedule pgv-verify where the private key is"
      fi
      run "enabling ${timers[*]}" systemctl enable --now "${timers[@]}"
      [ ! -e "$cron" ] || todo+=("delete $cron: it starts the same backups as the timers")
      [ "$owner" = postgres ] || look_at_user
      ;;
    none)
      if [ "$chosen_before" = yes ]; then
        say "nothing is scheduled, as before: another --schedule changes that"
        return
      fi
      todo+=("start pgv-backup $cluster every night, and check its exit status")
      ;;
  esac
}

# The units are of Debian's user.
look_at_user() {
  local user
  user=$(systemctl show --property=User --value "pgv-backup@$cluster.service") || die 1 'systemctl cannot show the unit of the backup' "then: $again"
  [ "$user" = "$owner" ] ||
    todo+=("pgv-backup@$cluster.service starts as user $user: give pgv-{backup,verify,age,drill}@$cluster.service a drop-in with User=$owner (systemctl edit)")
}

# Whoever has no private key can verify what is stored, and open nothing of it.
is_for_recipients() { [ -n "$(configured PGV_RECIPIENTS)$(configured PGV_WRAP)" ]; }

write_cron() { # FILE MINUTE
  local place path verify="pgv-verify $cluster"
  ! is_for_recipients || verify+=' --stored'
  place=$(dirname "$(command -v pgv-backup)") path=$place
  for place in /usr/local/bin /usr/bin /bin; do
    [[ :$path: == *":$place:"* ]] || path+=:$place
  done
  write_file "$1" 0644 "# Written by pgv-setup. cron mails errors and warnings to MAILTO, and nothing else.
MAILTO=root
PATH=$path
$2 1 * * *  $owner  pgv-backup $cluster --quiet --wait 6h
$2 9 * * *  $owner  pgv-info $cluster --max-age 26h >/dev/null
$2 4 * * 0  $owner  timeout 12h $verify --quiet || [ \$? -ne 124 ] || echo 'pgv-verify $cluster: not done in 12 hours'" root
}

# A drill every month, where a copy of the cluster has room; after the first backup, by which that is known. Where the file
# or the timer is there already, it is as somebody wants it.
schedule_drill() {
  local place=$state/drill why line text
  [ "$schedule" != none ] && [ "$dry_run" = no ] || return 0
  ! grep --quiet --no-messages pgv-drill "$cron" || return 0
  if is_for_recipients; then
    say 'no drill is scheduled: this host cannot open its backups; schedule pgv-drill where the private key is'
    return
  fi
  # It may be a file system of its own; else the first drill makes it.
  ! as_owner test -d "$place" || place+=/plan
  why=$(as_owner pgv-restore "$cluster" "$place" --config "$file" --immediate --tablespaces-under "$place.tablespaces" --plan 2>&1 >/dev/null) || {
    why=$(sed --quiet 's/^[^ ]*: error: //p' <<<"$why" | head --lines=1)
    say "no drill is scheduled: ${why:-a restore into $place is not possible}; with room elsewhere, schedule pgv-drill $cluster --scratch DIR"
    return
  }
  if [ "$schedule" = systemd ]; then
    run "enabling the timer of pgv-drill@$cluster" systemctl enable --now pgv-drill@"$cluster.timer"
  elif [ -e "$cron" ]; then
    line="$((RANDOM % 60)) 5 1 * *  $owner  timeout 12h pgv-drill $cluster --quiet || [ \$? -ne 124 ] || echo 'pgv-drill $cluster: not done in 12 hours'"
    text=$(cat -- "$cron") || die 1 "cannot read $cron" "then: $again"
    run "adding a drill every month to $cron" write_file "$cron" 0644 "$text
$line" root
  fi
}
