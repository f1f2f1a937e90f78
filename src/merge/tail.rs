//! What the newest backup adds to the files of the cluster: WAL, the configuration, the label. Its manifest says what the
//! merged files must be; `global/pg_control` is kept until all is known to be right.

use crate::catalog::{Mode, Selection, member};
use crate::error::{Error, IoContext, Result};
use crate::merge::link::{Link, PIECE};
use crate::merge::output::{File, Last, Output};
use crate::pg::backup_manifest::{self, Entry};
use crate::pg::{backup_label, control};
use crate::stream::{self, Claims, Listed, is_data};
use crate::tar::{Kind, Member};
use std::io::{BufReader, Read, Write};

/// A backup label is a few lines; bytes.
const LABEL_LIMIT: u64 = 64 << 10;

/// Reads the rest of the newest stream to its end. `links` are behind the data.
pub fn copy<W: Write>(
    mut link: Link,
    (claims, selection): (&Claims, Option<&Selection>),
    output: &mut Output<W>,
) -> Result<Last> {
    let mut tail = Tail { selection, result: None, last_wal: false };
    let mut member = link.take_rest().ok_or_else(|| link.has_no_control())?;
    let manifest = loop {
        if member.path == backup_manifest::PATH.as_bytes() && member.kind == Kind::File {
            break member;
        }
        tail.member(&mut link, &member, claims, output).map_err(|error| link.named(error))?;
        link.skip_rest()?;
        member = next(&mut link)?;
    };
    let listed = tail.manifest(&mut link, output).map_err(|error| link.named(error))?;
    link.skip_rest()?;
    let control = next(&mut link)?;
    let content = stream::control(&mut link.tar, &control, &listed.last, &link.identity);
    let content = content.map_err(|error| link.named(error))?;
    let range = match listed.ranges[..] {
        [] => None,
        [range] => Some(range),
        _ => return Err(link.named(Error::damaged("backup_manifest names several ranges of WAL"))),
    };
    let stop_lsn = range.map_or(content.checkpoint(), |range| range.end);
    claims.check_end(&stream::End { stop_lsn, wal_last_seen: tail.last_wal })?;
    let page_checksums = content.has_page_checksums();
    Ok(Last { control, content: content.bytes().to_vec(), manifest, range, page_checksums })
}

fn next(link: &mut Link) -> Result<Member> {
    let member = link.tar.next_member().map_err(|error| link.named(error))?;
    member.ok_or_else(|| link.has_no_control())
}

struct Tail<'a> {
    selection: Option<&'a Selection>,
    /// What the manifest of an increment's result says, once it was compared.
    result: Option<Listed>,
    /// Whether the last segment of WAL that the record names was there.
    last_wal: bool,
}

impl Tail<'_> {
    fn member<W: Write>(
        &mut self,
        link: &mut Link,
        member: &Member,
        claims: &Claims,
        output: &mut Output<W>,
    ) -> Result<()> {
        let blocks = link.identity.mode == Mode::Blocks;
        if member.kind != Kind::File {
            return Ok(());
        }
        if let Some(name) = member.path.strip_prefix(b"pg_wal/") {
            self.last_wal |= claims.wal_last().is_some_and(|last| last.as_bytes() == name);
            // It is in no manifest: its records carry checksums of their own.
            return whole(link, member, output).map(drop);
        }
        match std::str::from_utf8(&member.path).unwrap_or_default() {
            control::PATH => Err(Error::damaged("global/pg_control comes before backup_manifest")),
            member::UNSTACK if blocks => Ok(()),
            backup_label::PATH | member::BACKUP_LABEL if blocks => label(link, member, output),
            member::RESULT_MANIFEST if blocks => {
                self.result = Some(
                    compare(link, self.selection, output).map_err(|e| e.context(member::RESULT_MANIFEST))?,
                );
                Ok(())
            }
            _ => {
                let file = whole(link, member, output)?;
                output.end(file)
            }
        }
    }

    /// Of a full and of an increment of files it is the manifest of the result.
    fn manifest<W: Write>(&mut self, link: &mut Link, output: &mut Output<W>) -> Result<Listed> {
        match (self.result.take(), link.identity.mode) {
            (Some(listed), _) => Ok(listed),
            (None, Mode::Blocks) => Err(Error::damaged("the stream has no pgv/result_manifest")),
            (None, _) => compare(link, self.selection, output),
        }
    }
}

/// Compares what was written with what the newest backup says of it. A file that went while an increment of files was
/// taken is in its list of names and not in its manifest: it was written as its parent has it, and WAL removes it.
///
/// What was left out is listed as the newest backup has it, for whoever makes empty files in its place.
fn compare<W: Write>(
    link: &mut Link,
    selection: Option<&Selection>,
    output: &mut Output<W>,
) -> Result<Listed> {
    let of_files = link.is_increment_of_files();
    let gone = &mut |seen: &Entry, listed: &Entry| {
        of_files && is_data(&seen.path) && (!is_data(&listed.path) || seen.path < listed.path)
    };
    let manifest = BufReader::with_capacity(PIECE / 2, link.tar.content());
    let seen = output.take_seen()?;
    let unsent =
        &mut |listed: &Entry| match selection.is_some_and(|selection| selection.skips_file(&listed.path)) {
            true => output.list_unsent(listed).map(|()| true),
            false => Ok(false),
        };
    seen.compare(manifest, unsent, gone)
}

fn whole<W: Write>(link: &mut Link, member: &Member, output: &mut Output<W>) -> Result<File> {
    let mut file = output.begin(&member.path, member.size, member.attributes())?;
    link.pass(member.size, &mut |data| output.data(&mut file, data))?;
    Ok(file)
}

/// The label of an increment in blocks becomes a plain one.
fn label<W: Write>(link: &mut Link, member: &Member, output: &mut Output<W>) -> Result<()> {
    if member.size > LABEL_LIMIT {
        return Err(Error::damaged(format!("{}: too large", member.name())));
    }
    let mut content = String::new();
    link.tar.content().read_to_string(&mut content).during("read stdin")?;
    output.small(backup_label::PATH.as_bytes(), backup_label::merged(&content).as_bytes(), member, None)
}
