"""Walks the API with botocore, which checks requests and parses answers by AWS's own models.

Usage: walk.py ENDPOINT
"""

import time
import urllib.request

from official import client, refused

REGION = "eu-west-1"
ec2, sts = client("ec2", REGION), client("sts", REGION)
assert sts.get_caller_identity()["Account"] == "123456789012"
refused("InvalidAction", sts.get_session_token)

vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
assert [z["ZoneName"] for z in ec2.describe_availability_zones()["AvailabilityZones"]] == [
    "eu-west-1a", "eu-west-1b", "eu-west-1c"], "the region is the signature's"
assert len(client("ec2", "eu-west-2").describe_vpcs()["Vpcs"]) == 1
by_get = ec2.generate_presigned_url("describe_vpcs", {"VpcIds": [vpc]}, HttpMethod="GET")
with urllib.request.urlopen(by_get) as answer:
    assert vpc in answer.read().decode(), "a signed URL, as a browser opens it"
subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
app = ec2.create_security_group(GroupName="app", Description="a", VpcId=vpc)["GroupId"]
db = ec2.create_security_group(GroupName="db", Description="d", VpcId=vpc)["GroupId"]
postgres = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432,
            "UserIdGroupPairs": [{"GroupId": app, "Description": "(app) & friends"}]}
ec2.authorize_security_group_ingress(GroupId=db, IpPermissions=[postgres])
described = ec2.describe_security_groups(GroupIds=[db])["SecurityGroups"][0]
pair = described["IpPermissions"][0]["UserIdGroupPairs"][0]
assert (pair["GroupId"], pair["Description"]) == (app, "(app) & friends")
refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress,
        GroupId=db, IpPermissions=[postgres])

# Rules and prefix lists.
created = ec2.create_managed_prefix_list(
    PrefixListName="offices", AddressFamily="IPv4", MaxEntries=3,
    Entries=[{"Cidr": "10.1.0.0/16", "Description": "<north>"}],
    TagSpecifications=[{"ResourceType": "prefix-list", "Tags": [{"Key": "team", "Value": "a"}]}])
offices = created["PrefixList"]["PrefixListId"]
assert created["PrefixList"]["State"] == "create-in-progress"
ec2.modify_managed_prefix_list(
    PrefixListId=offices, CurrentVersion=1, AddEntries=[{"Cidr": "10.2.0.0/16"}])
offices_now = ec2.describe_managed_prefix_lists(PrefixListIds=[offices])["PrefixLists"][0]
assert (offices_now["Version"], offices_now["MaxEntries"], offices_now["State"]) == (
    2, 3, "modify-complete")
assert offices_now["Tags"] == [{"Key": "team", "Value": "a"}]
entries = ec2.get_paginator("get_managed_prefix_list_entries").paginate(
    PrefixListId=offices, PaginationConfig={"PageSize": 1})
assert [(e["Cidr"], e.get("Description")) for page in entries for e in page["Entries"]] == [
    ("10.1.0.0/16", "<north>"), ("10.2.0.0/16", None)]
rules = ec2.authorize_security_group_ingress(GroupId=app, IpPermissions=[{
    "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
    "IpRanges": [{"CidrIp": "10.3.0.0/16"}],
    "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32", "Description": "six"}],
    "PrefixListIds": [{"PrefixListId": offices}]}])["SecurityGroupRules"]
assert [(r.get("CidrIpv4"), r.get("CidrIpv6"), r.get("PrefixListId")) for r in rules] == [
    ("10.3.0.0/16", None, None), (None, "2001:db8::/32", None), (None, None, offices)]
assert ec2.get_managed_prefix_list_associations(PrefixListId=offices)[
    "PrefixListAssociations"] == [{"ResourceId": app, "ResourceOwner": "123456789012"}]
refused("DependencyViolation", ec2.delete_managed_prefix_list, PrefixListId=offices)
ec2.modify_security_group_rules(GroupId=app, SecurityGroupRules=[{
    "SecurityGroupRuleId": rules[0]["SecurityGroupRuleId"],
    "SecurityGroupRule": {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1,
                          "CidrIpv4": "10.4.0.0/16"}}])
