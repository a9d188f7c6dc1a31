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
          "Tags": [{"Key": "a.b", "Value": "c"}]}
for code, wrong in (
        ("InvalidParameterValue", {"DBInstanceIdentifier": "a--b"}),
        ("InvalidParameterValue", {"Engine": "mysql"}),
        ("InvalidParameterValue", {"MasterUserPassword": "short"}),
        ("InvalidParameterValue", {"MasterUsername": "1x"}),
        ("InvalidParameterValue", {"DBName": "a\"b"}),
        ("InvalidParameterValue", {"VpcSecurityGroupIds": ["sg-1"]}),
        ("InvalidParameterValue", {"DBInstanceClass": "t3.micro"}),
        ("InvalidParameterCombination", {"EngineVersion": "9.6"}),
        ("InvalidParameterCombination", {"MultiAZ": True}),
        ("InvalidVPCNetworkStateFault", {"PubliclyAccessible": True}),
        ("DBSubnetGroupNotFoundFault", {"DBSubnetGroupName": "nowhere"}),
        ("InvalidVPCNetworkStateFault", {"AvailabilityZone": "us-west-2c"})):
    refused(code, rds.create_db_instance, **{**wanted, **wrong})
refused("DBInstanceNotFound", rds.describe_db_instances, DBInstanceIdentifier="orders")
refused("InvalidAction", rds.describe_db_snapshots)
assert ec2.describe_network_interfaces()["NetworkInterfaces"] == [], "refusals made nothing"

# A database.
made = rds.create_db_instance(**wanted)["DBInstance"]
assert (made["DBInstanceIdentifier"], made["DBInstanceStatus"]) == ("orders", "creating")
assert made["PubliclyAccessible"] is False, "as usual with a subnet group"
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


def public_address(vpc_id, api):
    """The public address of a VPC's database, as EC2 shows it."""
    [interface] = api.describe_network_interfaces(Filters=[
        {"Name": "vpc-id", "Values": [vpc_id]},
        {"Name": "description", "Values": ["RDSNetworkInterface"]}])["NetworkInterfaces"]
    return interface.get("Association", {}).get("PublicIp")


def make_public():
    """Makes the database public, for which its VPC must have an internet gateway and names."""
    def public():
        return rds.modify_db_instance(DBInstanceIdentifier="orders", PubliclyAccessible=True)

    error = refused("InvalidVPCNetworkStateFault", rds.modify_db_instance,
                    DBInstanceIdentifier="orders", PubliclyAccessible=True)
    assert "no internet gateway attached" in error["Error"]["Message"], error
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    error = refused("InvalidVPCNetworkStateFault", rds.modify_db_instance,
                    DBInstanceIdentifier="orders", PubliclyAccessible=True)
    assert "DNS hostnames" in error["Error"]["Message"], error
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    assert public_address(vpc, ec2) is None
    assert public()["DBInstance"]["PubliclyAccessible"] is True
    address = public_address(vpc, ec2)
    assert address.startswith("198.1") and public()["DBInstance"]["PubliclyAccessible"]
    assert public_address(vpc, ec2) == address, "it stays"
    return gateway, address


def make_private(gateway):
    """Takes the public address away again, and with it what holds the gateway."""
    error = refused("DependencyViolation", ec2.detach_internet_gateway,
                    InternetGatewayId=gateway, VpcId=vpc)
    assert "mapped public address" in error["Error"]["Message"], error
    rds.modify_db_instance(DBInstanceIdentifier="orders", PubliclyAccessible=False)
    assert public_address(vpc, ec2) is None


def inside(place, *command):
    """Runs a command in an instance, where it asks the VPC's DNS for names, or in the Internet."""
    namespace = f"/run/netns/hr.{name}.{place}"
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("nameserver 169.254.169.253\n")
        file.flush()
        script = f'mount --bind {file.name} /etc/resolv.conf && exec "$@"'
        return subprocess.run(
            ["nsenter", f"--net={namespace}", "unshare", "--mount", "sh", "-c", script, "sh",
             *command],
            env={**os.environ, "PGPASSWORD": "hedge-row-1"}, capture_output=True, text=True)


