//! Random requests on one state: nothing panics, what is refused changes nothing, and what is done can
//! be taken back.

use hedgerow_vpc::api::{ACTIONS, answer};
use hedgerow_vpc::state::time::Timestamp;
use hedgerow_vpc::state::{Quotas, State};
use proptest::prelude::*;

use crate::model::refusals;

/// Parameters and what stands for a known id: `@eni` is one of the interfaces seen so far.
const PARAMETERS: &[&str] = &[
    "VpcId=@vpc",
    "VpcId.1=@vpc",
    "SubnetId=@subnet",
    "SubnetId.1=@subnet",
    "GroupId=@sg",
    "GroupId.1=@sg",
    "SecurityGroupId.1=@sg",
    "NetworkInterfaceId=@eni",
    "NetworkInterfaceId.1=@eni",
    "InstanceId=@i",
    "InstanceId.1=@i",
    "AttachmentId=@eni-attach",
    "AssociationId=@trunk-assoc",
    "TrunkInterfaceId=@eni",
    "BranchInterfaceId=@eni",
    "SecurityGroupRuleId.1=@sgr",
    "ResourceId.1=@vpc",
    "ResourceId.2=@i",
    "Tag.1.Key=a",
    "Tag.1.Value=b",
    "DeviceIndex=1",
    "DeviceIndex=2",
    "VlanId=1",
    "VlanId=2",
    "InterfaceType=trunk",
    "CidrBlock=10.0.0.0/16",
    "CidrBlock=10.0.1.0/28",
    "GroupName=g",
    "GroupDescription=g",
    "IpProtocol=-1",
    "CidrIp=10.0.0.0/8",
    "IpPermissions.1.IpProtocol=tcp",
    "IpPermissions.1.FromPort=1",
    "IpPermissions.1.ToPort=2",
    "IpPermissions.1.Groups.1.GroupId=@sg",
    "IpPermissions.1.Ipv6Ranges.1.CidrIpv6=2001:db8::/32",
    "IpPermissions.1.PrefixListIds.1.PrefixListId=@pl",
    "SecurityGroupRule.1.SecurityGroupRuleId=@sgr",
    "SecurityGroupRule.1.SecurityGroupRule.IpProtocol=-1",
    "SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.3.0.0/16",
    "SecurityGroupRuleDescription.1.SecurityGroupRuleId=@sgr",
    "PrefixListId=@pl",
    "MaxEntries=3",
    "CurrentVersion=1",
    "AddEntry.1.Cidr=10.9.0.0/16",
    "RemoveEntry.1.Cidr=10.9.0.0/16",
    "IpPermissions.1.Ipv6Ranges.1.CidrIpv6=2001:db8::/32",
    "IpPermissions.1.PrefixListIds.1.PrefixListId=@pl",
    "SecurityGroupRule.1.SecurityGroupRuleId=@sgr",
    "SecurityGroupRule.1.SecurityGroupRule.IpProtocol=-1",
    "SecurityGroupRule.1.SecurityGroupRule.CidrIpv4=10.3.0.0/16",
    "SecurityGroupRuleDescription.1.SecurityGroupRuleId=@sgr",
    "PrefixListId=@pl",
    "MaxEntries=3",
    "CurrentVersion=1",
    "AddEntry.1.Cidr=10.9.0.0/16",
    "RemoveEntry.1.Cidr=10.9.0.0/16",
    "ImageId=ami-1",
    "InstanceType=m5.large",
    "MinCount=1",
    "MaxCount=2",
    "NetworkInterface.1.DeviceIndex=0",
    "NetworkInterface.1.SubnetId=@subnet",
    "NetworkInterface.1.NetworkInterfaceId=@eni",
    "NetworkInterface.1.DeleteOnTermination=false",
    "PrivateIpAddress.1=10.0.1.9",
    "PrivateIpAddress=10.0.1.9",
    "SecondaryPrivateIpAddressCount=3",
    "AllowReassignment=true",
    "Attribute=attachment",
    "SourceDestCheck.Value=false",
    "Attachment.AttachmentId=@eni-attach",
    "Attachment.DeleteOnTermination=true",
    "ClientToken=t",
    "DryRun=true",
    "Filter.1.Name=vpc-id",
    "Filter.1.Value.1=*",
    "MaxResults=5",
    "RouteTableId=@rtb",
    "InternetGatewayId=@igw",
    "GatewayId=@igw",
    "NatGatewayId=@nat",
    "AllocationId=@eipalloc",
    "AssociationId=@eipassoc",
    "AssociationId=@rtbassoc",
    "AssociationId=@aclassoc",
    "AssociationId=@vpc-cidr-assoc",
    "NetworkAclId=@acl",
    "DestinationCidrBlock=0.0.0.0/0",
    "DestinationCidrBlock=10.0.0.0/16",
    "ConnectivityType=private",
    "AmazonProvidedIpv6CidrBlock=true",
    "Ipv6AddressCount=1",
    "Ipv6PrefixCount=1",
    "Ipv6CidrBlock=3fff:23:0:100::/64",
    "Ipv6Addresses.1=3fff:23:0:100::9",
    "EnablePrimaryIpv6=true",
    "AssociationId=@subnet-cidr-assoc",
    "AssignIpv6AddressOnCreation.Value=true",
];

