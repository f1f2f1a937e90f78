//! What Debian's postgresql-common knows of the clusters on this machine.

use crate::error::{Error, Result};
use crate::report;
use std::io;
use std::process::{Command, Stdio};

/// The port of the first of `names`, such as `15-main`, that pg_lsclusters lists. `None`: there is no pg_lsclusters, or no
/// such cluster.
pub fn port_of(names: &[String]) -> Result<Option<String>> {
    let listed =
        Command::new("pg_lsclusters").arg("--no-header").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output.map_err(|error| Error::io("run pg_lsclusters", error))?,
    };
    if !output.status.success() {
        report::warn(format_args!(
            "pg_lsclusters failed ({}), so the port is libpq's default",
            output.status
        ));
        return Ok(None);
    }
    Ok(port_in(&String::from_utf8_lossy(&output.stdout), names))
}

/// Lines of "VERSION NAME PORT …".
fn port_in(list: &str, names: &[String]) -> Option<String> {
    names.iter().find_map(|wanted| {
        list.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [version, name, port, ..] if format!("{version}-{name}") == *wanted => Some(port.to_owned()),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_port_of_its_line() {
        let list =
            "13 main 5432 online postgres /a /b\n15 main 5433 down,binaries_missing postgres /c /d\n\n";
        assert_eq!(port_in(list, &["15-main".to_owned()]).as_deref(), Some("5433"));
        assert_eq!(port_in(list, &["main".to_owned()]), None);
    }
}