ec2.update_security_group_rule_descriptions_ingress(
    GroupId=app, SecurityGroupRuleDescriptions=[
        {"SecurityGroupRuleId": rules[2]["SecurityGroupRuleId"], "Description": "list"}])
pages = ec2.get_paginator("describe_security_group_rules").paginate(
    Filters=[{"Name": "group-id", "Values": [app]}], PaginationConfig={"PageSize": 5})
by_id = {r["SecurityGroupRuleId"]: r for page in pages for r in page["SecurityGroupRules"]}
changed, _, by_list = (by_id[rule["SecurityGroupRuleId"]] for rule in rules)
assert (changed["IpProtocol"], changed["FromPort"], changed["ToPort"], changed["CidrIpv4"]) == (
    "icmp", 8, -1, "10.4.0.0/16")
assert by_list["Description"] == "list"
described = ec2.describe_security_groups(GroupIds=[app])["SecurityGroups"][0]
tcp = next(p for p in described["IpPermissions"] if p["IpProtocol"] == "tcp")
assert tcp["Ipv6Ranges"] == [{"CidrIpv6": "2001:db8::/32", "Description": "six"}]
assert tcp["PrefixListIds"] == [{"PrefixListId": offices, "Description": "list"}]
revoked = ec2.revoke_security_group_ingress(
    GroupId=app, SecurityGroupRuleIds=[rule["SecurityGroupRuleId"] for rule in rules])
assert len(revoked["RevokedSecurityGroupRules"]) == 3
restored = ec2.restore_managed_prefix_list_version(
    PrefixListId=offices, CurrentVersion=2, PreviousVersion=1)["PrefixList"]
assert restored["Version"] == 3
ec2.delete_managed_prefix_list(PrefixListId=offices)
services = ec2.describe_prefix_lists(
    Filters=[{"Name": "prefix-list-name", "Values": ["com.amazonaws.eu-west-1.s3"]}])
assert services["PrefixLists"][0]["Cidrs"] == ["198.18.240.0/24"]
for_vpc = ec2.get_security_groups_for_vpc(VpcId=vpc)["SecurityGroupForVpcs"]
assert sorted(g["GroupName"] for g in for_vpc) == ["app", "db", "default"]
assert ec2.describe_security_group_references(GroupId=[app])["SecurityGroupReferenceSet"] == []
assert ec2.describe_stale_security_groups(VpcId=vpc)["StaleSecurityGroupSet"] == []

error = refused("InvalidSecurityGroupID.NotFound", ec2.create_network_interface,
                SubnetId=subnet, Groups=["sg-1"])
assert error["Error"]["Message"] == "The securityGroup ID 'sg-1' does not exist"
error = refused("DryRunOperation", ec2.create_vpc, CidrBlock="10.0.0.0/16", DryRun=True)
assert error["ResponseMetadata"]["HTTPStatusCode"] == 412

launch = ec2.run_instances(
    ImageId="ami-1", InstanceType="m5.xlarge", MinCount=1, MaxCount=1,
    NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet, "Groups": [app]}],
    TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "node"}]}])
instance = launch["Instances"][0]["InstanceId"]
ec2.get_waiter("instance_running").wait(InstanceIds=[instance])
ec2.get_waiter("instance_status_ok").wait(InstanceIds=[instance])

