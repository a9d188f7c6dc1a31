//! Connection-tracking timeouts of an interface ("Idle connection tracking timeout", Amazon EC2 User
//! Guide).

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::api::error::Ec2Error;
use crate::effect::ConnectionTimeouts;

/// Timeouts in requests, seconds.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TimeoutSpec {
    tcp_established_timeout: Option<u32>,
    udp_stream_timeout: Option<u32>,
    udp_timeout: Option<u32>,
}

/// The timeouts that were set, seconds; the others are EC2's defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timeouts {
    tcp_established: Option<u32>,
    udp_stream: Option<u32>,
    udp: Option<u32>,
}

/// Timeouts in answers, seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TimeoutsItem {
    tcp_established_timeout: Option<u32>,
    udp_stream_timeout: Option<u32>,
    udp_timeout: Option<u32>,
}

impl Timeouts {
    /// The timeouts that a request sets.
    ///
    /// # Errors
    /// `InvalidParameterValue` outside EC2's bounds.
    pub fn new(spec: Option<&TimeoutSpec>) -> Result<Self, Ec2Error> {
        spec.map_or(Ok(Self::default()), |spec| Self::default().changed(spec))
    }

    /// These with the ones that the request names changed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn changed(mut self, spec: &TimeoutSpec) -> Result<Self, Ec2Error> {
        for (name, bounds, given, field) in [
            (
                "tcpEstablishedTimeout",
                60..=432_000,
                spec.tcp_established_timeout,
                &mut self.tcp_established,
            ),
            ("udpStreamTimeout", 60..=180, spec.udp_stream_timeout, &mut self.udp_stream),
            ("udpTimeout", 30..=60, spec.udp_timeout, &mut self.udp),
        ] {
            if let Some(seconds) = given {
                check(name, bounds, seconds)?;
                *field = Some(seconds);
            }
        }
        Ok(self)
    }

    /// For the fabric; none where all are EC2's defaults.
    pub fn view(self) -> Option<ConnectionTimeouts> {
        let usual = ConnectionTimeouts::default();
        (self != Self::default()).then(|| ConnectionTimeouts {
            tcp_established: self.tcp_established.unwrap_or(usual.tcp_established),
            udp_stream: self.udp_stream.unwrap_or(usual.udp_stream),
            udp: self.udp.unwrap_or(usual.udp),
        })
    }

    /// For an answer; none where nothing was set.
    pub fn item(self) -> Option<TimeoutsItem> {
        (self != Self::default()).then_some(TimeoutsItem {
            tcp_established_timeout: self.tcp_established,
            udp_stream_timeout: self.udp_stream,
            udp_timeout: self.udp,
        })
    }
}

fn check(name: &str, bounds: RangeInclusive<u32>, seconds: u32) -> Result<(), Ec2Error> {
    if bounds.contains(&seconds) {
        return Ok(());
    }
    let why = format!("It is from {} to {} seconds.", bounds.start(), bounds.end());
    Err(Ec2Error::value(name, seconds, &why))
}
