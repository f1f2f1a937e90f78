//! Whether a copy may be made Debian's cluster of a name: of its major, and of no other data directory.

use crate::error::{Error, IoContext, Kind, Result};
use crate::pg::{conf, major};
use std::path::Path;

/// Where Debian keeps the configurations of its clusters.
const CLUSTERS: &str = "/etc/postgresql";

/// Refuses VERSION/NAME before anything is written. `version`: of the backup's server.
pub fn refuse_cluster(name: &str, version: &str, directory: &Path) -> Result<()> {
    refuse_in(Path::new(CLUSTERS), name, version, directory)
}

fn refuse_in(clusters: &Path, name: &str, version: &str, directory: &Path) -> Result<()> {
    let major = major::of(version);
    if name.split('/').next() != Some(major) {
        return Err(Error::usage(format!("--as {name}: the backup was taken from PostgreSQL {major}")));
    }
    let path = clusters.join(name).join("postgresql.conf");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.during_path("read", &path)?,
    };
    let named = conf::settings(&text).into_iter().rfind(|(name, _)| name == "data_directory");
    match named.is_some_and(|(_, value)| Path::new(&value) == directory) {
        true => Ok(()),
        false => Err(Error::new(Kind::Exists, format!("{} belongs to another cluster", path.display()))
            .hint("choose another name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_free_or_of_the_same_directory() {
        let etc = tempfile::tempdir().unwrap();
        let refused = |name: &str, directory: &str| {
            refuse_in(etc.path(), name, "15.20", Path::new(directory)).map_err(|error| error.kind).err()
        };
        assert_eq!(refused("15/copy", "/srv/copy"), None);
        assert_eq!(refused("16/copy", "/srv/copy"), Some(Kind::Usage));
        let place = etc.path().join("15/copy");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(
            place.join("postgresql.conf"),
            "data_directory = '/srv/copy' # its place\nport = 5433\n",
        )
        .unwrap();
        assert_eq!(refused("15/copy", "/srv/copy"), None);
        assert_eq!(refused("15/copy", "/srv/other"), Some(Kind::Exists));
        std::fs::write(place.join("postgresql.conf"), "port = 5433\n").unwrap();
        assert_eq!(refused("15/copy", "/srv/copy"), Some(Kind::Exists));
    }
}
