//! Every option of pgBackRest 2.45 to 2.60, and what becomes of it: the only list there is. `pgv-migrate(7)` shows it, and
//! a test compares the two.

/// One option, without the number of its repository or host: `repo-path`, not `repo1-path`.
#[derive(Debug)]
pub struct Row {
    pub name: &'static str,
    /// Names that pgBackRest still accepts.
    pub old: &'static [&'static str],
    pub then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// This key of a configuration.
    Becomes(&'static str),
    /// Nothing is to be done, because of this.
    Nothing(&'static str),
    /// A person must do this.
    Do(&'static str),
    /// Given with a command, not configured: here is where.
    Command(&'static str),
}

use Then::{Becomes, Command, Do, Nothing};

const fn row(name: &'static str, then: Then) -> Row {
    Row { name, old: &[], then }
}

const fn old(name: &'static str, old: &'static [&'static str], then: Then) -> Row {
    Row { name, old, then }
}

const NO_SERVER: Then = Nothing("pgv has no server and no client of one");
const OTHER_HOST: Then = Do("pgv runs on the database host: set it up there, or read PULL in pgv-hosts(7)");
const REPO_HOST: Then = Do(
    "pgv writes to the repository without a repository host: give --repo URL, or read PULL in pgv-hosts(7)",
);
const AZURE: Then = Do("pgv has no Azure client: give --repo s3://BUCKET/PREFIX or file:///PATH");
const GCS: Then =
    Do("pgv has no GCS client: use the S3 interface of the service, with its HMAC keys, and --endpoint-url");
const SFTP: Then =
    Do("pgv has no SFTP client: mount the directory (sshfs, NFS) and give --repo file:///PATH");
const IN_PARTS: Then = Nothing("pgv stores a backup as one stream, and its increments by block");
const SOCKET: Then = Nothing("pgv replaces a connection that hardly moves after PGV_S3_STALL");
const LOG: Then = Nothing(
    "pgv writes messages to standard error: cron mails them, systemd logs them; --quiet leaves only errors",
);
const RESTORE_MAP: Then = Command("pgv-restore --tablespace, --tablespaces-under");
const FIND: Then = Command("pgv-s3 ls, get and rm, in a repository");

/// In alphabetical order.
pub const OPTIONS: &[Row] = &[
    row("allow-root", Nothing("the scripts of pgv step down to the owner of the cluster")),
    row("annotation", Command("pgv-backup --annotation, pgv-annotate")),
    row("archive-async", Becomes("PGV_WAL_JOBS")),
    row("archive-check", Nothing("a backup of pgv holds the WAL that it needs")),
    row("archive-copy", Nothing("a backup of pgv holds the WAL that it needs: PGV_WAL=include")),
    row("archive-expire-before", Command("pgv-expire, with PGV_KEEP_WAL")),
    row("archive-get-queue-max", Becomes("PGV_WAL_SPOOL")),
    row("archive-header-check", Nothing("pgv-wal-push always compares a segment's header with its name")),
    row("archive-missing-retry", Nothing("pgv-wal-get asks again for every segment")),
    row("archive-mode", Command("pgv-restore --archive")),
    row("archive-mode-check", Nothing("pgv-check looks at archive_mode")),
    row("archive-push-batch-size", Nothing("PGV_WAL_SPOOL bounds what is pushed ahead")),
    old(
        "archive-push-queue-max",
        &["archive-queue-max"],
        Do("pgv never drops WAL: watch pg_wal, see THE BUCKET IS FULL, OR LOCKED in pgv-runbooks(7)"),
    ),
    row("archive-timeout", Becomes("PGV_WAL_TIMEOUT")),
    row(
        "backup-standby",
        Do("run pgv-backup on the standby, with a configuration whose PGV_CLUSTER is the primary's"),
    ),
    row("beta", Nothing("an internal option")),
    row("buffer-size", Nothing("pgv chooses its buffers")),
    row("checksum-page", Nothing("pgv always checks page checksums; a bad page is status 7")),
    row("cmd", Nothing("archive_command and restore_command name the scripts of pgv")),
    row("cmd-ssh", Nothing("pgv opens no SSH connection")),
    row("compress", Nothing("pgv always compresses, with zstd")),
    row("compress-level", Becomes("PGV_LEVEL")),
    row("compress-level-network", Nothing("pgv compresses once, before it encrypts")),
    row("compress-type", Becomes("PGV_LEVEL")),
    row("config", Command("--config")),
    row("config-include-path", Command("--config")),
    row("config-path", Command("PGV_CONFIG_DIR")),
    row("db-exclude", Command("pgv-restore --database names what to restore")),
    row("db-include", Command("pgv-restore --database")),
    row(
        "db-timeout",
        Nothing(
            "pgv waits for the server as long as a statement takes: set statement_timeout for the role pgv",
        ),
    ),
    row("delta", Command("pgv-restore --delta; a backup always compares content")),
    row("detail-level", Command("pgv-info --format")),
    row("dry-run", Command("pgv-expire --dry-run, pgv-restore --plan")),
    row("exclude", Do("pgv backs up the whole data directory: move other files out of it")),
    row("exec-id", Nothing("an internal option")),
    row("expire-auto", Becomes("PGV_EXPIRE")),
    row("filter", FIND),
    row("force", Command("pgv-restore --replace")),
    row("help", Command("--help")),
    row("ignore-missing", FIND),
    row("io-timeout", Nothing("PGV_S3_STALL and PGV_S3_TIMEOUT say how long pgv waits and retries")),
    row("job-retry", Nothing("an internal option")),
    row("job-retry-interval", Nothing("an internal option")),
    row("link-all", Nothing("pgv follows no links but those of tablespaces and pg_wal")),
    row(
        "link-map",
        Do(
            "pgv follows no links but those of tablespaces and pg_wal: move the files into the data directory",
        ),
    ),
    row("lock", Nothing("an internal option")),
    row("lock-path", Nothing("the lock is in PGV_STATE_DIR")),
    row("log-level-console", LOG),
    row("log-level-file", LOG),
    row("log-level-stderr", LOG),
    row("log-path", LOG),
    row("log-subprocess", LOG),
    row("log-timestamp", LOG),
    row("manifest-save-threshold", Nothing("pgv stores the manifest when the backup is complete")),
    row("neutral-umask", Nothing("pgv keeps the modes of the data directory")),
    row("oldest", Command("pgv-info choose")),
    row("online", Command("pgv-snap --offline")),
    row("output", Command("pgv-info --format json")),
    row("page-header-check", Nothing("pgv checks the checksum of a page, if the cluster has checksums")),
    row("pg", Nothing("an internal option")),
    row("pg-database", Nothing("pgv-setup sets PGDATABASE=postgres")),
    old("pg-host", &["db-host"], OTHER_HOST),
    row("pg-host-ca-file", NO_SERVER),
    row("pg-host-ca-path", NO_SERVER),
    row("pg-host-cert-file", NO_SERVER),
    old("pg-host-cmd", &["db-cmd"], NO_SERVER),
    old("pg-host-config", &["db-config"], NO_SERVER),
    row("pg-host-config-include-path", NO_SERVER),
    row("pg-host-config-path", NO_SERVER),
    row("pg-host-key-file", NO_SERVER),
    old("pg-host-port", &["db-ssh-port"], NO_SERVER),
    row("pg-host-type", NO_SERVER),
    old("pg-host-user", &["db-user"], NO_SERVER),
    row("pg-local", Nothing("an internal option")),
    old("pg-path", &["db-path"], Becomes("PGV_PGDATA")),
    old("pg-port", &["db-port"], Becomes("PGPORT")),
    old("pg-socket-path", &["db-socket-path"], Becomes("PGHOST")),
    row(
        "pg-user",
        Nothing("pgv-setup makes the role pgv; with --no-role backups connect as the owner of the cluster"),
    ),
    row("pg-version-force", Nothing("pgv knows forks by their pg_control, or refuses them")),
    row("priority", Do("start pgv-backup with nice, or set Nice= in a drop-in of pgv-backup@.service")),
    row("process", Nothing("an internal option")),
    row("process-max", Becomes("PGV_JOBS, PGV_WAL_JOBS")),
    row("protocol-timeout", NO_SERVER),
    row("raw", FIND),
    row("recovery-option", Command("pgv-restore --time, --timeline and the other target options")),
    row("recurse", FIND),
    row("reference", Command("pgv-info --format json")),
    row("remote-type", Nothing("an internal option")),
    row("repo", Command("--config names a configuration, which has one repository")),
    row("repo-azure-account", AZURE),
    row("repo-azure-container", AZURE),
    row("repo-azure-endpoint", AZURE),
    row("repo-azure-key", AZURE),
    row("repo-azure-key-type", AZURE),
    row("repo-azure-uri-style", AZURE),
    row("repo-block", IN_PARTS),
    row("repo-block-age-map", IN_PARTS),
    row("repo-block-checksum-size-map", IN_PARTS),
    row("repo-block-size-map", IN_PARTS),
    row("repo-block-size-super", IN_PARTS),
    row("repo-block-size-super-full", IN_PARTS),
    row("repo-bundle", IN_PARTS),
    row("repo-bundle-limit", IN_PARTS),
    row("repo-bundle-size", IN_PARTS),
    row(
        "repo-cipher-pass",
        Nothing("pgv makes a random key of its own: keep this passphrase as long as the old repository"),
    ),
    row("repo-cipher-type", Nothing("pgv always encrypts with AES-256, and authenticates")),
    row("repo-gcs-bucket", GCS),
    row("repo-gcs-endpoint", GCS),
    row("repo-gcs-key", GCS),
    row("repo-gcs-key-type", GCS),
    row("repo-gcs-user-project", GCS),
    old("repo-hardlink", &["hardlink"], IN_PARTS),
    old("repo-host", &["backup-host"], REPO_HOST),
    row("repo-host-ca-file", NO_SERVER),
    row("repo-host-ca-path", NO_SERVER),
    row("repo-host-cert-file", NO_SERVER),
    old("repo-host-cmd", &["backup-cmd"], NO_SERVER),
    old("repo-host-config", &["backup-config"], NO_SERVER),
    row("repo-host-config-include-path", NO_SERVER),
    row("repo-host-config-path", NO_SERVER),
    row("repo-host-key-file", NO_SERVER),
    old("repo-host-port", &["backup-ssh-port"], NO_SERVER),
    row("repo-host-type", NO_SERVER),
    old("repo-host-user", &["backup-user"], NO_SERVER),
    row("repo-local", Nothing("an internal option")),
    row("repo-path", Becomes("PGV_REPO")),
    old(
        "repo-retention-archive",
        &["retention-archive"],
        Do("PGV_KEEP_WAL=DURATION, such as 14d, says how long WAL is kept"),
    ),
    old(
        "repo-retention-archive-type",
        &["retention-archive-type"],
        Do("PGV_KEEP_WAL=DURATION, such as 14d, says how long WAL is kept"),
    ),
    old("repo-retention-diff", &["retention-diff"], Becomes("PGV_KEEP_DIFF")),
    old("repo-retention-full", &["retention-full"], Becomes("PGV_KEEP_FULL, PGV_KEEP_WITHIN")),
    row("repo-retention-full-type", Becomes("PGV_KEEP_FULL, PGV_KEEP_WITHIN")),
    row("repo-retention-history", Nothing("pgv keeps no manifest of an expired backup")),
    old("repo-s3-bucket", &[], Becomes("PGV_REPO")),
    row("repo-s3-endpoint", Becomes("PGV_S3_ENDPOINT_URL")),
    row("repo-s3-key", Becomes("AWS_ACCESS_KEY_ID")),
    row("repo-s3-key-secret", Becomes("AWS_SECRET_ACCESS_KEY")),
    row("repo-s3-key-type", Becomes("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY")),
    row("repo-s3-kms-key-id", Becomes("PGV_S3_SSE")),
    row(
        "repo-s3-process-cmd",
        Do("put credential_process into a profile of ~/.aws/config, and set PGV_S3_PROFILE"),
    ),
    row("repo-s3-region", Becomes("PGV_S3_REGION")),
    row("repo-s3-requester-pays", Do("pgv does not pay for a bucket of another account: use your own")),
    row("repo-s3-role", Nothing("pgv asks the machine for its role")),
    row("repo-s3-service", Do("pgv signs for the service s3 only")),
    row(
        "repo-s3-sse-customer-key",
        Do("pgv encrypts before it stores, and sends the service no key: see PGV_S3_SSE"),
    ),
    row("repo-s3-sts-host", Do("set AWS_ENDPOINT_URL_STS in the configuration")),
    row("repo-s3-token", Becomes("AWS_SESSION_TOKEN")),
    row("repo-s3-uri-style", Becomes("PGV_S3_PATH_STYLE")),
    row("repo-sftp-host", SFTP),
    row("repo-sftp-host-fingerprint", SFTP),
    row("repo-sftp-host-key-check-type", SFTP),
    row("repo-sftp-host-key-hash-type", SFTP),
    row("repo-sftp-host-port", SFTP),
    row("repo-sftp-host-user", SFTP),
    row("repo-sftp-known-host", SFTP),
    row("repo-sftp-private-key-file", SFTP),
    row("repo-sftp-private-key-passphrase", SFTP),
    row("repo-sftp-public-key-file", SFTP),
    old("repo-storage-ca-file", &["repo-s3-ca-file", "repo-azure-ca-file"], Becomes("PGV_S3_CA_FILE")),
    old(
        "repo-storage-ca-path",
        &["repo-s3-ca-path", "repo-azure-ca-path"],
        Do("pgv reads one file: cat the certificates of the directory into a file, and give --ca-file FILE"),
    ),
    old("repo-storage-host", &["repo-s3-host", "repo-azure-host"], Becomes("PGV_S3_ENDPOINT_URL")),
    old("repo-storage-port", &["repo-s3-port", "repo-azure-port"], Becomes("PGV_S3_ENDPOINT_URL")),
    row("repo-storage-prefetch", Nothing("pgv fetches as many parts at once as PGV_JOBS")),
    row("repo-storage-read-over", Nothing("pgv chooses the ranges that it reads")),
    row("repo-storage-tag", Do("pgv sets no tags: use a rule of the bucket for the prefix")),
    row(
        "repo-storage-upload-chunk-size",
        Nothing("pgv-s3 chooses the size of parts by the size of the stream"),
    ),
    old(
        "repo-storage-verify-tls",
        &["repo-s3-verify-tls", "repo-s3-verify-ssl", "repo-azure-verify-tls"],
        Do(
            "pgv always verifies the service: give --ca-file FILE, with the certificate of the CA that signed the \
             service's (openssl s_client -showcerts -connect HOST:443 shows it)",
        ),
    ),
    row("repo-symlink", IN_PARTS),
    row(
        "repo-target-time",
        Do("read the bucket as of a time with the tools of the service, see pgv-policies(7)"),
    ),
    row("repo-type", Becomes("PGV_REPO")),
    row("report", Nothing("an internal option")),
    row("resume", Nothing("a backup that was interrupted begins anew; what it stored is removed")),
    row("sck-block", SOCKET),
    row("sck-keep-alive", SOCKET),
    row("set", Command("pgv-restore --label, pgv-info --label")),
    row("sort", FIND),
    row(
        "spool-path",
        Nothing(
            "the spool is in PGV_STATE_DIR, and holds up to PGV_WAL_SPOOL: set PGV_STATE_DIR for another disk",
        ),
    ),
    row("stanza", Command("CLUSTER, the first argument; the name of the configuration")),
    row("start-fast", Becomes("PGV_CHECKPOINT")),
    row(
        "stop-auto",
        Nothing("pgv always ends a backup that it began; PostgreSQL ends one whose connection is lost"),
    ),
    row("tablespace-map", RESTORE_MAP),
    row("tablespace-map-all", RESTORE_MAP),
    row("target", Command("pgv-restore --time, --lsn, --xid, --name, --immediate")),
    row("target-action", Command("pgv-restore --action")),
    row("target-exclusive", Command("pgv-restore --exclusive")),
    row("target-timeline", Command("pgv-restore --timeline")),
    row("tcp-keep-alive-count", SOCKET),
    row("tcp-keep-alive-idle", SOCKET),
    row("tcp-keep-alive-interval", SOCKET),
    row("tls-cipher-12", Nothing("pgv uses the ciphers of its TLS library")),
    row("tls-cipher-13", Nothing("pgv uses the ciphers of its TLS library")),
    row("tls-server-address", NO_SERVER),
    row("tls-server-auth", NO_SERVER),
    row("tls-server-ca-file", NO_SERVER),
    row("tls-server-cert-file", NO_SERVER),
    row("tls-server-key-file", NO_SERVER),
    row("tls-server-port", NO_SERVER),
    row("type", Command("pgv-backup --type; the target options of pgv-restore")),
    row("verbose", Command("--verbose")),
    row("version", Command("--version")),
];

/// The row of an option under any of its names, and the number in it: that of a repository or a host.
pub fn find(name: &str) -> Option<(&'static Row, u32)> {
    let (group, number, rest) = split(name);
    let plain = match group {
        "" => rest.to_owned(),
        group => format!("{group}-{rest}"),
    };
    let row = OPTIONS.iter().find(|row| row.name == plain || row.old.contains(&plain.as_str()))?;
    // Only options of a repository or a host have a number.
    let is_numbered = number.is_none() || row.is_numbered();
    is_numbered.then_some((row, number.unwrap_or(1)))
}

/// `repo12-path` is the group `repo`, the number 12, and `path`.
fn split(name: &str) -> (&str, Option<u32>, &str) {
    for group in ["repo", "pg", "db"] {
        let Some(rest) = name.strip_prefix(group) else { continue };
        let Some((digits, rest)) = rest.split_once('-') else { continue };
        if digits.is_empty() {
            return (group, None, rest);
        }
        if let (true, Ok(number)) = (digits.bytes().all(|b| b.is_ascii_digit()), digits.parse()) {
            return (group, Some(number), rest);
        }
    }
    ("", None, name)
}

impl Row {
    pub fn is_numbered(&self) -> bool {
        self.is_of("repo") || self.is_of("pg")
    }

    pub fn is_of(&self, group: &str) -> bool {
        self.name.strip_prefix(group).is_some_and(|rest| rest.starts_with('-'))
    }

    /// As a configuration of today names it.
    pub fn shown(&self, number: u32) -> String {
        match self.name.split_once('-') {
            Some((group, rest)) if self.is_numbered() => format!("{group}{number}-{rest}"),
            _ => self.name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_pgbackrest_has_a_row() {
        assert!(OPTIONS.is_sorted_by(|a, b| a.name < b.name));
        let listed = include_str!("../../tests/pgbackrest/options.txt");
        let listed: Vec<_> = listed.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(listed.len() > 190, "the list is cut");
        for name in &listed {
            assert!(find(name).is_some(), "{name} has no row");
        }
        for row in OPTIONS {
            assert!(listed.contains(&row.name), "{} is no option of pgBackRest", row.name);
        }
    }

    #[test]
    fn every_option_is_in_the_manual() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let manual = std::fs::read_to_string(root.join("man/pgv-migrate.7")).unwrap();
        let named: std::collections::HashSet<_> =
            manual.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
        for row in OPTIONS {
            assert!(named.contains(row.name), "pgv-migrate(7) does not name {}", row.name);
        }
    }

    #[test]
    fn numbers_and_old_names_are_understood() {
        let found = |name: &str| find(name).map(|(row, number)| row.shown(number));
        for (name, shown) in [
            ("repo1-path", "repo1-path"),
            ("repo-path", "repo1-path"),
            ("repo12-s3-host", "repo12-storage-host"),
            ("repo1-s3-verify-ssl", "repo1-storage-verify-tls"),
            ("db-path", "pg1-path"),
            ("db2-port", "pg2-port"),
            ("retention-full", "repo1-retention-full"),
            ("db-exclude", "db-exclude"),
            ("archive-queue-max", "archive-push-queue-max"),
            ("process-max", "process-max"),
        ] {
            assert_eq!(found(name).as_deref(), Some(shown), "{name}");
        }
        assert_eq!(found("process1-max"), None);
        assert_eq!(found("db1-exclude"), None);
        assert_eq!(found("repo1-nonsense"), None);
    }
}