/// Requests that would not be found by chance often enough.
const LIKELY: &[&str] = &[
    "CreateVpc CidrBlock=10.0.0.0/16",
    "CreateSubnet VpcId=@vpc CidrBlock=10.0.1.0/28",
    "CreateSubnet VpcId=@vpc CidrBlock=10.0.2.0/24",
    "CreateNetworkInterface SubnetId=@subnet",
    "CreateNetworkInterface SubnetId=@subnet InterfaceType=trunk",
    "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 SubnetId=@subnet",
    "AttachNetworkInterface NetworkInterfaceId=@eni InstanceId=@i DeviceIndex=1",
    "AssociateTrunkInterface TrunkInterfaceId=@eni BranchInterfaceId=@eni VlanId=1",
    "AssignPrivateIpAddresses NetworkInterfaceId=@eni SecondaryPrivateIpAddressCount=1",
    "TerminateInstances InstanceId.1=@i",
    "DeleteNetworkInterface NetworkInterfaceId=@eni",
    "DisassociateTrunkInterface AssociationId=@trunk-assoc",
    "DetachNetworkInterface AttachmentId=@eni-attach",
    "CreateInternetGateway",
    "AttachInternetGateway InternetGatewayId=@igw VpcId=@vpc",
    "DetachInternetGateway InternetGatewayId=@igw VpcId=@vpc",
    "AllocateAddress",
    "AssociateAddress AllocationId=@eipalloc NetworkInterfaceId=@eni",
    "CreateNatGateway SubnetId=@subnet AllocationId=@eipalloc",
    "CreateNatGateway SubnetId=@subnet ConnectivityType=private",
    "DeleteNatGateway NatGatewayId=@nat",
    "CreateNatGateway SubnetId=@subnet ConnectivityType=private SecondaryPrivateIpAddressCount=2",
    "AssociateNatGatewayAddress NatGatewayId=@nat AllocationId.1=@eipalloc",
    "DisassociateNatGatewayAddress NatGatewayId=@nat AssociationId.1=@eipassoc",
    "AssignPrivateNatGatewayAddress NatGatewayId=@nat PrivateIpAddressCount=1",
    "AssignPrivateNatGatewayAddress NatGatewayId=@nat PrivateIpAddress.1=10.0.1.9",
    "UnassignPrivateNatGatewayAddress NatGatewayId=@nat PrivateIpAddress.1=10.0.1.9",
    "CreateRouteTable VpcId=@vpc",
    "CreateRoute RouteTableId=@rtb DestinationCidrBlock=0.0.0.0/0 GatewayId=@igw",
    "CreateRoute RouteTableId=@rtb DestinationCidrBlock=1.0.0.0/8 NatGatewayId=@nat",
    "CreateRoute RouteTableId=@rtb DestinationCidrBlock=2.0.0.0/8 NetworkInterfaceId=@eni",
    "AssociateRouteTable RouteTableId=@rtb SubnetId=@subnet",
    "ReplaceRouteTableAssociation AssociationId=@rtbassoc RouteTableId=@rtb",
    "CreateNetworkAcl VpcId=@vpc",
    "ReplaceNetworkAclAssociation AssociationId=@aclassoc NetworkAclId=@acl",
    "AssociateVpcCidrBlock VpcId=@vpc CidrBlock=10.1.0.0/16",
    "CreateVpc CidrBlock=10.0.0.0/16 AmazonProvidedIpv6CidrBlock=true",
    "AssociateVpcCidrBlock VpcId=@vpc AmazonProvidedIpv6CidrBlock=true",
    "AssociateSubnetCidrBlock SubnetId=@subnet Ipv6CidrBlock=3fff:23:0:100::/64",
    "DisassociateSubnetCidrBlock AssociationId=@subnet-cidr-assoc",
    "DisassociateVpcCidrBlock AssociationId=@vpc-cidr-assoc",
    "ModifySubnetAttribute SubnetId=@subnet AssignIpv6AddressOnCreation.Value=true",
    "AssignIpv6Addresses NetworkInterfaceId=@eni Ipv6AddressCount=1",
    "AssignIpv6Addresses NetworkInterfaceId=@eni Ipv6PrefixCount=1",
    "CreateNetworkInterface SubnetId=@subnet Ipv6AddressCount=2 EnablePrimaryIpv6=true",
    "DeleteSubnet SubnetId=@subnet",
    "DeleteVpc VpcId=@vpc",
    "DescribeRouteTables",
    "DescribeNetworkAcls",
    "StopInstances InstanceId.1=@i",
    "StartInstances InstanceId.1=@i",
    "CreateNetworkInterface SubnetId=@subnet Ipv4PrefixCount=2",
    "AssignPrivateIpAddresses NetworkInterfaceId=@eni Ipv4PrefixCount=1",
    "DescribeInstances",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "CreateManagedPrefixList PrefixListName=l AddressFamily=IPv4 MaxEntries=2",
    "AuthorizeSecurityGroupIngress GroupId=@sg IpPermissions.1.IpProtocol=-1 \
     IpPermissions.1.PrefixListIds.1.PrefixListId=@pl",
    "ModifyManagedPrefixList PrefixListId=@pl CurrentVersion=1 AddEntry.1.Cidr=10.9.0.0/16",
    "DeleteManagedPrefixList PrefixListId=@pl",
    "DeleteSecurityGroup GroupId=@sg",
    "CreateManagedPrefixList PrefixListName=l AddressFamily=IPv4 MaxEntries=2",
    "AuthorizeSecurityGroupIngress GroupId=@sg IpPermissions.1.IpProtocol=-1 \
     IpPermissions.1.PrefixListIds.1.PrefixListId=@pl",
    "ModifyManagedPrefixList PrefixListId=@pl CurrentVersion=1 AddEntry.1.Cidr=10.9.0.0/16",
    "DeleteManagedPrefixList PrefixListId=@pl",
    "DeleteSecurityGroup GroupId=@sg",
];

