//! The EC2 state machine: an action on a state gives an answer, a new state and effects.
//!
//! No I/O, no clock, no randomness: the instant is an argument and identifiers come from a seed.
//! A refused action changes nothing; every handler checks first and changes after.
//!
//! ```text
//!   State ── Region ── vpcs, subnets, groups, interfaces, instances   (one map each, by id)
//!     │        └────── tags, associations, attachments, permissions   (indices by id)
//!     └── Mint (ids, MACs, keys)
//!
//!   a resource's file: its record, its requests, its answers, its handlers
//! ```

pub mod mint;
pub mod time;

pub(crate) mod address;
pub(crate) mod address_attribute;
pub(crate) mod address_describe;
pub(crate) mod attaching;
pub(crate) mod attachment;
pub(crate) mod catalog;
pub(crate) mod eks;
pub(crate) mod flow_logs;
pub(crate) mod flow_logs_format;
pub(crate) mod gateway;
pub(crate) mod group;
pub(crate) mod group_describe;
pub(crate) mod group_vpc;
pub(crate) mod identity;
pub(crate) mod instance;
pub(crate) mod instance_attribute;
pub(crate) mod instance_describe;
mod instance_filters;
pub(crate) mod instance_options;
pub(crate) mod instance_power;
pub(crate) mod instance_status;
pub(crate) mod instance_types;
pub(crate) mod interface;
pub(crate) mod interface_address;
pub(crate) mod interface_describe;
pub(crate) mod interface_ipv6;
pub(crate) mod interface_ipv6_assign;
pub(crate) mod interface_modify;
pub(crate) mod launch;
pub(crate) mod launch_plan;
mod launch_settings;
pub(crate) mod metadata_defaults;
pub(crate) mod nat_gateway;
pub(crate) mod nat_gateway_address;
pub(crate) mod nat_gateway_create;
pub(crate) mod network_acl;
pub(crate) mod network_acl_entry;
pub(crate) mod permission;
pub(crate) mod prefix;
pub(crate) mod prefix_list;
pub(crate) mod prefix_list_describe;
pub(crate) mod prefix_list_modify;
mod prefix_list_owned;
pub(crate) mod principal;
mod quota;
pub(crate) mod rds;
pub(crate) mod rds_create;
pub(crate) mod rds_describe;
pub(crate) mod rds_public;
pub(crate) mod rds_subnet_group;
pub(crate) mod recorder;
pub(crate) mod region;
pub(crate) mod role_keys;
pub(crate) mod route_destination;
pub(crate) mod route_table;
pub(crate) mod route_table_describe;
pub(crate) mod route_table_routes;
pub(crate) mod rule;
pub(crate) mod rule_actions;
pub(crate) mod rule_modify;
pub(crate) mod rule_peer;
pub(crate) mod rule_traffic;
pub(crate) mod select;
pub(crate) mod subnet;
pub(crate) mod subnet_attribute;
pub(crate) mod subnet_ipv6;
pub(crate) mod subnet_reservation;
pub(crate) mod table;
pub(crate) mod tags;
pub(crate) mod timeouts;
pub(crate) mod tokens;
pub(crate) mod trunk;
pub(crate) mod unsupported;
pub(crate) mod views;
pub(crate) mod vpc;
pub(crate) mod vpc_block;
pub(crate) mod vpc_default;
pub(crate) mod vpc_ipv6;
pub(crate) mod vpc_tenancy;
pub(crate) mod zone;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::Terms;
use crate::api::error::Ec2Error;
use crate::effect::Effect;
use crate::journal::{Entry, Kind};
use mint::Mint;
pub use principal::Principal;
pub use quota::{Quotas, TooManyRulesPerInterface};
use recorder::Recorder;
pub use region::Region;
use time::Timestamp;

/// The account every credential belongs to.
pub const ACCOUNT: &str = "123456789012";

/// Everything the embedded VPC knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Regions in use, by name.
    regions: BTreeMap<String, Region>,
    mint: Mint,
    quotas: Quotas,
    #[serde(skip)]
    recorder: Recorder,
}

/// An earlier moment, to go back to.
#[derive(Debug)]
pub struct Checkpoint(BTreeMap<String, region::Mark>);

