//! What pgv-check says of a repository: whether it is one, whose it is, how old the newest backup is, and whether the
//! archive goes on from that. Lines `ok`, `bad` and `advice`, which belongs to the line before; and `newest URL`.

use crate::catalog::layout;
use crate::cli::lines::Lines;
use crate::error::{Kind, Result};
use crate::info::{Query, Set, State, survey, too_old};
use crate::store::{Store, Url};
use std::time::Duration;
use time::OffsetDateTime;

pub struct Limits {
    pub max_age: Duration,
    /// As it was typed.
    pub max_age_text: String,
    pub now: OffsetDateTime,
}

/// Fails only where what is asked for makes no sense; what cannot be read is a `bad` line.
pub fn doctor(store: &Store, query: &Query, cluster: &str, limits: &Limits) -> Result<Lines> {
    let mut lines = Lines::new();
    let base = query.repository.join(&format!("{cluster}/"));
    let mut names = Vec::new();
    let listed = store.list(&base, false, &mut |entry| {
        let url = entry.url.to_string();
        names.push(url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned());
        Ok(())
    });
    if let Err(error) = listed {
        bad(
            &mut lines,
            format!("repository: cannot list {base}: {error}"),
            "check PGV_REPO, the credentials and their rights",
        );
        return Ok(lines);
    }
    if names.is_empty() {
        look_for_mark(&mut lines, store, &query.repository, cluster);
    } else {
        tell_of_others(&mut lines, &base, &names, query.system_identifier);
    }
    if query.system_identifier.is_none() {
        return Ok(lines);
    }
    let sets = match survey(store, query) {
        Ok(sets) => sets,
        Err(error) => {
            bad(
                &mut lines,
                format!("backups: cannot list them: {error}"),
                "check PGV_REPO, the credentials and their rights",
            );
            return Ok(lines);
        }
    };
    look_at_backups(&mut lines, &sets, limits);
    if let Some(newest) = sets.iter().rev().find(|set| set.record().is_some()) {
        lines.add("newest", &newest.url);
        look_at_connection(&mut lines, store, &base, newest);
    }
    Ok(lines)
}

fn ok(lines: &mut Lines, text: impl std::fmt::Display) {
    lines.add("ok", text);
}

fn bad(lines: &mut Lines, text: impl std::fmt::Display, advice: impl std::fmt::Display) {
    lines.add("bad", text).add("advice", advice);
}

fn look_for_mark(lines: &mut Lines, store: &Store, repository: &Url, cluster: &str) {
    let mark = layout::MARK;
    match store.stat(&repository.join(mark)) {
        Ok(_) => ok(lines, format!("repository: {repository} exists, and has no backup of {cluster} yet")),
        Err(error) if error.kind == Kind::NotFound => bad(
            lines,
            format!(
                "repository: no repository at {repository}: it has no {mark}, and no backup of {cluster}"
            ),
            "check PGV_REPO, and that its file system is mounted; the first backup creates a repository",
        ),
        Err(error) => {
            bad(lines, format!("repository: cannot read {repository}{mark}"), error);
        }
    }
}

/// What a killed pgv-s3 check left is no cluster's.
fn tell_of_others(lines: &mut Lines, base: &Url, names: &[String], own: Option<u64>) {
    let others: Vec<_> = names
        .iter()
        .filter_map(|name| layout::parse_system_id(name))
        .filter(|id| own.is_some_and(|own| own != *id))
        .map(|id| format!("{base}{id}/"))
        .collect();
    match others.is_empty() {
        true => ok(lines, format!("repository: {base} can be listed")),
        false => bad(
            lines,
            format!("repository: {base} also has backups of another cluster: {}", others.join(" ")),
            "give this cluster a name of its own, or set PGV_SYSTEM_ID",
        ),
    }
}

/// A younger one may be among those that cannot be read.
fn look_at_backups(lines: &mut Lines, sets: &[Set], limits: &Limits) {
    let mut good = true;
    for set in sets {
        let (what, why) = match (&set.state, set.unread()) {
            (State::Damaged { why, .. }, _) => ("is damaged", why.clone()),
            (_, Some(error)) => ("cannot be read", error.to_string()),
            _ => continue,
        };
        good = false;
        bad(
            lines,
            format!("backups: {} {what}: {why}", set.label),
            "see pgv-info, and take a new backup: pgv-backup",
        );
    }
    if sets.iter().any(|set| set.unread().is_some()) {
        return;
    }
    for complaint in too_old(sets, limits.max_age, limits.now, |_| true) {
        good = false;
        bad(
            lines,
            format!("backups: {complaint}"),
            "see pgv-info, take a backup with pgv-backup, and check the schedule (cron or systemd timers)",
        );
    }
    if good {
        ok(lines, format!("backups: the newest backup is younger than {}", limits.max_age_text));
    }
}

/// From a backup that ends before the archive begins, nothing of the archive can be reached.
fn look_at_connection(lines: &mut Lines, store: &Store, base: &Url, newest: &Set) {
    let Some(record) = newest.record() else { return };
    let last = &record.backup.wal_last;
    let Some(timeline) = last.get(..8) else { return };
    let wal = base.join(&format!("{}/wal/", newest.system_identifier));
    match store.stat(&wal.join(&format!("{timeline}/{last}.pgv"))) {
        Ok(_) => {}
        // Nothing is archived at all.
        Err(error) if error.kind == Kind::NotFound && is_empty(lines, store, &wal) => {}
        Err(error) if error.kind == Kind::NotFound => bad(
            lines,
            format!("archiving: {last}, the last segment of the newest backup, is not in the archive"),
            "no moment after that backup can be restored; take a new backup: pgv-backup",
        ),
        Err(error) => {
            bad(lines, format!("archiving: could not find out whether {last} is in the archive"), error)
        }
    }
}

/// A directory that cannot be listed has its own line.
fn is_empty(lines: &mut Lines, store: &Store, directory: &Url) -> bool {
    let mut is_empty = true;
    let listed = store.list(directory, false, &mut |_| {
        is_empty = false;
        Ok(())
    });
    if let Err(error) = listed {
        bad(lines, format!("archiving: cannot list {directory}"), error);
        return true;
    }
    is_empty
}
