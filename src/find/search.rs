//! From records to what happened: what a transaction does counts when it commits, with its subtransactions.

use crate::catalog::CLOCK_MARGIN;
use crate::cli;
use crate::error::{Error, Result};
use crate::find::catalogue::{Catalogue, Relation, Wanted};
use crate::find::event::{Event, Kind, What};
use crate::find::line::{File, Line, file_of_path, number_after};
use crate::find::work::{Row, Work};
use crate::pg::Lsn;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use time::OffsetDateTime;

/// Of pg_class and pg_database (pg_class.h, pg_database.h): also their files' numbers, unless they were rewritten.
const PG_CLASS: u32 = 1259;
const PG_DATABASE: u32 = 1262;
/// `FirstNormalObjectId` (transam.h): what has a lower number belongs to the system.
const FIRST_OF_USERS: u32 = 16_384;
/// `XLH_DELETE_IS_SUPER` and `XLH_DELETE_IS_PARTITION_MOVE` (heapam_xlog.h): an insertion that was given up, and the first
/// half of an update that moves a row to another partition.
const GIVEN_UP: u32 = 0x08;
const MOVED_AWAY: u32 = 0x10;
/// A clock that ran ahead for a moment must not end a search: so many commits in a row are later than its end.
const LATE_COMMITS: u32 = 100;
/// DROP DATABASE marks the row of pg_database, and deletes it at once (dropdb in dbcommands.c).
const MARK_TO_DELETE: Duration = Duration::from_secs(60);

/// What to look for.
pub struct Options {
    /// Both inclusive.
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    /// Nothing: what may be a mistake.
    pub kinds: Vec<Kind>,
    pub wanted: Option<Wanted>,
    /// Of a younger timeline, whose first segment repeats the older one's WAL.
    pub begin: Lsn,
}

/// What is in a file that was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Written {
    Nothing,
    Pages,
    Rows,
}

/// The records of one timeline without a hole, oldest first. Memory: what transactions that have not ended have touched.
pub struct Search {
    options: Options,
    catalogue: Catalogue,
    open: HashMap<u32, Work>,
    /// Files that were created by a transaction that has not ended, and what was written to them.
    created: HashMap<File, Written>,
    /// Rows of pg_database that were changed in place last: by DROP DATABASE, or by VACUUM.
    marks: HashMap<(u32, u32), (Lsn, Option<OffsetDateTime>)>,
    /// A transaction before this one may have begun before the search did.
    whole_from: Option<u32>,
    first_time: Option<OffsetDateTime>,
    time: Option<OffsetDateTime>,
    /// Commits in a row that are later than what is asked for.
    late: u32,
}

impl Search {
    pub fn new(options: Options, catalogue: Catalogue) -> Self {
        Search {
            options,
            catalogue,
            open: HashMap::new(),
            created: HashMap::new(),
            marks: HashMap::new(),
            whole_from: None,
            first_time: None,
            time: None,
            late: 0,
        }
    }

