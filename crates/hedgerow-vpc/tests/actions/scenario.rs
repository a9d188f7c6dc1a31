//! A chain of requests with names for what they made.
//!
//! `"CreateSubnet VpcId={vpc} CidrBlock=10.0.0.0/24"` is a request; `{vpc}` stands for a text that
//! an earlier answer gave.

use std::collections::BTreeMap;

use hedgerow_vpc::api::envelope::Api;
use hedgerow_vpc::api::{Outcome, answer, find};
use hedgerow_vpc::effect::{Effect, InterfaceView};
use hedgerow_vpc::state::time::Timestamp;
use hedgerow_vpc::state::{Quotas, State};

use crate::model::refusals;

pub const REGION: &str = "us-west-2";

#[derive(Clone)]
pub struct Scenario {
    state: State,
    names: BTreeMap<String, String>,
    now: Timestamp,
    /// Of the last request that succeeded.
    effects: Vec<Effect>,
    body: String,
}

impl Scenario {
    /// An opened region with nothing in it but the default VPC.
    pub fn empty() -> Self {
        let scenario = Self {
            state: State::new(1, Quotas::default()),
            names: BTreeMap::new(),
            now: Timestamp(1_800_000_000),
            effects: Vec::new(),
            body: String::new(),
        };
        scenario.ok("DescribeRegions")
    }

    /// Other quotas from now on.
    pub fn quotas(mut self, quotas: Quotas) -> Self {
        self.state.set_quotas(quotas);
        self
    }

    /// A VPC 10.0.0.0/16 as `{vpc}` with a subnet 10.0.1.0/24 as `{subnet}`.
    pub fn with_subnet() -> Self {
        Self::empty().make("vpc", "vpcId", "CreateVpc CidrBlock=10.0.0.0/16").make(
            "subnet",
            "subnetId",
            "CreateSubnet VpcId={vpc} CidrBlock=10.0.1.0/24",
        )
    }

    /// That, a group `{app}` and an instance `{i}` of the type, with primary interface `{eth0}`.
    pub fn with_instance(kind: &str) -> Self {
        let run = format!(
            "RunInstances ImageId=ami-1 InstanceType={kind} MinCount=1 MaxCount=1 \
             SubnetId={{subnet}} SecurityGroupId.1={{app}}"
        );
        Self::with_subnet()
            .make(
                "app",
                "groupId",
                "CreateSecurityGroup GroupName=app GroupDescription=a VpcId={vpc}",
            )
            .make("i", "instanceId", &run)
            .name("eth0", "networkInterfaceId")
    }

    /// Sends the request. If it is refused, that is looked up in the table of refusals.
    fn send(&mut self, request: &str) -> Outcome {
        let outcome = self.try_send(request);
        if let Err(error) = &outcome.result {
            refusals::check(&outcome.action, error.code, request);
        }
        outcome
    }

    /// Sends the request.
    pub fn try_send(&mut self, request: &str) -> Outcome {
        let (text, unknown) = self.fill_known(request);
        assert_eq!(unknown, None, "no name for a part of: {request}");
        let mut parts = text.split_whitespace();
        let action = parts.next().expect("an action");
        let api = find(action).map_or(Api::Ec2, |action| action.api);
        let mut body = format!("Action={action}&Version={}", api.version());
        for part in parts {
            let (name, value) = part.split_once('=').expect("Name=value");
            body.push('&');
            body.push_str(name);
            body.push('=');
            body.extend(value.replace('~', " ").bytes().map(|b| format!("%{b:02x}")));
        }
        answer(&mut self.state, REGION, body.as_bytes(), self.now)
    }

    /// The request succeeds.
    pub fn ok(mut self, request: &str) -> Self {
        let outcome = self.send(request);
        self.body = outcome.result.unwrap_or_else(|error| panic!("{request}\n  {error}"));
        self.effects = outcome.effects;
        self
    }

    /// The request succeeds, and `{name}` is what its answer has in the first `<element>`.
    pub fn make(self, name: &str, element: &str, request: &str) -> Self {
        self.ok(request).name(name, element)
    }

    /// `{name}` is what the last answer has in the first `<element>`.
    pub fn name(mut self, name: &str, element: &str) -> Self {
        let found = texts(&self.body, element);
        let text = found.first().unwrap_or_else(|| panic!("no <{element}> in {}", self.body));
        self.names.insert(name.to_owned(), (*text).to_owned());
        self
    }

    /// `{name}` is this text.
    pub fn called(mut self, name: &str, text: &str) -> Self {
        self.names.insert(name.to_owned(), text.to_owned());
        self
    }

