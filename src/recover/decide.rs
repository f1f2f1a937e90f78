//! The rules of `pg::settings` on the settings that the copy would have.

use crate::pg::control::Control;
use crate::pg::guc;
use crate::pg::settings::{self, JOBS, Job, Row, Rule};
use crate::recover::libraries::Installed;
use crate::recover::locales::Locales;
use nix::unistd::Group;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::TcpListener;
use std::path::{Component, Path};

/// Names in lower case, and what they are set to at last.
pub type Settings = BTreeMap<String, String>;

pub struct Facts<'a> {
    pub root: &'a Path,
    /// The original's data directory.
    pub original: Option<&'a Path>,
    pub major: u32,
    pub libraries: Option<&'a Path>,
    pub locales: Locales,
    pub keep_archiving: bool,
    /// It goes on with the cluster's work after a failover, so nothing waits for a decision.
    pub is_replica: bool,
}

#[derive(Debug, Default)]
pub struct Decisions {
    /// For as long as it is a copy.
    pub stay: Vec<(&'static str, String)>,
    /// Until somebody has decided.
    pub undecided: Vec<(&'static str, String)>,
    /// What a person must know.
    pub warnings: Vec<String>,
    /// Of settings; a warning names each of them.
    pub missing_locales: BTreeSet<String>,
}

pub fn decide(facts: &Facts<'_>, settings: &Settings, control: &Control) -> Decisions {
    let mut decisions = Decisions::default();
    for row in settings::rows(facts.major) {
        decisions.row(facts, settings, row);
    }
    decisions.warn_of_locales(settings);
    decisions.stay.extend(limits(settings, control));
    decisions
}

/// What recovery needs higher than it is.
pub fn limits(settings: &Settings, control: &Control) -> Vec<(&'static str, String)> {
    let built_in = [100, 8, 10, 0, 64];
    let needed = control.needed_settings().into_iter().zip(built_in);
    let lower = needed.filter(|((name, needed), built_in)| {
        settings.get(*name).map_or(Some(*built_in), |value| value.parse().ok()).unwrap_or(0) < *needed
    });
    lower.map(|((name, needed), _)| (name, needed.to_string())).collect()
}

impl Decisions {
    fn add(&mut self, row: &Row, value: impl Into<String>) {
        let list = if row.undecided { &mut self.undecided } else { &mut self.stay };
        list.push((row.name, value.into()));
    }

    fn warn(&mut self, what: String) {
        self.warnings.push(what);
    }

    fn row(&mut self, facts: &Facts<'_>, settings: &Settings, row: &Row) {
        let set = settings.get(row.name).map(String::as_str);
        if row.undecided && facts.is_replica {
            return;
        }
        match (row.rule, set) {
            (Rule::Always(_), _) if row.name == "archive_mode" && facts.keep_archiving => {}
            (Rule::Always(value), _) => self.add(row, value),
            (Rule::Reset(value), Some(set)) if !is_same(set, value) => self.add(row, value),
            (Rule::Replace(from, to), Some(set)) if is_same(set, from) => self.add(row, to),
            (Rule::Inside(value), Some(set)) if !is_inside(facts, set) => self.add(row, value),
            (Rule::FileName(value), Some(set)) if set.contains('/') => self.add(row, value),
            (Rule::Directories(value), Some(set)) => self.directories(row, set, value),
            (Rule::Addresses(value), Some(set)) => self.addresses(row, set, value),
            (Rule::Group, Some(set)) if !set.is_empty() && matches!(Group::from_name(set), Ok(None)) => {
                self.warn(format!(
                    "unix_socket_group = {set}: no such group on this machine; the copy does not set it"
                ));
                self.add(row, "");
            }
            (Rule::Libraries, Some(set)) => self.libraries(facts, settings, row, set),
            (Rule::Locale, Some(set)) if !facts.locales.has(set) => {
                self.missing_locales.insert(set.to_owned());
                self.add(row, "C");
            }
            (Rule::Ssl, Some(set)) if guc::is_on(set) => self.ssl(facts, settings, row),
            _ => {}
        }
    }

    /// One warning for each: a database's own locale is in its catalog, where no setting helps.
    fn warn_of_locales(&mut self, settings: &Settings) {
        for locale in std::mem::take(&mut self.missing_locales) {
            let has = |row: &&Row| row.rule == Rule::Locale && settings.get(row.name) == Some(&locale);
            let names: Vec<_> = settings::ROWS.iter().filter(has).map(|row| row.name).collect();
            self.warn(format!(
                "{}: no locale {locale} on this machine (locale -a); the copy uses C, and a database with \
                 this collation refuses connections until the locale is installed",
                names.join(", ")
            ));
        }
    }

    fn directories(&mut self, row: &Row, set: &str, instead: &str) {
        let items = guc::list(set);
        let (there, missing): (Vec<_>, Vec<_>) =
            items.into_iter().partition(|item| item.starts_with('@') || Path::new(item).is_dir());
        if missing.is_empty() {
            return;
        }
        let kept = if there.is_empty() { instead.to_owned() } else { guc::join(&there) };
        self.warn(format!(
            "{}: no directory {} on this machine; the copy uses {kept}",
            row.name,
            missing.join(", ")
        ));
        self.add(row, kept);
    }

    fn addresses(&mut self, row: &Row, set: &str, instead: &str) {
        let (here, elsewhere): (Vec<_>, Vec<_>) = guc::list(set).into_iter().partition(|item| is_here(item));
        if elsewhere.is_empty() {
            return;
        }
        let kept = if here.is_empty() { instead.to_owned() } else { guc::join(&here) };
        self.warn(format!(
            "{}: {} is not an address of this machine; the copy listens on {kept}",
            row.name,
            elsewhere.join(", ")
        ));
        self.add(row, kept);
    }

    fn libraries(&mut self, facts: &Facts<'_>, settings: &Settings, row: &Row, set: &str) {
        let path = settings.get("dynamic_library_path").map(String::as_str);
        let installed = Installed::new(facts.libraries, path, row.name == "local_preload_libraries");
        let all = guc::list(set);
        let (there, missing): (Vec<_>, Vec<_>) = all.into_iter().partition(|library| installed.has(library));
        if !missing.is_empty() {
            self.warn(format!(
                "{}: {} is not installed on this machine; the copy does not load it",
                row.name,
                missing.join(", ")
            ));
            self.add(row, guc::join(&there));
        }
        if facts.is_replica {
            return;
        }
        let job = |library: &String| {
            JOBS.iter().find(|(name, _)| *name == settings::library_name(library)).map(|(_, job)| *job)
        };
        for library in &there {
            if let Some(Job::Stopped(name, value)) = job(library) {
                self.undecided.push((name, value.to_owned()));
            }
        }
        let (jobs, safe): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|library| job(library) == Some(Job::NotLoaded));
        if !jobs.is_empty() {
            self.warn(format!("{}: {} runs jobs; the copy does not load it", row.name, jobs.join(", ")));
            self.undecided.push((row.name, guc::join(&safe)));
        }
    }

    fn ssl(&mut self, facts: &Facts<'_>, settings: &Settings, row: &Row) {
        for file in settings::rows(facts.major) {
            let Rule::SslFile(built_in) = file.rule else { continue };
            let name = settings.get(file.name).map_or(built_in, String::as_str);
            if name.is_empty() {
                continue;
            }
            let path = facts.root.join(name);
            if let Err(error) = std::fs::File::open(&path) {
                self.warn(format!("ssl is off in the copy: {} {}: {error}", file.name, path.display()));
                self.add(row, "off");
                return;
            }
        }
    }
}

fn is_same(set: &str, value: &str) -> bool {
    match value {
        "on" => guc::is_on(set),
        "off" => !guc::is_on(set),
        _ => set.trim().eq_ignore_ascii_case(value),
    }
}

/// Relative to the data directory, or below it; not where the original's lies, unless that is the same.
fn is_inside(facts: &Facts<'_>, set: &str) -> bool {
    let path = Path::new(set);
    if path.components().any(|component| component == Component::ParentDir) || set.is_empty() {
        return set.is_empty();
    }
    let is_below = path.starts_with(facts.root) || path.is_relative();
    is_below && !facts.original.is_some_and(|original| original != facts.root && path.starts_with(original))
}

/// Whether a server on this machine can listen on it, as far as can be told.
fn is_here(address: &str) -> bool {
    if matches!(address, "*" | "localhost") {
        return true;
    }
    match TcpListener::bind((address, 0)) {
        Ok(_) => true,
        // A name that nobody knows has no kind of its own.
        Err(error) => {
            !matches!(error.kind(), io::ErrorKind::AddrNotAvailable) && error.raw_os_error().is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control() -> Control {
        let mut bytes = vec![0; 8192];
        bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
        for (at, value) in [(180, 300u32), (184, 8), (188, 20), (192, 0), (196, 64)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..288]);
        bytes[288..292].copy_from_slice(&crc.to_le_bytes());
        Control::parse(bytes).unwrap()
    }

    fn decided(major: u32, set: &[(&str, &str)], libraries: Option<&Path>) -> Decisions {
        decided_for(false, major, set, libraries)
    }

    fn decided_for(
        is_replica: bool,
        major: u32,
        set: &[(&str, &str)],
        libraries: Option<&Path>,
    ) -> Decisions {
        let settings: Settings =
            set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let facts = Facts {
            root: Path::new("/copy"),
            original: Some(Path::new("/data")),
            major,
            libraries,
            locales: Locales::listed("C\nde_DE.utf8\n"),
            keep_archiving: false,
            is_replica,
        };
        decide(&facts, &settings, &control())
    }

    fn value<'a>(list: &'a [(&str, String)], name: &str) -> Option<&'a str> {
        list.iter().rev().find(|(own, _)| *own == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn nothing_of_the_original_acts_in_the_copy() {
        let set = [
            ("synchronous_standby_names", "walreceiver"),
            ("synchronized_standby_slots", "a"),
            ("log_directory", "/var/log/postgresql"),
            ("log_filename", "../x.log"),
            ("huge_pages", "on"),
            ("bonjour", "yes"),
            ("archive_mode", "always"),
        ];
        let decisions = decided(17, &set, None);
        let stay = |name| value(&decisions.stay, name);
        let undecided = |name| value(&decisions.undecided, name);
        assert_eq!(undecided("synchronous_standby_names"), Some(""));
        assert_eq!(undecided("synchronized_standby_slots"), Some(""));
        assert_eq!(undecided("archive_mode"), Some("off"));
        assert_eq!(undecided("primary_conninfo"), Some(""));
        assert_eq!(stay("log_directory"), Some("log"));
        assert_eq!(stay("log_filename"), Some("postgresql-%Y-%m-%d_%H%M%S.log"));
        assert_eq!((stay("huge_pages"), stay("bonjour")), (Some("try"), Some("off")));
        assert_eq!((stay("max_connections"), stay("max_wal_senders")), (Some("300"), Some("20")));
        assert_eq!(stay("max_worker_processes"), None, "as high as it needs to be");
        // What is as the copy wants it is not written.
        let plain = decided(17, &[("log_directory", "log"), ("huge_pages", "try")], None);
        assert_eq!((value(&plain.stay, "log_directory"), value(&plain.stay, "huge_pages")), (None, None));
        assert_eq!(value(&decided(16, &set, None).undecided, "synchronized_standby_slots"), None);
        assert_eq!(value(&decided(13, &set, None).undecided, "sync_replication_slots"), None);
    }

    #[test]
    fn a_replica_keeps_what_it_needs_after_a_failover() {
        let libraries = tempfile::tempdir().unwrap();
        std::fs::write(libraries.path().join("repmgr.so"), "").unwrap();
        let set = [
            ("archive_mode", "on"),
            ("synchronous_standby_names", "walreceiver"),
            ("sync_replication_slots", "on"),
            ("shared_preload_libraries", "repmgr, nowhere"),
            ("log_directory", "/var/log/postgresql"),
        ];
        let decisions = decided_for(true, 17, &set, Some(libraries.path()));
        assert!(decisions.undecided.is_empty(), "{decisions:?}");
        assert_eq!(value(&decisions.stay, "log_directory"), Some("log"));
        assert_eq!(value(&decisions.stay, "shared_preload_libraries"), Some("repmgr"));
    }

    #[test]
    fn places_inside_are_the_copys_own() {
        for (path, inside) in [
            ("log", true),
            ("/copy/log", true),
            ("", true),
            ("/data/log", false),
            ("/var/log", false),
            ("../log", false),
            ("/copy/../x", false),
        ] {
            let decisions = decided(15, &[("log_directory", path)], None);
            assert_eq!(value(&decisions.stay, "log_directory").is_none(), inside, "{path}");
        }
    }

    #[test]
    fn what_this_machine_lacks_is_left_out_and_named() {
        let libraries = tempfile::tempdir().unwrap();
        for name in ["auto_explain.so", "pg_cron.so", "timescaledb.so"] {
            std::fs::write(libraries.path().join(name), "").unwrap();
        }
        let set = [
            ("shared_preload_libraries", "auto_explain, nowhere, pg_cron, $libdir/timescaledb"),
            ("listen_addresses", "192.0.2.1, localhost"),
            ("unix_socket_directories", "/nowhere/at/all"),
            ("unix_socket_group", "no such group"),
            ("ssl", "on"),
            ("lc_messages", "de_DE.UTF-8"),
            ("lc_time", "en_US.UTF-8"),
            ("lc_numeric", "en_US.UTF-8"),
        ];
        let decisions = decided(15, &set, Some(libraries.path()));
        let stay = |name| value(&decisions.stay, name);
        assert_eq!(
            stay("shared_preload_libraries"),
            Some("auto_explain, pg_cron, $libdir/timescaledb"),
            "{decisions:?}"
        );
        assert_eq!(
            value(&decisions.undecided, "shared_preload_libraries"),
            Some("auto_explain, $libdir/timescaledb")
        );
        assert_eq!(value(&decisions.undecided, "timescaledb.max_background_workers"), Some("0"));
        assert_eq!(stay("listen_addresses"), Some("localhost"));
        assert_eq!(stay("unix_socket_directories"), Some("/tmp"));
        assert_eq!((stay("unix_socket_group"), stay("ssl")), (Some(""), Some("off")));
        assert_eq!((stay("lc_messages"), stay("lc_monetary")), (None, None));
        assert_eq!((stay("lc_time"), stay("lc_numeric")), (Some("C"), Some("C")));
        let warnings = decisions.warnings.join("\n");
        assert_eq!(warnings.matches("no locale en_US.UTF-8 on this machine").count(), 1, "{warnings}");
        for word in [
            "lc_numeric, lc_time: ",
            "nowhere is not installed",
            "pg_cron runs jobs",
            "192.0.2.1",
            "server.crt",
        ] {
            assert!(warnings.contains(word), "no {word} in {warnings}");
        }
        // What cannot be looked at is not missing.
        let unknown = decided(15, &set[..1], None);
        assert_eq!(value(&unknown.stay, "shared_preload_libraries"), None);
    }
}
