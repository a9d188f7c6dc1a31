/* The fabric of the embedded VPC: one program on the VPC side of every attachment.
 *
 * Order of precedence; the first that applies decides:
 *  1. the frame is truncated                                     malformed
 *  2. nothing is attached at the port                            unknown_port
 *  3. no branch has the tag, or the port is no trunk             unknown_vlan
 *  4. the source MAC is not the interface's                      source_mac
 *  5. ARP: answered here or dropped in silence, never forwarded
 *  6. not IPv4                                                   unsupported_protocol
 *  7. headers truncated or contradictory                         malformed
 *  8. the source address is not the interface's                  source_address
 *  9. to a group address                                         multicast
 * 10. to a link-local service: delivered, no groups asked
 * 11. no interface has the destination                           no_route
 * 12. it has no port                                             peer_down
 * 13. a later fragment: as the first one, if that passed         fragment
 * 14. a tracked flow, or an ICMP error about one: passes
 * 15. the sender's groups, outwards                              egress_groups
 * 16. the receiver's groups, inwards                             ingress_groups
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "reasons.h"

#include "parse.h"
#include "fabric/maps.h"
#include "fabric/rules.h"
#include "fabric/conntrack.h"
#include "fabric/forward.h"

char LICENSE[] SEC("license") = "GPL";

/* What is known of a frame on its way through. */
struct hr_passage {
	struct hr_packet packet;
	__u32 vpc;
	__u32 from; /* interface keys, 0: not known yet */
	__u32 to;
	__u32 sets[2];
	__u16 rules[2];
	int action; /* of a frame that is not dropped for a reason */
};

static __always_inline void hr_count(__u32 reason)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &reason);

	if (packets)
		*packets += 1;
}

