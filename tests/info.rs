//! pgv-info on repositories made by hand: what counts as a backup, what is chosen, what may go.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const ID: &str = "7711175703245852542";

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        Repository(tempfile::tempdir().unwrap())
    }

    fn url(&self) -> String {
        format!("file://{}/repo", self.0.path().display())
    }

    fn set(&self, cluster: &str, id: &str, label: &str) -> PathBuf {
        self.0.path().join("repo").join(cluster).join(id).join("backup").join(label)
    }

    /// A complete full backup, which ended one minute after its label's time at LSN 0/`stop`.
    fn add(&self, label: &str, stop: u32) -> PathBuf {
        self.add_to("15-main", ID, label, stop)
    }

    fn add_to(&self, cluster: &str, id: &str, label: &str, stop: u32) -> PathBuf {
        let set = self.set(cluster, id, label);
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("claim.json"), "{}").unwrap();
        fs::write(set.join("data.pgv"), [7; 100]).unwrap();
        let (day, time) = label.split_at(8);
        let at = format!("{}-{}-{}T{}:{}", &day[..4], &day[4..6], &day[6..], &time[1..3], &time[3..5]);
        let record = format!(
            r#"{{"format":"pgv-record/1","label":"{label}","type":"full","mode":null,"parent":null,"system_identifier":"{id}",
            "pg_version":"15.20","host":"h","started_at":"{at}:00Z","stopped_at":"{at}:59Z","start_lsn":"0/28",
            "stop_lsn":"0/{stop:X}","timeline":1,"wal_first":"000000010000000000000001","wal_last":"000000010000000000000001",
            "wal_included":true,"tablespaces":[],"database_bytes":1000,"stream_bytes":1000,
            "files":{{"total":1,"whole":1,"blocks":0,"same":0,"removed":0}},"blocks":{{"read":0,"sent":0}},
            "findings":{{"bad_pages":0,"links":0}},"tool_version":"0.1.0","cluster":"{cluster}","future":1,
            "objects":[{{"name":"data.pgv","bytes":100,"sha256":"00"}}],"key_name":null,"annotations":{{}}}}"#
        );
        fs::write(set.join("record.json"), record).unwrap();
        set
    }

    fn info(&self, arguments: &[&str]) -> Output {
        info(&[arguments, &["--repo", &self.url()]].concat(), &[])
    }

    fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.info(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        lines(&output)
    }
}

fn info(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgv-info"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("PGV_")) {
        command.env_remove(key);
    }
    command.env("PGV_CONFIG_DIR", "/nowhere").envs(environment.iter().copied());
    command.args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

const A: &str = "20261101-010000F";
const B: &str = "20261102-010000F";
const C: &str = "20261103-010000F";

#[test]
fn nothing_stored_is_no_error() {
    let repository = Repository::new();
    assert!(repository.lines(&["--format", "label"]).is_empty());
    assert_eq!(status(&repository.info(&["--label", A])), 3);
    assert_eq!(status(&repository.info(&["choose", "15-main"])), 3);
    assert_eq!(status(&repository.info(&["--max-age", "1d"])), 7);
}

#[test]
fn formats() {
    let repository = Repository::new();
    let set = repository.add(A, 0x100);
    repository.add(B, 0x200);
    assert_eq!(repository.lines(&["--format", "label"]), [A, B]);
    assert_eq!(repository.lines(&["--format", "url", "--label", A]), [format!("file://{}", set.display())]);
    let tsv = repository.lines(&[]);
    assert_eq!(tsv[0].split('\t').count(), 16);
    let json: serde_json::Value = serde_json::from_str(&repository.lines(&["--json"])[1]).unwrap();
    assert_eq!((json["label"].as_str(), json["state"].as_str()), (Some(B), Some("complete")));
    assert_eq!(json["system_identifier"], ID);
    assert_eq!(json["record"]["stop_lsn"], "0/200");
    let table = repository.lines(&["--format", "table"]);
    assert!(table[0].starts_with("BACKUP") && table[1].contains("15-main") && table[2].starts_with(A));
}

