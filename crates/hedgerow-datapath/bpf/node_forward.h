/* Changing frames on their way: marks, MACs, tags, time to live. */
#pragma once

/* Mark bits; src/node.rs has the same. kube-proxy has 0x4000 and 0x8000, portmap 0x2000. */
#define NODE_MARK_TO_WIRE 0x100 /* policy-routed out by the trunk */
#define NODE_MARK_TO_POD 0x200  /* policy-routed to the strict pod's veth */
#define NODE_MARK_DRESSED 0x400 /* from_pod or another uplink's to_wire did all there is to do */
#define NODE_MARK_MASK 0x700

static __always_inline void node_mark(struct __sk_buff *skb, __u32 bits)
{
	__u32 mark = (skb->mark & ~NODE_MARK_MASK) | bits;

	if (mark != skb->mark)
		skb->mark = mark;
}

static __always_inline int node_same_mac(const __u8 *a, const __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < 6; i++)
		difference |= a[i] ^ b[i];
	return !difference;
}

/* A node is a hop, as it is for packets its stack forwards: what was sent with a time to live of 1
 * (instance metadata with hop limit 1) does not reach a pod. */
static __always_inline __u32 node_age(struct __sk_buff *skb, const struct hr_packet *p)
{
	/* The header's 16-bit word that holds ttl and protocol, before and after. */
	__u16 before = bpf_htons((__u16)p->ttl << 8 | p->protocol);
	__u16 after;
	__u8 ttl = p->ttl - 1;

	if (p->ttl <= 1)
		return HR_TTL_EXCEEDED;
	after = bpf_htons((__u16)ttl << 8 | p->protocol);
	if (bpf_l3_csum_replace(skb, p->l3 + __builtin_offsetof(struct iphdr, check), before, after,
				2) < 0)
		return HR_MALFORMED;
	if (bpf_skb_store_bytes(skb, p->l3 + __builtin_offsetof(struct iphdr, ttl), &ttl, 1, 0) < 0)
		return HR_MALFORMED;
	return HR_ALLOWED;
}

/* Makes the frame one of the endpoint's own uplink. */
static __always_inline __u32 node_dress(struct __sk_buff *skb, const struct node_endpoint *ep)
{
	__u16 vlan = ep->vlan;

	/* destination, then source: gateway_mac and uplink_mac */
	if (bpf_skb_store_bytes(skb, 0, ep->gateway_mac, 12, 0) < 0)
		return HR_MALFORMED;
	if (vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan) < 0)
		return HR_MALFORMED;
	return HR_ALLOWED;
}

/* Into the pod, past its host veth and the host's stack. */
static __always_inline int node_deliver(struct __sk_buff *skb, const struct node_endpoint *ep)
{
	__u32 host = ep->host_ifindex;

	if (bpf_skb_store_bytes(skb, 0, ep->pod_mac, 6, 0) < 0)
		return node_drop(HR_MALFORMED);
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	node_count(HR_ALLOWED);
	return bpf_redirect_peer(host, 0);
}

/* Up to the host's stack, whatever MAC the frame was sent to. */
static __always_inline int node_to_stack(struct __sk_buff *skb, __u32 mark)
{
	bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	node_mark(skb, mark);
	return node_pass();
}
