//! Trunks and branches, as the controller of pod interfaces uses them.

use hedgerow_vpc::effect::{Attachment, Effect};

use crate::scenario::Scenario;

const ASSOCIATE: &str =
    "AssociateTrunkInterface TrunkInterfaceId={trunk} BranchInterfaceId={branch}";
const BRANCH: &str = "CreateNetworkInterface SubnetId={subnet} SecurityGroupId.1={app}";

fn with_trunk(kind: &str) -> Scenario {
    Scenario::with_instance(kind)
        .make(
            "trunk",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} InterfaceType=trunk",
        )
        .make(
            "attachment",
            "attachmentId",
            "AttachNetworkInterface NetworkInterfaceId={trunk} InstanceId={i} DeviceIndex=2",
        )
        .ok("ModifyNetworkInterfaceAttribute NetworkInterfaceId={trunk} \
             Attachment.AttachmentId={attachment} Attachment.DeleteOnTermination=true")
        .make("branch", "networkInterfaceId", BRANCH)
}

fn with_branch() -> Scenario {
    with_trunk("m5.large").make("association", "associationId", &format!("{ASSOCIATE} VlanId=7"))
}

#[test]
fn a_branch_is_in_use_and_not_the_instances() {
    with_branch()
        .interface(|view| {
            assert!(matches!(view.attachment, Some(Attachment::Trunk { vlan: 7, .. })));
        })
        .shows(
            "DescribeNetworkInterfaces Filter.1.Name=interface-type Filter.1.Value.1=branch \
             Filter.2.Name=status Filter.2.Value.1=in-use",
            "networkInterfaceId",
            "{branch}",
        )
        .shows("DescribeInstances InstanceId.1={i}", "networkInterfaceId", "{eth0} {trunk}")
        .shows("DescribeInstances InstanceId.1={i}", "interfaceType", "interface trunk")
        .shows("DescribeTrunkInterfaceAssociations", "vlanId", "7")
        .fails(
            "PrivateIpAddressLimitExceeded",
            "AssignPrivateIpAddresses NetworkInterfaceId={branch} SecondaryPrivateIpAddressCount=1",
        );
}

#[test]
fn ways_to_end_an_association() {
    with_branch()
        .ok("DisassociateTrunkInterface AssociationId={association}")
        .interface(|view| assert_eq!(view.attachment, None))
        .shows("DescribeNetworkInterfaces NetworkInterfaceId.1={branch}", "status", "available")
        .fails(
            "InvalidAssociationID.NotFound",
            "DisassociateTrunkInterface AssociationId={association}",
        );
    with_branch()
        .ok("DeleteNetworkInterface NetworkInterfaceId={branch}")
        .effects(|effects| {
            assert!(matches!(effects, [Effect::PutInterface(_), Effect::RemoveInterface(_)]));
        })
        .shows("DescribeTrunkInterfaceAssociations", "associationId", "")
        .make("branch", "networkInterfaceId", BRANCH)
        .ok(&format!("{ASSOCIATE} VlanId=7"));
    with_branch()
        .ok("TerminateInstances InstanceId.1={i}")
        .shows("DescribeNetworkInterfaces", "networkInterfaceId", "{branch}")
        .shows("DescribeNetworkInterfaces", "status", "available")
        .shows("DescribeTrunkInterfaceAssociations", "associationId", "");
}

#[test]
fn impossible_associations() {
    with_branch()
        .fails("InvalidNetworkInterface.InUse", &format!("{ASSOCIATE} VlanId=8"))
        .make("branch", "networkInterfaceId", BRANCH)
        .fails("InvalidParameterValue", &format!("{ASSOCIATE} VlanId=7"))
        .fails("InvalidParameterValue", &format!("{ASSOCIATE} VlanId=0"))
        .fails("InvalidParameterValue", &format!("{ASSOCIATE} VlanId=4095"))
        .fails("MissingParameter", ASSOCIATE)
        .fails(
            "InvalidNetworkInterfaceID.NotFound",
            "AssociateTrunkInterface TrunkInterfaceId=eni-1 BranchInterfaceId={branch} VlanId=8",
        )
        .fails(
            "InvalidParameterValue",
            "AssociateTrunkInterface TrunkInterfaceId={eth0} BranchInterfaceId={branch} VlanId=8",
        )
        .fails("OperationNotPermitted", "DetachNetworkInterface AttachmentId={attachment}");
}

#[test]
fn the_types_branch_limit() {
    let mut scenario = with_branch();
    for vlan in 20..28 {
        scenario = scenario
            .make("branch", "networkInterfaceId", BRANCH)
            .ok(&format!("{ASSOCIATE} VlanId={vlan}"));
    }
    scenario
        .make("branch", "networkInterfaceId", BRANCH)
        .fails("AttachmentLimitExceeded", &format!("{ASSOCIATE} VlanId=99"));
}

#[test]
fn types_without_trunks() {
    Scenario::with_instance("t3.large")
        .make(
            "trunk",
            "networkInterfaceId",
            "CreateNetworkInterface SubnetId={subnet} InterfaceType=trunk",
        )
        .fails(
            "UnsupportedOperation",
            "AttachNetworkInterface NetworkInterfaceId={trunk} InstanceId={i} DeviceIndex=1",
        );
}
