//! NAT gateways and their addresses.

use std::net::Ipv4Addr;

use hedgerow_vpc::effect::{Effect, RouteTarget};
use hedgerow_vpc::state::Quotas;

use crate::gateways::{views, with_gateway};
use crate::scenario::Scenario;

#[test]
fn a_public_nat_gateway() {
    let create = "CreateNatGateway SubnetId={subnet}";
    with_gateway()
        .fails("MissingParameter", create)
        .fails("InvalidAllocationID.NotFound", &format!("{create} AllocationId=eipalloc-1"))
        .fails("InvalidSubnetID.NotFound", "CreateNatGateway SubnetId=subnet-1 AllocationId={eip}")
        .fails("InvalidParameterValue", &format!("{create} ConnectivityType=odd"))
        .fails("DryRunOperation", &format!("{create} AllocationId={{eip}} DryRun=true"))
        .make("nat", "natGatewayId", &format!("{create} AllocationId={{eip}} ClientToken=a"))
        .effects(|effects| {
            let [Effect::PutInterface(view), Effect::PutNatGateway { interface, addresses, .. }] =
                effects
            else {
                panic!("{effects:?}")
            };
            assert_eq!((view.key, view.publics.len()), (*interface, 1));
            assert_eq!(view.addresses, *addresses);
            assert!(view.groups.is_empty() && !view.source_dest_check);
        })
        .name("eni", "networkInterfaceId")
        .shows(&format!("{create} AllocationId={{eip}} ClientToken=a"), "natGatewayId", "{nat}")
        .shows("DescribeNatGateways NatGatewayId.1={nat}", "state", "available")
        .shows("DescribeNatGateways NatGatewayId.1={nat}", "publicIp", "{ip}")
        .shows(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eni}",
            "interfaceType",
            "nat_gateway",
        )
        .fails("AuthFailure", "DeleteNetworkInterface NetworkInterfaceId={eni}")
        .fails("AuthFailure", "ReleaseAddress AllocationId={eip}")
        .fails("AuthFailure", "DisassociateAddress PublicIp={ip}")
        .make("table", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .ok("CreateRoute RouteTableId={table} DestinationCidrBlock=0.0.0.0/0 NatGatewayId={nat}")
        .effects(|effects| {
            let [Effect::PutRouteTable { table, .. }] = effects else { panic!("{effects:?}") };
            assert!(matches!(table.routes[1].1, RouteTarget::NatGateway(_)));
        })
        .fails("DependencyViolation", "DeleteSubnet SubnetId={subnet}")
        .ok("DeleteNatGateway NatGatewayId={nat}")
        .effects(|effects| {
            let [
                Effect::PutRouteTable { table, .. },
                Effect::RemoveNatGateway { .. },
                Effect::RemoveInterface(_),
            ] = effects
            else {
                panic!("{effects:?}")
            };
            assert_eq!(table.routes[1].1, RouteTarget::Blackhole);
        })
        .shows(
            "DescribeNatGateways Filter.1.Name=state Filter.1.Value.1=deleted",
            "natGatewayId",
            "{nat}",
        )
        .ok("ReleaseAddress AllocationId={eip}")
        .later(3_601)
        .ok("DescribeRegions")
        .fails("NatGatewayNotFound", "DescribeNatGateways NatGatewayId.1={nat}")
        .fails("NatGatewayNotFound", "DeleteNatGateway NatGatewayId={nat}");
}

#[test]
fn nat_gateways_that_fail_and_private_ones() {
    Scenario::with_subnet()
        .make("eip", "allocationId", "AllocateAddress")
        .shows(
            "CreateNatGateway SubnetId={subnet} AllocationId={eip}",
            "failureCode",
            "Gateway.NotAttached",
        )
        .effects(|effects| assert_eq!(effects, []))
        .shows("DescribeNatGateways", "state", "failed")
        .fails(
            "InvalidParameterCombination",
            "CreateNatGateway SubnetId={subnet} ConnectivityType=private AllocationId={eip}",
        )
        .make(
            "nat",
            "natGatewayId",
            "CreateNatGateway SubnetId={subnet} ConnectivityType=private PrivateIpAddress=10.0.1.9",
        )
        .effects(|effects| {
            assert!(matches!(effects[1], Effect::PutNatGateway { .. }));
        })
        .shows("DescribeNatGateways NatGatewayId.1={nat}", "privateIp", "10.0.1.9")
        .fails(
            "InvalidIPAddress.InUse",
            "CreateNatGateway SubnetId={subnet} ConnectivityType=private PrivateIpAddress=10.0.1.9",
        );
}

