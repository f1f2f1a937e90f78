//! Names of relations, as a server that was asked tells them: its present ones. What was dropped since has none; a
//! restored copy of before knows it.

use crate::error::{Error, Result};
use crate::find::line::File;
use std::collections::{HashMap, HashSet};

/// Of a row: the database's OID (0: of all databases) and name, tablespace, OID, file number, kind, schema, name.
const FIELDS: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `database.schema.name`.
    pub name: String,
    schema: String,
    /// pg_class.relkind.
    kind: u8,
}

impl Relation {
    /// Not an index, nor what holds another's long values.
    pub fn is_of_users(&self) -> bool {
        !matches!(self.kind, b'i' | b'I' | b't')
    }

    pub fn is_of_system(&self) -> bool {
        matches!(self.schema.as_str(), "pg_catalog" | "pg_toast" | "information_schema")
    }
}

/// By database and OID.
#[derive(Default)]
pub struct Catalogue {
    relations: HashMap<(u32, u32), Relation>,
    files: HashMap<File, u32>,
    databases: HashMap<u32, String>,
}

impl Catalogue {
    /// `text`: fields that end with a zero byte each, as psql prints them with --field-separator-zero and
    /// --record-separator-zero, in the order above.
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut catalogue = Catalogue::default();
        let fields: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
        let (rows, rest) = fields.as_chunks::<FIELDS>();
        if rest.iter().any(|field| !field.is_empty()) {
            return Err(Error::failed("the names of relations end within a row"));
        }
        for row in rows {
            catalogue
                .add(row)
                .ok_or_else(|| Error::failed("the names of relations have a row without numbers"))?;
        }
        Ok(catalogue)
    }

    fn add(
        &mut self,
        [database, database_name, tablespace, oid, number, kind, schema, name]: &[&[u8]; FIELDS],
    ) -> Option<()> {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let parse = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u32>().ok();
        let (database, oid) = (parse(database)?, parse(oid)?);
        let schema = text(schema);
        let relation = Relation {
            name: format!("{}.{schema}.{}", text(database_name), text(name)),
            schema,
            kind: *kind.first()?,
        };
        // A view has no file.
        if let (Some(number @ 1..), Some(tablespace)) = (parse(number), parse(tablespace)) {
            self.files.insert(File { tablespace, database, number }, oid);
        }
        if database > 0 {
            self.databases.insert(database, text(database_name));
        }
        self.relations.insert((database, oid), relation);
        Some(())
    }

    pub fn relation(&self, database: u32, oid: u32) -> Option<&Relation> {
        self.relations.get(&(database, oid))
    }

    /// Of the relation that has it now.
    pub fn oid(&self, file: &File) -> Option<u32> {
        self.files.get(file).copied()
    }

    /// Of a file that a relation has, or had first: that had the relation's own number.
    pub fn of_file(&self, file: &File) -> Option<&Relation> {
        let oid = self.files.get(file).copied().unwrap_or(file.number);
        self.relation(file.database, oid)
    }

    pub fn database(&self, oid: u32) -> Option<&str> {
        self.databases.get(&oid).map(String::as_str)
    }
}

/// What --relation asks for.
pub struct Wanted {
    oids: HashSet<(u32, u32)>,
    files: HashSet<File>,
    /// In whatever database.
    number: Option<u32>,
}

impl Wanted {
    /// `text`: a number, `name`, `schema.name` or `database.schema.name`.
    pub fn find(text: &str, catalogue: &Catalogue) -> Result<Self> {
        let mut wanted = Wanted { oids: HashSet::new(), files: HashSet::new(), number: text.parse().ok() };
        let ends_with =
            |name: &str| name.strip_suffix(text).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        for ((database, oid), relation) in &catalogue.relations {
            if ends_with(&relation.name) || wanted.number == Some(*oid) {
                wanted.oids.insert((*database, *oid));
            }
        }
        let files =
            catalogue.files.iter().filter(|(file, oid)| wanted.oids.contains(&(file.database, **oid)));
        wanted.files = files.map(|(file, _)| *file).collect();
        match wanted.oids.is_empty() && wanted.number.is_none() {
            false => Ok(wanted),
            true => Err(Error::not_found(format!("no relation {text} in the databases that were asked"))
                .hint("one that was dropped has no name any more: give its OID, or search without --relation")
                .hint("a restored copy of before knows its name: --dbname CONNINFO")),
        }
    }

    pub fn has_oid(&self, database: u32, oid: u32) -> bool {
        self.number == Some(oid) || self.oids.contains(&(database, oid))
    }

    /// Whether it was in that database, or may have been.
    pub fn has_database(&self, database: u32) -> bool {
        self.oids.is_empty() || self.oids.iter().any(|(of, _)| *of == database)
    }

    pub fn has_file(&self, file: &File) -> bool {
        self.number == Some(file.number)
            || self.files.contains(file)
            || self.oids.contains(&(file.database, file.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = "5|shop|1663|16384|16400|r|public|a.b|5|shop|1663|16390|0|v|public|accounts|";

    fn parse(rows: &str) -> Result<Catalogue> {
        Catalogue::parse(rows.replace('|', "\0").as_bytes())
    }

    #[test]
    fn names_by_number_and_file() {
        let catalogue = parse(ROWS).unwrap();
        let file = |number| File { tablespace: 1663, database: 5, number };
        for number in [16400, 16384] {
            assert_eq!(catalogue.of_file(&file(number)).unwrap().name, "shop.public.a.b");
        }
        assert_eq!(catalogue.of_file(&file(16391)), None);
        assert_eq!(catalogue.database(5), Some("shop"));
        assert!(parse(&ROWS[..20]).is_err());
        assert!(parse("").unwrap().relations.is_empty());
    }

    #[test]
    fn what_is_asked_for() {
        let catalogue = parse(ROWS).unwrap();
        for text in ["a.b", "public.a.b", "shop.public.a.b", "b"] {
            let wanted = Wanted::find(text, &catalogue).unwrap();
            assert!(wanted.has_oid(5, 16384) && !wanted.has_oid(5, 16390), "{text}");
            assert!(wanted.has_file(&File { tablespace: 1663, database: 5, number: 16400 }));
            assert!(wanted.has_database(5) && !wanted.has_database(6));
        }
        assert!(Wanted::find("ccounts", &catalogue).is_err());
        assert!(Wanted::find("16999", &catalogue).unwrap().has_oid(5, 16999));
    }
}
