//! Internet gateways, elastic addresses, and the addresses of launches.

use hedgerow_vpc::effect::{Effect, InterfaceView};

use crate::scenario::Scenario;

const RUN: &str = "RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1";

/// An instance `{i}` with `{eth0}`, an internet gateway `{igw}`, an elastic address `{eip}`.
pub fn with_gateway() -> Scenario {
    Scenario::with_instance("m5.large")
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .make("eip", "allocationId", "AllocateAddress Domain=vpc")
        .name("ip", "publicIp")
}

pub fn views(effects: &[Effect]) -> Vec<&InterfaceView> {
    let views = effects.iter().filter_map(|effect| match effect {
        Effect::PutInterface(view) => Some(view),
        _ => None,
    });
    views.collect()
}

#[test]
fn internet_gateways() {
    Scenario::with_subnet()
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .effects(|effects| assert!(matches!(effects, [Effect::PutInternetGateway { .. }])))
        .fails(
            "Resource.AlreadyAssociated",
            "AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}",
        )
        .make("second", "internetGatewayId", "CreateInternetGateway")
        .fails(
            "InvalidParameterValue",
            "AttachInternetGateway InternetGatewayId={second} VpcId={vpc}",
        )
        .fails(
            "Gateway.NotAttached",
            "DetachInternetGateway InternetGatewayId={second} VpcId={vpc}",
        )
        .shows(
            "DescribeInternetGateways Filter.1.Name=attachment.vpc-id Filter.1.Value.1={vpc}",
            "internetGatewayId",
            "{igw}",
        )
        .fails("DependencyViolation", "DeleteInternetGateway InternetGatewayId={igw}")
        .ok("DeleteSubnet SubnetId={subnet}")
        .fails("DependencyViolation", "DeleteVpc VpcId={vpc}")
        .fails(
            "DryRunOperation",
            "DetachInternetGateway InternetGatewayId={igw} VpcId={vpc} DryRun=true",
        )
        .ok("DetachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveInternetGateway { .. }])))
        .ok("DeleteInternetGateway InternetGatewayId={igw}")
        .fails(
            "InvalidInternetGatewayID.NotFound",
            "DescribeInternetGateways InternetGatewayId.1={igw}",
        )
        .ok("DeleteVpc VpcId={vpc}");
}

#[test]
fn elastic_addresses() {
    let associate = "AssociateAddress AllocationId={eip}";
    with_gateway()
        .fails("MissingParameter", associate)
        .fails("InvalidInstanceID.NotFound", &format!("{associate} InstanceId=i-1"))
        .fails(
            "InvalidAllocationID.NotFound",
            "AssociateAddress AllocationId=eipalloc-1 InstanceId={i}",
        )
        .fails(
            "InvalidParameterValue",
            &format!("{associate} NetworkInterfaceId={{eth0}} PrivateIpAddress=10.0.1.77"),
        )
        .make("assoc", "associationId", &format!("{associate} InstanceId={{i}}"))
        .interface(|view| {
            assert_eq!(view.publics.values().next().map(|ip| ip.octets()[0]), Some(198))
        })
        .shows(&format!("{associate} NetworkInterfaceId={{eth0}}"), "associationId", "{assoc}")
        .shows("DescribeAddresses PublicIp.1={ip}", "instanceId", "{i}")
        .shows("DescribeInstances InstanceId.1={i}", "ipAddress", "{ip}")
        .shows(
            "DescribeNetworkInterfaces Filter.1.Name=association.public-ip Filter.1.Value.1={ip}",
            "allocationId",
            "{eip} {eip}",
        )
        .fails("InvalidIPAddress.InUse", "ReleaseAddress AllocationId={eip}")
        .fails("DependencyViolation", "DetachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .make("other", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails(
            "Resource.AlreadyAssociated",
            &format!("{associate} NetworkInterfaceId={{other}} AllowReassociation=false"),
        )
        .make("assoc2", "associationId", &format!("{associate} NetworkInterfaceId={{other}}"))
        .effects(|effects| {
            let publics: Vec<bool> = views(effects).iter().map(|v| !v.publics.is_empty()).collect();
            assert_eq!(publics, [false, true], "who lost it, who got it");
        })
        .fails("InvalidAssociationID.NotFound", "DisassociateAddress AssociationId={assoc}")
        .ok("DisassociateAddress AssociationId={assoc2}")
        .interface(|view| assert!(view.publics.is_empty()))
        .ok("ReleaseAddress AllocationId={eip}")
        .fails("InvalidAllocationID.NotFound", "DescribeAddresses AllocationId.1={eip}")
        .fails("InvalidAddress.NotFound", "DescribeAddresses PublicIp.1={ip}");
}

#[test]
fn an_elastic_address_for_each_private_one() {
    let secondary = "AssociateAddress AllocationId={eip2} NetworkInterfaceId={eth0} \
                     PrivateIpAddress=10.0.1.50";
    let publics = |view: &InterfaceView| {
        view.publics.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    with_gateway()
        .make("eip2", "allocationId", "AllocateAddress")
        .name("ip2", "publicIp")
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eth0} PrivateIpAddress.1=10.0.1.50")
        .ok("AssociateAddress AllocationId={eip} NetworkInterfaceId={eth0}")
        .make("assoc", "associationId", secondary)
        .interface(|view| assert_eq!(publics(view), "10.0.1.4 10.0.1.50"))
        .shows(secondary, "associationId", "{assoc}")
        .shows("DescribeAddresses PublicIp.1={ip2}", "privateIpAddress", "10.0.1.50")
        .shows(
            "DescribeNetworkInterfaces NetworkInterfaceId.1={eth0}",
            "publicIp",
            "{ip} {ip} {ip2}",
        )
        .shows(
            "DescribeNetworkInterfaces Filter.1.Name=addresses.association.public-ip \
             Filter.1.Value.1={ip2}",
            "networkInterfaceId",
            "{eth0}",
        )
        .make("eip3", "allocationId", "AllocateAddress")
        .fails("Resource.AlreadyAssociated", &secondary.replace("eip2", "eip3"))
        .ok(&(secondary.replace("eip2", "eip3") + " AllowReassociation=true"))
        .interface(|view| assert_eq!(publics(view), "10.0.1.4 10.0.1.50"))
        .shows("DescribeAddresses AllocationId.1={eip2}", "associationId", "")
        // It goes where its private address goes.
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.50 \
             AllowReassignment=true")
        .effects(|effects| {
            let publics: Vec<String> = views(effects).into_iter().map(publics).collect();
            assert_eq!(publics, ["10.0.1.4", "10.0.1.50"]);
        })
        .shows("DescribeAddresses AllocationId.1={eip3}", "networkInterfaceId", "{eni}")
        // From one private address of an interface to another.
        .ok("AssociateAddress AllocationId={eip3} NetworkInterfaceId={eni}")
        .interface(|view| assert!(!publics(view).contains("10.0.1.50")))
        .ok("AssociateAddress AllocationId={eip3} NetworkInterfaceId={eni} \
             PrivateIpAddress=10.0.1.50")
        .interface(|view| assert_eq!(publics(view), "10.0.1.50"))
        .ok("UnassignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.50")
        .interface(|view| assert_eq!(publics(view), ""))
        .shows("DescribeAddresses AllocationId.1={eip3}", "associationId", "");
}

#[test]
fn a_primary_interface_can_be_given_a_public_address_later() {
    let modify = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eth0} \
                  AssociatePublicIpAddress=";
    let other = "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni} \
                 AssociatePublicIpAddress=true";
    with_gateway()
        .ok(&format!("{modify}true"))
        .interface(|view| assert_eq!(view.publics.len(), 1))
        .shows("DescribeInstances InstanceId.1={i}", "ipOwnerId", "amazon amazon")
        .ok("StopInstances InstanceId.1={i}")
        .interface(|view| assert!(view.publics.is_empty()))
        .ok(&format!("{modify}false"))
        .ok("StartInstances InstanceId.1={i}")
        .interface(|view| assert!(view.publics.is_empty()))
        .ok(&format!("{modify}true"))
        .ok(&format!("{modify}false"))
        .interface(|view| assert!(view.publics.is_empty()))
        .fails("InvalidParameterCombination", &format!("{modify}true Description.Value=x"))
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok(other)
        .interface(|view| assert!(view.publics.is_empty(), "not in use"))
        .ok("AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1")
        .interface(|view| assert!(view.publics.is_empty(), "not the primary one"))
        .name("attach", "attachmentId")
        .ok("DetachNetworkInterface AttachmentId={attach}")
        .ok(&format!(
            "{RUN} NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.NetworkInterfaceId={{eni}}"
        ))
        .interface(|view| assert_eq!(view.publics.len(), 1));
}

