//! pgv-snap against a real PostgreSQL.

#![allow(clippy::unwrap_used)] // a failing step of a test may stop it

mod common;

use common::Cluster;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

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
    let mut backup = cluster
        .command(
            "pgv-snap --checkpoint fast --rate 10MiB/s --manifest manifest --facts facts > stream 2> errors",
        )
        .spawn()
        .unwrap();
    let begins = || std::fs::metadata(cluster.path("stream")).is_ok_and(|stream| stream.len() > 1 << 20);
    while !begins() && backup.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let killed = cluster.sql(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'pgv-snap'",
    );
    assert_eq!(killed, "1", "the backup was over too early");
    assert_eq!(backup.wait().unwrap().code(), Some(75), "a server that ends sessions may be there again");
    let listing = cluster.run("tar -t -f stream");
    assert!(!String::from_utf8(listing.stdout).unwrap().contains("global/pg_control"));
    assert!(std::fs::read_to_string(cluster.path("errors")).unwrap().contains("pgv-snap: error: "));
    let left = cluster.ok("ls -A | grep -e manifest -e facts -e tmp || true");
    assert!(left.is_empty(), "{left}");
    // What cannot be written beside the stream is known before the server is asked for anything.
    for (option, wanted) in [
        ("--facts data", 2),
        ("--manifest data", 2),
        ("--facts -", 2),
        ("--manifest -", 2),
        ("--facts none/x", 1),
        ("--manifest none/x", 1),
    ] {
        let refused = cluster.run(&format!("PGHOST=/none pgv-snap {option} > stream"));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(wanted), "{option}: {said}");
        assert!(wanted == 2 || said.contains("none/x"), "{option}: {said}");
        assert_eq!(std::fs::metadata(cluster.path("stream")).unwrap().len(), 0, "{option}");
    }
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
fn scripts_read_lines_whatever_a_directory_is_called() {
    let cluster = Cluster::start();
    cluster.ok("pg_ctl -w -s -D data -m fast stop && mv data \"$(printf 'da\"t\\\\a\\351 x')\"");
    let lines = cluster.ok("pgv-snap --offline --estimate --lines da[!t]*");
    let value = |name: &str| {
        let line = lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {lines}")).to_owned()
    };
    assert_eq!(value("data_directory"), r#"da"t\\a\xe9 x"#);
    assert!(value("bytes").parse::<u64>().unwrap() > 1_000_000 && !lines.contains("refusal"), "{lines}");
    assert!(!lines.contains("archive_mode"), "it has no server: {lines}");
    assert_eq!(cluster.run("pgv-snap --lines").status.code(), Some(2));
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
    cluster.ok("initdb -N -A trust -U postgres -D stranger");
    let refused = cluster.run("pgv-snap stranger > other");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("not the data directory"));
}

/// Starts another server, on a socket and port of its own; `options`: of postgres.
fn start_other(cluster: &Cluster, directory: &str, port: u16, options: &str) {
    cluster.ok(&format!("mkdir -p sock && initdb -N -A trust -U postgres -D {directory} > /dev/null"));
    cluster.ok(&format!(
        "pg_ctl -w -s -D {directory} -l {directory}.log \
         -o \"-c port={port} -c unix_socket_directories='$PWD/sock' -c fsync=off {options}\" start"
    ));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What pgv-snap would back up in the environment that `settings` make, and what psql reaches there.
fn reached(cluster: &Cluster, settings: &str, conninfo: &str) -> [String; 2] {
    let estimate = cluster.ok(&format!("{settings} pgv-snap --estimate --json -d \"{conninfo}\""));
    let estimate: serde_json::Value = serde_json::from_str(&estimate).unwrap();
    let ask = "select system_identifier from pg_control_system()";
    let asked = cluster.ok(&format!("{settings} psql -XAtqc '{ask}' -d \"{conninfo}\""));
    [estimate["system_identifier"].as_str().unwrap().to_owned(), asked.trim().to_owned()]
}

#[test]
fn it_backs_up_the_server_that_psql_reaches() {
    let cluster = Cluster::start();
    let port = free_port();
    start_other(&cluster, "other", port, "-c listen_addresses=127.0.0.1");
    let scratch = cluster.path("sock").parent().unwrap().display().to_string();
    cluster.ok(&format!(
        "printf '[b]\nhost={scratch}/sock\nport={port}\ndbname=postgres\n' > services; \
         printf '[b]\nhost=127.0.0.1\nport={port}\n' > pg_service.conf"
    ));
    let here = cluster.sql("select system_identifier from pg_control_system()");
    let other = cluster.ok(&format!(
        "psql -XAtqc 'select system_identifier from pg_control_system()' -h {scratch}/sock -p {port} postgres"
    ));
    let base = "PGDATABASE=postgres";
    let file = format!("{base} PGSERVICEFILE={scratch}/services");
    for (settings, conninfo, wanted) in [
        (format!("{file} PGSERVICE=b"), "", &other),
        (format!("{file} PGSERVICE=b PGPORT=1"), "", &other),
        (file.clone(), "service=b", &other),
        (format!("{base} PGSYSCONFDIR={scratch} PGSERVICE=b"), "", &other),
        (format!("{base} PGHOST=nowhere.invalid PGHOSTADDR=127.0.0.1 PGPORT={port}"), "", &other),
        (format!("{base} PGPORT={port}"), &format!("host={scratch}/none,{scratch}/sock"), &other),
        (format!("{base} PGSERVICEFILE={scratch}/services"), "", &here),
    ] {
        assert_eq!(reached(&cluster, &settings, conninfo), [wanted.trim(); 2], "{settings}");
    }
    let refused = cluster
        .run(&format!("PGPORT={port} PGHOST={scratch}/sock PGTARGETSESSIONATTRS=standby pgv-snap > stream"));
    assert_eq!(refused.status.code(), Some(1));
    let nobody = cluster.run("PGSERVICEFILE=services PGSERVICE=c pgv-snap > stream");
    assert_eq!(nobody.status.code(), Some(1));
    let errors = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        errors.starts_with("pgv-snap: error: connect to the server: ") && errors.contains('c'),
        "{errors}"
    );
    cluster.stop("other");
}

