//! What a stream begins with: the root, and who it is.

use crate::catalog::StreamIdentity;
use crate::catalog::member::IDENTITY;
use crate::error::{Error, IoContext, Result};
use crate::tar::{Kind, Member, TarReader};
use std::io::{self, Read};

/// `pgv/stream.json`, in bytes: a few lines, and one for each tablespace.
const IDENTITY_LIMIT: u64 = 1 << 20;

pub struct Head {
    pub top: Member,
    /// Of `json`.
    pub member: Member,
    pub json: Vec<u8>,
    pub identity: StreamIdentity,
}

impl Head {
    pub fn read(tar: &mut TarReader<impl Read>) -> Result<Self> {
        let top = first_member(tar)?;
        let (member, json) = identity_member(tar)?;
        let identity = StreamIdentity::parse(&json)?;
        Ok(Head { top, member, json, identity })
    }
}

fn first_member(tar: &mut TarReader<impl Read>) -> Result<Member> {
    match tar.next_member()? {
        Some(member) if member.path == b"." => {
            // An increment of files tells tar what it holds.
            io::copy(&mut tar.content(), &mut io::sink()).during("read stdin")?;
            Ok(member)
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