trunk = ec2.create_network_interface(SubnetId=subnet, InterfaceType="trunk")["NetworkInterface"]
attachment = ec2.attach_network_interface(
    NetworkInterfaceId=trunk["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=3)
ec2.modify_network_interface_attribute(
    NetworkInterfaceId=trunk["NetworkInterfaceId"],
    Attachment={"AttachmentId": attachment["AttachmentId"], "DeleteOnTermination": True})
branch = ec2.create_network_interface(SubnetId=subnet, Groups=[app])["NetworkInterface"]
association = ec2.associate_trunk_interface(
    TrunkInterfaceId=trunk["NetworkInterfaceId"],
    BranchInterfaceId=branch["NetworkInterfaceId"], VlanId=1)["InterfaceAssociation"]
assert association["VlanId"] == 1 and association["InterfaceProtocol"] == "VLAN"
node = ec2.describe_instances(
    Filters=[{"Name": "tag:Name", "Values": ["node"]}])["Reservations"][0]["Instances"][0]
interfaces = {i["InterfaceType"]: i for i in node["NetworkInterfaces"]}
assert sorted(interfaces) == ["interface", "trunk"], "branches are not listed"
assert interfaces["trunk"]["Attachment"]["DeviceIndex"] == 3
ec2.assign_private_ip_addresses(
    NetworkInterfaceId=interfaces["interface"]["NetworkInterfaceId"],
    SecondaryPrivateIpAddressCount=3)

eth0 = interfaces["interface"]["NetworkInterfaceId"]
prefix = ec2.assign_private_ip_addresses(NetworkInterfaceId=eth0, Ipv4PrefixCount=1)
prefix = prefix["AssignedIpv4Prefixes"][0]["Ipv4Prefix"]
ec2.modify_network_interface_attribute(
    NetworkInterfaceId=eth0, ConnectionTrackingSpecification={"UdpTimeout": 60})
shown = ec2.describe_network_interfaces(NetworkInterfaceIds=[eth0])["NetworkInterfaces"][0]
assert shown["Ipv4Prefixes"] == [{"Ipv4Prefix": prefix}]
assert shown["ConnectionTrackingConfiguration"] == {"UdpTimeout": 60}
ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[instance])
ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
options = ec2.modify_instance_metadata_options(InstanceId=instance, HttpTokens="required")
assert options["InstanceMetadataOptions"]["HttpTokens"] == "required"
stopped = ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
assert (stopped["PreviousState"]["Name"], stopped["CurrentState"]["Code"]) == ("running", 80)
ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance])
ec2.modify_instance_attribute(InstanceId=instance, UserData={"Value": b"#!/bin/sh"})
data = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]
assert data["Value"] == "IyEvYmluL3No"
ec2.start_instances(InstanceIds=[instance])
ec2.get_waiter("instance_running").wait(InstanceIds=[instance])
offered = ec2.get_paginator("describe_instance_type_offerings").paginate(
    LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": ["m5.*"]}],
    PaginationConfig={"PageSize": 5})
assert {o["Location"] for page in offered for o in page["InstanceTypeOfferings"]} == {
    "eu-west-1a", "eu-west-1b", "eu-west-1c"}
refused("UnsupportedOperation", ec2.run_instances, ImageId="ami-1", InstanceType="m5.large",
        MinCount=1, MaxCount=1, SubnetId=subnet, CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1})

types = ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 100})
assert sum(len(page["InstanceTypes"]) for page in types) == 1398
ec2.terminate_instances(InstanceIds=[instance])
ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance])
left = ec2.describe_network_interfaces()["NetworkInterfaces"]
assert [(i["NetworkInterfaceId"], i["Status"]) for i in left] == [
    (branch["NetworkInterfaceId"], "available")]


