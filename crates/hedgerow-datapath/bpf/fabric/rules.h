/* The verdict of an interface's groups: ports & (prefixes | groups), lowest set bit decides.
 *
 * Groups hold allow rules only, so order does not matter for the verdict; the bit order is the
 * rule order of core::sg::judge, so that both name the same rule. */
#pragma once

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
		at = set->tables[direction ? 3 : 0];
		break;
	case IPPROTO_UDP:
		at = set->tables[direction ? 4 : 1];
		break;
	case IPPROTO_ICMP:
		at = set->tables[direction ? 5 : 2];
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

/* Whether the groups `combination` let a new flow pass in `direction`. `traffic` is protocol << 16
 * | port (see hr_packet.destination_port), `peer` the address at the other end in network order,
 * `peer_combination` its groups or 0. Returns set id << 32 | rule number or HR_NO_RULE.
 * A global function: verified once, not once per call. */
__attribute__((noinline)) __u64 hr_rules_judge(__u32 combination, __u32 direction, __u32 traffic,
					       __u32 peer, __u32 peer_combination)
{
	struct hr_prefix_key prefix = { .prefixlen = 64, .address = peer };
	struct hr_group_key group = { .combination = peer_combination };
	const struct hr_bits *by_port, *by_prefix, *by_group;
	__u32 none = 0, *found, slot;
	const struct hr_set *set;
	__u64 refused;

	found = bpf_map_lookup_elem(&combination_sets, &combination);
	if (!found)
		return HR_NO_RULE;
	slot = *(volatile __u32 *)found;
	set = bpf_map_lookup_elem(&sets, &slot);
	if (!set)
		return HR_NO_RULE;
	refused = (__u64)set->id << 32 | HR_NO_RULE;
	prefix.gate = slot << 1 | direction;
	group.gate = prefix.gate;
	by_port = hr_rules_ports(set, direction, traffic >> 16, traffic & 0xffff);
	found = bpf_map_lookup_elem(&prefixes, &prefix);
	by_prefix = bpf_map_lookup_elem(&rule_bits, found ? found : &none);
	found = bpf_map_lookup_elem(&group_peers, &group);
	by_group = bpf_map_lookup_elem(&rule_bits, found ? found : &none);
	if (!by_port || !by_prefix || !by_group)
		return refused;
	for (__u32 n = 0; n < HR_RULE_WORDS; n++) {
		__u64 word = by_port->word[n] & (by_prefix->word[n] | by_group->word[n]);

		if (word)
			return (__u64)set->id << 32 | (n * 64 + hr_rules_lowest(word));
	}
	return refused;
}
