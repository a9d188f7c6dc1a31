"""RDS through botocore.

Usage: rds.py ENDPOINT [NAME]: with the name of a VPC process that has a wire, databases are real.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

from botocore.exceptions import WaiterError

from official import client, refused

endpoint, name = sys.argv[1], (sys.argv[2:] + [None])[0]
ec2, rds = client("ec2", "us-west-2"), client("rds", "us-west-2")


vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24",
                             AvailabilityZone=f"us-west-2{zone}")["Subnet"]["SubnetId"]
           for n, zone in ((1, "a"), (2, "b"))]
app, db = (ec2.create_security_group(GroupName=g, Description=g, VpcId=vpc)["GroupId"]
           for g in ("app", "db"))

# Subnet groups.
group = {"DBSubnetGroupName": "Private", "DBSubnetGroupDescription": "<d>", "SubnetIds": subnets}
refused("DBSubnetGroupDoesNotCoverEnoughAZs", rds.create_db_subnet_group,
        **{**group, "SubnetIds": subnets[:1]})
refused("InvalidSubnet", rds.create_db_subnet_group, **{**group, "SubnetIds": ["subnet-1"]})
refused("InvalidParameterValue", rds.create_db_subnet_group,
        **{**group, "DBSubnetGroupName": "default"})
made = rds.create_db_subnet_group(**group)["DBSubnetGroup"]
assert made["DBSubnetGroupName"] == "private" and made["VpcId"] == vpc
assert [s["SubnetIdentifier"] for s in made["Subnets"]] == subnets
assert made["DBSubnetGroupArn"] == "arn:aws:rds:us-west-2:123456789012:subgrp:private"
refused("DBSubnetGroupAlreadyExists", rds.create_db_subnet_group, **group)
groups = rds.describe_db_subnet_groups()["DBSubnetGroups"]
assert [g["DBSubnetGroupDescription"] for g in groups] == ["<d>"]
error = refused("DBSubnetGroupNotFoundFault", rds.describe_db_subnet_groups, DBSubnetGroupName="x")
assert error["ResponseMetadata"]["HTTPStatusCode"] == 404

# What is refused.
wanted = {"DBInstanceIdentifier": "Orders", "DBInstanceClass": "db.t3.micro", "Engine": "postgres",
          "AllocatedStorage": 20, "MasterUsername": "keeper", "MasterUserPassword": "hedge-row-1",
          "DBName": "orders", "DBSubnetGroupName": "private", "VpcSecurityGroupIds": [db],
          "PubliclyAccessible": False, "Tags": [{"Key": "a.b", "Value": "c"}]}
for code, wrong in (
        ("InvalidParameterValue", {"DBInstanceIdentifier": "a--b"}),
        ("InvalidParameterValue", {"Engine": "mysql"}),
        ("InvalidParameterValue", {"MasterUserPassword": "short"}),
        ("InvalidParameterValue", {"MasterUsername": "1x"}),
        ("InvalidParameterValue", {"DBName": "a\"b"}),
        ("InvalidParameterValue", {"VpcSecurityGroupIds": ["sg-1"]}),
        ("InvalidParameterValue", {"DBInstanceClass": "t3.micro"}),
        ("InvalidParameterCombination", {"EngineVersion": "9.6"}),
        ("InvalidParameterCombination", {"PubliclyAccessible": True}),
        ("DBSubnetGroupNotFoundFault", {"DBSubnetGroupName": "nowhere"}),
        ("InvalidVPCNetworkStateFault", {"AvailabilityZone": "us-west-2c"})):
    refused(code, rds.create_db_instance, **{**wanted, **wrong})
refused("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier="orders")
refused("InvalidAction", rds.describe_db_snapshots)
assert ec2.describe_network_interfaces()["NetworkInterfaces"] == [], "refusals made nothing"

# A database.
made = rds.create_db_instance(**wanted)["DBInstance"]
assert (made["DBInstanceIdentifier"], made["DBInstanceStatus"]) == ("orders", "creating")
assert "Endpoint" not in made and made["TagList"] == [{"Key": "a.b", "Value": "c"}]
assert made["VpcSecurityGroups"] == [{"VpcSecurityGroupId": db, "Status": "active"}]
refused("DBInstanceAlreadyExists", rds.create_db_instance, **wanted)
refused("InvalidDBSubnetGroupStateFault", rds.delete_db_subnet_group, DBSubnetGroupName="private")
[interface] = ec2.describe_network_interfaces()["NetworkInterfaces"]
assert interface["Description"] == "RDSNetworkInterface" and interface["Status"] == "in-use"
assert interface["Groups"][0]["GroupId"] == db
assert ec2.describe_instances()["Reservations"] == [], "its machine is nobody's instance"
assert interface["RequesterManaged"] and interface["RequesterId"] == "amazon-rds"
refused("AuthFailure", ec2.delete_network_interface,
        NetworkInterfaceId=interface["NetworkInterfaceId"])


def described():
    return rds.describe_db_instances(DBInstanceIdentifier="orders")["DBInstances"][0]


def psql(instance, host, statement):
    """psql in an instance, which asks the VPC's DNS for names."""
    namespace = f"/run/netns/hr.{name}.{instance}"
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("nameserver 169.254.169.253\n")
        file.flush()
        inside = f'mount --bind {file.name} /etc/resolv.conf && exec psql "$@"'
        return subprocess.run(
            ["nsenter", f"--net={namespace}", "unshare", "--mount", "sh", "-c", inside, "psql",
             "-tA", f"host={host} port=5432 user=keeper dbname=orders connect_timeout=2",
             "-c", statement],
            env={**os.environ, "PGPASSWORD": "hedge-row-1"}, capture_output=True, text=True)