#[test]
fn an_elastic_address_needs_a_gateway_and_outlives_its_interface() {
    Scenario::with_instance("m5.large")
        .make("eip", "allocationId", "AllocateAddress")
        .fails("Gateway.NotAttached", "AssociateAddress AllocationId={eip} InstanceId={i}");
    with_gateway()
        .ok("AssociateAddress AllocationId={eip} InstanceId={i}")
        .ok("TerminateInstances InstanceId.1={i}")
        .shows("DescribeAddresses AllocationId.1={eip}", "associationId", "")
        .ok("ReleaseAddress AllocationId={eip}");
}

#[test]
fn five_elastic_addresses() {
    let mut scenario = Scenario::empty();
    for _ in 0..5 {
        scenario = scenario.ok("AllocateAddress");
    }
    scenario.fails("AddressLimitExceeded", "AllocateAddress");
}

#[test]
fn launches_get_public_addresses_where_the_subnet_says_so() {
    let one = "NetworkInterface.1.DeviceIndex=0 NetworkInterface.1.SubnetId={subnet}";
    Scenario::with_subnet()
        .ok(&format!("{RUN} SubnetId={{subnet}}"))
        .interface(|view| assert!(view.publics.is_empty()))
        .ok(&format!("{RUN} {one} NetworkInterface.1.AssociatePublicIpAddress=true"))
        .interface(|view| assert_eq!(view.publics.len(), 1))
        .ok("ModifySubnetAttribute SubnetId={subnet} MapPublicIpOnLaunch.Value=true")
        .ok(&format!("{RUN} {one} NetworkInterface.1.AssociatePublicIpAddress=false"))
        .interface(|view| assert!(view.publics.is_empty()))
        .make("i", "instanceId", &format!("{RUN} SubnetId={{subnet}}"))
        .interface(|view| assert_eq!(view.publics.len(), 1))
        .shows("DescribeInstances InstanceId.1={i}", "ipOwnerId", "amazon amazon")
        .shows("DescribeAddresses", "publicIp", "")
        .ok("StopInstances InstanceId.1={i}")
        .interface(|view| assert!(view.publics.is_empty()))
        .ok("StartInstances InstanceId.1={i}")
        .interface(|view| assert_eq!(view.publics.len(), 1))
        .fails(
            "InvalidParameterCombination",
            &format!(
                "{RUN} {one} NetworkInterface.1.AssociatePublicIpAddress=true \
                 NetworkInterface.2.DeviceIndex=1 NetworkInterface.2.SubnetId={{subnet}}"
            ),
        );
}

#[test]
fn the_default_vpc_is_public() {
    Scenario::empty()
        .ok(RUN)
        .interface(|view| assert_eq!(view.publics.len(), 1))
        .shows("DescribeRouteTables", "destinationCidrBlock", "172.31.0.0/16 0.0.0.0/0")
        .shows("DescribeSubnets", "mapPublicIpOnLaunch", "true true true true");
}
