# Sourced by pgv-setup: what runs every night.
# shellcheck shell=bash disable=SC2034,SC2154  # pgv-setup and its steps share what they set

set_up_schedule() {
  local minute=$((RANDOM % 60)) cron=/etc/cron.d/pgv-${cluster//./_}
  case $schedule in
    cron)
      if [ -e "$cron" ]; then
        say "the schedule $cron exists"
      else
        run "writing $cron: every night at 1:$(printf %02d "$minute")" write_cron "$cron" "$minute"
      fi
      command -v cron >/dev/null || todo+=("apt-get install cron: without it nothing starts the backups of $cron")
      ;;
    systemd)
      run "enabling the timers of pgv-backup@$cluster, pgv-verify@$cluster and pgv-age@$cluster" \
        systemctl enable --now pgv-{backup,verify,age}@"$cluster.timer"
      ;;
    none) todo+=("start pgv-backup $cluster every night, and check its exit status") ;;
  esac
}

write_cron() { # FILE MINUTE
  local place path
  place=$(dirname "$(command -v pgv-backup)") path=$place
  for place in /usr/local/bin /usr/bin /bin; do
    [[ :$path: == *":$place:"* ]] || path+=:$place
  done
  write_file "$1" 0644 "# Written by pgv-setup. cron mails errors and warnings to MAILTO, and nothing else.
MAILTO=root
PATH=$path
$2 1 * * *  $owner  pgv-backup $cluster --quiet --wait 6h
$2 9 * * *  $owner  pgv-info $cluster --max-age 26h >/dev/null
$2 4 * * 0  $owner  pgv-verify $cluster --quiet" root
}
