//! pgv-snap against a real PostgreSQL 15 (Debian's packages `postgresql-15` and `libarchive-tools`).
//!
//! A server never runs as root, so as root everything goes through `runuser -u postgres`.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A running server in a scratch directory, with a pgbench database.
struct Cluster {
    scratch: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        assert!(Path::new(BIN).join("initdb").exists(), "these tests need PostgreSQL 15 in {BIN}");
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_pgv-snap"), path.join("pgv-snap")).unwrap();
        let cluster = Cluster { scratch };
        cluster.ok("initdb -k -A trust -U postgres -D data");
        cluster.start_in("data");
        cluster.ok("pgbench -q -i -s 2 postgres");
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn command(&self, shell: &str) -> Command {
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", "postgres", "--"]);
                command
            }
            false => Command::new("env"),
        };
        command.args(["bash", "-o", "pipefail", "-c", shell]);
        command.current_dir(self.scratch.path());
        command.env("PATH", format!("{BIN}:{}:/usr/bin:/bin:/usr/sbin", self.scratch.path().display()));
        command.env("PGHOST", self.scratch.path()).env("PGUSER", "postgres");
        command.env_remove("PGPORT").env_remove("PGDATABASE").stdin(Stdio::null());
        command
    }

    fn run(&self, shell: &str) -> Output {
        self.command(shell).output().unwrap()
    }

    fn ok(&self, shell: &str) -> String {
        let output = self.run(shell);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{shell}: {:?}\n{stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    fn sql(&self, sql: &str) -> String {
        self.ok(&format!("psql -XAtqc \"{sql}\" postgres")).trim().to_owned()
    }

    fn start_in(&self, directory: &str) {
        let socket = self.scratch.path().display();
        self.ok(&format!(
            "pg_ctl -w -s -D {directory} -l {directory}.log \
             -o \"-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off\" start"
        ));
    }

    fn stop(&self, directory: &str) {
        self.ok(&format!("pg_ctl -w -s -m fast -D {directory} stop"));
    }

    fn load(&self) -> Load {
        let child =
            self.command("exec pgbench -n -c 2 -T 60 postgres").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        Load(child)
    }

    fn facts(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path("facts")).unwrap()).unwrap()
    }

    /// Unpacks `stream`, checks it with PostgreSQL's own tool, and starts it from its own WAL.
    fn restore(&self, verify: &str) {
        self.ok(&format!("mkdir -m 700 restored && tar -x -f stream -C restored && {verify} restored"));
        self.ok("echo \"restore_command = 'false'\" >> restored/postgresql.auto.conf");
        self.start_in("restored");
        self.ok("for i in {1..100}; do [ \"$(psql -XAtc 'select pg_is_in_recovery()' postgres)\" = f ] && exit; sleep 0.1; done; exit 1");
    }

    fn sums(&self) -> String {
        self.sql(
            "select (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches) \
             and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history), \
             (select count(*) from pgbench_accounts)",
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for directory in ["data", "restored"] {
            let _not_stopped = self
                .command(&format!("pg_ctl -s -m immediate -D {directory} stop 2>/dev/null"))
                .status()
                .is_err();
        }
    }
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _already_gone = self.0.kill().is_err();
        let _not_reaped = self.0.wait().is_err();
    }
}

