/* What the node's programs share with the agent. Every layout here is mirrored and checked in
 * src/node/layout.rs; a change of meaning or size needs a new LAYOUT there. */
#pragma once

#define NODE_ENDPOINTS 1024 /* pods of a node; the largest instance type carries 737 + 107 */

#define NODE_STRICT 0x1

/* A pod. Written to a fresh slot of node_endpoints, then made visible by the index maps. */
struct node_endpoint {
	__u32 host_ifindex;
	__be32 address;
	__u32 uplink_ifindex;
	__u16 vlan; /* 0: untagged */
	__u16 flags;
	__u8 gateway_mac[6]; /* these two in wire order: one store dresses a frame */
	__u8 uplink_mac[6];
	__u8 pod_mac[6];
	__u8 pad[2];
};
_Static_assert(sizeof(struct node_endpoint) == 36, "src/node/layout.rs");

struct node_vlan {
	__u32 ifindex;
	__u32 vlan;
};
_Static_assert(sizeof(struct node_vlan) == 8, "src/node/layout.rs");

struct node_prefix {
	__u32 len;
	__be32 address;
};
_Static_assert(sizeof(struct node_prefix) == 8, "src/node/layout.rs");

/* A direction of a flow that went through the host's stack, as it left the stack. */
struct node_flow {
	__be32 source;
	__be32 destination;
	__u16 source_port; /* host order; echo id for ICMP queries; 0 where there are none */
	__u16 destination_port;
	__u8 protocol;
	__u8 way; /* NODE_BY_… */
	__u16 pad;
};
_Static_assert(sizeof(struct node_flow) == 16, "src/node/layout.rs");

/* Slots are twice the endpoints, used in turn: a replaced endpoint's slot rests before reuse. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * NODE_ENDPOINTS);
	__type(key, __u32);
	__type(value, struct node_endpoint);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_endpoints SEC(".maps");

/* The indexes: value is a slot. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NODE_ENDPOINTS);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_by_host SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NODE_ENDPOINTS);
	__type(key, __be32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_by_address SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NODE_ENDPOINTS);
	__type(key, struct node_vlan);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_by_vlan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* the only kind there is */
	__type(key, struct node_prefix);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __be32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct node_flow);
	__type(value, __u32); /* 1 */
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_flows SEC(".maps");

/* By reason number; more places than reasons, so that a new reason is no new layout. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} node_counters SEC(".maps");
_Static_assert(HR_REASONS <= 64, "node_counters is too small");

/* A preallocated hash reuses elements at once, so a reader that holds a stale one may be led to
 * another key's slot: each lookup checks that the endpoint is the one asked for. */
static __always_inline struct node_endpoint *node_slot(const __u32 *slot)
{
	return slot ? bpf_map_lookup_elem(&node_endpoints, slot) : 0;
}

static __always_inline struct node_endpoint *node_endpoint_by_host(__u32 ifindex)
{
	struct node_endpoint *ep = node_slot(bpf_map_lookup_elem(&node_by_host, &ifindex));

	return ep && ep->host_ifindex == ifindex ? ep : 0;
}

static __always_inline struct node_endpoint *node_endpoint_by_address(__be32 address)
{
	struct node_endpoint *ep = node_slot(bpf_map_lookup_elem(&node_by_address, &address));

	return ep && ep->address == address ? ep : 0;
}

static __always_inline struct node_endpoint *node_endpoint_by_vlan(__u32 ifindex, __u32 vlan)
{
	struct node_vlan key = { .ifindex = ifindex, .vlan = vlan };
	struct node_endpoint *ep = node_slot(bpf_map_lookup_elem(&node_by_vlan, &key));

	return ep && ep->uplink_ifindex == ifindex && ep->vlan == vlan ? ep : 0;
}

static __always_inline int node_is_service(__be32 address)
{
	struct node_prefix key = { .len = 32, .address = address };

	return bpf_map_lookup_elem(&node_services, &key) != 0;
}

static __always_inline int node_is_own(__be32 address)
{
	return bpf_map_lookup_elem(&node_addresses, &address) != 0;
}

static __always_inline void node_count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&node_counters, &reason);

	if (counter)
		(*counter)++; /* per CPU, and tc programs on one CPU do not interrupt each other */
}

static __always_inline int node_drop(__u32 reason)
{
	node_count(reason);
	return TC_ACT_SHOT;
}

static __always_inline int node_pass(void)
{
	node_count(HR_ALLOWED);
	return TC_ACT_OK;
}