    /// The first and the last commit that were read.
    pub fn reached(&self) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        (self.first_time, self.time)
    }

    /// Takes a record as pg_waldump prints it, and returns whether the search goes on. Fails where `found` does.
    pub fn read(&mut self, text: &str, found: &mut dyn FnMut(Event) -> Result<()>) -> Result<bool> {
        let Some(line) = Line::parse(text) else { return Ok(true) };
        if line.lsn < self.options.begin {
            return Ok(true);
        }
        match line.manager {
            "Heap" => self.heap(&line),
            "Storage" => self.storage(&line),
            "Standby" => self.standby(&line),
            "Database" => self.database(&line),
            "Transaction" => self.transaction(&line, found)?,
            "XLOG" => self.restore_point(&line, found)?,
            _ => {}
        }
        self.note_written(&line);
        Ok(self.late < LATE_COMMITS)
    }

    /// A commit of that time was read.
    fn note_commit(&mut self, time: OffsetDateTime) {
        self.first_time = self.first_time.or(Some(time));
        self.time = Some(time);
        let is_late = self.options.to.is_some_and(|to| time > to.saturating_add(margin()));
        self.late = if is_late { self.late + 1 } else { 0 };
    }

    /// Whether the rest is later than what is asked for.
    pub fn has_ended(&self) -> bool {
        self.late >= LATE_COMMITS
    }

    fn work(&mut self, xid: u32) -> &mut Work {
        self.open.entry(xid).or_default()
    }

    fn is_catalogue(&self, file: &File, oid: u32) -> bool {
        file.number == oid || self.catalogue.oid(file) == Some(oid)
    }

    fn heap(&mut self, line: &Line<'_>) {
        let mut blocks = line.blocks();
        let Some((file, block)) = blocks.next() else { return };
        // Where a row is updated to another page, that is the first block.
        let old_block = blocks.next().filter(|(other, _)| *other == file).map_or(block, |(_, block)| block);
        if let Some(rest) = line.operation("DELETE") {
            let flags = flags(rest);
            if flags & GIVEN_UP == 0 {
                let work = self.work(line.xid);
                let rows = if flags & MOVED_AWAY == 0 { &mut work.deleted } else { &mut work.updated };
                *rows.entry(file).or_default() += 1;
            }
            self.row_deleted(line, file, block, rest);
        } else if let Some(rest) = line.operation("HOT_UPDATE").or_else(|| updated(line)) {
            *self.work(line.xid).updated.entry(file).or_default() += 1;
            let old = number_after(rest, "old_off").or_else(|| number_after(rest, "off"));
            let new = number_after(rest, "new_off").or_else(|| number_after(rest, "new off"));
            if let (true, Some(old), Some(new)) = (self.is_catalogue(&file, PG_CLASS), old, new) {
                let row = Row::Moved((file.database, old_block, old), (file.database, block, new));
                self.work(line.xid).classes.push((line.lsn, row));
            }
        } else if let Some(rest) = line.operation("INSERT").or_else(|| line.operation("INSERT+INIT")) {
            if let (true, Some(offset)) = (self.is_catalogue(&file, PG_CLASS), number_after(rest, "off")) {
                let row = Row::Made((file.database, block, offset));
                self.work(line.xid).classes.push((line.lsn, row));
            }
        } else if let Some(rest) = line.operation("INPLACE")
            && let (true, Some(offset)) = (self.is_catalogue(&file, PG_DATABASE), number_after(rest, "off"))
        {
            // Of several that follow each other the first: an earlier DROP DATABASE was interrupted.
            let (now, before) = (self.time, self.marks.get(&(block, offset)));
            if before.is_none_or(|(_, then)| !is_soon_after(*then, now)) {
                self.marks.insert((block, offset), (line.lsn, now));
            }
        }
    }

    fn row_deleted(&mut self, line: &Line<'_>, file: File, block: u32, rest: &str) {
        let Some(offset) = number_after(rest, "off") else { return };
        if self.is_catalogue(&file, PG_CLASS) {
            let row = Row::Deleted((file.database, block, offset));
            self.work(line.xid).classes.push((line.lsn, row));
        } else if self.is_catalogue(&file, PG_DATABASE) {
            let mark = self.marks.get(&(block, offset)).filter(|(_, then)| is_soon_after(*then, self.time));
            let row = (mark.map_or(line.lsn, |(lsn, _)| *lsn), mark.is_some());
            self.work(line.xid).database_rows.push(row);
        }
    }

    fn storage(&mut self, line: &Line<'_>) {
        if let Some(file) = line.operation("CREATE").and_then(|path| file_of_path(path.trim())) {
            self.work(line.xid).created.insert(file);
            self.created.insert(file, Written::Nothing);
        }
    }

    /// Of resource managers whose records say in users' words what they are about only FPIs count.
    fn note_written(&mut self, line: &Line<'_>) {
        let written = match line.manager {
            "XLOG" if line.description.starts_with("FPI") => Written::Pages,
            "XLOG" | "LogicalMessage" | "Transaction" | "Tablespace" => return,
            "Heap" | "Heap2" => Written::Rows,
            _ => Written::Pages,
        };
        if self.created.is_empty() {
            return;
        }
        for (file, _) in line.blocks() {
            self.created.entry(file).and_modify(|before| *before = written.max(*before));
        }
    }

    /// Locks that a standby must know, and which transactions run.
    fn standby(&mut self, line: &Line<'_>) {
        if let Some(locks) = line.operation("LOCK") {
            // xid 733 db 5 rel 16384 xid …
            let words: Vec<&str> = locks.split_whitespace().collect();
            for lock in words.chunks(6) {
                if let ["xid", xid, "db", database, "rel", oid] = lock
                    && let (Ok(xid), Ok(database), Ok(oid)) = (xid.parse(), database.parse(), oid.parse())
                {
                    self.work(xid).locked.insert((database, oid));
                }
            }
        } else if let Some(running) = line.operation("RUNNING_XACTS") {
            self.whole_from = self.whole_from.or_else(|| number_after(running, "nextXid"));
            if let Some(oldest) = number_after(running, "oldestRunningXid") {
                self.forget_before(oldest);
            }
        }
    }

    /// What a crash ended has no record of its end.
    fn forget_before(&mut self, oldest: u32) {
        let ended: Vec<u32> = self.open.keys().copied().filter(|xid| precedes(*xid, oldest)).collect();
        for work in ended.iter().filter_map(|xid| self.open.remove(xid)) {
            self.created.retain(|file, _| !work.created.contains(file));
        }
    }

    fn database(&mut self, line: &Line<'_>) {
        // dir 1663/16394: one for each tablespace.
        let Some(directories) = line.operation("DROP") else { return };
        let database = |word: &str| word.split_once('/')?.1.parse().ok();
        let Some(database) = directories.split_whitespace().find_map(database) else { return };
        self.work(line.xid).databases.push(database);
    }

    fn restore_point(&mut self, line: &Line<'_>, found: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let Some(name) = line.operation("RESTORE_POINT") else { return Ok(()) };
        if self.options.wanted.is_some() || !self.is_asked(Kind::RestorePoint) || !self.is_within(self.time) {
            return Ok(());
        }
        let what = What::RestorePoint { name: name.to_owned() };
        found(Event { time: self.time, lsn: line.lsn, xid: 0, is_cut: false, what })
    }

    fn transaction(&mut self, line: &Line<'_>, found: &mut dyn FnMut(Event) -> Result<()>) -> Result<()> {
        let prepared = |name: &str| {
            let (xid, rest) = line.operation(name)?.split_once(": ")?;
            Some((xid.trim().parse::<u32>().ok()?, rest))
        };
        let own = |name: &str| line.operation(name).map(|rest| (line.xid, rest));
        if let Some((xid, text)) = own("COMMIT").or_else(|| prepared("COMMIT_PREPARED")) {
            let end = End::parse(text).ok_or_else(|| {
                Error::damaged(format!("the commit at {} is not as any known pg_waldump prints it", line.lsn))
            })?;
            self.note_commit(end.time);
            let work = self.take(xid, &end.subtransactions);
            let written = self.take_created(&work);
            for event in self.events(line.lsn, xid, &end, &work, &written) {
                found(event)?;
            }
        } else if let Some((xid, text)) = own("ABORT").or_else(|| prepared("ABORT_PREPARED")) {
            let subtransactions = End::parse(text).map_or_else(Vec::new, |end| end.subtransactions);
            let work = self.take(xid, &subtransactions);
            self.take_created(&work);
        }
        Ok(())
    }

    fn take(&mut self, xid: u32, subtransactions: &[u32]) -> Work {
        let mut work = self.open.remove(&xid).unwrap_or_default();
        for sub in subtransactions {
            work.absorb(self.open.remove(sub).unwrap_or_default());
        }
        work
    }

    /// Those of its files that a rewrite made, or a new index: pages were written to them, and no rows.
    fn take_created(&mut self, work: &Work) -> BTreeSet<File> {
        work.created
            .iter()
            .copied()
            .filter(|file| self.created.remove(file) == Some(Written::Pages))
            .collect()
    }

    fn is_asked(&self, kind: Kind) -> bool {
        match self.options.kinds.is_empty() {
            true => matches!(kind, Kind::Drop | Kind::Truncate | Kind::Delete | Kind::RestorePoint),
            false => self.options.kinds.contains(&kind),
        }
    }

    fn is_within(&self, time: Option<OffsetDateTime>) -> bool {
        let (from, to) = (self.options.from, self.options.to);
        time.is_none_or(|time| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time <= to))
    }

    fn events(&self, lsn: Lsn, xid: u32, end: &End, work: &Work, written: &BTreeSet<File>) -> Vec<Event> {
        if !self.is_within(Some(end.time)) {
            return Vec::new();
        }
        let is_cut = self.whole_from.is_none_or(|from| precedes(xid, from));
        let event = |lsn, what| Event { time: Some(end.time), lsn, xid, is_cut, what };
        let mut whats: Vec<(Lsn, What)> = Vec::new();
        match (work.databases.first(), work.database_rows.first()) {
            (Some(oid), Some((mark, is_sure))) => {
                let name = self.catalogue.database(*oid).map(str::to_owned);
                if self.options.wanted.as_ref().is_none_or(|wanted| wanted.has_database(*oid)) {
                    whats.push((*mark, What::Database { oid: *oid, name, is_sure: *is_sure }));
                }
            }
            _ => whats.extend(self.files(end, work, written).into_iter().map(|what| (lsn, what))),
        }
        whats.extend(self.rows(&work.deleted).map(|(rows, name)| (lsn, What::Delete { rows, name })));
        whats.extend(self.rows(&work.updated).map(|(rows, name)| (lsn, What::Update { rows, name })));
        whats.push((lsn, What::Commit));
        let is_asked = |what: &What| {
            self.is_asked(what.kind()) && (self.options.wanted.is_none() || *what != What::Commit)
        };
        whats.into_iter().filter(|(_, what)| is_asked(what)).map(|(lsn, what)| event(lsn, what)).collect()
    }

    /// What became of relations' files. A new file that does not bear the number of a relation that was made with it
    /// replaces an older one. Where nothing was written to it, or rows one by one, its relation was truncated: what
    /// rewrites a table writes to a relation of its own, and an index gets pages.
    fn files(&self, end: &End, work: &Work, written: &BTreeSet<File>) -> Vec<What> {
        let touched = work.touched();
        let is_wanted = self.options.wanted.as_ref().is_none_or(|wanted| {
            touched.iter().any(|(database, oid)| wanted.has_oid(*database, *oid))
                || end.removed.iter().any(|file| wanted.has_file(file))
        });
        if !is_wanted {
            return Vec::new();
        }
        let files = end.removed.len();
        let count = work.dropped();
        // Views, and at the end of each session its temporary tables.
        let counts = files > 0 || self.options.kinds.contains(&Kind::Drop) || self.options.wanted.is_some();
        let mut whats = Vec::new();
        if count > 0 && counts {
            let dropped = self.dropped(&touched, count);
            let is_exact = dropped.len() == count;
            whats.push(What::Drop { count, is_exact, names: self.names(&dropped), files });
        }
        // A copy in another tablespace is no truncation.
        let is_beside =
            |new: &File, old: &File| (new.tablespace, new.database) == (old.tablespace, old.database);
        let replaces = |file: &&File| {
            !work.locked.contains(&(file.database, file.number))
                && end.removed.iter().any(|removed| is_beside(file, removed))
        };
        let is_truncated = work.created.iter().filter(replaces).any(|file| !written.contains(file));
        if is_truncated {
            whats.push(What::Truncate { names: self.names(&self.replaced(&touched, work)), files });
        } else if files > 0 && work.classes.is_empty() && work.created.is_empty() {
            // All that it did before its end lies before what was read.
            let name = |file: &File| self.name_of(file);
            whats.push(What::Removed { names: end.removed.iter().map(name).collect() });
        } else if files > 0 && count == 0 {
            whats.push(What::Rewrite { names: self.names(&self.replaced(&touched, work)), files });
        }
        whats
    }

    /// Those of them that have one of its new files now, if that is known of any: others were only locked.
    fn replaced(&self, touched: &BTreeSet<(u32, u32)>, work: &Work) -> BTreeSet<(u32, u32)> {
        let now: BTreeSet<_> = work
            .created
            .iter()
            .filter_map(|file| Some((file.database, self.catalogue.oid(file)?)))
            .filter(|place| touched.contains(place))
            .collect();
        if now.is_empty() { touched.clone() } else { now }
    }

    fn name_of(&self, file: &File) -> String {
        match self.catalogue.of_file(file) {
            Some(relation) => relation.name.clone(),
            None => format!("file {}/{}/{}", file.tablespace, file.database, file.number),
        }
    }

    /// Those of them that were dropped, if that can be known: what is not there any more, if that are so many.
    fn dropped(&self, touched: &BTreeSet<(u32, u32)>, count: usize) -> BTreeSet<(u32, u32)> {
        let is_gone = |(database, oid): &(u32, u32)| self.catalogue.relation(*database, *oid).is_none();
        let gone: BTreeSet<_> = touched.iter().copied().filter(is_gone).collect();
        if gone.len() == count { gone } else { touched.clone() }
    }

    /// Of tables and the like, as far as they are known; and the numbers of the rest.
    fn names(&self, oids: &BTreeSet<(u32, u32)>) -> Vec<String> {
        let known = |(database, oid): &(u32, u32)| self.catalogue.relation(*database, *oid);
        let mut relations: Vec<&Relation> = oids.iter().filter_map(known).collect();
        if relations.iter().any(|relation| relation.is_of_users()) {
            relations.retain(|relation| relation.is_of_users());
        }
        let mut numbers: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for (database, oid) in oids.iter().filter(|place| known(place).is_none()) {
            numbers.entry(*database).or_default().push(oid.to_string());
        }
        let number = |(database, oids): (u32, Vec<String>)| match self.catalogue.database(database) {
            Some(name) => format!("OID {} in {name}", oids.join(" ")),
            None => format!("OID {} in database {database}", oids.join(" ")),
        };
        relations
            .into_iter()
            .map(|relation| relation.name.clone())
            .chain(numbers.into_iter().map(number))
            .collect()
    }

    /// Of users' relations, or of the one that is asked for.
    fn rows(&self, files: &BTreeMap<File, u64>) -> impl Iterator<Item = (u64, String)> {
        let named = |(file, rows): (&File, &u64)| {
            let relation = self.catalogue.of_file(file);
            let is_shown = match &self.options.wanted {
                Some(wanted) => wanted.has_file(file),
                None => match relation {
                    Some(relation) => !relation.is_of_system(),
                    None => file.number >= FIRST_OF_USERS,
                },
            };
            is_shown.then(|| (*rows, self.name_of(file)))
        };
        files.iter().filter_map(named).collect::<Vec<_>>().into_iter()
    }
}

