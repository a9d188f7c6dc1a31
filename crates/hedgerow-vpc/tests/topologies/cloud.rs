//! EC2 as a client sees it, with real packets behind: requests go through the state machine, and
//! its effects to the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow_datapath::fabric::FabricError;
use hedgerow_vpc::api::answer;
use hedgerow_vpc::effect::Effect;
use hedgerow_vpc::state::time::Timestamp;
use hedgerow_vpc::state::{Quotas, State};
use hedgerow_vpc::wire::{FlowRecord, Wire, WireConfig, WireError};
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;

const REGION: &str = "us-west-2";
/// Branches must be in the zone of their trunk.
pub const ZONE: &str = "us-west-2a";
/// How many ids and keys each case has for itself.
const IDS_PER_CASE: u32 = 10_000;

pub struct Cloud {
    pub name: String,
    state: State,
    pub wire: Wire,
    pub runtime: Runtime,
    pub records: Receiver<FlowRecord>,
    /// Interfaces' numbers in the fabric, by their ids.
    pub keys: BTreeMap<String, u32>,
    first_ids: (u64, u32),
}

impl Cloud {
    pub fn new(name: String) -> Self {
        let wire = Wire::start(WireConfig { name: name.clone(), records: None })
            .expect("start wire (root?)");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let records = wire.flow_records();
        let mut cloud = Cloud {
            name,
            state: State::new(1, Quotas::default()),
            wire,
            runtime,
            records,
            keys: BTreeMap::new(),
            first_ids: (0, 0),
        };
        cloud.ok("DescribeRegions", &[]);
        cloud
    }

    /// What was made so far stays in all cases.
    pub fn settle(&mut self) {
        self.first_ids = self.state.mint_position();
    }

    /// Gives case `number` the ids that it always has, however many cases came before.
    pub fn begin(&mut self, number: u32) {
        let (ids, keys) = self.first_ids;
        let skip = (number + 1) * IDS_PER_CASE;
        self.state.move_mint((ids + u64::from(skip), keys + skip));
    }

    /// Asks, and has the effects carried out.
    pub fn call(&mut self, action: &str, parameters: &[(&str, &str)]) -> Result<String, String> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", "2016-11-15");
        body.extend_pairs(parameters);
        let body = body.finish();
        let now = Timestamp(1_800_000_000);
        let outcome = answer(&mut self.state, REGION, body.as_bytes(), now);
        for effect in &outcome.effects {
            if let Effect::PutInterface(view) = effect {
                self.keys.insert(view.id.clone(), view.key);
            }
        }
        self.apply(&outcome.effects).map_err(|error| format!("{body}: {error}"))?;
        outcome.result.map_err(|error| format!("{body}: {error}"))
    }

    fn apply(&self, effects: &[Effect]) -> Result<(), WireError> {
        if effects.is_empty() {
            return Ok(());
        }
        // Numbers in the fabric rest for a second before they are used again.
        for _ in 0..20 {
            match self.runtime.block_on(self.wire.apply(effects)) {
                Err(WireError::Fabric(FabricError::Full(_))) => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                result => return result,
            }
        }
        self.runtime.block_on(self.wire.apply(effects))
    }

    /// A request that must succeed.
    pub fn ok(&mut self, action: &str, parameters: &[(&str, &str)]) -> String {
        self.call(action, parameters).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What the answer to a request that must succeed has in its first `<element>`.
    pub fn make(&mut self, element: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let xml = self.ok(action, parameters);
        let found = texts(&xml, element).next();
        found.unwrap_or_else(|| panic!("no <{element}> in {xml}")).to_owned()
    }

    /// The records since the last call.
    pub fn take_records(&mut self) -> Vec<FlowRecord> {
        self.runtime.block_on(self.wire.flush_records()).expect("flush records");
        let mut records = Vec::new();
        while let Ok(record) = self.records.try_recv() {
            records.push(record);
        }
        records
    }
}

/// The texts of all `<element>`s.
pub fn texts<'a>(xml: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let open = format!("<{element}>");
    let parts: Vec<&str> = xml.split(open.as_str()).skip(1).collect();
    parts.into_iter().map(|rest| rest.split('<').next().unwrap_or_default())
}

/// A MAC as EC2 writes it.
pub fn mac(text: &str) -> [u8; 6] {
    let mut mac = [0; 6];
    for (byte, part) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("hex digits");
    }
    mac
}
