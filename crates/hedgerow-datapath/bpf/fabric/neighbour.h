/* Neighbour discovery (RFC 4861), which the VPC answers by itself as it does ARP; multicast listener
 * reports, which nobody needs. None of it is forwarded. */
#pragma once

#define HR_ND_ROUTER_SOLICITATION 133
#define HR_ND_ROUTER_ADVERTISEMENT 134
#define HR_ND_SOLICITATION 135
#define HR_ND_ADVERTISEMENT 136
#define HR_ND_REDIRECT 137

#define HR_ND_ROUTER 0x80 /* flags of an advertisement */
#define HR_ND_SOLICITED 0x40
#define HR_ND_OVERRIDE 0x20
#define HR_ND_MANAGED 0x80 /* of a router's: addresses come by DHCPv6 */

#define HR_ND_SOURCE_MAC 1 /* options */
#define HR_ND_TARGET_MAC 2
#define HR_ND_MTU 5

struct hr_nd_advertisement {
	__u8 flags;
	__u8 reserved[3];
	__be32 target[4];
	__u8 option;
	__u8 option_length; /* in units of 8 bytes */
	__u8 mac[6];
};
_Static_assert(sizeof(struct hr_nd_advertisement) == 28, "no padding");

struct hr_nd_router {
	__u8 hop_limit;
	__u8 flags;
	__be16 lifetime; /* seconds */
	__be32 reachable;
	__be32 retransmit;
	__u8 option;
	__u8 option_length;
	__u8 mac[6];
	__u8 mtu_option;
	__u8 mtu_length;
	__be16 reserved;
	__be32 mtu;
};
_Static_assert(sizeof(struct hr_nd_router) == 28, "no padding");

/* fe80::, the first six words of an interface identifier, from the router's MAC (RFC 4291, appendix
 * A): ROUTER_LINK_LOCAL in fabric.rs. */
#define HR_ROUTER_LINK_LOCAL                                                                       \
	{ bpf_htonl(0xfe800000), 0, bpf_htonl(0x006872ff), bpf_htonl(0xfe000001) }