if name is None:
    deadline = time.time() + 5
    while described()["DBInstanceStatus"] == "creating" and time.time() < deadline:
        time.sleep(0.05)
    database = described()
    assert database["DBInstanceStatus"] == "stopped", "records only: there is no server"
    assert "Endpoint" not in database
else:
    run = ec2.run_instances(ImageId="ami-1", InstanceType="m5.large", MinCount=1, MaxCount=1,
                            SubnetId=subnets[0], SecurityGroupIds=[app])
    tester = run["Instances"][0]["InstanceId"]
    rds.get_waiter("db_instance_available").wait(
        DBInstanceIdentifier="orders", WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    address = described()["Endpoint"]["Address"]
    assert described()["Endpoint"]["Port"] == 5432
    assert re.fullmatch(r"orders\.c[0-9a-z]{11}\.us-west-2\.rds\.amazonaws\.com", address), address
    shut = psql(tester, address, "select 1")
    assert shut.returncode != 0 and "timeout" in shut.stderr, shut
    rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432,
            "UserIdGroupPairs": [{"GroupId": app}]}
    ec2.authorize_security_group_ingress(GroupId=db, IpPermissions=[rule])
    seen = psql(tester, address, "select current_user, current_database(), "
                                 "current_setting('server_version_num')::int / 10000")
    assert seen.stdout.strip() == "keeper|orders|15", seen
    print(f"{tester} reached {address}: {seen.stdout.strip()}")

# Filters.
def found(**wanted):
    filters = [{"Name": n.replace("_", "-"), "Values": v} for n, v in wanted.items()]
    databases = rds.describe_db_instances(Filters=filters)["DBInstances"]
    return [d["DBInstanceIdentifier"] for d in databases]


assert found(db_instance_id=["ORDERS", "x"], engine=["postgres"]) == ["orders"]
assert found(db_instance_id=[made["DBInstanceArn"]]) == ["orders"]
assert found(dbi_resource_id=[made["DbiResourceId"]]) == ["orders"]
assert found(db_instance_id=["x"]) == found(engine=["mysql"]) == found(domain=["d"]) == []
refused("InvalidParameterValue", rds.describe_db_instances,
        Filters=[{"Name": "colour", "Values": ["red"]}])

# Without a subnet group it is in the default VPC, and protected while it is said to be.
other = client("rds", "eu-west-1")
made = other.create_db_instance(
    DBInstanceIdentifier="other", DBInstanceClass="db.t3.micro", Engine="postgres",
    AllocatedStorage=20, MasterUsername="keeper", MasterUserPassword="hedge-row-1",
    DeletionProtection=True)["DBInstance"]
assert made["DBSubnetGroup"]["DBSubnetGroupName"] == "default" and made["DeletionProtection"]
refused("InvalidParameterCombination", other.delete_db_instance, DBInstanceIdentifier="other",
        SkipFinalSnapshot=True)

gone = rds.delete_db_instance(DBInstanceIdentifier="orders", SkipFinalSnapshot=True)["DBInstance"]
assert gone["DBInstanceStatus"] == "deleting"
refused("DBInstanceNotFound", rds.delete_db_instance, DBInstanceIdentifier="orders",
        SkipFinalSnapshot=True)
left = [i["Description"] for i in ec2.describe_network_interfaces()["NetworkInterfaces"]]
assert "RDSNetworkInterface" not in left
rds.delete_db_subnet_group(DBSubnetGroupName="private")
assert rds.describe_db_subnet_groups()["DBSubnetGroups"] == []
