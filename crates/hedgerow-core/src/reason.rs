//! Why a packet was refused: one append-only list shared by C, Rust, metrics, flow logs and the CLI.
//!
//! The build script of `hedgerow-datapath` writes `reasons.h` from [`Reason::ALL`], so C cannot
//! disagree. Numbers are never reused: dashboards and pinned counters outlive a release.

macro_rules! reasons {
    ($($number:literal $variant:ident $name:literal $text:literal,)*) => {
        /// Why a packet was refused (or [`Reason::Allowed`]).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $text] $variant = $number,)*
        }

        impl Reason {
            /// Every reason, in number order.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable snake_case name used in metrics, flow logs and C (`HR_` + upper case).
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One sentence for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    0 Allowed "allowed" "the packet was let through",
    1 Malformed "malformed" "the frame is truncated or its headers contradict each other",
    2 UnsupportedProtocol "unsupported_protocol" "the frame is neither ARP, IPv4 nor IPv6",
    3 UnknownPort "unknown_port" "no interface is attached where the frame came from",
    4 UnknownVlan "unknown_vlan" "no branch interface is associated with the frame's VLAN id",
    5 SourceMac "source_mac" "the source MAC is not the interface's",
    6 SourceAddress "source_address" "the source address is not one of the interface's (source/destination check)",
    7 NoRoute "no_route" "no interface has the destination address and no route leads there",
    8 Multicast "multicast" "multicast and broadcast do not cross a VPC",
    9 EgressGroups "egress_groups" "no egress rule of the sender's security groups matches",
    10 IngressGroups "ingress_groups" "no ingress rule of the receiver's security groups matches",
    11 Fragment "fragment" "the fragment's first part was not seen, so its ports are unknown",
    12 FlowTableFull "flow_table_full" "the flow could not be tracked",
    13 PeerDown "peer_down" "the receiver's interface is not attached",
    14 InstanceMetadata "instance_metadata" "pods may not reach the instance metadata service",
    15 PodNotReady "pod_not_ready" "the pod's endpoint is not known to the datapath",
    16 StrictLocal "strict_local" "a strict pod is reached through the VPC only",
    17 TtlExceeded "ttl_exceeded" "the packet's time to live ran out",
    18 Blackhole "blackhole" "the route to the destination leads to something that is gone",
    19 NetworkAclEgress "network_acl_egress" "the network ACL of the sender's subnet denies the packet",
    20 NetworkAclIngress "network_acl_ingress" "the network ACL of the receiver's subnet denies the packet",
    21 DestinationAddress "destination_address" "the destination is not one of the receiving interface's addresses (source/destination check)",
    22 NoPublicAddress "no_public_address" "the sender has no public address, without which an internet gateway takes nothing",
    23 UnknownPublicAddress "unknown_public_address" "no interface behind an internet gateway has this public address",
    24 PacketTooBig "packet_too_big" "the packet is larger than the way to its destination takes",
    25 NatUnsolicited "nat_unsolicited" "nobody behind the NAT gateway asked for the packet",
    26 NatProtocol "nat_protocol" "NAT gateways translate TCP, UDP and ICMP only, and fragments of UDP only",
    27 NatPorts "nat_ports" "the NAT gateway has no port left for this destination",
    28 EgressOnly "egress_only" "an egress-only internet gateway lets in nothing but answers",
    29 NatIdleFlow "nat_idle_flow" "the NAT gateway does not know the connection: it was idle for too long or began elsewhere",
}

impl Reason {
    /// The reason with this number, if this build knows it.
    pub fn from_number(number: u32) -> Option<Reason> {
        Reason::ALL.get(number as usize).copied()
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(
                position, *reason as usize,
                "{reason}: the list is append-only and gap-free"
            );
            assert_eq!(Reason::from_number(*reason as u32), Some(*reason));
        }
    }
}
