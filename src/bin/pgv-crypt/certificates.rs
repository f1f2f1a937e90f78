//! `--certificates`: the certificates of a PEM file, each in a file of its own, for openssl.

use crate::Args;
use pgv::cli::lines::Lines;
use pgv::crypt::{self, MAX_CERTIFICATES_BYTES};
use pgv::error::{Error, IoContext, Result};
use pgv::io::{AtomicFile, Input};
use std::io::{Read, Write};

/// Prints `certificate PATH` for each.
pub fn split(args: &Args) -> Result<()> {
    let directory =
        args.output.as_deref().ok_or_else(|| Error::usage("--certificates needs --output DIR"))?;
    let mut input = Input::open(args.file.as_deref())?;
    let name = input.name().to_owned();
    let mut text = Vec::new();
    let read = (&mut input).take(MAX_CERTIFICATES_BYTES + 1).read_to_end(&mut text);
    if read.during(format_args!("read {name}"))? as u64 > MAX_CERTIFICATES_BYTES {
        return Err(Error::usage(format!("{name}: it is too large for a file of certificates")));
    }
    let mut lines = Lines::new();
    for (index, certificate) in crypt::certificates(&text, &name)?.iter().enumerate() {
        let path = directory.join(format!("{}.pem", index + 1));
        let mut file = AtomicFile::create(&path, 0o600)?;
        file.write_all(certificate.as_bytes()).during_path("write", &path)?;
        file.publish()?;
        lines.add_path("certificate", &path);
    }
    lines.print()
}