/// What a handler works on.
pub(crate) struct Context<'a> {
    /// The region that the request was signed for.
    pub region: &'a mut Region,
    /// Source of identifiers; asked only when the action can no longer fail.
    pub mint: &'a mut Mint,
    /// Limits.
    pub quotas: &'a Quotas,
    /// The instant of the request.
    pub now: Timestamp,
    /// Who asks, and what the cloud has room for.
    pub terms: Terms,
    /// What the machine must do before the answer is sent, in order.
    pub effects: Vec<Effect>,
}

impl State {
    /// A state without regions, whose identifiers depend on `seed`.
    pub fn new(seed: u64, quotas: Quotas) -> Self {
        Self {
            regions: BTreeMap::new(),
            mint: Mint::new(seed),
            quotas,
            recorder: Recorder::default(),
        }
    }

    /// Makes the region usable: on first use it gets its default VPC.
    ///
    /// # Errors
    /// `AuthFailure` where no such region exists.
    pub(crate) fn open_region(
        &mut self,
        name: &str,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Ec2Error> {
        if self.regions.contains_key(name) {
            return Ok(Vec::new());
        }
        if !catalog::region_exists(name) {
            let message = format!("The signature names region '{name}', which does not exist");
            return Err(Ec2Error::new("AuthFailure", message));
        }
        self.regions.insert(name.to_owned(), Region::new(name));
        let mut context = self.context(name, now);
        vpc_default::make(&mut context);
        Ok(context.effects)
    }

    /// A context on an opened region.
    pub(crate) fn context(&mut self, region: &str, now: Timestamp) -> Context<'_> {
        let State { regions, mint, quotas, .. } = self;
        let region = regions.get_mut(region).expect("the region was opened");
        region.forget_terminated(now);
        Context { region, mint, quotas, now, terms: Terms::default(), effects: Vec::new() }
    }

    /// Limits.
    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Changes the limits for requests from now on.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// How many identifiers and keys were handed out.
    pub fn mint_position(&self) -> (u64, u32) {
        self.mint.position()
    }

    /// Hands identifiers and keys out from an earlier [`Self::mint_position`] on.
    pub fn move_mint(&mut self, position: (u64, u32)) {
        self.mint.move_to(position);
    }

    /// Notes changes from now on, for [`Self::take_entries`].
    pub(crate) fn record(&mut self) {
        self.recorder.switch_on();
    }

    /// Notes a change, if changes are recorded.
    pub(crate) fn note(&mut self, entry: impl FnOnce() -> Entry) {
        self.recorder.note(entry);
    }

    /// Notes a change that is no request.
    pub(crate) fn note_change(
        &mut self,
        kind: Kind,
        now: Timestamp,
        region: String,
        body: Vec<u8>,
    ) {
        let (mint, instant) = (self.mint.position(), now.0);
        self.note(|| Entry { kind, instant, mint, outcome: 0, region, body });
    }

    /// What changed since the last call, for the journal.
    pub(crate) fn take_entries(&mut self) -> Vec<Entry> {
        self.recorder.take()
    }

    /// A moment to go back to with [`Self::restore`], until [`Self::commit`] or the next one. Answers to
    /// client tokens stay: `forget` takes one back.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let mark = |(name, region): (&String, &mut Region)| (name.clone(), region.checkpoint());
        Checkpoint(self.regions.iter_mut().map(mark).collect())
    }

    /// Goes back to a checkpoint. Identifiers and keys that were handed out since are not used again.
    pub fn restore(&mut self, checkpoint: Checkpoint) {
        self.regions.retain(|name, _| checkpoint.0.contains_key(name));
        for (name, mark) in checkpoint.0 {
            if let Some(region) = self.regions.get_mut(&name) {
                region.restore(mark);
            }
        }
    }

    /// What was done since the checkpoint holds.
    pub fn commit(&mut self) {
        self.regions.values_mut().for_each(Region::commit);
    }

    /// The opened region of this name.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.get(name)
    }

    /// Forgets an answer, because the machine could not follow it: a repeated request tries anew.
    pub(crate) fn forget(&mut self, region: &str, action: &'static str, token: String) {
        if let Some(region) = self.regions.get_mut(region) {
            region.tokens.forget(action, token);
        }
    }

    /// Opened regions, by name.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.values()
    }
}
