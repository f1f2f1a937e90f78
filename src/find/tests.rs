//! Lines as pg_waldump prints them, before 16 and since.

use crate::error::Result;
use crate::find::{Catalogue, Event, Kind, Options, Search, Wanted};
use crate::pg::Lsn;
use time::macros::datetime;

/// Records one after the other.
#[derive(Default)]
struct Wal {
    lines: Vec<String>,
    at: u64,
}

impl Wal {
    fn add(&mut self, manager: &str, xid: u32, description: &str) -> Lsn {
        let (before, now) = (Lsn(self.at), Lsn(self.at + 0x40));
        self.at = now.0;
        self.lines.push(format!(
            "rmgr: {manager:<11} len (rec/tot): {:>6}/{:>6}, tx: {xid:>10}, lsn: {now}, prev {before}, desc: {description}",
            54, 54
        ));
        now
    }

    fn delete(&mut self, xid: u32, file: &str, offset: u32) -> Lsn {
        let new = format!(
            "DELETE xmax: {xid}, off: {offset}, infobits: [], flags: 0x00, blkref #0: rel {file} blk 0"
        );
        let old = format!("DELETE off {offset} flags 0x00 KEYS_UPDATED , blkref #0: rel {file} blk 0");
        self.add("Heap", xid, if offset.is_multiple_of(2) { &new } else { &old })
    }

    fn commit(&mut self, xid: u32, rest: &str) -> Lsn {
        self.add("Transaction", xid, &format!("COMMIT 2026-11-29 12:29:55.767580 UTC{rest}"))
    }

    fn events_with(&self, options: Options, catalogue: &str) -> Result<Vec<Event>> {
        let mut search = Search::new(options, parse(catalogue));
        let mut events = Vec::new();
        for line in &self.lines {
            let goes_on = search.read(line, &mut |event| {
                events.push(event);
                Ok(())
            })?;
            if !goes_on {
                break;
            }
        }
        Ok(events)
    }

    fn texts(&self, kinds: &[Kind]) -> Vec<(Lsn, String)> {
        let options = Options { kinds: kinds.to_vec(), ..all() };
        self.events_with(options, "").unwrap().iter().map(|event| (event.lsn, event.text())).collect()
    }
}

fn parse(catalogue: &str) -> Catalogue {
    Catalogue::parse(catalogue.replace('|', "\0").as_bytes()).unwrap()
}

fn all() -> Options {
    Options { from: None, to: None, kinds: Vec::new(), wanted: None, begin: Lsn(0) }
}

fn begun() -> Wal {
    let mut wal = Wal::default();
    wal.add("Standby", 0, "RUNNING_XACTS nextXid 700 latestCompletedXid 699 oldestRunningXid 700");
    wal
}

const TABLE: &str = "1663/5/16384";

#[test]
fn rows_count_to_the_transaction_that_commits_them() {
    let mut wal = begun();
    wal.delete(700, TABLE, 1);
    wal.delete(701, TABLE, 2);
    wal.delete(702, TABLE, 3);
    wal.add("Transaction", 702, "ABORT 2026-11-29 12:29:55.862155 UTC");
    wal.delete(703, TABLE, 4);
    // Given up, or moved to another partition.
    wal.add("Heap", 700, "DELETE off 5 flags 0x08 , blkref #0: rel 1663/5/16384 blk 0");
    wal.add(
        "Heap",
        700,
        "DELETE xmax: 700, off: 6, infobits: [], flags: 0x10, blkref #0: rel 1663/5/16384 blk 0",
    );
    // The system's own.
    wal.delete(700, "1663/5/2608", 9);
    let end = wal.commit(700, "; subxacts: 701");
    wal.delete(690, TABLE, 7);
    let cut = wal.commit(690, "");
    assert_eq!(
        wal.texts(&[]),
        [
            (end, "2 rows deleted from file 1663/5/16384".to_owned()),
            (cut, "at least 1 row deleted from file 1663/5/16384".to_owned())
        ]
    );
    assert_eq!(wal.texts(&[Kind::Update]), [(end, "1 row updated in file 1663/5/16384".to_owned())]);
    // Nobody knows when a transaction began that was there before all that was read.
    wal.lines.remove(0);
    assert!(wal.texts(&[])[0].1.starts_with("at least"));
}

