//! What a restored directory needs before a server may start in it: the configuration that the backup brought, in the
//! places that the copy reads, and settings of recovery that keep the original's surroundings out of it.

mod configuration;
mod debian;
mod decide;
mod file;
mod libraries;
mod locales;
mod plan;
mod request;
mod selection;
mod target;
mod text;

pub use debian::refuse_cluster;
pub use libraries::libraries_of;
pub use plan::{Action, Goal, Plan, Primary};
pub use request::{Home, Request};
pub use selection::skipped;
pub use text::Get;

use crate::catalog::member;
use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Result};
use crate::pg::conf;
use crate::pg::control::{self, Control};
use crate::report;
use configuration::Files;
use file::{AUTO_CONF, remove, replace};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `pg_control` while the directory must not be started.
const HELD: &str = member::HELD;
const RECOVERY: &str = "recovery.signal";
const STANDBY: &str = "standby.signal";
/// `pgv-backup` and `pgv-check` look at it.
const UNDECIDED: &str = member::ARCHIVING_UNDECIDED;

/// Writes all of it, each file whole or not at all; may be done again. Returns what a script says about it.
pub fn prepare(request: &Request) -> Result<Lines> {
    let root = &request.directory;
    refuse_bytes(request)?;
    let major = major(root)?;
    let control = control(root)?;
    let target = target::target(root, &request.plan, &control)?;
    if let Home::Isolated(place) = &request.home {
        return isolated(
            request,
            place,
            &text::recovery(&request.plan, &target, &request.get, true),
            &control,
        );
    }
    let files = Files::find(root, &request.home)?;
    let facts = decide::Facts {
        root,
        original: files.original.as_deref(),
        major,
        libraries: request.libraries.as_deref(),
        locales: locales::Locales::ask(),
        keep_archiving: request.keep_archiving,
        is_replica: request.plan.primary.is_some(),
    };
    let mut decisions = decide::decide(&facts, &files.settings, &control);
    if selection::read(root)?.is_some() {
        // It would try databases that refuse connections, again and again.
        decisions.stay.push(("autovacuum", "off".to_owned()));
    }
    files.write(request)?;
    let mut auto = files.auto_conf.clone();
    auto.extend(text::places(&decisions, request.port).into_bytes());
    let recovery = text::recovery(&request.plan, &target, &request.get, false);
    auto.extend(text::undecided(&request.plan, &recovery, &decisions).into_bytes());
    replace(&root.join(AUTO_CONF), &auto)?;
    let undecided = root.join(UNDECIDED);
    match request.keep_archiving || facts.is_replica {
        true => remove(&undecided)?,
        false => replace(&undecided, b"")?,
    }
    signal(root, facts.is_replica)?;
    decisions.warnings.iter().for_each(report::warn);
    Ok(files.lines())
}

/// Raises what recovery was found to need higher than it is set. Returns `raised NAME VALUE` for each.
pub fn raise(root: &Path, home: &Home) -> Result<Lines> {
    let mut settings = Files::find(root, home)?.settings;
    let control = control(root)?;
    let mut lines = Lines::new();
    let mut auto = std::fs::read(root.join(AUTO_CONF)).during_path("read", &root.join(AUTO_CONF))?;
    // With those that were raised before the start, which are no part of the configuration that was found.
    let written = conf::settings(&auto).into_iter();
    settings.extend(written.map(|(name, value)| (name, value.to_string_lossy().into_owned())));
    for (name, value) in decide::limits(&settings, &control) {
        auto.extend(crate::pg::guc::line(name, &value).into_bytes());
        lines.add("raised", format!("{name} {value}"));
    }
    if !lines.as_str().is_empty() {
        replace(&root.join(AUTO_CONF), &auto)?;
    }
    Ok(lines)
}

/// A command and a minimal configuration are text: a path of other bytes would name another file there.
fn refuse_bytes(request: &Request) -> Result<()> {
    let place = match &request.home {
        Home::Isolated(place) => Some(place),
        _ => None,
    };
    let written = [Some(&request.get.program), Some(&request.get.config), place];
    refuse_unnamed(written.into_iter().flatten().map(PathBuf::as_path))
}

/// Refuses a path that no setting can name.
pub fn refuse_unnamed<'a>(mut paths: impl Iterator<Item = &'a Path>) -> Result<()> {
    match paths.find(|path| path.to_str().is_none()) {
        None => Ok(()),
        Some(path) => {
            let path = crate::catalog::escape(path.as_os_str().as_bytes());
            Err(Error::usage(format!("{path}: the path is not UTF-8, so no setting can name it"))
                .hint("rename it, or give a symbolic link to it whose path is UTF-8"))
        }
    }
}

