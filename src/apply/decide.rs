//! What a stream's head and the places it goes to mean together: everything that is refused before the
//! first byte is written. `--plan` prints it, and a restore goes by it.

use crate::apply::look::{self, Content, State};
use crate::apply::parent;
use crate::apply::places::{self, Linked, Places, Wanted};
use crate::apply::user::{Rights, require_only_root};
use crate::catalog::{Mode, StreamIdentity};
use crate::cli::lines::Lines;
use crate::error::{Error, Kind, Result};
use std::path::{Path, PathBuf};

pub struct Request<'a> {
    pub directory: &'a Path,
    pub wanted: &'a Wanted,
    /// The directory holds the cluster already: what is the same is not written.
    pub delta: bool,
    /// What lies in the directory will be set aside before.
    pub replace: bool,
}

pub struct Decision<'a> {
    stream: &'a StreamIdentity,
    request: &'a Request<'a>,
    rights: &'a Rights,
    /// The data directory, resolved.
    pub root: PathBuf,
    pub state: State,
    /// Everything is made anew.
    pub fresh: bool,
    pub places: Places,
}

impl<'a> Decision<'a> {
    /// Looks, and refuses only what cannot be looked at.
    pub fn find(stream: &'a StreamIdentity, request: &'a Request<'a>, rights: &'a Rights) -> Result<Self> {
        let root = look::resolve(request.directory)?;
        let (state, linked, delta) = rights.as_owner_or_root(&root, || {
            let state = look::state(&root)?;
            let linked = match state {
                State::Absent | State::NoDirectory => Linked::default(),
                _ => places::linked(&root)?,
            };
            let delta = match state {
                State::Absent | State::Empty => false,
                State::Unfinished | State::Held(_) => {
                    request.delta && look::system_identifier(&root)?.is_some()
                }
                _ => request.delta,
            };
            Ok((state, linked, delta && !request.replace))
        })?;
        let fresh = stream.mode == Mode::Full && !delta;
        let unfinished = matches!(state, State::Unfinished | State::Held(_));
        let none = Linked::default();
        let places = match (fresh, unfinished) {
            (true, true) => Places::find(&stream.tablespaces, request.wanted, &none, &linked),
            (true, false) => Places::find(&stream.tablespaces, request.wanted, &none, &none),
            (false, _) => Places::find(&stream.tablespaces, request.wanted, &linked, &none),
        }?;
        Ok(Decision { stream, request, rights, root, state, fresh, places })
    }

    /// Refuses what a restore would refuse.
    pub fn check(&self) -> Result<()> {
        if let State::Running(pid) = self.state {
            return Err(look::may_run(&self.root, pid));
        }
        if self.state == State::NoDirectory {
            return Err(Error::new(Kind::Exists, format!("{} is not a directory", self.root.display()))
                .hint("nothing was written"));
        }
        if !self.fresh {
            self.rights.as_owner(|| match self.stream.mode {
                Mode::Full => parent::check_cluster(&self.root, self.stream),
                _ => parent::check(&self.root, self.stream),
            })?;
        }
        self.places.check(&self.stream.tablespaces, self.request.wanted, &self.root)?;
        if self.fresh && self.holds_something() && !self.request.replace {
            return Err(not_empty(&self.root));
        }
        for place in self.places.outside().filter(|place| !place.ours && !place.kept) {
            match place.content {
                Content::Absent | Content::Empty => {}
                Content::Something => return Err(not_empty(&place.path)),
                Content::NoDirectory => {
                    return Err(Error::new(
                        Kind::Exists,
                        format!("{} is not a directory", place.path.display()),
                    )
                    .hint("nothing was written"));
                }
            }
        }
        look::refuse_unwritable(&self.root, self.rights)?;
        self.places.outside().try_for_each(|place| look::refuse_unwritable(&place.real, self.rights))?;
        self.rights.as_owner(|| self.over().try_for_each(look::refuse_others_directories))
    }

    /// Lets the owner of what is written over enter and change all directories in it.
    pub fn open_directories(&self) -> Result<()> {
        self.over().try_for_each(look::open_directories)
    }

    /// The places whose content stays as far as it is the same.
    fn over(&self) -> impl Iterator<Item = &Path> {
        let outside = self.places.outside().filter(|place| place.kept).map(|place| &place.real);
        std::iter::once(&self.root).chain(outside).map(PathBuf::as_path).filter(|_| !self.fresh)
    }

    /// What neither an empty directory has nor an interrupted run left.
    fn holds_something(&self) -> bool {
        !matches!(self.state, State::Absent | State::Empty | State::Unfinished | State::Held(_))
    }

    /// How `--set-aside` will make room, if it will.
    fn aside(&self) -> Result<Option<&'static str>> {
        if !self.request.replace || !self.holds_something() {
            return Ok(None);
        }
        let parent = self.root.parent().unwrap_or(&self.root);
        let owners = Rights::of(&self.root)?;
        let may =
            look::is_writable(parent, &owners) || (owners.are_root() && require_only_root(parent).is_ok());
        Ok(Some(if may && !look::is_mount_point(&self.root)? { "renamed" } else { "content" }))
    }

    /// For scripts. Each place has its OID first, or stands for pg_wal.
    pub fn lines(&self) -> Result<Lines> {
        let mut lines = Lines::new();
        lines.add("label", &self.stream.label);
        lines.add("mode", self.stream.mode.name());
        lines.add_some("parent", self.stream.parent.as_ref());
        lines.add("system_identifier", self.stream.system_identifier);
        lines.add("pg_version", &self.stream.pg_version);
        lines.add("timeline", self.stream.timeline);
        lines.add("start_lsn", self.stream.start_lsn);
        lines.add("owner", self.rights.name());
        lines.add_path("directory", &self.root);
        lines.add("state", &self.state);
        lines.add("laid", if self.fresh { "anew" } else { "over" });
        lines.add_some("set_aside", self.aside()?);
        let (device, free) = look::room(&self.root)?;
        lines.add("device", device).add("free", free);
        lines.add("mount_point", if look::is_mount_point(&self.root)? { "yes" } else { "no" });
        for space in &self.places.spaces {
            let oid = space.oid;
            lines.add("tablespace", format_args!("{oid} {}", space.name));
            lines.add("tablespace_how", format_args!("{oid} {}", space.how));
            if let Some(place) = &space.place {
                let mut path = format!("{oid} ").into_bytes();
                path.extend_from_slice(place.path.as_os_str().as_encoded_bytes());
                let (device, free) = look::room(&place.real)?;
                lines.add_bytes("tablespace_place", &path);
                lines.add("tablespace_state", format_args!("{oid} {}", state_of(place)));
                lines.add("tablespace_device", format_args!("{oid} {device}"));
                lines.add("tablespace_free", format_args!("{oid} {free}"));
            }
        }
        lines.add("wal_how", self.places.wal_how);
        if let Some(place) = &self.places.wal {
            let (device, free) = look::room(&place.real)?;
            lines.add_path("wal_place", &place.path).add("wal_state", state_of(place));
            lines.add("wal_device", device).add("wal_free", free);
        }
        Ok(lines)
    }
}

fn state_of(place: &places::Place) -> &'static str {
    match place.content {
        Content::Absent => "absent",
        Content::Empty => "empty",
        Content::NoDirectory => "no directory",
        Content::Something if place.kept => "kept",
        Content::Something if place.ours => "unfinished",
        Content::Something => "occupied",
    }
}

fn not_empty(place: &Path) -> Error {
    Error::new(Kind::Exists, format!("{} is not empty", place.display()))
        .hint("nothing was written; give a new or empty directory, or move this one aside")
}
