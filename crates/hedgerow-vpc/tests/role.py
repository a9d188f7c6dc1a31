"""What an instance may do by its role, through botocore; to be run inside of the instance.

Usage: role.py: prints the ARN that STS says, and what becomes of one call of each API.
"""

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

session = botocore.session.get_session()
config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10)


def client(service):
    """A client that finds its keys at the metadata service."""
    return session.create_client(service, region_name="us-west-2", config=config,
                                 endpoint_url="http://169.254.169.250:4566")


def code(call, **arguments):
    """The error's code, or ok."""
    try:
        call(**arguments)
        return "ok"
    except ClientError as error:
        return error.response["Error"]["Code"]


sts, ec2, eks, rds = (client(service) for service in ("sts", "ec2", "eks", "rds"))
identity = sts.get_caller_identity()
print(identity["Arn"], identity["UserId"].split(":")[1])
print(code(ec2.describe_vpcs), code(ec2.describe_subnets), code(eks.list_clusters),
      code(rds.describe_db_instances))
