//! The text of settings, with all its quoting.

use crate::pg::control::Control;
use crate::pg::guc::{self, line};
use crate::recover::decide::Decisions;
use crate::recover::plan::{Goal, Plan, Primary};
use crate::recover::target::Target;
use std::path::{Path, PathBuf};

/// How the server gets its WAL.
#[derive(Clone, Debug)]
pub struct Get {
    /// The path of pgv-wal-get.
    pub program: PathBuf,
    /// The configuration that it reads.
    pub config: PathBuf,
    /// PGV_CLUSTER.
    pub cluster: String,
}

/// Begins what stays for as long as it is a copy.
pub const PLACES: &str = "# Places of this copy instead of the original's, by pgv-restore";
/// Begins what goes when somebody has decided, up to [`END`].
pub const UNDECIDED: &str = "# Written by pgv-restore";
pub const END: &str = "# end";
pub const PLACES_END: &str = "# end of places";

/// A word of a shell's command in a setting that PostgreSQL expands: `%` is doubled.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    let word = match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    };
    word.replace('%', "%%")
}

/// To the end of a backup that has its WAL the archive only tells which timelines there are: the server reads one record
/// more than it replays, and that one may be missing. Without its WAL the archive is asked for no more than that: the
/// server reads ahead, and a hole behind the backup would stop it.
fn restore_command(plan: &Plan, get: &Get, is_isolated: bool) -> String {
    let is_immediate = plan.goal == Goal::Immediate;
    let until = match is_immediate && !plan.wal_included {
        true => format!(" --until {}", plan.backup_last),
        false => String::new(),
    };
    let taken =
        plan.timelines_taken.as_deref().map(|ids| format!(" --taken {}", word(ids))).unwrap_or_default();
    let path = |path: &Path| word(&path.to_string_lossy());
    let command = format!(
        "PGV_CLUSTER={} {} -c {}{until}{taken} %f %p",
        word(&get.cluster),
        path(&get.program),
        path(&get.config)
    );
    match (plan.has_archive, is_immediate && plan.wal_included, is_isolated) {
        // What a replica does not get from the archive, it gets from its primary, or asks for again: no failure ends its
        // recovery, and 200 would stop the server.
        (true, ..) if plan.primary.is_some() => format!("{command} || exit 1"),
        (false, ..) if plan.primary.is_some() => String::new(),
        (false, ..) | (_, true, true) => "false".to_owned(),
        (true, true, false) => format!("case %f in *.history) {command} ;; *) false ;; esac"),
        (true, false, _) => command,
    }
}

/// Once recovery is over its settings would only mislead: the next recovery's are others. The server itself removes them
/// when it is promoted, whoever started it, and if it cannot it only warns.
const RECOVERY_END: &str = "sed --regexp-extended \
    '/^(restore_command|recovery_(target|end|min)[a-z_]*|archive_cleanup_command) =/d' postgresql.auto.conf \
    >postgresql.auto.conf.new && sync postgresql.auto.conf.new && mv --force postgresql.auto.conf.new postgresql.auto.conf";

/// The settings of recovery, the target last.
pub fn recovery(plan: &Plan, target: &Target, get: &Get, is_isolated: bool) -> String {
    let mut text = line("restore_command", &restore_command(plan, get, is_isolated));
    for name in ["", "_lsn", "_name", "_time", "_xid"] {
        text += &line(&format!("recovery_target{name}"), "");
    }
    if let Some(primary) = &plan.primary {
        return text + &replica(primary);
    }
    text += &line("recovery_target_timeline", &plan.timeline);
    // The archive's last record is one to be replayed.
    let stops_before = plan.exclusive && plan.end.is_none();
    text += &line("recovery_target_inclusive", if stops_before { "off" } else { "on" });
    text += &line("recovery_target_action", plan.action.name());
    if let Some((name, value)) = target {
        text += &line(name, value);
    }
    if !is_isolated {
        text += &line("recovery_end_command", RECOVERY_END);
    }
    text += &line("archive_cleanup_command", "");
    text + &line("recovery_min_apply_delay", "0")
}

