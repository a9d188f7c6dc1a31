/* The fabric of the embedded VPC: one program on the VPC side of every attachment.
 *
 * Order of precedence; the first that applies decides:
 *  1. the frame is truncated                                     malformed
 *  2. nothing is attached at the port                            unknown_port
 *     it is the port to the Internet, and the public destination
 *     is nobody's                                                unknown_public_address
 *     … of IPv6, and the receiver's routes do not lead back by a
 *     gateway                                                    no_route, blackhole
 *  3. no branch has the tag, or the port is no trunk             unknown_vlan
 *  4. the source MAC is not the interface's                      source_mac
 *  5. ARP: answered here or dropped in silence, never forwarded
 *  6. neither IPv4 nor IPv6                                      unsupported_protocol
 *  7. headers truncated or contradictory                         malformed
 *     neighbour discovery and listener reports: as ARP
 *  8. the source address is not the interface's                  source_address
 *  9. to a group address                                         multicast
 *     (IPv6: before 8, as hosts speak to groups from link-local addresses)
 * 10. to a link-local service: delivered, no routes, lists or groups asked
 * 11. the route of the sender's subnet leads nowhere             no_route, blackhole
 * 12. the receiver has no port                                   peer_down
 *     it is an internet gateway, the sender without public address no_public_address
 * 13. it checks destinations and does not have this one          destination_address
 * 14. a later fragment: as the first one, if that passed         fragment
 *     from an egress-only gateway, and the flow is not tracked   egress_only
 * 15. the sender's groups, outwards; not if the flow is tracked  egress_groups
 * 16. the sender's network ACL, if the packet leaves the subnet  network_acl_egress
 * 17. the receiver's network ACL, if it enters one               network_acl_ingress
 * 18. the receiver's groups, inwards; not if tracked             ingress_groups
 * 19. it is larger than what the receiver takes, and must not
 *     be fragmented                                              packet_too_big
 *
 * The interfaces that stand for gateways have no groups, nor does the Internet a network ACL.
 *
 * A packet of a TCP or UDP flow whose like went this way before, in the same direction and
 * generation, would fare the same: hr_shortcut forwards it at once. An ICMP error about a tracked
 * flow is tracked itself. The time to live is left alone: the router of a VPC is no hop.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "reasons.h"

#include "parse.h"
#include "fabric/maps.h"
#include "fabric/ipv6.h"
#include "fabric/rules.h"
#include "fabric/conntrack.h"
#include "fabric/forward.h"
#include "fabric/neighbour.h"
#include "fabric/route.h"
#include "fabric/passage.h"
#include "fabric/account.h"
#include "fabric/gateway.h"
#include "fabric/icmp.h"
#include "fabric/mtu.h"
#include "fabric/slice.h"

char LICENSE[] SEC("license") = "GPL";

/* One gate; notes the set and rule that decided. A peer counts as a member of its groups only with
 * addresses of its own, not when it forwards for others. */
static __always_inline int hr_gate(struct hr_passage *x, const struct hr_six *six, __u32 direction,
				   const struct hr_interface *own, const struct hr_interface *peer,
				   __be32 peer_address, __u32 peer_is_owner)
{
	__u32 traffic = hr_rules_traffic(&x->packet, six);
	__u64 verdict;

	if (own->kind != HR_KIND_INSTANCE)
		return 1;
	verdict = hr_rules_judge(own->combination, direction, traffic, peer_address,
				 peer_is_owner ? peer->combination : 0);
	x->sets[direction] = verdict >> 32;
	x->rules[direction] = (__u16)verdict;
	if (verdict & HR_RULES_OPEN)
		x->open |= HR_FLOW_OPEN << ((x->side ^ (direction == HR_INGRESS)) & 1);
	return x->rules[direction] != HR_NO_RULE;
}

static __always_inline int hr_gate_out(struct hr_passage *x, const struct hr_six *six,
				       const struct hr_interface *from,
				       const struct hr_interface *to)
{
	return hr_gate(x, six, HR_EGRESS, from, to, x->packet.destination, x->owners[1] == to->key);
}

