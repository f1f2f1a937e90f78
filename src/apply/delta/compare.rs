//! What a directory lacks of a chain. The streams are gone through side by side, as pgv-merge will: for each page of each
//! file one of them is the one that has it as it must be, and there it is fetched, unless the directory has the same.

use crate::apply::delta::link::{Data, Link, content_at};
use crate::apply::delta::present::{Directory, Present};
use crate::apply::delta::steps::Step;
use crate::apply::look;
use crate::apply::user::Rights;
use crate::catalog::{Mode, Placed};
use crate::cli::lines::Lines;
use crate::error::{Error, Result, Status};
use crate::manifest::{self, Base, Chain, FileLine, Kind, MAX_LINKS};
use crate::pg::incremental::Header;
use crate::stream::{Pages, Source};
use crate::tar::Kind as MemberKind;
use std::path::Path;

/// `parts`: a directory with `N.members` and `N.manifest` of each link, N from 0, the oldest. Writes `N.ranges`, the bytes of
/// each stream to fetch, and `N.steps`, for [`complete`](crate::apply::delta::complete). Without `directory` only the heads
/// of the streams are wanted.
pub fn compare(parts: &Path, directory: Option<&Path>) -> Result<Status> {
    let is_link = |number: &usize| parts.join(format!("{number}.members")).exists();
    let count = (0..=MAX_LINKS).take_while(is_link).count();
    if count == 0 || count > MAX_LINKS {
        let why = format!("{}: {count} lists of members; a chain has 1 to {MAX_LINKS}", parts.display());
        return Err(Error::usage(why));
    }
    let open = |number| Link::open(parts, number, number + 1 == count);
    let mut links = (0..count).map(open).collect::<Result<Vec<_>>>()?;
    for link in &mut links {
        link.take_head()?;
    }
    let Some(directory) = directory else {
        links.iter_mut().try_for_each(Link::finish_files)?;
        return Ok(Status::Done);
    };
    let manifests: Vec<_> = (0..count).map(|number| parts.join(format!("{number}.manifest"))).collect();
    let chain = Chain::open(&manifests)?;
    check(&links, &chain)?;
    let root = look::resolve(directory)?;
    Rights::of(&root)?.become_owner()?;
    let head = chain.head();
    let (page, segment_pages) = (u64::from(head.page_size), head.segment_pages);
    let key = manifest::decode_hash_key(&head.hash_key)?;
    let directory = Directory::new(root, key, u64::from(head.hash_pages) * page)?;
    let (wanted, all) = Comparison { links, chain, directory, page, segment_pages }.run()?;
    let mut lines = Lines::new();
    lines.add("wanted_bytes", wanted).add("stream_bytes", all);
    lines.print().map(|()| Status::Done)
}

/// Lists and manifests are of the same backups.
fn check(links: &[Link], chain: &Chain) -> Result<()> {
    for (link, head) in links.iter().zip(chain.heads()) {
        if (link.label(), link.mode()) != (&head.label, head.mode) {
            let (one, other) = (link.label(), &head.label);
            return Err(Error::damaged(format!(
                "the members are those of backup {one}, the manifest of {other}"
            )));
        }
    }
    Ok(())
}

struct Comparison {
    links: Vec<Link>,
    chain: Chain,
    directory: Directory,
    /// Bytes of a page.
    page: u64,
    segment_pages: u32,
}

/// A file whose every page is known.
struct Plan {
    /// The link that has all of it.
    base: usize,
    /// Links that have changed pages of it, oldest first.
    layers: Vec<(usize, Header)>,
    pages: Pages,
    found: Base,
    present: Present,
}

/// What becomes of a piece of a member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fetched,
    Present,
    Unused,
}

impl Comparison {
    /// Returns how many bytes are wanted, of how many.
    fn run(mut self) -> Result<(u64, u64)> {
        self.links.iter_mut().try_for_each(Link::advance)?;
        while let Some(key) = self.links.iter().filter_map(Link::key).min().map(<[u8]>::to_vec) {
            match key.strip_suffix(b"/") {
                Some(path) => self.directory(&key, path)?,
                None => self.file(&key)?,
            }
            for link in self.links.iter_mut().filter(|link| link.at(&key).is_some()) {
                link.advance()?;
            }
        }
        let mut sum = (0, 0);
        for link in self.links {
            let (wanted, all) = link.finish()?;
            sum = (sum.0 + wanted, sum.1 + all);
        }
        Ok(sum)
    }

