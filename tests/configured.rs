//! Tools as typed, with no options and no environment: they use the configuration in PGV_CONFIG_DIR.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Host(tempfile::tempdir().unwrap());
        host.write("etc/nothing", "", 0o600);
        let key = host.run(env!("CARGO_BIN_EXE_pgv-crypt"), &["--generate-key"], b"");
        host.write("key", std::str::from_utf8(&key.stdout).unwrap(), 0o600);
        host
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }

    fn configure(&self, cluster: &str, more: &str) {
        let text = format!("PGV_REPO=s3://b/{cluster}\nPGV_KEY_FILE={}\n{more}", self.path("key"));
        self.write(&format!("etc/{cluster}.conf"), &text, 0o600);
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let path = std::env::var_os("PATH").unwrap();
        command.env_clear().env("PATH", path).env("PGV_CONFIG_DIR", self.path("etc"));
        command.env("HOME", "/nowhere").env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn run(&self, program: impl AsRef<Path>, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(program);
        finish(command.args(arguments), input)
    }
}

fn finish(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses does not read.
    let _refused = child.stdin.take().unwrap().write_all(input).is_err();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CRYPT: &str = env!("CARGO_BIN_EXE_pgv-crypt");
const S3: &str = env!("CARGO_BIN_EXE_pgv-s3");
const ENV: &str = env!("CARGO_BIN_EXE_pgv-env");

#[test]
fn the_key_is_that_of_the_only_configuration() {
    let host = Host::new();
    host.configure("shop", "");
    let sealed = host.run(CRYPT, &["-e"], b"text");
    assert!(sealed.status.success(), "{}", said(&sealed));
    let opened = host.run(CRYPT, &["-d"], &sealed.stdout);
    assert_eq!(opened.stdout, b"text", "{}", said(&opened));
}

#[test]
fn among_several_one_is_to_be_named() {
    let host = Host::new();
    host.configure("shop", "");
    host.configure("trade", "");
    let refused = host.run(CRYPT, &["-e"], b"text");
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("--config FILE: shop, trade"), "{}", said(&refused));
    let named = host.run(CRYPT, &["-e", "--config", &host.path("etc/trade.conf")], b"text");
    assert!(named.status.success(), "{}", said(&named));
}

/// Where nobody listens: what is said tells which service was asked, and that a region was known.
#[test]
fn the_service_is_that_of_the_url() {
    let host = Host::new();
    let service = |port| {
        format!(
            "PGV_S3_ENDPOINT_URL=http://127.0.0.1:{port}\nPGV_S3_TIMEOUT=0s\n\
             AWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY=y\n"
        )
    };
    host.configure("shop", &service(1));
    host.configure("trade", &service(2));
    for cluster in ["shop", "trade"] {
        let asked = host.run(S3, &["stat", &format!("s3://b/{cluster}/x")], b"");
        assert_eq!(asked.status.code(), Some(75), "{}", said(&asked));
    }
    let elsewhere = host.run(S3, &["stat", "s3://other/x"], b"");
    assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));
    assert!(said(&elsewhere).contains("shop, trade"), "{}", said(&elsewhere));
    // The environment says which service, and it is none of theirs.
    let mut command = host.command(S3);
    command.args(["stat", "s3://other/x"]).env("AWS_ACCESS_KEY_ID", "z");
    let own = finish(&mut command, b"");
    assert!(said(&own).contains("no region"), "{}", said(&own));
    let directory = host.run(S3, &["ls", &format!("file://{}/", host.path("etc"))], b"");
    assert!(directory.status.success(), "{}", said(&directory));
}

