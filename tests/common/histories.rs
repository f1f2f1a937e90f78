//! Random histories of files that change between backups.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

const PAGE: usize = 8192;
pub const DIRECTORIES: [&str; 2] = ["base/77777", "base/77778"];
const NAMES: [&str; 7] = ["1000", "1000.1", "2000", "2000_vm", "2000_fsm", "3000_init", "no_relation"];

#[derive(Clone, Debug)]
pub enum Change {
    /// Page and content, behind the end as well.
    Write(u64, u8),
    /// The same, and then the old time of change again.
    Stealthily(u64, u8),
    Resize(u64),
    /// Another file of that many pages takes the name.
    Replace(u64, u8),
    /// A length that is no multiple of a page.
    Odd(u64),
    Remove,
    RemoveDirectory,
    /// Nothing but a time of change in the past or the future.
    Touch(bool),
}

#[derive(Clone, Debug)]
pub struct Step {
    pub directory: usize,
    pub name: usize,
    pub change: Change,
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        5 => (0..40u64, any::<u8>()).prop_map(|(page, fill)| Change::Write(page, fill)),
        2 => (0..40u64, any::<u8>()).prop_map(|(page, fill)| Change::Stealthily(page, fill)),
        2 => (0..40u64).prop_map(Change::Resize),
        2 => (0..40u64, any::<u8>()).prop_map(|(pages, fill)| Change::Replace(pages, fill)),
        1 => (1..100_000u64).prop_map(Change::Odd),
        1 => Just(Change::Remove),
        1 => Just(Change::RemoveDirectory),
        1 => any::<bool>().prop_map(Change::Touch),
    ];
    (0..DIRECTORIES.len(), 0..NAMES.len(), change).prop_map(|(directory, name, change)| Step {
        directory,
        name,
        change,
    })
}

/// For each backup what happens before it.
pub fn histories(links: Range<usize>) -> impl Strategy<Value = Vec<Vec<Step>>> {
    prop::collection::vec(prop::collection::vec(step(), 0..14), links)
}

fn page(fill: u8) -> Vec<u8> {
    (0..PAGE).map(|at| (at % 239) as u8 ^ fill).collect()
}

pub fn take_step(data: &Path, step: &Step) {
    let directory = data.join(DIRECTORIES[step.directory]);
    if matches!(step.change, Change::RemoveDirectory) {
        let _was_not_there = fs::remove_dir_all(directory).is_err();
        return;
    }
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(NAMES[step.name]);
    let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path).unwrap();
    match step.change {
        Change::Write(at, fill) => open().write_all_at(&page(fill), at * PAGE as u64).unwrap(),
        Change::Stealthily(at, fill) => {
            let file = open();
            let before = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&page(fill), at * PAGE as u64).unwrap();
            file.set_modified(before).unwrap();
        }
        Change::Resize(pages) => open().set_len(pages * PAGE as u64).unwrap(),
        Change::Replace(pages, fill) => {
            let other = directory.join("other");
            fs::write(&other, page(fill).repeat(pages as usize)).unwrap();
            fs::rename(&other, &path).unwrap();
        }
        Change::Odd(length) => open().set_len(length).unwrap(),
        Change::Remove => {
            let _was_not_there = fs::remove_file(&path).is_err();
        }
        Change::RemoveDirectory => {}
        Change::Touch(future) => {
            let hour = Duration::from_secs(3600);
            let time = if future { SystemTime::now() + hour } else { SystemTime::now() - hour };
            open().set_modified(time).unwrap();
        }
    }
}

/// Everything in the two directories; an absent one differs from an empty one.
pub fn tree(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for directory in DIRECTORIES {
        let Ok(entries) = fs::read_dir(data.join(directory)) else { continue };
        found.insert(format!("{directory}/"), Vec::new());
        for entry in entries {
            let entry = entry.unwrap();
            let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
            found.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    // Of what has an init fork only that is backed up; none of these names has one and another.
    found
}
