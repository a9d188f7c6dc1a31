//! What the plugin says: results and errors as the specification's JSON.
//!
//! "CNI Specification 1.0.0", section 5. Results before 1.0.0 carry `"version": "4"` per address.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::invocation::SUPPORTED;
use crate::message::Attachment;

/// Error codes of the specification; 100 and up are the plugin's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// The configuration asks for a version that is not spoken.
    IncompatibleVersion = 1,
    /// The sandbox is not known, or something of it is missing (CHECK).
    UnknownContainer = 3,
    /// A CNI_* variable is missing or wrong.
    InvalidEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// Something is not the JSON it should be.
    Decode = 6,
    /// The configuration contradicts itself.
    InvalidConfig = 7,
    /// It cannot be done now; the runtime tries again.
    TryAgain = 11,
    /// The agent refuses: the pod may not have this network (its security groups would not hold).
    Refused = 100,
    /// The agent could not set the network up.
    SetupFailed = 101,
}

/// An error as the runtime reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{msg} ({details})")]
pub struct CniError {
    /// See [`Code`].
    pub code: u32,
    /// What happened, one line.
    pub msg: String,
    /// What to do about it.
    pub details: String,
}

impl CniError {
    /// An error with this code, message and advice.
    pub fn new(code: Code, msg: impl Into<String>, details: impl Into<String>) -> Self {
        Self { code: code as u32, msg: msg.into(), details: details.into() }
    }

    /// The error's JSON in `version`.
    pub fn to_json(&self, version: &str) -> Value {
        json!({"cniVersion": version, "code": self.code, "msg": self.msg, "details": self.details})
    }
}

/// The result of ADD in `version`.
pub fn result(version: &str, attachment: &Attachment, sandbox: &str) -> Value {
    let mut ip = json!({
        "address": format!("{}/32", attachment.address),
        "gateway": attachment.gateway.to_string(),
        "interface": 1,
    });
    if !version.starts_with("1.") {
        ip["version"] = json!("4");
    }
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": attachment.host_name, "mac": attachment.host_mac},
            {"name": attachment.pod_name, "mac": attachment.pod_mac, "sandbox": sandbox},
        ],
        "ips": [ip],
        "routes": [{"dst": "0.0.0.0/0", "gw": attachment.gateway.to_string()}],
        "dns": {},
    })
}

/// The answer to VERSION; `version` is what the runtime's stdin said.
pub fn versions(version: &str) -> Value {
    json!({"cniVersion": version, "supportedVersions": SUPPORTED})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            host_name: "eni0123456789a".to_owned(),
            host_mac: "0a:00:00:00:00:01".to_owned(),
            pod_name: "eth0".to_owned(),
            pod_mac: "0a:00:00:00:00:02".to_owned(),
            address: "10.0.0.7".parse().unwrap(),
            gateway: "169.254.1.1".parse().unwrap(),
        }
    }

    #[test]
    fn result_1_0_0() {
        let expected = r#"{"cniVersion":"1.0.0","dns":{},"interfaces":[{"mac":"0a:00:00:00:00:01","name":"eni0123456789a"},{"mac":"0a:00:00:00:00:02","name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.0.0.7/32","gateway":"169.254.1.1","interface":1}],"routes":[{"dst":"0.0.0.0/0","gw":"169.254.1.1"}]}"#;
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(result("1.0.0", &attachment(), "/n"), expected);
    }

    #[test]
    fn result_before_1_0_0_names_the_ip_version() {
        for version in ["0.3.0", "0.3.1", "0.4.0"] {
            let value = result(version, &attachment(), "/n");
            assert_eq!(value["cniVersion"], version);
            assert_eq!(value["ips"][0]["version"], "4");
        }
        assert!(result("1.0.0", &attachment(), "/n")["ips"][0].get("version").is_none());
    }
}