/// The last octets of what new flows go on from, and of what drains, by the last effect.
fn serving(effects: &[Effect]) -> (Vec<u8>, Vec<u8>) {
    let last = |addresses: &[Ipv4Addr]| addresses.iter().map(|a| a.octets()[3]).collect();
    let put = effects.iter().find_map(|effect| match effect {
        Effect::PutNatGateway { addresses, draining, .. } => Some((addresses, draining)),
        _ => None,
    });
    let (addresses, draining) = put.unwrap_or_else(|| panic!("no gateway in {effects:?}"));
    (last(addresses), last(draining))
}

/// `{nat}` with `{eip}` at 10.0.1.10, more elastic addresses `{eip2}`, `{eip3}`.
fn public() -> Scenario {
    with_gateway()
        .make("eip2", "allocationId", "AllocateAddress")
        .name("ip2", "publicIp")
        .make("eip3", "allocationId", "AllocateAddress")
        .make(
            "nat",
            "natGatewayId",
            "CreateNatGateway SubnetId={subnet} AllocationId={eip} PrivateIpAddress=10.0.1.10",
        )
}

#[test]
fn a_public_gateway_gets_and_loses_addresses() {
    let associate = "AssociateNatGatewayAddress NatGatewayId={nat} AllocationId.1=";
    let disassociate = "DisassociateNatGatewayAddress NatGatewayId={nat}";
    public()
        .make("eni", "networkInterfaceId", "DescribeNatGateways")
        .make(
            "assoc",
            "associationId",
            &format!("{associate}{{eip2}} PrivateIpAddress.1=10.0.1.20"),
        )
        .shows("DescribeNatGateways", "isPrimary", "true false")
        .shows("DescribeNatGateways", "status", "succeeded succeeded")
        .shows("DescribeNatGateways", "publicIp", "{ip} {ip2}")
        .shows("DescribeAddresses AllocationId.1={eip2}", "privateIpAddress", "10.0.1.20")
        .fails("AddressLimitExceeded", &format!("{associate}{{eip3}}"))
        .fails("AuthFailure", "DisassociateAddress AssociationId={assoc}")
        .fails("InvalidParameter", &format!("{disassociate} AssociationId.1=eipassoc-1"))
        .make("first", "associationId", "DescribeAddresses AllocationId.1={eip}")
        .fails("InvalidParameter", &format!("{disassociate} AssociationId.1={{first}}"))
        .fails("MissingParameter", disassociate)
        .fails(
            "InvalidParameterValue",
            &format!("{disassociate} AssociationId.1={{assoc}} MaxDrainDurationSeconds=4001"),
        )
        .shows(
            &format!("{disassociate} AssociationId.1={{assoc}} MaxDrainDurationSeconds=60"),
            "status",
            "disassociating",
        )
        .effects(|effects| assert_eq!(serving(effects), (vec![10], vec![20])))
        .fails("OperationInProgress", &format!("{associate}{{eip3}}"))
        .says(
            "Service is currently DISASSOCIATING the following EIPs: [{eip2}].",
            &format!("{disassociate} AssociationId.1={{assoc}}"),
        )
        .later(59)
        .settled(|effects| assert_eq!(effects, []))
        .fails("AuthFailure", "ReleaseAddress AllocationId={eip2}")
        .later(1)
        .settled(|effects| {
            assert_eq!(serving(effects), (vec![10], vec![]));
            let [view] = views(effects)[..] else { panic!("{effects:?}") };
            assert_eq!((view.addresses.len(), view.publics.len()), (1, 1));
        })
        .shows("DescribeNatGateways", "publicIp", "{ip}")
        .ok("ReleaseAddress AllocationId={eip2}")
        .ok(&format!("{associate}{{eip3}}"))
        .ok("DeleteNatGateway NatGatewayId={nat}")
        .shows("DescribeNatGateways", "status", "succeeded succeeded")
        .fails("InvalidParameter", &format!("{associate}{{eip3}}"))
        .ok("ReleaseAddress AllocationId={eip3}");
}

