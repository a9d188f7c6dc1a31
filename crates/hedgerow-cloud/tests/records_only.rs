//! [`Cloud`] over the SDK against the embedded VPC's real binary, in `--records-only` mode.
//!
//! `HEDGEROW_VPC` names the binary; otherwise it is looked for beside the test's own directory.
//! Without it the test says so and passes: this crate cannot build it (nothing that ships imports
//! hedgerow-vpc), `make test` builds it first and sets `HEDGEROW_VPC`.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hedgerow_cloud::{Cloud, CreateInterface, Ec2, Interface, InterfaceKind, InterfaceQuery, Tags};

/// Ends the VPC however the test ends.
struct Vpc(Child);

impl Drop for Vpc {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HEDGEROW_VPC") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a path");
    me.ancestors().nth(2).expect("target/debug/deps/test").join("hedgerow-vpc")
}

fn start(binary: PathBuf) -> (Vpc, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(&binary)
        .args(["run", "--records-only", "--name", &format!("cloud{}", std::process::id())])
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("starting {}: {e}; run `cargo build --workspace --bins`", binary.display())
        });
    let vpc = Vpc(child);
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{} does not listen", binary.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    (vpc, port)
}

/// The SDK itself makes what [`Cloud`] has no call for: VPC, subnet, group, instance.
struct World {
    subnet: String,
    group: String,
    instance: String,
}

async fn world(port: u16) -> World {
    use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region};
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_ec2::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(Region::new("us-west-2"))
        .credentials_provider(Credentials::new("x", "x", None, None, "test"))
        .endpoint_url(format!("http://127.0.0.1:{port}"))
        .build();
    let ec2 = aws_sdk_ec2::Client::from_conf(config);
    let vpc = ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap();
    let vpc = vpc.vpc_id.unwrap();
    let subnet = ec2.create_subnet().vpc_id(&vpc).cidr_block("10.9.1.0/24").send().await.unwrap();
    let subnet = subnet.subnet.unwrap().subnet_id.unwrap();
    let group = ec2.create_security_group().group_name("g").description("g").vpc_id(&vpc);
    let group = group.send().await.unwrap().group_id.unwrap();
    let run = ec2
        .run_instances()
        .image_id("ami-1")
        .instance_type(aws_sdk_ec2::types::InstanceType::M5Large)
        .min_count(1)
        .max_count(1)
        .subnet_id(&subnet)
        .security_group_ids(&group);
    let instance = run.send().await.unwrap().instances.unwrap().remove(0).instance_id.unwrap();
    World { subnet, group, instance }
}

fn request(world: &World, kind: InterfaceKind, token: &str) -> CreateInterface {
    CreateInterface {
        subnet: world.subnet.clone(),
        groups: vec![world.group.as_str().into()],
        description: token.to_owned(),
        kind,
        tags: Tags::from([("eks:eni:owner".into(), "test".into()), ("n".into(), token.into())]),
        secondary_addresses: 0,
        client_token: format!("token-{token}"),
    }
}

#[test]
fn everything_that_controller_and_agent_ask_of_ec2() {
    let (_vpc, port) = start(binary());
    // SAFETY: this is the only test of this process and no other thread runs yet.
    unsafe {
        std::env::set_var("AWS_ENDPOINT_URL_EC2", format!("http://127.0.0.1:{port}"));
        std::env::set_var("AWS_REGION", "us-west-2");
        std::env::set_var("AWS_ACCESS_KEY_ID", "x");
        std::env::set_var("AWS_SECRET_ACCESS_KEY", "x");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let world = world(port).await;
        let cloud = Ec2::from_env().await;
        let trunk = trunk_is_attached(&cloud, &world).await;
        branch_lives_and_dies(&cloud, &world, &trunk).await;
        addresses_and_groups(&cloud, &world).await;
        refusals_are_ec2s_words(&cloud, &world).await;
    });
}

