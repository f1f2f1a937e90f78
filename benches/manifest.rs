//! The manifest of 1 TB of random pages: its bytes, as it is and sealed, and how long an increment takes
//! to read it, alone and with five increments on it that changed one block in a hundred each. Part of
//! `make bench`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use pgv::catalog::Mode;
use pgv::manifest::{
    Chain, FORMAT, FileLine, HASH, HASH_BYTES, Head, Kind, Writer, encode_hash_key, encode_hashes,
    hash_pages_for,
};
use pgv::pg::Lsn;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Instant;

const PAGE: u32 = 8192;
const SEGMENT: u64 = 1 << 30;
const FILES: u64 = 1024;
const FULL: &str = "20260101-000000F";

/// Marsaglia's xorshift: random enough not to compress.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn hashes(&mut self, count: usize) -> String {
        let bytes = (0..count * HASH_BYTES).map(|_| self.next().to_le_bytes()[0]).collect::<Vec<_>>();
        encode_hashes(&bytes)
    }
}

fn label(link: usize) -> String {
    match link {
        0 => FULL.to_owned(),
        _ => format!("{FULL}_20260101-00000{link}I"),
    }
}

fn write(path: &Path, link: usize, parent_sha256: Option<String>, random: &mut Random) -> String {
    let hash_pages = hash_pages_for(FILES * SEGMENT, PAGE);
    let blocks = (SEGMENT / u64::from(PAGE * hash_pages)) as u32;
    let head = Head {
        format: FORMAT.to_owned(),
        label: label(link).parse().unwrap(),
        parent: parent_sha256.as_ref().map(|_| label(link - 1).parse().unwrap()),
        parent_sha256,
        mode: if link == 0 { Mode::Full } else { Mode::Blocks },
        system_identifier: 7,
        pg_version: "15.20".to_owned(),
        timeline: 1,
        start_lsn: Lsn(0x28),
        page_size: PAGE,
        segment_pages: 131_072,
        hash_pages,
        hash: HASH.to_owned(),
        hash_key: encode_hash_key(&[7; 32]),
    };
    let mut writer = Writer::new(BufWriter::new(File::create(path).unwrap()), &head).unwrap();
    for file in 0..FILES {
        let changed: Vec<(u32, u32)> =
            (0..blocks / 100).map(|nth| (nth * 100 + (file as u32) % 100, 1)).collect();
        let count = if link == 0 { blocks as usize } else { changed.len() };
        let line = FileLine {
            path: Some(format!("base/16384/{}.{}", 100_000 + file / 100, file % 100 + 100)),
            path_hex: None,
            size: SEGMENT,
            mtime: "1795000000.123456789".to_owned(),
            ctime: "1795000000.123456789".to_owned(),
            dev: 64_512,
            ino: 1_000_000 + file,
            mode: 0o600,
            racy: false,
            kind: if link == 0 { Kind::Whole } else { Kind::Blocks },
            crc32c: "01234567".to_owned(),
            blocks: (link > 0).then_some(changed),
            hashes: Some(random.hashes(count)),
        };
        writer.file(&line).unwrap();
    }
    writer.finish().unwrap().1
}

fn read(paths: &[PathBuf]) -> f64 {
    let begun = Instant::now();
    let mut chain = Chain::open(paths).unwrap();
    let mut hashes = 0;
    for file in 0..FILES {
        let path = format!("base/16384/{}.{}", 100_000 + file / 100, file % 100 + 100);
        hashes += chain.find(path.as_bytes()).unwrap().unwrap().hashes().unwrap().len();
    }
    assert_eq!(chain.finish().unwrap(), 0);
    assert!(hashes > 300_000_000);
    begun.elapsed().as_secs_f64()
}

fn main() {
    let scratch = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut paths = Vec::new();
    let mut sha256 = None;
    for link in 0..6 {
        let path = scratch.path().join(link.to_string());
        sha256 = Some(write(&path, link, sha256, &mut random));
        paths.push(path);
    }
    let bytes = |path: &Path| path.metadata().unwrap().len();
    println!("manifest of 1 TB of random pages: {} bytes", bytes(&paths[0]));
    println!("of an increment that changed 1 % of its blocks: {} bytes", bytes(&paths[1]));
    println!("read and checked twice, as an increment does: {:.2} s", read(&paths[..1]));
    println!("with five increments on it: {:.2} s", read(&paths));
}
