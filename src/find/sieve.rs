//! Which lines of pg_waldump are records. It prints texts of users as they are, and such a text may have a line that looks
//! like a record. Where the records begin, and which of them have texts, is known from the WAL itself.

use crate::error::{Error, Result};
use crate::find::line::Line;
use crate::pg::Lsn;
use crate::pg::records::Text;
use std::collections::VecDeque;

/// Lets through the one line for each record that is not only a text. The lines of a text come before the next record's
/// own, so of several for one record the last is the record.
pub struct Sieve<More> {
    /// The next records, in order; `None` when there are no more.
    more: More,
    next: VecDeque<(Lsn, Text)>,
    /// The record whose line came last, and the line that goes through.
    at: Option<Lsn>,
    held: Option<String>,
    /// What follows may be the name of that record.
    is_named: bool,
}

impl<More: FnMut() -> Result<Option<Vec<(Lsn, Text)>>>> Sieve<More> {
    pub fn new(more: More) -> Self {
        Sieve { more, next: VecDeque::new(), at: None, held: None, is_named: false }
    }

    /// Takes a line, and returns an earlier one that is a record. Fails where `more` does.
    pub fn add(&mut self, text: &str) -> Result<Option<String>> {
        let Some(line) = Line::parse(text) else { return Ok(None) };
        if self.at == Some(line.lsn) {
            if let Some(held) = self.held.as_mut().filter(|_| !self.is_named) {
                text.clone_into(held);
            }
            return Ok(None);
        }
        let Some((_, kind)) = self.next()?.filter(|(lsn, _)| *lsn == line.lsn) else { return Ok(None) };
        self.next.pop_front();
        self.at = Some(line.lsn);
        self.is_named = kind == Text::Name;
        let held = match kind {
            Text::None => Some(text.to_owned()),
            // Whatever it says, it is no other record.
            Text::Name if line.operation("RESTORE_POINT").is_some() => Some(text.to_owned()),
            Text::Name | Text::Any => None,
        };
        Ok(std::mem::replace(&mut self.held, held))
    }

    /// The last record. Fails if a record has no line.
    pub fn end(mut self) -> Result<Option<String>> {
        match self.next()? {
            Some((lsn, _)) => Err(Error::failed(format!("pg_waldump did not print the record at {lsn}"))),
            None => Ok(self.held),
        }
    }

    fn next(&mut self) -> Result<Option<(Lsn, Text)>> {
        while self.next.is_empty() {
            let Some(more) = (self.more)()? else { return Ok(None) };
            self.next.extend(more);
        }
        Ok(self.next.front().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lsn: u64, description: &str) -> String {
        format!("rmgr: XLOG len (rec/tot): 1/1, tx: 1, lsn: {}, prev 0/0, desc: {description}", Lsn(lsn))
    }

    fn sieved(lines: &[String], records: &[&[(u64, Text)]]) -> Result<Vec<String>> {
        let mut records = records.iter();
        let more =
            || Ok(records.next().map(|some| some.iter().map(|(at, text)| (Lsn(*at), *text)).collect()));
        let mut sieve = Sieve::new(more);
        let mut found = Vec::new();
        for line in lines {
            found.extend(sieve.add(line)?);
        }
        found.extend(sieve.end()?);
        Ok(found)
    }

    #[test]
    fn only_records_come_through() {
        let real = [line(8, "A"), line(16, "MESSAGE"), line(24, "B"), line(32, "C")];
        let records: [&[_]; 3] =
            [&[(8, Text::None), (16, Text::Any)], &[], &[(24, Text::None), (32, Text::None)]];
        let wanted = [real[0].clone(), real[2].clone(), real[3].clone()];
        assert_eq!(sieved(&real, &records).unwrap(), wanted);
        // In the message: at its own place, at the next one's, at a later one's, at an earlier one's, at none, and no line.
        for forged in [16, 24, 32, 8, 20].map(|at| line(at, "X")).into_iter().chain(["x".to_owned()]) {
            let mut lines = real.to_vec();
            lines.splice(2..2, [forged.clone(), forged.clone()]);
            assert_eq!(sieved(&lines, &records).unwrap(), wanted, "{forged}");
        }
        let error = sieved(&real[..3], &records).unwrap_err();
        assert!(error.to_string().contains("0/20"), "{error}");
    }

    #[test]
    fn a_restore_point_is_nothing_else() {
        let records: [&[_]; 1] = [&[(8, Text::Name), (16, Text::None)]];
        let real = [line(8, "RESTORE_POINT a"), line(16, "B")];
        assert_eq!(sieved(&real, &records).unwrap(), real);
        let lines = [line(8, "CHECKPOINT"), real[1].clone()];
        assert_eq!(sieved(&lines, &records).unwrap(), real[1..]);
    }
}