static __always_inline int hr_gate_in(struct hr_passage *x, const struct hr_six *six,
				      const struct hr_interface *from,
				      const struct hr_interface *to)
{
	return hr_gate(x, six, HR_INGRESS, to, from, x->packet.source, x->owners[0] == from->key);
}

/* How an end of a flow is called in its key. */
static __always_inline __u32 hr_end(const struct hr_passage *x, __u32 interface, __u32 owner)
{
	return interface == owner ? HR_OWNER | x->vpc : interface;
}

/* Names the flow of a packet between two ends, sets x->side, and looks it up; 0: there is none. */
static __always_inline struct hr_flow *hr_flow_find(struct hr_passage *x, struct hr_six *six,
						    __u32 from, __u32 to, int *tracked)
{
	const struct hr_packet *p = &x->packet;

	if (six) {
		*tracked = hr_flow_key_of(&six->key.low, p, &six->ip, from, to, &x->side);
		return *tracked ? bpf_map_lookup_elem(&flows_v6, &six->key) : 0;
	}
	*tracked = hr_flow_key_of(&x->key, p, 0, from, to, &x->side);
	return *tracked ? bpf_map_lookup_elem(&flows, &x->key) : 0;
}

/* The flow that the packet belongs to, or 0; `flow` is what hr_shortcut found, if that looked it up.
 * Fills the key if `*tracked`. */
static __always_inline struct hr_flow *hr_flow_of(struct hr_passage *x, struct hr_six *six,
						  struct hr_flow *flow, int *tracked)
{
	const struct hr_packet *p = &x->packet;
	__u32 a = hr_end(x, x->from, x->owners[0]), b = hr_end(x, x->to, x->owners[1]);

	*tracked = 1;
	if (!x->looked_up || a != (HR_OWNER | x->vpc) || b != a)
		flow = hr_flow_find(x, six, a, b, tracked);
	if (!flow || !hr_flow_has(flow, p, x->side, x->now))
		return 0;
	if ((a != x->from && hr_flow_outlived(flow, x->since[0])) ||
	    (b != x->to && hr_flow_outlived(flow, x->since[1])))
		return 0;
	return flow;
}

/* Whether an ICMP error quotes a packet that its receiver sent. */
static __always_inline int hr_related_quote(struct __sk_buff *skb, const struct hr_packet *p,
					    struct hr_six *six, struct hr_packet *quoted)
{
	if (!hr_flow_is_icmp_error(p))
		return 0;
	if (six)
		return hr_flow_quoted_v6(skb, p, quoted, six) &&
		       hr_ipv6_equal(six->quoted.source, six->ip.destination);
	return hr_flow_quoted(skb, p, quoted) && quoted->source == p->destination;
}

/* The flow of a quoted packet between two ends, or 0. */
static __always_inline const struct hr_flow *hr_related_flow(const struct hr_packet *quoted,
							     struct hr_six *six, __u32 from,
							     __u32 to)
{
	struct hr_flow_key key;
	__u32 side;

	if (six)
		return hr_flow_key_of(&six->quoted_key.low, quoted, &six->quoted, from, to, &side)
			       ? bpf_map_lookup_elem(&flows_v6, &six->quoted_key)
			       : 0;
	return hr_flow_key_of(&key, quoted, 0, from, to, &side) ? bpf_map_lookup_elem(&flows, &key)
								: 0;
}

