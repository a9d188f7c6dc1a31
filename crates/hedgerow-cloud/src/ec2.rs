//! [`Cloud`] over the official SDK.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ec2::Client;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types as sdk;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use hedgerow_core::sg::GroupId;

use crate::convert::{self, need};
use crate::{
    Cloud, CloudError, CreateInterface, Instance, Interface, InterfaceKind, InterfaceQuery, Result,
    Subnet,
};

/// How often a call is tried in all. With the SDK's adaptive mode this outlasts EC2's default
/// bucket (50 mutating calls, 5 a second) for bursts of some hundred calls.
const ATTEMPTS: u32 = 8;
/// How long one call may take with all its repetitions.
const DEADLINE: Duration = Duration::from_secs(45);

/// EC2, wherever its endpoint is.
#[derive(Debug, Clone)]
pub struct Ec2 {
    client: Client,
}

impl Ec2 {
    /// Region, endpoint and credentials come from where the SDK always looks: environment
    /// (`AWS_REGION`, `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_EC2`, `AWS_ACCESS_KEY_ID`, …),
    /// shared files, instance metadata. Nothing is called yet.
    ///
    /// Retries are adaptive: after EC2's first `RequestLimitExceeded` the client paces itself.
    pub async fn from_env() -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(15))
            .operation_timeout(DEADLINE)
            .build();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts)
            .load()
            .await;
        Self { client: Client::new(&config) }
    }
}

/// EC2's refusal with its code and message, or what kept it from answering.
fn failed<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: Debug,
{
    move |error| {
        let code = error.code().map(str::to_owned);
        let message = error.message().unwrap_or_default().to_owned();
        match code {
            Some(code) => CloudError::Refused { operation, code, message },
            None => CloudError::Unreachable {
                operation,
                detail: DisplayErrorContext(&error).to_string(),
            },
        }
    }
}

fn filter(name: &str, values: &[String]) -> sdk::Filter {
    sdk::Filter::builder().name(name).set_values(Some(values.to_vec())).build()
}

fn group_texts(groups: &[GroupId]) -> Vec<String> {
    groups.iter().map(|g| g.0.clone()).collect()
}

#[async_trait]
impl Cloud for Ec2 {
    async fn describe_instance(&self, id: &str) -> Result<Instance> {
        const OPERATION: &str = "DescribeInstances";
        let answer = self
            .client
            .describe_instances()
            .instance_ids(id)
            .send()
            .await
            .map_err(failed(OPERATION))?;
        let found = answer.reservations.unwrap_or_default().into_iter().find_map(|r| {
            let owner = r.owner_id;
            r.instances.unwrap_or_default().into_iter().next().map(|i| (i, owner))
        });
        let (instance, owner) = need(found, OPERATION, "instancesSet")?;
        convert::instance(instance, owner, OPERATION)
    }

