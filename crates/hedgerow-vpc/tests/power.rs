//! Stopping and starting an instance, as packets see it. Needs root.

mod running;

use std::net::{SocketAddr, TcpListener, TcpStream};

use running::{TIMEOUT, Vpc};

#[test]
fn a_stopped_instance_answers_nobody_and_comes_back_as_it_was() {
    let vpc = Vpc::start(&[]);
    let id = vpc.ask("CreateVpc&CidrBlock=10.0.0.0/16", "vpcId");
    let subnet = vpc.ask(&format!("CreateSubnet&VpcId={id}&CidrBlock=10.0.1.0/24"), "subnetId");
    let request = format!("CreateSecurityGroup&VpcId={id}&GroupName=all&GroupDescription=x");
    let group = vpc.ask(&request, "groupId");
    vpc.ask(
        &format!(
            "AuthorizeSecurityGroupIngress&GroupId={group}&IpPermissions.1.IpProtocol=-1\
             &IpPermissions.1.Groups.1.GroupId={group}"
        ),
        "return",
    );
    let run = |address: &str| {
        let request = format!(
            "RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
             &SubnetId={subnet}&SecurityGroupId.1={group}&PrivateIpAddress={address}"
        );
        vpc.ask(&request, "instanceId")
    };
    let (client, server) = (run("10.0.1.10"), run("10.0.1.20"));
    let target = SocketAddr::from(([10, 0, 1, 20], 80));
    let listen = || vpc.inside(&server, || TcpListener::bind(target).expect("listen"));
    let connects = || vpc.inside(&client, || TcpStream::connect_timeout(&target, TIMEOUT).is_ok());

    let listener = listen();
    assert!(connects(), "running");
    vpc.ask(&format!("StopInstances&InstanceId.1={server}"), "code");
    assert!(!connects(), "its process lives on in this test, and has no network any more");
    assert!(!vpc.namespace(&server).exists(), "no namespace while stopped");
    drop(listener);
    // Changed while stopped: it holds once the instance is back.
    let find = format!(
        "DescribeNetworkInterfaces&Filter.1.Name=attachment.instance-id&Filter.1.Value.1={server}"
    );
    let eni = vpc.ask(&find, "networkInterfaceId");
    assert_eq!(vpc.ask(&find, "privateIpAddress"), "10.0.1.20", "the address stays");
    let default = vpc.ask(
        &format!(
            "DescribeSecurityGroups&Filter.1.Name=vpc-id&Filter.1.Value.1={id}\
             &Filter.2.Name=group-name&Filter.2.Value.1=default"
        ),
        "groupId",
    );
    let set_group = |group: &str| {
        let modify = format!("ModifyNetworkInterfaceAttribute&NetworkInterfaceId={eni}");
        vpc.ask(&format!("{modify}&SecurityGroupId.1={group}"), "return");
    };
    set_group(&default);

    vpc.ask(&format!("StartInstances&InstanceId.1={server}"), "code");
    let listener = listen();
    assert!(!connects(), "running again, in a group that does not let the client in");
    set_group(&group);
    assert!(connects(), "as before it was stopped");
    drop(listener);
}
