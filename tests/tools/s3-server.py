"""An S3 server for the tests: OpenStack Swift's s3api on loopback, in one process.

It checks signatures, conditions, checksums and part sizes as strictly as AWS. Proxy, account, container
and object server, each on a port of its own choice, with one device below DIR. Once it answers, DIR/env
holds how to reach it, as shell assignments. It ends when the process PARENT does.

    s3-server.py DIR PARENT
"""

import os
import subprocess
import sys

import eventlet

eventlet.monkey_patch()  # before anything else opens a socket

import eventlet.wsgi  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.internal_client import InternalClient  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

ACCOUNT, USER, SECRET, OTHER = "pgv", "tester", "only-for-tests", "stranger"
BUCKET = "pgv-test"

SWIFT = """
[swift-hash]
swift_hash_path_suffix = pgv
[storage-policy:0]
name = only
default = yes
"""

# Time-outs are long: a listing that lags behind under load would look like a bug of ours.
SERVER = """
[DEFAULT]
swift_dir = {directory}
container_update_timeout = 60
conn_timeout = 60
node_timeout = 60
devices = {directory}/devices
mount_check = false
log_address = {directory}/no-syslog
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

# As AWS 10000 parts (s3api alone has 1000), but short pages, so that a test of paging needs few objects.
PROXY = """
[DEFAULT]
swift_dir = {directory}
log_address = {directory}/no-syslog
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 60
node_timeout = 60
recoverable_node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcache}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000
max_bucket_listing = 100
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
user_{account}_{other} = {secret}
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""

INTERNAL = """
[DEFAULT]
swift_dir = {directory}
log_address = {directory}/no-syslog
[pipeline:main]
pipeline = catch_errors cache proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcache}
"""


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def certificate(directory):
    """A certificate for 127.0.0.1 that is its own authority."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-addext", "basicConstraints=critical,CA:FALSE", "-days", "3650",
         "-keyout", f"{directory}/tls.key", "-out", f"{directory}/tls.pem"],
        check=True, capture_output=True)


def main():
    directory = os.path.abspath(sys.argv[1])
    os.makedirs(f"{directory}/devices/d", exist_ok=True)
    write(f"{directory}/swift.conf", SWIFT)
    utils.set_swift_dir(directory)

    certificate(directory)

    kinds = ("account", "container", "object", "proxy")
    sockets = {kind: eventlet.listen(("127.0.0.1", 0), backlog=256) for kind in kinds}
    ports = {kind: socket.getsockname()[1] for kind, socket in sockets.items()}
    # Nobody listens there: the cache is left out, which Swift takes for a miss.
    closed = eventlet.listen(("127.0.0.1", 0))
    memcache = closed.getsockname()[1]
    closed.close()

    for kind in kinds[:3]:
        ring = RingBuilder(part_power=3, replicas=1, min_part_hours=0)
        ring.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1, "ip": "127.0.0.1", "port": ports[kind], "device": "d"})
        ring.rebalance()
        ring.get_ring().save(f"{directory}/{kind}.ring.gz")
        write(f"{directory}/{kind}.conf", SERVER.format(kind=kind, directory=directory))
    write(
        f"{directory}/proxy.conf",
        PROXY.format(directory=directory, memcache=memcache, account=ACCOUNT, user=USER, other=OTHER, secret=SECRET),
    )

    log = open(f"{directory}/requests.log", "w", buffering=1, encoding="utf-8")
    tls = eventlet.listen(("127.0.0.1", 0), backlog=256)
    tls_port = tls.getsockname()[1]
    tls = eventlet.wrap_ssl(tls, certfile=f"{directory}/tls.pem", keyfile=f"{directory}/tls.key", server_side=True)
    apps = {kind: loadapp(f"{directory}/{kind}.conf") for kind in kinds}
    for kind, socket in [*sockets.items(), ("proxy", tls)]:
        eventlet.spawn(
            eventlet.wsgi.server, socket, apps[kind], log=log, log_output=kind == "proxy",
            custom_pool=eventlet.GreenPool(256), debug=False,
        )

    write(f"{directory}/internal.conf", INTERNAL.format(directory=directory, memcache=memcache))
    client = InternalClient(f"{directory}/internal.conf", "pgv tests", 3)
    client.create_container(f"AUTH_{ACCOUNT}", BUCKET)

    write(f"{directory}/env.new", "\n".join([
        f"PGV_S3_ENDPOINT_URL=http://127.0.0.1:{ports['proxy']}",
        "PGV_S3_REGION=us-east-1",
        f"AWS_ACCESS_KEY_ID={ACCOUNT}:{USER}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"PGV_TEST_TLS_URL=https://127.0.0.1:{tls_port}",
        f"PGV_TEST_CA_FILE={directory}/tls.pem",
        f"PGV_TEST_BUCKET={BUCKET}",
        f"PGV_TEST_STRANGER={ACCOUNT}:{OTHER}",
    ]) + "\n")
    os.rename(f"{directory}/env.new", f"{directory}/env")
    while os.path.exists(f"/proc/{sys.argv[2]}"):
        eventlet.sleep(1)


main()
