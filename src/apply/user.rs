//! As whom the work is done. Root writes nothing, and follows no link, inside a directory that another
//! user may write: it makes the places where only root may, gives them to their owner, and becomes that
//! owner for good. What cannot be changed back cannot be forgotten at one call in a hundred.

use crate::error::{Error, IoContext, Result};
use nix::unistd::{self, Gid, Uid, User};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Who the restored files belong to.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// Whoever runs us.
    Process,
    /// Whoever the stream's first member names, as tar does for root.
    Stream,
    User {
        uid: u32,
        gid: u32,
    },
}

/// Whose rights are used.
pub struct Rights {
    /// Another than whoever runs us.
    owner: Option<Ids>,
}

struct Ids {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Rights {
    /// `member`: the owner that the stream names. Refuses another owner unless root runs us.
    pub fn new(owner: Owner, member: (u32, u32)) -> Result<Self> {
        let (uid, gid) = match owner {
            Owner::Process => return Ok(Rights { owner: None }),
            Owner::Stream => member,
            Owner::User { uid, gid } => (uid, gid),
        };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        if uid == unistd::geteuid() {
            return Ok(Rights { owner: None });
        }
        if !unistd::geteuid().is_root() {
            return Err(Error::failed(format!("only root can give files to user {}", name(uid)))
                .hint("run it as root, or as that user without --owner"));
        }
        Ok(Rights { owner: Some(Ids { uid, gid, groups: groups(uid, gid)? }) })
    }

    /// For a directory that is there: whoever owns it.
    pub fn of(directory: &Path) -> Result<Self> {
        let metadata = match fs::metadata(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Rights { owner: None }),
            metadata => metadata.during_path("stat", directory)?,
        };
        match unistd::geteuid().is_root() {
            true => Rights::new(Owner::Stream, (metadata.uid(), metadata.gid())),
            false => Ok(Rights { owner: None }),
        }
    }

    /// Does it as the owner, and is then again who we were.
    pub fn as_owner<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(owner) = &self.owner else { return work() };
        let ours = unistd::getgroups().map_err(|error| cannot(owner.uid, error))?;
        unistd::setgroups(&owner.groups)
            .and_then(|()| unistd::setegid(owner.gid))
            .and_then(|()| unistd::seteuid(owner.uid))
            .map_err(|error| cannot(owner.uid, error))?;
        let done = work();
        unistd::seteuid(Uid::from_raw(0))
            .and_then(|()| unistd::setegid(Gid::from_raw(0)))
            .and_then(|()| unistd::setgroups(&ours))
            .map_err(|error| cannot(Uid::from_raw(0), error))?;
        done
    }

    /// The same; as root what the owner may not, if nobody but root could have planted anything there.
    pub fn as_owner_or_root<T>(&self, path: &Path, work: impl Fn() -> Result<T>) -> Result<T> {
        match self.as_owner(&work) {
            Err(_) if self.are_root() && require_only_root(path).is_ok() => work(),
            Err(error) if self.are_root() => Err(error.hint("nothing was written").hint(format!(
                "user {} must be able to read {}, and to enter all directories above it",
                self.name(),
                path.display()
            ))),
            done => done,
        }
    }

    /// From here on everything is done as the owner.
    pub fn become_owner(&self) -> Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        unistd::setgroups(&owner.groups)
            .and_then(|()| unistd::setresgid(owner.gid, owner.gid, owner.gid))
            .and_then(|()| unistd::setresuid(owner.uid, owner.uid, owner.uid))
            .map_err(|error| cannot(owner.uid, error))
    }

    /// Whether root does a part as root.
    pub fn are_root(&self) -> bool {
        self.owner.is_some()
    }

    pub fn name(&self) -> String {
        name(self.owner.as_ref().map_or_else(unistd::geteuid, |owner| owner.uid))
    }

    pub fn uid(&self) -> u32 {
        self.owner.as_ref().map_or_else(unistd::geteuid, |owner| owner.uid).as_raw()
    }

    /// Gives an open file or directory away.
    pub fn give(&self, file: &File, path: &Path) -> Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        std::os::unix::fs::fchown(file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
            .during_path("set the owner of", path)
    }
}

fn groups(uid: Uid, gid: Gid) -> Result<Vec<Gid>> {
    let user = User::from_uid(uid).ok().flatten();
    let Some(name) = user.and_then(|user| CString::new(user.name).ok()) else { return Ok(vec![gid]) };
    unistd::getgrouplist(&name, gid).map_err(|error| cannot(uid, error))
}

fn name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

fn cannot(uid: Uid, error: nix::errno::Errno) -> Error {
    Error::io(format_args!("become user {}", name(uid)), error.into())
        .hint("run it as that user: on this machine root cannot become another user")
}

/// Refuses, as usage, a path where another than root could have planted what root would follow: every directory
/// on the way, and through links, must be root's alone to change. `path` is absolute.
pub fn require_only_root(path: &Path) -> Result<()> {
    /// `ELOOP`, as the kernel counts.
    const LINKS: usize = 40;
    let mut links = 0;
    let mut rest: Vec<PathBuf> = components(path);
    let mut at = PathBuf::from("/");
    while let Some(next) = rest.pop() {
        let metadata = fs::metadata(&at).during_path("stat", &at)?;
        let sticky = metadata.mode() & 0o1000 != 0;
        if metadata.uid() != 0 || (metadata.mode() & 0o022 != 0 && !sticky) {
            return Err(Error::usage(format!(
                "root creates nothing below {}: other users may write there",
                at.display()
            )));
        }
        if next.as_os_str() == ".." {
            at.pop();
            continue;
        }
        let step = at.join(&next);
        match fs::symlink_metadata(&step) {
            Ok(found) if found.is_symlink() => {
                links += 1;
                if links > LINKS || found.uid() != 0 {
                    return Err(Error::usage(format!(
                        "root does not follow the symbolic link {}",
                        step.display()
                    )));
                }
                let to = fs::read_link(&step).during_path("read", &step)?;
                if to.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(components(&to));
            }
            Ok(_) => at = step,
            Err(error) => return Err(error).during_path("stat", &step),
        }
    }
    let metadata = fs::metadata(&at).during_path("stat", &at)?;
    match metadata.uid() == 0 && metadata.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "root creates nothing in {}: other users may write there",
            at.display()
        ))),
    }
}

/// The last first.
fn components(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<PathBuf> = parts.map(|part| PathBuf::from(part.as_os_str())).collect();
    parts.reverse();
    parts
}
