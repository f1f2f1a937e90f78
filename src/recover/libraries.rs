//! Whether a library that is to be preloaded is installed here (dfmgr.c, `load_libraries` in miscinit.c).

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the server's own language lies, all its libraries lie. `None`: not known.
pub fn libraries_of(programs: &Path) -> Option<PathBuf> {
    let told = Command::new(programs.join("pg_config")).arg("--pkglibdir").output().ok();
    let told = told.and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|text| PathBuf::from(text.trim_end())).filter(|path| path.is_absolute());
    let beside = programs.parent().map(|parent| parent.join("lib"));
    let debian = beside.as_ref().map(|lib| lib.join("postgresql"));
    [told, beside, debian].into_iter().flatten().find(|place| place.join("plpgsql.so").exists())
}

pub struct Installed {
    /// `None`: not known, and then no library is missing.
    directories: Option<Vec<PathBuf>>,
    /// `$libdir`.
    own: PathBuf,
    /// Names without a directory are those of `$libdir/plugins`.
    are_plugins: bool,
}

impl Installed {
    /// `own`: the server's directory of libraries; `path`: dynamic_library_path.
    pub fn new(own: Option<&Path>, path: Option<&str>, are_plugins: bool) -> Self {
        let place = |text: &str| -> PathBuf {
            match (text.strip_prefix("$libdir"), own) {
                (Some(rest), Some(own)) => own.join(rest.trim_start_matches('/')),
                _ => PathBuf::from(text),
            }
        };
        let path = path.filter(|path| !path.is_empty()).unwrap_or("$libdir");
        Installed {
            directories: own.map(|_| path.split(':').map(place).collect()),
            own: own.unwrap_or(Path::new("/")).to_owned(),
            are_plugins,
        }
    }

    /// Only what is proved to be absent is missing.
    pub fn has(&self, library: &str) -> bool {
        let Some(directories) = &self.directories else { return true };
        let library = match library.contains('/') {
            false if self.are_plugins => format!("$libdir/plugins/{library}"),
            _ => library.to_owned(),
        };
        let candidates: Vec<PathBuf> = match (library.strip_prefix("$libdir/"), library.contains('/')) {
            (Some(rest), _) => vec![self.own.join(rest)],
            (None, true) => vec![PathBuf::from(&library)],
            (None, false) => directories.iter().map(|directory| directory.join(&library)).collect(),
        };
        candidates.iter().any(|path| {
            let mut ending = path.clone().into_os_string();
            ending.push(".so");
            may_be_there(path) || may_be_there(Path::new(&ending))
        })
    }
}

fn may_be_there(path: &Path) -> bool {
    !matches!(std::fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_lie_where_the_language_does() {
        let place = tempfile::tempdir().unwrap();
        let programs = place.path().join("bin");
        std::fs::create_dir_all(place.path().join("lib/postgresql")).unwrap();
        assert_eq!(libraries_of(&programs), None);
        std::fs::write(place.path().join("lib/postgresql/plpgsql.so"), "").unwrap();
        assert_eq!(libraries_of(&programs), Some(place.path().join("lib/postgresql")));
    }

    #[test]
    fn where_a_server_looks() {
        let own = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        std::fs::create_dir(own.path().join("plugins")).unwrap();
        for path in [own.path().join("a.so"), own.path().join("plugins/p.so"), other.path().join("b.so")] {
            std::fs::write(path, "").unwrap();
        }
        let path = format!("$libdir:{}", other.path().display());
        let installed = Installed::new(Some(own.path()), Some(&path), false);
        for name in ["a", "a.so", "$libdir/a", "b", "$libdir/plugins/p"] {
            assert!(installed.has(name), "{name}");
        }
        assert!(installed.has(&other.path().join("b").display().to_string()));
        for name in ["c", "$libdir/b", "p", "/nowhere/a"] {
            assert!(!installed.has(name), "{name}");
        }
        assert!(!Installed::new(Some(own.path()), None, false).has("b"));
        assert!(Installed::new(Some(own.path()), None, true).has("p"));
        assert!(Installed::new(None, None, false).has("anything"));
    }
}
