//! Which resources an action touches: the one place that says so for the whole action table.
//!
//! The rule is that of the Service Authorization Reference ("Actions, resources, and condition keys
//! for Amazon EC2"): an action that changes something touches what its `…Id` parameters name and
//! what it makes ([`MAKES`]); an action that describes has no resources (`*`), except the
//! `…Attribute` ones and `Get…`. The exceptions are in [`WITHOUT_RESOURCES`] and [`NAMES_MORE`].

use super::request::{Facts, Request, Resource};
use super::slices;
use crate::api::{self, envelope::Api};
use crate::query::params::Node;
use crate::state::subnet::Subnet;
use crate::state::vpc::Vpc;
use crate::state::{ACCOUNT, Principal, Region};

/// The kind of resource that an action makes.
const MAKES: &[(&str, &[&str])] = &[
    ("AllocateAddress", &["elastic-ip"]),
    ("CreateDefaultSubnet", &["subnet"]),
    ("CreateDefaultVpc", &["vpc"]),
    ("CreateEgressOnlyInternetGateway", &["egress-only-internet-gateway"]),
    ("CreateFlowLogs", &["vpc-flow-log"]),
    ("CreateInternetGateway", &["internet-gateway"]),
    ("CreateManagedPrefixList", &["prefix-list"]),
    ("CreateNatGateway", &["natgateway"]),
    ("CreateNetworkAcl", &["network-acl"]),
    ("CreateNetworkInterface", &["network-interface"]),
    ("CreateRouteTable", &["route-table"]),
    ("CreateSecurityGroup", &["security-group"]),
    ("CreateSubnet", &["subnet"]),
    ("CreateSubnetCidrReservation", &["subnet-cidr-reservation"]),
    ("CreateVpc", &["vpc"]),
    ("RunInstances", &["instance", "volume"]),
];

/// Actions that change something and have no resources at AWS.
const WITHOUT_RESOURCES: &[&str] =
    &["AssociateTrunkInterface", "DeleteNetworkInterfacePermission", "DisassociateTrunkInterface"];

/// Parameters below the top level that name what is touched; `*` is any list index.
const NAMES_MORE: &[(&str, &[&str])] = &[
    ("ModifyNetworkInterfaceAttribute", &["Attachment.AttachmentId"]),
    (
        "RunInstances",
        &[
            "NetworkInterface.*.NetworkInterfaceId",
            "NetworkInterface.*.SecurityGroupId",
            "NetworkInterface.*.SubnetId",
        ],
    ),
];

/// Prefix of an id and the resource type in its ARN.
const KINDS: &[(&str, &str)] = &[
    ("acl", "network-acl"),
    ("ami", "image"),
    ("dopt", "dhcp-options"),
    ("eigw", "egress-only-internet-gateway"),
    ("eipalloc", "elastic-ip"),
    ("eni", "network-interface"),
    ("fl", "vpc-flow-log"),
    ("i", "instance"),
    ("igw", "internet-gateway"),
    ("nat", "natgateway"),
    ("pl", "prefix-list"),
    ("rtb", "route-table"),
    ("scr", "subnet-cidr-reservation"),
    ("sg", "security-group"),
    ("sgr", "security-group-rule"),
    ("subnet", "subnet"),
    ("vol", "volume"),
    ("vpc", "vpc"),
];

/// Prefixes of ids that have a condition key of their own, and the key.
const ID_KEYS: &[(&str, &str)] = &[
    ("acl", "ec2:NetworkAclID"),
    ("eipalloc", "ec2:AllocationId"),
    ("eni", "ec2:NetworkInterfaceID"),
    ("i", "ec2:InstanceID"),
    ("igw", "ec2:InternetGatewayID"),
    ("rtb", "ec2:RouteTableID"),
    ("sg", "ec2:SecurityGroupID"),
    ("subnet", "ec2:SubnetID"),
    ("vpc", "ec2:VpcID"),
];