#[test]
fn encrypted_connections_and_passwords_are_psqls() {
    let cluster = Cluster::start();
    let port = free_port();
    cluster.ok(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
         -keyout server.key -out server.crt 2> /dev/null; chmod 600 server.key; \
         openssl req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=localhost -keyout x.key -out stranger.crt 2> /dev/null",
    );
    start_other(
        &cluster,
        "other",
        port,
        "-c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file=$PWD/server.crt -c ssl_key_file=$PWD/server.key",
    );
    cluster.ok(&format!(
        "psql -XAtqc \"alter role postgres password 'pass:word'\" -h $PWD/sock -p {port} postgres && \
         printf 'hostssl all all 127.0.0.1/32 scram-sha-256\nlocal all all scram-sha-256\n' > other/pg_hba.conf && \
         pg_ctl -s -D other reload && printf '%s:{port}:*:postgres:pass\\\\:word\n' localhost $PWD/sock > passwords && \
         chmod 600 passwords"
    ));
    let scratch = cluster.path("sock").parent().unwrap().display().to_string();
    let common = format!("PGDATABASE=postgres PGPORT={port} PGPASSFILE={scratch}/passwords");
    let tls = format!(
        "{common} PGHOST=localhost PGHOSTADDR=127.0.0.1 PGSSLMODE=verify-full PGCHANNELBINDING=require"
    );
    let [found, wanted] = reached(&cluster, &format!("{tls} PGSSLROOTCERT={scratch}/server.crt"), "");
    assert_eq!(found, wanted);
    let [found, wanted] = reached(&cluster, &format!("{common} PGHOST={scratch}/sock"), "");
    assert_eq!(found, wanted, "the password of a socket's directory");
    for (refused, why) in [
        (format!("{tls} PGSSLROOTCERT={scratch}/stranger.crt"), "certificate verify failed"),
        (format!("{common} PGHOST=127.0.0.1 PGSSLMODE=disable"), "no encryption"),
        (format!("{common} PGHOST={scratch}/sock PGPASSFILE=/none"), "no password supplied"),
    ] {
        let output = cluster.run(&format!("{refused} pgv-snap > stream"));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(why), "{errors}");
    }
    cluster.stop("other");
}

#[test]
fn no_timeout_of_the_server_ends_a_backup() {
    let cluster = Cluster::start();
    cluster.sql("alter role postgres set idle_session_timeout = '500ms'");
    cluster.sql("alter database postgres set statement_timeout = '500ms'");
    cluster.ok(
        "PGOPTIONS='-c idle_session_timeout=400ms -c lock_timeout=400ms' pgv-snap --rate 20MiB/s > stream",
    );
    assert!(cluster.ok("tar -t -f stream").ends_with("global/pg_control\n"));
}