    /// An increment of files has the names in it. What else a stream says of a directory that is there is its name;
    /// `global` tells whether the group may read the cluster, and links have their own way.
    fn directory(&mut self, key: &[u8], path: &[u8]) -> Result<()> {
        let is_link = path.strip_prefix(b"pg_tblspc/").is_some_and(|rest| !rest.contains(&b'/'));
        let in_wal = key.starts_with(b"pg_wal/");
        let mode = match path == b"global" || is_link || in_wal {
            true => None,
            false => self.directory.mode_of(path),
        };
        for link in &mut self.links {
            let Some(placed) = link.at(key).map(|data| data.placed.clone()) else { continue };
            match mode {
                _ if placed.kind == MemberKind::DumpDirectory => link.take_member(&placed)?,
                Some(mode) if link.is_newest => link.step(&Step::Directory { path: path.to_vec(), mode })?,
                // Of an increment of files the full has what belongs into pg_wal.
                _ if link.is_newest || in_wal => link.take_member(&placed)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, key: &[u8]) -> Result<()> {
        let found = self.chain.find(key)?;
        if !self.may_be_there(key) {
            return Ok(());
        }
        let plan = match found {
            Some(found) => self.plan(key, found)?,
            None => None,
        };
        match plan {
            Some(plan) => self.write(key, &plan),
            None => self.take_all(key),
        }
    }

    /// Whether the newest backup may have the file. The names that increments of files list are not known here.
    fn may_be_there(&self, key: &[u8]) -> bool {
        for link in self.links.iter().rev() {
            if link.at(key).is_some() {
                return true;
            }
            if link.mode() != Mode::Files {
                return false;
            }
        }
        false
    }

    /// Whatever belongs to the file: what the manifests do not explain pgv-merge will.
    fn take_all(&mut self, key: &[u8]) -> Result<()> {
        let oldest = self.links.iter().rposition(|link| link.at(key).is_some_and(|data| !data.is_increment));
        for link in self.links.iter_mut().skip(oldest.unwrap_or(0)) {
            if let Some(placed) = link.at(key).map(|data| data.placed.clone()) {
                link.take_member(&placed)?;
            }
        }
        Ok(())
    }

    /// None where list and manifests do not explain each other.
    fn plan(&mut self, key: &[u8], found: Base) -> Result<Option<Plan>> {
        let mut layers = Vec::new();
        let mut whole = None;
        for (number, link) in self.links.iter().enumerate().rev() {
            let Some(data) = link.at(key) else { continue };
            if !data.is_increment {
                whole = Some((number, data.placed.size));
                break;
            }
            let line = self.line(&found, number);
            let Some(header) = line.and_then(|line| self.header(line, &data.placed)) else { return Ok(None) };
            layers.push((number, header));
        }
        let Some((base, base_size)) = whole else { return Ok(None) };
        if self.line(&found, base).is_none() {
            return Ok(None);
        }
        layers.reverse();
        let size = found.line().size;
        let count = base_size.div_ceil(self.page);
        let fits = match layers.is_empty() {
            true => base_size == size,
            false => count <= u64::from(self.segment_pages) && base_size.is_multiple_of(self.page),
        };
        let Some(count) = u32::try_from(count).ok().filter(|_| fits) else { return Ok(None) };
        let mut pages = Pages::of_base(count);
        for (number, (_, header)) in layers.iter().enumerate() {
            let Ok(number) = u8::try_from(number) else { return Ok(None) };
            pages.lay(number, header);
        }
        if !layers.is_empty() && u64::from(pages.count()) * self.page != size {
            return Ok(None);
        }
        let present = self.directory.present(key, size, &found.hashes()?)?;
        Ok(Some(Plan { base, layers, pages, found, present }))
    }

    fn line<'a>(&self, found: &'a Base, link: usize) -> Option<&'a FileLine> {
        match link + 1 == self.links.len() {
            true => Some(found.line()),
            false => found.older_line(link),
        }
    }

