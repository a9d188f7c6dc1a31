//! Interfaces, instances, trunks, addresses and NAT gateways: their part of the world, their happy
//! requests, their filters.

use super::happy::{Happy, happy};
use super::selects::Select;
use crate::scenario::Scenario;

/// Their part of the world.
pub fn build(scenario: Scenario) -> Scenario {
    scenario
        .make(
            "i",
            "instanceId",
            "RunInstances ImageId=ami-1 InstanceType=m5.xlarge MinCount=1 MaxCount=1 \
             SubnetId={subnet} SecurityGroupId.1={app} KeyName=one ClientToken=i \
             Ipv6AddressCount=1 EnablePrimaryIpv6=true IamInstanceProfile.Name=web \
             Monitoring.Enabled=true MetadataOptions.HttpTokens=required \
             MetadataOptions.HttpPutResponseHopLimit=2 \
             PrivateDnsNameOptions.EnableResourceNameDnsARecord=true",
        )
        .name("eth0", "networkInterfaceId")
        .name("reservation", "reservationId")
        .name("ip", "privateIpAddress")
        .name("pdns", "privateDnsName")
        .name("public", "ipAddress")
        .name("dns", "dnsName")
        .name("mac", "macAddress")
        .make(
            "i2",
            "instanceId",
            "RunInstances ImageId=ami-2 InstanceType=t3.micro MinCount=1 MaxCount=1 \
             SubnetId={subnet2}",
        )
        .ok("StopInstances InstanceId.1={i2}")
        .make(
            "i3",
            "instanceId",
            "RunInstances ImageId=ami-2 InstanceType=t3.micro MinCount=1 MaxCount=1 \
             SubnetId={subnet2}",
        )
        .ok("StopInstances InstanceId.1={i3}")
        .ok("CreateTags ResourceId.1={i3} Tag.1.Key=world Tag.1.Value=one")
        .make(
            "i4",
            "instanceId",
            "RunInstances ImageId=ami-2 InstanceType=t3.micro MinCount=1 MaxCount=1 \
             SubnetId={subnet2}",
        )
        .make(
            "eni",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={app} Description=one",
        )
        .ok("AssignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.200")
        .make(
            "eni2",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet2} Description=two",
        )
        .make(
            "eni3",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={app} Description=three \
             Ipv4PrefixCount=1 Ipv6AddressCount=1 Ipv6PrefixCount=1",
        )
        .name("eni3-ip", "privateIpAddress")
        .name("eni3-ipv6", "ipv6Address")
        .name("eni3-mac", "macAddress")
        .name("eni3-dns", "privateDnsName")
        .name("eni3-prefix", "ipv4Prefix")
        .name("eni3-prefix6", "ipv6Prefix")
        .ok("CreateTags ResourceId.1={eni3} Tag.1.Key=world Tag.1.Value=one Tag.2.Key=nic \
             Tag.2.Value=third")
        .make(
            "attach",
            "attachmentId",
            "AttachNetworkInterface NetworkInterfaceId={eni3} InstanceId={i} DeviceIndex=1",
        )
        .make(
            "trunk",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} InterfaceType=trunk",
        )
        .ok("AttachNetworkInterface NetworkInterfaceId={trunk} InstanceId={i} DeviceIndex=2")
        .make("branch", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "assoc",
            "associationId",
            "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch} VlanId=7",
        )
        .make("branch2", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "assoc2",
            "associationId",
            "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch2} VlanId=8",
        )
        .make("branch3", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .make(
            "perm",
            "networkInterfacePermissionId",
            "CreateNetworkInterfacePermission NetworkInterfaceId={eni} \
             AwsAccountId=111111111111 Permission=INSTANCE-ATTACH",
        )
        .make(
            "perm2",
            "networkInterfacePermissionId",
            "CreateNetworkInterfacePermission NetworkInterfaceId={eni2} \
             AwsAccountId=222222222222 Permission=EIP-ASSOCIATE",
        )
        .make("eip2", "allocationId", "AllocateAddress Domain=vpc")
        .make("eip3", "allocationId", "AllocateAddress Domain=vpc")
        .name("eip3-ip", "publicIp")
        .ok("CreateTags ResourceId.1={eip3} Tag.1.Key=world Tag.1.Value=one")
        .make(
            "eipassoc",
            "associationId",
            "AssociateAddress AllocationId={eip3} NetworkInterfaceId={eni3}",
        )
        .make(
            "nat-eni",
            "networkInterfaceId",
            "DescribeNetworkInterfaces Filter.1.Name=requester-managed Filter.1.Value.1=true",
        )
        .ok("CreateTags ResourceId.1={nat-eni} Tag.1.Key=world Tag.1.Value=one")
        .make(
            "nat2",
            "natGatewayId",
            "CreateNatGateway SubnetId={subnet2} ConnectivityType=private",
        )
        .ok("DeleteNatGateway NatGatewayId={nat2}")
        .make("eip3-dns", "publicDnsName", "DescribeNetworkInterfaces NetworkInterfaceId.1={eni3}")
        .make(
            "spare6",
            "associationId",
            "AssociateSubnetCidrBlock SubnetId={spare} Ipv6CidrBlock=3fff:23:0:1fe::/64",
        )
        .make(
            "v4-only",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.3.0/24 AvailabilityZone=us-west-2a",
        )
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=198.51.100.0/24 \
             NetworkInterfaceId={eth0}")
        .later(60)
}

