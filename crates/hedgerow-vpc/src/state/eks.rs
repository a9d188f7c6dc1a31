//! EKS: the record of a cluster that runs in the VPC (the lab's), and who may reach its endpoint.
//!
//! Requests come as JSON ([`crate::server`] puts the document into the parameter `document`), and
//! answers are JSON. Source of the shapes: Amazon EKS API Reference, API version 2017-11-01.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hedgerow_core::sg::Ipv4Prefix;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::vpc::Vpc;
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

/// Allowed blocks of a public endpoint; EKS's quota "Public endpoint access CIDR ranges per cluster".
const MAX_CIDRS: usize = 40;
/// Who may reach a public endpoint unless the cluster says otherwise.
const EVERYBODY: &str = "0.0.0.0/0";

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub(crate) name: String,
    version: String,
    endpoint: String,
    /// PEM in base64.
    certificate_authority: String,
    role_arn: String,
    vpc: String,
    subnets: Vec<String>,
    groups: Vec<String>,
    cluster_group: String,
    access: Access,
    /// What the VPCs' DNS knows of the endpoint, if it has a name.
    #[serde(default)]
    pub(crate) name_in_dns: Option<EndpointName>,
    service_block: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// Seconds since 1970.
    created: u64,
    /// Changes of the configuration by id.
    updates: BTreeMap<String, Update>,
}

/// The name of a cluster's endpoint in DNS ("Cluster API server endpoint", EKS User Guide).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct EndpointName {
    name: String,
    /// Of the interface in the VPC.
    private_address: Ipv4Addr,
    /// Where the Internet reaches it.
    public_address: Ipv4Addr,
}

impl Cluster {
    /// The address of `name`, which is in lower case, for who asks in `vpc`: with private access the
    /// private one inside of the cluster's VPC, as by a private hosted zone; elsewhere the public
    /// one, or the private one where there is no public access.
    pub(crate) fn resolve(&self, vpc: &Vpc, name: &str) -> Option<Ipv4Addr> {
        let known = self.name_in_dns.as_ref().filter(|known| known.name == name)?;
        let inside = vpc.id == self.vpc && vpc.dns_hostnames && self.access.endpoint_private_access;
        Some(match inside || !self.access.endpoint_public_access {
            true => known.private_address,
            false => known.public_address,
        })
    }
}

/// From where the API server may be reached. Every change is in force when it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// From outside of the VPC at all.
    pub endpoint_public_access: bool,
    /// From inside of the VPC by its private address.
    pub endpoint_private_access: bool,
    /// From where outside, if at all: IPv4 blocks.
    pub public_access_cidrs: Vec<String>,
}

impl Access {
    /// Whether a client outside of the VPC with this address may connect.
    pub fn admits(&self, client: Ipv4Addr) -> bool {
        let within =
            |block: &String| block.parse().is_ok_and(|block: Ipv4Prefix| block.contains(client));
        self.endpoint_public_access && self.public_access_cidrs.iter().any(within)
    }

    /// EKS's own words for a request that would change nothing.
    fn unchanged(&self) -> Ec2Error {
        invalid(format!(
            "Cluster is already at the desired configuration with endpointPrivateAccess: {} , \
             endpointPublicAccess: {}, and Public Endpoint Restrictions: [{}]",
            self.endpoint_private_access,
            self.endpoint_public_access,
            self.public_access_cidrs.join(", ")
        ))
    }
}

/// One change of a cluster's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Update {
    /// Parameter and new value.
    params: Vec<(String, String)>,
    created: u64,
    /// What makes a repeated request the same one.
    token: Option<String>,
}

fn invalid(message: impl Into<String>) -> Ec2Error {
    Ec2Error::new("InvalidParameterException", message)
}

fn find<'r>(region: &'r Region, name: &str) -> Result<&'r Cluster, Ec2Error> {
    region.clusters.get(name).ok_or_else(|| {
        Ec2Error::new("ResourceNotFoundException", format!("No cluster found for name: {name}."))
    })
}

fn document<T: DeserializeOwned>(text: &str) -> Result<T, Ec2Error> {
    serde_json::from_str(text).map_err(|error| invalid(format!("The request's document: {error}")))
}

/// EKS's pattern for names of clusters: `^[0-9A-Za-z][A-Za-z0-9\-_]*`, at most 100 characters.
fn check_name(name: &str) -> Result<(), Ec2Error> {
    let later = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(later)
    {
        return Ok(());
    }
    Err(invalid(format!("The cluster name '{name}' must be letters, digits, '-' and '_'")))
}

