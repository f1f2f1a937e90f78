//! pgv-snap against a real PostgreSQL 15.

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
    let mut backup =
        cluster.command("pgv-snap --checkpoint fast --rate 10MiB/s > stream 2> errors").spawn().unwrap();
    let begins = || std::fs::metadata(cluster.path("stream")).is_ok_and(|stream| stream.len() > 1 << 20);
    while !begins() && backup.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
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
