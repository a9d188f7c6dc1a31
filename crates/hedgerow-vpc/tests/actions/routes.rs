//! Route tables: which one a subnet has, where its routes lead, what the fabric is told.

use hedgerow_vpc::effect::{Effect, RouteTableView, RouteTarget};

use hedgerow_vpc::state::Quotas;

use crate::scenario::Scenario;

/// `{vpc}` with `{subnet}`, its main table `{main}` and an attached internet gateway `{igw}`.
fn with_gateway() -> Scenario {
    Scenario::with_subnet()
        .make(
            "main",
            "routeTableId",
            "DescribeRouteTables Filter.1.Name=vpc-id Filter.1.Value.1={vpc}",
        )
        .name("main_assoc", "routeTableAssociationId")
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
}

/// The last table that the effects put.
fn table(effects: &[Effect]) -> &RouteTableView {
    let table = effects.iter().rev().find_map(|effect| match effect {
        Effect::PutRouteTable { table, .. } => Some(table),
        _ => None,
    });
    table.unwrap_or_else(|| panic!("no table in {effects:?}"))
}

/// Where the last table that the effects put leads for this destination.
fn leads(effects: &[Effect], to: &str) -> RouteTarget {
    let route = table(effects).routes.iter().find(|(prefix, _)| prefix.to_string() == to);
    route.unwrap_or_else(|| panic!("no {to} in {effects:?}")).1.clone()
}

#[test]
fn a_vpc_has_a_main_table_with_its_local_route() {
    Scenario::empty()
        .make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16")
        .effects(|effects| {
            assert_eq!(table(effects).routes.len(), 1);
            assert_eq!(leads(effects, "10.0.0.0/16"), RouteTarget::Local);
        })
        .shows("DescribeRouteTables Filter.1.Name=vpc-id Filter.1.Value.1={vpc}", "main", "true")
        .shows(
            "DescribeRouteTables Filter.1.Name=vpc-id Filter.1.Value.1={vpc}",
            "gatewayId",
            "local",
        )
        .name("main", "routeTableId")
        .name("assoc", "routeTableAssociationId")
        .fails("DependencyViolation", "DeleteRouteTable RouteTableId={main}")
        .fails("InvalidParameterValue", "DisassociateRouteTable AssociationId={assoc}")
        .fails(
            "InvalidParameterValue",
            "DeleteRoute RouteTableId={main} DestinationCidrBlock=10.0.0.0/16",
        )
        .ok("DeleteVpc VpcId={vpc}")
        .fails("InvalidRouteTableID.NotFound", "DescribeRouteTables RouteTableId.1={main}");
}

#[test]
fn routes_are_made_replaced_and_deleted() {
    let create = "CreateRoute RouteTableId={main} DestinationCidrBlock";
    with_gateway()
        .ok(&format!("{create}=0.0.0.0/0 GatewayId={{igw}}"))
        .effects(|effects| {
            assert!(matches!(leads(effects, "0.0.0.0/0"), RouteTarget::InternetGateway(_)));
        })
        .ok(&format!("{create}=0.0.0.0/0 GatewayId={{igw}}"))
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .fails("RouteAlreadyExists", &format!("{create}=0.0.0.0/0 NetworkInterfaceId={{eni}}"))
        .says(
            "The route identified by 0.0.0.0/0 already exists.",
            &format!("{create}=0.0.0.0/0 NetworkInterfaceId={{eni}}"),
        )
        .fails("RouteAlreadyExists", &format!("{create}=10.0.0.0/16 NetworkInterfaceId={{eni}}"))
        .fails("InvalidParameterValue", &format!("{create}=10.0.9.0/24 GatewayId={{igw}}"))
        .fails("InvalidParameterValue", &format!("{create}=169.254.168.0/24 GatewayId={{igw}}"))
        .fails("InvalidParameterValue", &format!("{create}=banana GatewayId={{igw}}"))
        .fails("InvalidGatewayID.NotFound", &format!("{create}=1.0.0.0/8 GatewayId=igw-1"))
        .fails("InvalidNatGatewayID.NotFound", &format!("{create}=1.0.0.0/8 NatGatewayId=nat-1"))
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            &format!("{create}=1.0.0.0/8 NetworkInterfaceId=eni-1"),
        )
        .fails("InvalidInstanceID.NotFound", &format!("{create}=1.0.0.0/8 InstanceId=i-1"))
        .fails("MissingParameter", &format!("{create}=1.0.0.0/8"))
        .fails("MissingParameter", "CreateRoute RouteTableId={main} GatewayId={igw}")
        .fails(
            "InvalidParameterCombination",
            &format!("{create}=1.0.0.0/8 GatewayId={{igw}} NetworkInterfaceId={{eni}}"),
        )
        .fails(
            "InvalidRouteTableID.NotFound",
            "CreateRoute RouteTableId=rtb-1 DestinationCidrBlock=1.0.0.0/8 GatewayId={igw}",
        )
        .fails("DryRunOperation", &format!("{create}=1.0.0.0/8 GatewayId={{igw}} DryRun=true"))
        .fails(
            "InvalidParameterValue",
            "ReplaceRoute RouteTableId={main} DestinationCidrBlock=1.0.0.0/8 GatewayId={igw}",
        )
        .ok("ReplaceRoute RouteTableId={main} DestinationCidrBlock=0.0.0.0/0 NetworkInterfaceId={eni}")
        .effects(|effects| assert_eq!(leads(effects, "0.0.0.0/0"), RouteTarget::Blackhole))
        .ok("DeleteRoute RouteTableId={main} DestinationCidrBlock=0.0.0.0/0")
        .effects(|effects| assert_eq!(table(effects).routes.len(), 1))
        .fails(
            "InvalidRoute.NotFound",
            "DeleteRoute RouteTableId={main} DestinationCidrBlock=0.0.0.0/0",
        );
}