static __noinline int hr_report(const struct hr_passage *x, __u32 reason, __u32 bytes)
{
	struct hr_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	__u32 zero = 0;
	__u64 *count;

	if (!event) {
		count = bpf_map_lookup_elem(&lost, &zero);
		if (count)
			*count += 1;
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time = bpf_ktime_get_ns();
	event->vpc = x->vpc;
	event->from = x->from;
	event->to = x->to;
	event->source = x->packet.source;
	event->destination = x->packet.destination;
	event->bytes = bytes;
	event->sets[0] = x->sets[0];
	event->sets[1] = x->sets[1];
	event->rules[0] = x->rules[0];
	event->rules[1] = x->rules[1];
	event->source_port = x->packet.source_port;
	event->destination_port = x->packet.destination_port;
	event->protocol = x->packet.protocol;
	event->reason = reason;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* One gate; notes the set and rule that decided. */
static __always_inline int hr_gate(struct hr_passage *x, __u32 direction,
				   const struct hr_interface *own, const struct hr_interface *peer,
				   __be32 peer_address)
{
	__u32 traffic = (__u32)x->packet.protocol << 16 | x->packet.destination_port;
	__u64 verdict = hr_rules_judge(own->combination, direction, traffic, peer_address,
				       peer->combination);

	x->sets[direction] = verdict >> 32;
	x->rules[direction] = (__u16)verdict;
	return x->rules[direction] != HR_NO_RULE;
}

/* An ICMP error is related if it quotes a packet of a tracked flow that its receiver sent. */
static __always_inline int hr_related(struct __sk_buff *skb, const struct hr_passage *x, __u32 now)
{
	struct hr_packet quoted = {};
	struct hr_flow_key key;
	const struct hr_flow *flow;
	__u32 other, side;

	if (!hr_flow_is_icmp_error(&x->packet) || !hr_flow_quoted(skb, &x->packet, &quoted))
		return 0;
	if (quoted.source != x->packet.destination)
		return 0;
	other = hr_address_owner(x->vpc, quoted.destination);
	if (!other || !hr_flow_key_of(&key, &quoted, x->to, other, &side))
		return 0;
	flow = bpf_map_lookup_elem(&flows, &key);
	return flow && (__s32)(flow->expires - now) > 0;
}

/* Steps 13 to 16. */
static __always_inline __u32 hr_judge(struct __sk_buff *skb, struct hr_passage *x,
				      const struct hr_interface *from,
				      const struct hr_interface *to)
{
	struct hr_packet *p = &x->packet;
	__u32 now = hr_flow_now(), side = 0;
	struct hr_flow_key key;
	int tracked;

	if (p->fragment)
		return hr_fragment_passes(p, x->from, x->to, now) ? HR_ALLOWED : HR_FRAGMENT;
	tracked = hr_flow_key_of(&key, p, x->from, x->to, &side);
	if ((tracked && hr_flow_passes(&key, p, side, now)) || hr_related(skb, x, now))
		goto passed;
	if (!hr_gate(x, HR_EGRESS, from, to, p->destination))
		return HR_EGRESS_GROUPS;
	if (!hr_gate(x, HR_INGRESS, to, from, p->source))
		return HR_INGRESS_GROUPS;
	if (tracked && !hr_flow_start(&key, p, side, now, x->rules))
		return HR_FLOW_TABLE_FULL;
	hr_report(x, HR_ALLOWED, skb->len);
passed:
	if (p->more_fragments)
		hr_fragment_remember(p, x->from, x->to, now);
	return HR_ALLOWED;
}

static __always_inline __u32 hr_parse_datagram(struct __sk_buff *skb, struct hr_packet *p)
{
	__u32 reason = hr_parse_ipv4(skb, p);

	return reason ? reason : hr_parse_transport(skb, p);
}

/* From the VPC's own services to an interface: they are not subject to groups. */
static __always_inline __u32 hr_from_service(struct __sk_buff *skb, struct hr_passage *x)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	const struct hr_interface *to;
	__u32 reason;

	if (x->packet.ethertype != ETH_P_IP)
		return HR_UNSUPPORTED_PROTOCOL;
	reason = hr_parse_datagram(skb, &x->packet);
	if (reason)
		return reason;
	if (!hr_forward_is_service(x->packet.source))
		return HR_SOURCE_ADDRESS;
	x->to = hr_address_owner(x->vpc, x->packet.destination);
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

/* Steps 7 to 16. */
static __always_inline __u32 hr_from_interface(struct __sk_buff *skb, struct hr_passage *x,
					       const struct hr_interface *from)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	struct hr_packet *p = &x->packet;
	const struct hr_interface *to;
	__u32 reason = hr_parse_datagram(skb, p);

	if (reason)
		return reason;
	if (from->check && hr_address_owner(x->vpc, p->source) != x->from)
		return HR_SOURCE_ADDRESS;
	if (hr_forward_is_multicast(from, p))
		return HR_MULTICAST;
	if (hr_forward_is_service(p->destination))
		return hr_to_service(skb, x);
	x->to = hr_address_owner(x->vpc, p->destination);
	to = hr_interface_of(x->to);
	if (!to)
		return HR_NO_ROUTE;
	if (!to->ifindex)
		return HR_PEER_DOWN;
	reason = hr_judge(skb, x, from, to);
	if (reason)
		return reason;
	/* In a subnet the sender addressed the receiver itself; across subnets, the router. */
	if (from->subnet == to->subnet && from->mask == to->mask)
		x->action = hr_forward_to_interface(skb, p, to, from->mac);
	else
		x->action = hr_forward_to_interface(skb, p, to, router);
	return HR_ALLOWED;
}

/* Steps 1 to 6. */
static __always_inline __u32 hr_from_port(struct __sk_buff *skb, struct hr_passage *x)
{
	__u32 reason, ifindex = skb->ifindex;
	const struct hr_interface *from;
	const struct hr_port *port;
	struct hr_arp arp;

	reason = hr_parse_ethernet(skb, &x->packet);
	if (reason)
		return reason;
	port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port)
		return HR_UNKNOWN_PORT;
	x->vpc = port->vpc;
	if (!port->interface)
		return hr_from_service(skb, x);
	/* A frame without a sender is put down to the port's interface. */
	x->from = port->interface;
	from = hr_forward_sender(skb, port, &x->packet);
	if (!from)
		return x->packet.vlan == HR_UNTAGGED ? HR_UNKNOWN_PORT : HR_UNKNOWN_VLAN;
	x->from = from->key;
	x->vpc = from->vpc;
	if (!hr_mac_equal(x->packet.source_mac, from->mac))
		return HR_SOURCE_MAC;
	if (x->packet.ethertype == ETH_P_ARP) {
		reason = hr_parse_arp(skb, &x->packet, &arp);
		if (!reason)
			x->action = hr_arp_reply(skb, &x->packet, &arp, from);
		return reason;
	}
	if (x->packet.ethertype != ETH_P_IP)
		return HR_UNSUPPORTED_PROTOCOL;
	return hr_from_interface(skb, x, from);
}

SEC("classifier")
int fabric(struct __sk_buff *skb)
{
	struct hr_passage x = { .rules = { HR_NO_RULE, HR_NO_RULE }, .action = TC_ACT_SHOT };
	__u32 bytes = skb->len;
	__u32 reason = hr_from_port(skb, &x);

	if (!reason) {
		/* ARP is the VPC's own business: no verdict. */
		if (x.packet.ethertype == ETH_P_IP)
			hr_count(reason);
		return x.action;
	}
	hr_count(reason);
	/* Hosts chatter in IPv6 by themselves; counted, but no flow of this VPC. */
	if (reason != HR_UNSUPPORTED_PROTOCOL)
		hr_report(&x, reason, bytes);
	return TC_ACT_SHOT;
}