async fn trunk_is_attached(cloud: &Ec2, world: &World) -> String {
    let wish = request(world, InterfaceKind::Trunk, "trunk");
    let trunk = cloud.create_interface(&wish).await.unwrap();
    let again = cloud.create_interface(&wish).await.unwrap();
    assert_eq!(again.id, trunk.id, "the client token makes it one interface");
    let attachment = cloud.attach_interface(&trunk.id, &world.instance, 2).await.unwrap();
    cloud.set_delete_on_termination(&trunk.id, &attachment, true).await.unwrap();
    let instance = cloud.describe_instance(&world.instance).await.unwrap();
    assert_eq!((instance.instance_type.as_str(), instance.state.as_str()), ("m5.large", "running"));
    assert_eq!(instance.subnet, world.subnet);
    let kinds: Vec<InterfaceKind> = instance.interfaces.iter().map(|i| i.kind).collect();
    assert_eq!(kinds, [InterfaceKind::Plain, InterfaceKind::Trunk]);
    let seen = instance.interfaces[1].attachment.as_ref().unwrap();
    assert_eq!((seen.device_index, seen.delete_on_termination), (2, true));
    trunk.id
}

async fn branch_lives_and_dies(cloud: &Ec2, world: &World, trunk: &str) {
    let branch =
        cloud.create_interface(&request(world, InterfaceKind::Branch, "branch")).await.unwrap();
    assert_eq!(branch.kind, InterfaceKind::Branch);
    let subnet = cloud.describe_subnet(&world.subnet).await.unwrap();
    assert!(subnet.block.contains(branch.addresses[0]));
    cloud.create_permission(&branch.id, "123456789012").await.unwrap();
    let association = cloud.associate_trunk(trunk, &branch.id, 7, "t1").await.unwrap();
    let by_tags = InterfaceQuery {
        tags: Tags::from([("n".into(), "branch".into())]),
        filters: vec![("description".into(), vec!["branch".into()])],
        ..Default::default()
    };
    let found: Vec<Interface> = cloud.describe_interfaces(&by_tags).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].id.as_str(), found[0].status.as_str()), (branch.id.as_str(), "in-use"));
    assert_eq!(found[0].attachment, None, "it hangs on a trunk, not on an instance");
    let second =
        cloud.create_interface(&request(world, InterfaceKind::Branch, "b2")).await.unwrap();
    assert!(cloud.associate_trunk(trunk, &second.id, 7, "t2").await.is_err(), "VLAN in use");
    cloud.delete_interface(&second.id).await.unwrap();
    cloud.disassociate_trunk(&association, "t3").await.unwrap();
    cloud.delete_interface(&branch.id).await.unwrap();
    assert!(cloud.delete_interface(&branch.id).await.unwrap_err().is_not_found());
    assert!(cloud.disassociate_trunk(&association, "t4").await.unwrap_err().is_not_found());
}

async fn addresses_and_groups(cloud: &Ec2, world: &World) {
    let mut wish = request(world, InterfaceKind::Plain, "plain");
    wish.secondary_addresses = 2;
    let plain = cloud.create_interface(&wish).await.unwrap();
    assert_eq!(plain.addresses.len(), 3);
    let more = cloud.assign_private_addresses(&plain.id, 2).await.unwrap();
    assert_eq!(more.len(), 2);
    cloud.unassign_private_addresses(&plain.id, &more[..1]).await.unwrap();
    let by_id = InterfaceQuery { ids: vec![plain.id.clone()], ..Default::default() };
    let now = cloud.describe_interfaces(&by_id).await.unwrap().remove(0);
    assert_eq!(now.addresses.len(), 4);
    assert_eq!(now.addresses[0], plain.addresses[0], "the primary one stays first");
    assert!(now.addresses.contains(&more[1]) && !now.addresses.contains(&more[0]));
    cloud.modify_groups(&plain.id, &[world.group.as_str().into()]).await.unwrap();
    let attachment = cloud.attach_interface(&plain.id, &world.instance, 1).await.unwrap();
    assert!(cloud.delete_interface(&plain.id).await.is_err(), "attached");
    cloud.detach_interface(&attachment).await.unwrap();
    cloud.delete_interface(&plain.id).await.unwrap();
}

async fn refusals_are_ec2s_words(cloud: &Ec2, world: &World) {
    let mut wish = request(world, InterfaceKind::Branch, "nogroup");
    wish.groups = vec!["sg-0123456789abcdef0".into()];
    let error = cloud.create_interface(&wish).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "An error occurred (InvalidSecurityGroupID.NotFound) when calling the \
         CreateNetworkInterface operation: The securityGroup ID 'sg-0123456789abcdef0' does not exist"
    );
    let error = cloud.describe_instance("i-0123456789abcdef0").await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidInstanceID.NotFound"), "{error}");
}