/// What makes the copy follow its primary. It stays after a promotion: pg_rewind needs the archive, too.
fn replica(primary: &Primary) -> String {
    let settings = [
        ("recovery_target_timeline", "latest"),
        ("recovery_target_action", "pause"),
        ("recovery_end_command", ""),
        ("archive_cleanup_command", ""),
        ("recovery_min_apply_delay", "0"),
        ("hot_standby", "on"),
        ("primary_conninfo", &primary.conninfo),
        ("primary_slot_name", primary.slot.as_deref().unwrap_or_default()),
    ];
    settings.iter().map(|(name, value)| line(name, value)).collect()
}

/// What stays. Of two lines of one setting the last counts.
pub fn places(decisions: &Decisions, port: Option<u16>) -> String {
    let mut lines: String = decisions.stay.iter().map(|(name, value)| line(name, value)).collect();
    if let Some(port) = port {
        lines += &format!("port = {port}\n");
    }
    match lines.is_empty() {
        true => lines,
        false => format!("{PLACES}\n{lines}{PLACES_END}\n"),
    }
}

pub fn undecided(plan: &Plan, recovery: &str, decisions: &Decisions) -> String {
    let (label, is_replica) = (&plan.label, plan.primary.is_some());
    let lines: String = decisions.undecided.iter().map(|(name, value)| line(name, value)).collect();
    if is_replica {
        return format!(
            "{UNDECIDED} for backup {label}. These lines make this server a replica, up to \"end\".\n\
             # The last line of a setting counts; options of the command line (Debian: pg_ctl.conf) override both.\n\
             {recovery}{END}\n"
        );
    }
    format!(
        "{UNDECIDED} for backup {label}. These lines keep archiving, logical subscriptions and jobs off.\n\
         # When you have decided about them, delete the lines up to \"end\", and restart the server.\n\
         # The last line of a setting counts; options of the command line (Debian: pg_ctl.conf) override both.\n\
         {recovery}{lines}{END}\n"
    )
}

/// A server's that nobody outside reaches, with limits as high as recovery needs them.
pub fn isolated(place: &Path, recovery: &str, control: &Control) -> String {
    let path = |name: &str| guc::quote(&place.join(name).to_string_lossy());
    let limits: String =
        control.needed_settings().iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
    format!(
        "listen_addresses = ''\nunix_socket_directories = {}\nport = 5432\nhba_file = {}\nident_file = {}\n{limits}\
         shared_buffers = 64MB\nmaintenance_work_mem = 64MB\nmax_wal_size = 1GB\nfsync = off\nautovacuum = off\n\
         archive_mode = off\nmax_logical_replication_workers = 0\nlogging_collector = off\n\
         log_destination = 'stderr'\nlc_messages = 'C'\njit = off\n{recovery}",
        guc::quote(&place.to_string_lossy()),
        path("pg_hba.conf"),
        path("pg_ident.conf"),
    )
}

