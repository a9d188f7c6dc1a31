/* Packets that are too large for where they go ("Path MTU Discovery", Amazon VPC User Guide). */
#pragma once

/* The size on the wire: of a packet that is still to be segmented, that of its segments. */
static __always_inline __u32 hr_mtu_size(struct __sk_buff *skb, const struct hr_packet *p)
{
	__u32 headers = p->l4 - p->l3;
	__u8 offset; /* TCP's, in words, << 4 */

	if (!skb->gso_size)
		return p->end - p->l3;
	if (p->protocol == IPPROTO_UDP)
		return headers + sizeof(struct udphdr) + skb->gso_size;
	if (p->protocol != IPPROTO_TCP || HR_READ(skb, p->l4 + 12, &offset) < 0)
		return p->end - p->l3;
	return headers + (offset >> 4) * 4 + skb->gso_size;
}

static __always_inline int hr_mtu_exceeded(struct __sk_buff *skb, const struct hr_packet *p,
					   const struct hr_interface *to)
{
	return p->end - p->l3 > to->mtu && hr_mtu_size(skb, p) > to->mtu;
}

/* The sender's subnet must let the router's answer in. */
static __always_inline int hr_mtu_may_tell(const struct hr_interface *from, const struct hr_packet *p,
					   __u32 traffic, __be32 router)
{
	__u64 verdict;

	if (!hr_icmp_may_answer(p))
		return 0;
	if (!from->acl)
		return 1;
	verdict = hr_rules_judge(from->acl, HR_INGRESS, traffic, router, 0);
	return (__u16)verdict != HR_NO_RULE && !(verdict & HR_RULES_DENIED);
}

/* Hands what the frame has become to its sender. */
static __always_inline int hr_mtu_answer(struct __sk_buff *skb, const struct hr_packet *p,
					 const struct hr_interface *from)
{
	const __u8 mac[6] = HR_ROUTER_MAC;

	hr_forward_macs(skb, p->source_mac, mac);
	return hr_forward_deliver_to(skb, from);
}

/* Tells the sender of a packet that was too big how big it may be. The frame is the answer then. */
static __always_inline int hr_mtu_tell(struct __sk_buff *skb, const struct hr_packet *p,
				       const struct hr_interface *from,
				       const struct hr_interface *to)
{
	__be32 router = bpf_htonl(bpf_ntohl(from->subnet) + 1);
	__u32 traffic = IPPROTO_ICMP << 16 | HR_ICMP_FRAGMENTATION_NEEDED;

	if (!hr_mtu_may_tell(from, p, traffic, router) ||
	    hr_icmp_answer(skb, hr_at(p), HR_ICMP_FRAGMENTATION_NEEDED << 16 | to->mtu, router,
			   p->source) < 0)
		return TC_ACT_SHOT;
	return hr_mtu_answer(skb, p, from);
}

#define HR_ICMPV6_TOO_BIG 2

/* As much of the packet as leaves the answer small enough for every way (RFC 4443, 3.2). */
struct hr_mtu_message {
	struct hr_pseudo_v6 pseudo;
	struct hr_icmp icmp; /* id and sequence: the next hop's MTU */
	__u8 quote[1232];
};
_Static_assert(sizeof(struct hr_mtu_message) == 1280, "RFC 8200, 5");

#define HR_MTU_PART (sizeof(struct hr_mtu_message) / 4) /* no helper sums up more than 512 bytes */

/* The stack has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_mtu_message);
} mtu_message SEC(".maps");

/* Whether the sender's subnet lets the answer in. It comes from the router's link-local address. */
static __always_inline int hr_mtu_may_tell_v6(const struct hr_interface *from,
					      const struct hr_packet *p, struct hr_six *six,
					      struct hr_mtu_message *m)
{
	__u32 traffic = IPPROTO_ICMPV6 << 16 | HR_ICMPV6_TOO_BIG << 8 | HR_TRAFFIC_V6;
	const __be32 router[4] = HR_ROUTER_LINK_LOCAL;
	int may;

	__builtin_memcpy(m->pseudo.source, router, sizeof(router));
	__builtin_memcpy(m->pseudo.destination, six->ip.source, sizeof(six->ip.source));
	/* Where the list looks for it. */
	__builtin_memcpy(six->ip.source, router, sizeof(router));
	may = hr_mtu_may_tell(from, p, traffic, router[3]);
	__builtin_memcpy(six->ip.source, m->pseudo.destination, sizeof(six->ip.source));
	return may;
}

/* The same for IPv6. A global function: verified once. */
__attribute__((noinline)) int hr_mtu_tell_v6(struct __sk_buff *skb, const struct hr_packet *p,
					     const struct hr_interface *from, __u32 mtu)
{
	const __u32 length = sizeof(struct hr_mtu_message) - sizeof(struct hr_pseudo_v6);
	__u32 zero = 0;
	struct hr_mtu_message *m = bpf_map_lookup_elem(&mtu_message, &zero);
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);
	__s64 sum = 0;

	if (!p || !from || !packet || !m)
		return TC_ACT_SHOT;
	/* Nothing that large comes from outside. */
	if (from->kind != HR_KIND_INSTANCE || !hr_mtu_may_tell_v6(from, p, packet, m) ||
	    bpf_skb_load_bytes(skb, p->l3, m->quote, sizeof(m->quote)) < 0)
		return TC_ACT_SHOT;
	m->pseudo.length = bpf_htonl(length);
	m->pseudo.next = bpf_htonl(IPPROTO_ICMPV6);
	m->icmp = (struct hr_icmp){ .type = HR_ICMPV6_TOO_BIG, .sequence = bpf_htons(mtu) };
	for (__u32 n = 0; n < 4; n++)
		sum = bpf_csum_diff(0, 0, (void *)m + n * HR_MTU_PART, HR_MTU_PART, sum);
	m->icmp.checksum = hr_icmp_fold(sum);
	if (hr_ipv6_put(skb, p->l3, &m->pseudo, length) < 0 ||
	    bpf_skb_store_bytes(skb, p->l3 + sizeof(struct hr_ipv6_header), &m->icmp, length, 0) < 0)
		return TC_ACT_SHOT;
	return hr_mtu_answer(skb, p, from);
}
