//! A scratch PostgreSQL (Debian's packages `postgresql` and `libarchive-tools`) for the tests of pgv-snap.
//!
//! A server never runs as root, so as root everything goes through `runuser -u postgres`.

#![allow(dead_code)] // each test file uses its part

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// The major of Debian's PostgreSQL, which has the programs that the tests' other majors lack.
pub fn debian_postgres() -> &'static str {
    static MAJOR: LazyLock<String> = LazyLock::new(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/debian-postgres.sh");
        let asked = Command::new(script).output().unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    });
    &MAJOR
}

const TOOLS: [(&str, &str); 3] = [
    ("pgv-snap", env!("CARGO_BIN_EXE_pgv-snap")),
    ("pgv-apply", env!("CARGO_BIN_EXE_pgv-apply")),
    ("pgv-merge", env!("CARGO_BIN_EXE_pgv-merge")),
];

/// A running server in a scratch directory.
pub struct Cluster {
    scratch: tempfile::TempDir,
    /// PostgreSQL's.
    programs: PathBuf,
}

impl Cluster {
    /// With a pgbench database.
    pub fn start() -> Self {
        let cluster = Self::start_with("-k");
        cluster.ok("pgbench -q -i -s 2 postgres");
        cluster
    }

    /// `options`: of initdb. It has only what that makes.
    pub fn start_with(options: &str) -> Self {
        let programs = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", debian_postgres()));
        Self::begin(tempfile::tempdir().unwrap(), programs, options)
    }

    /// With a major whose own client tools are all there: 17 and newer. None, and said past the capture of a passing
    /// test's output, where `make test-tools` could not install it.
    pub fn start_of(major: &str) -> Option<Self> {
        let tools = std::env::var_os("PGV_TEST_TOOLS").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools")),
            PathBuf::from,
        );
        let installed = tools.join("debian").join(major);
        if !installed.join("bin/postgres").exists() {
            let line = format!("*** merging as pg_combinebackup {major}: NOT run: it is not installed ***\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            return None;
        }
        // It names its own place, which the server's user may be unable to enter.
        let scratch = tempfile::tempdir().unwrap();
        let own = scratch.path().join("postgresql");
        assert!(Command::new("cp").arg("--archive").args([&installed, &own]).status().unwrap().success());
        let programs = own.join("usr/lib/postgresql").join(major).join("bin");
        // Pages of the tests' own have no checksums, and since 18 initdb would want them.
        let options = if major == "17" { "" } else { "--no-data-checksums" };
        Some(Self::begin(scratch, programs, options))
    }

    fn begin(scratch: tempfile::TempDir, programs: PathBuf, options: &str) -> Self {
        let path = scratch.path();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        for (name, binary) in TOOLS {
            std::fs::copy(binary, path.join(name)).unwrap();
        }
        let cluster = Cluster { scratch, programs };
        cluster.ok(&format!("initdb -N {options} -A trust -U postgres -D data"));
        cluster.start_in("data");
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub fn command(&self, shell: &str) -> Command {
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
        command.env(
            "PATH",
            format!("{}:{}:/usr/bin:/bin:/usr/sbin", self.programs.display(), self.scratch.path().display()),
        );
        command.env("PGHOST", self.scratch.path()).env("PGUSER", "postgres");
        command.env_remove("PGPORT").env_remove("PGDATABASE").stdin(Stdio::null());
        command
    }

    pub fn run(&self, shell: &str) -> Output {
        self.command(shell).output().unwrap()
    }

    pub fn ok(&self, shell: &str) -> String {
        let output = self.run(shell);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{shell}: {:?}\n{stderr}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn sql(&self, sql: &str) -> String {
        self.ok(&format!("psql -XAtqc \"{sql}\" postgres")).trim().to_owned()
    }

    pub fn start_in(&self, directory: &str) {
        let socket = self.scratch.path().display();
        self.ok(&format!(
            "pg_ctl -w -s -D {directory} -l {directory}.log \
             -o \"-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off\" start"
        ));
    }

    pub fn stop(&self, directory: &str) {
        self.ok(&format!("pg_ctl -w -s -m fast -D {directory} stop"));
    }

    pub fn load(&self) -> Load {
        let child =
            self.command("exec pgbench -n -c 2 -T 60 postgres").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        Load(child)
    }

    pub fn facts(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path("facts")).unwrap()).unwrap()
    }

    /// Unpacks `stream`, checks it with PostgreSQL's own tool, and starts it from its own WAL.
    pub fn restore(&self, verify: &str) {
        self.ok(&format!("mkdir -m 700 restored && tar -x -f stream -C restored && {verify} restored"));
        self.ok("echo \"restore_command = 'false'\" >> restored/postgresql.auto.conf");
        self.start_in("restored");
        self.ok("for i in {1..100}; do [ \"$(psql -XAtc 'select pg_is_in_recovery()' postgres)\" = f ] && exit; sleep 0.1; done; exit 1");
    }

    pub fn sums(&self) -> String {
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

pub struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _already_gone = self.0.kill().is_err();
        let _not_reaped = self.0.wait().is_err();
    }
}