def routed():
    """Public and private subnets, as AWS's own guides build them."""
    ipv4 = "0.0.0.0/0"
    vpc = ec2.create_vpc(CidrBlock="10.8.0.0/16")["Vpc"]["VpcId"]
    ours = [{"Name": "vpc-id", "Values": [vpc]}]
    public, private = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        for block in ("10.8.0.0/24", "10.8.1.0/24"))
    igw = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=igw, VpcId=vpc)
    (main,) = ec2.describe_route_tables(Filters=ours)["RouteTables"]
    assert main["Associations"][0]["Main"] and main["Routes"][0]["GatewayId"] == "local"
    ec2.create_route(
        RouteTableId=main["RouteTableId"], DestinationCidrBlock=ipv4, GatewayId=igw)
    refused("RouteAlreadyExists", ec2.create_route, RouteTableId=main["RouteTableId"],
            DestinationCidrBlock="10.8.0.0/16", GatewayId=igw)

    address = ec2.allocate_address(Domain="vpc")
    nat = ec2.create_nat_gateway(
        SubnetId=public, AllocationId=address["AllocationId"])["NatGateway"]["NatGatewayId"]
    ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat])
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=ipv4, NatGatewayId=nat)
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=private)
    assert association["AssociationState"]["State"] == "associated"

    acl = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    ec2.create_network_acl_entry(
        NetworkAclId=acl, Egress=False, RuleNumber=100, Protocol="6", RuleAction="allow",
        CidrBlock="10.8.0.0/16", PortRange={"From": 443, "To": 443})
    default = ec2.describe_network_acls(
        Filters=ours + [{"Name": "default", "Values": ["true"]}])["NetworkAcls"][0]
    of_private = [a for a in default["Associations"] if a["SubnetId"] == private][0]
    ec2.replace_network_acl_association(
        AssociationId=of_private["NetworkAclAssociationId"], NetworkAclId=acl)
    pages = ec2.get_paginator("describe_network_acls").paginate(PaginationConfig={"PageSize": 5})
    assert acl in [a["NetworkAclId"] for page in pages for a in page["NetworkAcls"]]

    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat])
    (black,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert [r["State"] for r in black["Routes"]] == ["active", "blackhole"]
    ec2.release_address(AllocationId=address["AllocationId"])
    refused("InvalidAllocationID.NotFound", ec2.describe_addresses,
            AllocationIds=[address["AllocationId"]])



def shared():
    """NAT gateways with several addresses, as aws_nat_gateway_eip_association asks for them."""
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    kept = ec2.create_subnet_cidr_reservation(
        SubnetId=subnet, Cidr="10.9.0.0/28", ReservationType="explicit")["SubnetCidrReservation"]
    assert [r["Cidr"] for r in ec2.get_subnet_cidr_reservations(
        SubnetId=subnet)["SubnetIpv4CidrReservations"]] == ["10.9.0.0/28"]
    igw = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=igw, VpcId=vpc)
    first, second = (ec2.allocate_address()["AllocationId"] for _ in range(2))
    nat = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=first)["NatGateway"]["NatGatewayId"]
    ec2.associate_nat_gateway_address(NatGatewayId=nat, AllocationIds=[second])

    def addresses():
        (gateway,) = ec2.describe_nat_gateways(NatGatewayIds=[nat])["NatGateways"]
        return {a["AllocationId"]: a for a in gateway["NatGatewayAddresses"]}

    assert [a["Status"] for a in addresses().values()] == ["succeeded"] * 2
    assert [a["IsPrimary"] for a in addresses().values()] == [True, False]
    assert addresses()[first]["PrivateIp"] == "10.9.0.16", "behind what is set aside"
    association = addresses()[second]["AssociationId"]
    (drained,) = ec2.disassociate_nat_gateway_address(
        NatGatewayId=nat, AssociationIds=[association],
        MaxDrainDurationSeconds=1)["NatGatewayAddresses"]
    assert drained["Status"] == "disassociating"
    refused("OperationInProgress", ec2.associate_nat_gateway_address, NatGatewayId=nat,
            AllocationIds=[second])
    until = time.time() + 30
    while second in addresses() and time.time() < until:
        time.sleep(0.2)
    assert list(addresses()) == [first]
    refused("InvalidParameter", ec2.disassociate_nat_gateway_address, NatGatewayId=nat,
            AssociationIds=[association])
    ec2.release_address(AllocationId=second)
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.release_address(AllocationId=first)

    private = ec2.create_nat_gateway(
        SubnetId=subnet, ConnectivityType="private",
        SecondaryPrivateIpAddressCount=2)["NatGateway"]
    assert len(private["NatGatewayAddresses"]) == 3
    nat = private["NatGatewayId"]
    (more,) = ec2.assign_private_nat_gateway_address(
        NatGatewayId=nat, PrivateIpAddresses=["10.9.0.5"])["NatGatewayAddresses"]
    assert (more["PrivateIp"], more["IsPrimary"]) == ("10.9.0.5", False), "as named"
    (less,) = ec2.unassign_private_nat_gateway_address(
        NatGatewayId=nat, PrivateIpAddresses=["10.9.0.5"])["NatGatewayAddresses"]
    assert less["Status"] == "unassigning"
    ec2.delete_nat_gateway(NatGatewayId=nat)
    ec2.delete_subnet_cidr_reservation(SubnetCidrReservationId=kept["SubnetCidrReservationId"])
    ec2.detach_internet_gateway(InternetGatewayId=igw, VpcId=vpc)
    ec2.delete_subnet(SubnetId=subnet)


shared()
routed()
