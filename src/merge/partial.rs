//! Some files of a backup, of which only those members are read: an archive of them, and nothing of what makes a backup
//! startable. Each stream holds its identity, the directories above the files, the files, and tar's end marker.

use crate::error::{Error, Result, Status};
use crate::io;
use crate::merge::link::Link;
use crate::merge::output::Output;
use crate::merge::{body, run};
use crate::tar::Kind;
use std::io::Write;

/// Merges the parts, oldest first, into one archive in `sink`. It has an end only if each of them had one.
pub fn run_partial(inputs: Vec<run::Input>, sink: impl io::Sink) -> Result<Status> {
    let mut links = run::open(inputs)?;
    let Some(newest) = links.last() else { return Err(Error::usage("no stream to merge")) };
    let (major, system_identifier) = (run::major_of(&newest.identity)?, newest.identity.system_identifier);
    let mut output = Output::new(sink, major, system_identifier)?;
    body::merge(&mut links, None, &mut output)?;
    let Some(newest) = links.pop() else { return Err(Error::usage("no stream to merge")) };
    rest(newest, &mut output)?;
    for link in links {
        link.finish_part()?;
    }
    let (sink, _) = output.tar.finish()?;
    sink.finish()?;
    Ok(Status::Done)
}

/// Files behind the data, such as the saved configuration, are those of the newest backup.
fn rest<W: Write>(mut link: Link, output: &mut Output<W>) -> Result<()> {
    let mut next = link.take_rest();
    while let Some(member) = next {
        let size = link.tar.unread();
        match member.kind {
            Kind::File => {
                let mut file = output.begin(&member.path, size, member.attributes())?;
                link.pass(size, &mut |data| output.data(&mut file, data))?;
            }
            _ => link.skip(size)?,
        }
        next = link.following()?;
    }
    Ok(())
}
