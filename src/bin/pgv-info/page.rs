//! `--html`: the list as a page, with what the WAL restores. What cannot be read is on it, and ends the command with its
//! own status.

use crate::keep::Windows;
use pgv::cli;
use pgv::error::{Error, Result, Status};
use pgv::info::{self, Archive, KeepWal, Page, Repository, Set};
use time::OffsetDateTime;

/// Whether there are gaps, and whether the WAL of each cluster could be listed.
pub fn print(
    repository: &Repository,
    sets: &[Set],
    complaints: &[String],
    now: OffsetDateTime,
) -> Result<(Status, Result<()>)> {
    let windows = Windows::new(repository, None, now)?;
    let mut complaints = complaints.to_vec();
    let (mut status, mut unlisted) = (Status::Done, Ok(()));
    let mut archives = Vec::new();
    for cluster in info::systems(sets) {
        let Some(first) = cluster.first() else { continue };
        let found = archive(repository, cluster, windows.of(first).as_ref());
        match &found {
            Ok(Some(archive)) if archive.has_gaps() => {
                status = Status::Findings;
                complaints.extend(windows.unknown(first));
            }
            Err(error) => unlisted = Err(error.clone()),
            Ok(_) => {}
        }
        if let Some(found) = found.transpose() {
            archives.push((first.cluster.clone(), first.system_identifier, found));
        }
    }
    let place = place(repository);
    let page = Page { repository: &place, now, complaints: &complaints };
    cli::print(&page.show(sets, &archives))?;
    Ok((status, unlisted))
}

/// What the page is about: a host with several clusters has a page of each, and one may have no backup yet.
fn place(repository: &Repository) -> String {
    let url = repository.query.repository.to_string();
    let url = url.trim_end_matches('/');
    match &repository.query.cluster {
        Some(cluster) => format!("{url}/{cluster}"),
        None => url.to_owned(),
    }
}

/// Nothing where no backup is complete.
fn archive(repository: &Repository, sets: &[Set], keep: Option<&KeepWal>) -> Result<Option<Archive>> {
    Ok(info::archives(&repository.store, &repository.query.repository, sets, keep)?.pop())
}

/// A page that says so, and the status of the error.
pub fn unreadable(repository: &Repository, error: Error) -> Result<Status> {
    let place = place(repository);
    let page = Page { repository: &place, now: OffsetDateTime::now_utc(), complaints: &[] };
    cli::print(&page.unreadable(&error))?;
    Err(error)
}