/// `text` without the blocks of an earlier restore.
pub fn without_blocks(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut until: Option<&str> = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let trimmed = line.trim_ascii_end();
        match until {
            Some(end) if trimmed == end.as_bytes() => until = None,
            Some(_) => {}
            None if trimmed.starts_with(PLACES.as_bytes()) => until = Some(PLACES_END),
            None if trimmed.starts_with(UNDECIDED.as_bytes()) => until = Some(END),
            None => kept.extend_from_slice(line),
        }
    }
    if kept.last().is_some_and(|byte| *byte != b'\n') {
        kept.push(b'\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover::plan::Action;

    fn plan(lines: &str, goal: Goal) -> Plan {
        let text = format!("label L\nrecovery_target_timeline latest\nbackup_wal_last S\n{lines}");
        Plan::parse(&text, goal, Action::Promote).unwrap()
    }

    fn get(config: &str) -> Get {
        Get { program: "/usr/bin/pgv-wal-get".into(), config: config.into(), cluster: "main".to_owned() }
    }

    #[test]
    fn a_command_is_quoted_for_the_shell_for_the_server_and_for_its_configuration() {
        let plan = plan("archive yes\nwal_included true\n", Goal::Told);
        let text = recovery(&plan, &None, &get(r"/etc/100% it's\here.conf"), false);
        let setting = text.lines().filter_map(guc::parse_line).find(|s| s.name == "restore_command").unwrap();
        assert_eq!(
            setting.value,
            r"PGV_CLUSTER=main /usr/bin/pgv-wal-get -c '/etc/100%% it'\''s\here.conf' %f %p"
        );
    }

    #[test]
    fn what_the_archive_is_asked_for() {
        let command = |lines: &str, goal, isolated| restore_command(&plan(lines, goal), &get("/c"), isolated);
        assert_eq!(command("archive no\nwal_included true\n", Goal::Told, false), "false");
        let included = "archive yes\nwal_included true\n";
        assert!(command(included, Goal::Immediate, false).starts_with("case %f in *.history) PGV_CLUSTER"));
        assert_eq!(command(included, Goal::Immediate, true), "false");
        let without = command("archive yes\nwal_included false\n", Goal::Immediate, true);
        assert!(without.ends_with("-c /c --until S %f %p"), "{without}");
    }

    #[test]
    fn a_replica_follows_its_primary_and_no_failure_of_the_archive_stops_it() {
        let conninfo = r"host=db1 password='it\'s \\ secret' application_name='a ''b'";
        let escaped = crate::catalog::escape(conninfo.as_bytes());
        let lines =
            format!("archive yes\nwal_included true\nprimary_conninfo {escaped}\nprimary_slot_name node_2\n");
        let plan = plan(&lines, Goal::Told);
        let recovery = recovery(&plan, &None, &get("/c"), false);
        let block = undecided(&plan, &recovery, &Decisions::default());
        let value = |name: &str| {
            let set = block.lines().filter_map(guc::parse_line).rfind(|setting| setting.name == name);
            set.unwrap_or_else(|| panic!("no {name} in {block}")).value
        };
        assert_eq!(value("primary_conninfo"), conninfo);
        assert_eq!(
            (value("primary_slot_name"), value("hot_standby")),
            ("node_2".to_owned(), "on".to_owned())
        );
        assert_eq!(value("recovery_target_timeline"), "latest");
        for empty in ["", "_lsn", "_name", "_time", "_xid"].map(|end| format!("recovery_target{end}")) {
            assert_eq!(value(&empty), "");
        }
        assert_eq!(value("recovery_end_command"), "", "the archive is needed after a failover, too");
        assert!(value("restore_command").ends_with("-c /c %f %p || exit 1"), "{block}");
        assert!(!block.contains("archive_mode"), "it archives after a failover");
        assert_eq!(without_blocks(block.as_bytes()), b"");
    }

    #[test]
    fn an_earlier_restores_blocks_go() {
        let decisions = Decisions { stay: vec![("log_directory", "log".to_owned())], ..Decisions::default() };
        let plan = plan("archive no\nwal_included true\n", Goal::Told);
        let blocks = places(&decisions, Some(5433))
            + &undecided(&plan, &recovery(&plan, &None, &get("/c"), false), &decisions);
        assert!(blocks.contains("port = 5433\n") && blocks.ends_with("# end\n"));
        let own = "work_mem = '1MB'\n";
        assert_eq!(
            without_blocks(format!("{own}{blocks}{own}").as_bytes()),
            (own.to_owned() + own).as_bytes()
        );
        assert_eq!(without_blocks(b"x = 1"), b"x = 1\n");
    }
}
