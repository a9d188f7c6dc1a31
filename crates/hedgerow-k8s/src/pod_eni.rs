//! The `vpc.amazonaws.com/pod-eni` annotation: which branch interface a pod has.
//!
//! A JSON array, as EKS writes it. The reader ignores unknown keys, accepts `vlanID` for `vlanId`,
//! and takes nothing on trust: the value decides where a pod's packets go, so a text that the
//! controller cannot have written is an error, not a guess.

use std::net::Ipv4Addr;

use hedgerow_core::mac::Mac;
use hedgerow_core::names::MAX_VLAN;
use hedgerow_core::sg::Ipv4Prefix;
use serde::{Deserialize, Serialize};

/// More than any sound annotation needs (one entry is about 250 bytes).
const MAX_BYTES: usize = 16 * 1024;

/// A pod's branch interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodEni {
    /// `eni-…`.
    pub eni_id: String,
    /// The interface's MAC.
    pub mac: Mac,
    /// The pod's address.
    pub private_ip: Ipv4Addr,
    /// The pod's IPv6 address as EKS writes it; empty where there is none.
    pub ipv6: String,
    /// Tag of its frames on the trunk, 1 to [`MAX_VLAN`].
    pub vlan: u16,
    /// The subnet's block; the router is its base + 1.
    pub subnet: Ipv4Prefix,
    /// The subnet's IPv6 block; empty where there is none.
    pub subnet_v6: String,
    /// `trunk-assoc-…`.
    pub association_id: String,
}

/// Why an annotation is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPodEni {
    /// Too long to be ours.
    #[error("the pod-eni annotation has {0} bytes; at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// Not the expected JSON.
    #[error("the pod-eni annotation is not a JSON array of interfaces: {0}")]
    NotJson(String),
    /// An empty array.
    #[error("the pod-eni annotation names no interface")]
    Empty,
    /// A field with a value that cannot be.
    #[error("the pod-eni annotation's {field} '{value}' is not {expected}")]
    Field {
        /// The JSON key.
        field: &'static str,
        /// The value's first characters.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// The JSON object, keys in EKS's order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    eni_id: String,
    if_address: String,
    private_ip: String,
    #[serde(default)]
    ipv6_addr: String,
    #[serde(alias = "vlanID")]
    vlan_id: u16,
    subnet_cidr: String,
    #[serde(default)]
    subnet_v6_cidr: String,
    #[serde(default, rename = "associationID")]
    association_id: String,
}

impl PodEni {
    /// The annotation's value for these interfaces.
    pub fn encode(interfaces: &[PodEni]) -> String {
        let wire: Vec<Wire> = interfaces.iter().map(Wire::from).collect();
        serde_json::to_string(&wire).expect("strings and numbers always serialize")
    }

    /// Reads an annotation's value: at least one interface.
    pub fn decode(text: &str) -> Result<Vec<PodEni>, BadPodEni> {
        if text.len() > MAX_BYTES {
            return Err(BadPodEni::TooLong(text.len()));
        }
        let wire: Vec<Wire> =
            serde_json::from_str(text).map_err(|e| BadPodEni::NotJson(e.to_string()))?;
        if wire.is_empty() {
            return Err(BadPodEni::Empty);
        }
        wire.into_iter().map(PodEni::try_from).collect()
    }

    /// Reads an annotation's value and returns the first interface: the one of `eth0`.
    pub fn decode_first(text: &str) -> Result<PodEni, BadPodEni> {
        Ok(Self::decode(text)?.swap_remove(0))
    }
}

impl From<&PodEni> for Wire {
    fn from(eni: &PodEni) -> Self {
        Self {
            eni_id: eni.eni_id.clone(),
            if_address: eni.mac.to_string(),
            private_ip: eni.private_ip.to_string(),
            ipv6_addr: eni.ipv6.clone(),
            vlan_id: eni.vlan,
            subnet_cidr: eni.subnet.to_string(),
            subnet_v6_cidr: eni.subnet_v6.clone(),
            association_id: eni.association_id.clone(),
        }
    }
}

impl TryFrom<Wire> for PodEni {
    type Error = BadPodEni;