#[test]
fn a_backup_exists_iff_its_record_and_its_objects_do() {
    let repository = Repository::new();
    repository.add(A, 1);
    for (label, damage) in
        [("20261104-010000F", "record"), ("20261105-010000F", "object"), ("20261106-010000F", "size")]
    {
        let set = repository.add(label, 1);
        match damage {
            "record" => fs::remove_file(set.join("record.json")).unwrap(),
            "object" => fs::remove_file(set.join("data.pgv")).unwrap(),
            _ => fs::write(set.join("data.pgv"), [7; 99]).unwrap(),
        }
    }
    for format in ["label", "url", "tsv"] {
        assert_eq!(repository.lines(&["--format", format]).len(), 1, "{format}");
    }
    let table = repository.lines(&["--format", "table"]).join("\n");
    assert!(
        table.contains("no record") && table.contains("data.pgv is missing") && table.contains("99 bytes")
    );
    let chosen = repository.lines(&["choose", "15-main", "--latest"]);
    assert!(chosen.len() == 1 && chosen[0].ends_with(A), "{chosen:?}");
    assert!(repository.lines(&["prune", "--keep-full", "1"]).is_empty());
}

#[test]
fn a_damaged_record_is_reported_and_hides_nothing() {
    for bad in ["{", r#"{"format":"pgv-record/9"}"#] {
        let repository = Repository::new();
        repository.add(A, 1);
        fs::write(repository.add(B, 1).join("record.json"), bad).unwrap();
        let output = repository.info(&["--format", "label"]);
        assert_eq!((status(&output), lines(&output)), (7, vec![A.to_owned()]));
        assert!(stderr(&output).contains(B), "{}", stderr(&output));
    }
    // A record under a name that is not its own is no backup of that name.
    let repository = Repository::new();
    let set = repository.add(A, 1);
    fs::copy(set.join("record.json"), repository.add(B, 1).join("record.json")).unwrap();
    assert_eq!(lines(&repository.info(&["--format", "label"])), [A]);
}

#[test]
fn choose_the_newest_that_can_reach_the_target() {
    let repository = Repository::new();
    for (label, stop) in [(A, 0x100), (B, 0x200), (C, 0x300)] {
        repository.add(label, stop);
    }
    let chosen = |target: &[&str]| {
        let lines = repository.lines(&[&["choose", "15-main"], target].concat());
        assert_eq!(lines.len(), 1);
        lines[0].rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(chosen(&[]), C);
    assert_eq!(chosen(&["--label", B]), B);
    assert_eq!(chosen(&["--lsn", "0/2FF"]), B);
    assert_eq!(chosen(&["--lsn", "0/200"]), B);
    assert_eq!(chosen(&["--time", "2026-11-02 12:00:00+00"]), B);
    // At the very second of its end a backup is not yet before it.
    assert_eq!(chosen(&["--time", "2026-11-02T01:00:59Z"]), A);
    for none in [["--lsn", "0/FF"], ["--time", "2026-10-01T00:00:00Z"], ["--label", "20200101-000000F"]] {
        let output = repository.info(&[&["choose", "15-main"], &none[..]].concat());
        assert_eq!(status(&output), 3);
        assert!(stderr(&output).contains(A), "it says what exists: {}", stderr(&output));
    }
    assert_eq!(status(&repository.info(&["choose", "--time", "2026-11-02 12:00:00"])), 2);
}

#[test]
fn strangers_are_not_chosen_among() {
    let repository = Repository::new();
    repository.add(A, 1);
    repository.add_to("15-main", "42", B, 1);
    for verb in [&["choose", "15-main"][..], &["prune", "15-main", "--keep-full", "1"]] {
        let output = repository.info(verb);
        assert_eq!(status(&output), 2);
        assert!(stderr(&output).contains("42") && stderr(&output).contains(ID));
    }
    assert_eq!(repository.lines(&["choose", "15-main", "--system-id", "42"]).len(), 1);
    assert_eq!(repository.lines(&["--format", "label"]).len(), 2);
}

#[test]
fn prune_keeps_what_a_rule_keeps() {
    let repository = Repository::new();
    let labels: Vec<String> = (1..=28).map(|day| format!("202610{day:02}-010000F")).collect();
    labels.iter().for_each(|label| drop(repository.add(label, 1)));
    repository.add("20261028-020000F", 1);
    let all: BTreeSet<String> = repository.lines(&["--format", "label"]).into_iter().collect();
    let stays = |rules: &[&str]| {
        let gone: BTreeSet<String> = repository.lines(&[&["prune"], rules].concat()).into_iter().collect();
        all.difference(&gone).cloned().collect::<Vec<_>>()
    };
    assert_eq!(stays(&["--keep-full", "2"]), ["20261028-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-last", "1"]), ["20261028-020000F"]);
    assert_eq!(stays(&["--keep-daily", "2"]), ["20261027-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-monthly", "9"]), ["20261028-020000F"]);
    // 2026-10-25 is a Sunday.
    assert_eq!(stays(&["--keep-weekly", "2"]), ["20261025-010000F", "20261028-020000F"]);
    assert_eq!(stays(&["--keep-within", "1s"]), ["20261028-020000F"], "the newest never goes");
    assert_eq!(stays(&["--keep-within", "3650d"]).len(), all.len());
    assert_eq!(stays(&["--keep-full", "99"]).len(), all.len());
    assert_eq!(status(&repository.info(&["prune"])), 2, "no rule");
    assert_eq!(status(&repository.info(&["prune", "--keep-full", "0"])), 2);
}

