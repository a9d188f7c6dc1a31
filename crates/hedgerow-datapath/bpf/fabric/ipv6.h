/* What IPv6 needs beside the maps of IPv4: the same with longer addresses.
 *
 * The functions of the fabric are written once. They take a struct hr_six, or 0 for IPv4; which of
 * both is known where they are inlined, so neither family pays for the other. Where an address of
 * IPv4 stands, IPv6 has the last word of its own, and the rest is here. */
#pragma once

struct hr_flow_key_v6 {
	struct hr_flow_key low;
	__be32 high[2][3]; /* the other words of low.addresses */
};
_Static_assert(sizeof(struct hr_flow_key_v6) == 48, "no padding");

/* A number (VPC, route version, gate) and a prefix of IPv6. */
struct hr_prefix_key_v6 {
	__u32 prefixlen; /* 32 + the prefix's length */
	__u32 number;
	__be32 address[4];
};

struct hr_address_v6 {
	__u32 interface;
	__u32 since; /* generation from which on the interface has the address */
};

/* VPC, address or delegated prefix → whose it is. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct hr_prefix_key_v6);
	__type(value, struct hr_address_v6);
} addresses_v6 SEC(".maps");

/* As routes. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct hr_prefix_key_v6);
	__type(value, __u32);
} routes_v6 SEC(".maps");

/* 0, block of a VPC → its key: all of its addresses are public. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 8192);
	__type(key, struct hr_prefix_key_v6);
	__type(value, __u32);
} publics_v6 SEC(".maps");

/* As prefixes. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct hr_prefix_key_v6);
	__type(value, __u32);
} prefixes_v6 SEC(".maps");

struct hr_fragment_key_v6 {
	__u32 from;
	__u32 to;
	__be32 source[4];
	__be32 destination[4];
	__be32 id;
};

/* As fragments. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct hr_fragment_key_v6);
	__type(value, __u32);
} fragments_v6 SEC(".maps");

/* What stands before a message of ICMPv6 when its checksum is taken (RFC 8200, 8.1). */
struct hr_pseudo_v6 {
	__be32 source[4];
	__be32 destination[4];
	__be32 length;
	__be32 next;
};
_Static_assert(sizeof(struct hr_pseudo_v6) == 40, "no padding");

/* An answer of the VPC's own: neighbour or router advertisement. */
struct hr_advertisement {
	struct hr_pseudo_v6 pseudo;
	__u8 type;
	__u8 code;
	__be16 checksum;
	__u8 body[28];
};
_Static_assert(sizeof(struct hr_advertisement) == 72, "no padding");

/* A packet of IPv6 on its way through, beside its struct hr_passage. */
struct hr_six {
	struct hr_ipv6 ip;
	struct hr_prefix_key_v6 prefix; /* to look up */
	struct hr_ipv6_header header;	/* just read */
	struct hr_packet quoted_packet;
	struct hr_ipv6 quoted;
	struct hr_flow_key_v6 key;
	struct hr_flow_key_v6 quoted_key;
	struct hr_fragment_key_v6 fragment;
	struct hr_advertisement advertisement;
};

/* The stack has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_six);
} six SEC(".maps");

static __always_inline void hr_prefix_key_fill(struct hr_prefix_key_v6 *key, __u32 number,
					       const __be32 *address)
{
	key->prefixlen = 160;
	key->number = number;
	key->address[0] = address[0];
	key->address[1] = address[1];
	key->address[2] = address[2];
	key->address[3] = address[3];
}

/* One's complement sum of a checksum helper, folded and complemented. */
static __always_inline __be16 hr_icmp_fold(__s64 sum)
{
	__u32 folded = sum;

	folded = (folded & 0xffff) + (folded >> 16);
	folded = (folded & 0xffff) + (folded >> 16);
	return ~folded;
}

/* Makes room in the frame for a message of ICMPv6 of that length, and writes the header before it. */
static __always_inline int hr_ipv6_put(struct __sk_buff *skb, __u32 l3,
				       const struct hr_pseudo_v6 *pseudo, __u32 length)
{
	struct hr_ipv6_header ip = { .version = 6 << 4,
				     .length = bpf_htons(length),
				     .next = IPPROTO_ICMPV6,
				     .hop_limit = 255 };

	__builtin_memcpy(ip.source, pseudo->source, sizeof(ip.source));
	__builtin_memcpy(ip.destination, pseudo->destination, sizeof(ip.destination));
	/* Also no longer to be segmented. */
	if (bpf_skb_change_tail(skb, l3 + sizeof(ip) + length, 0) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, l3, &ip, sizeof(ip), 0);
}