/// What a record says of the end of a transaction: `TIME; rels: …; subxacts: …; …`.
struct End {
    time: OffsetDateTime,
    removed: Vec<File>,
    subtransactions: Vec<u32>,
}

impl End {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut end = End {
            time: cli::parse_time(parts.next()?).ok()?,
            removed: Vec::new(),
            subtransactions: Vec::new(),
        };
        for part in parts {
            if let Some(paths) = part.strip_prefix("rels: ") {
                end.removed = paths.split_whitespace().filter_map(file_of_path).collect();
            } else if let Some(xids) = part.strip_prefix("subxacts: ") {
                end.subtransactions = xids.split_whitespace().filter_map(|xid| xid.parse().ok()).collect();
            }
        }
        Some(end)
    }
}

/// Of two times of the last commit.
fn is_soon_after(then: Option<OffsetDateTime>, now: Option<OffsetDateTime>) -> bool {
    match (then, now) {
        (Some(then), Some(now)) => now - then <= MARK_TO_DELETE,
        (None, None) => true,
        _ => false,
    }
}

fn margin() -> time::Duration {
    time::Duration::try_from(CLOCK_MARGIN).unwrap_or(time::Duration::MAX)
}

fn updated<'a>(line: &Line<'a>) -> Option<&'a str> {
    line.operation("UPDATE").or_else(|| line.operation("UPDATE+INIT"))
}

fn flags(rest: &str) -> u32 {
    let hex = rest.split("flags").nth(1).map(|rest| rest.trim_start_matches([':', ' ']));
    let digits = hex.and_then(|hex| hex.strip_prefix("0x")?.get(..2));
    digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// `TransactionIdPrecedes` (transam.c): numbers come round.
fn precedes(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}