#[test]
fn a_configuration_gives_the_repository() {
    let repository = Repository::new();
    repository.add(A, 1);
    let etc = repository.0.path().join("etc");
    fs::create_dir(&etc).unwrap();
    let configure = |text: &str, mode: u32| {
        let path = etc.join("15-main.conf");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    };
    let good = format!("# c\nPGV_REPO={}\nPGV_KEEP_FULL=1\nAWS_ACCESS_KEY_ID=x\n", repository.url());
    let directory = etc.to_str().unwrap().to_owned();
    let environment = [("PGV_CONFIG_DIR", directory.as_str())];
    configure(&good, 0o600);
    assert_eq!(lines(&info(&["--format", "label"], &environment)), [A], "the only one");
    assert_eq!(lines(&info(&["15-main", "--format", "label"], &environment)), [A]);
    assert!(lines(&info(&["prune"], &environment)).is_empty());
    assert_eq!(status(&info(&["16-main"], &environment)), 2);
    let elsewhere = [environment[0], ("PGV_REPO", "file:///nowhere")];
    assert!(lines(&info(&["--format", "label"], &elsewhere)).is_empty(), "the environment wins");
    for (text, mode) in [
        (good.as_str(), 0o644),
        ("PGV_REPO = x\n", 0o600),
        ("PGV_REPPO=x\n", 0o600),
        ("PGV_REPO=\"$(id)\"\n", 0o600),
        ("PGV_KEEP_FULL=1\n", 0o600),
    ] {
        configure(text, mode);
        assert_eq!(status(&info(&["15-main"], &environment)), 2, "{text}");
    }
    configure(&good, 0o600);
    fs::copy(etc.join("15-main.conf"), etc.join("16-main.conf")).unwrap();
    let output = info(&[], &environment);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("15-main, 16-main"), "{}", stderr(&output));
}