/// The call in a body as policies see it, and which API it is of: the action and, where it tags what
/// it makes, `ec2:CreateTags`. Empty for what is no call of a known action, and for
/// GetCallerIdentity, which nobody can be denied (STS API Reference).
pub(super) fn requests(
    region: Option<&Region>,
    name: &str,
    principal: &Principal,
    body: &[u8],
) -> (Api, Vec<Request>) {
    let nothing = (Api::Ec2, Vec::new());
    let Ok(mut node) = Node::parse(body) else { return nothing };
    let Some(action) = node.take("Action").and_then(|name| api::find(&name)) else {
        return nothing;
    };
    if action.name == "GetCallerIdentity" {
        return nothing;
    }
    let call = Call { action: action.name, node: &node, region, name, principal };
    // The variants are named after the services.
    let service = format!("{:?}", action.api).to_ascii_lowercase();
    let resources = match action.api {
        Api::Ec2 => call.resources(),
        Api::Sts => vec![Resource { arn: "*".into(), facts: Facts::default() }],
        Api::Eks => slices::of_eks(region, name, &node),
        Api::Rds => slices::of_rds(region, name, action.name, &node),
    };
    let mut requests = vec![Request {
        action: format!("{service}:{}", call.action),
        resources,
        facts: call.facts(),
    }];
    requests.extend(call.tagging());
    (action.api, requests)
}

/// A call and the region it goes to.
struct Call<'a> {
    action: &'static str,
    node: &'a Node,
    /// `None` while nobody used the region.
    region: Option<&'a Region>,
    name: &'a str,
    principal: &'a Principal,
}

