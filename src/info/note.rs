//! RESTORE-1.txt, at the top of a repository: how to restore without pgv, for a person who finds the bucket.

pub const NOTE: &str = r#"This is a repository of pgv, which backs up PostgreSQL. You can restore its
backups without pgv.

CLUSTER/SYSTEM-IDENTIFIER/backup/LABEL/data.pgv is a complete backup if
record.json is beside it. The label of a full backup ends with F; this text is
about those. key_name in record.json is the name of the key that opens it.

You need PostgreSQL of the same major version (pg_version in record.json),
openssl, zstd, and the key or passphrase in a file KEY. DIR is an empty
directory of mode 0700 that belongs to the server's user. The first line of
data.pgv says how it opens; ITER is the number after -iter in that line:

  head -c 127 data.pgv
  tail -n +2 data.pgv |
    openssl enc -d -aes-256-cbc -pbkdf2 -md sha256 -iter ITER -pass file:KEY |
    zstd -d | tar x -C DIR

If key_name has 16 digits, the key is in SYSTEM-IDENTIFIER/keys/NAME.cms (or
NAME.2.cms, ... if it was wrapped again), for recipients. PRIVATE.pem is the
private key of one, HOSTS.pem has the certificates of the database hosts:

  openssl cms -decrypt -inform PEM -inkey PRIVATE.pem -in NAME.cms |
    openssl cms -verify -inform DER -CAfile HOSTS.pem > KEY

A WAL file may need the key of another backup, or any other in keys.

Then make PostgreSQL use the WAL in the backup, and archive nothing:

  echo "restore_command = 'false'" >> DIR/postgresql.auto.conf
  echo "archive_mode = 'off'" >> DIR/postgresql.auto.conf

and, with PostgreSQL 15 or newer, leave tablespaces where they are:

  echo "allow_in_place_tablespaces = on" >> DIR/postgresql.auto.conf

Start the server on DIR. If the configuration was kept outside the data
directory, it is in DIR/pgv/config. Tablespaces are directories below
DIR/pg_tblspc; DIR/pgv/tablespace_map has their original places.

An increment holds only what changed: extract the full backup and each
increment into a directory of its own, in the same way, and merge them, oldest
first, with pg_combinebackup (PostgreSQL 17 and newer) or, for 13 to 16, with
perl INCREMENT/pgv/unstack OUT FULL INCREMENT...

A WAL file opens in the same way without tar: ... | zstd -d > SEGMENT

openssl and zstd detect accidental damage; only pgv detects tampering.
"#;
