//! A topology made by requests, and the model that says what it must do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hedgerow_core::acl;
use hedgerow_core::prefix::IpPrefix;
use hedgerow_core::sg::{Direction, GroupId, RuleId, Traffic};

use super::addresses::{
    BLOCK, FIRST_SECONDARY, FIXED, FIXED_SUBNET, HOSTS, STRANGERS, block_v6, everywhere, is_six,
    nth, one_of, stranger, subnet_blocks,
};
use super::cloud::{Cloud, ZONE, mac, texts};
use super::elastic::Elastic;
use super::generate::{self, Net, Topology};
use super::model::{Goal, Id, Interface, Model, Place, Rule, RulePeer, Subnet};
use super::six::field_of;

/// What is there in every case: two VPCs, instances with a plain interface and a trunk each.
pub struct World {
    pub cloud: Cloud,
    pub vpcs: [Vpc; 2],
    /// The model of what is there in every case.
    settled: Model,
    pub model: Model,
    /// Of the interface that each port belongs to: its id and its link in the instance.
    pub ports: Vec<Port>,
    /// Ids of route tables and network ACLs, as in the model.
    pub table_ids: Vec<String>,
    pub acl_ids: Vec<String>,
    pub lists: Vec<List>,
    /// By subnet: its association with a route table, where it has one of its own.
    pub associations: BTreeMap<usize, String>,
    /// By subnet: its association with a network ACL.
    pub acl_associations: BTreeMap<usize, String>,
    pub elastics: Vec<Elastic>,
    pub next_vlan: u16,
    /// How many topologies there were.
    pub runs: u16,
    tenures: u64,
}

/// A prefix list, whose entries are in the model.
#[derive(Clone)]
pub struct List {
    pub id: String,
    pub version: u32,
    pub six: bool,
}

pub struct Port {
    pub instance: String,
    pub link: &'static str,
    pub interface: Id,
}

pub struct Vpc {
    pub id: String,
    /// Its internet gateway.
    pub gateway: String,
    /// The default one first.
    pub groups: Vec<GroupId>,
    /// Positions in the model, the main one and the default one first.
    pub tables: Vec<usize>,
    pub acls: Vec<usize>,
    pub subnets: Vec<usize>,
}

impl World {
    pub fn new(name: String) -> Self {
        let mut cloud = Cloud::new(name);
        let mut model = Model::default();
        let (mut table_ids, mut acl_ids) = (Vec::new(), Vec::new());
        let mut acl_associations = BTreeMap::new();
        let vpcs = [0, 1].map(|vpc| {
            let request = [("CidrBlock", BLOCK), ("AmazonProvidedIpv6CidrBlock", "true")];
            let id = cloud.make("vpcId", "CreateVpc", &request);
            let in_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", id.as_str())];
            table_ids.push(cloud.make("routeTableId", "DescribeRouteTables", &in_vpc));
            acl_ids.push(cloud.make("networkAclId", "DescribeNetworkAcls", &in_vpc));
            know_vpc(&mut cloud, &mut model, vpc, &id)
        });
        for vpc in [0, 1] {
            let association = acl_association(&mut cloud, &model.subnets[vpc].id);
            acl_associations.insert(vpc, association);
        }
        let mut world = World {
            cloud,
            vpcs,
            settled: Model::default(),
            model,
            ports: Vec::new(),
            table_ids,
            acl_ids,
            lists: Vec::new(),
            associations: BTreeMap::new(),
            acl_associations,
            elastics: Vec::new(),
            next_vlan: 1,
            runs: 0,
            tenures: 0,
        };
        for vpc in [0, 0, 1] {
            world.make_instance(vpc);
        }
        assert_eq!(world.model.interfaces.len(), FIXED);
        world.make_gateways();
        world.settled = world.model.clone();
        world.cloud.settle();
        world
    }