/* An ICMP error is related if it quotes a packet of a tracked flow that its receiver sent. */
static __always_inline int hr_related(struct __sk_buff *skb, const struct hr_passage *x,
				      struct hr_six *six, const struct hr_interface *from,
				      const struct hr_interface *to)
{
	struct hr_packet short_quoted = {}, *quoted = six ? &six->quoted_packet : &short_quoted;
	const struct hr_flow *flow;
	__u32 other, since = 0, end;

	if (!hr_related_quote(skb, &x->packet, six, quoted))
		return 0;
	other = six ? hr_address_owner_v6(six, x->vpc, six->quoted.destination, &since)
		    : hr_address_owner(x->vpc, quoted->destination, &since);
	/* One that forwards reports about a flow that went by it. */
	end = from->check || other == x->from ? HR_OWNER | x->vpc : x->from;
	/* From outside, the flow's gateway may be another than that of the router that reports. */
	if (six && hr_gateway_is(from) && hr_route_back(to, six, six->quoted.destination, &end))
		return 0;
	flow = hr_related_flow(quoted, six, hr_end(x, x->to, x->owners[1]), end);
	if (!flow || (__s32)(flow->expires - x->now) <= 0 || hr_flow_outlived(flow, x->since[1]))
		return 0;
	return end != (HR_OWNER | x->vpc) || (other && !hr_flow_outlived(flow, since));
}

/* Tracks the flow that the packet starts; false: the table refused it. */
static __always_inline int hr_flow_start(const struct hr_passage *x, const struct hr_six *six,
					 const struct hr_interface *from,
					 const struct hr_interface *to)
{
	struct hr_flow flow = { .state = (x->side & HR_FLOW_INITIATOR) | x->open };

	flow.state |= hr_flow_learn(&x->packet, flow.state, x->side);
	flow.expires = x->now + hr_flow_timeout(x->packet.protocol, flow.state, from, to);
	flow.path = hr_flow_path(x->generation, x->side, x->slots);
	if (six)
		return bpf_map_update_elem(&flows_v6, &six->key, &flow, BPF_ANY) == 0;
	return bpf_map_update_elem(&flows, &x->key, &flow, BPF_ANY) == 0;
}

/* Steps 15 to 18 for a packet of a flow. */
static __always_inline __u32 hr_judge_tracked(struct hr_passage *x, const struct hr_six *six,
					      struct hr_flow *flow, const struct hr_interface *from,
					      const struct hr_interface *to)
{
	__u32 reason, open = flow->state >> (x->side & 1), peer_open = flow->state >> (~x->side & 1);

	if (open & HR_FLOW_OPEN && !hr_gate_out(x, six, from, to))
		return HR_EGRESS_GROUPS;
	reason = hr_route_edges(&x->packet, six, from, to);
	if (reason)
		return reason;
	if (peer_open & HR_FLOW_OPEN && !hr_gate_in(x, six, from, to))
		return HR_INGRESS_GROUPS;
	hr_flow_touch(flow, &x->packet, x->side, x->now, from, to);
	hr_flow_pave(flow, hr_flow_path(x->generation, x->side, x->slots));
	return HR_ALLOWED;
}

/* Steps 15 to 18 for a packet that belongs to no flow. */
static __always_inline __u32 hr_judge_new(struct __sk_buff *skb, struct hr_passage *x,
					  struct hr_six *six, int tracked,
					  const struct hr_interface *from,
					  const struct hr_interface *to)
{
	__u32 reason;

	if (six && from->kind == HR_KIND_EGRESS)
		return HR_EGRESS_ONLY;
	if (!hr_gate_out(x, six, from, to))
		return HR_EGRESS_GROUPS;
	reason = hr_route_edges(&x->packet, six, from, to);
	if (reason)
		return reason;
	if (!hr_gate_in(x, six, from, to))
		return HR_INGRESS_GROUPS;
	if (tracked && !hr_flow_start(x, six, from, to))
		return HR_FLOW_TABLE_FULL;
	if (six)
		hr_report_v6(x, HR_ALLOWED, skb->len);
	else
		hr_report(x, HR_ALLOWED, skb->len);
	return HR_ALLOWED;
}

/* Steps 14 to 18. */
static __always_inline __u32 hr_judge(struct __sk_buff *skb, struct hr_passage *x,
				      struct hr_six *six, struct hr_flow *flow,
				      const struct hr_interface *from,
				      const struct hr_interface *to)
{
	struct hr_packet *p = &x->packet;
	__u32 reason;
	int tracked;

	if (p->fragment)
		return hr_fragment_passes(p, six, x->from, x->to, x->now) ? HR_ALLOWED
									  : HR_FRAGMENT;
	flow = hr_flow_of(x, six, flow, &tracked);
	if (flow)
		reason = hr_judge_tracked(x, six, flow, from, to);
	else if (hr_related(skb, x, six, from, to))
		reason = hr_route_edges(p, six, from, to);
	else
		reason = hr_judge_new(skb, x, six, tracked, from, to);
	if (!reason && p->more_fragments)
		hr_fragment_remember(p, six, x->from, x->to, x->now);
	return reason;
}