impl Call<'_> {
    fn facts(&self) -> Facts {
        let facts = Facts::default()
            .with("aws:RequestedRegion", self.name)
            .with("ec2:Region", self.name)
            .with("aws:PrincipalArn", self.principal_arn())
            .with("aws:PrincipalAccount", ACCOUNT)
            .with("aws:SecureTransport", "false")
            .with("aws:userid", self.principal.user_id());
        match self.principal {
            Principal::User => facts,
            Principal::Instance { instance, region, .. } => {
                let arn = format!("arn:aws:ec2:{region}:{ACCOUNT}:instance/{instance}");
                facts.with("ec2:SourceInstanceARN", arn)
            }
        }
    }

    /// Of a session, its role's ARN ("AWS global condition context keys", IAM User Guide).
    fn principal_arn(&self) -> String {
        match self.principal {
            Principal::User => self.principal.arn(),
            Principal::Instance { role, .. } => format!("arn:aws:iam::{ACCOUNT}:role/{role}"),
        }
    }

    fn resources(&self) -> Vec<Resource> {
        let reads = self.action.starts_with("Describe") && !self.action.ends_with("Attribute");
        let mut resources = Vec::new();
        if !reads && !WITHOUT_RESOURCES.contains(&self.action) {
            for kind in self.makes() {
                resources.push(self.new_resource(kind));
            }
            for id in self.named() {
                if let Some(resource) = self.resource(&id) {
                    resources.push(resource);
                }
            }
            if matches!(self.action, "CreateTags" | "DeleteTags") {
                resources.iter_mut().for_each(|r| request_tags(&mut r.facts, self.node));
            }
        }
        if resources.is_empty() {
            resources.push(Resource { arn: "*".into(), facts: Facts::default() });
        }
        resources
    }

    fn makes(&self) -> Vec<&'static str> {
        let found = MAKES.iter().find(|(action, _)| *action == self.action);
        let mut kinds = found.map_or_else(Vec::new, |(_, kinds)| kinds.to_vec());
        if self.action == "RunInstances"
            && self.listed("NetworkInterface.*.NetworkInterfaceId").is_empty()
        {
            kinds.push("network-interface");
        }
        if self.action.starts_with("AuthorizeSecurityGroup")
            && self.tag_specifications().any(|(kind, _)| kind == "security-group-rule")
        {
            kinds.push("security-group-rule");
        }
        kinds
    }

    /// Ids that the parameters name, each once; attachments stand for what they join.
    fn named(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for (name, node) in &self.node.children {
            if name.ends_with("Id") {
                ids.extend(
                    node.value.iter().chain(node.children.values().flat_map(|n| &n.value)).cloned(),
                );
            }
        }
        let more = NAMES_MORE.iter().filter(|(action, _)| *action == self.action);
        for path in more.flat_map(|(_, paths)| *paths) {
            ids.extend(self.listed(path));
        }
        ids.extend(self.by_name());
        if let Some(region) = self.region {
            ids = ids.into_iter().flat_map(|id| joined(region, id)).collect();
        }
        let mut seen = std::collections::BTreeSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        ids
    }

    /// What a request names without an id: a group of the default VPC by `GroupName`, and the
    /// default VPC where a new group names none.
    fn by_name(&self) -> Option<String> {
        let vpc = self.region?.default_vpc()?;
        let given = |name: &str| self.node.children.get(name).and_then(|n| n.value.as_deref());
        match (self.action, given("GroupName")) {
            ("CreateSecurityGroup", _) => given("VpcId").is_none().then(|| vpc.id.clone()),
            (_, Some(name)) => {
                let mut groups = self.region?.groups.values();
                groups.find(|g| g.vpc == vpc.id && g.name == name).map(|g| g.id.clone())
            }
            _ => None,
        }
    }

    /// Values at a path of parameter names; the last part may be a list.
    fn listed(&self, path: &str) -> Vec<String> {
        let mut nodes = vec![self.node];
        for part in path.split('.') {
            let children = nodes.into_iter().flat_map(|node| &node.children);
            let fits = children.filter(|(name, _)| part == "*" || *name == part);
            nodes = fits.map(|(_, child)| child).collect();
        }
        let values = |node: &Node| -> Vec<String> {
            let below = node.children.values().filter_map(|child| child.value.clone());
            node.value.iter().cloned().chain(below).collect()
        };
        nodes.into_iter().flat_map(values).collect()
    }

    fn arn(&self, kind: &str, id: &str) -> String {
        // Images belong to whoever made them: their ARNs have no account.
        let account = if kind == "image" { "" } else { ACCOUNT };
        format!("arn:aws:ec2:{}:{account}:{kind}/{id}", self.name)
    }

    /// The resource with this id; `None` where the id is of no kind that policies know.
    fn resource(&self, id: &str) -> Option<Resource> {
        let prefix = id.split_once('-')?.0;
        let (_, kind) = KINDS.iter().find(|(known, _)| *known == prefix)?;
        let mut facts = Facts::default();
        if let Some((_, key)) = ID_KEYS.iter().find(|(known, _)| *known == prefix) {
            facts.add(key, id);
        }
        for (key, value) in self.region.and_then(|r| r.tags.get(id)).into_iter().flatten() {
            facts.add(&format!("aws:ResourceTag/{key}"), value);
            facts.add(&format!("ec2:ResourceTag/{key}"), value);
        }
        self.place(&mut facts, id);
        Some(Resource { arn: self.arn(kind, id), facts })
    }

    /// Where a resource is: `ec2:Vpc`, `ec2:Subnet`, `ec2:AvailabilityZone`, `ec2:InstanceType`.
    fn place(&self, facts: &mut Facts, id: &str) {
        let Some(region) = self.region else { return };
        let mut add = |vpc: &str, subnet: Option<&str>| {
            facts.add("ec2:Vpc", self.arn("vpc", vpc));
            if let Some(subnet) = subnet {
                facts.add("ec2:Subnet", self.arn("subnet", subnet));
                if let Some(record) = region.subnets.get(subnet) {
                    facts.add("ec2:AvailabilityZone", record.zone.name.as_str());
                }
            }
        };
        if let Some(interface) = region.interfaces.get(id) {
            add(&interface.vpc, Some(&interface.subnet));
        } else if let Some(subnet) = region.subnets.get(id) {
            add(&subnet.vpc, Some(id));
        } else if let Some(group) = region.groups.get(id) {
            add(&group.vpc, None);
        } else if let Some(table) = region.route_tables.get(id) {
            add(&table.vpc, None);
        } else if let Some(acl) = region.network_acls.get(id) {
            add(&acl.vpc, None);
        } else if let Some(instance) = region.instances.get(id) {
            add(&instance.vpc, Some(&instance.subnet));
            facts.add("ec2:InstanceType", instance.type_name.as_str());
        }
    }

    /// What the action is about to make: the tags it will have, and where it will be.
    fn new_resource(&self, kind: &str) -> Resource {
        let mut facts = Facts::default();
        for (specified, tags) in self.tag_specifications() {
            if specified == kind {
                request_tags(&mut facts, tags);
            }
        }
        let given = |name: &str| self.node.children.get(name).and_then(|n| n.value.as_deref());
        match (given("SubnetId"), given("VpcId")) {
            (Some(subnet), _) => self.place(&mut facts, subnet),
            (None, Some(vpc)) => facts.add("ec2:Vpc", self.arn("vpc", vpc)),
            (None, None) => {}
        }
        if let Some(kind) = given("InstanceType") {
            facts.add("ec2:InstanceType", kind);
        }
        Resource { arn: self.arn(kind, "*"), facts }
    }

    fn tag_specifications(&self) -> impl Iterator<Item = (&str, &Node)> {
        let list = self.node.children.get("TagSpecification").into_iter();
        list.flat_map(|list| list.children.values()).filter_map(|specification| {
            let kind = specification.children.get("ResourceType")?.value.as_deref()?;
            Some((kind, specification))
        })
    }

    /// `ec2:CreateTags` on what the action makes with tags.
    fn tagging(&self) -> Option<Request> {
        let mut resources = Vec::new();
        for (kind, tags) in self.tag_specifications() {
            if tags.children.contains_key("Tag") {
                let mut resource = self.new_resource(kind);
                resource.facts.add("ec2:CreateAction", self.action);
                resources.push(resource);
            }
        }
        let action = "ec2:CreateTags".to_owned();
        (!resources.is_empty()).then(|| Request { action, resources, facts: self.facts() })
    }
}