/// The blocks, normalized as EKS answers them.
fn check_cidrs(cidrs: &[String]) -> Result<Vec<String>, Ec2Error> {
    if cidrs.is_empty() || cidrs.len() > MAX_CIDRS {
        let message = format!("publicAccessCidrs must have from 1 to {MAX_CIDRS} blocks");
        return Err(invalid(message));
    }
    let check = |cidr: &String| match cidr.parse::<Ipv4Prefix>() {
        Ok(block) => Ok(block.to_string()),
        Err(_) => Err(invalid(format!("The following CIDRs are invalid: [{cidr}]"))),
    };
    cidrs.iter().map(check).collect()
}

/// ListClusters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ListClusters {
    max_results: Option<usize>,
    next_token: Option<String>,
    /// `all` adds registered clusters of elsewhere; there are none.
    #[serde(rename = "include")]
    _include: Option<String>,
}

/// Answer of ListClusters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterNames {
    clusters: Vec<String>,
    next_token: Option<String>,
}

pub(crate) fn list(cx: &mut Context<'_>, request: ListClusters) -> Result<ClusterNames, Ec2Error> {
    let limit = request.max_results.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(invalid(format!("maxResults is {limit}, expected from 1 to 100")));
    }
    // A token is the last name of the page before.
    let after = request.next_token.unwrap_or_default();
    let mut rest = cx.region.clusters.keys().filter(|name| **name > after);
    let clusters: Vec<String> = rest.by_ref().take(limit).cloned().collect();
    let next_token = rest.next().and(clusters.last().cloned());
    Ok(ClusterNames { clusters, next_token })
}

/// Names a cluster: DescribeCluster, and the admin's DeleteLabCluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneCluster {
    name: String,
}

/// Answer of DescribeCluster.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterAnswer {
    cluster: ClusterItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterItem {
    name: String,
    arn: String,
    created_at: u64,
    version: String,
    endpoint: String,
    role_arn: String,
    resources_vpc_config: VpcConfigItem,
    kubernetes_network_config: NetworkConfigItem,
    status: &'static str,
    certificate_authority: CertificateItem,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VpcConfigItem {
    subnet_ids: Vec<String>,
    security_group_ids: Vec<String>,
    cluster_security_group_id: String,
    vpc_id: String,
    #[serde(flatten)]
    access: Access,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkConfigItem {
    service_ipv4_cidr: String,
    ip_family: &'static str,
}

#[derive(Debug, Serialize)]
struct CertificateItem {
    data: String,
}

fn cluster_answer(region: &Region, cluster: &Cluster) -> ClusterAnswer {
    ClusterAnswer {
        cluster: ClusterItem {
            name: cluster.name.clone(),
            arn: format!("arn:aws:eks:{}:{ACCOUNT}:cluster/{}", region.name, cluster.name),
            created_at: cluster.created,
            version: cluster.version.clone(),
            endpoint: cluster.endpoint.clone(),
            role_arn: cluster.role_arn.clone(),
            resources_vpc_config: VpcConfigItem {
                subnet_ids: cluster.subnets.clone(),
                security_group_ids: cluster.groups.clone(),
                cluster_security_group_id: cluster.cluster_group.clone(),
                vpc_id: cluster.vpc.clone(),
                access: cluster.access.clone(),
            },
            kubernetes_network_config: NetworkConfigItem {
                service_ipv4_cidr: cluster.service_block.clone(),
                ip_family: "ipv4",
            },
            status: "ACTIVE",
            certificate_authority: CertificateItem { data: cluster.certificate_authority.clone() },
            tags: cluster.tags.clone(),
        },
    }
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: OneCluster,
) -> Result<ClusterAnswer, Ec2Error> {
    let cluster = find(cx.region, &request.name)?;
    Ok(cluster_answer(cx.region, cluster))
}

/// UpdateClusterConfig, and the admin's PutLabCluster: a cluster and a document about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WithDocument {
    name: String,
    document: String,
}

/// The document of UpdateClusterConfig; logging and other subnets are not built.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateDocument {
    resources_vpc_config: Option<AccessChange>,
    client_request_token: Option<String>,
}