static __always_inline int hr_ipv6_equal(const __be32 *a, const __be32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

/* Discovery and listener messages: 130 to 137, and 143 (RFC 3810). */
static __always_inline int hr_neighbour_is(const struct hr_packet *p)
{
	__u8 type = p->destination_port >> 8;

	return p->protocol == IPPROTO_ICMPV6 && ((type >= 130 && type <= 137) || type == 143);
}

/* The MAC that answers for `target`, or 0: silence. */
static __always_inline int hr_neighbour_answer(struct hr_six *six, const struct hr_interface *from,
					       const __be32 *target, __u8 *mac)
{
	const __be32 link_local[4] = HR_ROUTER_LINK_LOCAL;
	const __u8 router[6] = HR_ROUTER_MAC;
	const struct hr_interface *owner;
	__u32 since;

	if (hr_ipv6_equal(target, link_local) || hr_forward_is_service_v6(target)) {
		__builtin_memcpy(mac, router, 6);
		return HR_ND_ROUTER | HR_ND_OVERRIDE;
	}
	owner = hr_interface_of(hr_address_owner_v6(six, from->vpc, target, &since));
	/* No answer for an address of one's own: that is a probe for duplicates (RFC 4862, 5.4). */
	if (!owner || owner->key == from->key || !hr_forward_same_subnet(from, owner))
		return 0;
	__builtin_memcpy(mac, owner->mac, 6);
	return HR_ND_OVERRIDE;
}

/* Sends the advertisement back where the frame came from, tagged if it was; see hr_arp_reply. */
static __always_inline int hr_neighbour_send(struct __sk_buff *skb, const struct hr_packet *p,
					     struct hr_six *six, const struct hr_interface *from,
					     const __u8 *mac)
{
	struct hr_advertisement *a = &six->advertisement;
	const __u32 length = sizeof(*a) - sizeof(a->pseudo);
	const __be32 everybody[4] = { bpf_htonl(0xff020000), 0, 0, bpf_htonl(1) };
	const __be32 nobody[4] = {};

	/* Who has no address yet hears it with all others (RFC 4861, 7.2.4). */
	__builtin_memcpy(a->pseudo.destination, six->ip.source, sizeof(a->pseudo.destination));
	if (hr_ipv6_equal(six->ip.source, nobody))
		__builtin_memcpy(a->pseudo.destination, everybody, sizeof(a->pseudo.destination));
	a->pseudo.length = bpf_htonl(length);
	a->pseudo.next = bpf_htonl(IPPROTO_ICMPV6);
	a->code = 0;
	a->checksum = 0;
	a->checksum = hr_icmp_fold(bpf_csum_diff(0, 0, (__be32 *)a, sizeof(*a), 0));
	if (hr_ipv6_put(skb, p->l3, &a->pseudo, length) < 0)
		return TC_ACT_SHOT;
	hr_forward_macs(skb, from->mac, mac);
	if (bpf_skb_store_bytes(skb, p->l3 + sizeof(struct hr_ipv6_header), &a->type, length, 0) < 0)
		return TC_ACT_SHOT;
	return hr_forward_deliver(skb, skb->ifindex);
}

static __always_inline int hr_neighbour_reply(struct __sk_buff *skb, const struct hr_packet *p,
					      struct hr_six *six, const struct hr_interface *from)
{
	struct hr_nd_advertisement *body = (void *)six->advertisement.body;
	const __be32 nobody[4] = {};
	__be32 target[4];
	__u8 mac[6] __attribute__((aligned(2)));
	__u32 flags;

	if (p->l4 + 8 + sizeof(target) > p->end ||
	    bpf_skb_load_bytes(skb, p->l4 + 8, target, sizeof(target)) < 0)
		return TC_ACT_SHOT;
	flags = hr_neighbour_answer(six, from, target, mac);
	if (!flags)
		return TC_ACT_SHOT;
	if (!hr_ipv6_equal(six->ip.source, nobody))
		flags |= HR_ND_SOLICITED;
	__builtin_memset(body, 0, sizeof(*body));
	body->flags = flags;
	__builtin_memcpy(body->target, target, sizeof(target));
	body->option = HR_ND_TARGET_MAC;
	body->option_length = 1;
	__builtin_memcpy(body->mac, mac, 6);
	six->advertisement.type = HR_ND_ADVERTISEMENT;
	__builtin_memcpy(six->advertisement.pseudo.source, target, sizeof(target));
	return hr_neighbour_send(skb, p, six, from, mac);
}

/* The router is the default, addresses come by DHCPv6, and no prefix is there to make them from. */
static __always_inline int hr_neighbour_router(struct __sk_buff *skb, const struct hr_packet *p,
					       struct hr_six *six, const struct hr_interface *from)
{
	struct hr_nd_router *body = (void *)six->advertisement.body;
	const __be32 link_local[4] = HR_ROUTER_LINK_LOCAL;
	const __u8 router[6] = HR_ROUTER_MAC;

	__builtin_memset(body, 0, sizeof(*body));
	body->hop_limit = 64;
	body->flags = HR_ND_MANAGED;
	body->lifetime = bpf_htons(1800);
	body->option = HR_ND_SOURCE_MAC;
	body->option_length = 1;
	__builtin_memcpy(body->mac, router, 6);
	body->mtu_option = HR_ND_MTU;
	body->mtu_length = 1;
	body->mtu = bpf_htonl(from->mtu);
	six->advertisement.type = HR_ND_ROUTER_ADVERTISEMENT;
	__builtin_memcpy(six->advertisement.pseudo.source, link_local, sizeof(link_local));
	return hr_neighbour_send(skb, p, six, from, router);
}

/* What becomes of a discovery message; what does not come from the link itself is none (RFC 4861,
 * 6.1 and 7.1: hop limit 255, code 0). A global function: verified once. */
__attribute__((noinline)) int hr_neighbour(struct __sk_buff *skb, const struct hr_packet *p,
					   const struct hr_interface *from)
{
	__u32 zero = 0;
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);

	if (!p || !from || !packet)
		return TC_ACT_SHOT;
	if (packet->ip.hop_limit != 255 || p->fragment || p->more_fragments)
		return TC_ACT_SHOT;
	if (p->destination_port == HR_ND_SOLICITATION << 8)
		return hr_neighbour_reply(skb, p, packet, from);
	if (p->destination_port == HR_ND_ROUTER_SOLICITATION << 8)
		return hr_neighbour_router(skb, p, packet, from);
	return TC_ACT_SHOT;
}
