//! The slices of RDS, EKS and STS: the world that [`refusals`](super::refusals) of their actions are
//! tried in, and of every action a request that succeeds there, with all that it can say.

use std::sync::OnceLock;

use hedgerow_vpc::api::ACTIONS;
use hedgerow_vpc::api::envelope::Api;

use crate::scenario::Scenario;

const CREATE_DATABASE: &str = "CreateDBInstance DBInstanceIdentifier=new DBInstanceClass=db.t3.micro \
     Engine=postgres DBName=shop MasterUsername=owner MasterUserPassword=secret-123 \
     AllocatedStorage=20 Port=5432 DBSubnetGroupName=dbs \
     VpcSecurityGroupIds.VpcSecurityGroupId.1={app} AvailabilityZone=us-west-2a \
     PubliclyAccessible=true DeletionProtection=false Tags.Tag.1.Key=a Tags.Tag.1.Value=b";

/// One request per action that succeeds.
const HAPPY: &[&str] = &[
    CREATE_DATABASE,
    "CreateDBSubnetGroup DBSubnetGroupName=new DBSubnetGroupDescription=new \
     SubnetIds.SubnetIdentifier.1={subnet} SubnetIds.SubnetIdentifier.2={subnet2} \
     Tags.Tag.1.Key=a Tags.Tag.1.Value=b",
    "DecodeAuthorizationMessage EncodedMessage=e30",
    "DeleteDBInstance DBInstanceIdentifier=db SkipFinalSnapshot=true",
    "DeleteDBSubnetGroup DBSubnetGroupName=spare",
    "DescribeCluster name=blue",
    "DescribeDBInstances DBInstanceIdentifier=db MaxRecords=20 \
     Filters.Filter.1.Name=db-instance-id Filters.Filter.1.Values.Value.1=db",
    "DescribeDBSubnetGroups DBSubnetGroupName=dbs MaxRecords=20",
    "DescribeUpdate name=blue updateId={update}",
    "GetCallerIdentity",
    "ListClusters maxResults=1",
    "ModifyDBInstance DBInstanceIdentifier=db PubliclyAccessible=true DeletionProtection=true \
     VpcSecurityGroupIds.VpcSecurityGroupId.1={app} ApplyImmediately=true",
    "UpdateClusterConfig name=blue document={closed}",
];

/// The actions of the slices that clients may ask for.
pub fn actions() -> impl Iterator<Item = &'static str> {
    let others = ACTIONS.iter().filter(|action| action.api != Api::Ec2 && !action.labs_own);
    others.map(|action| action.name)
}

/// A happy request of every action, in the order of [`actions`] where there is one.
pub fn happy() -> impl Iterator<Item = (&'static str, &'static str)> {
    HAPPY.iter().map(|request| (request.split(' ').next().expect("an action"), *request))
}

/// A copy of the world: a public VPC with a database `db`, a subnet group `spare`, a cluster `blue`.
pub fn world() -> Scenario {
    static WORLD: OnceLock<Scenario> = OnceLock::new();
    WORLD.get_or_init(|| clusters(databases(crate::gateways::with_gateway()))).clone()
}

fn databases(scenario: Scenario) -> Scenario {
    let group = "CreateDBSubnetGroup DBSubnetGroupDescription=d \
                 SubnetIds.SubnetIdentifier.1={subnet} SubnetIds.SubnetIdentifier.2={subnet2}";
    scenario
        .ok("ModifyVpcAttribute VpcId={vpc} EnableDnsHostnames.Value=true")
        .make(
            "subnet2",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.2.0/24 AvailabilityZone=us-west-2b",
        )
        .make("other", "vpcId", "CreateVpc CidrBlock=10.9.0.0/16")
        .make(
            "elsewhere",
            "subnetId",
            "CreateSubnet VpcId={other} CidrBlock=10.9.1.0/24 AvailabilityZone=us-west-2b",
        )
        .ok(&format!("{group} DBSubnetGroupName=dbs"))
        .ok(&format!("{group} DBSubnetGroupName=spare"))
        .make("resource", "DbiResourceId", &CREATE_DATABASE.replace("=new ", "=db "))
        .ok("PutLabDatabaseStatus Instance={resource} Status=available")
}

fn clusters(scenario: Scenario) -> Scenario {
    let cluster = scenario.fill(
        "#version#:#1.33#,#endpoint#:#https://blue#,#certificateAuthority#:#x#,\
         #subnetIds#:[#{subnet}#],#clusterSecurityGroupId#:#{app}#,#serviceIpv4Cidr#:#172.20.0.0/16#",
    );
    let document = |text: &str| format!("{{{}}}", text.replace('#', "\""));
    let access = |text: &str| document(&format!("#resourcesVpcConfig#:{{{text}}}"));
    scenario
        .called("cluster", &document(&cluster))
        .called("open", &access("#publicAccessCidrs#:[#203.0.113.0/24#]"))
        .called("closed", &access("#endpointPublicAccess#:false"))
        .called("neither", &access("#endpointPublicAccess#:false,#endpointPrivateAccess#:false"))
        .ok("PutLabCluster name=blue document={cluster}")
        .ok("UpdateClusterConfig name=blue document={open}")
        .json("update", "id")
}

#[test]
fn every_action_has_a_happy_request() {
    let mut built: Vec<&str> = actions().collect();
    built.sort_unstable();
    let named: Vec<&str> = happy().map(|(action, _)| action).collect();
    assert_eq!(named, built);
    for request in HAPPY {
        world().ok(request);
    }
}
