//! `pgv/databases`: the databases of the cluster when the backup began. And the choice of some of them for a restore, which
//! `pgv-info databases` makes, and which stays in the directory: pgv-format(5), DATABASES.

use crate::catalog::Label;
use crate::catalog::member::{DATABASES, SELECTION};
use crate::error::{Error, Result};
use crate::io::{from_hex, hex};
use crate::pg::relation::{FIRST_NORMAL_OID, database_of};
use serde::{Deserialize, Serialize};

const DATABASES_FORMAT: &str = "pgv-databases/1";
const SELECTION_FORMAT: &str = "pgv-selection/1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Database {
    pub oid: u32,
    /// As the server's catalog has it: it need not be UTF-8.
    pub name: Vec<u8>,
    pub is_template: bool,
    pub accepts_connections: bool,
    /// Its default tablespace.
    pub tablespace: u32,
}

/// The same in JSON.
#[derive(Clone, Serialize, Deserialize)]
struct Written {
    oid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Instead of `name` where that is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    template: bool,
    connections: bool,
    tablespace: u32,
}

impl From<Written> for Database {
    fn from(written: Written) -> Self {
        let Written { oid, name, name_hex, template, connections, tablespace } = written;
        let name = name.map(String::into_bytes).or_else(|| from_hex(&name_hex?)).unwrap_or_default();
        Database { oid, name, is_template: template, accepts_connections: connections, tablespace }
    }
}

impl From<Database> for Written {
    fn from(database: Database) -> Self {
        let Database { oid, name, is_template, accepts_connections, tablespace } = database;
        let (name, name_hex) = match String::from_utf8(name) {
            Ok(name) => (Some(name), None),
            Err(error) => (None, Some(hex(error.as_bytes()))),
        };
        Written { oid, name, name_hex, template: is_template, connections: accepts_connections, tablespace }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Databases {
    format: String,
    pub databases: Vec<Database>,
}

impl Databases {
    pub fn new(databases: Vec<Database>) -> Self {
        Databases { format: DATABASES_FORMAT.to_owned(), databases }
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        encode(self, DATABASES)
    }

    /// Refuses another format as damaged.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let parsed: Self = decode(json, DATABASES)?;
        check_format(DATABASES, &parsed.format, DATABASES_FORMAT).map(|()| parsed)
    }
}

/// Which databases of a backup are restored whole. Of the others a restore makes empty files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    format: String,
    pub label: Label,
    /// Those that were asked for.
    pub chosen: Vec<u32>,
    /// Those that are left out. A backup that does not name its databases has none: of it all are left out that were not
    /// asked for, and were not made by initdb.
    skipped: Option<Vec<Database>>,
}

impl Selection {
    pub fn new(label: Label, chosen: Vec<u32>, skipped: Option<Vec<Database>>) -> Self {
        Selection { format: SELECTION_FORMAT.to_owned(), label, chosen, skipped }
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        encode(self, SELECTION)
    }

    pub fn parse(json: &[u8]) -> Result<Self> {
        let parsed: Self = decode(json, SELECTION)?;
        check_format(SELECTION, &parsed.format, SELECTION_FORMAT).map(|()| parsed)
    }

    /// Whether a database is left out. One that came while the backup ran is not.
    pub fn skips(&self, oid: u32) -> bool {
        match &self.skipped {
            Some(skipped) => skipped.iter().any(|database| database.oid == oid),
            None => oid >= FIRST_NORMAL_OID && !self.chosen.contains(&oid),
        }
    }

    /// The same of a file, by its path below the data directory.
    pub fn skips_file(&self, path: &[u8]) -> bool {
        std::str::from_utf8(path).ok().and_then(database_of).is_some_and(|oid| self.skips(oid))
    }

    /// Those that are known by name.
    pub fn skipped(&self) -> &[Database] {
        self.skipped.as_deref().unwrap_or_default()
    }
}

fn encode(value: &impl Serialize, name: &str) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec(value).map_err(|e| Error::failed(format!("encode {name}: {e}")))?;
    json.push(b'\n');
    Ok(json)
}

fn decode<'a, T: Deserialize<'a>>(json: &'a [u8], name: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|e| Error::damaged(format!("{name}: {e}")))
}

fn check_format(name: &str, found: &str, known: &str) -> Result<()> {
    match found == known {
        true => Ok(()),
        false => Err(Error::damaged(format!("{name} has the unknown format \"{}\"", found.escape_default()))
            .hint("a newer pgv may have written it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(oid: u32, name: &[u8]) -> Database {
        let name = name.to_vec();
        Database { oid, name, is_template: oid == 1, accepts_connections: true, tablespace: 1663 }
    }

    #[test]
    fn names_are_bytes() {
        let all = Databases::new(vec![database(1, b"template1"), database(16384, b"caf\xe9")]);
        let json = all.encode().unwrap();
        assert!(
            String::from_utf8_lossy(&json)
                .contains("{\"oid\":16384,\"name_hex\":\"636166e9\",\"template\":false")
        );
        assert_eq!(Databases::parse(&json).unwrap(), all);
        for wrong in ["", "{}", "{\"format\":\"pgv-databases/2\",\"databases\":[]}"] {
            assert!(Databases::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_left_out() {
        let label: Label = "20261123-010000F".parse().unwrap();
        let named = Selection::new(label.clone(), vec![16384], Some(vec![database(16385, b"b")]));
        let numbered = Selection::new(label, vec![16384], None);
        let later = b"base/16390/1".as_slice();
        for (path, by_name, by_number) in [
            (b"base/16385/1".as_slice(), true, true),
            (b"base/16384/1", false, false),
            (b"base/5/1", false, false),
            (later, false, true),
            (b"pg_tblspc/7/PG_15_1/16385/PG_VERSION", true, true),
            (b"base/16385", false, false),
            (b"global/16385", false, false),
        ] {
            let found = (named.skips_file(path), numbered.skips_file(path));
            assert_eq!(found, (by_name, by_number), "{}", path.escape_ascii());
        }
        assert_eq!(Selection::parse(&named.encode().unwrap()).unwrap(), named);
        assert_eq!(Selection::parse(&numbered.encode().unwrap()).unwrap(), numbered);
    }
}