/// What is to change; absent parts stay.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AccessChange {
    endpoint_public_access: Option<bool>,
    endpoint_private_access: Option<bool>,
    public_access_cidrs: Option<Vec<String>>,
}

impl AccessChange {
    /// `access` with the changes, and them as an update shows them.
    fn apply(&self, access: &Access) -> Result<(Access, Vec<(String, String)>), Ec2Error> {
        let mut new = access.clone();
        let mut params = Vec::new();
        if let Some(public) = self.endpoint_public_access {
            new.endpoint_public_access = public;
            params.push(("EndpointPublicAccess".to_owned(), public.to_string()));
        }
        if let Some(private) = self.endpoint_private_access {
            new.endpoint_private_access = private;
            params.push(("EndpointPrivateAccess".to_owned(), private.to_string()));
        }
        if let Some(cidrs) = &self.public_access_cidrs {
            new.public_access_cidrs = check_cidrs(cidrs)?;
            let list = serde_json::json!(new.public_access_cidrs).to_string();
            params.push(("PublicAccessCidrs".to_owned(), list));
        }
        if !new.endpoint_public_access && !new.endpoint_private_access {
            return Err(invalid("Private and public endpoint access cannot be false"));
        }
        if new == *access {
            return Err(access.unchanged());
        }
        Ok((new, params))
    }
}

/// Answer of UpdateClusterConfig and DescribeUpdate.
#[derive(Debug, Serialize)]
pub(crate) struct UpdateAnswer {
    update: UpdateItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateItem {
    id: String,
    status: &'static str,
    r#type: &'static str,
    params: Vec<ParamItem>,
    created_at: u64,
    /// Never any: what cannot be done is refused at once.
    errors: [(); 0],
}

#[derive(Debug, Serialize)]
struct ParamItem {
    r#type: String,
    value: String,
}

fn update_answer(id: &str, update: &Update, status: &'static str) -> UpdateAnswer {
    let param =
        |(name, value): &(String, String)| ParamItem { r#type: name.clone(), value: value.clone() };
    UpdateAnswer {
        update: UpdateItem {
            id: id.to_owned(),
            status,
            r#type: "EndpointAccessUpdate",
            params: update.params.iter().map(param).collect(),
            created_at: update.created,
            errors: [],
        },
    }
}

pub(crate) fn update(
    cx: &mut Context<'_>,
    request: WithDocument,
) -> Result<UpdateAnswer, Ec2Error> {
    let cluster = find(cx.region, &request.name)?;
    let wanted: UpdateDocument = document(&request.document)?;
    let token = wanted.client_request_token;
    let mut earlier = cluster.updates.iter();
    if let Some((id, update)) = earlier.find(|(_, u)| token.is_some() && u.token == token) {
        return Ok(update_answer(id, update, "InProgress"));
    }
    let change = wanted.resources_vpc_config.unwrap_or_default();
    let (access, params) = change.apply(&cluster.access)?;
    let id = cx.mint.uuid();
    let update = Update { params, created: cx.now.0, token };
    let answer = update_answer(&id, &update, "InProgress");
    let cluster = cx.region.clusters.get_mut(&request.name).expect("found before");
    cluster.access = access;
    cluster.updates.insert(id, update);
    Ok(answer)
}

/// DescribeUpdate.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DescribeUpdate {
    name: String,
    update_id: String,
}

pub(crate) fn describe_update(
    cx: &mut Context<'_>,
    request: DescribeUpdate,
) -> Result<UpdateAnswer, Ec2Error> {
    let cluster = find(cx.region, &request.name)?;
    let update = cluster.updates.get(&request.update_id).ok_or_else(|| {
        let message = format!("No update found for ID: {}", request.update_id);
        Ec2Error::new("ResourceNotFoundException", message)
    })?;
    Ok(update_answer(&request.update_id, update, "Successful"))
}

/// What the admin says of a cluster that runs in the VPC.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LabCluster {
    version: String,
    endpoint: String,
    certificate_authority: String,
    subnet_ids: Vec<String>,
    #[serde(default)]
    security_group_ids: Vec<String>,
    cluster_security_group_id: String,
    service_ipv4_cidr: String,
    role_arn: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    endpoint_public_access: Option<bool>,
    endpoint_private_access: Option<bool>,
    public_access_cidrs: Option<Vec<String>>,
    endpoint_name: Option<EndpointName>,
}

