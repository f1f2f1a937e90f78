//! What a restored directory needs before a server may start in it: the configuration that the backup brought, in the
//! places that the copy reads, and settings of recovery that keep the original's surroundings out of it.

mod configuration;
mod decide;
mod libraries;
mod locales;
mod plan;
mod target;
mod text;

pub use plan::{Action, Goal, Plan};
pub use text::Get;

use crate::cli::lines::Lines;
use crate::error::{Error, IoContext, Result};
use crate::io::AtomicFile;
use crate::pg::control::{self, Control};
use crate::report;
use configuration::Files;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `pg_control` while the directory must not be started.
const HELD: &str = "pgv/held";
const AUTO_CONF: &str = "postgresql.auto.conf";
/// `pgv-backup` and `pgv-check` look at it.
const UNDECIDED: &str = "pgv/archiving-undecided";

/// Where the copy's configuration lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// In the data directory.
    Data,
    /// In this directory, which is made for it.
    New(PathBuf),
    /// In this directory, where it is already: it stays as it is.
    Existing(PathBuf),
    /// In this directory, which holds the server's socket too: a minimal one, and nothing of the original's.
    Isolated(PathBuf),
}

pub struct Request {
    /// Absolute.
    pub directory: PathBuf,
    pub plan: Plan,
    pub get: Get,
    pub home: Home,
    pub port: Option<u16>,
    pub pid_file: Option<PathBuf>,
    pub keep_archiving: bool,
    /// Where the server's libraries are: `None` if that is not known, and then none is missing.
    pub libraries: Option<PathBuf>,
}

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
    };
    let decisions = decide::decide(&facts, &files.settings, &control);
    files.write(request)?;
    let mut auto = files.auto_conf.clone();
    auto.extend(text::places(&decisions, request.port).into_bytes());
    let recovery = text::recovery(&request.plan, &target, &request.get, false);
    auto.extend(text::undecided(&request.plan.label, &recovery, &decisions).into_bytes());
    replace(&root.join(AUTO_CONF), &auto)?;
    let undecided = root.join(UNDECIDED);
    match request.keep_archiving {
        true => remove(&undecided)?,
        false => replace(&undecided, b"")?,
    }
    decisions.warnings.iter().for_each(report::warn);
    Ok(files.lines())
}

/// Raises what recovery was found to need higher than it is set. Returns `raised NAME VALUE` for each.
pub fn raise(root: &Path, home: &Home) -> Result<Lines> {
    let files = Files::find(root, home)?;
    let control = control(root)?;
    let mut lines = Lines::new();
    let mut auto = std::fs::read(root.join(AUTO_CONF)).during_path("read", &root.join(AUTO_CONF))?;
    for (name, value) in decide::limits(&files.settings, &control) {
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
    match written.into_iter().flatten().find(|path| path.to_str().is_none()) {
        None => Ok(()),
        Some(path) => {
            let path = crate::catalog::escape(path.as_os_str().as_bytes());
            Err(Error::usage(format!("{path}: the path is not UTF-8, and no setting can name it"))
                .hint("give it a name in UTF-8, or a link to it"))
        }
    }
}

fn isolated(request: &Request, place: &Path, recovery: &str, control: &Control) -> Result<Lines> {
    replace(&place.join("postgresql.conf"), text::isolated(place, recovery, control).as_bytes())?;
    replace(&place.join("pg_hba.conf"), b"local all all trust\n")?;
    replace(&place.join("pg_ident.conf"), b"")?;
    replace(&request.directory.join(AUTO_CONF), b"")?;
    let mut lines = Lines::new();
    lines.add_path("configuration_used", &place.join("postgresql.conf"));
    Ok(lines)
}

/// Of the control file, whether it is in place or held back.
fn control(root: &Path) -> Result<Control> {
    let held = root.join(HELD);
    match std::fs::read(&held) {
        Ok(bytes) if !bytes.is_empty() => Control::parse(bytes).map_err(|e| e.context(held.display())),
        _ => Control::read(root).map_err(|e| {
            e.hint(format!("{} is no restored directory: no {}", root.display(), control::PATH))
        }),
    }
}

fn major(root: &Path) -> Result<u32> {
    let path = root.join("PG_VERSION");
    let text = std::fs::read_to_string(&path).during_path("read", &path)?;
    text.trim().parse().map_err(|_| Error::damaged(format!("{}: not a major version", path.display())))
}

/// Configuration may hold passwords.
const MODE: u32 = 0o600;

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path, MODE)?;
    match file.write_all(content).during_path("write", path) {
        Ok(()) => file.commit(true),
        Err(error) => {
            file.abandon();
            Err(error)
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.during_path("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use std::ffi::OsStr;

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
