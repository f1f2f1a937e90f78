//! Whether a server's WAL is to be in the archive of its repository.

use crate::info::Values;

/// Where a server's WAL goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archiving {
    /// Into the archive of this repository.
    Here,
    /// By a command that is not pgv's, and nothing of it is in the archive.
    Elsewhere,
    /// Nothing archives it.
    Nowhere,
}

impl Archiving {
    pub fn name(self) -> &'static str {
        match self {
            Archiving::Here => "here",
            Archiving::Elsewhere => "elsewhere",
            Archiving::Nowhere => "nowhere",
        }
    }
}

/// `server`: the lines of `pgv-snap --estimate`. `has_wal`: whether the archive holds any; where the server does not
/// archive itself, its primary or pgv-wal-receive may.
pub fn archiving(server: &Values, has_wal: bool) -> Archiving {
    let is = |key: &str, value: &str| server.get(key) == Some(value);
    let archives = is("archive_mode", "on") || is("archive_mode", "always");
    let pushes = server.get("archive_library").is_none()
        && server.get("archive_command").is_some_and(|command| command.contains("pgv-wal-push"));
    match archives {
        true if pushes || has_wal || is("in_recovery", "yes") => Archiving::Here,
        true => Archiving::Elsewhere,
        false if has_wal => Archiving::Here,
        false => Archiving::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_wal_of_a_server_goes() {
        let told = |mode: &str, command: &str, library: &str, in_recovery: &str, has_wal| {
            let text = format!(
                "archive_mode {mode}\narchive_command {command}\narchive_library {library}\nin_recovery {in_recovery}\n"
            );
            archiving(&Values::parse(&text).unwrap(), has_wal)
        };
        let push = "/usr/bin/pgv-wal-push -c /etc/pgv/demo.conf %p";
        assert_eq!(told("on", push, "", "no", false), Archiving::Here);
        assert_eq!(told("always", push, "", "yes", false), Archiving::Here);
        assert_eq!(told("on", "cp %p /x/%f", "", "no", false), Archiving::Elsewhere);
        // Stored by pgv-wal-receive.
        assert_eq!(told("on", "cp %p /x/%f", "", "no", true), Archiving::Here);
        assert_eq!(told("on", push, "basic_archive", "no", false), Archiving::Elsewhere);
        // Its primary archives.
        assert_eq!(told("on", "", "", "yes", false), Archiving::Here);
        assert_eq!(told("off", push, "", "no", false), Archiving::Nowhere);
        assert_eq!(told("off", "", "", "no", true), Archiving::Here);
    }
}