impl LabCluster {
    /// The VPC of the subnets, of which all groups are.
    fn vpc(&self, region: &Region) -> Result<String, Ec2Error> {
        let mut vpc = None;
        for id in &self.subnet_ids {
            let Some(subnet) = region.subnets.get(id) else {
                return Err(invalid(format!("The subnet ID '{id}' does not exist")));
            };
            if *vpc.get_or_insert(&subnet.vpc) != &subnet.vpc {
                return Err(invalid(format!("Subnet {id} is in another VPC than those before")));
            }
        }
        let vpc = vpc.ok_or_else(|| invalid("A cluster has at least one subnet"))?;
        for id in self.security_group_ids.iter().chain([&self.cluster_security_group_id]) {
            if region.groups.get(id).is_none_or(|group| !group.is_in(vpc)) {
                return Err(invalid(format!("The group ID '{id}' does not exist in {vpc}")));
            }
        }
        Ok(vpc.clone())
    }

    fn access(&self) -> Result<Access, Ec2Error> {
        let everybody = [EVERYBODY.to_owned()];
        let cidrs = self.public_access_cidrs.as_deref().unwrap_or(&everybody);
        Ok(Access {
            endpoint_public_access: self.endpoint_public_access.unwrap_or(true),
            endpoint_private_access: self.endpoint_private_access.unwrap_or(true),
            public_access_cidrs: check_cidrs(cidrs)?,
        })
    }
}

/// PutLabCluster: the admin's word that this cluster runs here; replaces an earlier one.
pub(crate) fn put(cx: &mut Context<'_>, request: WithDocument) -> Result<ClusterAnswer, Ec2Error> {
    check_name(&request.name)?;
    let given: LabCluster = document(&request.document)?;
    let (vpc, access) = (given.vpc(cx.region)?, given.access()?);
    let role = format!("arn:aws:iam::{ACCOUNT}:role/{}-cluster", request.name);
    let cluster = Cluster {
        name: request.name,
        version: given.version,
        endpoint: given.endpoint,
        certificate_authority: given.certificate_authority,
        role_arn: given.role_arn.unwrap_or(role),
        vpc,
        subnets: given.subnet_ids,
        groups: given.security_group_ids,
        cluster_group: given.cluster_security_group_id,
        access,
        name_in_dns: given
            .endpoint_name
            .map(|known| EndpointName { name: known.name.to_ascii_lowercase(), ..known }),
        service_block: given.service_ipv4_cidr,
        tags: given.tags,
        created: cx.now.0,
        updates: BTreeMap::new(),
    };
    let answer = cluster_answer(cx.region, &cluster);
    cx.region.clusters.insert(cluster.name.clone(), cluster);
    Ok(answer)
}

/// DeleteLabCluster: the cluster does not run here any more.
pub(crate) fn delete(cx: &mut Context<'_>, request: OneCluster) -> Result<ClusterAnswer, Ec2Error> {
    let answer = cluster_answer(cx.region, find(cx.region, &request.name)?);
    cx.region.clusters.remove(&request.name);
    Ok(answer)
}

/// DescribeLabClusterAccess: from where the API server may be reached, for who enforces it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DescribeAccess {
    name: String,
    /// Address of somebody outside of the VPC who asks to come in.
    client: Option<Ipv4Addr>,
}

/// Answer of DescribeLabClusterAccess.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessAnswer {
    #[serde(flatten)]
    access: Access,
    /// Whether the client may come in; absent if none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    admitted: Option<bool>,
}

pub(crate) fn describe_access(
    cx: &mut Context<'_>,
    request: DescribeAccess,
) -> Result<AccessAnswer, Ec2Error> {
    let access = find(cx.region, &request.name)?.access.clone();
    let admitted = request.client.map(|client| access.admits(client));
    Ok(AccessAnswer { access, admitted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_the_switch_decide() {
        let access = |public, cidrs: &[&str]| Access {
            endpoint_public_access: public,
            endpoint_private_access: true,
            public_access_cidrs: cidrs.iter().map(|c| (*c).to_owned()).collect(),
        };
        let client = Ipv4Addr::LOCALHOST;
        assert!(access(true, &["0.0.0.0/0"]).admits(client));
        assert!(access(true, &["203.0.113.0/24", "127.0.0.0/8"]).admits(client));
        assert!(!access(true, &["203.0.113.0/24"]).admits(client));
        assert!(!access(false, &["0.0.0.0/0"]).admits(client));
    }
}
