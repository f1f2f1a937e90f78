use super::*;
use crate::catalog::{Configuration, Link, member};
use crate::pg::guc;
use crate::recover::plan::{Action, Goal, Plan};
use crate::recover::request::Request;
use crate::recover::text::Get;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

struct Copy {
    _scratch: tempfile::TempDir,
    root: PathBuf,
    etc: PathBuf,
}

impl Copy {
    /// A restored directory; `saved`: path in the original and content; `own`: of the data directory.
    fn new(configuration: Option<Configuration>, saved: &[(&str, &str, &str)], own: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (root, etc) = (scratch.path().join("copy"), scratch.path().join("etc"));
        fs::create_dir_all(root.join(member::CONFIGURATION_DIRECTORY)).unwrap();
        for (name, content) in own {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        for (member, _, content) in saved {
            let path = root.join(member::CONFIGURATION_DIRECTORY).join(member);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        if let Some(mut configuration) = configuration {
            let file = |(member, path, _): &(&str, &str, &str)| SavedFile {
                member: PathBuf::from(member),
                path: PathBuf::from(path),
            };
            configuration.saved = saved.iter().map(file).collect();
            fs::write(root.join(member::CONFIGURATION), configuration.encode()).unwrap();
        }
        Copy { _scratch: scratch, root, etc }
    }

    fn install(&self, home: Home) -> (Files, String) {
        let files = Files::find(&self.root, &home).unwrap();
        let plan =
            "label x\nrecovery_target_timeline latest\narchive no\nwal_included true\nbackup_wal_last y\n";
        let request = Request {
            directory: self.root.clone(),
            plan: Plan::parse(plan, Goal::Told, Action::Promote).unwrap(),
            get: Get { program: "g".into(), config: "c".into(), cluster: "x".to_owned() },
            home,
            port: None,
            pid_file: None,
            keep_archiving: false,
            libraries: None,
        };
        files.write(&request).unwrap();
        let main = fs::read_to_string(&files.main).unwrap_or_default();
        (files, main)
    }
}

fn original(config: &str, hba: &str) -> Configuration {
    Configuration {
        data_directory: PathBuf::from("/data"),
        config_file: Some(PathBuf::from(config)),
        hba_file: Some(PathBuf::from(hba)),
        ident_file: Some(PathBuf::from("/data/pg_ident.conf")),
        links: vec![Link { path: PathBuf::from("x"), target: PathBuf::from("y") }],
        ..Configuration::default()
    }
}

/// The last value of each name that counts in a text.
fn value(text: &str, name: &str) -> Option<String> {
    let mut settings = text.lines().filter_map(guc::parse_line);
    settings.rfind(|setting| setting.name == name).map(|setting| setting.value)
}

#[test]
fn a_configuration_from_elsewhere_wins_over_the_one_of_initdb() {
    let main = "max_connections = 300\nhba_file = '/etc/pg/pg_hba.conf'\ninclude_dir 'conf.d'\ninclude '/srv/own.conf'\n\
        include 'gone.conf'\ndata_directory = '/data'\n";
    let copy = Copy::new(
        Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
        &[
            ("postgresql.conf", "/etc/pg/postgresql.conf", main),
            ("pg_hba.conf", "/etc/pg/pg_hba.conf", "local all all trust\n"),
            ("conf.d/a.conf", "/etc/pg/conf.d/a.conf", "work_mem = '7MB'\n"),
            ("abs/srv/own.conf", "/srv/own.conf", "port = 7777\n"),
        ],
        &[("postgresql.conf", "max_connections = 100\n"), ("pg_hba.conf", "stale\n")],
    );
    let (files, text) = copy.install(Home::Data);
    for (name, expected) in [("max_connections", "300"), ("work_mem", "7MB"), ("port", "7777")] {
        assert_eq!(files.settings.get(name).map(String::as_str), Some(expected), "{name}");
    }
    assert_eq!((value(&text, "data_directory"), value(&text, "hba_file")), (None, None), "{text}");
    assert_eq!(value(&text, "include_dir").as_deref(), Some("conf.d"));
    let own = copy.root.join("included/srv/own.conf");
    assert_eq!(value(&text, "include").as_deref(), own.to_str());
    assert!(own.exists() && copy.root.join("conf.d/a.conf").exists());
    assert_eq!(fs::read_to_string(copy.root.join("pg_hba.conf")).unwrap(), "local all all trust\n");
    assert_eq!(fs::read_to_string(copy.root.join(UNUSED)).unwrap(), "max_connections = 100\n");
    // Given again it is the copy's own, whatever was written into it since.
    fs::write(copy.root.join("postgresql.conf"), text.clone() + "max_connections = 50\n").unwrap();
    let (files, again) = copy.install(Home::Data);
    assert_eq!(files.settings.get("max_connections").map(String::as_str), Some("50"));
    assert_eq!(again, text + "max_connections = 50\n");
}

#[test]
fn a_new_debian_cluster_gets_its_own_places() {
    let copy = Copy::new(
        Some(original("/etc/postgresql/15/main/postgresql.conf", "/etc/postgresql/15/main/pg_hba.conf")),
        &[
            (
                "postgresql.conf",
                "/etc/postgresql/15/main/postgresql.conf",
                "data_directory = '/data'\nexternal_pid_file = '/run/x.pid'\ninclude_dir = 'conf.d'\n",
            ),
            ("pg_hba.conf", "/etc/postgresql/15/main/pg_hba.conf", "rules\n"),
            ("conf.d/a.conf", "/etc/postgresql/15/main/conf.d/a.conf", "port = 1\n"),
            (
                "pg_ctl.conf",
                "/etc/postgresql/15/main/pg_ctl.conf",
                "pg_ctl_options = '-o \"-c fsync=off\"'\n",
            ),
        ],
        &[],
    );
    let (_, text) = copy.install(Home::New(copy.etc.clone()));
    assert_eq!(value(&text, "data_directory").as_deref(), copy.root.to_str());
    assert_eq!(value(&text, "hba_file").as_deref(), copy.etc.join("pg_hba.conf").to_str());
    assert_eq!(value(&text, "external_pid_file"), None);
    assert_eq!(value(&text, "include_dir").as_deref(), Some("conf.d"));
    assert_eq!(fs::read_to_string(copy.etc.join("pg_ctl.conf")).unwrap(), "pg_ctl_options = ''\n");
    assert!(copy.etc.join("conf.d/a.conf").exists() && copy.etc.join("start.conf").exists());
}

/// A configuration in the data directory, as Patroni has it, goes to Debian's place.
#[test]
fn what_a_moved_configuration_includes_stays_in_the_data_directory() {
    let copy = Copy::new(
        Some(Configuration {
            data_directory: PathBuf::from("/data"),
            config_file: Some(PathBuf::from("/data/postgresql.conf")),
            hba_file: Some(PathBuf::from("/data/pg_hba.conf")),
            ident_file: Some(PathBuf::from("/data/pg_ident.conf")),
            ..Configuration::default()
        }),
        &[],
        &[
            ("postgresql.conf", "include 'postgresql.base.conf'\ninclude_dir 'conf.d'\n"),
            ("postgresql.base.conf", "max_connections = 300\ninclude 'more.conf'\n"),
            ("more.conf", "work_mem = 5MB\n"),
            ("conf.d/a.conf", "port = 7\n"),
            ("pg_hba.conf", "local all @admins trust\n"),
            ("admins", "joe\n"),
        ],
    );
    let (files, text) = copy.install(Home::New(copy.etc.clone()));
    for (name, expected) in [("max_connections", "300"), ("work_mem", "5MB"), ("port", "7")] {
        assert_eq!(files.settings.get(name).map(String::as_str), Some(expected), "{name}");
    }
    assert_eq!(value(&text, "include").as_deref(), copy.root.join("postgresql.base.conf").to_str());
    assert_eq!(value(&text, "include_dir").as_deref(), copy.root.join("conf.d").to_str());
    assert!(
        fs::read_to_string(copy.root.join("postgresql.base.conf")).unwrap().contains("\ninclude 'more.conf'")
    );
    let hba = fs::read_to_string(copy.etc.join("pg_hba.conf")).unwrap();
    assert_eq!(hba, format!("local all @{} trust\n", copy.root.join("admins").display()));
    assert!(!copy.root.join("postgresql.conf").exists() && !copy.root.join("pg_hba.conf").exists());
}

/// A server was started with config_file, which includes the file that is beside it.
#[test]
fn a_main_file_of_the_data_directory_may_have_another_name() {
    let own = [
        ("conf/own.conf", "port = 7\ninclude '../postgresql.conf'\n"),
        ("postgresql.conf", "max_connections = 300\n"),
    ];
    for is_apart in [false, true] {
        let configuration = original("/data/conf/own.conf", "/data/pg_hba.conf");
        let copy = Copy::new(Some(configuration), &[], &own);
        let home = if is_apart { Home::New(copy.etc.clone()) } else { Home::Data };
        let (files, text) = copy.install(home);
        assert_eq!(value(&text, "port").as_deref(), Some("7"), "{text}");
        assert_eq!(files.settings.get("max_connections").map(String::as_str), Some("300"));
        let included = value(&text, "include").unwrap();
        assert_eq!(fs::read_to_string(&included).unwrap(), own[1].1, "{included}");
    }
}

#[test]
fn names_in_access_files_are_rewritten_once_wherever_they_stand() {
    let hba = "local all @/etc/acl/admins,@/etc/acl/admins2 trust # @/etc/acl/admins\n\
        include_dir /etc/hba.d\ninclude \"rules.hba\"\nlocal all \"@/etc/acl/admins\" trust\n";
    let rules = "local all @/etc/acl/admins2 trust\n";
    let copy = Copy::new(
        Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
        &[
            ("postgresql.conf", "/etc/pg/postgresql.conf", "port = 1\n"),
            ("pg_hba.conf", "/etc/pg/pg_hba.conf", hba),
            ("rules.hba", "/etc/pg/rules.hba", rules),
            ("abs/etc/acl/admins", "/etc/acl/admins", "joe\n"),
            ("abs/etc/acl/admins2", "/etc/acl/admins2", "jim\n"),
            ("abs/etc/hba.d/a.conf", "/etc/hba.d/a.conf", rules),
        ],
        &[],
    );
    copy.install(Home::Data);
    let acl = copy.root.join("included/etc/acl");
    let (one, two) = (acl.join("admins"), acl.join("admins2"));
    assert!(one.exists() && two.exists());
    let read = |name: &str| fs::read_to_string(copy.root.join(name)).unwrap();
    assert_eq!(
        read("pg_hba.conf"),
        format!(
            "local all @{},@{} trust # @/etc/acl/admins\ninclude_dir {}\ninclude \"rules.hba\"\n\
             local all \"@/etc/acl/admins\" trust\n",
            one.display(),
            two.display(),
            copy.root.join("included/etc/hba.d").display()
        )
    );
    let renamed = format!("local all @{} trust\n", two.display());
    assert_eq!(read("rules.hba"), renamed);
    assert_eq!(read("included/etc/hba.d/a.conf"), renamed);
}

#[test]
fn the_data_directory_s_own_is_touched_only_where_it_names_the_original() {
    let plain = [("postgresql.conf", "port = 1\ninclude 'more.conf'\n"), ("more.conf", "work_mem = 5MB\n")];
    let copy = Copy::new(None, &[], &plain);
    let (files, text) = copy.install(Home::Data);
    assert_eq!(text, plain[0].1);
    assert_eq!(files.settings.get("work_mem").map(String::as_str), Some("5MB"));
    let naming = Copy::new(None, &[], &[("postgresql.conf", "data_directory = '/data'\nport = 1\n")]);
    let (_, text) = naming.install(Home::Data);
    assert_eq!((value(&text, "data_directory"), value(&text, "port")), (None, Some("1".to_owned())));
    assert!(text.contains("#pgv-restore: data_directory = '/data'\n"), "{text}");
}

#[test]
fn paths_are_written_as_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let copy = Copy::new(None, &[], &[("postgresql.conf", "port = 1\n")]);
    let place = copy.etc.join(OsStr::from_bytes(b"caf\xe9"));
    let (files, _) = copy.install(Home::New(place.clone()));
    let settings = conf::settings(&fs::read(&files.main).unwrap());
    let wanted = place.join("pg_hba.conf").into_os_string().into_vec();
    assert!(settings.iter().any(|(name, value)| name == "hba_file" && value.as_bytes() == wanted));
}

/// Links of a data directory that stand for files elsewhere.
#[test]
fn links_come_back_as_files() {
    let copy = Copy::new(
        Some(original("/data/postgresql.conf", "/data/pg_hba.conf")),
        &[
            ("postgresql.conf", "/data/postgresql.conf", "port = 5\n"),
            ("pg_hba.conf", "/data/pg_hba.conf", "rules\n"),
        ],
        &[],
    );
    let (files, text) = copy.install(Home::Data);
    assert_eq!(value(&text, "port").as_deref(), Some("5"));
    assert_eq!(fs::read_to_string(copy.root.join("pg_hba.conf")).unwrap(), "rules\n");
    assert_eq!(files.source, "saved");
}

#[test]
fn streams_of_before_and_streams_of_nothing() {
    let before = Copy::new(
        None,
        &[
            ("postgresql.conf", "", "hba_file = '/etc/postgresql/15/main/pg_hba.conf'\nport = 9\n"),
            ("pg_hba.conf", "", "rules\n"),
        ],
        &[],
    );
    let (files, text) = before.install(Home::Data);
    assert_eq!((files.source, value(&text, "port").as_deref()), ("saved", Some("9")));
    assert_eq!(fs::read_to_string(before.root.join("pg_hba.conf")).unwrap(), "rules\n");
    let nothing = Copy::new(None, &[], &[]);
    let (files, _) = nothing.install(Home::Data);
    assert_eq!(files.source, "none");
    assert!(nothing.root.join("pg_hba.conf").exists());
}

#[test]
fn an_existing_configuration_stays_as_it_is() {
    let copy = Copy::new(
        Some(original("/etc/pg/postgresql.conf", "/etc/pg/pg_hba.conf")),
        &[("postgresql.conf", "/etc/pg/postgresql.conf", "port = 1\n")],
        &[],
    );
    fs::create_dir(&copy.etc).unwrap();
    fs::write(copy.etc.join("postgresql.conf"), "port = 2\ndata_directory = '/x'\n").unwrap();
    let (files, text) = copy.install(Home::Existing(copy.etc.clone()));
    assert_eq!(text, "port = 2\ndata_directory = '/x'\n");
    assert!(files.saved_unused);
    assert_eq!(files.settings.get("port").map(String::as_str), Some("2"));
}