/* The judge of each family is a global function: the verifier does not follow every packet that gets
 * here through it, nor every verdict from there on. `flow` may be 0. */
__attribute__((noinline)) __u32 hr_judge_v4(struct __sk_buff *skb, struct hr_passage *x,
					    struct hr_flow *flow, const struct hr_interface *from,
					    const struct hr_interface *to)
{
	if (!x || !from || !to)
		return HR_MALFORMED;
	return hr_judge(skb, x, 0, flow, from, to);
}

__attribute__((noinline)) __u32 hr_judge_v6(struct __sk_buff *skb, struct hr_passage *x,
					    struct hr_flow *flow, const struct hr_interface *from,
					    const struct hr_interface *to)
{
	__u32 zero = 0;
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);

	if (!x || !from || !to || !packet)
		return HR_MALFORMED;
	return hr_judge(skb, x, packet, flow, from, to);
}

/* Forwards a packet whose like went the whole way before; false: this one must. */
static __always_inline int hr_shortcut(struct __sk_buff *skb, struct hr_passage *x,
				       struct hr_six *six, struct hr_flow **known)
{
	const struct hr_packet *p = &x->packet;
	const struct hr_interface *from, *to;
	struct hr_flow *flow;
	int tracked;
	__u32 slot;
	__u64 path;

	if ((p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) || p->fragment ||
	    p->more_fragments || p->destination_mac[0] & 1)
		return 0;
	flow = hr_flow_find(x, six, HR_OWNER | x->vpc, HR_OWNER | x->vpc, &tracked);
	*known = flow;
	x->looked_up = 1;
	if (!flow)
		return 0;
	path = *(volatile __u64 *)&flow->path;
	if (path >> 34 != x->generation || !(path >> 32 & (1 << (x->side & 1))) ||
	    !hr_flow_has(flow, p, x->side, x->now))
		return 0;
	slot = (x->side ? path >> 16 : path) & 0xffff;
	from = bpf_map_lookup_elem(&interfaces, &slot);
	slot = (x->side ? path : path >> 16) & 0xffff;
	to = bpf_map_lookup_elem(&interfaces, &slot);
	if (!from || !to || from->ifindex != skb->ifindex || from->vlan != p->vlan ||
	    !hr_mac_equal(p->source_mac, from->mac) || hr_mtu_exceeded(skb, p, to))
		return 0;
	hr_flow_touch(flow, p, x->side, x->now, from, to);
	if (from->logged | to->logged) {
		x->from = from->key;
		x->to = to->key;
		hr_account(skb, x, HR_ALLOWED, skb->len);
	}
	x->action = hr_forward_between(skb, p, from, to);
	return 1;
}

static __always_inline __u32 hr_parse_datagram(struct __sk_buff *skb, struct hr_packet *p)
{
	__u32 reason = hr_parse_ipv4(skb, p);

	return reason ? reason : hr_parse_transport(skb, p);
}

/* For the map six. A global function, so that the verifier does not follow every kind of packet. */
__attribute__((noinline)) int hr_parse_datagram_v6(struct __sk_buff *skb, struct hr_packet *p)
{
	__u32 zero = 0, reason;
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);

	if (!p || !packet)
		return HR_MALFORMED;
	reason = hr_parse_ipv6(skb, p, &packet->ip, &packet->header);
	return reason ? reason : hr_parse_transport(skb, p);
}