    /// Of changed pages as the manifest lists them.
    fn header(&self, line: &FileLine, placed: &Placed) -> Option<Header> {
        let pages = u32::try_from(line.size / self.page).ok().filter(|pages| *pages <= self.segment_pages)?;
        let per_block = self.directory_block() / self.page;
        let mut blocks = Vec::new();
        for (first, count) in line.blocks.iter().flatten().filter(|_| line.kind == Kind::Blocks) {
            let first = u64::from(*first) * per_block;
            let end = (first + u64::from(*count) * per_block).min(u64::from(pages));
            // Below `pages`.
            blocks.extend((first..end).map(|page| page as u32));
        }
        let header = Header { blocks, truncation: pages };
        let size = header.encoded_length(self.page as u32) as u64 + header.blocks.len() as u64 * self.page;
        let fits = line.kind != Kind::Whole && line.size.is_multiple_of(self.page) && size == placed.size;
        (fits && header.blocks.is_sorted_by(|one, other| one < other)).then_some(header)
    }

    fn directory_block(&self) -> u64 {
        u64::from(self.chain.head().hash_pages) * self.page
    }

    fn write(&mut self, key: &[u8], plan: &Plan) -> Result<()> {
        let (page, is_alone) = (self.page, plan.layers.is_empty());
        if let Some(placed) = self.begin(key, plan.base, plan)? {
            // Without changed pages a file need not consist of pages.
            let step = if is_alone { plan.present.block() } else { page };
            let pieces = (0..placed.size.div_ceil(step)).map(|index| index * step).map(|at| {
                let source = if is_alone { Source::Base } else { plan.pages.source((at / page) as u32) };
                let fate = fate(source == Source::Base, plan.present.has(at));
                (at, step.min(placed.size - at), fate)
            });
            write_pieces(&mut self.links[plan.base], content_at(&placed), pieces)?;
        }
        for (layer, (number, header)) in plan.layers.iter().enumerate() {
            let Some(placed) = self.begin(key, *number, plan)? else { continue };
            let own = u8::try_from(layer).map(Source::Layer).ok();
            let pieces = header.blocks.iter().map(|block| {
                let at = u64::from(*block) * page;
                let is_needed = Some(plan.pages.source(*block)) == own;
                (at, page, fate(is_needed, plan.present.has(at)))
            });
            let link = &mut self.links[*number];
            link.step(&Step::Pages { page_size: page as u32, header: header.clone() })?;
            let at = content_at(&placed) + header.encoded_length(page as u32) as u64;
            write_pieces(link, at, pieces)?;
        }
        Ok(())
    }

    /// The header of a link's member at `key`.
    fn begin(&mut self, key: &[u8], number: usize, plan: &Plan) -> Result<Option<Placed>> {
        let line = self.line(&plan.found, number).cloned();
        let Some(link) = self.links.get_mut(number) else { return Ok(None) };
        let Some((Data { placed, .. }, line)) = link.at(key).zip(line) else { return Ok(None) };
        let placed = placed.clone();
        let mtime = line.mtime.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        link.step(&Step::File { path: placed.path.clone(), size: placed.size, mode: line.mode, mtime })?;
        link.step(&Step::From(key.to_vec()))?;
        Ok(Some(placed))
    }
}

fn fate(is_needed: bool, is_present: bool) -> Fate {
    match (is_needed, is_present) {
        (false, _) => Fate::Unused,
        (true, true) => Fate::Present,
        (true, false) => Fate::Fetched,
    }
}

/// `pieces`: where each lies in the file, its bytes, and what becomes of it; `at`: where the first lies in the stream.
/// Neighbours of one fate are one step.
fn write_pieces(link: &mut Link, at: u64, pieces: impl Iterator<Item = (u64, u64, Fate)>) -> Result<()> {
    let mut at = at;
    let mut run: Option<(u64, u64, Fate)> = None;
    for (offset, bytes, fate) in pieces {
        match &mut run {
            Some((first, length, same))
                if *same == fate && (fate != Fate::Present || *first + *length == offset) =>
            {
                *length += bytes;
            }
            _ => {
                write_run(link, &mut at, run.take())?;
                run = Some((offset, bytes, fate));
            }
        }
    }
    write_run(link, &mut at, run)
}

fn write_run(link: &mut Link, at: &mut u64, run: Option<(u64, u64, Fate)>) -> Result<()> {
    let Some((offset, bytes, fate)) = run else { return Ok(()) };
    let range = *at..*at + bytes;
    *at = range.end;
    match fate {
        Fate::Fetched => {
            link.want(range)?;
            link.step(&Step::Fetched(bytes))
        }
        Fate::Present => link.step(&Step::Present { at: offset, bytes }),
        Fate::Unused => link.step(&Step::Unused(bytes)),
    }
}
