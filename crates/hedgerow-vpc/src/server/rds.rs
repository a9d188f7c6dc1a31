//! Databases' servers beside the API: they follow effects, and what becomes of them is told to the
//! API as an action like any other, so that it is journalled.

use std::path::Path;
use std::sync::{Arc, Weak};

use form_urlencoded::Serializer;
use futures::future::join_all;
use tokio::sync::mpsc;

use super::Server;
use crate::api::envelope::Api;
use crate::effect::Effect;
use crate::rds::{self, Config, Databases, News};

impl Server {
    /// From now on databases have servers, or are `stopped` where only records are kept. To be
    /// called once, inside the runtime, before the machine is rebuilt. `name` is the VPC process's;
    /// data survive the process in the folder `state`, if one is given.
    pub fn run_databases(self: &Arc<Self>, name: &str, state: Option<&Path>) {
        let temporary = || rds::temporary_folder(name);
        let config = self.wire.as_ref().map(|_| Config {
            name: name.to_owned(),
            folder: state.map_or_else(temporary, |state| state.join("databases")),
            keep: state.is_some(),
        });
        let (news, inbox) = mpsc::unbounded_channel();
        if self.databases.set(Databases::start(config, news)).is_ok() {
            tokio::spawn(tell(Arc::downgrade(self), inbox));
        }
    }

    /// Starts the servers that `effects` ask for; they come up later.
    pub(super) fn start_databases(&self, effects: &[Effect]) {
        if let Some(databases) = self.databases.get() {
            databases.start_all(effects);
        }
    }

    /// Ends the servers that `effects` do away with, at once; what it returns waits until they are
    /// gone.
    pub(super) fn stop_databases(
        &self,
        effects: &[Effect],
    ) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.databases.get().map(|databases| databases.stop_all(effects));
        async { drop(join_all(stopped.into_iter().flatten()).await) }
    }

    /// Every database of the records was started: what is left of others goes.
    pub(super) fn tidy_databases(&self) {
        if let Some(databases) = self.databases.get() {
            databases.tidy();
        }
    }

    /// Ends every server, but with `leave` those that outlive the process. Blocks for it; not to be
    /// called on a thread of the runtime.
    pub(super) fn end_databases(&self, leave: bool) {
        if let Some(databases) = self.databases.get() {
            tokio::runtime::Handle::current().block_on(databases.shutdown(leave));
        }
    }
}

async fn tell(server: Weak<Server>, mut inbox: mpsc::UnboundedReceiver<News>) {
    while let Some((region, instance, status)) = inbox.recv().await {
        let Some(server) = server.upgrade() else { return };
        let body = Serializer::new(String::new())
            .append_pair("Action", "PutLabDatabaseStatus")
            .append_pair("Version", Api::Rds.version())
            .append_pair("Instance", &instance)
            .append_pair("Status", status.name())
            .finish();
        if server.ask(&region, body.into()).await.is_none_or(|answer| answer.status != 200) {
            tracing::error!(instance, status = status.name(), "a database's status is not told");
        }
    }
}
