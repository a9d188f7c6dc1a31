//! What the runtime says: environment variables, `CNI_ARGS` and the configuration on stdin.
//!
//! "CNI Specification 1.0.0", section 2. Everything is checked here, so that no later code meets a
//! name that could be a path or an interface name that the kernel would refuse.

use serde::Deserialize;

use crate::answer::{CniError, Code};
use crate::message::PodRef;

/// Versions of the specification this plugin speaks, oldest first.
pub const SUPPORTED: [&str; 4] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

/// What the runtime wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Connect a sandbox.
    Add,
    /// Undo ADD.
    Del,
    /// See that what ADD made is still there.
    Check,
    /// Say which versions are spoken.
    Version,
}

/// The plugin's part of the network configuration; unknown keys are the runtime's business.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Version the answer must have; absent means 0.1.0 by the specification, which is not spoken.
    #[serde(rename = "cniVersion", default = "oldest")]
    pub cni_version: String,
    /// Network name.
    #[serde(default)]
    pub name: String,
    /// The agent's unix socket.
    #[serde(default = "default_socket")]
    pub socket: String,
}

fn oldest() -> String {
    "0.1.0".to_owned()
}

fn default_socket() -> String {
    crate::DEFAULT_SOCKET.to_owned()
}

/// A checked call of ADD, DEL or CHECK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The sandbox, unique for all time on this node.
    pub container_id: String,
    /// Path of the network namespace; the runtime may leave it out on DEL.
    pub netns: Option<String>,
    /// Name of the interface in the sandbox.
    pub ifname: String,
    /// The pod, when the runtime is a Kubernetes one.
    pub pod: Option<PodRef>,
}

/// The command in `CNI_COMMAND`.
pub fn command(env: &dyn Fn(&str) -> Option<String>) -> Result<Command, CniError> {
    match env("CNI_COMMAND").as_deref() {
        Some("ADD") => Ok(Command::Add),
        Some("DEL") => Ok(Command::Del),
        Some("CHECK") => Ok(Command::Check),
        Some("VERSION") => Ok(Command::Version),
        other => Err(CniError::new(
            Code::InvalidEnvironment,
            format!("CNI_COMMAND is '{}'", other.unwrap_or_default()),
            "expected ADD, DEL, CHECK or VERSION",
        )),
    }
}

/// The configuration on stdin; its version must be one that is spoken.
pub fn config(stdin: &[u8]) -> Result<Config, CniError> {
    let config: Config = serde_json::from_slice(stdin).map_err(|e| {
        CniError::new(Code::Decode, "the network configuration on stdin is not JSON", e.to_string())
    })?;
    if !SUPPORTED.contains(&config.cni_version.as_str()) {
        return Err(CniError::new(
            Code::IncompatibleVersion,
            format!("cniVersion {} is not supported", config.cni_version),
            format!("supported: {}", SUPPORTED.join(", ")),
        ));
    }
    if !config.socket.starts_with('/') {
        return Err(CniError::new(
            Code::InvalidConfig,
            format!("socket '{}' is not an absolute path", config.socket),
            "set \"socket\" to the agent's socket",
        ));
    }
    Ok(config)
}