#[test]
fn files_that_are_replaced_are_no_drops() {
    let mut wal = begun();
    // TRUNCATE: new files of relations that were there; the one of the index has a page.
    wal.add("Standby", 710, "LOCK xid 710 db 5 rel 16384 xid 710 db 5 rel 16386 ");
    wal.add("Storage", 710, "CREATE base/5/16400");
    wal.add("Storage", 710, "CREATE base/5/16401");
    wal.add("XLOG", 710, "FPI , blkref #0: rel 1663/5/16401 blk 0 FPW");
    let truncated = wal.commit(710, "; rels: base/5/16384 base/5/16386; inval msgs: relcache 16384");
    // The same, and filled again before the commit.
    wal.add("Standby", 713, "LOCK xid 713 db 5 rel 16384 ");
    wal.add("Storage", 713, "CREATE base/5/16410");
    wal.add("Heap2", 713, "MULTI_INSERT+INIT ntuples: 9, flags: 0x02, blkref #0: rel 1663/5/16410 blk 0");
    let reloaded = wal.commit(713, "; rels: base/5/16400");
    // REINDEX.
    wal.add("Standby", 711, "LOCK xid 711 db 5 rel 16386 ");
    wal.add("Storage", 711, "CREATE base/5/16402");
    wal.add("XLOG", 711, "FPI , blkref #0: rel 1663/5/16402 blk 0 FPW");
    let rebuilt = wal.commit(711, "; rels: base/5/16401");
    // VACUUM FULL: a relation of its own in between.
    wal.add("Standby", 712, "LOCK xid 712 db 5 rel 16384 xid 712 db 5 rel 16403 ");
    wal.add("Storage", 712, "CREATE base/5/16403");
    wal.add("Heap", 712, "INSERT off: 8, flags: 0x00, blkref #0: rel 1663/5/1259 blk 3");
    wal.add(
        "Heap",
        712,
        "UPDATE old_xmax: 712, old_off: 8, old_infobits: [], flags: 0x60, new_xmax: 0, new_off: 2, \
                          blkref #0: rel 1663/5/1259 blk 4, blkref #1: rel 1663/5/1259 blk 3",
    );
    wal.add(
        "Heap",
        712,
        "DELETE xmax: 712, off: 2, infobits: [], flags: 0x00, blkref #0: rel 1663/5/1259 blk 4",
    );
    let full = wal.commit(712, "; rels: base/5/16400");
    let texts = wal.texts(&[]);
    let text = |text: &str| text.to_owned();
    assert_eq!(
        texts,
        [
            (truncated, text("truncated: OID 16384 16386 in database 5 (2 files)")),
            (reloaded, text("truncated: OID 16384 in database 5 (1 file)"))
        ]
    );
    let rewritten: Vec<Lsn> = wal.texts(&[Kind::Rewrite]).iter().map(|(lsn, _)| *lsn).collect();
    assert_eq!(rewritten, [rebuilt, full]);
}

#[test]
fn drops_have_the_names_that_are_known() {
    let mut wal = begun();
    wal.add("Standby", 720, "LOCK xid 720 db 5 rel 16384 ");
    wal.add("Standby", 720, "LOCK xid 720 db 5 rel 16390 ");
    wal.delete(720, "1663/5/1259", 4);
    wal.commit(720, "; rels: base/5/16384 base/5/16384_fsm");
    let text = |catalogue: &str| wal.events_with(all(), catalogue).unwrap()[0].text();
    assert_eq!(text(""), "dropped 1 of: OID 16384 16390 in database 5 (1 relation, 1 file)");
    // What is there was locked only.
    let live = "5|shop|1663|16390|16390|r|public|owners|";
    assert_eq!(text(live), "dropped: OID 16384 in shop (1 relation, 1 file)");
    let copy = "5|shop|1663|16390|16390|r|public|owners|5|shop|1663|16384|16384|r|public|pets|";
    assert_eq!(text(copy), "dropped 1 of: shop.public.pets, shop.public.owners (1 relation, 1 file)");
    let wanted = |name: &str| Some(Wanted::find(name, &parse(copy)).unwrap());
    let found = |name| wal.events_with(Options { wanted: wanted(name), ..all() }, copy).unwrap().len();
    assert_eq!((found("pets"), found("17000")), (1, 0));
}

#[test]
fn what_was_only_locked_or_moved_is_not_truncated() {
    let mut wal = begun();
    wal.add("Standby", 710, "LOCK xid 710 db 5 rel 16384 xid 710 db 5 rel 16390 ");
    wal.add("Storage", 710, "CREATE base/5/16400");
    wal.commit(710, "; rels: base/5/16384");
    let catalogue = "5|shop|1663|16390|16390|r|public|owners|5|shop|1663|16384|16400|r|public|pets|";
    let text = wal.events_with(all(), catalogue).unwrap()[0].text();
    assert_eq!(text, "truncated: shop.public.pets (1 file)");
    // ALTER TABLE … SET TABLESPACE of an empty table.
    let mut wal = begun();
    wal.add("Standby", 711, "LOCK xid 711 db 5 rel 16384 ");
    wal.add("Storage", 711, "CREATE pg_tblspc/16385/PG_15_202209061/5/16401");
    wal.commit(711, "; rels: base/5/16384");
    assert_eq!(wal.texts(&[]), []);
    // Of what was done before the search only the end is there.
    let mut wal = begun();
    let end = wal.commit(690, "; rels: base/5/16384 base/5/16385");
    let words = "dropped, truncated or rewritten by a transaction that began before the search: ";
    assert_eq!(wal.texts(&[]), [(end, format!("{words}file 1663/5/16384, file 1663/5/16385"))]);
}

