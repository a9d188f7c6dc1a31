/* What user space tells the fabric, and what the fabric remembers and reports.
 *
 * Every structure here has its twin in src/fabric/layout.rs, which asserts the sizes. None has
 * padding. Interface keys are never reused and never 0. A record of several words that decides a
 * verdict (hr_interface, hr_set and all below it) is written to a fresh slot, never changed while
 * anything points to it, and reached through one 32-bit word; see src/fabric/slots.rs.
 */
#pragma once

#define HR_ROUTER_MAC { 0x02, 0x68, 0x72, 0x00, 0x00, 0x01 }

#define HR_INGRESS 0
#define HR_EGRESS 1
#define HR_NO_RULE 0xffff
#define HR_RULE_WORDS 32 /* at most 1,024 rules per interface, direction and family */

/* ifindex in the fabric's namespace → who is plugged in there. */
struct hr_port {
	__u32 interface; /* key; 0: the VPC's service port; HR_PORT_INTERNET */
	__u32 vpc;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct hr_port);
} ports SEC(".maps");

/* Ports of low ifindex once more, as an array costs less than a hash. Without an interface, as a
 * VPC's services are: not here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct hr_port);
} near_ports SEC(".maps");

#define HR_PORT_INTERNET 0xffffffff /* the port to the Internet, which all gateways share */

struct hr_interface {
	__u32 key;
	__u32 vpc;
	__u32 ifindex; /* port to it, the trunk's for a branch; 0: not attached */
	__u32 combination;
	__be32 subnet;
	__be32 mask;
	__u16 vlan; /* of a branch, or HR_UNTAGGED */
	__u8 mac[6] __attribute__((aligned(2)));
	__u32 check;  /* source/destination check: 0 or 1 */
	__u32 routes; /* its subnet's route table, or 0: the local route alone */
	__u32 acl;    /* the combination that stands for its subnet's network ACL, or 0: none */
	__u32 idle[3]; /* HR_IDLE_…: timeouts in ticks */
	__u8 kind;     /* HR_KIND_… */
	__u8 logged;   /* whether a flow log wants its packets counted: 0 or 1 */
	__u16 mtu;     /* the largest packet that it takes */
	__be32 subnet_v6[2]; /* its subnet's IPv6 block, which is no longer than 64 bits */
	__be32 mask_v6[2];   /* 0: the subnet has none */
};
_Static_assert(sizeof(struct hr_interface) == 76, "layout.rs");

#define HR_KIND_INSTANCE 0
#define HR_KIND_NAT 1	   /* a NAT gateway's: no groups */
#define HR_KIND_INTERNET 2 /* stands for a VPC's internet gateway: no groups, at the shared port */
#define HR_KIND_EGRESS 3   /* the same for its egress-only ones */

#define HR_IDLE_TCP 0 /* established */
#define HR_IDLE_UDP 1
#define HR_IDLE_STREAM 2 /* UDP that was answered */

/* Counts changes of anything that decides about packets of a tracked flow: interfaces, routes,
 * network ACLs, rules. Modulo 2^30; raised after the change is in the maps. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} generation SEC(".maps");

#define HR_GENERATION 0x3fffffff

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct hr_interface);
} interfaces SEC(".maps");

/* interface key → its slot in interfaces. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u32);
} interface_slots SEC(".maps");

#define HR_HINTS 16384

/* interface key modulo HR_HINTS → the slot of an interface of such a key, if there is one: the last
 * that was written. So it never leads to a record of the interface that is not the present one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HR_HINTS);
	__type(key, __u32);
	__type(value, __u32);
} interface_hints SEC(".maps");

struct hr_vlan_key {
	__u32 trunk; /* interface key */
	__u32 vlan;
};

/* branch → interface key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct hr_vlan_key);
	__type(value, __u32);
} vlans SEC(".maps");

struct hr_address_key {
	__u32 vpc;
	__be32 address;
};

/* The key is repeated in the value: elements of a hash are reused at once, and a reader that
 * raced with it must notice. */
struct hr_address {
	__u32 interface;
	__u32 vpc;
	__be32 address;
	__u32 since; /* generation from which on the interface has the address */
};
_Static_assert(sizeof(struct hr_address) == 16, "layout.rs");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct hr_address_key);
	__type(value, struct hr_address);
} addresses SEC(".maps");

#define HR_NAT_ADDRESSES 8

/* A NAT gateway; see nat.h. Only its addresses change. */
struct hr_nat {
	/* ifindex of the end where packets are translated. In front, as who reads the rest compares it
	 * with the key afterwards: elements of a hash are reused at once. */
	__u32 far;
	__u32 near;	 /* … and of the gateway's port */
	__u32 interface; /* key */
	__u32 vpc;
	__u32 ports; /* those it gives to flows, of each address: the first, and the last << 16 */
	__u32 fresh; /* how many addresses new flows get, from 1: the first of the list */
	/* The primary one first, those that drain behind the fresh ones, 0 behind all. */
	__be32 addresses[HR_NAT_ADDRESSES];
};
_Static_assert(sizeof(struct hr_nat) == 56, "layout.rs");

