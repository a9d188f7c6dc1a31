//! Requests that change something, and what they mean for the model.

use std::collections::BTreeSet;

use hedgerow_core::acl;
use hedgerow_core::prefix::IpPrefix;
use hedgerow_core::sg::{Direction, GroupId, ICMP, ICMPV6, RuleId, TCP, Traffic, UDP};

use super::addresses::{FIRST_SECONDARY, FIXED, SHARED, is_six, nth};
use super::cloud::texts;
use super::generate::{Change, Edge, Entry, Leads, Peer, Pick, Route, Rule};
use super::model::{self, Goal, Id, Interface, Place, RulePeer};
use super::world::{List, World, local};

/// The destination of a route in requests.
const DESTINATION: [&str; 2] = ["DestinationCidrBlock", "DestinationIpv6CidrBlock"];

/// Protocol, first and last number as rules have them.
fn words(traffic: Traffic) -> (String, Option<[i32; 2]>) {
    let any = |part: Option<u8>| part.map_or(-1, i32::from);
    match traffic {
        Traffic::All => ("-1".into(), None),
        Traffic::Tcp { from, to } => (TCP.to_string(), Some([from.into(), to.into()])),
        Traffic::Udp { from, to } => (UDP.to_string(), Some([from.into(), to.into()])),
        Traffic::Icmp { kind, code } => (ICMP.to_string(), Some([any(kind), any(code)])),
        Traffic::Icmpv6 { kind, code } => (ICMPV6.to_string(), Some([any(kind), any(code)])),
        Traffic::Other(number) => (number.to_string(), None),
    }
}

