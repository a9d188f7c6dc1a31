//! Records to ask questions about.

use hedgerow_vpc::api::answer;
use hedgerow_vpc::effect::Effect;
use hedgerow_vpc::state::time::Timestamp;
use hedgerow_vpc::state::{Quotas, State};

pub const REGION: &str = "us-west-2";
pub const NOW: Timestamp = Timestamp(1_800_000_000);

/// Records with one VPC of the block, in which an instance has the address and asks for a token.
pub struct Records {
    pub state: State,
    pub vpc: u32,
    pub instance: String,
}

pub fn records(block: &str, address: &str) -> Records {
    let mut state = State::new(1, Quotas::default());
    let mut vpc = 0;
    let mut ask = |body: &str, element: &str| {
        let outcome = answer(&mut state, REGION, body.as_bytes(), NOW);
        for effect in &outcome.effects {
            if let Effect::PutVpc(view) = effect {
                vpc = view.key;
            }
        }
        let xml = outcome.result.unwrap_or_else(|error| panic!("{body}: {error}"));
        let rest = xml.split(&format!("<{element}>")).nth(1).expect("the element");
        rest.split('<').next().unwrap_or_default().to_owned()
    };
    let id = ask(&format!("Action=CreateVpc&CidrBlock={block}"), "vpcId");
    let subnet = ask(&format!("Action=CreateSubnet&VpcId={id}&CidrBlock={block}"), "subnetId");
    let run = format!(
        "Action=RunInstances&ImageId=ami-1&InstanceType=m5.large&MinCount=1&MaxCount=1\
         &SubnetId={subnet}&PrivateIpAddress={address}&MetadataOptions.HttpTokens=required\
         &UserData=c2VjcmV0LXVzZXItZGF0YQ%3D%3D"
    );
    let instance = ask(&run, "instanceId");
    Records { state, vpc, instance }
}