    /// An instance with a plain interface and a trunk.
    fn make_instance(&mut self, vpc: usize) {
        let subnet = self.model.subnets[vpc].id.clone();
        let subnet = ("SubnetId", subnet.as_str());
        let run = [
            ("ImageId", "ami-1"),
            ("InstanceType", "m5.4xlarge"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            subnet,
        ];
        let launched = self.cloud.ok("RunInstances", &run);
        let instance = texts(&launched, "instanceId").next().expect("an instance").to_owned();
        let trunk = [subnet, ("InterfaceType", "trunk")];
        let created = self.cloud.ok("CreateNetworkInterface", &trunk);
        let eni = texts(&created, "networkInterfaceId").next().expect("an interface");
        let attach =
            [("InstanceId", instance.as_str()), ("NetworkInterfaceId", eni), ("DeviceIndex", "1")];
        self.cloud.ok("AttachNetworkInterface", &attach);
        for (xml, link) in [(&launched, "eth0"), (&created, "eth1")] {
            let place = Place::Port(self.ports.len());
            let groups = BTreeSet::from([self.vpcs[vpc].groups[0].clone()]);
            let interface = self.know(xml, vpc, groups, place);
            self.ports.push(Port { instance: instance.clone(), link, interface });
        }
    }

    /// Notes an interface that an answer describes.
    pub fn know(
        &mut self,
        xml: &str,
        subnet: usize,
        groups: BTreeSet<GroupId>,
        place: Place,
    ) -> Id {
        let text = |element| texts(xml, element).next().expect("an element").to_owned();
        let address: IpAddr = text("privateIpAddress").parse().expect("an address");
        let interface = Interface {
            eni: text("networkInterfaceId"),
            mac: mac(&text("macAddress")),
            vpc: self.model.subnets[subnet].vpc,
            subnet,
            addresses: vec![(IpPrefix::new(address, 32), self.tenure())],
            groups,
            check: true,
            place,
            exists: true,
            gateway: false,
        };
        self.model.interfaces.push(interface);
        self.model.interfaces.len() - 1
    }

    /// The addresses of an interface that packets may have; those of strangers behind a gateway.
    pub fn usable(&self, id: Id) -> Vec<IpAddr> {
        if self.model.interfaces[id].gateway {
            return (0..STRANGERS.len()).map(|which| stranger(which, None)).collect();
        }
        let addresses = self.model.interfaces[id].addresses.iter().map(|(held, _)| one_of(*held));
        addresses.skip(usize::from(id < self.ports.len())).collect()
    }

    /// Notes that an interface has an address or a prefix from now on.
    pub fn hold(&mut self, id: Id, held: IpPrefix) {
        let tenure = self.tenure();
        self.model.interfaces[id].addresses.push((held, tenure));
    }

    /// A number for the time from now on.
    fn tenure(&mut self) -> u64 {
        self.tenures += 1;
        self.tenures
    }

    /// Makes everything that the topology says.
    pub fn build(&mut self, topology: &Topology) {
        for (number, list) in topology.lists.iter().enumerate() {
            self.make_list(number, list);
        }
        for (vpc, net) in topology.nets.iter().enumerate() {
            self.make_groups(vpc, net);
            self.make_edges(vpc, net);
            for interface in &net.interfaces {
                self.make_interface(vpc, interface);
            }
        }
        for (id, fixed) in topology.fixed.iter().enumerate() {
            self.set_groups(id, &fixed.groups);
            self.assign(id, u32::from(FIRST_SECONDARY) + id as u32);
            for host in &fixed.secondaries {
                self.assign_shared(id, *host);
            }
            let block = self.model.subnets[self.model.interfaces[id].subnet].blocks[1];
            let own = nth(block, u32::from(FIRST_SECONDARY) + id as u32);
            self.assign_six(id, IpPrefix::new(own, 128));
            for six in &fixed.sixes {
                self.toggle_six(id, *six);
            }
        }
        for (which, (interface, address)) in topology.elastics.iter().enumerate() {
            self.associate(which, interface.of(self.model.interfaces.len()), *address);
        }
        // Their targets are there now.
        for (vpc, net) in topology.nets.iter().enumerate() {
            for (table, routes) in net.tables.iter().enumerate() {
                let table = self.vpcs[vpc].tables[table + 1];
                for route in routes {
                    self.set_route(table, *route);
                }
            }
        }
    }

    fn make_list(&mut self, number: usize, list: &generate::List) {
        let entries: BTreeSet<IpPrefix> = list.entries.iter().copied().collect();
        let family = if list.six { "IPv6" } else { "IPv4" };
        let name = format!("list-{number}");
        let texts: Vec<(String, String)> = entries
            .iter()
            .zip(1..)
            .map(|(entry, n)| (format!("Entry.{n}.Cidr"), entry.to_string()))
            .collect();
        let mut request =
            vec![("PrefixListName", name.as_str()), ("AddressFamily", family), ("MaxEntries", "8")];
        request.extend(texts.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let id = self.cloud.make("prefixListId", "CreateManagedPrefixList", &request);
        self.lists.push(List { id, version: 1, six: list.six });
        self.model.lists.push(entries);
    }

    fn make_groups(&mut self, vpc: usize, net: &Net) {
        for (number, group) in net.groups.iter().enumerate() {
            let name = format!("group-{number}");
            let request = [
                ("GroupName", name.as_str()),
                ("GroupDescription", "g"),
                ("VpcId", self.vpcs[vpc].id.as_str()),
            ];
            let id = GroupId(self.cloud.make("groupId", "CreateSecurityGroup", &request));
            let rules = rules_of(&mut self.cloud, &id);
            self.model.groups.insert(id.clone(), rules);
            self.vpcs[vpc].groups.push(id.clone());
            while !group.keeps_egress && !self.model.groups[&id].is_empty() {
                self.remove_rule(&id, 0);
            }
        }
        for (number, group) in net.groups.iter().enumerate() {
            let id = self.vpcs[vpc].groups[number + 1].clone();
            for rule in &group.rules {
                self.add_rule(vpc, &id, rule);
            }
        }
    }

    /// Tables without routes, lists, and subnets that have them.
    fn make_edges(&mut self, vpc: usize, net: &Net) {
        let vpc_id = self.vpcs[vpc].id.clone();
        let vpc_id = ("VpcId", vpc_id.as_str());
        for _ in &net.tables {
            self.table_ids.push(self.cloud.make("routeTableId", "CreateRouteTable", &[vpc_id]));
            self.vpcs[vpc].tables.push(self.model.tables.len());
            self.model.tables.push(local(vpc));
        }
        for entries in &net.acls {
            self.acl_ids.push(self.cloud.make("networkAclId", "CreateNetworkAcl", &[vpc_id]));
            let acl = self.model.acls.len();
            self.vpcs[vpc].acls.push(acl);
            self.model.acls.push(BTreeMap::new());
            for entry in entries {
                self.add_entry(acl, *entry);
            }
        }
        for (number, edge) in net.subnets.iter().enumerate() {
            let blocks = subnet_blocks(vpc, number as u8);
            let id = make_subnet(&mut self.cloud, vpc_id.1, blocks);
            let subnet = self.model.subnets.len();
            let association = acl_association(&mut self.cloud, &id);
            self.acl_associations.insert(subnet, association);
            self.model.subnets.push(Subnet { id, vpc, blocks, table: vpc, acl: vpc });
            self.vpcs[vpc].subnets.push(subnet);
            self.set_edge(subnet, *edge);
        }
        self.set_edge(vpc, net.fixed);
    }

    fn make_interface(&mut self, vpc: usize, wanted: &generate::Interface) {
        let subnets = &self.vpcs[vpc].subnets;
        let subnet = subnets[wanted.subnet.of(subnets.len())];
        let block = self.model.subnets[subnet].blocks[0];
        let used = |address| self.model.interfaces.iter().any(|i| i.vpc == vpc && i.has(address));
        let first = wanted.host.of(HOSTS) as u32;
        let mut hosts = (0..).map(|n| nth(block, 4 + (first + n) % 40));
        let address = hosts.find(|address| !used(*address)).expect("few interfaces").to_string();
        let id = self.model.subnets[subnet].id.clone();
        let groups = self.pick_groups(vpc, &wanted.groups);
        let names: Vec<String> =
            (1..=groups.len()).map(|n| format!("SecurityGroupId.{n}")).collect();
        let mut request = vec![("SubnetId", id.as_str()), ("PrivateIpAddress", address.as_str())];
        request.extend(names.iter().map(String::as_str).zip(groups.iter().map(|g| g.0.as_str())));
        let six = wanted.six.map(|six| self.free_six(subnet, six));
        let field = six.map(|held| match field_of(held, 1, "Ipv6Addresses.N.Ipv6Address") {
            (name, prefix) if name == "Ipv6Prefix.1" => (format!("{name}.Ipv6Prefix"), prefix),
            address => address,
        });
        request.extend(field.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let xml = self.cloud.ok("CreateNetworkInterface", &request);
        let id = self.know(&xml, subnet, groups, Place::Nowhere);
        if let Some(held) = six {
            self.hold(id, held);
        }
        self.set_check(id, wanted.check);
        if let Some(trunk) = wanted.trunk {
            self.plug(id, trunk);
        }
    }

    /// Takes everything away that is not there in every case.
    pub fn clear(&mut self) {
        self.clear_interfaces();
        for (vpc, count) in [0, 1].map(|vpc| (vpc, self.vpcs[vpc].subnets.len())) {
            self.set_edge(vpc, generate::Edge { table: None, acl: None });
            for position in 1..count {
                let subnet = self.vpcs[vpc].subnets[position];
                let id = self.model.subnets[subnet].id.clone();
                self.cloud.ok("DeleteSubnet", &[("SubnetId", id.as_str())]);
            }
            let tables = self.vpcs[vpc].tables.split_off(1);
            for id in tables.iter().map(|table| &self.table_ids[*table]) {
                self.cloud.ok("DeleteRouteTable", &[("RouteTableId", id.as_str())]);
            }
            let acls = self.vpcs[vpc].acls.split_off(1);
            for id in acls.iter().map(|acl| &self.acl_ids[*acl]) {
                self.cloud.ok("DeleteNetworkAcl", &[("NetworkAclId", id.as_str())]);
            }
            self.clear_groups(vpc);
            self.vpcs[vpc].subnets.truncate(1);
        }
        for List { id, .. } in std::mem::take(&mut self.lists) {
            self.cloud.ok("DeleteManagedPrefixList", &[("PrefixListId", id.as_str())]);
        }
        self.table_ids.truncate(self.settled.tables.len());
        self.acl_ids.truncate(self.settled.acls.len());
        self.associations.clear();
        self.acl_associations.retain(|subnet, _| *subnet < self.settled.subnets.len());
        self.next_vlan = 1;
        self.model = self.settled.clone();
    }

    fn clear_interfaces(&mut self) {
        for which in 0..self.elastics.len() {
            self.disassociate(which);
        }
        for id in 0..self.model.interfaces.len() {
            if id >= self.settled.interfaces.len() {
                self.delete_interface(id);
                continue;
            }
            if self.model.interfaces[id].gateway {
                continue;
            }
            self.set_groups(id, &[]);
            let gone = self.model.interfaces[id].addresses.split_off(1);
            let gone = gone.into_iter().map(|(held, _)| held);
            let (v6, v4): (Vec<IpPrefix>, Vec<IpPrefix>) = gone.partition(|held| is_six(*held));
            self.unassign_six(id, &v6);
            let eni = self.model.interfaces[id].eni.clone();
            let mut request = vec![("NetworkInterfaceId".to_owned(), eni)];
            let numbered = |(n, held): (usize, &IpPrefix)| {
                (format!("PrivateIpAddress.{n}"), one_of(*held).to_string())
            };
            request.extend((1..).zip(&v4).map(numbered));
            if !v4.is_empty() {
                let request: Vec<(&str, &str)> =
                    request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                self.cloud.ok("UnassignPrivateIpAddresses", &request);
            }
        }
    }

    /// Rules first: groups refer to each other.
    fn clear_groups(&mut self, vpc: usize) {
        let groups = self.vpcs[vpc].groups.clone();
        let (default, own) = groups.split_first().expect("the default group");
        let known = self.settled.groups[default].len();
        while self.model.groups[default].len() > known {
            self.remove_rule(default, known);
        }
        for group in own {
            while !self.model.groups[group].is_empty() {
                self.remove_rule(group, 0);
            }
        }
        for group in own {
            self.cloud.ok("DeleteSecurityGroup", &[("GroupId", group.0.as_str())]);
        }
        self.vpcs[vpc].groups.truncate(1);
    }
}

/// A table that has nothing but the VPC's own blocks.
pub fn local(vpc: usize) -> BTreeMap<IpPrefix, Goal> {
    let blocks = [BLOCK.parse().expect("prefix"), IpPrefix::V6(block_v6(vpc))];
    blocks.map(|block| (block, Goal::Local)).into()
}

fn know_vpc(cloud: &mut Cloud, model: &mut Model, vpc: usize, id: &str) -> Vpc {
    let in_vpc = [("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", id)];
    let group = GroupId(cloud.make("groupId", "DescribeSecurityGroups", &in_vpc));
    model.groups.insert(group.clone(), rules_of(cloud, &group));
    let blocks = cloud.ok("DescribeVpcs", &[("VpcId.1", id)]);
    let block = texts(&blocks, "ipv6CidrBlock").next().map(str::to_owned);
    assert_eq!(block, Some(block_v6(vpc).to_string()), "blocks are given out in order");
    model.tables.push(local(vpc));
    let all = |six| acl::Entry { allow: true, traffic: Traffic::All, peer: everywhere(six) };
    let entries = [(100, all(false)), (101, all(true))];
    let both = [Direction::Ingress, Direction::Egress];
    let entries = |direction| entries.map(|(number, entry)| ((direction, number), entry));
    model.acls.push(both.into_iter().flat_map(entries).collect());
    let blocks = subnet_blocks(vpc, FIXED_SUBNET);
    let subnet = make_subnet(cloud, id, blocks);
    model.subnets.push(Subnet { id: subnet, vpc, blocks, table: vpc, acl: vpc });
    let [tables, acls, subnets] = [vpc; 3].map(|position| vec![position]);
    Vpc { id: id.to_owned(), gateway: String::new(), groups: vec![group], tables, acls, subnets }
}

/// The rules that a new group has: everything may leave, and members of a default group may come.
fn rules_of(cloud: &mut Cloud, group: &GroupId) -> Vec<Rule> {
    let filter = [("Filter.1.Name", "group-id"), ("Filter.1.Value.1", group.0.as_str())];
    let xml = cloud.ok("DescribeSecurityGroupRules", &filter);
    let rule = |item: &str| {
        let id = item.split('<').next().unwrap_or_default();
        let (direction, peer) = match item.contains("<isEgress>true</isEgress>") {
            true => {
                let six = item.contains("<cidrIpv6>");
                (Direction::Egress, RulePeer::Prefix(everywhere(six)))
            }
            false => (Direction::Ingress, RulePeer::Group(group.clone())),
        };
        Rule { id: RuleId(id.to_owned()), direction, traffic: Traffic::All, peer }
    };
    xml.split("<securityGroupRuleId>").skip(1).map(rule).collect()
}

fn make_subnet(cloud: &mut Cloud, vpc: &str, blocks: [IpPrefix; 2]) -> String {
    let [v4, v6] = blocks.map(|block| block.to_string());
    let request =
        [("VpcId", vpc), ("CidrBlock", &v4), ("Ipv6CidrBlock", &v6), ("AvailabilityZone", ZONE)];
    cloud.make("subnetId", "CreateSubnet", &request)
}

fn acl_association(cloud: &mut Cloud, subnet: &str) -> String {
    let filter = [("Filter.1.Name", "association.subnet-id"), ("Filter.1.Value.1", subnet)];
    let xml = cloud.ok("DescribeNetworkAcls", &filter);
    // One list may have several subnets: each item names its own after its association.
    let items = xml.split("<networkAclAssociationId>").skip(1);
    let own = items.filter(|item| item.contains(&format!("<subnetId>{subnet}</subnetId>")));
    let mut own = own.filter_map(|item| item.split('<').next());
    own.next().expect("an association").to_owned()
}
