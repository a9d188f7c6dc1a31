"""Builds and removes a network as Terraform's AWS provider does: the same calls, waiters, filters and
not-found codes, with botocore's models checking requests and parsing answers.

Usage: flows.py ENDPOINT
"""

from official import client, refused

ec2 = client("ec2", "eu-central-1")
TAGS = [{"Key": "Name", "Value": "flow & <flow>"}]


def tagged(kind):
    return [{"ResourceType": kind, "Tags": TAGS}]


def by(**filters):
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]}
            for name, value in filters.items()]


def only(items):
    (item,) = items
    return item


def main():
    vpc = network()
    subnets = [subnet(vpc, 1, "eu-central-1a"), subnet(vpc, 2, "eu-central-1b")]
    acl = network_acl(vpc, subnets[1])
    gateway = internet_gateway(vpc)
    table = route_table(vpc, subnets[0], gateway)
    offices = prefix_list()
    group = security_group(vpc)
    rules = security_group_rules(group, offices)
    paginators(vpc)
    interface(subnets[0], group)
    remove(vpc, subnets, acl, gateway, table, offices, group, rules)


def network():
    vpc = ec2.create_vpc(CidrBlock="10.50.0.0/16", InstanceTenancy="default",
                         TagSpecifications=tagged("vpc"))["Vpc"]
    assert vpc["Tags"] == TAGS
    vpc = vpc["VpcId"]
    ec2.get_waiter("vpc_exists").wait(VpcIds=[vpc])
    ec2.get_waiter("vpc_available").wait(VpcIds=[vpc])
    for attribute, before in [("EnableDnsHostnames", False), ("EnableDnsSupport", True),
                              ("EnableNetworkAddressUsageMetrics", False)]:
        name = attribute[0].lower() + attribute[1:]
        for value in (not before, before):
            ec2.modify_vpc_attribute(VpcId=vpc, **{attribute: {"Value": value}})
            shown = ec2.describe_vpc_attribute(VpcId=vpc, Attribute=name)
            assert shown[attribute]["Value"] is value, attribute
    acl = only(ec2.describe_network_acls(
        Filters=by(default="true", vpc_id=vpc))["NetworkAcls"])
    assert sorted((e["Egress"], e["RuleNumber"]) for e in acl["Entries"]) == [
        (False, 100), (False, 32767), (True, 100), (True, 32767)]
    main = only(ec2.describe_route_tables(
        Filters=by(association__main="true", vpc_id=vpc))["RouteTables"])
    assert [(r["DestinationCidrBlock"], r["GatewayId"], r["State"], r["Origin"])
            for r in main["Routes"]] == [
                ("10.50.0.0/16", "local", "active", "CreateRouteTable")]
    group = only(ec2.describe_security_groups(
        Filters=by(group_name="default", vpc_id=vpc))["SecurityGroups"])
    peer = only(only(group["IpPermissions"])["UserIdGroupPairs"])
    assert peer["GroupId"] == group["GroupId"]
    block = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.51.0.0/16")
    block = block["CidrBlockAssociation"]["AssociationId"]
    shown = only(ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"])["CidrBlockAssociationSet"]
    assert [(b["CidrBlock"], b["CidrBlockState"]["State"]) for b in shown] == [
        ("10.50.0.0/16", "associated"), ("10.51.0.0/16", "associated")]
    ec2.disassociate_vpc_cidr_block(AssociationId=block)
    return vpc


def subnet(vpc, number, zone):
    made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.50.{number}.0/24", AvailabilityZone=zone,
                             TagSpecifications=tagged("subnet"))["Subnet"]
    assert (made["AvailableIpAddressCount"], made["Tags"]) == (251, TAGS)
    subnet = made["SubnetId"]
    ec2.get_waiter("subnet_available").wait(SubnetIds=[subnet])
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    shown = only(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"])
    assert shown["MapPublicIpOnLaunch"] is True
    # What the provider reads into its state without asking whether it is there.
    for key in ("SubnetArn", "AvailabilityZoneId", "OwnerId", "State", "DefaultForAz"):
        assert key in shown, key
    refused("InvalidSubnet.Conflict", ec2.create_subnet, VpcId=vpc,
            CidrBlock=f"10.50.{number}.0/25")
    return subnet


def network_acl(vpc, subnet):
    made = ec2.create_network_acl(VpcId=vpc, TagSpecifications=tagged("network-acl"))
    acl = made["NetworkAcl"]["NetworkAclId"]
    for egress in (False, True):
        ec2.create_network_acl_entry(
            NetworkAclId=acl, RuleNumber=200, Protocol="6", RuleAction="allow", Egress=egress,
            CidrBlock="0.0.0.0/0", PortRange={"From": 443, "To": 443})
    refused("NetworkAclEntryAlreadyExists", ec2.create_network_acl_entry, NetworkAclId=acl,
            RuleNumber=200, Protocol="-1", RuleAction="deny", Egress=True, CidrBlock="0.0.0.0/0")
    associate(acl, subnet)
    refused("DependencyViolation", ec2.delete_network_acl, NetworkAclId=acl)
    return acl


def associate(acl, subnet):
    """The provider looks for the association that a subnet has and replaces it."""
    present = only(ec2.describe_network_acls(
        Filters=by(association__subnet_id=subnet))["NetworkAcls"])
    association = only([a for a in present["Associations"] if a["SubnetId"] == subnet])
    new = ec2.replace_network_acl_association(
        AssociationId=association["NetworkAclAssociationId"], NetworkAclId=acl)
    found = only(ec2.describe_network_acls(Filters=by(
        association__association_id=new["NewAssociationId"]))["NetworkAcls"])
    assert found["NetworkAclId"] == acl


def internet_gateway(vpc):
    made = ec2.create_internet_gateway(TagSpecifications=tagged("internet-gateway"))
    gateway = made["InternetGateway"]["InternetGatewayId"]
    ec2.get_waiter("internet_gateway_exists").wait(InternetGatewayIds=[gateway])
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    attached = only(ec2.describe_internet_gateways(
        InternetGatewayIds=[gateway])["InternetGateways"])["Attachments"]
    assert attached == [{"State": "available", "VpcId": vpc}]
    return gateway


def route_table(vpc, subnet, gateway):
    made = ec2.create_route_table(VpcId=vpc, TagSpecifications=tagged("route-table"))
    table = made["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    association = ec2.associate_route_table(
        RouteTableId=table, SubnetId=subnet)["AssociationId"]
    found = only(ec2.describe_route_tables(Filters=by(
        association__route_table_association_id=association))["RouteTables"])
    assert found["Associations"] == [{
        "Main": False, "RouteTableAssociationId": association, "RouteTableId": table,
        "SubnetId": subnet, "AssociationState": {"State": "associated"}}]
    assert [(r["DestinationCidrBlock"], r["GatewayId"]) for r in found["Routes"]] == [
        ("10.50.0.0/16", "local"), ("0.0.0.0/0", gateway)]
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=table)
    # aws_main_route_table_association makes it the main one, and gives the place back at the end.
    old = only(ec2.describe_route_tables(
        Filters=by(association__main="true", vpc_id=vpc))["RouteTables"])
    main = only(old["Associations"])["RouteTableAssociationId"]
    new = ec2.replace_route_table_association(AssociationId=main, RouteTableId=table)
    refused("DependencyViolation", ec2.delete_route_table, RouteTableId=table)
    ec2.replace_route_table_association(
        AssociationId=new["NewAssociationId"], RouteTableId=old["RouteTableId"])
    return table, association


