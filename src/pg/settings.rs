//! Every setting of PostgreSQL 13 to 19 that names a place, an address, a slot, another server, a job or a library, and
//! what a copy does with it: nothing of the original's surroundings may act in the copy, and what this machine lacks must
//! not keep it from starting. What is not listed here names nothing outside the data directory.

use crate::pg::major;
use Rule::*;

/// What a copy does with one setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// As it is.
    Keep,
    /// This value, whatever it is.
    Always(&'static str),
    /// This value, if it is set to something else.
    Reset(&'static str),
    /// The second value, if it is set to the first.
    Replace(&'static str, &'static str),
    /// This value, if it names a place outside the data directory.
    Inside(&'static str),
    /// This value, if it names more than a file.
    FileName(&'static str),
    /// A file of the configuration: it lies where the copy's lie.
    Place,
    /// Those that this machine has; without any this value.
    Directories(&'static str),
    Addresses(&'static str),
    Group,
    /// Those that are installed here.
    Libraries,
    /// `C`, if this machine has no such locale.
    Locale,
    /// `ssl` is turned off if the file cannot be read.
    SslFile(&'static str),
    Ssl,
    /// Recovery's own: written from what is asked for.
    Recovery,
    /// As high as recovery needs it (`Control::needed_settings`).
    Limit,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// Major versions that know it, first and last.
    pub majors: (u32, u32),
    pub rule: Rule,
    /// The rule holds until somebody has decided what the copy is to be; else for as long as it is a copy.
    pub undecided: bool,
    pub why: &'static str,
}

const LAST: u32 = major::NEWEST;

const fn row(name: &'static str, rule: Rule, why: &'static str) -> Row {
    Row { name, majors: (13, LAST), rule, undecided: false, why }
}

const fn until_decided(name: &'static str, rule: Rule, why: &'static str) -> Row {
    Row { undecided: true, ..row(name, rule, why) }
}

const fn of(first: u32, last: u32, row: Row) -> Row {
    Row { majors: (first, last), ..row }
}

pub const ROWS: &[Row] = &[
    row("data_directory", Place, "the original's: the copy's configuration would start the original"),
    row("config_file", Place, "of the command line only"),
    row("hba_file", Place, "the copy reads its own"),
    row("ident_file", Place, "the copy reads its own"),
    of(19, LAST, row("hosts_file", Place, "the copy reads its own")),
    row("external_pid_file", Place, "the copy would overwrite the original's, and remove it when it stops"),
    row("log_directory", Inside("log"), "the copy's messages would be mixed with the original's"),
    row("log_filename", FileName("postgresql-%Y-%m-%d_%H%M%S.log"), "it may lead out of log_directory"),
    of(
        13,
        14,
        row("stats_temp_directory", Inside("pg_stat_tmp"), "two servers would remove each other's files"),
    ),
    row(
        "unix_socket_directories",
        Directories("/tmp"),
        "beside the original the port differs; a missing one stops the start",
    ),
    row("unix_socket_group", Group, "a group that is not known here stops the start"),
    row("listen_addresses", Addresses("localhost"), "addresses of another machine alone stop the start"),
    row("port", Keep, "given with --port"),
    row("bonjour", Reset("off"), "the network would see two servers under one name"),
    row("bonjour_name", Keep, "of no effect without bonjour"),
    row("ssl", Ssl, "without its files the server does not start"),
    row("ssl_cert_file", SslFile("server.crt"), "see ssl"),
    row("ssl_key_file", SslFile("server.key"), "see ssl"),
    row("ssl_ca_file", SslFile(""), "see ssl"),
    row("ssl_crl_file", SslFile(""), "see ssl"),
    of(14, LAST, row("ssl_crl_dir", SslFile(""), "see ssl")),
    row("ssl_dh_params_file", SslFile(""), "see ssl"),
    row("ssl_passphrase_command", Keep, "runs on this machine, and opens the copy's own key"),
    row("krb_server_keyfile", Keep, "read when a client comes with GSSAPI, never written"),
    row("dynamic_library_path", Keep, "read only; what it lacks is found by the rule of libraries"),
    of(18, LAST, row("extension_control_path", Keep, "read only")),
    row(
        "shared_preload_libraries",
        Libraries,
        "one that is not installed stops the start; jobs must not run",
    ),
    row("session_preload_libraries", Libraries, "one that is not installed refuses every connection"),
    row("local_preload_libraries", Libraries, "one that is not installed refuses every connection"),
    of(
        18,
        LAST,
        row("oauth_validator_libraries", Libraries, "one that is not installed refuses connections"),
    ),
    row("lc_messages", Locale, "one that is not installed here stops the start"),
    row("lc_monetary", Locale, "as above"),
    row("lc_numeric", Locale, "as above"),
    row("lc_time", Locale, "as above"),
    row("jit_provider", Keep, "without it there is no jit, and no error"),
    until_decided("archive_mode", Always("off"), "the copy would archive among the original's segments"),
    row("archive_command", Keep, "of no effect without archive_mode"),
    of(15, LAST, row("archive_library", Keep, "of no effect without archive_mode")),
    row("archive_timeout", Keep, "of no effect without archive_mode"),
    row("restore_command", Recovery, "reads the WAL by pgv-wal-get"),
    row("archive_cleanup_command", Recovery, "would remove the original's archive"),
    row("recovery_end_command", Recovery, "a job of the original's; pgv's removes the settings of recovery"),
    row("recovery_min_apply_delay", Recovery, "recovery would wait"),
    row("recovery_target", Recovery, "a target of an earlier recovery"),
    row("recovery_target_action", Recovery, "as above"),
    row("recovery_target_inclusive", Recovery, "as above"),
    row("recovery_target_lsn", Recovery, "as above"),
    row("recovery_target_name", Recovery, "as above"),
    row("recovery_target_time", Recovery, "as above"),
    row("recovery_target_timeline", Recovery, "as above"),
    row("recovery_target_xid", Recovery, "as above"),
    until_decided("primary_conninfo", Always(""), "the copy would follow the original's primary"),
    until_decided("primary_slot_name", Always(""), "the copy would use up a slot of the original's primary"),
    of(
        13,
        15,
        until_decided("promote_trigger_file", Reset(""), "a file of the original's would end the recovery"),
    ),
    until_decided(
        "synchronous_standby_names",
        Reset(""),
        "the copy has no standby, and its first commit would wait for one",
    ),
    of(
        17,
        LAST,
        until_decided(
            "synchronized_standby_slots",
            Reset(""),
            "logical decoding would wait for slots that the copy has not",
        ),
    ),
    of(17, LAST, until_decided("sync_replication_slots", Reset("off"), "reads the slots of a primary")),
    until_decided(
        "max_logical_replication_workers",
        Always("0"),
        "a subscription would take the original's changes from its slot",
    ),
    row("hot_standby_feedback", Keep, "of no effect without primary_conninfo"),
    row("wal_receiver_create_temp_slot", Keep, "of no effect without primary_conninfo"),
    row("wal_receiver_status_interval", Keep, "of no effect without primary_conninfo"),
    row("wal_receiver_timeout", Keep, "of no effect without primary_conninfo"),
    row("hot_standby", Keep, "whether the copy is read during recovery is as it was"),
    row("cluster_name", Keep, "a word in the list of processes"),
    row("event_source", Keep, "of Windows only"),
    row("syslog_ident", Keep, "messages have the process's number; nothing of the original's is changed"),
    row("syslog_facility", Keep, "as above"),
    row("log_destination", Keep, "a kind of log, not a place"),
    row("huge_pages", Replace("on", "try"), "without enough of them here the server does not start"),
    of(
        18,
        LAST,
        row(
            "io_method",
            Replace("io_uring", "worker"),
            "not every kernel allows it, and then the server does not start",
        ),
    ),
    row("dynamic_shared_memory_type", Keep, "named by the data directory"),
    row("shared_memory_type", Keep, "named by the data directory"),
    row("temp_tablespaces", Keep, "the copy has tablespaces of its own"),
    row("default_tablespace", Keep, "the copy has tablespaces of its own"),
    row("max_connections", Limit, "recovery needs it as high as it was when the WAL was written"),
    row("max_worker_processes", Limit, "as above"),
    row("max_wal_senders", Limit, "as above"),
    row("max_prepared_transactions", Limit, "as above"),
    row("max_locks_per_transaction", Limit, "as above"),
];

/// The rows that a major version knows.
pub fn rows(major: u32) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| (row.majors.0..=row.majors.1).contains(&major))
}

/// What a library does by itself, and how a copy keeps it from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// It is not loaded until somebody has decided.
    NotLoaded,
    /// The tables need it; this setting stops its workers.
    Stopped(&'static str, &'static str),
}

/// Libraries that run jobs or reach other servers.
pub const JOBS: &[(&str, Job)] = &[
    ("pg_cron", Job::NotLoaded),
    ("pg_partman_bgw", Job::NotLoaded),
    ("pg_squeeze", Job::NotLoaded),
    ("pglogical", Job::NotLoaded),
    ("bdr", Job::NotLoaded),
    ("spock", Job::NotLoaded),
    ("pg_failover_slots", Job::NotLoaded),
    ("powa", Job::NotLoaded),
    ("pg_net", Job::NotLoaded),
    ("repmgr", Job::NotLoaded),
    ("citus", Job::NotLoaded),
    ("timescaledb", Job::Stopped("timescaledb.max_background_workers", "0")),
];

/// The name of a library as it may be written: with a directory, with its ending.
pub fn library_name(written: &str) -> &str {
    let name = written.rsplit('/').next().unwrap_or(written);
    name.strip_suffix(".so").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::control::Control;
    use std::collections::BTreeSet;

    #[test]
    fn each_setting_has_one_row_with_a_reason() {
        let mut names = BTreeSet::new();
        for row in ROWS {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert!(row.why.len() > 5 && row.majors.0 <= row.majors.1, "{}", row.name);
        }
    }

    /// A setting that a server does not know keeps it from starting.
    #[test]
    fn no_major_is_given_what_it_does_not_know() {
        let has = |major, name: &str| rows(major).any(|row| row.name == name);
        assert!(has(13, "promote_trigger_file") && !has(16, "promote_trigger_file"));
        assert!(has(14, "stats_temp_directory") && !has(15, "stats_temp_directory"));
        assert!(!has(16, "sync_replication_slots") && has(17, "synchronized_standby_slots"));
    }

    #[test]
    fn limits_are_those_of_the_control_file() {
        let mut bytes = vec![0; 8192];
        bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..288]);
        bytes[288..292].copy_from_slice(&crc.to_le_bytes());
        let needed = Control::parse(bytes).unwrap().needed_settings().map(|(name, _)| name);
        let limits: Vec<_> = ROWS.iter().filter(|row| row.rule == Rule::Limit).map(|row| row.name).collect();
        assert_eq!(limits, needed);
    }

    #[test]
    fn libraries_by_any_spelling() {
        for written in ["pg_cron", "$libdir/pg_cron", "/usr/lib/pg_cron.so", "pg_cron.so"] {
            assert_eq!(library_name(written), "pg_cron");
        }
    }
}
