"""An S3 server for the tests: moto on loopback, in one process, its objects in memory and temporary files.

It has IAM policies, versions and object lock; it checks no credentials. Once it
answers, DIR/env holds how to reach it, as shell assignments. It ends when the process PARENT does.

    moto-server.py DIR PARENT
"""

import os
import sys
import threading
import time

# Before moto is imported, which reads them.
os.environ.update({
    "AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "only-for-tests", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
})

import boto3  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication, MotoRequestHandler, create_backend_app)
from werkzeug.serving import make_server  # noqa: E402

BUCKET = "pgv-test"


class RequestHandler(MotoRequestHandler):
    # One connection serves many requests, as with any real service.
    protocol_version = "HTTP/1.1"


def main():
    directory = os.path.abspath(sys.argv[1])
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=RequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    boto3.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)

    with open(f"{directory}/env.new", "w", encoding="utf-8") as file:
        file.write("\n".join([
            f"PGV_S3_ENDPOINT_URL={url}",
            "PGV_S3_REGION=us-east-1",
            f"AWS_ACCESS_KEY_ID={os.environ['AWS_ACCESS_KEY_ID']}",
            f"AWS_SECRET_ACCESS_KEY={os.environ['AWS_SECRET_ACCESS_KEY']}",
            f"PGV_TEST_BUCKET={BUCKET}",
        ]) + "\n")
    os.rename(f"{directory}/env.new", f"{directory}/env")
    while os.path.exists(f"/proc/{sys.argv[2]}"):
        time.sleep(1)


main()