    /// `{name}` is what the last answer, a JSON document, has first for the key.
    pub fn json(self, name: &str, key: &str) -> Self {
        let rest = self.body.split_once(&format!("\"{key}\":\"")).map(|(_, rest)| rest);
        let text = rest.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| {
            panic!("no {key} in {}", self.body);
        });
        let text = text.to_owned();
        self.called(name, &text)
    }

    /// The text with names for what they stand for.
    pub fn fill(&self, text: &str) -> String {
        self.fill_known(text).0
    }

    /// The text with names for what they stand for, and the part from the first that stands for
    /// nothing.
    fn fill_known<'t>(&self, text: &'t str) -> (String, Option<&'t str>) {
        let (mut filled, mut unknown) = (String::with_capacity(text.len()), None);
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let name = after.split_once('}');
            match name.and_then(|(name, after)| Some((self.names.get(name)?, after))) {
                Some((value, after)) => {
                    filled.push_str(value);
                    rest = after;
                }
                None => {
                    filled.push('{');
                    unknown.get_or_insert(after);
                    rest = after;
                }
            }
        }
        (filled + rest, unknown)
    }

    /// The error code that the request would get; empty where it would succeed.
    pub fn code_of(&self, request: &str) -> String {
        let refused = self.clone().send(request).result.err();
        refused.map_or(String::new(), |error| error.code.to_owned())
    }

    /// The names of ids.
    pub fn ids(&self) -> Vec<String> {
        let id = |text: &str| {
            text.rsplit_once('-').is_some_and(|(_, hex)| {
                hex.len() == 17 && hex.bytes().all(|b| b.is_ascii_hexdigit())
            })
        };
        let ids = self.names.iter().filter(|(_, text)| id(text));
        ids.map(|(name, _)| format!("{{{name}}}")).collect()
    }

    /// Whether the records are the same.
    pub fn same_records(&self, other: &Self) -> bool {
        self.state == other.state
    }

    /// The texts of all `<element>`s of the last answer.
    pub fn all(&self, element: &str) -> Vec<String> {
        texts(&self.body, element).into_iter().map(str::to_owned).collect()
    }

    /// The request is refused with this code, and nothing changed.
    pub fn fails(mut self, code: &str, request: &str) -> Self {
        let before = self.state.clone();
        match self.send(request).result {
            Ok(body) => panic!("{request}\n  expected {code}, got {body}"),
            Err(error) => assert_eq!(error.code, code, "{request}\n  {error}"),
        }
        assert!(before == self.state, "{request}\n  was refused and changed the state");
        self
    }

    /// The request is refused with exactly this message.
    pub fn says(mut self, message: &str, request: &str) -> Self {
        let error = self.send(request).result.expect_err(request);
        assert_eq!(error.message, self.fill(message), "{request}");
        self
    }

    /// The request succeeds; every `<element>` of its answer in order, joined by spaces, is `want`.
    pub fn shows(self, request: &str, element: &str, want: &str) -> Self {
        let scenario = self.ok(request);
        let expected = scenario.fill(want);
        let mut want: Vec<&str> = expected.split_whitespace().collect();
        let mut got = texts(&scenario.body, element);
        want.sort_unstable();
        got.sort_unstable();
        assert_eq!(got, want, "{request} <{element}>\n  {}", scenario.body);
        scenario
    }

    /// A check of the last answer's effects.
    pub fn effects(self, check: impl FnOnce(&[Effect])) -> Self {
        check(&self.effects);
        self
    }

    /// The last answer's only interface effect.
    pub fn interface(self, check: impl FnOnce(&InterfaceView)) -> Self {
        let views: Vec<&InterfaceView> = self
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::PutInterface(view) => Some(view),
                _ => None,
            })
            .collect();
        let [view] = views[..] else { panic!("not one interface in {:?}", self.effects) };
        check(view);
        self
    }

    /// Time goes by.
    pub fn later(mut self, seconds: u64) -> Self {
        self.now.0 += seconds;
        self
    }

    /// What waits and whose time has come is settled; a check of the effects.
    pub fn settled(mut self, check: impl FnOnce(&[Effect])) -> Self {
        check(&self.state.settle(self.now));
        self
    }

    /// The body of the last answer.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// The texts of all `<element>`s, in order.
fn texts<'a>(xml: &'a str, element: &str) -> Vec<&'a str> {
    let open = format!("<{element}>");
    let parts = xml.split(open.as_str()).skip(1);
    parts.map(|rest| rest.split('<').next().unwrap_or_default()).collect()
}
