//! The server's services besides the API: DNS, flow logs, keys of instances' roles.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use tokio::net::{TcpListener, UdpSocket};
use tokio::task::AbortHandle;

use super::flow_log_files::Files;
use super::{Server, flow_log, now};
use crate::api;
use crate::dns;
use crate::effect::VpcView;
use crate::state::State;
use crate::state::role_keys::Issued;
use crate::wire::Wire;

impl Server {
    /// Appends a line per flow record to `path` (`-`: standard output) from now on. A no-op in
    /// records-only mode.
    pub fn log_flows(&self, path: &Path) -> std::io::Result<()> {
        self.log_flows_in(path, flow_log::line)
    }

    /// As [`Self::log_flows`], with everything that is known of a verdict as a JSON object.
    pub fn log_flows_as_json(&self, path: &Path) -> std::io::Result<()> {
        self.log_flows_in(path, flow_log::json)
    }

    fn log_flows_in(&self, path: &Path, form: flow_log::Form) -> std::io::Result<()> {
        if let Some(wire) = &self.wire {
            let sink = flow_log::open(path)?;
            flow_log::start(wire.flow_records(), sink, path.display().to_string(), form);
        }
        Ok(())
    }

    /// Writes the flow logs of the API below `directory`, or to standard output for `-`, from now on; `interval` (seconds) replaces
    /// the one that was asked for. A no-op in records-only mode.
    pub fn write_flow_logs(self: &Arc<Self>, directory: PathBuf, interval: Option<u64>) {
        if self.wire.is_some() {
            let server: Weak<Server> = Arc::downgrade(self);
            // Set before: the first one stays.
            let _known = self.flow_logs.set(Files::start(server, directory, interval));
        }
    }

    /// Lets the DNS of VPCs made from now on ask `resolver` (`ADDRESS`, `ADDRESS:PORT`, `none` or
    /// `host`) for names that they do not know; if absent, the host's where one is there.
    ///
    /// # Errors
    /// A sentence where there is no such resolver.
    pub fn forward_dns(&self, resolver: Option<&str>) -> Result<(), String> {
        if let Some(forwarder) = dns::parse_forwarder(resolver)? {
            // Set before: the first one stays.
            let _known = self.forwarder.set(forwarder);
        }
        Ok(())
    }

    /// The keys of an instance's role, new ones if the old ones end soon; `None` where there is no
    /// such instance, or the journal cannot have them.
    pub(super) async fn role_keys(
        self: &Arc<Self>,
        region: &str,
        instance: &str,
        role: &str,
    ) -> Option<Issued> {
        let known = || {
            let state = self.state();
            state.region(region)?.role_keys.fresh(instance, role, now()).cloned()
        };
        if let Some(keys) = known() {
            return Some(keys);
        }
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", "IssueLabRoleKeys")
            .append_pair("InstanceId", instance)
            .finish();
        let (server, region) = (Arc::clone(self), region.to_owned());
        // In a task of its own: not to be dropped half-way.
        let issue = async move {
            let issue = |state: &mut State, now| {
                let mut outcome = api::answer(state, &region, body.as_bytes(), now);
                let effects = std::mem::take(&mut outcome.effects);
                (outcome.result, effects)
            };
            server.transact(true, issue).await.map_err(|(_, error)| error)
        };
        match tokio::spawn(issue).await {
            Ok(Ok(Ok(_))) => known(),
            failed => {
                tracing::error!(instance, role, ?failed, "no keys for an instance's role");
                None
            }
        }
    }

    /// Opens the DNS of a VPC.
    pub(super) async fn open_dns(
        self: &Arc<Self>,
        wire: &Wire,
        view: &VpcView,
    ) -> Result<Vec<AbortHandle>, String> {
        let vpc = view.key;
        let forwarder = self.forwarder.get().copied();
        let server = Arc::downgrade(self);
        let decide = move |request: &[u8], transport| {
            let Some(server) = server.upgrade() else { return dns::Reply::Silence };
            let find = |name: &str| dns::find(&server.state(), vpc, name);
            dns::reply(request, transport, forwarder.is_some(), find)
        };
        let service = dns::Service::new(decide, forwarder);
        let mut tasks = Vec::new();
        for address in dns_addresses(view) {
            let failed = |error: std::io::Error| format!("serve DNS on {address}: {error}");
            let socket = wire.bind_udp(vpc, address).await.map_err(|error| error.to_string())?;
            let socket = UdpSocket::from_std(socket).map_err(failed)?;
            let listener =
                wire.listen_tcp(vpc, address).await.map_err(|error| error.to_string())?;
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            tasks.push(tokio::spawn(dns::serve_udp(socket, service.clone())).abort_handle());
            tasks.push(tokio::spawn(dns::serve_tcp(listener, service.clone())).abort_handle());
        }
        Ok(tasks)
    }
}

/// Where a VPC's DNS is.
fn dns_addresses(view: &VpcView) -> impl Iterator<Item = SocketAddr> {
    let addresses = [dns::ADDRESS.into(), dns::IPV6_ADDRESS.into()].into_iter();
    let addresses = addresses.chain(view.dns().map(IpAddr::from));
    addresses.map(|address| SocketAddr::new(address, dns::PORT))
}