/// An attachment's id is replaced by the interface and the instance it joins, that of a block's
/// association by the VPC or the subnet that has the block.
fn joined(region: &Region, id: String) -> Vec<String> {
    if id.starts_with("vpc-cidr-assoc-") {
        let has = |vpc: &&Vpc| vpc.association_ids().any(|association| *association == id);
        return region.vpcs.values().filter(has).map(|vpc| vpc.id.clone()).collect();
    }
    if id.starts_with("subnet-cidr-assoc-") {
        let has = |subnet: &&Subnet| subnet.ipv6.as_ref().is_some_and(|i| i.association == id);
        return region.subnets.values().filter(has).map(|subnet| subnet.id.clone()).collect();
    }
    let Some(interface) = region.attachments.get(&id) else { return vec![id] };
    let instance = region.interfaces.get(interface).and_then(|i| i.attachment.as_ref());
    let instance = instance.map(|attached| attached.instance.clone());
    std::iter::once(interface.clone()).chain(instance).collect()
}

/// `Tag.N.Key` and `.Value` of a node as `aws:RequestTag/…` and `aws:TagKeys`.
fn request_tags(facts: &mut Facts, node: &Node) {
    let tags = node.children.get("Tag").into_iter().flat_map(|list| list.children.values());
    add_request_tags(facts, tags);
}

/// Tags of a request, each with `Key` and `Value`.
pub(super) fn add_request_tags<'n>(facts: &mut Facts, tags: impl Iterator<Item = &'n Node>) {
    for tag in tags {
        let text = |name: &str| tag.children.get(name).and_then(|n| n.value.as_deref());
        let Some(key) = text("Key") else { continue };
        facts.add(&format!("aws:RequestTag/{key}"), text("Value").unwrap_or_default());
        facts.add("aws:TagKeys", key);
    }
}
