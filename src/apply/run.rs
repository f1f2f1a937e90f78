//! The order of a restore: who the stream is, where everything goes, and then the data. A server can start only after
//! everything is on disk.

use crate::apply::base::Base;
use crate::apply::decide::Decision;
use crate::apply::layer::{Layer, SeenBeside};
use crate::apply::lists::Lists;
use crate::apply::options::Options;
use crate::apply::pieces::Pieces;
use crate::apply::target::Target;
use crate::apply::user::Rights;
use crate::catalog::Mode;
use crate::error::{IoContext, Result, Status};
use crate::report::Progress;
use crate::stream::Head;
use crate::tar::TarReader;
use std::io::BufRead;

/// Reads one stream to its end. Ends only with a complete directory that is on disk, or with an error
/// that says what was left behind.
pub fn run(options: Options, input: impl BufRead) -> Result<Status> {
    let mut tar = TarReader::new(input);
    let Head { top, member, json, identity, .. } = Head::read(&mut tar)?;
    options.claims.check(&identity)?;
    options.check_selection(&identity)?;
    if let Some(path) = &options.identity {
        std::fs::write(path, &json).during_path("write", path)?;
    }
    let progress = Progress::new("pgv-apply", options.expected_size, options.progress)?;
    // Before another user does the rest, who may have no right to the place of temporary files.
    let lists = Lists::new(identity.mode)?;
    let target = match &options.directory {
        None => None,
        Some(directory) => {
            let rights = Rights::new(options.owner, (top.uid, top.gid))?;
            let wanted = options.wanted(&identity);
            let request = options.request(directory, &wanted);
            let decision = Decision::find(&identity, &request, &rights)?;
            // The last that may refuse, and the first that writes.
            decision.check()?;
            Some(Target::open(&decision, &rights)?)
        }
    };
    let root = target.as_ref().map(|target| target.root().to_owned());
    let base = match (&root, identity.mode) {
        (Some(root), Mode::Blocks | Mode::Files) => Some(Base::open(root)?),
        _ => None,
    };
    let pieces = Pieces::new(options.delta);
    let (claims, selection, seen) = (options.claims, options.selection, SeenBeside::default());
    let layer = Layer { tar, identity, claims, selection, target, base, lists, pieces, progress, seen };
    layer.run(&member, &json, options.hold).map_err(|error| match root {
        None => error,
        Some(root) => error.hint(format!(
            "{} is incomplete and cannot be started; nothing else was touched; restore again from the full \
             backup, into the same directory",
            root.display()
        )),
    })
}
