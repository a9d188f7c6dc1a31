"""The official client, as every script here uses it: ENDPOINT is a script's first argument."""

import sys

import botocore.session
from botocore.exceptions import ClientError

session = botocore.session.Session()
session.set_credentials("any", "thing")


def client(service, region):
    return session.create_client(service, region_name=region, endpoint_url=sys.argv[1])


def refused(code, call, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"expected {code}")