#[test]
fn the_local_route_can_lead_to_an_interface_and_back() {
    let replace = "ReplaceRoute RouteTableId={main} DestinationCidrBlock=10.0.0.0/16";
    with_gateway()
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok(&format!("{replace} NetworkInterfaceId={{eni}}"))
        .fails("InvalidParameterValue", &format!("{replace} GatewayId={{igw}}"))
        .ok(&format!("{replace} LocalTarget=true"))
        .effects(|effects| assert_eq!(leads(effects, "10.0.0.0/16"), RouteTarget::Local));
}

#[test]
fn a_route_turns_black_when_its_target_goes_and_back() {
    let route = "CreateRoute RouteTableId={main} DestinationCidrBlock";
    let eni = "CreateNetworkInterface SubnetId={subnet}";
    let state = "DescribeRouteTables RouteTableId.1={main}";
    let interface = |effects: &[Effect]| leads(effects, "1.0.0.0/8");
    with_gateway()
        .ok("RunInstances ImageId=ami-1 InstanceType=m5.large MinCount=1 MaxCount=1 SubnetId={subnet}")
        .name("i", "instanceId")
        .make("eni", "networkInterfaceId", eni)
        .ok(&format!("{route}=1.0.0.0/8 NetworkInterfaceId={{eni}}"))
        .effects(|effects| assert_eq!(interface(effects), RouteTarget::Blackhole))
        .make(
            "attachment",
            "attachmentId",
            "AttachNetworkInterface NetworkInterfaceId={eni} InstanceId={i} DeviceIndex=1",
        )
        .effects(|effects| assert!(matches!(interface(effects), RouteTarget::Interface(_))))
        .shows(state, "instanceId", "{i}")
        .ok("StopInstances InstanceId.1={i}")
        .effects(|effects| assert_eq!(interface(effects), RouteTarget::Blackhole))
        .shows(state, "state", "associated active blackhole")
        .ok("StartInstances InstanceId.1={i}")
        .effects(|effects| assert!(matches!(interface(effects), RouteTarget::Interface(_))))
        .ok("DetachNetworkInterface AttachmentId={attachment}")
        .effects(|effects| assert_eq!(interface(effects), RouteTarget::Blackhole))
        .ok("DeleteNetworkInterface NetworkInterfaceId={eni}")
        .effects(|effects| assert_eq!(interface(effects), RouteTarget::Blackhole))
        .ok(&format!("{route}=0.0.0.0/0 GatewayId={{igw}}"))
        .ok("DetachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .effects(|effects| assert_eq!(leads(effects, "0.0.0.0/0"), RouteTarget::Blackhole))
        .shows(
            "DescribeRouteTables Filter.1.Name=route.state Filter.1.Value.1=blackhole",
            "routeTableId",
            "{main} {main}",
        );
}

#[test]
fn subnets_have_the_main_table_or_their_own() {
    let own = |effects: &[Effect]| match effects {
        [Effect::PutSubnet(view)] => view.route_table,
        other => panic!("not one subnet in {other:?}"),
    };
    let (mut first, mut second) = (0, 0);
    with_gateway()
        .make("own", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .effects(|effects| first = table(effects).key)
        .fails(
            "InvalidSubnetID.NotFound",
            "AssociateRouteTable RouteTableId={own} SubnetId=subnet-1",
        )
        .make("assoc", "associationId", "AssociateRouteTable RouteTableId={own} SubnetId={subnet}")
        .effects(|effects| assert_eq!(own(effects), first))
        .fails(
            "Resource.AlreadyAssociated",
            "AssociateRouteTable RouteTableId={main} SubnetId={subnet}",
        )
        .fails("DependencyViolation", "DeleteRouteTable RouteTableId={own}")
        .make("third", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .effects(|effects| second = table(effects).key)
        .make(
            "assoc2",
            "newAssociationId",
            "ReplaceRouteTableAssociation AssociationId={assoc} RouteTableId={third}",
        )
        .effects(|effects| assert_eq!(own(effects), second))
        .fails("InvalidAssociationID.NotFound", "DisassociateRouteTable AssociationId={assoc}")
        .shows(
            "DescribeRouteTables Filter.1.Name=association.subnet-id Filter.1.Value.1={subnet}",
            "vpcId",
            "{vpc}",
        )
        .ok("DisassociateRouteTable AssociationId={assoc2}")
        .effects(|effects| assert!(own(effects) != second))
        .ok("ReplaceRouteTableAssociation AssociationId={main_assoc} RouteTableId={own}")
        .effects(|effects| assert_eq!(own(effects), first, "the new main table is every subnet's"))
        .ok("DeleteRouteTable RouteTableId={main}")
        .effects(|effects| assert!(matches!(effects, [Effect::RemoveRouteTable { .. }])));
}

#[test]
fn networks_are_not_mixed() {
    with_gateway()
        .make("other", "vpcId", "CreateVpc CidrBlock=10.9.0.0/16")
        .make("table", "routeTableId", "CreateRouteTable VpcId={other}")
        .fails(
            "InvalidParameterValue",
            "CreateRoute RouteTableId={table} DestinationCidrBlock=0.0.0.0/0 GatewayId={igw}",
        )
        .fails(
            "InvalidParameterValue",
            "AssociateRouteTable RouteTableId={table} SubnetId={subnet}",
        )
        .fails(
            "InvalidParameterValue",
            "ReplaceRouteTableAssociation AssociationId={main_assoc} RouteTableId={table}",
        )
        .fails("DependencyViolation", "DeleteVpc VpcId={other}")
        .ok("DeleteRouteTable RouteTableId={table}")
        .ok("DeleteVpc VpcId={other}");
}

#[test]
fn egress_only_gateways_take_ipv6_only() {
    let create = "CreateRoute RouteTableId={main} EgressOnlyInternetGatewayId={eigw}";
    with_gateway()
        .make("eigw", "egressOnlyInternetGatewayId", "CreateEgressOnlyInternetGateway VpcId={vpc}")
        .effects(|effects| assert!(matches!(effects, [Effect::PutEgressGateway { .. }])))
        .fails("InvalidParameterValue", &format!("{create} DestinationCidrBlock=0.0.0.0/0"))
        .ok(&format!("{create} DestinationIpv6CidrBlock=::/0"))
        .effects(|effects| {
            let (destination, target) = table(effects).routes.last().expect("the new route");
            assert_eq!(destination.to_string(), "::/0");
            assert!(matches!(target, RouteTarget::EgressOnlyInternetGateway(_)), "{target:?}");
        })
        .shows("DescribeRouteTables RouteTableId.1={main}", "destinationIpv6CidrBlock", "::/0")
        .fails("DependencyViolation", "DeleteVpc VpcId={vpc}")
        .ok("DeleteEgressOnlyInternetGateway EgressOnlyInternetGatewayId={eigw}")
        .effects(|effects| {
            let (_, target) = table(effects).routes.last().expect("the route");
            assert_eq!(*target, RouteTarget::Blackhole);
            assert!(matches!(effects.last(), Some(Effect::RemoveEgressGateway { .. })));
        })
        .shows("DescribeEgressOnlyInternetGateways", "vpcId", "")
        .shows("DescribeRouteTables RouteTableId.1={main}", "state", "associated active blackhole")
        .fails(
            "InvalidEgressOnlyInternetGatewayId.NotFound",
            "DeleteEgressOnlyInternetGateway EgressOnlyInternetGatewayId={eigw}",
        );
}

#[test]
fn tables_by_tag_filter_and_page() {
    let mut scenario = with_gateway();
    for _ in 0..5 {
        scenario = scenario.ok("CreateRouteTable VpcId={vpc} \
             TagSpecification.1.ResourceType=route-table \
             TagSpecification.1.Tag.1.Key=a TagSpecification.1.Tag.1.Value=b");
    }
    let tagged = "DescribeRouteTables Filter.1.Name=tag:a Filter.1.Value.1=b";
    scenario
        .shows(tagged, "vpcId", "{vpc} {vpc} {vpc} {vpc} {vpc}")
        .shows(
            &format!("{tagged} Filter.2.Name=association.main Filter.2.Value.1=true"),
            "vpcId",
            "",
        )
        .make("token", "nextToken", "DescribeRouteTables MaxResults=5")
        // Five with the tag, the VPC's main one and the default VPC's.
        .shows(
            "DescribeRouteTables MaxResults=5 NextToken={token} Filter.1.Name=owner-id \
                Filter.1.Value.1=123456789012",
            "ownerId",
            "123456789012 123456789012",
        )
        .fails("InvalidParameterValue", "DescribeRouteTables Filter.1.Name=x Filter.1.Value.1=y");
}

#[test]
fn a_prefix_list_is_as_many_routes_as_it_has_blocks() {
    let route = "RouteTableId={rtb} DestinationPrefixListId={pl}";
    let modify = "ModifyManagedPrefixList PrefixListId={pl}";
    let blocks = |effects: &[Effect]| -> Vec<String> {
        let [Effect::PutRouteTable { table, .. }] = effects else { panic!("{effects:?}") };
        let via = table.routes.iter().filter(|(_, to)| *to != RouteTarget::Local);
        via.map(|(to, target)| match target {
            RouteTarget::InternetGateway(_) => to.to_string(),
            other => format!("{to} {other:?}"),
        })
        .collect()
    };
    let scenario = Scenario::with_subnet()
        .make("igw", "internetGatewayId", "CreateInternetGateway")
        .ok("AttachInternetGateway InternetGatewayId={igw} VpcId={vpc}")
        .make("eigw", "egressOnlyInternetGatewayId", "CreateEgressOnlyInternetGateway VpcId={vpc}")
        .make("rtb", "routeTableId", "CreateRouteTable VpcId={vpc}")
        .make(
            "pl",
            "prefixListId",
            "CreateManagedPrefixList PrefixListName=a AddressFamily=IPv4 MaxEntries=3 \
             Entry.1.Cidr=192.0.2.0/24 Entry.2.Cidr=198.51.100.0/24",
        )
        .fails(
            "InvalidPrefixListID.NotFound",
            "CreateRoute RouteTableId={rtb} \
             DestinationPrefixListId=pl-1 GatewayId={igw}",
        )
        .fails(
            "InvalidParameterCombination",
            &format!("CreateRoute {route} DestinationCidrBlock=0.0.0.0/0 GatewayId={{igw}}"),
        )
        .fails(
            "InvalidParameterValue",
            &format!("CreateRoute {route} EgressOnlyInternetGatewayId={{eigw}}"),
        )
        .fails("InvalidParameterValue", &format!("CreateRoute {route} GatewayId=local"))
        .ok(&format!("CreateRoute {route} GatewayId={{igw}}"))
        .effects(|effects| assert_eq!(blocks(effects), ["192.0.2.0/24", "198.51.100.0/24"]))
        .ok(&format!("CreateRoute {route} GatewayId={{igw}}"))
        .shows("DescribeRouteTables RouteTableId.1={rtb}", "destinationPrefixListId", "{pl}")
        .shows("GetManagedPrefixListAssociations PrefixListId={pl}", "resourceId", "{rtb}")
        .fails("DependencyViolation", "DeleteManagedPrefixList PrefixListId={pl}")
        .ok(&format!("{modify} CurrentVersion=1 AddEntry.1.Cidr=203.0.113.0/24"))
        .effects(|effects| assert_eq!(blocks(effects).len(), 3, "a version reaches packets"));
    // A route of its own goes before the list's.
    let scenario = scenario
        .make("eni", "networkInterfaceId", "CreateNetworkInterface SubnetId={subnet}")
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=192.0.2.0/24 \
             NetworkInterfaceId={eni}")
        .effects(|effects| {
            let blocks = blocks(effects);
            let want = ["192.0.2.0/24 Blackhole", "198.51.100.0/24", "203.0.113.0/24"];
            assert_eq!(blocks, want);
        })
        .quotas(Quotas { routes_per_table: 5, ..Quotas::default() })
        .ok("CreateRoute RouteTableId={rtb} DestinationCidrBlock=0.0.0.0/0 GatewayId={igw}")
        .fails(
            "RouteLimitExceeded",
            "CreateRoute RouteTableId={rtb} DestinationCidrBlock=203.0.113.7/32 GatewayId={igw}",
        )
        .ok(&format!("{modify} MaxEntries=4"))
        .ok("DescribeManagedPrefixLists PrefixListId.1={pl}");
    assert!(scenario.body().contains("do not support the new maximum size: rtb-"));
    scenario
        .ok(&format!("ReplaceRoute {route} NetworkInterfaceId={{eni}}"))
        .ok(&format!("DeleteRoute {route}"))
        .fails("InvalidRoute.NotFound", &format!("DeleteRoute {route}"))
        .ok("DeleteManagedPrefixList PrefixListId={pl}");
}
