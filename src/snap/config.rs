//! Configuration that lies outside the data directory, as Debian's does.

use crate::error::{Error, Result};
use crate::report;
use crate::snap::archive::Attributes;
use crate::snap::copy::{Copier, Lists};
use crate::snap::source::Source;
use std::path::{Path, PathBuf};

/// Files of the configuration that lie outside the data directory, with their names in the stream.
pub fn find(source: &mut Source) -> Result<Vec<(PathBuf, String)>> {
    let Some(session) = &mut source.session else { return Ok(Vec::new()) };
    let main = session.path_setting("config_file")?;
    let directory = main.parent().unwrap_or(Path::new("/")).to_owned();
    let mut paths = vec![main, session.path_setting("hba_file")?, session.path_setting("ident_file")?];
    paths.extend(["environment", "start.conf", "pg_ctl.conf"].map(|name| directory.join(name)));
    if let Ok(entries) = std::fs::read_dir(directory.join("conf.d")) {
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    paths.retain(|path| path.is_file() && !path.starts_with(&source.root));
    paths.sort_unstable();
    paths.dedup();
    let member = |path: &Path| match path.strip_prefix(&directory) {
        Ok(relative) => format!("pgv/config/{}", relative.display()),
        Err(_) => format!("pgv/config/abs{}", path.display()),
    };
    Ok(paths.iter().map(|path| (path.clone(), member(path))).collect())
}

pub fn copy(copier: &mut Copier, config: &[(PathBuf, String)], made_up: Attributes) -> Result<()> {
    for (path, name) in config {
        match std::fs::read(path) {
            Ok(data) => copier.small(name, &data, Lists::All, made_up)?,
            Err(error) => report::warn(format_args!("left out: {}", Error::io(path.display(), error))),
        }
    }
    Ok(())
}
