//! From the options of a stanza to the settings of a cluster, and what remains for a person.

use super::options::Then;
use super::read::Options;
use super::values::{bytes, count, kept, path, seconds, yes};
use crate::cli::lines::Lines;
use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// Sections of a command count for what the command does.
const BACKUP: &[&str] = &["backup"];
const PUSH: &[&str] = &["archive-push"];
const GET: &[&str] = &["archive-get"];
const EXPIRE: &[&str] = &["expire", "backup"];

/// What pgBackRest reads ahead in recovery is a quarter of what pgv spools.
const SPOOL_OF_QUEUE: u64 = 4;
/// The repo-path of pgBackRest where none is set.
const REPOSITORY: &str = "/var/lib/pgbackrest";

struct Translation<'a> {
    options: &'a Options,
    lines: Lines,
    /// Options of which a line speaks.
    said: BTreeSet<String>,
}

/// `set KEY=VALUE`; `became OPTION KEY`; `left OPTION why nothing is to be done`; `do OPTION what is to be done`.
pub fn translate(options: &Options, unknown: &[String]) -> Result<Lines> {
    let mut lines = Lines::new();
    lines.add("stanza", &options.stanza);
    let mut translation = Translation { options, lines, said: BTreeSet::new() };
    translation.server()?;
    let repository = translation.repository()?;
    translation.work()?;
    translation.retention(repository.unwrap_or(1))?;
    translation.rest(repository);
    for name in unknown {
        translation.left(name, "pgBackRest knows no such option, and ignores it");
    }
    Ok(translation.lines)
}