def prefix_list():
    made = ec2.create_managed_prefix_list(
        PrefixListName="offices", AddressFamily="IPv4", MaxEntries=6,
        Entries=[{"Cidr": f"10.{n}.0.0/16", "Description": f"office {n}"} for n in range(5)],
        TagSpecifications=tagged("prefix-list"))["PrefixList"]
    assert (made["State"], made["Version"]) == ("create-in-progress", 1)
    offices = made["PrefixListId"]
    shown = only(ec2.describe_managed_prefix_lists(PrefixListIds=[offices])["PrefixLists"])
    assert shown["State"] == "create-complete"
    change = {"PrefixListId": offices, "AddEntries": [{"Cidr": "10.5.0.0/16"}]}
    ec2.modify_managed_prefix_list(CurrentVersion=1, **change)
    refused("PrefixListVersionMismatch", ec2.modify_managed_prefix_list, CurrentVersion=1, **change)
    first = ec2.get_managed_prefix_list_entries(PrefixListId=offices, TargetVersion=1)
    assert len(first["Entries"]) == 5
    refused("PrefixListMaxEntriesExceeded", ec2.modify_managed_prefix_list, PrefixListId=offices,
            CurrentVersion=2, AddEntries=[{"Cidr": "10.6.0.0/16"}])
    ec2.modify_managed_prefix_list(PrefixListId=offices, MaxEntries=7)
    shown = only(ec2.describe_managed_prefix_lists(PrefixListIds=[offices])["PrefixLists"])
    assert (shown["MaxEntries"], shown["State"]) == (7, "modify-complete")
    return offices