/// One request per action that succeeds.
pub fn happy() -> Vec<Happy> {
    happy! {
        "AllocateAddress Domain=vpc" => "elastic-ip";
        "AssignIpv6Addresses NetworkInterfaceId={eni} Ipv6AddressCount=1";
        "AssignPrivateIpAddresses NetworkInterfaceId={eni} SecondaryPrivateIpAddressCount=1";
        "AssociateSubnetCidrBlock SubnetId={v4-only} Ipv6CidrBlock=3fff:23:0:1ff::/64";
        "AssociateAddress AllocationId={eip2} NetworkInterfaceId={eth0}";
        "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch3} VlanId=20";
        "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=3";
        "CreateNatGateway SubnetId={subnet} AllocationId={eip2}" => "natgateway";
        "CreateNetworkInterface SubnetId={subnet}" => "network-interface";
        "CreateNetworkInterfacePermission NetworkInterfaceId={eni} AwsAccountId=333333333333 \
         Permission=INSTANCE-ATTACH";
        "DeleteNatGateway NatGatewayId={nat}";
        "DeleteNetworkInterface NetworkInterfaceId={eni}";
        "DeleteNetworkInterfacePermission NetworkInterfacePermissionId={perm}";
        "DescribeAddresses";
        "DescribeAddressesAttribute Attribute=domain-name";
        "DescribeInstanceAttribute InstanceId={i} Attribute=instanceType";
        "DescribeInstanceCreditSpecifications";
        "DescribeInstanceStatus";
        "DescribeInstanceTypeOfferings";
        "DescribeInstanceTypes";
        "DescribeInstances";
        "DescribeNatGateways";
        "DescribeNetworkInterfaceAttribute NetworkInterfaceId={eni} Attribute=description";
        "DescribeNetworkInterfacePermissions";
        "DescribeNetworkInterfaces";
        "DescribeTrunkInterfaceAssociations";
        "DetachNetworkInterface AttachmentId={attach}";
        "DisassociateAddress AssociationId={eipassoc}";
        "DisassociateSubnetCidrBlock AssociationId={spare6}";
        "DisassociateTrunkInterface AssociationId={assoc}";
        "GetConsoleOutput InstanceId={i}";
        "GetInstanceMetadataDefaults";
        "ModifyAddressAttribute AllocationId={eip2} DomainName=example.com";
        "ModifyInstanceAttribute InstanceId={i} DisableApiTermination.Value=true";
        "ModifyInstanceMaintenanceOptions InstanceId={i} AutoRecovery=default";
        "ModifyInstanceMetadataDefaults HttpTokens=required";
        "ModifyInstanceMetadataOptions InstanceId={i} HttpTokens=required";
        "ModifyNetworkInterfaceAttribute NetworkInterfaceId={eni} Description.Value=other";
        "ModifyPrivateDnsNameOptions InstanceId={i} EnableResourceNameDnsAAAARecord=true";
        "MonitorInstances InstanceId.1={i2}";
        "RebootInstances InstanceId.1={i}";
        "ReleaseAddress AllocationId={eip2}";
        "ResetAddressAttribute AllocationId={eip2} Attribute=domain-name";
        "ResetInstanceAttribute InstanceId={i2} Attribute=sourceDestCheck";
        "ResetNetworkInterfaceAttribute NetworkInterfaceId={eni} SourceDestCheck=";
        "RunInstances ImageId=ami-1 InstanceType=t3.micro MinCount=1 MaxCount=1 \
         SubnetId={subnet}" => "instance";
        "StartInstances InstanceId.1={i2}";
        "StopInstances InstanceId.1={i}";
        "TerminateInstances InstanceId.1={i}";
        "UnassignIpv6Addresses NetworkInterfaceId={eni3} Ipv6Addresses.1={eni3-ipv6}";
        "UnassignPrivateIpAddresses NetworkInterfaceId={eni} PrivateIpAddress.1=10.0.1.200";
        "UnmonitorInstances InstanceId.1={i}";
    }
}