impl<'a> Translation<'a> {
    fn get(&self, name: &str, number: u32, commands: &[&str]) -> Result<Option<&'a str>> {
        self.options.get(name, number, commands)
    }

    fn set(&mut self, option: &str, key: &str, value: impl std::fmt::Display) {
        self.lines.add("set", format_args!("{key}={value}"));
        self.became(option, key);
    }

    fn became(&mut self, option: &str, key: &str) {
        self.lines.add("became", format_args!("{option} {key}"));
        self.said.insert(option.to_owned());
    }

    fn left(&mut self, option: &str, why: &str) {
        self.lines.add("left", format_args!("{option} {why}"));
        self.said.insert(option.to_owned());
    }

    fn must(&mut self, option: &str, what: &str) {
        self.lines.add("do", format_args!("{option} {what}"));
        self.said.insert(option.to_owned());
    }

    fn server(&mut self) -> Result<()> {
        if let Some(data) = self.get("pg-path", 1, BACKUP)? {
            self.lines.add("pgdata", path("pg1-path", data)?);
            self.became("pg1-path", "PGV_PGDATA");
        }
        if let Some(port) = self.get("pg-port", 1, BACKUP)? {
            count("pg1-port", port)?;
            self.set("pg1-port", "PGPORT", port);
        }
        if let Some(path) = self.get("pg-socket-path", 1, BACKUP)? {
            self.set("pg1-socket-path", "PGHOST", path);
        }
        Ok(())
    }

    /// The first that pgv can write to. Its number.
    fn repository(&mut self) -> Result<Option<u32>> {
        let of_repository = self.options.all().into_iter().filter(|(row, _)| row.is_of("repo"));
        let mut numbers: BTreeSet<u32> = of_repository.map(|(_, number)| number).collect();
        if numbers.is_empty() {
            numbers.insert(1);
        }
        let mut chosen = None;
        for number in numbers {
            let kind = self.get("repo-type", number, BACKUP)?.unwrap_or("posix");
            let is_here = self.get("repo-host", number, BACKUP)?.is_none();
            match kind {
                _ if !is_here => {}
                "s3" | "posix" | "cifs" if chosen.is_some() => self.must(
                    &format!("repo{number}"),
                    "pgv writes to one repository: copy each backup to a second place with pgv-copy",
                ),
                "s3" | "posix" | "cifs" => chosen = Some(number),
                _ => {}
            }
        }
        match chosen {
            Some(number) if self.get("repo-type", number, BACKUP)? == Some("s3") => self.bucket(number)?,
            Some(number) => self.directory(number)?,
            None => self.must("repo", "none of these repositories has a counterpart: give --repo URL"),
        }
        Ok(chosen)
    }

    fn directory(&mut self, number: u32) -> Result<()> {
        let own = self.get("repo-path", number, BACKUP)?.unwrap_or(REPOSITORY);
        let own = path(&format!("repo{number}-path"), own)?;
        if self.get("repo-type", number, BACKUP)?.is_some() {
            self.became(&format!("repo{number}-type"), "PGV_REPO");
        }
        self.set(&format!("repo{number}-path"), "PGV_REPO", format_args!("file://{}", beside(own)));
        Ok(())
    }

    fn bucket(&mut self, number: u32) -> Result<()> {
        let name = |rest: &str| format!("repo{number}-{rest}");
        let option = |this: &Self, rest: &str| this.get(&format!("repo-{rest}"), number, BACKUP);
        let bucket = option(self, "s3-bucket")?
            .ok_or_else(|| Error::usage(format!("{} is not set", name("s3-bucket"))))?;
        let beside = beside(path(&name("path"), option(self, "path")?.unwrap_or(REPOSITORY))?);
        self.set(&name("s3-bucket"), "PGV_REPO", format_args!("s3://{bucket}{beside}"));
        self.became(&name("type"), "PGV_REPO");
        if option(self, "path")?.is_some() {
            self.became(&name("path"), "PGV_REPO");
        }
        let region = option(self, "s3-region")?;
        if let Some(region) = region {
            self.set(&name("s3-region"), "PGV_S3_REGION", region);
        }
        self.endpoint(number, region)?;
        for (rest, key) in [
            ("s3-key", "AWS_ACCESS_KEY_ID"),
            ("s3-key-secret", "AWS_SECRET_ACCESS_KEY"),
            ("s3-token", "AWS_SESSION_TOKEN"),
            ("storage-ca-file", "PGV_S3_CA_FILE"),
        ] {
            if let Some(value) = option(self, rest)? {
                self.set(&name(rest), key, value);
            }
        }
        match option(self, "s3-key-type")? {
            None => {}
            Some("shared") => self.became(&name("s3-key-type"), "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"),
            Some("auto") => self.left(&name("s3-key-type"), "pgv asks the machine for its role"),
            Some("web-id" | "pod-id") => self.must(
                &name("s3-key-type"),
                "add AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, or the AWS_CONTAINER_ variables, to the configuration",
            ),
            Some(_) => self.must(
                &name("s3-key-type"),
                "put credential_process into a profile of ~/.aws/config, and set PGV_S3_PROFILE",
            ),
        }
        if let Some(key) = option(self, "s3-kms-key-id")? {
            self.set(&name("s3-kms-key-id"), "PGV_S3_SSE", format_args!("aws:kms={key}"));
        }
        if option(self, "storage-verify-tls")?.is_some_and(|value| value == "y") {
            self.left(&name("storage-verify-tls"), "pgv always verifies the service");
        }
        if option(self, "s3-service")?.is_some_and(|value| value == "s3") {
            self.left(&name("s3-service"), "it is the default");
        }
        if let Some(value) = option(self, "s3-requester-pays")?
            && !yes(&name("s3-requester-pays"), value)?
        {
            self.left(&name("s3-requester-pays"), "it is the default");
        }
        Ok(())
    }

    /// Where the requests go, and in which style.
    fn endpoint(&mut self, number: u32, region: Option<&str>) -> Result<()> {
        let name = |rest: &str| format!("repo{number}-{rest}");
        let option = |this: &Self, rest: &str| this.get(&format!("repo-{rest}"), number, BACKUP);
        let (endpoint, host) = (option(self, "s3-endpoint")?, option(self, "storage-host")?);
        let port = option(self, "storage-port")?;
        let style = option(self, "s3-uri-style")?;
        let Some(server) = host.or(endpoint) else { return Ok(()) };
        let own = format!("s3.{}.amazonaws.com", region.unwrap_or_default());
        if host.is_none() && port.is_none() && (server == "s3.amazonaws.com" || server == own) {
            self.left(&name("s3-endpoint"), "it is Amazon's, which PGV_S3_REGION names");
        } else {
            let url = url(server, port.map(|port| count(&name("storage-port"), port)).transpose()?);
            if endpoint.is_some() {
                self.became(&name("s3-endpoint"), "PGV_S3_ENDPOINT_URL");
            }
            if port.is_some() {
                self.became(&name("storage-port"), "PGV_S3_ENDPOINT_URL");
            }
            let of = if host.is_some() { "storage-host" } else { "s3-endpoint" };
            self.lines.add("set", format_args!("PGV_S3_ENDPOINT_URL={url}"));
            if host.is_some() {
                self.became(&name(of), "PGV_S3_ENDPOINT_URL");
            }
            // With an endpoint of its own pgv puts the bucket into the path, pgBackRest into the name of the host; but not
            // before the name of another host.
            let is_path = style == Some("path") || host.is_some();
            self.lines.add("set", format_args!("PGV_S3_PATH_STYLE={}", if is_path { "yes" } else { "no" }));
            if style.is_some() {
                self.became(&name("s3-uri-style"), "PGV_S3_PATH_STYLE");
            }
            return Ok(());
        }
        if let Some(style) = style {
            self.set(&name("s3-uri-style"), "PGV_S3_PATH_STYLE", if style == "path" { "yes" } else { "no" });
        }
        Ok(())
    }

    /// How much is done at once, how it is compressed, and what waits for what.
    fn work(&mut self) -> Result<()> {
        if let Some(number) = self.get("process-max", 1, BACKUP)? {
            self.set("process-max", "PGV_JOBS", count("process-max", number)?.clamp(1, 256));
        }
        if let Some(value) = self.get("archive-async", 1, PUSH)? {
            let number = match self.get("process-max", 1, PUSH)? {
                Some(number) => count("process-max", number)?,
                None => 1,
            };
            // One worker is none, which is what pgBackRest calls synchronous.
            match yes("archive-async", value)? {
                true => {
                    self.set("archive-async", "PGV_WAL_JOBS", number.clamp(2, 64));
                    // Set for archive-push alone.
                    if !self.said.contains("process-max") && self.get("process-max", 1, PUSH)?.is_some() {
                        self.became("process-max", "PGV_WAL_JOBS");
                    }
                }
                false => {
                    self.left("archive-async", "two workers push WAL that waits: PGV_WAL_JOBS=1 for none")
                }
            }
        }
        if let Some(value) = self.get("archive-get-queue-max", 1, GET)? {
            let spool = bytes("archive-get-queue-max", value)?.max(1 << 20).saturating_mul(SPOOL_OF_QUEUE);
            self.set(
                "archive-get-queue-max",
                "PGV_WAL_SPOOL",
                format_args!("{}MiB", spool.div_ceil(1 << 20)),
            );
        }
        if let Some(value) = self.get("archive-timeout", 1, BACKUP)? {
            self.set(
                "archive-timeout",
                "PGV_WAL_TIMEOUT",
                format_args!("{}s", seconds("archive-timeout", value)?.max(1)),
            );
        }
        self.compression()?;
        if let Some(value) = self.get("start-fast", 1, BACKUP)? {
            let checkpoint = if yes("start-fast", value)? { "fast" } else { "spread" };
            self.set("start-fast", "PGV_CHECKPOINT", checkpoint);
        }
        if let Some(value) = self.get("backup-standby", 1, BACKUP)?
            && value == "n"
        {
            self.left("backup-standby", "it is the default");
        }
        Ok(())
    }

    fn compression(&mut self) -> Result<()> {
        let kind = self.get("compress-type", 1, BACKUP)?;
        if let Some(kind) = kind {
            match kind {
                "zst" => self.left("compress-type", "pgv always compresses with zstd"),
                _ => self.left(
                    "compress-type",
                    "pgv compresses with zstd at level 3, which is faster and smaller; see PGV_LEVEL",
                ),
            }
        }
        if let Some(level) = self.get("compress-level", 1, BACKUP)? {
            match (kind, level.parse::<i64>()) {
                (Some("zst"), Ok(level)) => self.set("compress-level", "PGV_LEVEL", level.clamp(1, 19)),
                (_, Err(_)) => return Err(Error::usage("compress-level is no number")),
                _ => self.left("compress-level", "it is a level of another compression; see PGV_LEVEL"),
            }
        }
        Ok(())
    }

    fn retention(&mut self, number: u32) -> Result<()> {
        let name = |rest: &str| format!("repo{number}-retention-{rest}");
        let option = |this: &Self, rest: &str| this.get(&format!("repo-retention-{rest}"), number, EXPIRE);
        let (full, kind) = (option(self, "full")?, option(self, "full-type")?);
        match full {
            Some(value) if kind == Some("time") => {
                let days = kept(&name("full"), value)?;
                self.set(&name("full"), "PGV_KEEP_WITHIN", format_args!("{days}d"));
                self.became(&name("full-type"), "PGV_KEEP_WITHIN");
            }
            Some(value) => {
                self.set(&name("full"), "PGV_KEEP_FULL", kept(&name("full"), value)?);
                if kind.is_some() {
                    self.became(&name("full-type"), "PGV_KEEP_FULL");
                }
            }
            None => self.must(
                &name("full"),
                "it is not set, and pgBackRest deletes nothing; pgv keeps two fulls: set PGV_KEEP_FULL, or PGV_EXPIRE=no",
            ),
        }
        if let Some(value) = option(self, "diff")? {
            self.set(&name("diff"), "PGV_KEEP_DIFF", kept(&name("diff"), value)?);
        }
        let (archive, kind) = (option(self, "archive")?, option(self, "archive-type")?.unwrap_or("full"));
        if kind == "full" && (archive.is_none() || archive == full) {
            for rest in ["archive", "archive-type"] {
                if option(self, rest)?.is_some() {
                    self.left(&name(rest), "pgv keeps all WAL since the oldest backup");
                }
            }
        }
        if let Some(value) = self.get("expire-auto", 1, BACKUP)? {
            self.set("expire-auto", "PGV_EXPIRE", if yes("expire-auto", value)? { "yes" } else { "no" });
        }
        Ok(())
    }

    /// What the table says about the others.
    fn rest(&mut self, repository: Option<u32>) {
        for (row, number) in self.options.all() {
            let shown = row.shown(number);
            if self.said.contains(&shown) {
                continue;
            }
            if row.is_of("repo") && repository.is_some_and(|chosen| chosen != number) {
                // One line for the repository, above, or the reason why it was not chosen.
                let is_reason =
                    matches!(row.then, Then::Do(_)) && !self.said.contains(&format!("repo{number}"));
                if !is_reason {
                    continue;
                }
            }
            if row.is_of("pg") && number != 1 {
                let host = format!("pg{number}");
                if !self.said.contains(&host) {
                    let what = "set pgv up on that host, too, with the same PGV_CLUSTER: its WAL goes on in one archive";
                    self.must(&host, what);
                }
                continue;
            }
            match row.then {
                Then::Nothing(why) => self.left(&shown, why),
                Then::Do(what) => self.must(&shown, what),
                Then::Command(instead) => self.left(&shown, &format!("given with each command: {instead}")),
                Then::Becomes(key) => self.left(&shown, &format!("it has no effect here; see {key}")),
            }
        }
    }
}

