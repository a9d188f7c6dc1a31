//! What Hedgerow needs of EC2.
//!
//! ```text
//!   controller, agent ──► Cloud (trait) ◄── Ec2: the official SDK ──HTTP──► AWS or hedgerow-vpc
//!                          model: plain structs       │
//!                          error: EC2's own words     └ retries, backs off and slows down when throttled
//! ```
//!
//! Which EC2 answers is a matter of the endpoint (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_EC2`), not
//! of the code.

mod convert;
mod ec2;
mod error;
mod model;

use std::net::Ipv4Addr;

use async_trait::async_trait;
use hedgerow_core::sg::GroupId;

pub use ec2::Ec2;
pub use error::CloudError;
pub use model::{
    Attachment, CreateInterface, Instance, Interface, InterfaceKind, InterfaceQuery, Subnet, Tags,
};

/// What a call gives.
pub type Result<T> = std::result::Result<T, CloudError>;

/// The EC2 calls that the controller and the agent make. Ids are EC2's own texts. Calls that
/// throttling or the network spoilt were already repeated when an error arrives here.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The instance and what is attached to it. `InvalidInstanceID.NotFound` where there is none;
    /// a terminated instance may still be described for a while.
    async fn describe_instance(&self, id: &str) -> Result<Instance>;

    /// All interfaces that the query names, every page of them.
    async fn describe_interfaces(&self, query: &InterfaceQuery) -> Result<Vec<Interface>>;

    /// Makes an interface; the answer has its MAC and addresses.
    async fn create_interface(&self, request: &CreateInterface) -> Result<Interface>;

    /// Plugs the interface into the instance; returns the attachment's id.
    async fn attach_interface(
        &self,
        interface: &str,
        instance: &str,
        device_index: u8,
    ) -> Result<String>;

    /// Whether EC2 deletes the attached interface with its instance.
    async fn set_delete_on_termination(
        &self,
        interface: &str,
        attachment: &str,
        delete: bool,
    ) -> Result<()>;

    /// Unplugs; the interface is `available` a moment later.
    async fn detach_interface(&self, attachment: &str) -> Result<()>;

    /// Deletes an interface that is not attached. A branch that is still associated is
    /// disassociated by it.
    async fn delete_interface(&self, interface: &str) -> Result<()>;

    /// Assigns `count` more secondary addresses and returns the new ones.
    async fn assign_private_addresses(&self, interface: &str, count: u32) -> Result<Vec<Ipv4Addr>>;

    /// Takes secondary addresses away.
    async fn unassign_private_addresses(
        &self,
        interface: &str,
        addresses: &[Ipv4Addr],
    ) -> Result<()>;

    /// Lets another account attach the interface (`INSTANCE-ATTACH`).
    async fn create_permission(&self, interface: &str, account: &str) -> Result<()>;

    /// Hangs the branch on the trunk under a VLAN id; returns the association's id.
    async fn associate_trunk(
        &self,
        trunk: &str,
        branch: &str,
        vlan: u16,
        client_token: &str,
    ) -> Result<String>;

    /// Ends an association.
    async fn disassociate_trunk(&self, association: &str, client_token: &str) -> Result<()>;

    /// The subnet.
    async fn describe_subnet(&self, id: &str) -> Result<Subnet>;

    /// Replaces all groups of an interface.
    async fn modify_groups(&self, interface: &str, groups: &[GroupId]) -> Result<()>;
}
