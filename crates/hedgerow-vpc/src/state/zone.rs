//! Private DNS zones: names that the lab gives to addresses. Not EC2's
//! API: the server offers them at `/_hedgerow/dns/ZONE`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Context;
use super::region::find;
use crate::api::Done;
use crate::api::error::Ec2Error;

/// Most names in a zone.
const MAX_NAMES: usize = 10_000;
/// Most addresses of a name.
const MAX_ADDRESSES: usize = 100;

/// A private zone: this server alone knows what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Zone {
    /// In lower case, without a dot at its end.
    pub name: String,
    /// The VPCs that see it, as a private hosted zone; every VPC of the region if none is named, as
    /// a public name would be seen.
    pub vpcs: BTreeSet<String>,
    /// Full name to addresses; `*.ZONE` stands for every name in the zone that is not listed.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

impl Zone {
    /// Addresses of a name in the zone, by itself or by the zone's wildcard.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let wild = || self.names.get(&format!("*.{}", self.name)).filter(|_| name != self.name);
        self.names.get(name).or_else(wild).map(Vec::as_slice)
    }
}

/// PutLabZone: the zone is exactly this from now on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PutLabZone {
    zone: String,
    #[serde(default, rename = "VpcId")]
    vpcs: Vec<String>,
    #[serde(default, rename = "Record")]
    records: Vec<RecordSpec>,
}

/// A name, relative to the zone (`@` is the zone itself, `*` every other name), and its addresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RecordSpec {
    name: String,
    #[serde(default, rename = "Address")]
    addresses: Vec<IpAddr>,
}

pub(crate) fn put(cx: &mut Context<'_>, request: PutLabZone) -> Result<Done, Ec2Error> {
    let name = domain("zone", &request.zone)?;
    for vpc in &request.vpcs {
        find(&cx.region.vpcs, vpc)?;
    }
    if request.records.len() > MAX_NAMES {
        let message = format!("A zone has at most {MAX_NAMES} names");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    let mut names = BTreeMap::new();
    for record in request.records {
        let full = match record.name.as_str() {
            "@" => name.clone(),
            "*" => format!("*.{name}"),
            relative => domain("record", &format!("{relative}.{name}"))?,
        };
        if record.addresses.is_empty() || record.addresses.len() > MAX_ADDRESSES {
            let why = "A name has 1 to 100 addresses.";
            return Err(Ec2Error::value("record", &record.name, why));
        }
        names.insert(full, record.addresses);
    }
    let zone = Zone { name: name.clone(), vpcs: request.vpcs.into_iter().collect(), names };
    cx.region.zones.insert(name, zone);
    Ok(Done::new())
}

/// DeleteLabZone.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteLabZone {
    zone: String,
}

pub(crate) fn delete(cx: &mut Context<'_>, request: DeleteLabZone) -> Result<Done, Ec2Error> {
    let name = domain("zone", &request.zone)?;
    if cx.region.zones.remove(&name).is_none() {
        return Err(Ec2Error::new("ResourceNotFoundException", format!("No zone '{name}'")));
    }
    Ok(Done::new())
}

/// The name in lower case, without a dot at its end.
///
/// # Errors
/// `InvalidParameterValue` unless it is labels of letters, digits, `-` and `_` within DNS's lengths.
fn domain(parameter: &str, text: &str) -> Result<String, Ec2Error> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let good = name.len() <= 250
        && name.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(plain));
    if good { Ok(name) } else { Err(Ec2Error::value(parameter, text, "It is no domain name.")) }
}
