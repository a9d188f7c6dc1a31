/* Flows that went through the host's stack, where kube-proxy or portmap may have changed them:
 * their other direction must go back through it.
 *
 *  - NODE_BY_WIRE: the stack sent it out by an uplink (to_wire). The VPC's answers re-enter the stack.
 *  - NODE_BY_VETH: the stack delivered it to a regular pod (to_pod). The pod's answers re-enter it.
 *
 * TCP and UDP flows are known by addresses and ports, ICMP queries by their id, other protocols by
 * addresses. An ICMP error belongs to the flow it quotes. Fragments past the first have no ports, so
 * every fragment is judged by its pair of addresses and protocol: once one flow between the two went
 * through the stack, their fragments do, and the stack, which reassembles, tells them apart.
 *
 * A flow is forgotten when the same 5-tuple opens again on the direct path: whoever sent last is
 * right. So a port used first towards a Service and then straight towards its backend works.
 */
#pragma once

#define NODE_BY_WIRE 0x1
#define NODE_BY_VETH 0x2
#define NODE_PAIR 0x80 /* not one flow, but all between two addresses */

#define NODE_ICMP_ECHO_REPLY 0
#define NODE_ICMP_UNREACHABLE 3
#define NODE_ICMP_ECHO 8
#define NODE_ICMP_TIME_EXCEEDED 11
#define NODE_ICMP_PARAMETER 12

static __always_inline int node_is_fragment(const struct hr_packet *p)
{
	return p->fragment || p->more_fragments;
}

static __always_inline int node_is_icmp_error(const struct hr_packet *p)
{
	__u8 type = p->destination_port >> 8;

	return p->protocol == IPPROTO_ICMP && !p->fragment &&
	       (type == NODE_ICMP_UNREACHABLE || type == NODE_ICMP_TIME_EXCEEDED ||
		type == NODE_ICMP_PARAMETER);
}

/* The flow a packet belongs to, seen from its sender. */
static __always_inline void node_flow_of(const struct hr_packet *p, struct node_flow *flow)
{
	__u8 type = p->destination_port >> 8;

	flow->source = p->source;
	flow->destination = p->destination;
	flow->source_port = p->source_port;
	flow->destination_port = p->destination_port;
	flow->protocol = p->protocol;
	flow->way = 0;
	flow->pad = 0;
	if (p->protocol == IPPROTO_ICMP) {
		__u16 id = type == NODE_ICMP_ECHO || type == NODE_ICMP_ECHO_REPLY ? p->icmp_id : 0;

		flow->source_port = id;
		flow->destination_port = id;
	}
}

/* The flow whose packet an ICMP error quotes (RFC 792: IP header and 8 bytes); 0 where it is cut
 * short. Types other than echo have no id we track. */
static __always_inline int node_flow_quoted(struct __sk_buff *skb, const struct hr_packet *p,
					    struct node_flow *flow)
{
	__u32 inner = p->l4 + sizeof(struct hr_icmp);
	struct iphdr ip;
	__be16 ports[4]; /* for echo: type and code, checksum, id, sequence */

	if (bpf_skb_load_bytes(skb, inner, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return 0;
	if (bpf_skb_load_bytes(skb, inner + ip.ihl * 4, ports, sizeof(ports)) < 0)
		return 0;
	flow->source = ip.saddr;
	flow->destination = ip.daddr;
	flow->protocol = ip.protocol;
	flow->way = 0;
	flow->pad = 0;
	flow->source_port = 0;
	flow->destination_port = 0;
	if (ip.protocol == IPPROTO_TCP || ip.protocol == IPPROTO_UDP) {
		flow->source_port = bpf_ntohs(ports[0]);
		flow->destination_port = bpf_ntohs(ports[1]);
	} else if (ip.protocol == IPPROTO_ICMP) {
		flow->source_port = bpf_ntohs(ports[2]);
		flow->destination_port = flow->source_port;
	}
	return 1;
}

static __always_inline void node_flow_reverse(struct node_flow *flow)
{
	__be32 address = flow->source;
	__u16 port = flow->source_port;

	flow->source = flow->destination;
	flow->destination = address;
	flow->source_port = flow->destination_port;
	flow->destination_port = port;
}

static __always_inline void node_flow_to_pair(struct node_flow *flow)
{
	flow->source_port = 0;
	flow->destination_port = 0;
	flow->way |= NODE_PAIR;
}

/* Whether the packet answers (or is an error about) a flow that went through the stack by `way`. */
static __always_inline int node_flow_answers(struct __sk_buff *skb, const struct hr_packet *p,
					     __u8 way)
{
	struct node_flow flow;

	if (node_is_icmp_error(p) && !p->more_fragments) {
		if (!node_flow_quoted(skb, p, &flow))
			return 0;
	} else {
		node_flow_of(p, &flow);
		node_flow_reverse(&flow);
	}
	flow.way = way;
	if (node_is_fragment(p))
		node_flow_to_pair(&flow);
	return bpf_map_lookup_elem(&node_flows, &flow) != 0;
}

/* Looks up before it writes: the usual packet belongs to a flow that is known, and the lookup is
 * what keeps it from being the least recently used. */
static __always_inline void node_flow_record(const struct hr_packet *p, __u8 way)
{
	struct node_flow flow;
	__u32 one = 1;

	if (node_is_icmp_error(p))
		return;
	node_flow_of(p, &flow);
	flow.way = way;
	if (p->fragment)
		node_flow_to_pair(&flow);
	if (bpf_map_lookup_elem(&node_flows, &flow))
		return;
	bpf_map_update_elem(&node_flows, &flow, &one, BPF_ANY);
	node_flow_to_pair(&flow);
	bpf_map_update_elem(&node_flows, &flow, &one, BPF_ANY);
}

/* The packet takes the direct path: if it opens its flow, what went through the stack under the
 * same name is over. UDP and ICMP have no opening, so each of their packets counts as one. */
static __always_inline void node_flow_forget(const struct hr_packet *p, __u8 way)
{
	struct node_flow flow;

	if (node_is_fragment(p) || node_is_icmp_error(p))
		return;
	if (p->protocol == IPPROTO_TCP && (p->tcp_flags & (HR_TCP_SYN | HR_TCP_ACK)) != HR_TCP_SYN)
		return;
	node_flow_of(p, &flow);
	flow.way = way;
	if (bpf_map_lookup_elem(&node_flows, &flow))
		bpf_map_delete_elem(&node_flows, &flow);
}