def security_group(vpc):
    group = ec2.create_security_group(
        GroupName="flow", Description="Managed by a flow", VpcId=vpc,
        TagSpecifications=tagged("security-group"))["GroupId"]
    ec2.get_waiter("security_group_exists").wait(GroupIds=[group])
    # The provider takes back the egress rule that every new group has, and the IPv6 one that it may
    # have.
    ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[{
        "FromPort": 0, "ToPort": 0, "IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
    refused("InvalidPermission.NotFound", ec2.revoke_security_group_egress, GroupId=group,
            IpPermissions=[{"FromPort": 0, "ToPort": 0, "IpProtocol": "-1",
                            "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}])
    shown = only(ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"])
    assert (shown["IpPermissions"], shown["IpPermissionsEgress"]) == ([], [])
    assert (shown["Tags"], shown["Description"]) == (TAGS, "Managed by a flow")
    return group


def security_group_rules(group, offices):
    """One rule for each kind of peer, as aws_vpc_security_group_ingress_rule makes them."""
    peers = [{"IpRanges": [{"CidrIp": "10.9.0.0/16", "Description": "one"}]},
             {"Ipv6Ranges": [{"CidrIpv6": "2001:db8::/48"}]},
             {"PrefixListIds": [{"PrefixListId": offices}]},
             {"UserIdGroupPairs": [{"GroupId": group}]}]
    rules = []
    for peer in peers:
        https = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **peer}
        made = only(ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[https],
            TagSpecifications=tagged("security-group-rule"))["SecurityGroupRules"])
        shown = only(ec2.describe_security_group_rules(
            SecurityGroupRuleIds=[made["SecurityGroupRuleId"]])["SecurityGroupRules"])
        assert shown == made and shown["Tags"] == TAGS
        refused("InvalidPermission.Duplicate", ec2.authorize_security_group_ingress,
                GroupId=group, IpPermissions=[https])
        rules.append(made["SecurityGroupRuleId"])
    ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[{
        "SecurityGroupRuleId": rules[0], "SecurityGroupRule": {
            "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.9.0.0/16",
            "Description": "two"}}])
    shown = only(ec2.describe_security_group_rules(
        SecurityGroupRuleIds=rules[:1])["SecurityGroupRules"])
    assert (shown["IpProtocol"], shown["FromPort"], shown["Description"]) == ("udp", 53, "two")
    # A rule's tags change like anything else's.
    ec2.create_tags(Resources=rules[:1], Tags=[{"Key": "team", "Value": "a"}])
    found = only(ec2.describe_security_group_rules(
        Filters=by(group_id=group) + [{"Name": "tag:team", "Values": ["?"]}])["SecurityGroupRules"])
    assert found["SecurityGroupRuleId"] == rules[0]
    ec2.delete_tags(Resources=rules[:1], Tags=[{"Key": "team"}])
    return rules


def paginators(vpc):
    """Every paginator of what lists: its pages are what the whole answer is."""
    for name, key, parameters in [
            ("describe_vpcs", "Vpcs", {}), ("describe_subnets", "Subnets", {}),
            ("describe_route_tables", "RouteTables", {}),
            ("describe_network_acls", "NetworkAcls", {}),
            ("describe_internet_gateways", "InternetGateways", {}),
            ("describe_egress_only_internet_gateways", "EgressOnlyInternetGateways", {}),
            ("describe_security_groups", "SecurityGroups", {}),
            ("describe_security_group_rules", "SecurityGroupRules", {}),
            ("describe_stale_security_groups", "StaleSecurityGroupSet", {"VpcId": vpc}),
            ("get_security_groups_for_vpc", "SecurityGroupForVpcs", {"VpcId": vpc}),
            ("describe_managed_prefix_lists", "PrefixLists", {}),
            ("describe_prefix_lists", "PrefixLists", {}),
            ("describe_tags", "Tags", {}), ("describe_flow_logs", "FlowLogs", {}),
            ("describe_nat_gateways", "NatGateways", {}),
            ("describe_network_interfaces", "NetworkInterfaces", {})]:
        whole = getattr(ec2, name)(**parameters)[key]
        pages = ec2.get_paginator(name).paginate(PaginationConfig={"PageSize": 5}, **parameters)
        pages = [page[key] for page in pages]
        assert [item for page in pages for item in page] == whole, name
        assert all(len(page) <= 5 for page in pages), name
        assert len(pages) >= len(whole) / 5, name


def interface(subnet, group):
    eni = ec2.create_network_interface(
        SubnetId=subnet, Groups=[group], TagSpecifications=tagged("network-interface"))
    eni = eni["NetworkInterface"]["NetworkInterfaceId"]
    ec2.get_waiter("network_interface_available").wait(NetworkInterfaceIds=[eni])
    refused("DependencyViolation", ec2.delete_subnet, SubnetId=subnet)
    refused("DependencyViolation", ec2.delete_security_group, GroupId=group)
    # Before it deletes a subnet, the provider looks for interfaces that others left there.
    left = ec2.describe_network_interfaces(
        Filters=by(subnet_id=subnet, status="available"))["NetworkInterfaces"]
    assert [i["NetworkInterfaceId"] for i in left] == [eni]
    ec2.delete_network_interface(NetworkInterfaceId=eni)
    refused("InvalidNetworkInterfaceID.NotFound", ec2.describe_network_interfaces,
            NetworkInterfaceIds=[eni])


def remove(vpc, subnets, acl, gateway, table, offices, group, rules):
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=rules[:1])
    refused("InvalidSecurityGroupRuleId.NotFound", ec2.describe_security_group_rules,
            SecurityGroupRuleIds=rules[:1])
    refused("DependencyViolation", ec2.delete_managed_prefix_list, PrefixListId=offices)
    ec2.delete_security_group(GroupId=group)
    refused("InvalidGroup.NotFound", ec2.describe_security_groups, GroupIds=[group])
    deleted = ec2.delete_managed_prefix_list(PrefixListId=offices)["PrefixList"]
    assert deleted["State"] == "delete-in-progress"
    refused("InvalidPrefixListID.NotFound", ec2.describe_managed_prefix_lists,
            PrefixListIds=[offices])

    table, association = table
    ec2.disassociate_route_table(AssociationId=association)
    refused("InvalidAssociationID.NotFound", ec2.disassociate_route_table,
            AssociationId=association)
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    refused("InvalidRoute.NotFound", ec2.delete_route, RouteTableId=table,
            DestinationCidrBlock="0.0.0.0/0")
    ec2.delete_route_table(RouteTableId=table)
    refused("InvalidRouteTableID.NotFound", ec2.describe_route_tables, RouteTableIds=[table])

    refused("DependencyViolation", ec2.delete_internet_gateway, InternetGatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    refused("Gateway.NotAttached", ec2.detach_internet_gateway, InternetGatewayId=gateway,
            VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    refused("InvalidInternetGatewayID.NotFound", ec2.describe_internet_gateways,
            InternetGatewayIds=[gateway])

    default = only(ec2.describe_network_acls(
        Filters=by(default="true", vpc_id=vpc))["NetworkAcls"])["NetworkAclId"]
    associate(default, subnets[1])
    ec2.delete_network_acl(NetworkAclId=acl)
    refused("InvalidNetworkAclID.NotFound", ec2.describe_network_acls, NetworkAclIds=[acl])

    refused("DependencyViolation", ec2.delete_vpc, VpcId=vpc)
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
        refused("InvalidSubnetID.NotFound", ec2.describe_subnets, SubnetIds=[subnet])
    ec2.delete_vpc(VpcId=vpc)
    refused("InvalidVpcID.NotFound", ec2.describe_vpcs, VpcIds=[vpc])
    assert ec2.describe_tags()["Tags"] == [], "tags go with what has them"


main()