/// The environment of ADD, DEL and CHECK.
pub fn invocation(
    command: Command,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Invocation, CniError> {
    let required = |key: &str| {
        env(key).filter(|v| !v.is_empty()).ok_or_else(|| {
            CniError::new(
                Code::InvalidEnvironment,
                format!("{key} is not set"),
                "set by the runtime",
            )
        })
    };
    let container_id = required("CNI_CONTAINERID")?;
    if !valid_container_id(&container_id) {
        return Err(bad("CNI_CONTAINERID", &container_id));
    }
    let ifname = required("CNI_IFNAME")?;
    if !valid_ifname(&ifname) {
        return Err(bad("CNI_IFNAME", &ifname));
    }
    let netns = match command {
        Command::Del => env("CNI_NETNS").filter(|v| !v.is_empty()),
        _ => Some(required("CNI_NETNS")?),
    };
    let pod = pod(&env("CNI_ARGS").unwrap_or_default())?;
    Ok(Invocation { container_id, netns, ifname, pod })
}

fn bad(key: &str, value: &str) -> CniError {
    let shown: String = value.chars().take(64).collect();
    CniError::new(
        Code::InvalidEnvironment,
        format!("{key} '{shown}' is not valid"),
        "see the CNI specification, section 2, Parameters",
    )
}

/// A letter or digit, then letters, digits, `_`, `.`, `-` (specification, section 2).
fn valid_container_id(id: &str) -> bool {
    id.len() <= 256
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

/// What the kernel takes as an interface name (`dev_valid_name`): at most 15 bytes, no `/`, `:` or
/// white space, not `.` or `..`.
fn valid_ifname(name: &str) -> bool {
    name.len() <= 15
        && name != "."
        && name != ".."
        && name.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':')
}

/// The pod in `CNI_ARGS` (`K8S_POD_NAMESPACE=…;K8S_POD_NAME=…;…`, any order). `None` when neither
/// name nor namespace is given. Unknown keys are refused unless `IgnoreUnknown` is true.
fn pod(args: &str) -> Result<Option<PodRef>, CniError> {
    let (mut namespace, mut name, mut uid) = (None, None, None);
    let mut unknown = None;
    let mut ignore_unknown = false;
    for pair in args.split(';').filter(|p| !p.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(bad("CNI_ARGS", pair));
        };
        match key {
            "IgnoreUnknown" => ignore_unknown = matches!(value, "1" | "true" | "True" | "TRUE"),
            "K8S_POD_NAMESPACE" => namespace = Some(value.to_owned()),
            "K8S_POD_NAME" => name = Some(value.to_owned()),
            "K8S_POD_UID" => uid = Some(value.to_owned()).filter(|u| !u.is_empty()),
            "K8S_POD_INFRA_CONTAINER_ID" => {}
            other => unknown = Some(other.to_owned()),
        }
    }
    if let Some(key) = unknown.filter(|_| !ignore_unknown) {
        return Err(bad("CNI_ARGS", &key));
    }
    match (namespace, name) {
        (Some(namespace), Some(name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Some(PodRef { namespace, name, uid }))
        }
        (None, None) => Ok(None),
        _ => Err(bad("CNI_ARGS", args)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned())
    }

    const ARGS: &str = "K8S_POD_UID=u-1;IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web;\
                        K8S_POD_INFRA_CONTAINER_ID=abc;X=y";

    #[test]
    fn arguments_in_any_order() {
        let pairs = [
            ("CNI_CONTAINERID", "abc"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", "/var/run/netns/x"),
            ("CNI_ARGS", ARGS),
        ];
        let call = invocation(Command::Add, &env(&pairs)).unwrap();
        let pod = call.pod.unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("ns", "web"));
        assert_eq!(pod.uid.as_deref(), Some("u-1"));
    }

    #[test]
    fn unknown_arguments_need_ignore_unknown() {
        assert!(pod("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;X=y").is_err());
        assert!(pod("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;X=y;IgnoreUnknown=true").is_ok());
        assert!(pod("K8S_POD_NAMESPACE=a").is_err());
        assert!(pod("nonsense").is_err());
        assert_eq!(pod("").unwrap(), None);
    }

    #[test]
    fn netns_is_optional_on_del_only() {
        let pairs = [("CNI_CONTAINERID", "abc"), ("CNI_IFNAME", "eth0")];
        assert_eq!(invocation(Command::Del, &env(&pairs)).unwrap().netns, None);
        let error = invocation(Command::Add, &env(&pairs)).unwrap_err();
        assert_eq!(error.code, 4, "{error:?}");
    }

    #[test]
    fn hostile_names_are_refused() {
        for (id, ifname) in
            [("../x", "eth0"), ("", "eth0"), ("a", "a/b"), ("a", ".."), ("a b", "e")]
        {
            let pairs = [("CNI_CONTAINERID", id), ("CNI_IFNAME", ifname), ("CNI_NETNS", "/n")];
            assert_eq!(
                invocation(Command::Add, &env(&pairs)).unwrap_err().code,
                4,
                "{id} {ifname}"
            );
        }
        let long = "a".repeat(16);
        let pairs = [("CNI_CONTAINERID", "a"), ("CNI_IFNAME", long.as_str()), ("CNI_NETNS", "/n")];
        assert!(invocation(Command::Add, &env(&pairs)).is_err());
    }

    #[test]
    fn versions() {
        for version in SUPPORTED {
            config(format!(r#"{{"cniVersion":"{version}","name":"n"}}"#).as_bytes()).unwrap();
        }
        for text in [r#"{"cniVersion":"1.1.0"}"#, r#"{"name":"n"}"#, r#"{"cniVersion":"0.2.0"}"#] {
            assert_eq!(config(text.as_bytes()).unwrap_err().code, 1, "{text}");
        }
        assert_eq!(config(b"{").unwrap_err().code, 6);
        assert_eq!(config(br#"{"cniVersion":"1.0.0","socket":"x"}"#).unwrap_err().code, 7);
    }
}
