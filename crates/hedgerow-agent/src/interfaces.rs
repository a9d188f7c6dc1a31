//! Keeps the node's interfaces and addresses as they should be: reads EC2, brings links up, asks
//! the planner, carries its plan out. One task; everything it does can be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hedgerow_cloud::{
    Cloud, CloudError, CreateInterface, Instance, Interface, InterfaceKind, Tags,
};
use hedgerow_core::limits;
use hedgerow_core::names::{TAG_INSTANCE, TAG_OWNER, cluster_tag};
use hedgerow_core::planner::{self, Action, Limits, TrunkSlot};
use hedgerow_core::sg::Ipv4Prefix;

use crate::node::{Node, NodeNetError, Wanted, now};
use crate::settings::Settings;

/// How often EC2 is asked when nothing happens.
const PERIOD: Duration = Duration::from_secs(60);
/// How often resting addresses and links are looked at.
const TICK: Duration = Duration::from_secs(10);
/// While an interface of EC2's is not up here.
const RETRY: Duration = Duration::from_secs(2);
/// After EC2 refused something.
const BACKOFF: Duration = Duration::from_secs(15);
/// Value of the owner tag on interfaces that the agent makes; the controller's sweep leaves them.
const OWNER: &str = "amazon-vpc-cni";

/// Why interfaces could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum InterfacesError {
    /// EC2.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeNetError),
    /// The instance has no primary interface in EC2's answer.
    #[error("EC2 describes instance {0} without a primary interface")]
    NoPrimary(String),
    /// A blocking task died.
    #[error("a blocking task did not finish: {0}")]
    Task(#[from] tokio::task::JoinError),
}

type Result<T, E = InterfacesError> = std::result::Result<T, E>;

/// The task's state.
pub struct Interfaces {
    cloud: Arc<dyn Cloud>,
    node: Arc<Node>,
    settings: Arc<Settings>,
    instance: String,
    limits: Limits,
    trunk_slot: TrunkSlot,
    subnets: BTreeMap<String, Ipv4Prefix>,
    /// What EC2 said last.
    described: Option<Instance>,
    /// When that was.
    refreshed: tokio::time::Instant,
    /// Which links there were then.
    links: BTreeSet<u32>,
    /// Whether every interface of EC2's is up here.
    complete: bool,
    /// How often in a row it was not; the waits double.
    tries: u32,
}

impl Interfaces {
    /// For the instance with this id and type.
    pub fn new(
        cloud: Arc<dyn Cloud>,
        node: Arc<Node>,
        settings: Arc<Settings>,
        instance: String,
        instance_type: &str,
    ) -> Self {
        let known = limits::instance_type(instance_type);
        if known.is_none() {
            tracing::warn!(instance_type, "not in the table of instance types: one interface only");
        }
        // EC2 refuses what is too much; a type that is not known gets the least that any type has.
        let (max_enis, ipv4_per_eni) = known.map_or((1, 2), |t| (t.max_enis, t.ipv4_per_eni));
        let max_enis = settings.max_enis.map_or(max_enis, |m| m.min(max_enis));
        let trunk_slot = match (known.is_some_and(|t| t.supports_trunk()), settings.pod_eni) {
            (false, _) => TrunkSlot::None,
            (true, false) => TrunkSlot::Soft,
            (true, true) => TrunkSlot::Hard,
        };
        Self {
            cloud,
            node,
            settings,
            instance,
            limits: Limits { max_enis, ipv4_per_eni },
            trunk_slot,
            subnets: BTreeMap::new(),
            described: None,
            refreshed: tokio::time::Instant::now(),
            links: BTreeSet::new(),
            complete: false,
            tries: 0,
        }
    }

