//! What a stream begins with: the root, and who it is.

use crate::catalog::StreamIdentity;
use crate::catalog::member::IDENTITY;
use crate::error::{Error, IoContext, Result};
use crate::tar::{Kind, Member, TarReader};
use std::io::Read;
use std::ops::RangeInclusive;

/// `pgv/stream.json`, in bytes: a few lines, and one for each tablespace.
const IDENTITY_LIMIT: u64 = 1 << 20;

/// BLCKSZ, in bytes: the powers of two in this range.
const PAGE_SIZES: RangeInclusive<u32> = 1024..=32768;
/// Bytes of the largest segment.
const SEGMENT_LIMIT: u64 = 64 << 30;
/// The names at the top of a data directory, in bytes.
const NAMES_LIMIT: u64 = 64 << 20;

pub struct Head {
    pub top: Member,
    /// Of an increment of files: the names in the root, as GNU tar stores them.
    pub names: Vec<u8>,
    /// Of `json`.
    pub member: Member,
    pub json: Vec<u8>,
    pub identity: StreamIdentity,
}

impl Head {
    pub fn read(tar: &mut TarReader<impl Read>) -> Result<Self> {
        let (top, names) = first_member(tar)?;
        let (member, json) = identity_member(tar)?;
        let identity = StreamIdentity::parse(&json)?;
        check_layout(&identity)?;
        Ok(Head { top, names, member, json, identity })
    }
}

/// No PostgreSQL has others: BLCKSZ is 1 to 32 kB (its configure), and segments beyond 64 GiB are not for pgv.
fn check_layout(identity: &StreamIdentity) -> Result<()> {
    let StreamIdentity { page_size, segment_pages, .. } = *identity;
    let segment = u64::from(page_size) * u64::from(segment_pages);
    let known = page_size.is_power_of_two()
        && PAGE_SIZES.contains(&page_size)
        && (1..=SEGMENT_LIMIT).contains(&segment);
    known.then_some(()).ok_or_else(|| {
        Error::damaged(format!("{IDENTITY}: segments of {segment_pages} pages of {page_size} bytes"))
    })
}

fn first_member(tar: &mut TarReader<impl Read>) -> Result<(Member, Vec<u8>)> {
    match tar.next_member()? {
        Some(member) if member.path == b"." && member.size <= NAMES_LIMIT => {
            let mut names = Vec::new();
            tar.content().read_to_end(&mut names).during("read stdin")?;
            Ok((member, names))
        }
        _ => Err(Error::damaged("not a stream of pgv-snap: it does not begin with ./")),
    }
}

fn identity_member(tar: &mut TarReader<impl Read>) -> Result<(Member, Vec<u8>)> {
    let member = tar.next_member()?;
    let fits = |member: &Member| {
        member.path == IDENTITY.as_bytes() && member.kind == Kind::File && member.size <= IDENTITY_LIMIT
    };
    let member = member.filter(fits).ok_or_else(|| {
        Error::damaged("not a stream of pgv-snap: its second member is not pgv/stream.json")
    })?;
    let mut json = Vec::new();
    tar.content().read_to_end(&mut json).during("read stdin")?;
    Ok((member, json))
}