/// One request: an action, parameters, and which of the known ids to use.
#[derive(Debug, Clone)]
enum Step {
    Likely(usize),
    Any(usize, Vec<usize>),
}

fn step() -> impl Strategy<Value = (Step, usize)> {
    let likely = (0..LIKELY.len()).prop_map(Step::Likely);
    let parameters = proptest::collection::vec(0..PARAMETERS.len(), 0..6);
    let free = (0..ACTIONS.len(), parameters).prop_map(|(action, p)| Step::Any(action, p));
    (prop_oneof![3 => likely, 2 => free], any::<usize>())
}

struct Walk {
    state: State,
    ids: Vec<String>,
}

impl Walk {
    /// Replaces `@PREFIX` by one of the ids seen with that prefix.
    fn fill(&self, text: &str, choice: &mut usize) -> String {
        let Some((name, prefix)) = text.split_once("=@") else { return text.to_owned() };
        let known: Vec<&String> = self
            .ids
            .iter()
            .filter(|id| id.rsplit_once('-').is_some_and(|(kind, _)| kind == prefix))
            .collect();
        *choice = choice.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        match known.get((*choice >> 7) % known.len().max(1)) {
            Some(id) => format!("{name}={id}"),
            None => format!("{name}={prefix}-00000000000000000"),
        }
    }

    fn take(&mut self, step: &Step, mut choice: usize, now: u64) {
        let mut parts = match step {
            Step::Likely(at) => LIKELY[*at].split(' ').map(str::to_owned).collect(),
            Step::Any(action, parameters) => {
                let mut parts = vec![ACTIONS[*action].name.to_owned()];
                parts.extend(parameters.iter().map(|at| PARAMETERS[*at].to_owned()));
                parts
            }
        };
        parts[0] = format!("Action={}", parts[0]);
        let filled: Vec<String> = parts.iter().map(|p| self.fill(p, &mut choice)).collect();
        let body = filled.join("&");
        let before = self.state.clone();
        let checkpoint = self.state.checkpoint();
        let outcome = answer(&mut self.state, "us-west-2", body.as_bytes(), Timestamp(now));
        let mut after = self.state.clone();
        self.state.restore(checkpoint);
        assert!(same_records(&before, &self.state), "{body}: it was not taken back");
        after.commit();
        self.state = after;
        match outcome.result {
            Ok(xml) => self.ids.extend(ids(&xml)),
            Err(error) => {
                assert_ne!(error.code, "InternalError", "{body}: {error}");
                refusals::check(&outcome.action, error.code, &body);
                let opened = before.region("us-west-2").is_some();
                assert!(!opened || before == self.state, "{body}: {error}, and the state changed");
            }
        }
    }
}

/// Whether the records are the same. Answers to client tokens may differ.
fn same_records(one: &State, other: &State) -> bool {
    let records = |state: &State| -> Vec<serde_json::Value> {
        let region = |region| serde_json::to_value(region).expect("JSON");
        let mut regions: Vec<serde_json::Value> = state.regions().map(region).collect();
        for region in &mut regions {
            region["tokens"].take();
        }
        regions
    };
    one.regions().eq(other.regions()) || records(one) == records(other)
}

/// Everything in the text that looks like `kind-0123456789abcdef0`.
fn ids(xml: &str) -> impl Iterator<Item = String> {
    xml.split(['<', '>'])
        .filter(|text| {
            text.rsplit_once('-').is_some_and(|(_, hex)| {
                hex.len() == 17 && hex.bytes().all(|b| b.is_ascii_hexdigit())
            })
        })
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}

proptest! {
    #[test]
    fn no_requests_make_a_contradiction(steps in proptest::collection::vec(step(), 1..60)) {
        let mut walk = Walk { state: State::new(1, Quotas::default()), ids: Vec::new() };
        for (now, (step, choice)) in steps.iter().enumerate() {
            let now = 60 * now as u64;
            let _ = walk.state.settle(Timestamp(now));
            walk.take(step, *choice, now);
        }
    }
}