/* From the VPC's own services to an interface: they are not subject to groups. */
static __always_inline __u32 hr_from_service(struct __sk_buff *skb, struct hr_passage *x,
					     struct hr_six *six)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	const struct hr_interface *to;
	__u32 since;

	if (x->parsed)
		return x->parsed;
	if (six && hr_neighbour_is(&x->packet)) {
		x->internal = 1;
		return HR_ALLOWED;
	}
	if (six ? !hr_forward_is_service_v6(six->ip.source)
		: !hr_forward_is_service_of(x->vpc, x->packet.source))
		return HR_SOURCE_ADDRESS;
	x->to = six ? hr_address_owner_v6(six, x->vpc, six->ip.destination, &since)
		    : hr_address_owner(x->vpc, x->packet.destination, &since);
	to = hr_interface_of(x->to);
	if (!to)
		return HR_NO_ROUTE;
	if (!to->ifindex)
		return HR_PEER_DOWN;
	x->action = hr_forward_to_interface(skb, &x->packet, to, router);
	return HR_ALLOWED;
}

static __always_inline __u32 hr_to_service(struct __sk_buff *skb, struct hr_passage *x)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	const struct hr_service *service = bpf_map_lookup_elem(&services, &x->vpc);
	__u32 ifindex;

	if (!service)
		return HR_NO_ROUTE;
	ifindex = service->ifindex;
	hr_forward_macs(skb, service->mac, router);
	if (x->packet.vlan != HR_UNTAGGED && bpf_skb_vlan_pop(skb) < 0)
		return HR_MALFORMED;
	x->action = hr_forward_deliver(skb, ifindex);
	return HR_ALLOWED;
}

/* Steps 8 and 9, and who the ends are. */
static __always_inline __u32 hr_ends(struct hr_passage *x, const struct hr_interface *from)
{
	const struct hr_packet *p = &x->packet;

	x->owners[0] = hr_address_owner(x->vpc, p->source, &x->since[0]);
	if (from->check && x->owners[0] != x->from)
		return HR_SOURCE_ADDRESS;
	/* Private addresses do not come from outside. */
	if (from->kind == HR_KIND_INTERNET && x->owners[0])
		return HR_SOURCE_ADDRESS;
	if (hr_forward_is_multicast(from, p))
		return HR_MULTICAST;
	x->owners[1] = hr_address_owner(x->vpc, p->destination, &x->since[1]);
	return HR_ALLOWED;
}

static __always_inline __u32 hr_ends_v6(struct hr_passage *x, struct hr_six *six,
					const struct hr_interface *from)
{
	if (hr_forward_is_multicast_v6(&x->packet, six->ip.destination))
		return HR_MULTICAST;
	x->owners[0] = hr_address_owner_v6(six, x->vpc, six->ip.source, &x->since[0]);
	if ((from->check && x->owners[0] != x->from) || hr_forward_is_local(six->ip.source))
		return HR_SOURCE_ADDRESS;
	if (hr_gateway_is(from) && x->owners[0])
		return HR_SOURCE_ADDRESS;
	if (hr_forward_is_local(six->ip.destination))
		return HR_NO_ROUTE;
	x->owners[1] = hr_address_owner_v6(six, x->vpc, six->ip.destination, &x->since[1]);
	return HR_ALLOWED;
}