#[test]
fn what_a_public_gateway_refuses() {
    let associate = "AssociateNatGatewayAddress NatGatewayId={nat}";
    public()
        .fails("NatGatewayNotFound", "AssociateNatGatewayAddress NatGatewayId=nat-1")
        .fails("MissingParameter", associate)
        .fails("InvalidAllocationID.NotFound", &format!("{associate} AllocationId.1=eipalloc-1"))
        .fails("Resource.AlreadyAssociated", &format!("{associate} AllocationId.1={{eip}}"))
        .fails(
            "InvalidParameterValue",
            &format!("{associate} AllocationId.1={{eip2}} AllocationId.2={{eip2}}"),
        )
        .fails(
            "InvalidParameterCombination",
            &format!(
                "{associate} AllocationId.1={{eip2}} PrivateIpAddress.1=10.0.1.20 \
                 PrivateIpAddress.2=10.0.1.21"
            ),
        )
        .fails(
            "InvalidIPAddress.InUse",
            &format!("{associate} AllocationId.1={{eip2}} PrivateIpAddress.1=10.0.1.10"),
        )
        .fails(
            "InvalidParameter",
            "AssignPrivateNatGatewayAddress NatGatewayId={nat} PrivateIpAddressCount=1",
        )
        .fails(
            "InvalidParameter",
            "UnassignPrivateNatGatewayAddress NatGatewayId={nat} PrivateIpAddress.1=10.0.1.10",
        );
}

#[test]
fn a_private_gateway_gets_and_loses_addresses() {
    let assign = "AssignPrivateNatGatewayAddress NatGatewayId={nat}";
    let unassign = "UnassignPrivateNatGatewayAddress NatGatewayId={nat}";
    Scenario::with_subnet()
        .make(
            "nat",
            "natGatewayId",
            "CreateNatGateway SubnetId={subnet} ConnectivityType=private \
             PrivateIpAddress=10.0.1.10 SecondaryPrivateIpAddress.1=10.0.1.11",
        )
        .effects(|effects| assert_eq!(serving(effects), (vec![10, 11], vec![])))
        .shows(&format!("{assign} PrivateIpAddress.1=10.0.1.12"), "privateIp", "10.0.1.12")
        .effects(|effects| assert_eq!(serving(effects), (vec![10, 11, 12], vec![])))
        .ok(&format!("{assign} PrivateIpAddressCount=5"))
        .fails("PrivateIpAddressLimitExceeded", &format!("{assign} PrivateIpAddressCount=1"))
        .fails("InvalidParameterValue", &format!("{assign} PrivateIpAddressCount=32"))
        .fails(
            "InvalidParameterCombination",
            &format!("{assign} PrivateIpAddressCount=1 PrivateIpAddress.1=10.0.1.30"),
        )
        .fails("MissingParameter", assign)
        .fails("MissingParameter", unassign)
        .fails("InvalidParameter", &format!("{unassign} PrivateIpAddress.1=10.0.1.10"))
        .fails("InvalidParameter", &format!("{unassign} PrivateIpAddress.1=10.0.1.99"))
        .shows(
            &format!("{unassign} PrivateIpAddress.1=10.0.1.11 PrivateIpAddress.2=10.0.1.12"),
            "status",
            "unassigning unassigning",
        )
        .says(
            "Service is currently UNASSIGNING the following private IPs: [10.0.1.11, 10.0.1.12].",
            &format!("{assign} PrivateIpAddressCount=1"),
        )
        .later(350)
        .settled(|effects| assert_eq!(serving(effects).0.len(), 6))
        .ok(&format!("{assign} PrivateIpAddress.1=10.0.1.11"))
        .fails(
            "InvalidParameter",
            "AssociateNatGatewayAddress NatGatewayId={nat} AllocationId.1=eipalloc-1",
        )
        .fails(
            "InvalidParameter",
            "DisassociateNatGatewayAddress NatGatewayId={nat} AssociationId.1=eipassoc-1",
        )
        // What drains goes with the gateway.
        .ok(&format!("{unassign} PrivateIpAddress.1=10.0.1.11"))
        .ok("DeleteNatGateway NatGatewayId={nat}")
        .later(350)
        .settled(|effects| assert_eq!(effects, []))
        .ok("DeleteSubnet SubnetId={subnet}");
}

