/* Internet gateways exchange private and public addresses, one for one, at the border of the VPC.
 *
 * A VPC's gateway is an interface of kind HR_KIND_INTERNET. All of them are at one port, behind
 * which is the Internet; a packet from there finds its VPC by its public destination. */
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

/* Changes an address of the packet's header, `which` of HR_SOURCE and HR_DESTINATION, and the
 * checksums that cover it. */
static __always_inline void hr_translate_address(struct __sk_buff *skb, const struct hr_packet *p,
						 __u32 which, __be32 old, __be32 new)
{
	if (!p->fragment && p->protocol == IPPROTO_TCP)
		bpf_l4_csum_replace(skb, p->l4 + __builtin_offsetof(struct tcphdr, check), old, new,
				    BPF_F_PSEUDO_HDR | sizeof(new));
	if (!p->fragment && p->protocol == IPPROTO_UDP)
		bpf_l4_csum_replace(skb, p->l4 + __builtin_offsetof(struct udphdr, check), old, new,
				    BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | sizeof(new));
	bpf_l3_csum_replace(skb, p->l3 + __builtin_offsetof(struct iphdr, check), old, new,
			    sizeof(new));
	bpf_skb_store_bytes(skb, p->l3 + which, &new, sizeof(new), 0);
}

/* The same in the header that an ICMP error quotes. The error's own checksum stays right: what the
 * address adds to the sum, the quoted header's checksum takes off. */
static __always_inline void hr_translate_quoted(struct __sk_buff *skb, const struct hr_packet *p,
						__u32 which, __be32 old, __be32 new)
{
	__u32 l3 = p->l4 + sizeof(struct hr_icmp);

	bpf_l3_csum_replace(skb, l3 + __builtin_offsetof(struct iphdr, check), old, new,
			    sizeof(new));
	bpf_skb_store_bytes(skb, l3 + which, &new, sizeof(new), 0);
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

/* On the way out; `public` stands for the source. */
static __always_inline void hr_gateway_out(struct __sk_buff *skb, const struct hr_packet *p,
					   __be32 public)
{
	struct hr_packet quoted = {};

	if (hr_flow_is_icmp_error(p) && hr_flow_quoted(skb, p, &quoted) &&
	    quoted.destination == p->source)
		hr_translate_quoted(skb, p, HR_DESTINATION, p->source, public);
	hr_translate_address(skb, p, HR_SOURCE, p->source, public);
}

/* On the way in: finds the gateway and the VPC, and gives the packet its private destination. */
static __always_inline __u32 hr_gateway_in(struct __sk_buff *skb, struct hr_passage *x)
{
	struct hr_packet *p = &x->packet;
	__be32 public = p->destination, private;
	struct hr_packet quoted = {};
	const struct hr_public *found;

	found = bpf_map_lookup_elem(&publics, &public);
	if (!found)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	private = *(volatile const __be32 *)&found->private;
	x->vpc = found->vpc;
	x->from = found->gateway;
	if (found->public != public)
		return HR_UNKNOWN_PUBLIC_ADDRESS;
	if (hr_flow_is_icmp_error(p) && hr_flow_quoted(skb, p, &quoted) && quoted.source == public)
		hr_translate_quoted(skb, p, HR_SOURCE, public, private);
	hr_translate_address(skb, p, HR_DESTINATION, public, private);
	p->destination = private;
	return HR_ALLOWED;
}