/* Steps 7 to 18. */
static __always_inline __u32 hr_from_interface(struct __sk_buff *skb, struct hr_passage *x,
					       struct hr_six *six, struct hr_flow *flow,
					       const struct hr_interface *from)
{
	struct hr_packet *p = &x->packet;
	const struct hr_interface *to;
	__u32 reason, big;
	__be32 public = 0;

	if (x->parsed)
		return x->parsed;
	if (six && hr_neighbour_is(p)) {
		x->internal = 1;
		x->action = hr_neighbour(skb, p, from);
		return HR_ALLOWED;
	}
	reason = six ? hr_ends_v6(x, six, from) : hr_ends(x, from);
	if (reason)
		return reason;
	if (six ? hr_forward_is_service_v6(six->ip.destination)
		: hr_forward_is_service_of(x->vpc, p->destination))
		return hr_to_service(skb, x);
	reason = hr_route(from, six, p->destination, x->owners[1], &x->to);
	if (reason)
		return reason;
	to = hr_interface_at(x->to, &x->slots[1]);
	if (!to)
		return HR_NO_ROUTE;
	if (!to->ifindex)
		return HR_PEER_DOWN;
	if (to->check && x->owners[1] != x->to)
		return HR_DESTINATION_ADDRESS;
	if (hr_gateway_is(to)) {
		public = six ? 0 : hr_gateway_public(x->vpc, p->source);
		if (six ? !x->owners[0] : !public)
			return HR_NO_PUBLIC_ADDRESS;
	}
	reason = six ? hr_judge_v6(skb, x, flow, from, to) : hr_judge_v4(skb, x, flow, from, to);
	if (reason)
		return reason;
	big = hr_mtu_exceeded(skb, p, to);
	if (big && (six || !hr_slice_may(skb, p))) {
		x->action = six ? hr_mtu_tell_v6(skb, p, from, to->mtu)
				: hr_mtu_tell(skb, p, from, to);
		return HR_PACKET_TOO_BIG;
	}
	if (from->logged | to->logged)
		hr_account(skb, x, HR_ALLOWED, skb->len);
	if (public && hr_translate(skb, hr_at(p), HR_SOURCE, p->source, public) < 0)
		return HR_MALFORMED;
	x->action = big ? hr_slice(skb, p, from, to, x->slots[1]) :
			  hr_forward_between(skb, p, from, to);
	return HR_ALLOWED;
}

/* The gateway by which a packet comes in. */
static __always_inline __u32 hr_sender_outside(struct __sk_buff *skb, struct hr_passage *x,
					       struct hr_six *six,
					       const struct hr_interface **from)
{
	__u32 reason;

	if (!six && x->packet.ethertype != ETH_P_IP)
		return HR_UNSUPPORTED_PROTOCOL;
	reason = x->parsed;
	if (!reason)
		reason = six ? hr_gateway_in_v6(x, six) : hr_gateway_in(skb, x);
	if (reason)
		return reason;
	*from = hr_interface_at(x->from, &x->slots[0]);
	if (!*from)
		return six ? HR_NO_ROUTE : HR_UNKNOWN_PUBLIC_ADDRESS;
	return !six || hr_gateway_is(*from) ? HR_ALLOWED : HR_NO_ROUTE;
}

/* Which interface sent the frame: what is plugged in at the port, or a branch on it, or the gateway
 * by which a packet comes in. */
static __always_inline __u32 hr_sender(struct __sk_buff *skb, struct hr_passage *x,
				       struct hr_six *six, const struct hr_port *port,
				       const struct hr_interface **from)
{
	if (port->interface == HR_PORT_INTERNET)
		return hr_sender_outside(skb, x, six, from);
	/* A frame without a sender is put down to the port's interface. */
	x->from = port->interface;
	*from = hr_forward_sender(skb, port, &x->packet, &x->slots[0]);
	if (!*from)
		return x->packet.vlan == HR_UNTAGGED ? HR_UNKNOWN_PORT : HR_UNKNOWN_VLAN;
	x->from = (*from)->key;
	return hr_mac_equal(x->packet.source_mac, (*from)->mac) ? HR_ALLOWED : HR_SOURCE_MAC;
}

/* Steps 3 to 18 for a packet of IPv4, or of IPv6. */
static __always_inline __u32 hr_packet_from(struct __sk_buff *skb, struct hr_passage *x,
					    struct hr_six *six, const struct hr_port *port)
{
	const struct hr_interface *from;
	struct hr_flow *flow = 0;
	__u32 reason;

	x->parsed = six ? hr_parse_datagram_v6(skb, &x->packet)
			: hr_parse_datagram(skb, &x->packet);
	if (!x->parsed && port->interface && port->interface != HR_PORT_INTERNET &&
	    hr_shortcut(skb, x, six, &flow))
		return HR_ALLOWED;
	if (!port->interface)
		return hr_from_service(skb, x, six);
	reason = hr_sender(skb, x, six, port, &from);
	if (reason)
		return reason;
	if (x->vpc != from->vpc) {
		x->vpc = from->vpc;
		x->looked_up = 0;
	}
	return hr_from_interface(skb, x, six, flow, from);
}