/* ifindex of either end → the gateway. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct hr_nat);
} nats SEC(".maps");

struct hr_service {
	__u32 ifindex;
	__u8 mac[6];
	__u16 pad;
	__be32 dns; /* where the VPC's DNS is besides 169.254.169.253: its base + 2 */
};

/* VPC key → its service port. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct hr_service);
} services SEC(".maps");

/* Route table → its present version, changed by one store into shared memory. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} route_versions SEC(".maps");

struct hr_route_key {
	__u32 prefixlen; /* 32 + the prefix's length */
	__u32 version;	 /* never reused */
	__be32 destination;
};

#define HR_ROUTE_BLACKHOLE 0
#define HR_ROUTE_UNSERVED 0xfffffffe /* a gateway: not built */
#define HR_ROUTE_LOCAL 0xffffffff

/* Destination prefix → an interface key, or HR_ROUTE_…. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct hr_route_key);
	__type(value, __u32);
} routes SEC(".maps");

/* A combination is a distinct set of groups in a VPC; this is its present slot in sets, changed
 * by one store into shared memory. Combination 0 and set 0 stand for no groups: nothing passes.
 * A network ACL is a combination too, with rules that deny; the lowest that matches decides. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u32);
} combination_sets SEC(".maps");

/* Compiled rules of a combination. */
struct hr_set {
	__u32 id;	 /* never reused: names the rule list in events */
	__u32 tables[8]; /* [direction * 4 + (TCP 0, UDP 1, ICMP 2, ICMPv6 3)] → port_tables */
	__u32 others[2]; /* [direction] → port_blocks, indexed by protocol number */
	__u32 words[2];	 /* [direction]: words of the bit vectors that are in use */
	__u32 denies[2]; /* [direction] → rule_bits: the rules that deny; groups have none */
	__u32 groups[2]; /* [direction]: whether rules name groups as peers: 0 or 1 */
	/* [IPv6 * 4 + direction * 2 + (TCP 0, UDP 1)] → rule_bits: the rules whose flows are not
	 * tracked, being for everybody while the other direction lets every answer pass. */
	__u32 open[8];
};
_Static_assert(sizeof(struct hr_set) == 100, "layout.rs");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hr_set);
} sets SEC(".maps");

struct hr_block {
	__u16 at[256];
};

/* port >> 8 → block. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct hr_block);
} port_tables SEC(".maps");

/* port & 255 → bits. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct hr_block);
} port_blocks SEC(".maps");

struct hr_bits {
	__u64 word[HR_RULE_WORDS];
};

/* Bit n stands for rule n of a set and direction. Entry 0 is all zeros. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct hr_bits);
} rule_bits SEC(".maps");

struct hr_prefix_key {
	__u32 prefixlen; /* 32 + the prefix's length */
	__u32 gate;	 /* set slot << 1 | direction */
	__be32 address;
};

/* Peer prefix → bits of every rule whose prefix covers it. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct hr_prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");

struct hr_group_key {
	__u32 gate; /* as above */
	__u32 combination;
};

/* The peer's combination → bits of every rule that names one of its groups. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct hr_group_key);
	__type(value, __u32);
} group_peers SEC(".maps");

/* One entry for both directions. Side 0 is the end with the smaller (address, port, end). An end is
 * HR_OWNER | VPC where the address is the interface's own, so that the entry is found before the
 * interfaces are known; or the key of an interface that forwards for others. */
struct hr_flow_key {
	__u64 ends;	 /* of side 0 | of side 1 << 32 */
	__u64 addresses; /* likewise, as they are in the packet */
	/* Ports: of side 0 | of side 1 << 16; of ICMP queries the id, twice. Protocol << 32. Of ICMP the
	 * request's type << 41 | the side that asks << 40. */
	__u64 rest;
};
_Static_assert(sizeof(struct hr_flow_key) == 24, "no padding");

#define HR_OWNER 0x80000000

struct hr_fragment_key {
	__u32 from;
	__u32 to;
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 pad;
};

/* Datagrams whose first fragment passed → when to forget them, in ticks. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct hr_fragment_key);
	__type(value, __u32);
} fragments SEC(".maps");

/* Packets by reason. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HR_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/* Whether anybody wants to know of accepted new flows: 0 or 1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} told SEC(".maps");

/* Events the ring buffer had no room for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* A drop, or an accepted new flow. Of IPv6 it is the start of a struct hr_event_v6. */
struct hr_event {
	__u64 time; /* nanoseconds of CLOCK_MONOTONIC; of accepted flows as of the last tick */
	__u32 vpc;
	__u32 from; /* interface key of the sender, 0: unknown */
	__u32 to;   /* interface key of the receiver, 0: unknown */
	__be32 source;
	__be32 destination;
	__u32 bytes;
	__u32 sets[2];	/* [direction]: hr_set.id consulted, 0: none */
	__u16 rules[2]; /* [direction]: deciding rule, or HR_NO_RULE */
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 reason;
	__u8 pad[6];
};
_Static_assert(sizeof(struct hr_event) == 56, "layout.rs");

struct hr_event_v6 {
	struct hr_event event;
	__be32 source[4]; /* whole, as the next */
	__be32 destination[4];
};
_Static_assert(sizeof(struct hr_event_v6) == 88, "layout.rs");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");
