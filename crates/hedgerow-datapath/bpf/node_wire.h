/* An ENI or the trunk. */
#pragma once

#define NODE_PACKET_OTHERHOST 3

/* A packet from the VPC that is this endpoint's. */
static __always_inline int node_wire_accept(struct __sk_buff *skb, struct hr_packet *p,
					    const struct node_endpoint *ep)
{
	__u32 reason = hr_parse_transport(skb, p);
	int stack;

	if (reason != HR_ALLOWED)
		return node_drop(reason);
	stack = node_flow_answers(skb, p, NODE_BY_WIRE);
	if (!stack) {
		node_flow_forget(p, NODE_BY_VETH);
		reason = node_age(skb, p);
		if (reason != HR_ALLOWED)
			return node_drop(reason);
	}
	if (p->vlan != HR_UNTAGGED && bpf_skb_vlan_pop(skb) < 0)
		return node_drop(HR_MALFORMED);
	if (stack)
		return node_to_stack(skb, ep->flags & NODE_STRICT ? NODE_MARK_TO_POD : 0);
	return node_deliver(skb, ep);
}

/* A tagged frame is a branch's, or nobody's. */
static __always_inline int node_wire_tagged(struct __sk_buff *skb, struct hr_packet *p)
{
	struct node_endpoint *ep = node_endpoint_by_vlan(skb->ifindex, p->vlan);
	__u32 reason;

	if (!ep)
		return node_drop(HR_UNKNOWN_VLAN);
	if (p->ethertype != ETH_P_IP)
		return node_drop(HR_UNSUPPORTED_PROTOCOL);
	reason = hr_parse_ipv4(skb, p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	if (p->destination != ep->address)
		return node_drop(HR_NO_ROUTE);
	return node_wire_accept(skb, p, ep);
}

/* An untagged one is the ENI's: a pod's by its address, otherwise the node's own. */
static __always_inline int node_wire_untagged(struct __sk_buff *skb, struct hr_packet *p)
{
	struct node_endpoint *ep;
	__u32 reason;

	if (p->ethertype != ETH_P_IP || skb->pkt_type == NODE_PACKET_OTHERHOST)
		return TC_ACT_OK;
	reason = hr_parse_ipv4(skb, p);
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	ep = node_endpoint_by_address(p->destination);
	if (!ep)
		return TC_ACT_OK;
	if (ep->vlan)
		return node_drop(HR_UNKNOWN_VLAN);
	if (ep->uplink_ifindex != skb->ifindex)
		return node_drop(HR_NO_ROUTE);
	return node_wire_accept(skb, p, ep);
}

SEC("classifier")
int from_wire(struct __sk_buff *skb)
{
	struct hr_packet p = {};
	__u32 reason = hr_parse_ethernet(skb, &p);

	if (reason != HR_ALLOWED)
		return node_drop(reason);
	node_mark(skb, 0);
	if (p.vlan != HR_UNTAGGED)
		return node_wire_tagged(skb, &p);
	return node_wire_untagged(skb, &p);
}

/* A strict pod's packets to a Service come back to the node itself when kube-proxy masqueraded them
 * (the pod is behind its own Service) or refused them. The stack's answer has the Service's source,
 * which nobody else may send here, and no route to the pod but by the VPC: it goes in by the veth. */
static __always_inline int node_wire_from_service(struct __sk_buff *skb, const struct hr_packet *p)
{
	struct node_endpoint *ep = node_endpoint_by_address(p->destination);
	__u32 host;

	if (!ep || !(ep->flags & NODE_STRICT))
		return TC_ACT_OK;
	host = ep->host_ifindex;
	if (bpf_skb_store_bytes(skb, 0, ep->pod_mac, 6, 0) < 0)
		return node_drop(HR_MALFORMED);
	node_mark(skb, NODE_MARK_TO_POD);
	return bpf_redirect(host, 0);
}

/* What leaves by an uplink. A pod's source address means that the stack forwarded it: the frame
 * becomes one of that pod's own uplink, wherever the stack's routes sent it. */
SEC("classifier")
int to_wire(struct __sk_buff *skb)
{
	struct node_endpoint *ep;
	struct hr_packet p = {};
	__u32 uplink, reason;

	if (skb->mark & NODE_MARK_DRESSED) {
		node_mark(skb, 0);
		return TC_ACT_OK;
	}
	if (hr_parse_ethernet(skb, &p) != HR_ALLOWED || p.ethertype != ETH_P_IP ||
	    p.vlan != HR_UNTAGGED || hr_parse_ipv4(skb, &p) != HR_ALLOWED)
		return TC_ACT_OK;
	node_mark(skb, 0);
	if (node_is_service(p.source))
		return node_wire_from_service(skb, &p);
	ep = node_endpoint_by_address(p.source);
	if (!ep)
		return TC_ACT_OK;
	uplink = ep->uplink_ifindex;
	reason = hr_parse_transport(skb, &p);
	if (reason == HR_ALLOWED) {
		node_flow_record(&p, NODE_BY_WIRE);
		reason = node_dress(skb, ep);
	}
	if (reason != HR_ALLOWED)
		return node_drop(reason);
	if (uplink == skb->ifindex)
		return node_pass();
	node_mark(skb, NODE_MARK_DRESSED);
	node_count(HR_ALLOWED);
	return bpf_redirect(uplink, 0);
}
