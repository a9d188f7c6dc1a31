//! What a rule says of protocols and ports, between EC2's words and the fabric's types.

use hedgerow_core::sg::Traffic;

use crate::api::error::Ec2Error;

/// Reads EC2's words.
///
/// # Errors
/// `MissingParameter` without a protocol, `InvalidParameterValue` for one that does not exist and
/// for ports or types that cannot be.
pub(crate) fn parse(
    protocol: Option<&str>,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<Traffic, Ec2Error> {
    let protocol = protocol.ok_or_else(|| Ec2Error::missing("ipProtocol"))?.to_ascii_lowercase();
    match protocol.as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => ports(from, to).map(|(from, to)| Traffic::Tcp { from, to }),
        "udp" | "17" => ports(from, to).map(|(from, to)| Traffic::Udp { from, to }),
        "icmp" | "1" => icmp(from, to).map(|(kind, code)| Traffic::Icmp { kind, code }),
        "icmpv6" | "58" => icmp(from, to).map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        other => other.parse().map(Traffic::Other).map_err(|_| {
            let message = format!("Invalid value '{other}' for IP protocol. Unknown protocol.");
            Ec2Error::new("InvalidParameterValue", message)
        }),
    }
}

/// EC2's words for a rule's [`Traffic`].
pub(crate) struct Words {
    /// Name, or number where it has none.
    pub protocol: String,
    /// First port or ICMP type.
    pub from: Option<i32>,
    /// Last port or ICMP code.
    pub to: Option<i32>,
}

impl Words {
    /// EC2's words.
    pub fn of(traffic: Traffic) -> Words {
        let words = |protocol: &str, from, to| Words { protocol: protocol.to_owned(), from, to };
        let port = |port: u16| Some(port.into());
        let part = |value: Option<u8>| Some(value.map_or(-1, i32::from));
        match traffic {
            Traffic::All => words("-1", None, None),
            Traffic::Tcp { from, to } => words("tcp", port(from), port(to)),
            Traffic::Udp { from, to } => words("udp", port(from), port(to)),
            Traffic::Icmp { kind, code } => words("icmp", part(kind), part(code)),
            Traffic::Icmpv6 { kind, code } => words("icmpv6", part(kind), part(code)),
            Traffic::Other(number) => words(&number.to_string(), None, None),
        }
    }
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
