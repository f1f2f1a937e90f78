//! Connecting as libpq would: a connection string or URI, completed from the PG* variables and
//! `.pgpass`, which the driver does not read by itself.

use crate::error::{Error, Result};
use postgres::config::{Host, SslMode};
use postgres::{Client, Config, NoTls};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Where Debian's and most other packages put the socket.
const DEFAULT_HOST: &str = "/var/run/postgresql";
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_DATABASE: &str = "postgres";

/// `conninfo`: keyword/value, URI, or a bare database name.
pub fn connect(conninfo: Option<&str>) -> Result<Client> {
    let config = complete(parse(conninfo.unwrap_or(""))?)?;
    config.connect(NoTls).map_err(|e| Error::failed(format!("connect to the server: {}", reason(&e))))
}

/// The driver's message with its cause: "db error" alone says nothing.
pub fn reason(error: &postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn parse(conninfo: &str) -> Result<Config> {
    let bare_name = !conninfo.is_empty() && !conninfo.contains(['=', ':']);
    if bare_name {
        let mut config = Config::new();
        config.dbname(conninfo);
        return Ok(config);
    }
    // The text may hold a password, so it is not repeated.
    Config::from_str(conninfo).map_err(|e| Error::usage(format!("connection string: {}", reason(&e))))
}

fn complete(mut config: Config) -> Result<Config> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host(variable("PGHOST").as_deref().unwrap_or(DEFAULT_HOST));
    }
    if config.get_ports().is_empty() {
        let port = variable("PGPORT").map(|port| port.parse().map_err(|_| bad("PGPORT"))).transpose()?;
        config.port(port.unwrap_or(DEFAULT_PORT));
    }
    if config.get_user().is_none() {
        config.user(&variable("PGUSER").map_or_else(system_user, Ok)?);
    }
    if config.get_dbname().is_none() {
        config.dbname(variable("PGDATABASE").as_deref().unwrap_or(DEFAULT_DATABASE));
    }
    if config.get_connect_timeout().is_none()
        && let Some(seconds) = variable("PGCONNECT_TIMEOUT")
    {
        config.connect_timeout(Duration::from_secs(seconds.parse().map_err(|_| bad("PGCONNECT_TIMEOUT"))?));
    }
    match variable("PGSSLMODE").as_deref() {
        Some("disable") => _ = config.ssl_mode(SslMode::Disable),
        Some("require" | "verify-ca" | "verify-full") => _ = config.ssl_mode(SslMode::Require),
        _ => {}
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD").or_else(|| from_password_file(&config))
    {
        config.password(password);
    }
    config.application_name("pgv-snap");
    Ok(config)
}

fn bad(name: &str) -> Error {
    Error::usage(format!("{name} is not a number that fits"))
}

/// The name of the user this process runs as, from /etc/passwd.
fn system_user() -> Result<String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)? == uid).then_some(name)
    };
    passwd
        .lines()
        .find_map(of_line)
        .or_else(|| std::env::var("USER").ok())
        .ok_or_else(|| Error::usage(format!("user {uid} has no name")).hint("set PGUSER"))
}

/// The first line of PGPASSFILE or ~/.pgpass that fits; a file that others can read is ignored, as
/// libpq does.
fn from_password_file(config: &Config) -> Option<String> {
    let path = match std::env::var_os("PGPASSFILE") {
        Some(path) => PathBuf::from(path),
        None => Path::new(&std::env::var_os("HOME")?).join(".pgpass"),
    };
    if std::fs::metadata(&path).ok()?.mode() & 0o077 != 0 {
        crate::report::warn(format_args!("{} is not used: others can read it", path.display()));
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        // libpq's name for a server behind a socket.
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first()?.to_string();
    let wanted = [host.as_str(), &port, config.get_dbname()?, config.get_user()?];
    text.lines().find_map(|line| password_for(line, &wanted))
}

fn password_for(line: &str, wanted: &[&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let fields = password_fields(line);
    let fits =
        fields.len() == 5 && fields.iter().zip(wanted).all(|(field, value)| field == "*" || field == value);
    fits.then(|| fields[4].clone())
}

/// Fields are separated by colons; a backslash takes the next character as it is.
fn password_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        let literal = match next {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next(),
            other => Some(other),
        };
        if let (Some(field), Some(literal)) = (fields.last_mut(), literal) {
            field.push(literal);
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_lines() {
        let wanted = ["localhost", "5432", "postgres", "pgv"];
        let find = |line: &str| password_for(line, &wanted);
        assert_eq!(find("localhost:5432:postgres:pgv:a\\:b\\\\"), Some("a:b\\".to_owned()));
        assert_eq!(find("*:*:*:pgv:x:y"), Some("x:y".to_owned()));
        for other in ["#*:*:*:*:x", "*:5433:*:*:x", "*:*:*:x", ""] {
            assert_eq!(find(other), None, "{other}");
        }
    }

    #[test]
    fn a_bare_word_is_a_database() {
        assert_eq!(parse("shop").unwrap().get_dbname(), Some("shop"));
        assert_eq!(parse("dbname=shop").unwrap().get_dbname(), Some("shop"));
        assert_eq!(parse("postgresql:///shop").unwrap().get_dbname(), Some("shop"));
    }
}