    fn try_from(wire: Wire) -> Result<Self, BadPodEni> {
        let bad = |field, value: &str, expected| BadPodEni::Field {
            field,
            value: value.chars().take(40).collect(),
            expected,
        };
        let hex = wire.eni_id.strip_prefix("eni-").unwrap_or_default();
        if hex.is_empty() || hex.len() > 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad("eniId", &wire.eni_id, "an interface id"));
        }
        let mac: Mac = wire
            .if_address
            .parse()
            .ok()
            .filter(Mac::is_unicast)
            .ok_or_else(|| bad("ifAddress", &wire.if_address, "a unicast MAC address"))?;
        let subnet: Ipv4Prefix = wire
            .subnet_cidr
            .parse()
            .map_err(|_| bad("subnetCidr", &wire.subnet_cidr, "an IPv4 prefix"))?;
        let private_ip =
            wire.private_ip.parse().ok().filter(|ip| subnet.contains(*ip)).ok_or_else(|| {
                bad("privateIp", &wire.private_ip, "an IPv4 address of the subnet")
            })?;
        if !(1..=MAX_VLAN).contains(&wire.vlan_id) {
            return Err(bad("vlanId", &wire.vlan_id.to_string(), "a VLAN id from 1 to 120"));
        }
        let id = &wire.association_id;
        if id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(bad("associationID", id, "an association id"));
        }
        for (field, text) in [("ipv6Addr", &wire.ipv6_addr), ("subnetV6Cidr", &wire.subnet_v6_cidr)]
        {
            let address = text.split('/').next().unwrap_or_default();
            if !text.is_empty() && address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(bad(field, text, "empty or IPv6"));
            }
        }
        Ok(Self {
            eni_id: wire.eni_id,
            mac,
            private_ip,
            ipv6: wire.ipv6_addr,
            vlan: wire.vlan_id,
            subnet,
            subnet_v6: wire.subnet_v6_cidr,
            association_id: wire.association_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"[{"eniId":"eni-0a1b2c","ifAddress":"02:11:22:33:44:55","privateIp":"10.0.1.20","ipv6Addr":"","vlanId":3,"subnetCidr":"10.0.1.0/24","subnetV6Cidr":"","associationID":"trunk-assoc-0123"}]"#;

    #[test]
    fn writes_exactly_what_it_reads() {
        let read = PodEni::decode(SOUND).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].vlan, read[0].subnet.nth(1)), (3, Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(PodEni::encode(&read), SOUND);
    }

    #[test]
    fn accepts_the_other_spelling_and_unknown_keys() {
        let text = SOUND.replace("vlanId", "vlanID").replace("[{", r#"[{"future":{"a":[1]},"#);
        assert_eq!(PodEni::decode_first(&text).unwrap().vlan, 3);
    }

    #[test]
    fn hostile_values_are_errors() {
        let bent = |from: &str, to: &str| {
            assert!(SOUND.contains(from), "{from}");
            SOUND.replace(from, to)
        };
        for text in [
            String::new(),
            "null".into(),
            "[]".into(),
            "{}".into(),
            "[[]]".into(),
            "x".repeat(MAX_BYTES + 1),
            format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
            bent("\"vlanId\":3", "\"vlanId\":0"),
            bent("\"vlanId\":3", "\"vlanId\":121"),
            bent("\"vlanId\":3", "\"vlanId\":\"3\""),
            bent("\"vlanId\":3", "\"vlanId\":3.5"),
            bent("\"vlanId\":3", "\"vlanId\":65537"),
            bent("\"vlanId\":3", "\"vlanId\":3,\"vlanID\":4"),
            bent("eni-0a1b2c", "../../etc"),
            bent("eni-0a1b2c", "eni-"),
            bent("02:11:22", "03:11:22"),
            bent("02:11:22:33:44:55", "00:00:00:00:00:00"),
            bent("10.0.1.20", "10.0.2.20"),
            bent("10.0.1.20", "::1"),
            bent("10.0.1.0/24", "10.0.1.0/33"),
            bent("10.0.1.0/24", "10.0.1.0"),
            bent("trunk-assoc-0123", "a\\n b"),
            bent("\"ipv6Addr\":\"\"", "\"ipv6Addr\":\"nonsense\""),
        ] {
            let error = PodEni::decode(&text);
            assert!(error.is_err(), "{}", &text[..text.len().min(80)]);
        }
    }
}
