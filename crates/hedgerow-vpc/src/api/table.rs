//! The action table.

use super::Action;
use super::envelope::Api;
use crate::query::de;
use crate::state::{
    attachment, catalog, eks, group, group_describe, identity, instance, instance_describe,
    interface, interface_describe, interface_modify, launch, permission, prefix_list,
    prefix_list_describe, prefix_list_modify, rule_actions, rule_modify, subnet, tags, trunk, vpc,
};

/// `Api Action(Request) => handler`, with `idempotent` where a client token is honoured.
macro_rules! actions {
    ($($api:ident $name:ident($request:path) => $handler:path $(, $idempotent:ident)?;)*) => {
        /// Every action that is built.
        pub const ACTIONS: &[Action] = &[$(Action {
            name: stringify!($name),
            api: Api::$api,
            idempotent: [$(stringify!($idempotent),)? ""].len() == 2,
            run: |context, node| {
                let request: $request = de::from_node(node)?;
                let answer = $handler(context, request)?;
                Api::$api.fields(&answer)
            },
        },)*];
    };
}

actions! {
    Ec2 AssignPrivateIpAddresses(interface_modify::AssignPrivateIpAddresses) => interface_modify::assign;
    Ec2 AssociateTrunkInterface(trunk::AssociateTrunkInterface) => trunk::associate, idempotent;
    Ec2 AttachNetworkInterface(attachment::AttachNetworkInterface) => attachment::attach;
    Ec2 AuthorizeSecurityGroupEgress(rule_actions::ChangeRules) => rule_actions::authorize_egress;
    Ec2 AuthorizeSecurityGroupIngress(rule_actions::ChangeRules) => rule_actions::authorize_ingress;
    Ec2 CreateManagedPrefixList(prefix_list::CreateManagedPrefixList) => prefix_list::create, idempotent;
    Ec2 CreateNetworkInterface(interface::CreateNetworkInterface) => interface::create, idempotent;
    Ec2 CreateNetworkInterfacePermission(permission::CreateNetworkInterfacePermission) => permission::create;
    Ec2 CreateSecurityGroup(group::CreateSecurityGroup) => group::create;
    Ec2 CreateSubnet(subnet::CreateSubnet) => subnet::create;
    Ec2 CreateTags(tags::CreateTags) => tags::create;
    Ec2 CreateVpc(vpc::CreateVpc) => vpc::create;
    Ec2 DeleteManagedPrefixList(prefix_list::DeleteManagedPrefixList) => prefix_list::delete;
    Ec2 DeleteNetworkInterface(interface::DeleteNetworkInterface) => interface::delete;
    Ec2 DeleteSecurityGroup(group::DeleteSecurityGroup) => group::delete;
    Ec2 DeleteSubnet(subnet::DeleteSubnet) => subnet::delete;
    Ec2 DeleteTags(tags::DeleteTags) => tags::delete;
    Ec2 DeleteVpc(vpc::DeleteVpc) => vpc::delete;
    Ec2 DescribeAvailabilityZones(catalog::DescribeAvailabilityZones) => catalog::describe_zones;
    Ec2 DescribeInstanceStatus(instance_describe::DescribeInstanceStatus) => instance_describe::describe_status;
    Ec2 DescribeInstanceTypes(catalog::DescribeInstanceTypes) => catalog::describe_instance_types;
    Ec2 DescribeInstances(instance_describe::DescribeInstances) => instance_describe::describe;
    Ec2 DescribeManagedPrefixLists(prefix_list_describe::DescribeManagedPrefixLists) => prefix_list_describe::describe;
    Ec2 DescribeNetworkInterfaceAttribute(interface_describe::DescribeNetworkInterfaceAttribute) => interface_describe::describe_attribute;
    Ec2 DescribeNetworkInterfaces(interface_describe::DescribeNetworkInterfaces) => interface_describe::describe;
    Ec2 DescribePrefixLists(prefix_list_describe::DescribePrefixLists) => prefix_list_describe::describe_services;
    Ec2 DescribeRegions(catalog::DescribeRegions) => catalog::describe_regions;
    Ec2 DescribeSecurityGroupReferences(group_describe::DescribeReferences) => group_describe::references;
    Ec2 DescribeSecurityGroupRules(rule_actions::DescribeSecurityGroupRules) => rule_actions::describe;
    Ec2 DescribeSecurityGroups(group_describe::DescribeSecurityGroups) => group_describe::describe;
    Ec2 DescribeStaleSecurityGroups(group_describe::DescribeStaleGroups) => group_describe::stale;
    Ec2 DescribeSubnets(subnet::DescribeSubnets) => subnet::describe;
    Ec2 DescribeTags(tags::DescribeTags) => tags::describe;
    Ec2 DescribeTrunkInterfaceAssociations(trunk::DescribeTrunkInterfaceAssociations) => trunk::describe;
    Ec2 DescribeVpcAttribute(vpc::DescribeVpcAttribute) => vpc::describe_attribute;
    Ec2 DescribeVpcs(vpc::DescribeVpcs) => vpc::describe;
    Ec2 DetachNetworkInterface(attachment::DetachNetworkInterface) => attachment::detach;
    Ec2 DisassociateTrunkInterface(trunk::DisassociateTrunkInterface) => trunk::disassociate, idempotent;
    Ec2 GetManagedPrefixListAssociations(prefix_list_describe::GetAssociations) => prefix_list_describe::associations;
    Ec2 GetManagedPrefixListEntries(prefix_list_describe::GetEntries) => prefix_list_describe::entries;
    Ec2 GetSecurityGroupsForVpc(group_describe::GetSecurityGroupsForVpc) => group_describe::for_vpc;
    Ec2 ModifyManagedPrefixList(prefix_list_modify::ModifyManagedPrefixList) => prefix_list_modify::modify;
    Ec2 ModifyNetworkInterfaceAttribute(interface_modify::ModifyNetworkInterfaceAttribute) => interface_modify::modify;
    Ec2 ModifySecurityGroupRules(rule_modify::ModifySecurityGroupRules) => rule_modify::modify;
    Ec2 ModifySubnetAttribute(subnet::ModifySubnetAttribute) => subnet::modify;
    Ec2 ModifyVpcAttribute(vpc::ModifyVpcAttribute) => vpc::modify;
    Ec2 RestoreManagedPrefixListVersion(prefix_list_modify::RestoreVersion) => prefix_list_modify::restore;
    Ec2 RevokeSecurityGroupEgress(rule_actions::ChangeRules) => rule_actions::revoke_egress;
    Ec2 RevokeSecurityGroupIngress(rule_actions::ChangeRules) => rule_actions::revoke_ingress;
    Ec2 RunInstances(launch::RunInstances) => launch::run, idempotent;
    Ec2 TerminateInstances(instance::TerminateInstances) => instance::terminate;
    Ec2 UnassignPrivateIpAddresses(interface_modify::UnassignPrivateIpAddresses) => interface_modify::unassign;
    Ec2 UpdateSecurityGroupRuleDescriptionsEgress(rule_modify::UpdateDescriptions) => rule_modify::update_egress;
    Ec2 UpdateSecurityGroupRuleDescriptionsIngress(rule_modify::UpdateDescriptions) => rule_modify::update_ingress;
    Eks DeleteLabCluster(eks::OneCluster) => eks::delete;
    Eks DescribeCluster(eks::OneCluster) => eks::describe;
    Eks DescribeLabClusterAccess(eks::DescribeAccess) => eks::describe_access;
    Eks DescribeUpdate(eks::DescribeUpdate) => eks::describe_update;
    Eks ListClusters(eks::ListClusters) => eks::list;
    Eks PutLabCluster(eks::WithDocument) => eks::put;
    Eks UpdateClusterConfig(eks::WithDocument) => eks::update;
    Sts GetCallerIdentity(identity::GetCallerIdentity) => identity::get;
}
