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
#include "fabric/flows.h"
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
#include "fabric/judge.h"

#define HR_LONG_WAY (-1) /* no action: a packet is to go through all steps */

char LICENSE[] SEC("license") = "GPL";

/* Counts a packet that takes the short way, of which nothing was noted. */
static __always_inline void hr_shortcut_account(struct __sk_buff *skb, const struct hr_packet *p,
						const struct hr_interface *from,
						const struct hr_interface *to)
{
	__u32 zero = 0;
	struct hr_passage *x = bpf_map_lookup_elem(&passage, &zero);

	if (!x)
		return;
	x->packet = *p;
	x->from = from->key;
	x->to = to->key;
	hr_account(skb, x, HR_ALLOWED, skb->len);
}

/* Forwards a packet of a known flow whose like went the whole way before; HR_LONG_WAY: this one must. */
static __always_inline int hr_shortcut(struct __sk_buff *skb, const struct hr_packet *p,
				       const struct hr_named *name, struct hr_flow *flow,
				       __u32 generation, __u32 now)
{
	const struct hr_interface *from, *to;
	const struct hr_flow *seen = &name->seen;
	__u32 side = name->side & 1, slot;
	__u64 path = seen->path;

	if (path >> 34 != generation || !(path >> 32 & (1 << side)) ||
	    !hr_flow_has(seen, p, side, now))
		return HR_LONG_WAY;
	slot = (side ? path >> 16 : path) & 0xffff;
	from = bpf_map_lookup_elem(&interfaces, &slot);
	slot = (side ? path : path >> 16) & 0xffff;
	to = bpf_map_lookup_elem(&interfaces, &slot);
	if (!from || !to || from->ifindex != skb->ifindex || from->vlan != p->vlan ||
	    !hr_mac_equal(p->source_mac, from->mac) || hr_mtu_exceeded(skb, p, to))
		return HR_LONG_WAY;
	hr_flow_touch(flow, seen, p, side, now, from, to);
	if (from->logged | to->logged)
		hr_shortcut_account(skb, p, from, to);
	return hr_forward_between(skb, p, from, to);
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
					       struct hr_six *six,
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
	reason = six ? hr_judge_v6(skb, x, from, to) : hr_judge_v4(skb, x, from, to);
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
	if (*from && (!six || hr_gateway_is(*from)))
		return HR_ALLOWED;
	/* The way back is not by a gateway. What it leads to has not sent the packet. */
	x->from = 0;
	return six ? HR_NO_ROUTE : HR_UNKNOWN_PUBLIC_ADDRESS;
}

/* Which interface sent the frame: what is plugged in at the port, or a branch on it, or the gateway
 * by which a packet comes in. */
static __always_inline __u32 hr_sender(struct __sk_buff *skb, struct hr_passage *x,
				       struct hr_six *six, const struct hr_interface **from)
{
	const struct hr_port *port = &x->port;

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
					    struct hr_six *six)
{
	const struct hr_interface *from;
	__u32 reason;

	if (!x->port.interface)
		return hr_from_service(skb, x, six);
	reason = hr_sender(skb, x, six, &from);
	if (reason)
		return reason;
	if (x->vpc != from->vpc) {
		x->vpc = from->vpc;
		x->looked_up = 0;
	}
	return hr_from_interface(skb, x, six, from);
}