    async fn describe_interfaces(&self, query: &InterfaceQuery) -> Result<Vec<Interface>> {
        const OPERATION: &str = "DescribeNetworkInterfaces";
        let tags =
            query.tags.iter().map(|(k, v)| filter(&format!("tag:{k}"), std::slice::from_ref(v)));
        let filters: Vec<_> =
            tags.chain(query.filters.iter().map(|(name, values)| filter(name, values))).collect();
        let ids = (!query.ids.is_empty()).then(|| query.ids.clone());
        let request = self
            .client
            .describe_network_interfaces()
            .set_filters((!filters.is_empty()).then_some(filters))
            // EC2 refuses a page size together with ids.
            .set_max_results(ids.is_none().then_some(1000))
            .set_network_interface_ids(ids);
        let mut interfaces = Vec::new();
        let mut next = None;
        loop {
            let page =
                request.clone().set_next_token(next).send().await.map_err(failed(OPERATION))?;
            for found in page.network_interfaces.unwrap_or_default() {
                interfaces.push(convert::interface(found, OPERATION)?);
            }
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                return Ok(interfaces);
            }
        }
    }

    async fn create_interface(&self, request: &CreateInterface) -> Result<Interface> {
        const OPERATION: &str = "CreateNetworkInterface";
        let kind = match request.kind {
            InterfaceKind::Plain => None,
            InterfaceKind::Trunk => Some(sdk::NetworkInterfaceCreationType::Trunk),
            InterfaceKind::Branch => Some(sdk::NetworkInterfaceCreationType::Branch),
            InterfaceKind::Other => {
                return Err(CloudError::Incomplete { operation: OPERATION, field: "kind" });
            }
        };
        let tags = request.tags.iter().map(|(k, v)| sdk::Tag::builder().key(k).value(v).build());
        let tags = sdk::TagSpecification::builder()
            .resource_type(sdk::ResourceType::NetworkInterface)
            .set_tags(Some(tags.collect()))
            .build();
        let secondary = i32::try_from(request.secondary_addresses).unwrap_or(i32::MAX);
        let groups = group_texts(&request.groups);
        let answer = self
            .client
            .create_network_interface()
            .subnet_id(&request.subnet)
            .description(&request.description)
            .set_interface_type(kind)
            .set_groups((!groups.is_empty()).then_some(groups))
            .set_tag_specifications((!request.tags.is_empty()).then(|| vec![tags]))
            .set_secondary_private_ip_address_count((secondary > 0).then_some(secondary))
            .client_token(&request.client_token)
            .send()
            .await
            .map_err(failed(OPERATION))?;
        convert::interface(
            need(answer.network_interface, OPERATION, "networkInterface")?,
            OPERATION,
        )
    }

    async fn attach_interface(
        &self,
        interface: &str,
        instance: &str,
        device_index: u8,
    ) -> Result<String> {
        const OPERATION: &str = "AttachNetworkInterface";
        let answer = self
            .client
            .attach_network_interface()
            .network_interface_id(interface)
            .instance_id(instance)
            .device_index(i32::from(device_index))
            .send()
            .await
            .map_err(failed(OPERATION))?;
        need(answer.attachment_id, OPERATION, "attachmentId")
    }

    async fn set_delete_on_termination(
        &self,
        interface: &str,
        attachment: &str,
        delete: bool,
    ) -> Result<()> {
        let changes = sdk::NetworkInterfaceAttachmentChanges::builder()
            .attachment_id(attachment)
            .delete_on_termination(delete)
            .build();
        self.client
            .modify_network_interface_attribute()
            .network_interface_id(interface)
            .attachment(changes)
            .send()
            .await
            .map_err(failed("ModifyNetworkInterfaceAttribute"))?;
        Ok(())
    }

    async fn detach_interface(&self, attachment: &str) -> Result<()> {
        self.client
            .detach_network_interface()
            .attachment_id(attachment)
            .send()
            .await
            .map_err(failed("DetachNetworkInterface"))?;
        Ok(())
    }

    async fn delete_interface(&self, interface: &str) -> Result<()> {
        self.client
            .delete_network_interface()
            .network_interface_id(interface)
            .send()
            .await
            .map_err(failed("DeleteNetworkInterface"))?;
        Ok(())
    }

    async fn assign_private_addresses(&self, interface: &str, count: u32) -> Result<Vec<Ipv4Addr>> {
        const OPERATION: &str = "AssignPrivateIpAddresses";
        let answer = self
            .client
            .assign_private_ip_addresses()
            .network_interface_id(interface)
            .secondary_private_ip_address_count(i32::try_from(count).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(failed(OPERATION))?;
        answer
            .assigned_private_ip_addresses
            .unwrap_or_default()
            .into_iter()
            .map(|a| {
                let address = a.private_ip_address.and_then(|a| a.parse().ok());
                need(address, OPERATION, "privateIpAddress")
            })
            .collect()
    }

    async fn unassign_private_addresses(
        &self,
        interface: &str,
        addresses: &[Ipv4Addr],
    ) -> Result<()> {
        self.client
            .unassign_private_ip_addresses()
            .network_interface_id(interface)
            .set_private_ip_addresses(Some(addresses.iter().map(Ipv4Addr::to_string).collect()))
            .send()
            .await
            .map_err(failed("UnassignPrivateIpAddresses"))?;
        Ok(())
    }

    async fn create_permission(&self, interface: &str, account: &str) -> Result<()> {
        self.client
            .create_network_interface_permission()
            .network_interface_id(interface)
            .aws_account_id(account)
            .permission(sdk::InterfacePermissionType::InstanceAttach)
            .send()
            .await
            .map_err(failed("CreateNetworkInterfacePermission"))?;
        Ok(())
    }

    async fn associate_trunk(
        &self,
        trunk: &str,
        branch: &str,
        vlan: u16,
        client_token: &str,
    ) -> Result<String> {
        const OPERATION: &str = "AssociateTrunkInterface";
        let answer = self
            .client
            .associate_trunk_interface()
            .trunk_interface_id(trunk)
            .branch_interface_id(branch)
            .vlan_id(i32::from(vlan))
            .client_token(client_token)
            .send()
            .await
            .map_err(failed(OPERATION))?;
        let id = answer.interface_association.and_then(|a| a.association_id);
        need(id, OPERATION, "associationId")
    }

    async fn disassociate_trunk(&self, association: &str, client_token: &str) -> Result<()> {
        self.client
            .disassociate_trunk_interface()
            .association_id(association)
            .client_token(client_token)
            .send()
            .await
            .map_err(failed("DisassociateTrunkInterface"))?;
        Ok(())
    }

    async fn describe_subnet(&self, id: &str) -> Result<Subnet> {
        const OPERATION: &str = "DescribeSubnets";
        let answer = self
            .client
            .describe_subnets()
            .subnet_ids(id)
            .send()
            .await
            .map_err(failed(OPERATION))?;
        let found = answer.subnets.unwrap_or_default().into_iter().next();
        convert::subnet(need(found, OPERATION, "subnetSet")?, OPERATION)
    }

    async fn modify_groups(&self, interface: &str, groups: &[GroupId]) -> Result<()> {
        self.client
            .modify_network_interface_attribute()
            .network_interface_id(interface)
            .set_groups(Some(group_texts(groups)))
            .send()
            .await
            .map_err(failed("ModifyNetworkInterfaceAttribute"))?;
        Ok(())
    }
}