fn isolated(request: &Request, place: &Path, recovery: &str, control: &Control) -> Result<Lines> {
    replace(&place.join("postgresql.conf"), text::isolated(place, recovery, control).as_bytes())?;
    replace(&place.join("pg_hba.conf"), b"local all all trust\n")?;
    replace(&place.join("pg_ident.conf"), b"")?;
    replace(&request.directory.join(AUTO_CONF), b"")?;
    signal(&request.directory, false)?;
    let mut lines = Lines::new();
    lines.add_path("configuration_used", &place.join("postgresql.conf"));
    Ok(lines)
}

/// The file that says what the server does with its WAL. A promotion removes only the one that counts, so there is never
/// another: with it the next start would be a recovery again.
fn signal(root: &Path, is_replica: bool) -> Result<()> {
    let (wanted, other) = if is_replica { (STANDBY, RECOVERY) } else { (RECOVERY, STANDBY) };
    let path = root.join(wanted);
    if !path.try_exists().during_path("look at", &path)? {
        replace(&path, b"")?;
    }
    remove(&root.join(other))
}

/// Of the control file, whether it is in place or held back.
fn control(root: &Path) -> Result<Control> {
    let held = root.join(HELD);
    match std::fs::read(&held) {
        Ok(bytes) if !bytes.is_empty() => Control::parse(bytes).map_err(|e| e.context(held.display())),
        _ => Control::read(root).map_err(|e| {
            e.hint(format!("{} is not a restored directory: it has no {}", root.display(), control::PATH))
        }),
    }
}

fn major(root: &Path) -> Result<u32> {
    let path = root.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).during_path("read", &path)?;
    text.trim().parse().map_err(|_| Error::damaged(format!("{}: not a major version", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::ffi::OsStr;
    use std::path::PathBuf;

    #[test]
    fn what_was_raised_before_the_start_is_not_raised_again() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let write = |name: &str, content: &[u8]| {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), content).unwrap();
        };
        // It needs max_locks_per_transaction = 128.
        let path = format!("{}/tests/control/19", env!("CARGO_MANIFEST_DIR"));
        let mut bytes = std::fs::read(path).unwrap();
        bytes.resize(control::FILE_SIZE, 0);
        write("global/pg_control", &bytes);
        write("PG_VERSION", b"19\n");
        write("postgresql.conf", b"max_connections = 100\n");
        std::fs::create_dir(root.join("pgv")).unwrap();
        write(AUTO_CONF, b"");
        let raised = || raise(root, &Home::Data).unwrap().as_str().to_owned();
        assert_eq!(raised(), "raised max_locks_per_transaction 128\n");
        write(AUTO_CONF, b"");
        let plan =
            "label x\nrecovery_target_timeline latest\narchive no\nwal_included true\nbackup_wal_last y\n";
        let request = Request {
            directory: root.to_owned(),
            plan: Plan::parse(plan, Goal::Told, Action::Promote).unwrap(),
            get: Get { program: "/g".into(), config: "/c".into(), cluster: "x".to_owned() },
            home: Home::Data,
            port: None,
            pid_file: None,
            keep_archiving: false,
            libraries: None,
        };
        prepare(&request).unwrap();
        assert!(
            std::fs::read_to_string(root.join(AUTO_CONF))
                .unwrap()
                .contains("max_locks_per_transaction = '128'")
        );
        assert_eq!(raised(), "");
    }

    #[test]
    fn a_path_that_no_setting_can_name_is_refused_before_anything_is_written() {
        let odd = PathBuf::from(OsStr::from_bytes(b"/etc/pgv/caf\xe9.conf"));
        let plan =
            "label x\nrecovery_target_timeline latest\narchive no\nwal_included true\nbackup_wal_last y\n";
        let request = |config: &Path, home| Request {
            directory: PathBuf::from("/nowhere"),
            plan: Plan::parse(plan, Goal::Told, Action::Promote).unwrap(),
            get: Get { program: "/g".into(), config: config.to_owned(), cluster: "x".to_owned() },
            home,
            port: None,
            pid_file: None,
            keep_archiving: false,
            libraries: None,
        };
        for request in [request(&odd, Home::Data), request(Path::new("/c"), Home::Isolated(odd.clone()))] {
            let error = prepare(&request).unwrap_err();
            assert_eq!(error.kind, Kind::Usage);
            assert!(error.to_string().contains("/etc/pgv/caf\\xe9.conf: the path is not UTF-8"), "{error}");
        }
    }
}