    /// Brings everything up until pods can be connected: interfaces, and addresses if there are any.
    pub async fn start(&mut self) -> Result<()> {
        self.refresh().await?;
        let primary = self.primary()?.1.id.clone();
        if !self.node.is_ready(&primary) {
            return Err(NodeNetError::NoInterface(primary).into());
        }
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || node.restore()).await??;
        // One call for eth0's whole batch; another interface is for the task, not for the start.
        if let Some(action @ Action::Assign { .. }) = self.plan().into_iter().next() {
            // A subnet without addresses must not keep the node from serving those it has.
            if let Err(error) = self.execute(action).await {
                tracing::warn!(%error, "no warm addresses yet");
            }
        }
        Ok(())
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        let node = Arc::clone(&self.node);
        loop {
            // Nothing happening for a tick is a reason to look, too.
            let _ = tokio::time::timeout(self.patience().min(TICK), node.changed.notified()).await;
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "interfaces are not as they should be; trying again");
                tokio::time::sleep(BACKOFF).await;
            }
        }
    }

    /// How long EC2's last answer is good for.
    fn patience(&self) -> Duration {
        if self.complete { PERIOD } else { (RETRY * (1 << self.tries.min(5))).min(PERIOD) }
    }

    /// Reads EC2 where there is a reason, then does what the planner says. Reasons: it is time,
    /// somebody misses something, a link came (the trunk?) or went. Not more than once a second.
    async fn round(&mut self) -> Result<()> {
        let links = self.candidate_links().await?;
        let age = self.refreshed.elapsed();
        let reason = self.node.take_refresh() || links != self.links;
        if age >= self.patience() || reason {
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(age)).await;
            self.refresh().await?;
        }
        self.converge().await
    }

    async fn candidate_links(&self) -> Result<BTreeSet<u32>> {
        let node = Arc::clone(&self.node);
        Ok(tokio::task::spawn_blocking(move || node.candidate_links()).await??)
    }

    /// Reads the instance from EC2 and brings its links up.
    pub async fn refresh(&mut self) -> Result<()> {
        let links = self.candidate_links().await?;
        let instance = self.cloud.describe_instance(&self.instance).await?;
        let mut wanted = Vec::new();
        for interface in &instance.interfaces {
            let Some(primary) = interface.addresses.first() else { continue };
            let trunk = interface.kind == InterfaceKind::Trunk;
            if !trunk && interface.kind != InterfaceKind::Plain {
                continue;
            }
            wanted.push(Wanted {
                id: interface.id.clone(),
                mac: interface.mac,
                trunk,
                first: interface.attachment.as_ref().is_some_and(|a| a.device_index == 0),
                subnet: self.subnet(&interface.subnet).await?,
                primary: *primary,
            });
        }
        let node = Arc::clone(&self.node);
        self.complete = tokio::task::spawn_blocking(move || node.put_interfaces(&wanted)).await??;
        self.tries = if self.complete { 0 } else { self.tries + 1 };
        self.links = links;
        self.refreshed = tokio::time::Instant::now();
        let mut pool = self.node.pool();
        let plain = || instance.interfaces.iter().filter(|i| i.kind == InterfaceKind::Plain);
        pool.retain_enis(&plain().map(|i| i.id.clone()).collect());
        for interface in plain() {
            let index = interface.attachment.as_ref().map_or(0, |a| a.device_index);
            let secondary = interface.addresses.get(1..).unwrap_or_default();
            pool.put_eni(&interface.id, index, secondary, now());
        }
        drop(pool);
        self.described = Some(instance);
        Ok(())
    }

    async fn subnet(&mut self, id: &str) -> Result<Ipv4Prefix> {
        if let Some(block) = self.subnets.get(id) {
            return Ok(*block);
        }
        let block = self.cloud.describe_subnet(id).await?.block;
        self.subnets.insert(id.to_owned(), block);
        Ok(block)
    }

    fn plan(&self) -> Vec<Action> {
        planner::plan(&planner::Node {
            enis: self.node.pool().enis(now()),
            limits: self.limits,
            trunk: self.trunk_slot,
            targets: self.settings.targets,
        })
    }

    /// Plans and acts until the plan is empty.
    async fn converge(&mut self) -> Result<()> {
        // More rounds than any instance type has interfaces; a plan that never ends is a bug that
        // must not become a storm of calls.
        for _ in 0..20 {
            let plan = self.plan();
            if plan.is_empty() {
                return Ok(());
            }
            for action in plan {
                self.execute(action).await?;
            }
        }
        Ok(())
    }

    async fn execute(&mut self, action: Action) -> Result<()> {
        tracing::info!(?action, "address pool");
        match action {
            Action::Assign { eni, count } => self.assign(&eni, count).await,
            Action::Attach { addresses } => self.attach(addresses).await,
            Action::Unassign { eni, count } => {
                let idle = self.node.pool().idle_addresses(&eni, count as usize, now());
                self.node.pool().withdraw(&eni, &idle);
                Ok(self.cloud.unassign_private_addresses(&eni, &idle).await?)
            }
            Action::Release { eni } => self.release(&eni).await,
        }
    }

    /// Assigns addresses; where the subnet has fewer, half as many, and so on.
    async fn assign(&self, eni: &str, count: u32) -> Result<()> {
        let mut count = count;
        loop {
            match self.cloud.assign_private_addresses(eni, count).await {
                Ok(new) => {
                    self.node.pool().add_addresses(eni, &new);
                    return Ok(());
                }
                Err(e) if count > 1 && e.code() == Some("InsufficientFreeAddressesInSubnet") => {
                    count /= 2;
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Creates an interface like the primary one and attaches it at the lowest free device index
    /// (trunks take the highest).
    async fn attach(&mut self, addresses: u32) -> Result<()> {
        let (instance, primary) = self.primary()?;
        let taken = |index: &u8| {
            let at = |i: &Interface| i.attachment.as_ref().map(|a| a.device_index);
            instance.interfaces.iter().any(|i| at(i) == Some(*index))
        };
        let Some(index) = (1..=u8::MAX).find(|i| !taken(i)) else { return Ok(()) };
        let request = CreateInterface {
            subnet: primary.subnet.clone(),
            groups: primary.groups.clone(),
            description: format!("aws-K8S-{}", self.instance),
            kind: InterfaceKind::Plain,
            tags: self.tags(),
            secondary_addresses: addresses,
            client_token: format!("hr-{}-{index}-{}", self.instance, now()),
        };
        let created = self.cloud.create_interface(&request).await?;
        let attached = self.cloud.attach_interface(&created.id, &self.instance, index).await;
        match attached {
            Ok(attachment) => {
                self.cloud.set_delete_on_termination(&created.id, &attachment, true).await?;
                self.refresh().await
            }
            Err(error) => {
                self.cloud.delete_interface(&created.id).await?;
                Err(error.into())
            }
        }
    }

    fn primary(&self) -> Result<(&Instance, &Interface)> {
        let missing = || InterfacesError::NoPrimary(self.instance.clone());
        let instance = self.described.as_ref().ok_or_else(missing)?;
        let is_primary =
            |i: &&Interface| i.attachment.as_ref().is_some_and(|a| a.device_index == 0);
        let primary = instance.interfaces.iter().find(is_primary).ok_or_else(missing)?;
        Ok((instance, primary))
    }

    fn tags(&self) -> Tags {
        let mut tags = Tags::new();
        tags.insert(TAG_OWNER.to_owned(), OWNER.to_owned());
        tags.insert(TAG_INSTANCE.to_owned(), self.instance.clone());
        if !self.settings.cluster_name.is_empty() {
            tags.insert(cluster_tag(&self.settings.cluster_name), "owned".to_owned());
        }
        tags
    }

    /// Detaches and deletes an interface without pods.
    async fn release(&mut self, eni: &str) -> Result<()> {
        let idle = self.node.pool().idle_addresses(eni, usize::MAX, now());
        self.node.pool().withdraw(eni, &idle);
        let attachment = self.described.as_ref().and_then(|instance| {
            let interface = instance.interfaces.iter().find(|i| i.id == eni)?;
            interface.attachment.clone()
        });
        if let Some(attachment) = attachment {
            self.cloud.detach_interface(&attachment.id).await?;
        }
        // Detaching takes EC2 a moment, during which the interface is in use.
        let mut tries = 0;
        loop {
            match self.cloud.delete_interface(eni).await {
                Err(e) if e.code() == Some("InvalidNetworkInterface.InUse") && tries < 20 => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(e) if e.is_not_found() => break,
                other => break other?,
            }
        }
        self.refresh().await
    }
}