#[test]
fn a_view_is_a_drop_only_if_asked_for() {
    let mut wal = begun();
    wal.add("Standby", 720, "LOCK xid 720 db 5 rel 16384 ");
    wal.delete(720, "1663/5/1259", 4);
    let dropped = wal.commit(720, "");
    assert_eq!(wal.texts(&[]), []);
    assert_eq!(wal.texts(&[Kind::Drop])[0].0, dropped);
}

#[test]
fn a_dropped_database_is_whole_before_it_is_marked() {
    let mut wal = begun();
    wal.commit(700, "");
    let mark = wal.add("Heap", 0, "INPLACE off 4, blkref #0: rel 1664/0/1262 blk 0");
    wal.delete(730, "1664/0/1262", 4);
    wal.add("Database", 730, "DROP dir 1663/16394 16385/16394");
    wal.commit(730, "");
    assert_eq!(wal.texts(&[]), [(mark, "database OID 16394 dropped".to_owned())]);
    // Of a minor version that does not mark it: VACUUM may have changed the row long before, or it has not.
    for first in [Some("2026-11-29 12:20:55 UTC"), None] {
        let mut wal = begun();
        if let Some(time) = first {
            wal.add("Transaction", 700, &format!("COMMIT {time}"));
            wal.add("Heap", 0, "INPLACE off 4, blkref #0: rel 1664/0/1262 blk 0");
        }
        wal.commit(701, "");
        let row = wal.delete(730, "1664/0/1262", 4);
        wal.add("Database", 730, "DROP dir 1663/16394");
        wal.commit(730, "");
        let texts = wal.texts(&[]);
        assert_eq!(texts[0].0, row);
        assert!(texts[0].1.contains("was not found"), "{texts:?}");
    }
    // Moved to another tablespace.
    let mut wal = begun();
    wal.add("Database", 731, "DROP dir 1663/16394");
    wal.commit(731, "");
    assert_eq!(wal.texts(&[]), []);
}

#[test]
fn prepared_transactions_count_when_they_are_committed() {
    let mut wal = begun();
    wal.delete(740, TABLE, 1);
    wal.delete(741, TABLE, 1);
    wal.add("Transaction", 740, "PREPARE gid a: 2026-11-29 12:29:55 UTC");
    let end = wal.add("Transaction", 0, "COMMIT_PREPARED 740: 2026-11-29 12:29:56.838839 UTC");
    wal.add("Transaction", 0, "ABORT_PREPARED 741: 2026-11-29 12:29:56.838839 UTC");
    let events = wal.events_with(all(), "").unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].lsn, events[0].xid, events[0].time),
        (end, 740, Some(datetime!(2026-11-29 12:29:56.838839 UTC)))
    );
}

#[test]
fn only_what_lies_between_the_times_and_on_the_timeline() {
    let mut wal = begun();
    let mut at = Vec::new();
    for (xid, time) in
        [(700, "12:00:00"), (701, "12:10:00"), (702, "12:15:00"), (703, "12:40:00"), (704, "12:11:00")]
    {
        wal.delete(xid, TABLE, 1);
        at.push(wal.add("Transaction", xid, &format!("COMMIT 2026-11-29 {time}.000000 UTC")));
    }
    let found =
        |options| -> Vec<Lsn> { wal.events_with(options, "").unwrap().iter().map(|e| e.lsn).collect() };
    let (from, to) = (datetime!(2026-11-29 12:10 UTC), datetime!(2026-11-29 12:15 UTC));
    // A clock that ran ahead ends nothing.
    assert_eq!(found(Options { from: Some(from), to: Some(to), ..all() }), [at[1], at[2], at[4]]);
    // What the older timeline's last records repeat is left out.
    assert_eq!(found(Options { begin: Lsn(at[2].0 + 1), ..all() }), [at[3], at[4]]);
}

#[test]
fn it_ends_when_all_is_later() {
    let mut wal = begun();
    for _ in 0..150 {
        wal.add("Transaction", 700, "COMMIT 2026-11-29 12:40:00.000000 UTC");
    }
    let to = Some(datetime!(2026-11-29 12:15 UTC));
    let mut search = Search::new(Options { to, ..all() }, parse(""));
    let read = wal.lines.iter().take_while(|line| search.read(line, &mut |_| Ok(())).unwrap()).count();
    assert!(search.has_ended() && (99..110).contains(&read), "{read}");
    let mut search =
        Search::new(Options { to: Some(datetime!(9999-12-31 23:59:59 UTC)), ..all() }, parse(""));
    assert!(wal.lines.iter().all(|line| search.read(line, &mut |_| Ok(())).unwrap()));
}

#[test]
fn what_a_crash_ended_is_forgotten() {
    let mut wal = begun();
    wal.delete(760, TABLE, 1);
    wal.add("Standby", 0, "RUNNING_XACTS nextXid 770 latestCompletedXid 769 oldestRunningXid 770");
    // A number that comes round, after 4 thousand million transactions.
    wal.commit(760, "");
    assert_eq!(wal.texts(&[]), []);
}