def psql(place, host, statement, database="orders"):
    connection = f"host={host} port=5432 user=keeper dbname={database} connect_timeout=2"
    return inside(place, "psql", "-tA", connection, "-c", statement)


def resolved(instance, host):
    """What the DNS of the instance's VPC says of a name."""
    lines = inside(instance, "getent", "ahostsv4", host).stdout.splitlines()
    return lines[0].split()[0]


if name is None:
    deadline = time.time() + 5
    while described()["DBInstanceStatus"] == "creating" and time.time() < deadline:
        time.sleep(0.05)
    database = described()
    assert database["DBInstanceStatus"] == "stopped", "records only: there is no server"
    assert "Endpoint" not in database
    make_private(make_public()[0])
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

    # Public: routes and groups decide, and where one asks decides what the name is.
    gateway, public = make_public()
    private = interface["PrivateIpAddress"]
    run = ec2.run_instances(ImageId="ami-1", InstanceType="m5.large", MinCount=1, MaxCount=1)
    elsewhere = run["Instances"][0]["InstanceId"]
    assert (resolved(tester, address), resolved(elsewhere, address)) == (private, public)
    world = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432,
             "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}
    ec2.authorize_security_group_ingress(GroupId=db, IpPermissions=[world])
    assert psql("internet", public, "select 1").returncode != 0, "its subnet has no way out"
    [table] = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0",
                     GatewayId=gateway)
    seen = psql("internet", public, "select inet_server_addr()")
    assert seen.stdout.strip() == private, seen
    rds.modify_db_instance(DBInstanceIdentifier="orders", VpcSecurityGroupIds=[app])
    assert described()["VpcSecurityGroups"][0]["VpcSecurityGroupId"] == app
    assert psql("internet", public, "select 1").returncode != 0, "its groups let nobody in"
    rds.modify_db_instance(DBInstanceIdentifier="orders", VpcSecurityGroupIds=[db])
    assert psql("internet", public, "select 1").returncode == 0
    make_private(gateway)
    assert psql("internet", public, "select 1").returncode != 0, "nobody has the address"
    assert resolved(elsewhere, address) == private

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
assert made["PubliclyAccessible"], "as usual in the default VPC"
refused("InvalidParameterCombination", other.delete_db_instance, DBInstanceIdentifier="other",
        SkipFinalSnapshot=True)
if name is not None:
    refused("InvalidDBInstanceState", other.modify_db_instance, DBInstanceIdentifier="other",
            DeletionProtection=False)
    there = client("ec2", "eu-west-1")
    home = made["DBSubnetGroup"]["VpcId"]
    ports = {**world, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    there.authorize_security_group_ingress(
        GroupId=made["VpcSecurityGroups"][0]["VpcSecurityGroupId"], IpPermissions=[ports])
    other.get_waiter("db_instance_available").wait(
        DBInstanceIdentifier="other", WaiterConfig={"Delay": 1, "MaxAttempts": 90})
    seen = psql("internet", public_address(home, there), "select current_user", "postgres")
    assert seen.stdout.strip() == "keeper", seen

rds.modify_db_instance(DBInstanceIdentifier="orders", DeletionProtection=True)
refused("InvalidParameterCombination", rds.delete_db_instance, DBInstanceIdentifier="orders",
        SkipFinalSnapshot=True)
rds.modify_db_instance(DBInstanceIdentifier="orders", DeletionProtection=False)
gone = rds.delete_db_instance(DBInstanceIdentifier="orders", SkipFinalSnapshot=True)["DBInstance"]
assert gone["DBInstanceStatus"] == "deleting"
refused("DBInstanceNotFound", rds.delete_db_instance, DBInstanceIdentifier="orders",
        SkipFinalSnapshot=True)
left = [i["Description"] for i in ec2.describe_network_interfaces()["NetworkInterfaces"]]
assert "RDSNetworkInterface" not in left
rds.delete_db_subnet_group(DBSubnetGroupName="private")
assert rds.describe_db_subnet_groups()["DBSubnetGroups"] == []