#[test]
fn gateways_are_made_with_several_addresses() {
    let create = "CreateNatGateway SubnetId={subnet} AllocationId={eip}";
    let private = "CreateNatGateway SubnetId={subnet} ConnectivityType=private";
    with_gateway()
        .make("eip2", "allocationId", "AllocateAddress")
        .make("eip3", "allocationId", "AllocateAddress")
        .fails(
            "AddressLimitExceeded",
            &format!("{create} SecondaryAllocationId.1={{eip2}} SecondaryAllocationId.2={{eip3}}"),
        )
        .fails("InvalidParameterValue", &format!("{create} SecondaryAllocationId.1={{eip}}"))
        .fails("InvalidParameterCombination", &format!("{create} SecondaryPrivateIpAddressCount=1"))
        .fails(
            "InvalidParameterCombination",
            &format!("{create} SecondaryPrivateIpAddress.1=10.0.1.20"),
        )
        .fails("UnsupportedOperation", &format!("{create} AvailabilityMode=regional"))
        .fails("InvalidParameterValue", &format!("{create} AvailabilityMode=odd"))
        .fails("InvalidParameterCombination", &format!("{private} SecondaryAllocationId.1={{eip}}"))
        .fails(
            "InvalidParameterCombination",
            &format!(
                "{private} SecondaryPrivateIpAddress.1=10.0.1.20 SecondaryPrivateIpAddressCount=1"
            ),
        )
        .fails(
            "InvalidParameterValue",
            &format!("{private} PrivateIpAddress=10.0.1.9 SecondaryPrivateIpAddress.1=10.0.1.9"),
        )
        .fails(
            "PrivateIpAddressLimitExceeded",
            &format!("{private} SecondaryPrivateIpAddressCount=8"),
        )
        .ok(&format!("{private} SecondaryPrivateIpAddressCount=7"))
        .effects(|effects| assert_eq!(serving(effects).0.len(), 8))
        .shows(
            &format!(
                "{create} SecondaryAllocationId.1={{eip2}} AvailabilityMode=zonal \
                 SecondaryPrivateIpAddress.1=10.0.1.20"
            ),
            "isPrimary",
            "true false",
        )
        .shows("DescribeAddresses AllocationId.1={eip2}", "privateIpAddress", "10.0.1.20")
        .shows(
            "CreateNatGateway SubnetId={subnet} AllocationId={eip3} SecondaryAllocationId.1={eip2}",
            "failureCode",
            "Resource.AlreadyAssociated",
        );
}

#[test]
fn five_gateways_in_a_zone() {
    let create = "CreateNatGateway SubnetId={subnet} ConnectivityType=private";
    let mut scenario = Scenario::with_subnet();
    for _ in 0..5 {
        scenario = scenario.make("nat", "natGatewayId", create);
    }
    scenario
        .fails("NatGatewayLimitExceeded", create)
        .ok("DeleteNatGateway NatGatewayId={nat}")
        .ok(create)
        .quotas(Quotas { nat_gateways_per_zone: 6, ..Quotas::default() })
        .ok(create)
        .fails("NatGatewayLimitExceeded", create);
}