impl World {
    /// Carries a change out; what cannot be is left.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::AddRule(group, rule) => {
                let (vpc, group) = self.group(*group);
                self.add_rule(vpc, &group, rule);
            }
            Change::RemoveRule(group, rule) => {
                let (vpc, group) = self.group(*group);
                let count = self.model.groups[&group].len();
                // What a default group has from the start stays for the next case.
                if count > 0 && group != self.vpcs[vpc].groups[0] {
                    self.remove_rule(&group, rule.of(count));
                }
            }
            Change::AddEntry(acl, entry) => {
                if let Some(acl) = self.own_acl(*acl) {
                    self.add_entry(acl, *entry);
                }
            }
            Change::RemoveEntry(acl, entry) => {
                if let Some(acl) = self.own_acl(*acl) {
                    self.remove_entry(acl, *entry);
                }
            }
            Change::SetRoute(table, route) => {
                if let Some(table) = self.own_table(*table) {
                    self.set_route(table, *route);
                }
            }
            Change::RemoveRoute(table, route) => {
                if let Some(table) = self.own_table(*table) {
                    self.remove_route(table, *route);
                }
            }
            Change::Edge(subnet, edge) => {
                self.set_edge(subnet.of(self.model.subnets.len()), *edge);
            }
            Change::Groups(interface, groups) => {
                self.set_groups(interface.of(self.model.interfaces.len()), groups);
            }
            Change::Check(interface) => {
                if let Some(id) = self.own_interface(*interface) {
                    self.set_check(id, !self.model.interfaces[id].check);
                }
            }
            Change::Plug(interface, trunk) => {
                if let Some(id) = self.own_interface(*interface) {
                    match self.model.interfaces[id].place {
                        Place::Nowhere => self.plug(id, *trunk),
                        _ => self.unplug(id),
                    }
                }
            }
            Change::Address(interface, host) => {
                self.assign_shared(interface.of(self.ports.len()), *host)
            }
            Change::Elastic(which, interface, address) => {
                let id = interface.of(self.model.interfaces.len());
                self.associate(which.of(self.elastics.len()), id, *address);
            }
            Change::Six(interface, six) => {
                let id = interface.of(self.model.interfaces.len());
                self.toggle_six(id, *six);
            }
            Change::List(list, prefix) => self.toggle(*list, *prefix),
            Change::Delete(interface) => {
                if let Some(id) = self.own_interface(*interface) {
                    self.delete_interface(id);
                }
            }
        }
    }

    fn group(&self, pick: Pick) -> (usize, GroupId) {
        let all = [0, 1].map(|vpc| self.vpcs[vpc].groups.iter().map(move |id| (vpc, id)));
        let all: Vec<(usize, &GroupId)> = all.into_iter().flatten().collect();
        let (vpc, group) = all[pick.of(all.len())];
        (vpc, group.clone())
    }

    /// A list, table or interface that this case made, if it made any.
    fn own_acl(&self, pick: Pick) -> Option<usize> {
        let count = self.model.acls.len() - 2;
        (count > 0).then(|| 2 + pick.of(count))
    }

    fn own_table(&self, pick: Pick) -> Option<usize> {
        let count = self.model.tables.len() - 2;
        (count > 0).then(|| 2 + pick.of(count))
    }

    fn own_interface(&self, pick: Pick) -> Option<Id> {
        let own = self.ports.len()..self.model.interfaces.len();
        let there = |id: &Id| {
            let interface = &self.model.interfaces[*id];
            interface.exists && !interface.gateway
        };
        let own: Vec<Id> = own.filter(there).collect();
        (!own.is_empty()).then(|| own[pick.of(own.len())])
    }

    pub fn add_rule(&mut self, vpc: usize, group: &GroupId, rule: &Rule) {
        let groups = &self.vpcs[vpc].groups;
        let (peer, field, text) = match rule.peer {
            Peer::Prefix(prefix) => {
                let fields = ["IpRanges.1.CidrIp", "Ipv6Ranges.1.CidrIpv6"];
                let (field, text) = block_field(prefix, fields);
                (RulePeer::Prefix(prefix), field, text)
            }
            Peer::Group(pick) => {
                let other = groups[pick.of(groups.len())].clone();
                (RulePeer::Group(other.clone()), "Groups.1.GroupId", other.0)
            }
            Peer::List(_) if self.lists.is_empty() => return,
            Peer::List(pick) => {
                let list = pick.of(self.lists.len());
                let id = self.lists[list].id.clone();
                (RulePeer::List(list), "PrefixListIds.1.PrefixListId", id)
            }
        };
        let same = |other: &&model::Rule| {
            other.direction == rule.direction && other.traffic == rule.traffic && other.peer == peer
        };
        if self.model.groups[group].iter().any(|other| same(&other)) {
            return;
        }
        let (protocol, range) = words(rule.traffic);
        let field = format!("IpPermissions.1.{field}");
        let mut request = vec![
            ("GroupId", group.0.clone()),
            ("IpPermissions.1.IpProtocol", protocol),
            (field.as_str(), text),
        ];
        if let Some([from, to]) = range {
            request.push(("IpPermissions.1.FromPort", from.to_string()));
            request.push(("IpPermissions.1.ToPort", to.to_string()));
        }
        let action = match rule.direction {
            Direction::Ingress => "AuthorizeSecurityGroupIngress",
            Direction::Egress => "AuthorizeSecurityGroupEgress",
        };
        let id = RuleId(self.cloud.make("securityGroupRuleId", action, &borrowed(&request)));
        let Rule { direction, traffic, .. } = *rule;
        let rules = self.model.groups.get_mut(group).expect("a known group");
        rules.push(model::Rule { id, direction, traffic, peer });
    }

    pub fn remove_rule(&mut self, group: &GroupId, position: usize) {
        let rules = self.model.groups.get_mut(group).expect("a known group");
        let rule = rules.remove(position);
        let action = match rule.direction {
            Direction::Ingress => "RevokeSecurityGroupIngress",
            Direction::Egress => "RevokeSecurityGroupEgress",
        };
        let request = [("GroupId", group.0.as_str()), ("SecurityGroupRuleId.1", &rule.id.0)];
        self.cloud.ok(action, &request);
    }

    pub fn add_entry(&mut self, acl: usize, entry: Entry) {
        let Entry { direction, allow, traffic, peer } = entry;
        let of_direction = self.model.acls[acl].keys().filter(|(way, _)| *way == direction);
        let number = of_direction.map(|(_, number)| number + 10).max().unwrap_or(100);
        if number > 280 {
            return;
        }
        let (protocol, range) = words(traffic);
        let mut request = vec![
            ("NetworkAclId", self.acl_ids[acl].clone()),
            ("RuleNumber", number.to_string()),
            ("Protocol", protocol),
            ("RuleAction", if allow { "allow" } else { "deny" }.to_owned()),
            ("Egress", (direction == Direction::Egress).to_string()),
            block_field(peer, ["CidrBlock", "Ipv6CidrBlock"]),
        ];
        if let Some([from, to]) = range {
            let names = match traffic {
                Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => ["Icmp.Type", "Icmp.Code"],
                _ => ["PortRange.From", "PortRange.To"],
            };
            request.extend(names.into_iter().zip([from.to_string(), to.to_string()]));
        }
        self.cloud.ok("CreateNetworkAclEntry", &borrowed(&request));
        self.model.acls[acl].insert((direction, number), acl::Entry { allow, traffic, peer });
    }

    fn remove_entry(&mut self, acl: usize, pick: Pick) {
        let keys: Vec<(Direction, u16)> = self.model.acls[acl].keys().copied().collect();
        if keys.is_empty() {
            return;
        }
        let (direction, number) = keys[pick.of(keys.len())];
        let request = [
            ("NetworkAclId", self.acl_ids[acl].clone()),
            ("RuleNumber", number.to_string()),
            ("Egress", (direction == Direction::Egress).to_string()),
        ];
        self.cloud.ok("DeleteNetworkAclEntry", &borrowed(&request));
        self.model.acls[acl].remove(&(direction, number));
    }

    /// Which VPC a table of this case belongs to.
    fn vpc_of_table(&self, table: usize) -> usize {
        usize::from(self.vpcs[1].tables.contains(&table))
    }

    pub fn set_route(&mut self, table: usize, route: Route) {
        let vpc = self.vpc_of_table(table);
        let there = |id: &Id| {
            let interface = &self.model.interfaces[*id];
            interface.exists && interface.vpc == vpc && !interface.gateway
        };
        let inside: Vec<Id> = (0..self.model.interfaces.len()).filter(there).collect();
        let (goal, target) = match route.to {
            Leads::Interface(pick) => {
                let to = inside[pick.of(inside.len())];
                let eni = self.model.interfaces[to].eni.clone();
                (Goal::Interface(to), ("NetworkInterfaceId", eni))
            }
            Leads::Internet => (Goal::Internet, ("GatewayId", self.vpcs[vpc].gateway.clone())),
        };
        let request = [
            ("RouteTableId", self.table_ids[table].clone()),
            block_field(route.prefix, DESTINATION),
            target,
        ];
        let known = self.model.tables[table].contains_key(&route.prefix);
        let action = if known { "ReplaceRoute" } else { "CreateRoute" };
        self.cloud.ok(action, &borrowed(&request));
        self.model.tables[table].insert(route.prefix, goal);
    }

    /// The routes of the VPC's own blocks cannot go; they become local again.
    fn remove_route(&mut self, table: usize, pick: Pick) {
        let prefixes: Vec<IpPrefix> = self.model.tables[table].keys().copied().collect();
        let prefix = prefixes[pick.of(prefixes.len())];
        let mut request =
            vec![("RouteTableId", self.table_ids[table].clone()), block_field(prefix, DESTINATION)];
        let vpc = self.vpc_of_table(table);
        if local(vpc).contains_key(&prefix) {
            request.push(("LocalTarget", "true".to_owned()));
            self.cloud.ok("ReplaceRoute", &borrowed(&request));
            self.model.tables[table].insert(prefix, Goal::Local);
        } else {
            self.cloud.ok("DeleteRoute", &borrowed(&request));
            self.model.tables[table].remove(&prefix);
        }
    }

    /// Gives a subnet a route table and a network ACL.
    pub fn set_edge(&mut self, subnet: usize, edge: Edge) {
        let (id, vpc) = (self.model.subnets[subnet].id.clone(), self.model.subnets[subnet].vpc);
        let choose = |all: &[usize], pick: Option<Pick>| match (pick, &all[1..]) {
            (Some(pick), own) if !own.is_empty() => own[pick.of(own.len())],
            _ => all[0],
        };
        let table = choose(&self.vpcs[vpc].tables, edge.table);
        let acl = choose(&self.vpcs[vpc].acls, edge.acl);
        if let Some(association) = self.associations.remove(&subnet) {
            self.cloud.ok("DisassociateRouteTable", &[("AssociationId", association.as_str())]);
        }
        if table != self.vpcs[vpc].tables[0] {
            let request = [("RouteTableId", self.table_ids[table].as_str()), ("SubnetId", &id)];
            let association = self.cloud.make("associationId", "AssociateRouteTable", &request);
            self.associations.insert(subnet, association);
        }
        if acl != self.model.subnets[subnet].acl {
            let request = [
                ("AssociationId", self.acl_associations[&subnet].as_str()),
                ("NetworkAclId", self.acl_ids[acl].as_str()),
            ];
            let action = "ReplaceNetworkAclAssociation";
            let association = self.cloud.make("newAssociationId", action, &request);
            self.acl_associations.insert(subnet, association);
        }
        let known = &mut self.model.subnets[subnet];
        (known.table, known.acl) = (table, acl);
    }

    /// Without groups an interface has the VPC's default one; others have it rarely, because it lets
    /// nearly all in.
    pub fn pick_groups(&self, vpc: usize, picks: &[Pick]) -> BTreeSet<GroupId> {
        let (default, own) = self.vpcs[vpc].groups.split_first().expect("the default group");
        let one = |pick: &Pick| match own.is_empty() || pick.0 % 12 == 11 {
            true => default.clone(),
            false => own[pick.of(own.len())].clone(),
        };
        match picks {
            [] => BTreeSet::from([default.clone()]),
            picks => picks.iter().map(one).collect(),
        }
    }

    pub fn set_groups(&mut self, id: Id, picks: &[Pick]) {
        let interface = &self.model.interfaces[id];
        let groups = self.pick_groups(interface.vpc, picks);
        if !interface.exists || interface.gateway || interface.groups == groups {
            return;
        }
        let names: Vec<String> =
            (1..=groups.len()).map(|n| format!("SecurityGroupId.{n}")).collect();
        let mut request = vec![("NetworkInterfaceId", interface.eni.as_str())];
        request.extend(names.iter().map(String::as_str).zip(groups.iter().map(|g| g.0.as_str())));
        self.cloud.ok("ModifyNetworkInterfaceAttribute", &request);
        self.model.interfaces[id].groups = groups;
    }

    pub fn set_check(&mut self, id: Id, check: bool) {
        let interface = &mut self.model.interfaces[id];
        if !interface.exists || interface.check == check {
            return;
        }
        interface.check = check;
        let check = check.to_string();
        let request =
            [("NetworkInterfaceId", interface.eni.as_str()), ("SourceDestCheck.Value", &check)];
        self.cloud.ok("ModifyNetworkInterfaceAttribute", &request);
    }

    /// Makes an interface a branch of one of its VPC's trunks.
    pub fn plug(&mut self, id: Id, pick: Pick) {
        let vpc = self.model.interfaces[id].vpc;
        let is_trunk = |port: &usize| {
            let port = &self.ports[*port];
            port.link == "eth1" && self.model.interfaces[port.interface].vpc == vpc
        };
        let trunks: Vec<usize> = (0..self.ports.len()).filter(is_trunk).collect();
        let port = trunks[pick.of(trunks.len())];
        let vlan = self.next_vlan;
        self.next_vlan += 1;
        let request = [
            ("TrunkInterfaceId", self.model.interfaces[self.ports[port].interface].eni.clone()),
            ("BranchInterfaceId", self.model.interfaces[id].eni.clone()),
            ("VlanId", vlan.to_string()),
        ];
        self.cloud.ok("AssociateTrunkInterface", &borrowed(&request));
        self.model.interfaces[id].place = Place::Branch { port, vlan };
    }

    fn unplug(&mut self, id: Id) {
        let eni = self.model.interfaces[id].eni.as_str();
        let filter = [("Filter.1.Name", "branch-interface-id"), ("Filter.1.Value.1", eni)];
        let association =
            self.cloud.make("associationId", "DescribeTrunkInterfaceAssociations", &filter);
        let request = [("AssociationId", association.as_str())];
        self.cloud.ok("DisassociateTrunkInterface", &request);
        self.model.interfaces[id].place = Place::Nowhere;
    }

    /// Gives a fixed interface one of a few secondary addresses, which another one may lose.
    pub fn assign_shared(&mut self, id: Id, pick: Pick) {
        self.assign(id, u32::from(FIRST_SECONDARY) + (FIXED + pick.of(SHARED)) as u32);
    }

    pub fn assign(&mut self, id: Id, host: u32) {
        let subnet = self.model.interfaces[id].subnet;
        let address = nth(self.model.subnets[subnet].blocks[0], host);
        if self.model.interfaces[id].has(address) {
            return;
        }
        let text = address.to_string();
        let request = [
            ("NetworkInterfaceId", self.model.interfaces[id].eni.as_str()),
            ("PrivateIpAddress.1", text.as_str()),
            ("AllowReassignment", "true"),
        ];
        self.cloud.ok("AssignPrivateIpAddresses", &request);
        let held = IpPrefix::new(address, 32);
        for other in &mut self.model.interfaces {
            if other.subnet == subnet {
                other.addresses.retain(|(own, _)| *own != held);
            }
        }
        self.hold(id, held);
    }

    /// Puts a prefix on a list, or takes it off.
    fn toggle(&mut self, pick: Pick, prefix: IpPrefix) {
        if self.lists.is_empty() {
            return;
        }
        let list = pick.of(self.lists.len());
        let List { id, version, .. } = self.lists[list].clone();
        if self.lists[list].six != is_six(prefix) {
            return;
        }
        let known = self.model.lists[list].contains(&prefix);
        if !known && self.model.lists[list].len() == 8 {
            return;
        }
        let field = if known { "RemoveEntry.1.Cidr" } else { "AddEntry.1.Cidr" };
        let request = [
            ("PrefixListId", id),
            ("CurrentVersion", version.to_string()),
            (field, prefix.to_string()),
        ];
        let xml = self.cloud.ok("ModifyManagedPrefixList", &borrowed(&request));
        let version = texts(&xml, "version").next().expect("a version");
        self.lists[list].version = version.parse().expect("a number");
        match known {
            true => self.model.lists[list].remove(&prefix),
            false => self.model.lists[list].insert(prefix),
        };
    }

    pub fn delete_interface(&mut self, id: Id) {
        if !self.model.interfaces[id].exists {
            return;
        }
        let eni = self.model.interfaces[id].eni.clone();
        self.cloud.ok("DeleteNetworkInterface", &[("NetworkInterfaceId", eni.as_str())]);
        // Its elastic addresses are free.
        let Interface { vpc, addresses, .. } = &self.model.interfaces[id];
        self.model.publics.retain(|_, (of, private)| {
            of != vpc || !addresses.iter().any(|(own, _)| own.contains(*private))
        });
        self.model.interfaces[id].exists = false;
        self.model.interfaces[id].place = Place::Nowhere;
    }
}

/// The field of a request that has a block, by its family.
fn block_field(prefix: IpPrefix, fields: [&'static str; 2]) -> (&'static str, String) {
    (fields[usize::from(is_six(prefix))], prefix.to_string())
}

pub fn borrowed<'a>(request: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    request.iter().map(|(name, value)| (*name, value.as_str())).collect()
}