#[test]
fn a_backup_under_load_is_consistent_and_starts() {
    let cluster = Cluster::start();
    cluster.ok("mkdir space");
    let space = cluster.path("space").display().to_string();
    cluster.sql(&format!("create tablespace side location '{space}'"));
    cluster.sql("create unlogged table fleeting as select generate_series(1, 1000) n");
    let fleeting = cluster.sql("select pg_relation_filepath('fleeting')");
    {
        let _load = cluster.load();
        cluster.ok("pgv-snap --checkpoint fast --manifest manifest --facts facts > stream");
    }
    let members: Vec<String> = cluster.ok("tar -t -f stream").lines().map(str::to_owned).collect();
    assert_eq!(members, cluster.ok("bsdtar -t -f stream").lines().collect::<Vec<_>>());
    assert_eq!(members[..2], ["./", "pgv/stream.json"]);
    assert_eq!(members.last().unwrap(), "global/pg_control");
    assert_eq!(members.iter().filter(|name| *name == "global/pg_control").count(), 1);
    assert!(members.contains(&format!("{fleeting}_init")) && !members.contains(&fleeting), "unlogged");
    for left_out in ["postmaster.pid", "postmaster.opts", "backup_label.old"] {
        assert!(!members.iter().any(|name| name == left_out), "{left_out}");
    }
    let facts = cluster.facts();
    let size = std::fs::metadata(cluster.path("stream")).unwrap().len();
    assert_eq!(facts["stream_bytes"], size);
    assert!(members.contains(&format!("pg_wal/{}", facts["wal_last"].as_str().unwrap())));

    let manifest = std::fs::read_to_string(cluster.path("manifest")).unwrap();
    let paths: Vec<String> = manifest
        .lines()
        .filter_map(|line| {
            Some(serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].as_str()?.to_owned())
        })
        .collect();
    assert!(paths.is_sorted() && paths.len() > 900);

    let side = facts["tablespaces"][0]["oid"].as_u64().unwrap();
    assert_eq!(facts["tablespaces"][0]["name"], "side");
    assert!(members.contains(&format!("pg_tblspc/{side}/")));
    cluster.stop("data");
    // What a restorer does for a tablespace: its directory goes to its place, a link comes here.
    cluster.restore(&format!(
        "mkdir other && move() {{ pg_verifybackup -q $1 && mv $1/pg_tblspc/{side} other/ && \
         ln -s $PWD/other/{side} $1/pg_tblspc/{side}; }} && move"
    ));
    assert_eq!(cluster.sums(), "t|200000");
    assert_eq!(cluster.sql("select count(*) from fleeting"), "0");
    cluster.stop("restored");
    cluster.ok("pg_checksums -c -D restored");
}

#[test]
fn a_lost_session_leaves_nothing_that_could_start() {
    let cluster = Cluster::start();
    let mut backup =
        cluster.command("pgv-snap --checkpoint fast --rate 20MiB/s > stream 2> errors").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1000));
    let killed = cluster.sql(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pgv-snap'",
    );
    assert_eq!(killed, "1", "the backup was over too early");
    assert_eq!(backup.wait().unwrap().code(), Some(1));
    let listing = cluster.run("tar -t -f stream");
    assert!(!String::from_utf8(listing.stdout).unwrap().contains("global/pg_control"));
    assert!(std::fs::read_to_string(cluster.path("errors")).unwrap().contains("pgv-snap: error: "));
}

#[test]
fn a_bad_page_is_a_finding() {
    let cluster = Cluster::start();
    cluster.sql("checkpoint");
    let path = cluster.sql("select pg_relation_filepath('pgbench_accounts')");
    let file = File::options().read(true).write(true).open(cluster.path("data").join(path)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3 * 8192 + 5000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 3 * 8192 + 5000).unwrap();
    let output = cluster.run("pgv-snap --checkpoint fast --facts facts > stream");
    assert_eq!(output.status.code(), Some(7));
    assert!(String::from_utf8(output.stderr).unwrap().contains("block 3"));
    assert_eq!(cluster.facts()["findings"]["bad_pages"], 1);
    assert!(cluster.ok("tar -t -f stream").ends_with("global/pg_control\n"), "it is complete all the same");
}

#[test]
fn a_server_that_is_down_is_backed_up_offline() {
    let cluster = Cluster::start();
    let refused = cluster.run("pgv-snap --offline data > stream");
    assert_eq!(refused.status.code(), Some(1), "the server runs");
    cluster.stop("data");
    cluster.ok("pgv-snap --offline --facts facts data > stream");
    assert!(!cluster.ok("tar -t -f stream").contains("backup_label"));
    cluster.restore("pg_verifybackup -q -n");
    assert_eq!(cluster.sums(), "t|200000");
}

#[test]
fn a_role_with_few_rights_suffices_and_strangers_are_refused() {
    let cluster = Cluster::start();
    cluster.sql(
        "create role pgv login replication; grant pg_read_all_settings to pgv; \
         grant execute on function pg_backup_start(text, bool), pg_backup_stop(bool) to pgv",
    );
    cluster.ok("pgv-snap --checkpoint fast -d 'user=pgv dbname=postgres' > stream");
    assert!(cluster.ok("tar -t -f stream").ends_with("global/pg_control\n"));
    let estimate: u64 = cluster.ok("pgv-snap --estimate").trim().parse().unwrap();
    assert!((40_000_000..100_000_000).contains(&estimate), "{estimate}");
    cluster.ok("initdb -A trust -U postgres -D stranger");
    let refused = cluster.run("pgv-snap stranger > other");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("not the data directory"));
}
