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
					   __be32 router)
{
	__u32 traffic = IPPROTO_ICMP << 16 | HR_ICMP_FRAGMENTATION_NEEDED;
	__u64 verdict;

	if (!hr_icmp_may_answer(p))
		return 0;
	if (!from->acl)
		return 1;
	verdict = hr_rules_judge(from->acl, HR_INGRESS, traffic, router, 0);
	return (__u16)verdict != HR_NO_RULE && !(verdict & HR_RULES_DENIED);
}

/* Tells the sender of a packet that was too big how big it may be. The frame is the answer then. */
static __always_inline int hr_mtu_tell(struct __sk_buff *skb, const struct hr_packet *p,
				       const struct hr_interface *from,
				       const struct hr_interface *to)
{
	__be32 router = bpf_htonl(bpf_ntohl(from->subnet) + 1);
	const __u8 mac[6] = HR_ROUTER_MAC;

	if (!hr_mtu_may_tell(from, p, router) ||
	    hr_icmp_answer(skb, hr_at(p), HR_ICMP_FRAGMENTATION_NEEDED << 16 | to->mtu, router,
			   p->source) < 0)
		return TC_ACT_SHOT;
	hr_forward_macs(skb, p->source_mac, mac);
	return hr_forward_deliver_to(skb, from);
}
