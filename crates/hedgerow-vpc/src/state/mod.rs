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

pub(crate) mod attachment;
pub(crate) mod catalog;
pub(crate) mod eks;
pub(crate) mod group;
pub(crate) mod group_describe;
pub(crate) mod identity;
pub(crate) mod instance;
pub(crate) mod instance_describe;
pub(crate) mod interface;
pub(crate) mod interface_describe;
pub(crate) mod interface_modify;
pub(crate) mod launch;
pub(crate) mod launch_plan;
pub(crate) mod permission;
pub(crate) mod prefix_list;
pub(crate) mod prefix_list_describe;
pub(crate) mod prefix_list_modify;
mod prefix_list_owned;
pub(crate) mod region;
pub(crate) mod rule;
pub(crate) mod rule_actions;
pub(crate) mod rule_modify;
pub(crate) mod rule_peer;
pub(crate) mod rule_traffic;
pub(crate) mod select;
pub(crate) mod subnet;
pub(crate) mod tags;
pub(crate) mod tokens;
pub(crate) mod trunk;
pub(crate) mod views;
pub(crate) mod vpc;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::error::Ec2Error;
use crate::effect::Effect;
use mint::Mint;
pub use region::Region;
use time::Timestamp;

/// The account every credential belongs to.
pub const ACCOUNT: &str = "123456789012";

/// Adjustable account limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// Security groups on one interface; EC2's default is 5 and its maximum 16.
    pub groups_per_interface: usize,
    /// Rules per direction in one security group.
    pub rules_per_group: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { groups_per_interface: 5, rules_per_group: 60 }
    }
}

/// Everything the embedded VPC knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Regions in use, by name.
    regions: BTreeMap<String, Region>,
    mint: Mint,
    quotas: Quotas,
}

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
    /// What the machine must do before the answer is sent, in order.
    pub effects: Vec<Effect>,
}

impl State {
    /// A state without regions, whose identifiers depend on `seed`.
    pub fn new(seed: u64, quotas: Quotas) -> Self {
        Self { regions: BTreeMap::new(), mint: Mint::new(seed), quotas }
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
        vpc::create_default(&mut context);
        Ok(context.effects)
    }

    /// A context on an opened region.
    pub(crate) fn context(&mut self, region: &str, now: Timestamp) -> Context<'_> {
        let State { regions, mint, quotas } = self;
        let region = regions.get_mut(region).expect("the region was opened");
        region.forget_terminated(now);
        Context { region, mint, quotas, now, effects: Vec::new() }
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