/// Their filters.
pub const SELECTS: &[Select] = &[
    Select {
        request: "DescribeInstances",
        element: "instanceId",
        pair: ("{i3}", "{i4}"),
        apart: &[
            ("reason", "User~initiated~(2027-01-15~08:01:00~GMT)"),
            ("state-reason-code", "Client.UserInitiatedShutdown"),
            ("state-reason-message", "Client.UserInitiatedShutdown:~User~initiated~shutdown"),
            ("instance-state-code", "80"),
        ],
        alike: &[("tenancy", "dedicated")],
        nothing: &[],
    },
    Select {
        request: "DescribeInstances",
        element: "instanceId",
        pair: ("{i}", "{i2}"),
        apart: &[
            ("availability-zone", "us-west-2a"),
            ("availability-zone-id", "usw2-az1"),
            ("client-token", "i"),
            ("dns-name", "{dns}"),
            ("iam-instance-profile.arn", "arn:aws:iam::123456789012:instance-profile/web"),
            ("iam-instance-profile.id", "AIPAHEDGEROWEXAMPLE00"),
            ("image-id", "ami-1"),
            ("instance-id", "{i}"),
            ("instance-state-code", "16"),
            ("instance-state-name", "running"),
            ("instance-type", "m5.xlarge"),
            ("instance.group-id", "{app}"),
            ("instance.group-name", "app"),
            ("ip-address", "{public}"),
            ("ipv6-address", "3fff:23:0:100::4"),
            ("key-name", "one"),
            ("metadata-options.http-put-response-hop-limit", "2"),
            ("metadata-options.http-tokens", "required"),
            ("monitoring-state", "enabled"),
            ("network-interface.addresses.association.allocation-id", "{eip3}"),
            ("network-interface.addresses.association.association-id", "{eipassoc}"),
            ("network-interface.addresses.association.ip-owner-id", "amazon"),
            ("network-interface.addresses.association.public-dns-name", "{dns}"),
            ("network-interface.addresses.association.public-ip", "{eip3-ip}"),
            ("network-interface.addresses.private-dns-name", "{pdns}"),
            ("network-interface.addresses.private-ip-address", "{ip}"),
            ("network-interface.association.allocation-id", "{eip3}"),
            ("network-interface.association.association-id", "{eipassoc}"),
            ("network-interface.association.ip-owner-id", "amazon"),
            ("network-interface.association.public-dns-name", "{dns}"),
            ("network-interface.association.public-ip", "{public}"),
            ("network-interface.attachment.attachment-id", "{attach}"),
            ("network-interface.attachment.device-index", "1"),
            ("network-interface.attachment.instance-id", "{i}"),
            ("network-interface.availability-zone", "us-west-2a"),
            ("network-interface.description", "three"),
            ("network-interface.group-id", "{app}"),
            ("network-interface.group-name", "app"),
            ("network-interface.ipv4-prefixes.ipv4-prefix", "{eni3-prefix}"),
            ("network-interface.ipv6-address", "{eni3-ipv6}"),
            ("network-interface.ipv6-addresses.ipv6-address", "3fff:23:0:100::4"),
            ("network-interface.ipv6-addresses.is-primary-ipv6", "true"),
            ("network-interface.ipv6-prefixes.ipv6-prefix", "{eni3-prefix6}"),
            ("network-interface.mac-address", "{mac}"),
            ("network-interface.network-interface-id", "{eth0}"),
            ("network-interface.private-dns-name", "{pdns}"),
            ("network-interface.private-ip-address", "{ip}"),
            ("network-interface.public-dns-name", "{dns}"),
            ("network-interface.subnet-id", "{subnet}"),
            ("network-interface.tag-key", "nic"),
            ("network-interface.tag-value", "third"),
            ("network-interface.vpc-id", "{vpc}"),
            ("private-dns-name", "{pdns}"),
            ("private-dns-name-options.enable-resource-name-dns-a-record", "true"),
            ("private-ip-address", "{ip}"),
            ("reservation-id", "{reservation}"),
            ("subnet-id", "{subnet}"),
            ("tenancy", "default"),
            ("vpc-id", "{vpc}"),
        ],
        alike: &[
            ("architecture", "x86_64"),
            ("boot-mode", "legacy-bios"),
            ("capacity-reservation-specification.capacity-reservation-preference", "open"),
            ("current-instance-boot-mode", "legacy-bios"),
            ("ebs-optimized", "false"),
            ("ena-support", "true"),
            ("enclave-options.enabled", "false"),
            ("hibernation-options.configured", "false"),
            ("hypervisor", "xen"),
            ("launch-index", "0"),
            ("launch-time", "2027-01-15T08:01:00.000Z"),
            ("maintenance-options.auto-recovery", "default"),
            ("metadata-options.http-endpoint", "enabled"),
            ("metadata-options.http-protocol-ipv4", "enabled"),
            ("metadata-options.http-protocol-ipv6", "disabled"),
            ("metadata-options.instance-metadata-tags", "disabled"),
            ("metadata-options.state", "applied"),
            ("network-interface.addresses.primary", "true"),
            ("network-interface.attachment.attach-time", "2027-01-15T08:01:00.000Z"),
            ("network-interface.attachment.delete-on-termination", "true"),
            ("network-interface.attachment.instance-owner-id", "123456789012"),
            ("network-interface.attachment.network-card-index", "0"),
            ("network-interface.attachment.status", "attached"),
            ("network-interface.deny-all-igw-traffic", "false"),
            ("network-interface.ipv6-native", "false"),
            ("network-interface.operator.managed", "false"),
            ("network-interface.owner-id", "123456789012"),
            ("network-interface.requester-managed", "false"),
            ("network-interface.source-dest-check", "true"),
            ("network-interface.status", "in-use"),
            ("network-performance-options.bandwidth-weighting", "default"),
            ("operator.managed", "false"),
            ("owner-id", "123456789012"),
            ("platform-details", "Linux/UNIX"),
            ("private-dns-name-options.enable-resource-name-dns-aaaa-record", "false"),
            ("private-dns-name-options.hostname-type", "ip-name"),
            ("root-device-type", "ebs"),
            ("source-dest-check", "true"),
            ("usage-operation", "RunInstances"),
            ("usage-operation-update-time", "2027-01-15T08:01:00.000Z"),
            ("virtualization-type", "hvm"),
        ],
        nothing: &[
            "affinity",
            "block-device-mapping.attach-time",
            "block-device-mapping.delete-on-termination",
            "block-device-mapping.device-name",
            "block-device-mapping.status",
            "block-device-mapping.volume-id",
            "capacity-reservation-id",
            "capacity-reservation-specification.capacity-reservation-target.\
             capacity-reservation-id",
            "capacity-reservation-specification.capacity-reservation-target.\
             capacity-reservation-resource-group-arn",
            "host-id",
            "instance-lifecycle",
            "kernel-id",
            "network-interface.addresses.association.carrier-ip",
            "network-interface.addresses.association.customer-owned-ip",
            "network-interface.association.carrier-ip",
            "network-interface.association.customer-owned-ip",
            "network-interface.operator.principal",
            "network-interface.outpost-arn",
            "network-interface.requester-id",
            "operator.principal",
            "outpost-arn",
            "placement-group-name",
            "placement-partition-number",
            "platform",
            "product-code",
            "product-code.type",
            "ramdisk-id",
            "requester-id",
            "root-device-name",
            "spot-instance-request-id",
            "tpm-support",
        ],
    },
    Select {
        request: "DescribeNetworkInterfaces",
        element: "networkInterfaceId",
        pair: ("{eni3}", "{eni2}"),
        apart: &[
            ("addresses.association.owner-id", "123456789012"),
            ("addresses.association.public-ip", "{eip3-ip}"),
            ("addresses.private-ip-address", "{eni3-ip}"),
            ("association.allocation-id", "{eip3}"),
            ("association.association-id", "{eipassoc}"),
            ("association.ip-owner-id", "123456789012"),
            ("association.public-dns-name", "{eip3-dns}"),
            ("association.public-ip", "{eip3-ip}"),
            ("attachment.attach-time", "2027-01-15T08:01:00.000Z"),
            ("attachment.attachment-id", "{attach}"),
            ("attachment.delete-on-termination", "false"),
            ("attachment.device-index", "1"),
            ("attachment.instance-id", "{i}"),
            ("attachment.instance-owner-id", "123456789012"),
            ("attachment.status", "attached"),
            ("availability-zone", "us-west-2a"),
            ("availability-zone-id", "usw2-az1"),
            ("description", "three"),
            ("group-id", "{app}"),
            ("ipv6-addresses.ipv6-address", "{eni3-ipv6}"),
            ("mac-address", "{eni3-mac}"),
            ("network-interface-id", "{eni3}"),
            ("private-dns-name", "{eni3-dns}"),
            ("private-ip-address", "{eni3-ip}"),
            ("status", "in-use"),
            ("subnet-id", "{subnet}"),
            ("vpc-id", "{vpc}"),
        ],
        alike: &[
            ("addresses.primary", "true"),
            ("interface-type", "interface"),
            ("operator.managed", "false"),
            ("owner-id", "123456789012"),
            ("requester-managed", "false"),
            ("source-dest-check", "true"),
        ],
        nothing: &["operator.principal"],
    },
    Select {
        request: "DescribeNetworkInterfaces",
        element: "networkInterfaceId",
        pair: ("{nat-eni}", "{eni2}"),
        apart: &[("requester-id", "amazon-aws"), ("interface-type", "nat_gateway")],
        alike: &[],
        nothing: &[],
    },
    Select {
        request: "DescribeAddresses",
        element: "allocationId",
        pair: ("{eip3}", "{eip2}"),
        apart: &[
            ("allocation-id", "{eip3}"),
            ("association-id", "{eipassoc}"),
            ("instance-id", "{i}"),
            ("network-interface-id", "{eni3}"),
            ("network-interface-owner-id", "123456789012"),
            ("private-ip-address", "{eni3-ip}"),
            ("public-ip", "{eip3-ip}"),
        ],
        alike: &[("network-border-group", "us-west-2")],
        nothing: &[],
    },
    Select {
        request: "DescribeInstanceStatus IncludeAllInstances=true",
        element: "instanceId",
        pair: ("{i}", "{i2}"),
        apart: &[
            ("availability-zone", "us-west-2a"),
            ("availability-zone-id", "usw2-az1"),
            ("instance-state-code", "16"),
            ("instance-state-name", "running"),
            ("instance-status.reachability", "passed"),
            ("instance-status.status", "ok"),
            ("system-status.reachability", "passed"),
            ("system-status.status", "ok"),
        ],
        alike: &[("operator.managed", "false")],
        nothing: &[
            "attached-ebs-status.status",
            "event.code",
            "event.description",
            "event.instance-event-id",
            "event.not-after",
            "event.not-before",
            "event.not-before-deadline",
            "operator.principal",
        ],
    },
    Select {
        request: "DescribeInstanceCreditSpecifications",
        element: "instanceId",
        pair: ("{i3}", "{i4}"),
        apart: &[("instance-id", "{i3}")],
        alike: &[],
        nothing: &[],
    },
    Select {
        request: "DescribeInstanceTypeOfferings LocationType=availability-zone",
        element: "instanceType",
        pair: ("m5.large", "c5.large"),
        apart: &[("instance-type", "m5.large")],
        alike: &[("location", "us-west-2a")],
        nothing: &[],
    },
    Select {
        request: "DescribeInstanceTypes",
        element: "instanceType",
        pair: ("t3.micro", "m5.large"),
        apart: &[
            ("burstable-performance-supported", "true"),
            ("instance-type", "t3.micro"),
            ("memory-info.size-in-mib", "1024"),
            ("network-info.ipv4-addresses-per-interface", "2"),
            ("network-info.ipv6-addresses-per-interface", "2"),
            ("network-info.maximum-network-interfaces", "2"),
        ],
        alike: &[
            ("bare-metal", "false"),
            ("hypervisor", "nitro"),
            ("network-info.efa-supported", "false"),
            ("network-info.ipv6-supported", "true"),
            ("network-info.maximum-network-cards", "1"),
            ("processor-info.supported-architecture", "x86_64"),
            ("supported-virtualization-type", "hvm"),
            ("vcpu-info.default-vcpus", "2"),
        ],
        nothing: &[],
    },
    Select {
        request: "DescribeNatGateways",
        element: "natGatewayId",
        pair: ("{nat}", "{nat2}"),
        apart: &[
            ("nat-gateway-id", "{nat}"),
            ("state", "available"),
            ("subnet-id", "{subnet}"),
            ("vpc-id", "{vpc}"),
        ],
        alike: &[],
        nothing: &[],
    },
    Select {
        request: "DescribeNetworkInterfacePermissions",
        element: "networkInterfacePermissionId",
        pair: ("{perm}", "{perm2}"),
        apart: &[
            ("network-interface-permission.network-interface-permission-id", "{perm}"),
            ("network-interface-permission.network-interface-id", "{eni}"),
            ("network-interface-permission.aws-account-id", "111111111111"),
            ("network-interface-permission.permission", "INSTANCE-ATTACH"),
        ],
        alike: &[],
        nothing: &["network-interface-permission.aws-service"],
    },
    Select {
        request: "DescribeTrunkInterfaceAssociations",
        element: "associationId",
        pair: ("{assoc}", "{assoc2}"),
        apart: &[],
        alike: &[("interface-protocol", "VLAN")],
        nothing: &["gre-key"],
    },
];