/// As root the test becomes another user; otherwise the configuration is not readable by its own owner.
#[test]
fn a_configuration_that_may_not_be_read_is_named() {
    let host = Host::new();
    host.configure("shop", "");
    std::fs::set_permissions(host.path("etc/shop.conf"), PermissionsExt::from_mode(0o000)).unwrap();
    std::fs::set_permissions(host.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::copy(CRYPT, host.path("pgv-crypt")).unwrap();
    let mut command = match rustix::process::geteuid().is_root() {
        true => {
            let mut command = host.command("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "setsid", "--wait"]);
            command
        }
        false => {
            let mut command = host.command("setsid");
            command.arg("--wait");
            command
        }
    };
    let failed = finish(command.arg(host.path("pgv-crypt")).arg("-d"), b"");
    assert_eq!(failed.status.code(), Some(2), "{}", said(&failed));
    let file = host.path("etc/shop.conf");
    assert!(
        said(&failed).contains(&format!("the configuration in {file} was not used")),
        "{}",
        said(&failed)
    );
}

#[test]
fn a_wrong_value_is_named_before_anything_is_done() {
    let host = Host::new();
    for (more, why) in [
        ("PGV_KEEP_FULL=two\n", "shop.conf: line 3: PGV_KEEP_FULL: \"two\""),
        ("PGV_WAL_JOBS=0\n", "shop.conf: line 3: PGV_WAL_JOBS: \"0\""),
        ("PGV_REPO=s3://b/again\n", "line 3: PGV_REPO is set twice, first in line 1"),
        ("PGV_LEVEL=3\r\n", "line 3 ends with a carriage return"),
    ] {
        host.configure("shop", more);
        let refused = host.run(ENV, &["shop", "touch", &host.path("done")], b"");
        assert_eq!(refused.status.code(), Some(2), "{more}");
        assert!(said(&refused).contains(why), "{more}: {}", said(&refused));
    }
    assert!(!Path::new(&host.path("done")).exists());
}

#[test]
fn a_command_has_the_configuration_as_its_environment() {
    let host = Host::new();
    host.configure("shop", "PGV_EXPIRE=off\nPGV_LEVEL=\nPGPORT=5433\n");
    let told = host.run(
        ENV,
        &["shop", "sh", "-c", "echo $PGV_REPO $PGV_CLUSTER $PGV_EXPIRE ${PGV_LEVEL-unset} $1", "-", "--x"],
        b"",
    );
    assert_eq!(String::from_utf8_lossy(&told.stdout), "s3://b/shop shop no unset --x\n", "{}", said(&told));
    let status = host.run(ENV, &["shop", "sh", "-c", "exit 42"], b"");
    assert_eq!(status.status.code(), Some(42));
}

#[test]
fn one_side_of_a_copy_has_its_own_service_and_nothing_of_the_others() {
    let host = Host::new();
    host.configure("shop", "PGV_S3_REGION=here\nAWS_ACCESS_KEY_ID=x\n");
    let mut command = host.command(ENV);
    command.args(["--service", "--config", &host.path("etc/shop.conf"), "--", "env"]);
    command
        .env("PGV_S3_ENDPOINT_URL", "http://other")
        .env("AWS_SESSION_TOKEN", "other")
        .env("PGV_RATE", "1MB/s");
    let told = finish(&mut command, b"");
    let lines = String::from_utf8(told.stdout).unwrap();
    for line in ["PGV_S3_REGION=here", "AWS_ACCESS_KEY_ID=x", "PGV_RATE=1MB/s", "PGV_REPO=s3://b/shop"] {
        assert!(lines.lines().any(|found| found == line), "{line} is not in {lines}");
    }
    assert!(!lines.contains("other"), "{lines}");
    // Whatever it says of its service, nothing of another one stands beside it.
    let other = [
        ("AWS_ENDPOINT_URL", "http://other"),
        ("AWS_ENDPOINT_URL_S3", "http://other"),
        ("AWS_REGION", "other"),
        ("AWS_DEFAULT_REGION", "other"),
        ("AWS_CA_BUNDLE", "/other"),
        ("AWS_ACCESS_KEY_ID", "other"),
        ("AWS_SECRET_ACCESS_KEY", "other"),
        ("AWS_PROFILE", "other"),
    ];
    for (text, stays) in
        [("PGV_S3_ENDPOINT_URL=http://here\n", 0), ("AWS_CA_BUNDLE=/here\n", 0), ("", other.len())]
    {
        host.configure("shop", text);
        let mut command = host.command(ENV);
        command.args(["--service", "--config", &host.path("etc/shop.conf"), "--", "env"]).envs(other);
        let told = finish(&mut command, b"");
        let lines = String::from_utf8(told.stdout).unwrap();
        assert_eq!(lines.lines().filter(|line| line.contains("other")).count(), stays, "{text}{lines}");
        assert!(text.is_empty() || lines.contains("here"), "{text}{lines}");
    }
}

/// The command has what was typed, as it would have on the other side of the pipe; and its own tools find the same
/// configuration, though there are several.
#[test]
fn a_command_has_the_environment_that_was_typed() {
    let host = Host::new();
    host.configure("shop", "PGUSER=pgv\nAWS_SECRET_ACCESS_KEY=secret\n");
    host.configure("other", "");
    let config = host.path("etc/shop.conf");
    let mut command = host.command(CRYPT);
    command.env("PGUSER", "me").args(["-e", "--config", &config, "--", "env"]);
    let sealed = finish(&mut command, b"");
    assert!(sealed.status.success(), "{}", said(&sealed));
    let mut opened = host.command(CRYPT);
    opened.env("PGV_KEY_FILE", host.path("key")).arg("-d");
    let text = String::from_utf8(finish(&mut opened, &sealed.stdout).stdout).unwrap();
    assert!(text.contains("PGUSER=me\n"), "{text}");
    for own in ["PGV_REPO=", "PGV_KEY_FILE=", "AWS_SECRET_ACCESS_KEY=", "PGV_CONFIGURED_VARIABLES="] {
        assert!(!text.contains(own), "{own} in {text}");
    }
    let nested = host.run(CRYPT, &["-e", "--config", &config, "--", CRYPT, "-e", "/dev/null"], b"");
    assert!(nested.status.success(), "{}", said(&nested));
}

/// With the port of Debian's cluster, whether pgv-snap stands before a pipe or behind two hyphens.
#[test]
fn both_forms_of_a_pipe_reach_the_same_server() {
    let host = Host::new();
    host.configure("15-shop", "");
    host.write("bin/pg_lsclusters", "#!/bin/sh\necho '15 shop 5711 online me /nowhere /log'\n", 0o755);
    host.write("bin/psql", "#!/bin/sh\necho \"port ${PGPORT:-5432}\" >&2\nexit 2\n", 0o755);
    let path = format!("{}:{}", host.path("bin"), std::env::var("PATH").unwrap());
    let snap = env!("CARGO_BIN_EXE_pgv-snap");
    for words in [&[snap][..], &[CRYPT, "-e", "--", snap]] {
        let mut command = host.command(words[0]);
        let told = finish(command.env("PATH", &path).args(&words[1..]), b"");
        assert!(!told.status.success() && said(&told).contains("port 5711"), "{words:?}: {}", said(&told));
    }
}

/// What the parser refuses is said by the tool as everything else is.
#[test]
fn a_wrong_option_is_refused_by_the_tools_name() {
    let told =
        Host::new().run(env!("CARGO_BIN_EXE_pgv-info"), &["recovery", "--time", "2026-11-23 01:40:00"], b"");
    assert_eq!(told.status.code(), Some(2));
    assert!(said(&told).starts_with("pgv-info: error: "), "{}", said(&told));
    assert!(said(&told).contains("a time has a date and a zone"), "{}", said(&told));
}

/// Root becomes the configuration's owner, who may read what root named, and whose home it is.
#[test]
fn root_steps_down_to_the_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::new();
    host.configure("shop", &format!("PGV_STATE_DIR={}\n", host.path("state")));
    std::fs::set_permissions(host.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(host.path("etc"), PermissionsExt::from_mode(0o755)).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    std::fs::create_dir(host.path("state")).unwrap();
    std::os::unix::fs::chown(host.path("state"), Some(nobody.uid.as_raw()), None).unwrap();
    let script = "id --user; echo $HOME; cat \"$PGV_KEY_FILE\" \"$PGV_KEY_FILE\" | wc --lines; \
                  \"$0\" --print --config \"$1\" | grep --count ^set; exec \"$0\" --print --config /nowhere";
    std::fs::copy(ENV, host.path("pgv-env")).unwrap();
    let (program, config) = (host.path("pgv-env"), host.path("etc/shop.conf"));
    let mut command = host.command(&program);
    command.env("PGV_KEY_FILE", host.path("key"));
    command.args(["--step-down", "--config", &config, "shop", "sh", "-c", script, &program, &config]);
    let told = finish(&mut command, b"");
    let expected = format!("{}\n{}\n2\n", nobody.uid, nobody.dir.display());
    assert!(String::from_utf8_lossy(&told.stdout).starts_with(&expected), "{told:?}");
    assert!(
        said(&told).contains("read /nowhere"),
        "only the file that was named is handed on: {}",
        said(&told)
    );
}

/// From a directory that the owner may not enter, with a configuration that he may not read.
#[test]
fn a_script_that_root_begins_works_from_roots_own_directory() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let host = Host::new();
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    for entry in std::fs::read_dir(tree).unwrap() {
        let entry = entry.unwrap();
        std::fs::create_dir_all(host.path("bin")).unwrap();
        std::fs::copy(entry.path(), Path::new(&host.path("bin")).join(entry.file_name())).unwrap();
    }
    for binary in [CRYPT, S3, ENV, env!("CARGO_BIN_EXE_pgv-info")] {
        std::fs::copy(binary, Path::new(&host.path("bin")).join(Path::new(binary).file_name().unwrap()))
            .unwrap();
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for name in ["state", "repo", "private"] {
        std::fs::create_dir(host.path(name)).unwrap();
    }
    for name in ["state", "repo"] {
        std::os::unix::fs::chown(host.path(name), Some(nobody.uid.as_raw()), None).unwrap();
    }
    std::fs::set_permissions(host.path("private"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(host.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!(
        "PGV_REPO=file://{}\nPGV_STATE_DIR={}\nPGV_KEEP_FULL=1\n",
        host.path("repo"),
        host.path("state")
    );
    host.write("private/mine.conf", &text, 0o600);
    host.write("repo/RESTORE-1.txt", "a repository, without any backup\n", 0o644);
    let mut command = host.command(host.path("bin/pgv-expire"));
    let done = finish(
        command.current_dir(host.path("private")).args(["--config=mine.conf", "shop", "--wait=1s"]),
        b"",
    );
    assert!(done.status.success(), "{}", said(&done));
    assert!(!said(&done).contains("denied"), "{}", said(&done));
    for path in ["state/lock", "state/tmp"] {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(host.path(path)).unwrap().uid();
        assert_eq!(owner, nobody.uid.as_raw(), "{path}");
    }
}
