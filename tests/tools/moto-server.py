"""An S3 server for the tests: moto on loopback, in one process, its objects in memory and temporary files.

It has IAM policies, versions and object lock. It checks neither credentials nor policies until moto-server.sh
`enforce` says so. Once it answers, DIR/env holds how to reach it, as shell assignments. It ends when the process
PARENT does.

moto does not evaluate the conditions of a policy; the two that pgv's policies have are added here, as Amazon
documents them ("Enforce conditional writes on Amazon S3 buckets"). And it looks for the right to remove many objects
at once on the bucket, where Amazon looks on each object.

    moto-server.py DIR PARENT
"""

import os
import sys
import threading
import time
from xml.etree import ElementTree

# Before moto is imported, which reads them.
os.environ.update({
    "AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "only-for-tests", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
})

import boto3  # noqa: E402
from flask import request  # noqa: E402
from moto.iam.access_control import IAMPolicyStatement, PermissionResult, S3IAMRequest  # noqa: E402
from moto.moto_server.werkzeug_app import (  # noqa: E402
    DomainDispatcherApplication, MotoRequestHandler, create_backend_app)
from werkzeug.serving import make_server  # noqa: E402

BUCKET = "pgv-test"


def condition_keys():
    """What a request to store something is known by to a condition; nothing for other requests."""
    query, keys = request.args, {}
    if request.method == "PUT" or (request.method == "POST" and {"uploads", "uploadId"} & set(query)):
        keys["s3:ObjectCreationOperation"] = "partNumber" not in query and "uploads" not in query
        if "If-None-Match" in request.headers:
            keys["s3:if-none-match"] = request.headers["If-None-Match"]
    return keys


def holds(operator, key, wanted):
    value = condition_keys().get(key)
    if operator == "Null":
        return (value is None) == (wanted == "true")
    if operator == "Bool":
        return value is (wanted == "true")
    raise NotImplementedError(f"condition {operator}")


def is_action_permitted(self, *arguments, decide=IAMPolicyStatement.is_action_permitted):
    conditions = self._statement.pop("Condition", {})
    if not all(holds(operator, *pair) for operator, pairs in conditions.items() for pair in pairs.items()):
        return PermissionResult.NEUTRAL
    return decide(self, *arguments)


def check_action_permitted(self, resource, check=S3IAMRequest.check_action_permitted):
    if request.method == "POST" and "delete" in request.args:
        for key in ElementTree.fromstring(self._body).iterfind(".//{*}Key"):
            check(self, f"{resource.rstrip('/')}/{key.text}")
    else:
        check(self, resource)


def with_checksum_named(app):
    """In a bucket with a lock Amazon wants Content-MD5 or any x-amz-checksum- header; moto knows the checksum only
    by a header that names its algorithm."""
    def called(environ, start_response):
        for header in [name for name in environ if name.startswith("HTTP_X_AMZ_CHECKSUM_CRC")]:
            environ.setdefault("HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM", header.removeprefix("HTTP_X_AMZ_CHECKSUM_"))
        return app(environ, start_response)
    return called


class RequestHandler(MotoRequestHandler):
    # One connection serves many requests, as with any real service.
    protocol_version = "HTTP/1.1"


def main():
    directory = os.path.abspath(sys.argv[1])
    IAMPolicyStatement.is_action_permitted = is_action_permitted
    S3IAMRequest.check_action_permitted = check_action_permitted
    app = with_checksum_named(DomainDispatcherApplication(create_backend_app))
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
