//! The action table.

use super::Action;
use super::envelope::Api;
use crate::query::de;
use crate::state::{
    address, address_attribute, address_describe, attachment, catalog, eks, flow_logs, gateway,
    group, group_describe, group_vpc, identity, instance_attribute, instance_describe,
    instance_options, instance_power, instance_status, instance_types, interface,
    interface_address, interface_describe, interface_ipv6_assign, interface_modify, launch,
    metadata_defaults, nat_gateway, nat_gateway_address, nat_gateway_create, network_acl,
    network_acl_entry, permission, prefix_list, prefix_list_describe, prefix_list_modify, rds,
    rds_create, rds_describe, rds_public, rds_subnet_group, role_keys, route_table,
    route_table_describe, route_table_routes, rule_actions, rule_modify, subnet, subnet_attribute,
    subnet_ipv6, subnet_reservation, tags, trunk, vpc, vpc_block, vpc_default, vpc_tenancy, zone,
};

/// Whether a line of the table has the mark.
macro_rules! marked {
    (idempotent, idempotent) => {
        true
    };
    (lab, lab) => {
        true
    };
    ($mark:ident $(, $other:ident)?) => {
        false
    };
}

/// `Api Action(Request) => handler`, with `idempotent` where a client token is honoured, and `lab`
/// where only the lab's own programs may ask.
macro_rules! actions {
    ($($api:ident $name:ident($request:path) => $handler:path $(, $mark:ident)?;)*) => {
        /// Every action that is built.
        pub const ACTIONS: &[Action] = &[$(Action {
            name: stringify!($name),
            api: Api::$api,
            idempotent: marked!(idempotent $(, $mark)?),
            labs_own: marked!(lab $(, $mark)?),
            run: |context, node| {
                let request: $request = de::from_node(node)?;
                let answer = $handler(context, request)?;
                Api::$api.fields(&answer)
            },
        },)*];
    };
}

