//! `--plan`: what a restore would do.

use crate::apply::decide::Decision;
use crate::apply::options::Options;
use crate::apply::user::Rights;
use crate::error::{Result, Status};
use crate::stream::Head;
use crate::tar::TarReader;
use std::io::BufRead;

/// Reads no more of a stream than its head, writes nothing, prints what a run with the same options would
/// do, and refuses what that would refuse.
pub fn plan(options: &Options, input: impl BufRead) -> Result<Status> {
    let mut tar = TarReader::new(input);
    let Head { top, identity, .. } = Head::read(&mut tar)?;
    options.claims.check(&identity)?;
    options.check_selection(&identity)?;
    let Some(directory) = &options.directory else { return Ok(Status::Done) };
    let rights = Rights::new(options.owner, (top.uid, top.gid))?;
    let wanted = options.wanted(&identity);
    let request = options.request(directory, &wanted);
    let decision = Decision::find(&identity, &request, &rights)?;
    decision.lines()?.print()?;
    decision.check().map(|()| Status::Done)
}