/// Never inside what belongs to the other: who deletes the old repository must not delete the new one.
fn beside(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/pgv".to_owned(),
        path => format!("/{}-pgv", path.trim_start_matches('/')),
    }
}

fn url(server: &str, port: Option<u64>) -> String {
    let (scheme, rest) = match server.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => ("https", server),
    };
    let rest = rest.trim_end_matches('/');
    let usual = if scheme == "http" { 80 } else { 443 };
    match port {
        Some(port) if port != usual => format!("{scheme}://{rest}:{port}"),
        _ => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::{Request, read};
    use super::*;

    fn translated(text: &str) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbackrest.conf");
        std::fs::write(&file, text).unwrap();
        let (options, unknown) = read(&Request { file, ..Request::default() }).unwrap();
        let lines = translate(&options, &unknown).unwrap();
        lines.as_str().lines().map(str::to_owned).collect()
    }

    fn of<'l>(lines: &'l [String], key: &str) -> Vec<&'l str> {
        lines.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).collect()
    }

    /// As pgBackRest's cookbooks have it, with names of any age.
    #[test]
    fn the_configuration_of_a_cookbook_comes_out_complete() {
        let lines = translated(
            "[global]\nrepo1-type=s3\nrepo1-path=/repo\nrepo1-s3-bucket=b\nrepo1-s3-endpoint=s3.example.com\n\
             repo1-s3-host=10.0.0.1\nrepo1-s3-port=9000\nrepo1-s3-key=ID\nrepo1-s3-key-secret=a/b+c\n\
             repo1-s3-region=eu\nrepo1-s3-uri-style=path\nrepo1-s3-verify-ssl=n\nrepo1-s3-ca-file=/ca.pem\n\
             repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=horse\nretention-full=2\nrepo1-retention-diff=3\n\
             start-fast=y\nstop-auto=y\ncompress-type=zst\ncompress-level=6\nprocess-max=4\narchive-async=y\n\
             spool-path=/spool\nlog-level-console=info\narchive-get-queue-max=1GiB\narchive-timeout=90\n\
             [global:archive-push]\nprocess-max=3\n[main]\ndb-path=/data\ndb-port=5433\npg1-socket-path=/run/pg\n",
        );
        assert_eq!(
            of(&lines, "set"),
            [
                "PGPORT=5433",
                "PGHOST=/run/pg",
                "PGV_REPO=s3://b/repo-pgv",
                "PGV_S3_REGION=eu",
                "PGV_S3_ENDPOINT_URL=https://10.0.0.1:9000",
                "PGV_S3_PATH_STYLE=yes",
                "AWS_ACCESS_KEY_ID=ID",
                "AWS_SECRET_ACCESS_KEY=a/b+c",
                "PGV_S3_CA_FILE=/ca.pem",
                "PGV_JOBS=4",
                "PGV_WAL_JOBS=3",
                "PGV_WAL_SPOOL=4096MiB",
                "PGV_WAL_TIMEOUT=90s",
                "PGV_LEVEL=6",
                "PGV_CHECKPOINT=fast",
                "PGV_KEEP_FULL=2",
                "PGV_KEEP_DIFF=3",
            ]
        );
        assert_eq!(of(&lines, "pgdata"), ["/data"]);
        let must: Vec<_> = of(&lines, "do").into_iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(must, ["repo1-storage-verify-tls"]);
        // Each is spoken of once, under the name of today.
        for option in
            ["repo1-cipher-pass", "repo1-cipher-type", "stop-auto", "spool-path", "log-level-console"]
        {
            let found = of(&lines, "left").into_iter().filter(|line| line.split(' ').next() == Some(option));
            assert_eq!(found.count(), 1, "{option}");
        }
        assert!(!lines.iter().any(|line| line.contains("horse")), "{lines:?}");
    }

    #[test]
    fn a_directory_a_second_repository_and_a_second_host() {
        let lines = translated(
            "[global]\nrepo1-retention-full=7\nrepo1-retention-full-type=time\nrepo2-type=azure\n\
             repo2-azure-account=x\nrepo3-path=/more\nrepo3-cipher-pass=y\n[main]\npg1-path=/d\npg2-path=/d\npg2-host=h\n",
        );
        assert_eq!(of(&lines, "set"), ["PGV_REPO=file:///var/lib/pgbackrest-pgv", "PGV_KEEP_WITHIN=7d"]);
        let must: Vec<_> = of(&lines, "do").into_iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(must, ["repo3", "pg2", "repo2-azure-account"]);
    }

    #[test]
    fn amazon_needs_no_endpoint() {
        let lines = translated(
            "[global]\nrepo1-type=s3\nrepo1-path=/\nrepo1-s3-bucket=b\nrepo1-s3-region=us-east-1\n\
             repo1-s3-endpoint=s3.us-east-1.amazonaws.com\nrepo1-s3-key-type=auto\nrepo1-retention-full=1\n[m]\npg1-path=/d\n",
        );
        assert_eq!(of(&lines, "set"), ["PGV_REPO=s3://b/pgv", "PGV_S3_REGION=us-east-1", "PGV_KEEP_FULL=1"]);
        assert!(of(&lines, "do").is_empty(), "{lines:?}");
    }

    #[test]
    fn a_value_of_one_command_is_spoken_of_where_it_counts() {
        let lines = translated(
            "[global]\nretention-full=1\n[m:archive-push]\nprocess-max=3\narchive-async=y\n[m]\npg1-path=/d\n",
        );
        assert_eq!(of(&lines, "became").last(), Some(&"repo1-retention-full PGV_KEEP_FULL"));
        assert!(of(&lines, "became").contains(&"process-max PGV_WAL_JOBS"), "{lines:?}");
        assert!(of(&lines, "left").is_empty(), "{lines:?}");
    }

    #[test]
    fn what_pgbackrest_refuses_is_refused() {
        for text in [
            "[global]\nrepo1-path=\"/r\"\n[m]\npg1-path=/d",
            "[global]\nrepo1-path=r\n[m]\npg1-path=/d",
            "[global]\nrepo1-type=s3\nrepo1-s3-bucket=b\nrepo1-path=r\n[m]\npg1-path=/d",
            "[m]\npg1-path=data",
            "[global]\nretention-full=0\n[m]\npg1-path=/d",
            "[global]\nretention-full=2 # two\n[m]\npg1-path=/d",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("pgbackrest.conf");
            std::fs::write(&file, text).unwrap();
            let (options, unknown) = read(&Request { file, ..Request::default() }).unwrap();
            assert!(translate(&options, &unknown).is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_repository_offers_is_asked_for() {
        let lines = translated("[global]\nrepo1-host=backup\nretention-full=1\n[m]\npg1-path=/d\n");
        assert!(of(&lines, "set").iter().all(|set| !set.starts_with("PGV_REPO")));
        assert!(of(&lines, "do").iter().any(|line| line.starts_with("repo1-host ")), "{lines:?}");
        assert!(of(&lines, "do").iter().any(|line| line.starts_with("repo ")), "{lines:?}");
    }
}