/* Steps 3 to 6 for what is no packet. */
static __always_inline __u32 hr_frame_from(struct __sk_buff *skb, struct hr_passage *x,
					   const struct hr_port *port)
{
	const struct hr_interface *from;
	struct hr_arp arp;
	__u32 reason;

	if (!port->interface)
		return HR_UNSUPPORTED_PROTOCOL;
	reason = hr_sender(skb, x, 0, port, &from);
	if (reason)
		return reason;
	if (x->packet.ethertype != ETH_P_ARP)
		return HR_UNSUPPORTED_PROTOCOL;
	x->internal = 1;
	reason = hr_parse_arp(skb, &x->packet, &arp);
	if (!reason)
		x->action = hr_arp_reply(skb, &x->packet, &arp, from);
	return reason;
}

/* Steps 1 and 2, and the others. */
static __always_inline __u32 hr_from_port(struct __sk_buff *skb, struct hr_passage *x,
					  struct hr_six *six)
{
	struct hr_port port;
	__u32 reason;

	reason = hr_parse_ethernet(skb, &x->packet);
	if (reason)
		return reason;
	if (!hr_port_at(skb->ifindex, &port))
		return HR_UNKNOWN_PORT;
	x->vpc = port.vpc;
	if (six || x->packet.ethertype == ETH_P_IP)
		return hr_packet_from(skb, x, six, &port);
	return hr_frame_from(skb, x, &port);
}

static __always_inline int hr_run(struct __sk_buff *skb, struct hr_six *six)
{
	__u32 bytes = skb->len, zero = 0, reason;
	struct hr_passage *x = bpf_map_lookup_elem(&passage, &zero);
	const __u32 *found = bpf_map_lookup_elem(&generation, &zero);

	if (!x || !found)
		return TC_ACT_SHOT;
	__builtin_memset(x, 0, __builtin_offsetof(struct hr_passage, key));
	x->rules[0] = HR_NO_RULE;
	x->rules[1] = HR_NO_RULE;
	x->action = TC_ACT_SHOT;
	/* Before anything that it stands for is read. */
	x->generation = *(volatile const __u32 *)found;
	x->now = hr_flow_now();
	reason = hr_from_port(skb, x, six);
	if (!reason) {
		if (!x->internal)
			hr_count(reason);
		return x->action;
	}
	hr_count(reason);
	/* Hosts chatter by themselves; counted, but no flow of this VPC. */
	if (reason == HR_UNSUPPORTED_PROTOCOL)
		return TC_ACT_SHOT;
	if (six)
		hr_report_v6(x, reason, bytes);
	else
		hr_report(x, reason, bytes);
	hr_account_drop(skb, x, reason, bytes);
	/* Perhaps the frame has become an answer to its sender. */
	return x->action;
}

/* The families have a function each, so that each has a stack of its own. */
__attribute__((noinline)) int hr_run_v4(struct __sk_buff *skb)
{
	return hr_run(skb, 0);
}

__attribute__((noinline)) int hr_run_v6(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct hr_six *found = bpf_map_lookup_elem(&six, &zero);

	if (!found)
		return TC_ACT_SHOT;
	__builtin_memset(&found->ip, 0, sizeof(found->ip));
	return hr_run(skb, found);
}

static __always_inline int hr_fabric(struct __sk_buff *skb)
{
	__be16 type = skb->protocol;

	if (type == bpf_htons(ETH_P_8021Q) && HR_READ(skb, 2 * ETH_ALEN + 4, &type) < 0)
		return hr_run_v4(skb);
	return type == bpf_htons(ETH_P_IPV6) ? hr_run_v6(skb) : hr_run_v4(skb);
}

SEC("classifier")
int fabric(struct __sk_buff *skb)
{
	return hr_fabric(skb);
}

#include "fabric/nat.h"

SEC("classifier")
int nat(struct __sk_buff *skb)
{
	return hr_nat(skb);
}

SEC("classifier")
int slice(struct __sk_buff *skb)
{
	return hr_slice_take(skb);
}