#[test]
fn windows_and_gaps_of_the_archive() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    let add = |name: &str| fs::write(archive.join(format!("{name}.pgv")), "x").unwrap();
    for number in [1, 2, 3, 0x14] {
        add(&format!("0000000100000000000000{number:02X}"));
    }
    add("000000010000000000000002.00000028.backup");
    add("000000010000000000000015.partial");
    let output = repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let fields: Vec<Vec<String>> =
        lines(&output).iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    let of = |line: &[String]| [0, 3, 7, 8, 9].map(|field| line[field].clone());
    assert_eq!(
        of(&fields[0]),
        ["window", "1", "000000010000000000000001", "000000010000000000000003", "3"].map(str::to_owned)
    );
    assert_eq!(
        of(&fields[1]),
        ["gap", "1", "000000010000000000000004", "000000010000000000000013", "16"].map(str::to_owned)
    );
    assert_eq!(fields.len(), 2);
    let metrics = String::from_utf8(repository.info(&["wal", "--metrics"]).stdout).unwrap();
    assert!(metrics.contains("\npgv_wal_missing_segments{cluster=\"15-main\","), "{metrics}");
    assert!(
        metrics.lines().any(|line| line.starts_with("pgv_wal_missing_segments{") && line.ends_with("} 16"))
    );
    assert!(metrics.contains("timeline=\"1\"} "), "{metrics}");
    fs::remove_file(archive.join("000000010000000000000014.pgv")).unwrap();
    let output = repository.info(&["wal", "15-main", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line: serde_json::Value = serde_json::from_str(&lines(&output)[0]).unwrap();
    assert_eq!(line["format"], "pgv-wal/1");
    assert_eq!(line["label"], "20260101-010000F");
    assert_eq!(line["from"], "2026-01-01T01:00:59Z");
    assert!(
        String::from_utf8_lossy(&repository.info(&["wal", "15-main", "--format", "table"]).stdout)
            .contains("timeline 1  from")
    );
}

#[test]
fn control_files_are_told_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("global")).unwrap();
    let path = directory.path().join("global/pg_control");
    let mut bytes = vec![0u8; 8192];
    bytes[..8].copy_from_slice(&7_711_175_703_245_852_542_u64.to_le_bytes());
    bytes[8..12].copy_from_slice(&1300u32.to_le_bytes());
    bytes[16] = 6;
    bytes[48] = 3;
    bytes[228..232].copy_from_slice(&(16u32 << 20).to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..288]);
    bytes[288..292].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let control = || info(&["control", directory.path().to_str().unwrap()], &[]);
    let text = String::from_utf8(control().stdout).unwrap();
    for line in [format!("system_identifier {ID}"), "state in production".to_owned(), "timeline 3".to_owned()]
    {
        assert!(text.lines().any(|own| own == line), "no \"{line}\" in {text}");
    }
    bytes[48] = 4;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(control().status.code(), Some(5));
}

#[test]
fn what_a_running_backup_is_built_on_stays() {
    let repository = Repository::new();
    for day in 1..=4 {
        repository.add(&format!("2026010{day}-010000F"), 0x100);
    }
    assert_eq!(repository.lines(&["prune", "--keep-full", "1"]).len(), 3);
    let now = time::OffsetDateTime::now_utc();
    let format = time::macros::format_description!("[year][month][day]-[hour][minute][second]");
    let running = format!("20260102-010000F_{}I", now.format(format).unwrap());
    let set = repository.set("15-main", ID, &running);
    fs::create_dir_all(&set).unwrap();
    fs::write(set.join("claim.json"), "{}").unwrap();
    assert_eq!(
        repository.lines(&["prune", "--keep-full", "1"]),
        ["20260101-010000F", "20260103-010000F"].map(str::to_owned)
    );
    // One that was interrupted long ago keeps nothing.
    fs::rename(&set, set.with_file_name("20260102-010000F_20260103-020000I")).unwrap();
    assert_eq!(repository.lines(&["prune", "--keep-full", "1"]).len(), 3);
}

#[test]
fn a_hundred_thousand_segments_are_one_window() {
    let repository = Repository::new();
    repository.add("20260101-010000F", 0x100_0100);
    let archive = repository.0.path().join("repo/15-main").join(ID).join("wal/00000001");
    fs::create_dir_all(&archive).unwrap();
    for number in 1..=100_000u32 {
        fs::write(archive.join(format!("00000001{:08X}{:08X}.pgv", number >> 8, number & 0xFF)), "").unwrap();
    }
    let output = repository.info(&["wal", "15-main", "--format", "tsv"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let line = lines(&output).join("|");
    assert!(line.ends_with("\t000000010000000000000001\t0000000100000186000000A0\t100000"), "{line}");
}
