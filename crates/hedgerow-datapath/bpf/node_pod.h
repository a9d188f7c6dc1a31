/* The host side of a pod's veth pair. */
#pragma once

#define NODE_IMDS 0xa9fea9fe	   /* 169.254.169.254 */
#define NODE_MULTICAST 0xe0000000 /* 224.0.0.0/4; what lies above is reserved and broadcast */

static __always_inline int node_pod_arp(struct __sk_buff *skb, const struct hr_packet *p,
					const struct node_endpoint *ep)
{
	struct hr_arp arp;
	__be32 sender;

	if (hr_parse_arp(skb, p, &arp) != HR_ALLOWED)
		return node_drop(HR_MALFORMED);
	if (!node_same_mac(arp.sender_mac, ep->pod_mac))
		return node_drop(HR_SOURCE_MAC);
	__builtin_memcpy(&sender, arp.sender, 4);
	if (sender != ep->address)
		return node_drop(HR_SOURCE_ADDRESS);
	return node_pass();
}

static __always_inline int node_pod_to_uplink(struct __sk_buff *skb, const struct hr_packet *p,
					      const struct node_endpoint *ep)
{
	__u32 uplink = ep->uplink_ifindex;
	__u32 reason = node_age(skb, p);

	if (reason != HR_ALLOWED)
		return node_drop(reason);
	node_flow_forget(p, NODE_BY_WIRE);
	reason = node_dress(skb, ep);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	node_mark(skb, NODE_MARK_DRESSED);
	node_count(HR_ALLOWED);
	return bpf_redirect(uplink, 0);
}

static __always_inline int node_pod_to_pod(struct __sk_buff *skb, const struct hr_packet *p,
					   const struct node_endpoint *peer)
{
	__u32 reason = node_age(skb, p);

	if (reason != HR_ALLOWED)
		return node_drop(reason);
	node_flow_forget(p, NODE_BY_VETH);
	return node_deliver(skb, peer);
}

/* Where an IPv4 packet that is truly the pod's goes; the first that holds:
 *  1. instance metadata, multicast, broadcast: nowhere
 *  2. a Service: host stack, and from there, if the pod is strict, by the trunk
 *  3. strict: uplink
 *  4. answer to what the stack delivered, or the node itself: host stack
 *  5. another regular pod of this node: straight there
 *  6. uplink
 */
static __always_inline int node_pod_forward(struct __sk_buff *skb, const struct hr_packet *p,
					    const struct node_endpoint *ep)
{
	int strict = ep->flags & NODE_STRICT;
	struct node_endpoint *peer;

	if (p->destination == bpf_htonl(NODE_IMDS))
		return node_drop(HR_INSTANCE_METADATA);
	if (bpf_ntohl(p->destination) >= NODE_MULTICAST)
		return node_drop(HR_MULTICAST);
	if (node_is_service(p->destination))
		return node_to_stack(skb, strict ? NODE_MARK_TO_WIRE : 0);
	if (strict)
		return node_pod_to_uplink(skb, p, ep);
	if (node_is_own(p->destination) || node_flow_answers(skb, p, NODE_BY_VETH))
		return node_to_stack(skb, 0);
	peer = node_endpoint_by_address(p->destination);
	if (peer && !(peer->flags & NODE_STRICT))
		return node_pod_to_pod(skb, p, peer);
	return node_pod_to_uplink(skb, p, ep);
}

SEC("classifier")
int from_pod(struct __sk_buff *skb)
{
	struct node_endpoint *ep = node_endpoint_by_host(skb->ifindex);
	struct hr_packet p = {};
	__u32 reason;

	reason = hr_parse_ethernet(skb, &p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	/* Every interface that comes up solicits routers and joins groups; that is no event. */
	if (p.ethertype == ETH_P_IPV6 && p.destination_mac[0] & 1)
		return TC_ACT_SHOT;
	if (!ep)
		return node_drop(HR_POD_NOT_READY);
	if (!node_same_mac(p.source_mac, ep->pod_mac))
		return node_drop(HR_SOURCE_MAC);
	if (p.vlan != HR_UNTAGGED)
		return node_drop(HR_UNSUPPORTED_PROTOCOL);
	if (p.ethertype == ETH_P_ARP)
		return node_pod_arp(skb, &p, ep);
	if (p.ethertype != ETH_P_IP)
		return node_drop(HR_UNSUPPORTED_PROTOCOL);
	reason = hr_parse_ipv4(skb, &p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	if (p.source != ep->address)
		return node_drop(HR_SOURCE_ADDRESS);
	reason = hr_parse_transport(skb, &p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	return node_pod_forward(skb, &p, ep);
}

/* What the host's stack sends to a pod. Strict pods take only what from_wire let into the stack;
 * for regular pods the way back is remembered, unless from_pod knows it by the address alone. */
SEC("classifier")
int to_pod(struct __sk_buff *skb)
{
	struct node_endpoint *ep = node_endpoint_by_host(skb->ifindex);
	struct hr_packet p = {};
	__u32 reason;

	reason = hr_parse_ethernet(skb, &p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	if (p.ethertype == ETH_P_ARP)
		return TC_ACT_OK;
	if (p.ethertype == ETH_P_IPV6) /* the stack's own noise */
		return TC_ACT_SHOT;
	if (!ep)
		return node_drop(HR_POD_NOT_READY);
	reason = p.ethertype == ETH_P_IP ? hr_parse_ipv4(skb, &p) : HR_UNSUPPORTED_PROTOCOL;
	if (reason == HR_ALLOWED)
		reason = hr_parse_transport(skb, &p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	if (ep->flags & NODE_STRICT && (skb->mark & NODE_MARK_MASK) != NODE_MARK_TO_POD)
		return node_drop(HR_STRICT_LOCAL);
	if (p.destination != ep->address)
		return node_drop(HR_NO_ROUTE);
	if (!(ep->flags & NODE_STRICT) && !node_is_own(p.source) && !node_is_service(p.source))
		node_flow_record(&p, NODE_BY_VETH);
	node_mark(skb, 0);
	return node_pass();
}