#[test]
fn names_need_not_be_utf8() {
    let cluster = Cluster::start_with("-k -E SQL_ASCII --locale=C");
    cluster.ok(
        r#"mkdir $'sp\351ce' && psql -XAtqc $'create tablespace "donn\351es" location \''"$PWD"$'/sp\351ce\'' postgres && \
        psql -XAtqc $'create table t tablespace "donn\351es" as select 1; create role "r\351"' postgres && createdb $'b\351' && \
        mkdir $'et\351' && echo "max_connections = 33" > $'et\351/\351.conf' && touch $'data/f\351' && \
        printf "include_dir '%s/et\351'\n" "$PWD" >> data/postgresql.conf && pg_ctl -s -D data reload"#,
    );
    cluster.ok("pgv-snap --facts facts --manifest manifest > stream");
    assert_eq!(cluster.facts()["tablespaces"][0]["name"], "donn\\xe9es");
    cluster.ok("mkdir -m 700 restored && tar -x -f stream -C restored && test -e $'restored/f\\351'");
    let identity = std::fs::read(cluster.path("restored/pgv/stream.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    assert!(identity["tablespaces"][0]["location"].as_str().unwrap().ends_with("/sp\\xe9ce"), "{identity}");
    let saved = cluster.ok(r#"cat $'restored/pgv/config/abs/'"$PWD"$'/et\351/\351.conf'"#);
    assert_eq!(saved, "max_connections = 33\n");
    let configuration = cluster.ok("cat restored/pgv/configuration");
    assert!(configuration.contains("/et\\xe9/\\xe9.conf "), "{configuration}");
    cluster.ok("pg_verifybackup -q restored");
}

#[test]
fn every_configuration_file_that_the_server_read_is_saved() {
    let cluster = Cluster::start();
    cluster.ok(
        "mkdir -p etc/conf.d etc/extra etc/hba && cd etc && mv ../data/postgresql.conf ../data/pg_hba.conf . && \
         ln -s $PWD/postgresql.conf ../data/postgresql.conf && ln -s ../etc/pg_hba.conf ../data/pg_hba.conf && \
         mv ../data/pg_ident.conf hba/ident && ln -s $PWD/conf.d ../data/conf.d && \
         echo \"ident_file = '$PWD/hba/ident'\" > conf.d/a.conf && echo 'max_connections = 44' > extra/x.conf && \
         echo stray > conf.d/stray.txt && echo postgres > names && \
         printf \"include_dir 'conf.d'\\ninclude_if_exists 'none.conf'\\ninclude '$PWD/extra/../extra/x.conf'\\n\" \
         >> postgresql.conf && printf \"local all @$PWD/names trust\\n\" >> pg_hba.conf && \
         pg_ctl -s -w -D ../data -l ../log stop && ln -s $PWD/names ../data/other-link",
    );
    cluster.start_in("data");
    let output = cluster.run("pgv-snap --facts facts > stream");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "one link is no configuration: {errors}");
    assert_eq!(
        cluster.facts()["findings"],
        serde_json::json!({"bad_pages": 0, "links": 1, "unread": 0, "reserved": 0}),
        "{errors}"
    );
    cluster.ok("rm data/other-link && pgv-snap --facts facts > stream");
    let etc = cluster.path("etc").canonicalize().unwrap().display().to_string();
    let data = cluster.path("data").display().to_string();
    let abs = |name: &str| format!("abs{etc}/{name}");
    let mut wanted = vec![
        "conf.d/a.conf".to_owned(),
        "conf.d/stray.txt".to_owned(),
        "pg_hba.conf".to_owned(),
        "postgresql.conf".to_owned(),
        abs("extra/x.conf"),
        abs("hba/ident"),
        abs("names"),
    ];
    wanted.sort();
    let mut saved: Vec<String> = serde_json::from_value(cluster.facts()["configuration"].clone()).unwrap();
    saved.sort();
    assert_eq!(saved, wanted);
    cluster.ok("mkdir -m 700 restored && tar -x -f stream -C restored && pg_verifybackup -q restored");
    for name in &wanted {
        let original = name.strip_prefix("abs").map_or_else(|| format!("{etc}/{name}"), str::to_owned);
        cluster.ok(&format!("cmp restored/pgv/config/{name} {original}"));
    }
    let told = cluster.ok("cat restored/pgv/configuration");
    for line in [
        format!("data_directory {data}"),
        format!("config_file {data}/postgresql.conf"),
        format!("hba_file {data}/pg_hba.conf"),
        format!("ident_file {etc}/hba/ident"),
        format!("file postgresql.conf {data}/postgresql.conf"),
        "link pg_hba.conf ../etc/pg_hba.conf".to_owned(),
        format!("link conf.d {etc}/conf.d"),
    ] {
        assert!(told.lines().any(|told| told == line), "{line} in:\n{told}");
    }

    cluster.ok("chmod 000 etc/extra/x.conf");
    let output = cluster.run("pgv-snap --facts facts > stream");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{errors}");
    assert!(errors.contains("extra/x.conf"), "{errors}");
    assert_eq!(cluster.facts()["findings"]["unread"], 1);
    cluster.stop("data");
    cluster.ok("pgv-snap --offline data > stream; [ $? = 7 ]; tar -x -O -f stream pgv/config/postgresql.conf | cmp - etc/postgresql.conf");
}

/// psql says in the server's language why it may not connect, and no SQLSTATE: pg_isready tells one that only starts.
#[test]
fn a_server_that_starts_is_temporary_in_every_language() {
    use std::os::unix::fs::PermissionsExt;
    let programs = tempfile::tempdir().unwrap();
    let program = |name: &str, script: &str| {
        let path = programs.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let why = "psql: error: connection to server on socket \"/run/.s.PGSQL.5432\" failed: FATAL:  das Datenbanksystem startet";
    program("psql", &format!("echo '{why}' >&2; exit 2"));
    for (ready, status) in [(1, 75), (0, 1), (2, 1), (3, 1)] {
        program("pg_isready", &format!("[ \"$2\" = service=x ] && exit {ready}; exit 9"));
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgv-snap"))
            .args(["--estimate", "--dbname", "service=x"])
            .env("PATH", format!("{}:/usr/bin:/bin", programs.path().display()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "pg_isready says {ready}: {said}");
        assert!(said.contains("Datenbanksystem startet"), "{said}");
    }
}
