#!/usr/bin/env python3
"""A strict reader of backup_manifest, for the servers whose own pg_verifybackup is not on this machine.

    check-manifest.py MAJOR DIRECTORY

What PostgreSQL's own tools refuse is an error here too, and so is a file that is listed and not there,
there and not listed, or of another size; checksums are computed of files up to 256 KiB (this is Python).
"""

import hashlib
import json
import os
import struct
import sys

LIMIT = 256 * 1024
TABLE = []
for index in range(256):
    value = index
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    TABLE.append(value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def need(condition, why):
    if not condition:
        sys.exit(f"check-manifest: {why}")


def no_duplicates(pairs):
    need(len({key for key, _ in pairs}) == len(pairs), f"a key twice: {pairs}")
    return dict(pairs)


def files_below(root):
    for directory, _, names in os.walk(root, followlinks=True):
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), root)
            if not path.startswith("pg_wal/") and path not in ("backup_manifest", "postgresql.auto.conf"):
                yield path


def main():
    major, root = int(sys.argv[1]), sys.argv[2]
    raw = open(os.path.join(root, "backup_manifest"), "rb").read()
    need(raw.endswith(b"\n") and not raw.endswith(b"\n\n"), "not one newline at the end")
    body, _, last = raw[:-1].rpartition(b"\n")
    need(last.startswith(b'"Manifest-Checksum": "') and last.endswith(b'"}'), "the checksum is not the last line")
    manifest = json.loads(raw, object_pairs_hook=no_duplicates)
    need(manifest["Manifest-Checksum"] == hashlib.sha256(body + b"\n").hexdigest(), "its own checksum is wrong")

    version = 2 if major >= 17 else 1
    keys = ["PostgreSQL-Backup-Manifest-Version", "System-Identifier", "Files", "WAL-Ranges", "Manifest-Checksum"]
    if version == 1:
        keys.remove("System-Identifier")
    need(list(manifest) == keys, f"keys {list(manifest)}")
    need(manifest["PostgreSQL-Backup-Manifest-Version"] == version, "the version")
    control = open(os.path.join(root, "global/pg_control"), "rb").read()
    if version == 2:
        need(manifest["System-Identifier"] == struct.unpack_from("<Q", control)[0], "the system identifier")

    seen = {}
    for entry in manifest["Files"]:
        need(set(entry) - {"Encoded-Path"} | {"Path"} == {"Path", "Size", "Last-Modified", "Checksum-Algorithm", "Checksum"}, entry)
        need(("Path" in entry) != ("Encoded-Path" in entry), f"no path, or two: {entry}")
        path = entry.get("Path") or os.fsdecode(bytes.fromhex(entry["Encoded-Path"]))
        need(path not in seen and not path.startswith(("/", "./")) and ".." not in path.split("/"), f"the path {path}")
        need(entry["Checksum-Algorithm"] == "CRC32C" and len(bytes.fromhex(entry["Checksum"])) == 4, f"{path}: the checksum")
        seen[path] = entry
    found = set(files_below(root))
    seen.pop("postgresql.auto.conf", None)
    need(found == set(seen), f"listed and there differ: {sorted(found ^ set(seen))[:5]}")
    checked = 0
    for path, entry in seen.items():
        full = os.path.join(root, path)
        size = os.path.getsize(full)
        need(size == entry["Size"], f"{path}: {size} bytes, listed {entry['Size']}")
        if size <= LIMIT and (size < 8192 or checked < 60):
            checked += 1
            sum_ = struct.pack("<I", crc32c(open(full, "rb").read())).hex()
            need(sum_ == entry["Checksum"].lower(), f"{path}: its checksum is {sum_}")
    need(checked > 20, "too few files to check")

    label = dict(line.split(": ", 1) for line in open(os.path.join(root, "backup_label")).read().splitlines())
    need(manifest["WAL-Ranges"], "no WAL range")
    wal = manifest["WAL-Ranges"][0]
    need(set(wal) == {"Timeline", "Start-LSN", "End-LSN"}, wal)
    need(str(wal["Timeline"]) == label["START TIMELINE"], "the label's timeline")
    # Since 19 servers write the low half with all of its digits.
    lsn = lambda text: [int(half, 16) for half in text.split("/")]
    need(lsn(wal["Start-LSN"]) == lsn(label["START WAL LOCATION"].split()[0]), "the label's start")


main()
