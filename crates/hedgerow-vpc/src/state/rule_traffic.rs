//! What a rule says of protocols and ports, between EC2's words and the fabric's types.

use hedgerow_core::sg::Traffic;
use serde::{Deserialize, Serialize};

use crate::api::error::Ec2Error;

/// What a rule says of protocols and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RuleTraffic {
    /// What the fabric knows too.
    Plain(Traffic),
    /// ICMPv6; `None` is EC2's `-1`. Kept and described; the fabric carries IPv4 only.
    Icmpv6 {
        /// Message type.
        kind: Option<u8>,
        /// Message code.
        code: Option<u8>,
    },
}

impl RuleTraffic {
    /// Every protocol and port.
    pub const ALL: RuleTraffic = RuleTraffic::Plain(Traffic::All);

    /// What the traffic is in the fabric; `None` for what no IPv4 packet carries.
    pub fn on_ipv4(self) -> Option<Traffic> {
        match self {
            RuleTraffic::Plain(traffic) => Some(traffic),
            RuleTraffic::Icmpv6 { .. } => None,
        }
    }

    /// Reads EC2's words.
    ///
    /// # Errors
    /// `MissingParameter` without a protocol, `InvalidParameterValue` for one that does not exist
    /// and for ports or types that cannot be.
    pub fn parse(
        protocol: Option<&str>,
        from: Option<i32>,
        to: Option<i32>,
    ) -> Result<RuleTraffic, Ec2Error> {
        let protocol =
            protocol.ok_or_else(|| Ec2Error::missing("ipProtocol"))?.to_ascii_lowercase();
        let plain = |traffic| Ok(RuleTraffic::Plain(traffic));
        match protocol.as_str() {
            "-1" | "all" => Ok(RuleTraffic::ALL),
            "tcp" | "6" => ports(from, to).and_then(|(from, to)| plain(Traffic::Tcp { from, to })),
            "udp" | "17" => ports(from, to).and_then(|(from, to)| plain(Traffic::Udp { from, to })),
            "icmp" | "1" => {
                icmp(from, to).and_then(|(kind, code)| plain(Traffic::Icmp { kind, code }))
            }
            "icmpv6" | "58" => {
                icmp(from, to).map(|(kind, code)| RuleTraffic::Icmpv6 { kind, code })
            }
            other => match other.parse() {
                Ok(number) => plain(Traffic::Other(number)),
                Err(_) => {
                    let message =
                        format!("Invalid value '{other}' for IP protocol. Unknown protocol.");
                    Err(Ec2Error::new("InvalidParameterValue", message))
                }
            },
        }
    }

    /// EC2's words.
    pub fn words(self) -> Words {
        let words = |protocol: &str, from: Option<i32>, to: Option<i32>| Words {
            protocol: protocol.to_owned(),
            from,
            to,
        };
        let part = |value: Option<u8>| Some(value.map_or(-1, i32::from));
        match self {
            RuleTraffic::Icmpv6 { kind, code } => words("icmpv6", part(kind), part(code)),
            RuleTraffic::Plain(Traffic::All) => words("-1", None, None),
            RuleTraffic::Plain(Traffic::Tcp { from, to }) => {
                words("tcp", Some(from.into()), Some(to.into()))
            }
            RuleTraffic::Plain(Traffic::Udp { from, to }) => {
                words("udp", Some(from.into()), Some(to.into()))
            }
            RuleTraffic::Plain(Traffic::Icmp { kind, code }) => {
                words("icmp", part(kind), part(code))
            }
            RuleTraffic::Plain(Traffic::Other(number)) => words(&number.to_string(), None, None),
        }
    }
}

/// EC2's words for a [`RuleTraffic`].
pub(crate) struct Words {
    /// Name, or number where it has none.
    pub protocol: String,
    /// First port or ICMP type.
    pub from: Option<i32>,
    /// Last port or ICMP code.
    pub to: Option<i32>,
}

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), Ec2Error> {
    let refuse = |message: String| Err(Ec2Error::new("InvalidParameterValue", message));
    let (Some(from), Some(to)) = (from, to) else {
        return refuse(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
                .into(),
        );
    };
    match (u16::try_from(from), u16::try_from(to)) {
        (Ok(from), Ok(to)) if from <= to => Ok((from, to)),
        (Ok(_), Ok(_)) => refuse(format!(
            "Invalid TCP/UDP port range ({from}:{to}): the first port is above the last"
        )),
        (Err(_), _) => refuse(format!("TCP/UDP port ({from}) out of range")),
        (_, Err(_)) => refuse(format!("TCP/UDP port ({to}) out of range")),
    }
}

/// Type and code; what is absent or -1 is any.
fn icmp(kind: Option<i32>, code: Option<i32>) -> Result<(Option<u8>, Option<u8>), Ec2Error> {
    let part = |name: &str, value: Option<i32>| match value.unwrap_or(-1) {
        -1 => Ok(None),
        value => u8::try_from(value).map(Some).map_err(|_| {
            let message = format!("ICMP {name} ({value}) out of range");
            Ec2Error::new("InvalidParameterValue", message)
        }),
    };
    match (part("type", kind)?, part("code", code)?) {
        (None, Some(code)) => {
            let message = format!("ICMP code ({code}) must not be specified without type");
            Err(Ec2Error::new("InvalidParameterValue", message))
        }
        both => Ok(both),
    }
}
