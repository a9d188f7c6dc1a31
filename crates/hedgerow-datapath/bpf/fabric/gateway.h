/* Internet gateways exchange private and public addresses, one for one, at the border of the VPC. Of
 * IPv6 nothing is exchanged, and egress-only gateways let in what belongs to a flow that began inside.
 *
 * A VPC's gateway is an interface of kind HR_KIND_INTERNET, its egress-only ones are one of kind
 * HR_KIND_EGRESS. All of them are at one port, behind which is the Internet; a packet from there
 * finds its VPC by its public destination. */
#pragma once

/* The keys are repeated in the value: see hr_address. */
struct hr_public {
	__be32 public;
	__be32 private;
	__u32 vpc;
	__u32 gateway; /* interface key of the VPC's internet gateway */
};
_Static_assert(sizeof(struct hr_public) == 16, "layout.rs");

/* Public address → whose it is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __be32);
	__type(value, struct hr_public);
} publics SEC(".maps");

/* Private address that has a public one → the same. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct hr_address_key);
	__type(value, struct hr_public);
} privates SEC(".maps");

#define HR_SOURCE __builtin_offsetof(struct iphdr, saddr)
#define HR_DESTINATION __builtin_offsetof(struct iphdr, daddr)

/* Where in a frame what is, as one argument of a global function. */
#define HR_AT_FRAGMENT 1   /* no transport header */
#define HR_AT_ICMP_ERROR 2 /* a quoted packet behind the ICMP header */

static __always_inline __u32 hr_at(const struct hr_packet *p)
{
	__u32 flags = (p->fragment ? HR_AT_FRAGMENT : 0) |
		      (hr_flow_is_icmp_error(p) ? HR_AT_ICMP_ERROR : 0);

	return (p->l3 & 255) | (p->l4 & 255) << 8 | (__u32)p->protocol << 16 | flags << 24;
}

/* Changes an address of a packet, `which` of HR_SOURCE and HR_DESTINATION, and the checksums that
 * cover it; and the other one of the packet that an ICMP error quotes, if it is the same. An error's
 * own checksum stays right: what the address adds to the sum, the quoted header's checksum takes off.
 * A global function: verified once, not once per call. Returns 0, or negative if it failed. */
__attribute__((noinline)) int hr_translate(struct __sk_buff *skb, __u32 at, __u32 which, __be32 old,
					   __be32 new)
{
	__u32 l3 = at & 255, l4 = at >> 8 & 255, protocol = at >> 16 & 255, flags = at >> 24;
	__u32 quoted = l4 + sizeof(struct hr_icmp), other;
	__be32 address;

	which = which == HR_SOURCE ? HR_SOURCE : HR_DESTINATION;
	other = HR_SOURCE + HR_DESTINATION - which;
	if (flags & HR_AT_ICMP_ERROR &&
	    bpf_skb_load_bytes(skb, quoted + other, &address, sizeof(address)) == 0 &&
	    address == old) {
		bpf_l3_csum_replace(skb, quoted + __builtin_offsetof(struct iphdr, check), old, new,
				    sizeof(new));
		bpf_skb_store_bytes(skb, quoted + other, &new, sizeof(new), 0);
	}
	if (!(flags & HR_AT_FRAGMENT) && protocol == IPPROTO_TCP)
		bpf_l4_csum_replace(skb, l4 + __builtin_offsetof(struct tcphdr, check), old, new,
				    BPF_F_PSEUDO_HDR | sizeof(new));
	if (!(flags & HR_AT_FRAGMENT) && protocol == IPPROTO_UDP)
		bpf_l4_csum_replace(skb, l4 + __builtin_offsetof(struct udphdr, check), old, new,
				    BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | sizeof(new));
	bpf_l3_csum_replace(skb, l3 + __builtin_offsetof(struct iphdr, check), old, new, sizeof(new));
	return bpf_skb_store_bytes(skb, l3 + which, &new, sizeof(new), 0);
}

/* The public address of a private one, or 0. */
static __always_inline __be32 hr_gateway_public(__u32 vpc, __be32 private)
{
	struct hr_address_key key = { vpc, private };
	const struct hr_public *found = bpf_map_lookup_elem(&privates, &key);
	__be32 public;

	if (!found)
		return 0;
	public = *(volatile const __be32 *)&found->public;
	return found->vpc == vpc && found->private == private ? public : 0;
}

/* On the way in: finds the gateway and the VPC, and gives the packet its private destination. */
static __always_inline __u32 hr_gateway_in(struct __sk_buff *skb, struct hr_passage *x)
{
	struct hr_packet *p = &x->packet;
	__be32 public = p->destination, private;
	const struct hr_public *found;

	found = bpf_map_lookup_elem(&publics, &public);
	if (!found)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	private = *(volatile const __be32 *)&found->private;
	x->vpc = found->vpc;
	x->from = found->gateway;
	if (found->public != public)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	if (hr_translate(skb, hr_at(p), HR_DESTINATION, public, private) < 0)
		return HR_MALFORMED;
	p->destination = private;
	return HR_ALLOWED;
}

static __always_inline int hr_gateway_is(const struct hr_interface *interface)
{
	return interface->kind >= HR_KIND_INTERNET;
}

/* The same for IPv6: which gateway is a matter of the receiver's routes. */
static __always_inline __u32 hr_gateway_in_v6(struct hr_passage *x, struct hr_six *six)
{
	const struct hr_interface *to;
	const __u32 *found;
	__u32 since;

	/* The link's own chatter. */
	if (hr_neighbour_is(&x->packet))
		return HR_UNSUPPORTED_PROTOCOL;
	hr_prefix_key_fill(&six->prefix, 0, six->ip.destination);
	found = bpf_map_lookup_elem(&publics_v6, &six->prefix);
	if (!found)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	x->vpc = *found;
	to = hr_interface_of(hr_address_owner_v6(six, x->vpc, six->ip.destination, &since));
	if (!to)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	x->to = to->key;
	return hr_route_back(to, six, six->ip.source, &x->from);
}
