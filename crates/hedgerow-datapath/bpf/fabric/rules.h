/* The verdict of an interface's groups, or of a network ACL: ports & (prefixes | groups), lowest set bit decides.
 *
 * Groups hold allow rules only, so order does not matter for the verdict; the bit order is the
 * rule order of core::sg::judge, so that both name the same rule. */
#pragma once

#define HR_TRAFFIC_V6 0x01000000 /* see hr_rules_judge */

/* Position of the lowest set bit. clang-16's BPF backend crashes on __builtin_ctzll, hence the
 * de Bruijn multiplication (Leiserson, Prokop, Randall: "Using de Bruijn Sequences to Index a 1 in
 * a Computer Word", 1998). */
static const __u8 hr_rules_position[64] = {
	0,  1,	2,  53, 3,  7,	54, 27, 4,  38, 41, 8,	34, 55, 48, 28,
	62, 5,	39, 46, 44, 42, 22, 9,	24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10,
	51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

static __always_inline __u32 hr_rules_lowest(__u64 word)
{
	__u64 isolated = word & -word;

	return hr_rules_position[((isolated * 0x022fdd63cc95386dULL) >> 58) & 63];
}

/* Bits of the rules that match protocol and port. */
static __always_inline struct hr_bits *hr_rules_ports(const struct hr_set *set, __u32 direction,
						      __u32 protocol, __u32 port)
{
	const struct hr_block *table, *block;
	__u32 at, bits;

	switch (protocol) {
	case IPPROTO_TCP:
		at = set->tables[direction ? 4 : 0];
		break;
	case IPPROTO_UDP:
		at = set->tables[direction ? 5 : 1];
		break;
	case IPPROTO_ICMP:
		at = set->tables[direction ? 6 : 2];
		break;
	case IPPROTO_ICMPV6:
		at = set->tables[direction ? 7 : 3];
		break;
	default:
		at = set->others[direction ? 1 : 0];
		block = bpf_map_lookup_elem(&port_blocks, &at);
		if (!block)
			return 0;
		bits = block->at[protocol & 255];
		return bpf_map_lookup_elem(&rule_bits, &bits);
	}
	table = bpf_map_lookup_elem(&port_tables, &at);
	if (!table)
		return 0;
	at = table->at[(port >> 8) & 255];
	block = bpf_map_lookup_elem(&port_blocks, &at);
	if (!block)
		return 0;
	bits = block->at[port & 255];
	return bpf_map_lookup_elem(&rule_bits, &bits);
}

/* → bits of the rules that open `direction` to everybody for the protocol; 0: there are none. */
static __always_inline __u32 hr_rules_open(const struct hr_set *set, __u32 direction,
					   __u32 traffic)
{
	__u32 protocol = traffic >> 16 & 0xff;
	__u32 at = (traffic & HR_TRAFFIC_V6 ? 4 : 0) + (direction ? 2 : 0);

	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	return set->open[(at + (protocol == IPPROTO_UDP)) & 7];
}

/* → bits of the rules whose prefix holds the packet's address at the other end. */
static __always_inline const __u32 *hr_rules_prefix(__u32 gate, __u32 traffic, __be32 peer)
{
	struct hr_prefix_key prefix = { .prefixlen = 64, .gate = gate, .address = peer };
	struct hr_six *packet;
	__u32 zero = 0;

	if (!(traffic & HR_TRAFFIC_V6))
		return bpf_map_lookup_elem(&prefixes, &prefix);
	packet = bpf_map_lookup_elem(&six, &zero);
	if (!packet)
		return 0;
	hr_prefix_key_fill(&packet->prefix, gate,
			   gate & 1 ? packet->ip.destination : packet->ip.source);
	return bpf_map_lookup_elem(&prefixes_v6, &packet->prefix);
}

static __always_inline int hr_rules_denied(const struct hr_set *set, __u32 direction, __u32 rule)
{
	__u32 at = set->denies[direction ? 1 : 0];
	const struct hr_bits *bits;

	if (!at)
		return 0;
	bits = bpf_map_lookup_elem(&rule_bits, &at);
	return !bits || bits->word[(rule >> 6) & (HR_RULE_WORDS - 1)] >> (rule & 63) & 1;
}

/* The lowest rule that matches, or HR_NO_RULE. This and the next are global functions, so that the
 * verifier does not follow every rule that it could be. */
__attribute__((noinline)) __u32 hr_rules_first(const struct hr_bits *by_port,
					       const struct hr_bits *by_prefix,
					       const struct hr_bits *by_group, __u32 words)
{
	__u64 word;

	if (!by_port || !by_prefix || !by_group)
		return HR_NO_RULE;
	for (__u32 n = 0; n < HR_RULE_WORDS && n < words; n++) {
		word = by_port->word[n] & (by_prefix->word[n] | by_group->word[n]);
		if (word)
			return n * 64 + hr_rules_lowest(word);
	}
	return HR_NO_RULE;
}

/* Whether one of the rules that match is in `among`. */
__attribute__((noinline)) int hr_rules_meet(const struct hr_bits *by_port,
					    const struct hr_bits *by_prefix,
					    const struct hr_bits *by_group,
					    const struct hr_bits *among, __u32 words)
{
	if (!by_port || !by_prefix || !by_group || !among)
		return 0;
	for (__u32 n = 0; n < HR_RULE_WORDS && n < words; n++)
		if (by_port->word[n] & (by_prefix->word[n] | by_group->word[n]) & among->word[n])
			return 1;
	return 0;
}

#define HR_RULES_DENIED 0x10000
#define HR_RULES_OPEN 0x20000

/* What the rules `combination` say of a packet in `direction`. `traffic` is protocol << 16 | port
 * (see hr_packet.destination_port), `peer` the address at the other end in network order, or for IPv6
 * with HR_TRAFFIC_V6 what is in the map six; `peer_combination` its groups or 0. Returns set id << 32 | rule number or HR_NO_RULE; with
 * HR_RULES_DENIED if that rule denies, HR_RULES_OPEN if a flow it starts is not to be tracked.
 * A global function: verified once, not once per call. */
__attribute__((noinline)) __u64 hr_rules_judge(__u32 combination, __u32 direction, __u32 traffic,
					       __u32 peer, __u32 peer_combination)
{
	struct hr_group_key group = { .combination = peer_combination };
	const struct hr_bits *by_port, *by_prefix, *by_group, *open;
	__u32 none = 0, slot, words, opens, rule;
	const __u32 *found;
	const struct hr_set *set;
	__u64 verdict;

	found = bpf_map_lookup_elem(&combination_sets, &combination);
	if (!found)
		return HR_NO_RULE;
	slot = *(volatile const __u32 *)found;
	set = bpf_map_lookup_elem(&sets, &slot);
	if (!set)
		return HR_NO_RULE;
	words = set->words[direction ? 1 : 0];
	group.gate = slot << 1 | direction;
	by_port = hr_rules_ports(set, direction, traffic >> 16 & 0xff, traffic & 0xffff);
	found = hr_rules_prefix(group.gate, traffic, peer);
	by_prefix = bpf_map_lookup_elem(&rule_bits, found ? found : &none);
	found = set->groups[direction ? 1 : 0] ? bpf_map_lookup_elem(&group_peers, &group) : 0;
	by_group = bpf_map_lookup_elem(&rule_bits, found ? found : &none);
	opens = hr_rules_open(set, direction, traffic);
	open = bpf_map_lookup_elem(&rule_bits, &opens);
	if (!by_port || !by_prefix || !by_group || !open)
		return (__u64)set->id << 32 | HR_NO_RULE;
	rule = hr_rules_first(by_port, by_prefix, by_group, words);
	verdict = (__u64)set->id << 32 | rule;
	if (rule == HR_NO_RULE)
		return verdict;
	if (hr_rules_denied(set, direction, rule))
		verdict |= HR_RULES_DENIED;
	if (opens && hr_rules_meet(by_port, by_prefix, by_group, open, words))
		verdict |= HR_RULES_OPEN;
	return verdict;
}

static __always_inline __u32 hr_rules_traffic(const struct hr_packet *p, const struct hr_six *six)
{
	return (__u32)p->protocol << 16 | p->destination_port | (six ? HR_TRAFFIC_V6 : 0);
}

/* Whether a network ACL lets the packet pass. */
static __always_inline int hr_rules_acl_passes(__u32 acl, __u32 direction,
					       const struct hr_packet *p,
					       const struct hr_six *six, __be32 peer)
{
	__u32 traffic = hr_rules_traffic(p, six);
	__u64 verdict = hr_rules_judge(acl, direction, traffic, peer, 0);

	return (__u16)verdict != HR_NO_RULE && !(verdict & HR_RULES_DENIED);
}