/* Steps 3 to 6 for what is no packet. */
static __always_inline __u32 hr_frame_from(struct __sk_buff *skb, struct hr_passage *x)
{
	const struct hr_interface *from;
	struct hr_arp arp;
	__u32 reason;

	if (!x->port.interface)
		return HR_UNSUPPORTED_PROTOCOL;
	reason = hr_sender(skb, x, 0, &from);
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

/* Whether packets like this one are forwarded by what was found out about the flow. */
static __always_inline int hr_may_be_short(const struct hr_packet *p, const struct hr_port *port)
{
	return (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) && !p->fragment &&
	       !p->more_fragments && !(p->destination_mac[0] & 1) && port->interface &&
	       port->interface != HR_PORT_INTERNET;
}

/* The way of most packets: what to do with this one, or HR_LONG_WAY. Then x->looked_up says whether
 * x->packet, x->port and x->flow are known. Keeps what it knows on the stack, most of which the
 * compiler then does without; and has a stack of its own, being called by a global function. */
static __always_inline int hr_shorten(struct __sk_buff *skb, struct hr_six *six)
{
	__u32 zero = 0;
	struct hr_passage *x = bpf_map_lookup_elem(&passage, &zero);
	const __u32 *generated = bpf_map_lookup_elem(&generation, &zero);
	struct hr_flow *entry = 0;
	struct hr_named flow;
	struct hr_packet p = {};
	struct hr_port port;
	int action;

	if (!x || !generated)
		return HR_LONG_WAY;
	/* Before anything that it stands for is read. */
	x->generation = *(volatile const __u32 *)generated;
	x->now = hr_flow_now();
	x->looked_up = 0;
	if (six ? hr_parse_ethernet(skb, &p) || hr_parse_datagram_v6(skb, &p)
		: !hr_parse_plain(skb, &p))
		return HR_LONG_WAY;
	if (!hr_port_at(skb->ifindex, &port) || !hr_may_be_short(&p, &port))
		return HR_LONG_WAY;
	hr_name(&flow, &p, six, HR_OWNER | port.vpc, HR_OWNER | port.vpc);
	flow.way = hr_flow_find_fast(&flow.key, six ? &six->key : 0, flow.hash, &flow.seen, &entry);
	if (flow.way < HR_FLOW_WAYS && entry) {
		action = hr_shortcut(skb, &p, &flow, entry, x->generation, x->now);
		if (action != HR_LONG_WAY) {
			hr_count(HR_ALLOWED);
			return action;
		}
	}
	x->packet = p;
	x->port = port;
	x->flow = flow;
	x->looked_up = 1;
	return HR_LONG_WAY;
}

__attribute__((noinline)) int hr_shorten_v4(struct __sk_buff *skb)
{
	return hr_shorten(skb, 0);
}

__attribute__((noinline)) int hr_shorten_v6(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);

	if (!packet)
		return TC_ACT_SHOT;
	__builtin_memset(&packet->ip, 0, sizeof(packet->ip));
	return hr_shorten(skb, packet);
}

/* Steps 1, 2 and 7. */
static __always_inline __u32 hr_enter(struct __sk_buff *skb, struct hr_passage *x,
				      struct hr_six *six)
{
	__u32 reason = hr_parse_ethernet(skb, &x->packet);

	if (reason)
		return reason;
	if (!hr_port_at(skb->ifindex, &x->port))
		return HR_UNKNOWN_PORT;
	if (six || x->packet.ethertype == ETH_P_IP)
		x->parsed = six ? hr_parse_datagram_v6(skb, &x->packet)
				: hr_parse_datagram(skb, &x->packet);
	return HR_ALLOWED;
}

/* All steps. */
static __always_inline __u32 hr_go(struct __sk_buff *skb, struct hr_passage *x, struct hr_six *six)
{
	__u32 reason;

	if (!x->looked_up) {
		__builtin_memset(&x->packet, 0, sizeof(x->packet));
		reason = hr_enter(skb, x, six);
		if (reason)
			return reason;
	}
	x->vpc = x->port.vpc;
	if (six || x->packet.ethertype == ETH_P_IP)
		return hr_packet_from(skb, x, six);
	return hr_frame_from(skb, x);
}

static __always_inline int hr_run(struct __sk_buff *skb, struct hr_six *six)
{
	__u32 bytes = skb->len, zero = 0, reason;
	struct hr_passage *x = bpf_map_lookup_elem(&passage, &zero);

	if (!x)
		return TC_ACT_SHOT;
	__builtin_memset(&x->parsed, 0,
			 sizeof(*x) - __builtin_offsetof(struct hr_passage, parsed));
	x->rules[0] = HR_NO_RULE;
	x->rules[1] = HR_NO_RULE;
	x->action = TC_ACT_SHOT;
	reason = hr_go(skb, x, six);
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

	return found ? hr_run(skb, found) : TC_ACT_SHOT;
}

static __always_inline int hr_fabric(struct __sk_buff *skb)
{
	__be16 type = skb->protocol;
	int is_v6, action;

	if (type == bpf_htons(ETH_P_8021Q) && HR_READ(skb, 2 * ETH_ALEN + 4, &type) < 0)
		type = 0;
	is_v6 = type == bpf_htons(ETH_P_IPV6);
	action = is_v6 ? hr_shorten_v6(skb) : hr_shorten_v4(skb);
	if (action != HR_LONG_WAY)
		return action;
	return is_v6 ? hr_run_v6(skb) : hr_run_v4(skb);
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