actions! {
    Ec2 AllocateAddress(address::AllocateAddress) => address::allocate;
    Ec2 AssignIpv6Addresses(interface_ipv6_assign::AssignIpv6Addresses) => interface_ipv6_assign::assign;
    Ec2 AssignPrivateNatGatewayAddress(nat_gateway_address::AssignPrivateNatGatewayAddress) => nat_gateway_address::assign;
    Ec2 AssignPrivateIpAddresses(interface_address::AssignPrivateIpAddresses) => interface_address::assign;
    Ec2 AssociateAddress(address::AssociateAddress) => address::associate;
    Ec2 AssociateNatGatewayAddress(nat_gateway_address::AssociateNatGatewayAddress) => nat_gateway_address::associate;
    Ec2 AssociateRouteTable(route_table::AssociateRouteTable) => route_table::associate;
    Ec2 AssociateSecurityGroupVpc(group_vpc::GroupInVpc) => group_vpc::associate;
    Ec2 AssociateSubnetCidrBlock(subnet_ipv6::AssociateSubnetCidrBlock) => subnet_ipv6::associate;
    Ec2 AssociateTrunkInterface(trunk::AssociateTrunkInterface) => trunk::associate, idempotent;
    Ec2 AssociateVpcCidrBlock(vpc_block::AssociateVpcCidrBlock) => vpc_block::associate;
    Ec2 AttachInternetGateway(gateway::GatewayOfVpc) => gateway::attach;
    Ec2 AttachNetworkInterface(attachment::AttachNetworkInterface) => attachment::attach;
    Ec2 AuthorizeSecurityGroupEgress(rule_actions::ChangeRules) => rule_actions::authorize_egress;
    Ec2 AuthorizeSecurityGroupIngress(rule_actions::ChangeRules) => rule_actions::authorize_ingress;
    Ec2 CreateDefaultSubnet(vpc_default::CreateDefaultSubnet) => vpc_default::create_subnet;
    Ec2 CreateDefaultVpc(vpc_default::CreateDefaultVpc) => vpc_default::create_vpc;
    Ec2 CreateEgressOnlyInternetGateway(gateway::CreateEgressOnlyInternetGateway) => gateway::create_egress, idempotent;
    Ec2 CreateInternetGateway(gateway::CreateInternetGateway) => gateway::create;
    Ec2 CreateManagedPrefixList(prefix_list::CreateManagedPrefixList) => prefix_list::create, idempotent;
    Ec2 CreateFlowLogs(flow_logs::CreateFlowLogs) => flow_logs::create, idempotent;
    Ec2 CreateNatGateway(nat_gateway_create::CreateNatGateway) => nat_gateway_create::create, idempotent;
    Ec2 CreateNetworkAcl(network_acl::CreateNetworkAcl) => network_acl::create, idempotent;
    Ec2 CreateNetworkAclEntry(network_acl_entry::SetEntry) => network_acl_entry::create;
    Ec2 CreateNetworkInterface(interface::CreateNetworkInterface) => interface::create, idempotent;
    Ec2 CreateNetworkInterfacePermission(permission::CreateNetworkInterfacePermission) => permission::create;
    Ec2 CreateRoute(route_table_routes::SetRoute) => route_table_routes::create;
    Ec2 CreateRouteTable(route_table::CreateRouteTable) => route_table::create, idempotent;
    Ec2 CreateSecurityGroup(group::CreateSecurityGroup) => group::create;
    Ec2 CreateSubnet(subnet::CreateSubnet) => subnet::create;
    Ec2 CreateSubnetCidrReservation(subnet_reservation::CreateSubnetCidrReservation) => subnet_reservation::create;
    Ec2 CreateTags(tags::CreateTags) => tags::create;
    Ec2 CreateVpc(vpc::CreateVpc) => vpc::create;
    Ec2 DeleteEgressOnlyInternetGateway(gateway::DeleteEgressOnlyInternetGateway) => gateway::delete_egress;
    Ec2 DeleteInternetGateway(gateway::DeleteInternetGateway) => gateway::delete;
    Ec2 DeleteManagedPrefixList(prefix_list::DeleteManagedPrefixList) => prefix_list::delete;
    Ec2 DeleteFlowLogs(flow_logs::DeleteFlowLogs) => flow_logs::delete;
    Ec2 DeleteLabZone(zone::DeleteLabZone) => zone::delete, lab;
    Ec2 DeleteNatGateway(nat_gateway::DeleteNatGateway) => nat_gateway::delete;
    Ec2 DeleteNetworkAcl(network_acl::DeleteNetworkAcl) => network_acl::delete;
    Ec2 DeleteNetworkAclEntry(network_acl_entry::DeleteNetworkAclEntry) => network_acl_entry::delete;
    Ec2 DeleteNetworkInterface(interface::DeleteNetworkInterface) => interface::delete;
    Ec2 DeleteNetworkInterfacePermission(permission::DeleteNetworkInterfacePermission) => permission::delete;
    Ec2 DeleteRoute(route_table_routes::DeleteRoute) => route_table_routes::delete;
    Ec2 DeleteRouteTable(route_table::DeleteRouteTable) => route_table::delete;
    Ec2 DeleteSecurityGroup(group::DeleteSecurityGroup) => group::delete;
    Ec2 DeleteSubnet(subnet::DeleteSubnet) => subnet::delete;
    Ec2 DeleteSubnetCidrReservation(subnet_reservation::DeleteSubnetCidrReservation) => subnet_reservation::delete;
    Ec2 DeleteTags(tags::DeleteTags) => tags::delete;
    Ec2 DeleteVpc(vpc::DeleteVpc) => vpc::delete;
    Ec2 DescribeAccountAttributes(vpc_default::DescribeAccountAttributes) => vpc_default::describe_account;
    Ec2 DescribeAddresses(address_describe::DescribeAddresses) => address_describe::describe;
    Ec2 DescribeAddressesAttribute(address_attribute::DescribeAddressesAttribute) => address_attribute::describe;
    Ec2 DescribeAvailabilityZones(catalog::DescribeAvailabilityZones) => catalog::describe_zones;
    Ec2 DescribeEgressOnlyInternetGateways(gateway::DescribeEgressOnlyInternetGateways) => gateway::describe_egress;
    Ec2 DescribeFlowLogs(flow_logs::DescribeFlowLogs) => flow_logs::describe;
    Ec2 DescribeInstanceAttribute(instance_attribute::DescribeInstanceAttribute) => instance_attribute::describe;
    Ec2 DescribeInstanceCreditSpecifications(instance_options::DescribeInstanceCreditSpecifications) => instance_options::describe_credits;
    Ec2 DescribeInstanceStatus(instance_status::DescribeInstanceStatus) => instance_status::describe;
    Ec2 DescribeInstanceTypeOfferings(instance_types::DescribeInstanceTypeOfferings) => instance_types::describe_offerings;
    Ec2 DescribeInstanceTypes(instance_types::DescribeInstanceTypes) => instance_types::describe;
    Ec2 DescribeInstances(instance_describe::DescribeInstances) => instance_describe::describe;
    Ec2 DescribeInternetGateways(gateway::DescribeInternetGateways) => gateway::describe;
    Ec2 DescribeManagedPrefixLists(prefix_list_describe::DescribeManagedPrefixLists) => prefix_list_describe::describe;
    Ec2 DescribeNatGateways(nat_gateway::DescribeNatGateways) => nat_gateway::describe;
    Ec2 DescribeNetworkAcls(network_acl::DescribeNetworkAcls) => network_acl::describe;
    Ec2 DescribeNetworkInterfaceAttribute(interface_describe::DescribeNetworkInterfaceAttribute) => interface_describe::describe_attribute;
    Ec2 DescribeNetworkInterfacePermissions(permission::DescribeNetworkInterfacePermissions) => permission::describe;
    Ec2 DescribeNetworkInterfaces(interface_describe::DescribeNetworkInterfaces) => interface_describe::describe;
    Ec2 DescribePrefixLists(prefix_list_describe::DescribePrefixLists) => prefix_list_describe::describe_services;
    Ec2 DescribeRegions(catalog::DescribeRegions) => catalog::describe_regions;
    Ec2 DescribeRouteTables(route_table_describe::DescribeRouteTables) => route_table_describe::describe;
    Ec2 DescribeSecurityGroupReferences(group_describe::DescribeReferences) => group_describe::references;
    Ec2 DescribeSecurityGroupRules(rule_actions::DescribeSecurityGroupRules) => rule_actions::describe;
    Ec2 DescribeSecurityGroupVpcAssociations(group_vpc::DescribeAssociations) => group_vpc::describe;
    Ec2 DescribeSecurityGroups(group_describe::DescribeSecurityGroups) => group_describe::describe;
    Ec2 DescribeStaleSecurityGroups(group_describe::DescribeStaleGroups) => group_describe::stale;
    Ec2 DescribeSubnets(subnet::DescribeSubnets) => subnet::describe;
    Ec2 DescribeTags(tags::DescribeTags) => tags::describe;
    Ec2 DescribeTrunkInterfaceAssociations(trunk::DescribeTrunkInterfaceAssociations) => trunk::describe;
    Ec2 DescribeVpcAttribute(vpc::DescribeVpcAttribute) => vpc::describe_attribute;
    Ec2 DescribeVpcs(vpc::DescribeVpcs) => vpc::describe;
    Ec2 DetachInternetGateway(gateway::GatewayOfVpc) => gateway::detach;
    Ec2 DetachNetworkInterface(attachment::DetachNetworkInterface) => attachment::detach;
    Ec2 DisassociateAddress(address::DisassociateAddress) => address::disassociate;
    Ec2 DisassociateNatGatewayAddress(nat_gateway_address::DisassociateNatGatewayAddress) => nat_gateway_address::disassociate;
    Ec2 DisassociateRouteTable(route_table::DisassociateRouteTable) => route_table::disassociate;
    Ec2 DisassociateSecurityGroupVpc(group_vpc::GroupInVpc) => group_vpc::disassociate;
    Ec2 DisassociateSubnetCidrBlock(subnet_ipv6::DisassociateSubnetCidrBlock) => subnet_ipv6::disassociate;
    Ec2 DisassociateTrunkInterface(trunk::DisassociateTrunkInterface) => trunk::disassociate, idempotent;
    Ec2 DisassociateVpcCidrBlock(vpc_block::DisassociateVpcCidrBlock) => vpc_block::disassociate;
    Ec2 GetConsoleOutput(instance_options::GetConsoleOutput) => instance_options::console;
    Ec2 GetInstanceMetadataDefaults(metadata_defaults::GetInstanceMetadataDefaults) => metadata_defaults::get;
    Ec2 GetManagedPrefixListAssociations(prefix_list_describe::GetAssociations) => prefix_list_describe::associations;
    Ec2 GetManagedPrefixListEntries(prefix_list_describe::GetEntries) => prefix_list_describe::entries;
    Ec2 GetSecurityGroupsForVpc(group_describe::GetSecurityGroupsForVpc) => group_describe::for_vpc;
    Ec2 GetSubnetCidrReservations(subnet_reservation::GetSubnetCidrReservations) => subnet_reservation::get;
    Ec2 ModifyAddressAttribute(address_attribute::ModifyAddressAttribute) => address_attribute::modify;
    Ec2 ModifyInstanceAttribute(instance_attribute::ModifyInstanceAttribute) => instance_attribute::modify;
    Ec2 ModifyInstanceMaintenanceOptions(instance_options::ModifyInstanceMaintenanceOptions) => instance_options::modify_maintenance;
    Ec2 ModifyInstanceMetadataDefaults(metadata_defaults::ModifyInstanceMetadataDefaults) => metadata_defaults::modify;
    Ec2 ModifyInstanceMetadataOptions(instance_attribute::ModifyInstanceMetadataOptions) => instance_attribute::modify_metadata;
    Ec2 ModifyManagedPrefixList(prefix_list_modify::ModifyManagedPrefixList) => prefix_list_modify::modify;
    Ec2 ModifyNetworkInterfaceAttribute(interface_modify::ModifyNetworkInterfaceAttribute) => interface_modify::modify;
    Ec2 ModifyPrivateDnsNameOptions(instance_options::ModifyPrivateDnsNameOptions) => instance_options::modify_names;
    Ec2 ModifySecurityGroupRules(rule_modify::ModifySecurityGroupRules) => rule_modify::modify;
    Ec2 ModifySubnetAttribute(subnet_attribute::ModifySubnetAttribute) => subnet_attribute::modify;
    Ec2 ModifyVpcAttribute(vpc::ModifyVpcAttribute) => vpc::modify;
    Ec2 ModifyVpcTenancy(vpc_tenancy::ModifyVpcTenancy) => vpc_tenancy::modify;
    Ec2 MonitorInstances(instance_options::SetMonitoring) => instance_options::monitor;
    Ec2 RebootInstances(instance_power::RebootInstances) => instance_power::reboot;
    Ec2 ReleaseAddress(address::ReleaseAddress) => address::release;
    Ec2 ReplaceNetworkAclAssociation(network_acl::ReplaceNetworkAclAssociation) => network_acl::replace_association;
    Ec2 ReplaceNetworkAclEntry(network_acl_entry::SetEntry) => network_acl_entry::replace;
    Ec2 ReplaceRoute(route_table_routes::SetRoute) => route_table_routes::replace;
    Ec2 ReplaceRouteTableAssociation(route_table::ReplaceRouteTableAssociation) => route_table::replace_association;
    Ec2 ResetAddressAttribute(address_attribute::ResetAddressAttribute) => address_attribute::reset;
    Ec2 ResetInstanceAttribute(instance_attribute::ResetInstanceAttribute) => instance_attribute::reset;
    Ec2 ResetNetworkInterfaceAttribute(interface_modify::ResetNetworkInterfaceAttribute) => interface_modify::reset;
    Ec2 RestoreManagedPrefixListVersion(prefix_list_modify::RestoreVersion) => prefix_list_modify::restore;
    Ec2 PutLabZone(zone::PutLabZone) => zone::put, lab;
    Ec2 RevokeSecurityGroupEgress(rule_actions::ChangeRules) => rule_actions::revoke_egress;
    Ec2 RevokeSecurityGroupIngress(rule_actions::ChangeRules) => rule_actions::revoke_ingress;
    Ec2 RunInstances(launch::RunInstances) => launch::run, idempotent;
    Ec2 StartInstances(instance_power::StartInstances) => instance_power::start;
    Ec2 StopInstances(instance_power::StopInstances) => instance_power::stop;
    Ec2 TerminateInstances(instance_power::TerminateInstances) => instance_power::terminate;
    Ec2 UnassignIpv6Addresses(interface_ipv6_assign::UnassignIpv6Addresses) => interface_ipv6_assign::unassign;
    Ec2 UnassignPrivateIpAddresses(interface_address::UnassignPrivateIpAddresses) => interface_address::unassign;
    Ec2 UnassignPrivateNatGatewayAddress(nat_gateway_address::UnassignPrivateNatGatewayAddress) => nat_gateway_address::unassign;
    Ec2 UnmonitorInstances(instance_options::SetMonitoring) => instance_options::unmonitor;
    Ec2 UpdateSecurityGroupRuleDescriptionsEgress(rule_modify::UpdateDescriptions) => rule_modify::update_egress;
    Ec2 UpdateSecurityGroupRuleDescriptionsIngress(rule_modify::UpdateDescriptions) => rule_modify::update_ingress;
    Eks DeleteLabCluster(eks::OneCluster) => eks::delete, lab;
    Eks DescribeCluster(eks::OneCluster) => eks::describe;
    Eks DescribeLabClusterAccess(eks::DescribeAccess) => eks::describe_access, lab;
    Eks DescribeUpdate(eks::DescribeUpdate) => eks::describe_update;
    Eks ListClusters(eks::ListClusters) => eks::list;
    Eks PutLabCluster(eks::WithDocument) => eks::put, lab;
    Eks UpdateClusterConfig(eks::WithDocument) => eks::update;
    Rds CreateDBInstance(rds_create::CreateDatabase) => rds_create::create;
    Rds CreateDBSubnetGroup(rds_subnet_group::CreateSubnetGroup) => rds_subnet_group::create;
    Rds DeleteDBInstance(rds::DeleteDatabase) => rds::delete;
    Rds DeleteDBSubnetGroup(rds_subnet_group::DeleteSubnetGroup) => rds_subnet_group::delete;
    Rds DescribeDBInstances(rds_describe::DescribeDatabases) => rds_describe::describe;
    Rds DescribeDBSubnetGroups(rds_subnet_group::DescribeSubnetGroups) => rds_subnet_group::describe;
    Rds ModifyDBInstance(rds_public::ModifyDatabase) => rds_public::modify;
    Rds PutLabDatabaseStatus(rds::PutStatus) => rds::put_status, lab;
    Ec2 IssueLabRoleKeys(role_keys::IssueRoleKeys) => role_keys::issue, lab;
    Sts DecodeAuthorizationMessage(identity::DecodeMessage) => identity::decode;
    Sts GetCallerIdentity(identity::GetCallerIdentity) => identity::get;
}
