#!/usr/bin/env python3
"""The rules by which pg_combinebackup 17 and 18 take a chain of extracted backups, as its source has them.

    check-chain.py FULL INCREMENT...
"""

import json
import os
import re
import struct
import sys

PAGE = 8192
SEGMENT = 131072
RELATIONS = re.compile(r"^(global|base/[1-9]\d*|pg_tblspc/[1-9]\d*/PG_\w+/[1-9]\d*)$")


def need(condition, why):
    if not condition:
        sys.exit(f"check-chain: {why}")


def label_of(root):
    lines = open(os.path.join(root, "backup_label")).read().splitlines()
    label = {}
    for line in lines:
        key, _, value = line.partition(": ")
        need(key not in label, f"{root}: {key} twice")
        label[key] = value
    return label, [line.partition(": ")[0] for line in lines]


def check_file(root, directory, name, chain):
    path = os.path.join(root, directory, name)
    need(RELATIONS.match(directory), f"{path}: not in a directory of relations")
    plain = name[len("INCREMENTAL."):]
    need(re.match(r"^[1-9]\d*(_fsm|_vm|_init)?(\.[1-9]\d*)?$", plain), f"{path}: no name of a relation")
    need(not os.path.exists(os.path.join(root, directory, plain)), f"{path}: beside the whole file")
    data = open(path, "rb").read()
    magic, count, truncation = struct.unpack_from("<III", data)
    need(magic == 0xD3AE1F0D, f"{path}: magic")
    need(count <= SEGMENT and truncation <= SEGMENT, f"{path}: more blocks than a segment has")
    blocks = struct.unpack_from(f"<{count}I", data, 12)
    need(all(block < SEGMENT for block in blocks), f"{path}: a block beyond the segment")
    need(list(blocks) == sorted(set(blocks)), f"{path}: blocks out of order")
    header = 12 + 4 * count
    if count:
        header = (header + PAGE - 1) // PAGE * PAGE
        need(not any(data[12 + 4 * count:header]), f"{path}: padding")
    need(len(data) == header + count * PAGE, f"{path}: its size")
    # The search for what is not in it goes back to a whole file, without a gap.
    for older in reversed(chain):
        if os.path.exists(os.path.join(older, directory, plain)):
            need(os.path.getsize(os.path.join(older, directory, plain)) % PAGE == 0, f"{path}: builds on a broken page")
            return
        need(os.path.exists(os.path.join(older, directory, name)), f"{path}: {older} has nothing of it")
    need(False, f"{path}: nothing has it whole")


# Since 19 servers write the low half with all of its digits.
def lsn(text):
    return text and [int(half, 16) for half in text.split("/")]


def main():
    chain = sys.argv[1:]
    identifiers, before, increments = set(), None, 0
    for at, root in enumerate(chain):
        label, order = label_of(root)
        start, timeline = lsn(label["START WAL LOCATION"].split()[0]), label["START TIMELINE"]
        parent = (lsn(label.get("INCREMENTAL FROM LSN")), label.get("INCREMENTAL FROM TLI"))
        need(parent == ((None, None) if at == 0 else before), f"{root}: built on {parent}, after {before}")
        need(at == 0 or order[-3:] == ["START TIMELINE", "INCREMENTAL FROM LSN", "INCREMENTAL FROM TLI"], f"{root}: {order}")
        before = (start, timeline)
        control = open(os.path.join(root, "global/pg_control"), "rb").read()
        need(struct.unpack_from("<I", control, 8)[0] in (1700, 1800, 1905), f"{root}: pg_control's version")
        manifest = json.load(open(os.path.join(root, "backup_manifest")))
        need(manifest["PostgreSQL-Backup-Manifest-Version"] == 2, f"{root}: the manifest's version")
        identifiers |= {manifest["System-Identifier"], struct.unpack_from("<Q", control)[0]}
        listed = {entry["Path"] for entry in manifest["Files"]}
        for directory, _, names in os.walk(root):
            relative = os.path.relpath(directory, root)
            for name in names:
                path = name if relative == "." else f"{relative}/{name}"
                known = path in listed or path.startswith("pg_wal/") or path == "backup_manifest"
                need(known, f"{root}: {path} is not in the manifest")
                if name.startswith("INCREMENTAL."):
                    need(at > 0, f"{root}: {path} in a full backup")
                    check_file(root, relative, name, chain[:at])
                    increments += 1
    need(len(identifiers) == 1, f"several clusters: {identifiers}")
    need(increments > 100, f"only {increments} INCREMENTAL files")


main()
