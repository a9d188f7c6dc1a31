/* Connection tracking: a flow that passed both gates once goes on passing, whatever becomes of
 * the rules, until it is idle or closed. An entry remembers the generation in which it was last
 * judged in full, and addresses know since which generation they are an interface's: an entry never
 * matches another interface that got the address later.
 *
 * A gate at which EC2 would not track the flow ("Untracked connections", Amazon EC2 User Guide) is
 * noted as open, and every packet is judged there as long as the entry is asked: as a change of rules
 * starts a new generation, that is at once. */
#pragma once

#define HR_FLOW_INITIATOR 0x01 /* which side sent the first packet */
#define HR_FLOW_REPLIED 0x02
#define HR_FLOW_ESTABLISHED 0x04 /* TCP: the initiator went on after the first reply */
#define HR_FLOW_FIN 0x08	 /* << side */
#define HR_FLOW_FINS (HR_FLOW_FIN | HR_FLOW_FIN << 1)
#define HR_FLOW_RESET 0x20
#define HR_FLOW_OPEN 0x40 /* << side: that end's groups do not track the flow */

/* Time is kept in ticks of 2^30 nanoseconds, because a division costs more than the rest. */
#define HR_TICKS(seconds) (((seconds) * 1000000000ULL + (1 << 30) - 1) >> 30)

/* Idle timeouts as nf_conntrack has them; those of established TCP and UDP are the interfaces'
 * (hr_interface.idle): of a flow's two, the shorter. */
#define HR_TIMEOUT_TCP_OPENING HR_TICKS(120)
#define HR_TIMEOUT_TCP_CLOSING HR_TICKS(120)
#define HR_TIMEOUT_TCP_RESET HR_TICKS(10)
#define HR_TIMEOUT_ICMP HR_TICKS(30)
#define HR_TIMEOUT_OTHER HR_TICKS(600)
#define HR_TIMEOUT_FRAGMENT HR_TICKS(30)

#define HR_ICMP_UNTRACKED 0xff
#define HR_ICMP_ECHO 8
#define HR_ICMPV6_ECHO 128
#define HR_ICMPV6_ECHO_REPLY 129

static __always_inline __u32 hr_flow_now(void)
{
	return bpf_ktime_get_coarse_ns() >> 30;
}

/* One end of a flow. */
struct hr_flow_end {
	__u32 end; /* see hr_flow_key */
	__be32 address;
	__u16 port;
};

/* The request type an ICMP type belongs to (RFC 792, RFC 950), or HR_ICMP_UNTRACKED. */
static __always_inline __u8 hr_flow_icmp_request(__u8 type, __u32 *is_reply)
{
	*is_reply = type == 0 || type == 14 || type == 16 || type == 18;
	switch (type) {
	case 0:
	case 8:
		return 8;
	case 13:
	case 14:
		return 13;
	case 15:
	case 16:
		return 15;
	case 17:
	case 18:
		return 17;
	}
	return HR_ICMP_UNTRACKED;
}

/* Of ICMPv6 (RFC 4443) only echoes are; they are called what they are in ICMP. */
static __always_inline __u8 hr_flow_icmpv6_request(__u8 type, __u32 *is_reply)
{
	*is_reply = type == HR_ICMPV6_ECHO_REPLY;
	return type == HR_ICMPV6_ECHO || *is_reply ? HR_ICMP_ECHO : HR_ICMP_UNTRACKED;
}

/* How the addresses of an IPv6 packet are ordered whose last words are equal: as by strcmp. */
static __always_inline int hr_flow_order(const struct hr_ipv6 *ip)
{
	const __be32 *a = ip->source, *b = ip->destination;
	__u64 high_a = (__u64)a[0] << 32 | a[1], high_b = (__u64)b[0] << 32 | b[1];

	if (high_a != high_b)
		return high_a > high_b ? 1 : -1;
	return (a[2] > b[2]) - (a[2] < b[2]);
}

/* The sender's side of a packet from `a` to `b`, whose `order` is hr_flow_order's or 0. */
static __always_inline __u32 hr_flow_side(const struct hr_flow_end *a, const struct hr_flow_end *b,
					  int order)
{
	if (a->address != b->address)
		return a->address > b->address;
	if (order)
		return order > 0;
	if (a->port != b->port)
		return a->port > b->port;
	return a->end > b->end;
}

static __always_inline int hr_flow_is_icmp(const struct hr_packet *p, const struct hr_ipv6 *ip)
{
	return p->protocol == (ip ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* The key of the flow that `p` belongs to, and the sender's side; false: it is not tracked. For IPv6
 * the key is the start of a struct hr_flow_key_v6. */
static __always_inline int hr_flow_key_of(struct hr_flow_key *key, const struct hr_packet *p,
					  const struct hr_ipv6 *ip, __u32 from, __u32 to,
					  __u32 *side)
{
	struct hr_flow_key_v6 *whole = (struct hr_flow_key_v6 *)key;
	struct hr_flow_end a = { from, p->source, p->source_port };
	struct hr_flow_end b = { to, p->destination, p->destination_port };
	struct hr_flow_end first, second;
	__u32 is_reply = 0;
	__u8 request = 0;

	if (hr_flow_is_icmp(p, ip)) {
		request = ip ? hr_flow_icmpv6_request(p->destination_port >> 8, &is_reply)
			     : hr_flow_icmp_request(p->destination_port >> 8, &is_reply);
		a.port = p->icmp_id;
		b.port = p->icmp_id;
	}
	*side = hr_flow_side(&a, &b, ip ? hr_flow_order(ip) : 0);
	for (int n = 0; ip && n < 3; n++) {
		whole->high[0][n] = *side ? ip->destination[n] : ip->source[n];
		whole->high[1][n] = *side ? ip->source[n] : ip->destination[n];
	}
	first = *side ? b : a;
	second = *side ? a : b;
	key->ends = first.end | (__u64)second.end << 32;
	key->addresses = first.address | (__u64)second.address << 32;
	key->rest = first.port | (__u32)second.port << 16 | (__u64)p->protocol << 32;
	if (hr_flow_is_icmp(p, ip))
		key->rest |= (__u64)(request << 1 | ((*side ^ is_reply) & 1)) << 40;
	return request != HR_ICMP_UNTRACKED;
}

static __always_inline __u32 hr_flow_idle(const struct hr_interface *a, const struct hr_interface *b,
					  __u32 what)
{
	return a->idle[what] < b->idle[what] ? a->idle[what] : b->idle[what];
}

static __always_inline __u32 hr_flow_timeout(__u8 protocol, __u32 state,
					     const struct hr_interface *a,
					     const struct hr_interface *b)
{
	switch (protocol) {
	case IPPROTO_TCP:
		if (state & HR_FLOW_RESET)
			return HR_TIMEOUT_TCP_RESET;
		if (state & HR_FLOW_FINS)
			return HR_TIMEOUT_TCP_CLOSING;
		if (state & HR_FLOW_ESTABLISHED)
			return hr_flow_idle(a, b, HR_IDLE_TCP);
		return HR_TIMEOUT_TCP_OPENING;
	case IPPROTO_UDP:
		return hr_flow_idle(a, b, state & HR_FLOW_REPLIED ? HR_IDLE_STREAM : HR_IDLE_UDP);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return HR_TIMEOUT_ICMP;
	}
	return HR_TIMEOUT_OTHER;
}

/* What a packet from `side` adds to a flow's state. */
static __always_inline __u32 hr_flow_learn(const struct hr_packet *p, __u32 state, __u32 side)
{
	__u32 learnt = 0;

	if (side != (state & HR_FLOW_INITIATOR))
		learnt |= HR_FLOW_REPLIED;
	else if (state & HR_FLOW_REPLIED && !(p->tcp_flags & HR_TCP_SYN))
		learnt |= HR_FLOW_ESTABLISHED;
	if (p->tcp_flags & HR_TCP_FIN)
		learnt |= HR_FLOW_FIN << (side & 1);
	if (p->tcp_flags & HR_TCP_RST)
		learnt |= HR_FLOW_RESET;
	return learnt;
}

/* Whether the packet starts a connection, though an entry exists: a SYN without ACK does, except
 * the initiator's repetition before any reply. It is judged by the rules as they are now. */
static __always_inline int hr_flow_restarts(const struct hr_packet *p, __u32 state, __u32 side)
{
	if ((p->tcp_flags & (HR_TCP_SYN | HR_TCP_ACK)) != HR_TCP_SYN)
		return 0;
	return state & (HR_FLOW_REPLIED | HR_FLOW_FINS | HR_FLOW_RESET) ||
	       side != (state & HR_FLOW_INITIATOR);
}

/* Whether the packet belongs to the flow. */
static __always_inline int hr_flow_has(const struct hr_flow *flow, const struct hr_packet *p,
				       __u32 side, __u32 now)
{
	return (__s32)(flow->expires - now) > 0 && !hr_flow_restarts(p, flow->state, side);
}

/* Keeps the flow alive with a packet that passes; `seen` is what was read of it. */
static __always_inline void hr_flow_touch(struct hr_flow *flow, const struct hr_flow *seen,
					  const struct hr_packet *p, __u32 side, __u32 now,
					  const struct hr_interface *from,
					  const struct hr_interface *to)
{
	__u32 state = seen->state, learnt = hr_flow_learn(p, state, side), expires;

	if (learnt & ~state)
		__sync_fetch_and_or(&flow->state, learnt);
	expires = now + hr_flow_timeout(p->protocol, state | learnt, from, to);
	if (seen->expires != expires) {
		flow->expires = expires;
		flow->used = now;
	}
}

/* See hr_flow.path; `slots` are the sender's and the receiver's. */
static __always_inline __u64 hr_flow_path(__u32 generation, __u32 side, const __u32 slots[2])
{
	return (__u64)generation << 34 | 1ULL << (32 + (side & 1)) |
	       (side ? slots[0] << 16 | slots[1] : slots[1] << 16 | slots[0]);
}

/* Notes that a packet from `side` went the whole way in this generation; not if the entry has become
 * another flow's. */
static __always_inline void hr_flow_pave(struct hr_flow *flow, __u64 old, __u64 path)
{
	if (old >> 34 == path >> 34 && (__u32)old == (__u32)path)
		path |= old & (3ULL << 32);
	if (old != path)
		__sync_val_compare_and_swap(&flow->path, old, path);
}

/* Whether the address changed hands after the flow was last judged in full. */
static __always_inline int hr_flow_outlived(const struct hr_flow *flow, __u32 since)
{
	__u32 age = (since - (__u32)(flow->path >> 34)) & HR_GENERATION;

	return age != 0 && age < HR_GENERATION / 2;
}

static __always_inline int hr_flow_is_icmp_error(const struct hr_packet *p)
{
	__u8 type = p->destination_port >> 8;

	/* Unreachable, source quench, time exceeded, parameter problem (RFC 792); not redirects,
	 * which a VPC has no use for. Unreachable, too big, time exceeded, parameter problem (RFC
	 * 4443). */
	if (p->protocol == IPPROTO_ICMPV6 && p->ethertype == ETH_P_IPV6)
		return type >= 1 && type <= 4;
	return p->protocol == IPPROTO_ICMP && (type == 3 || type == 4 || type == 11 || type == 12);
}

/* What of a quoted transport header names the flow. */
static __always_inline int hr_flow_quoted_ports(struct __sk_buff *skb, struct hr_packet *quoted,
						const struct hr_ipv6 *ip)
{
	struct hr_icmp icmp;
	__be16 pair[2];

	if (hr_flow_is_icmp(quoted, ip)) {
		if (bpf_skb_load_bytes(skb, quoted->l4, &icmp, sizeof(icmp)) < 0)
			return 0;
		quoted->destination_port = (__u16)icmp.type << 8 | icmp.code;
		quoted->icmp_id = bpf_ntohs(icmp.id);
	} else if (quoted->protocol == IPPROTO_TCP || quoted->protocol == IPPROTO_UDP) {
		if (bpf_skb_load_bytes(skb, quoted->l4, pair, sizeof(pair)) < 0)
			return 0;
		quoted->source_port = bpf_ntohs(pair[0]);
		quoted->destination_port = bpf_ntohs(pair[1]);
	}
	return 1;
}

/* The packet an ICMP error quotes: IPv4 header and 8 bytes (RFC 792). */
static __always_inline int hr_flow_quoted(struct __sk_buff *skb, const struct hr_packet *p,
					  struct hr_packet *quoted)
{
	__u32 l3 = p->l4 + sizeof(struct hr_icmp);
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) < 0 || ip.version != 4 || ip.ihl < 5)
		return 0;
	quoted->l4 = l3 + ip.ihl * 4;
	quoted->source_port = 0;
	quoted->destination_port = 0;
	if (quoted->l4 + 8 > p->end || ip.frag_off & bpf_htons(HR_IP_OFFSET))
		return 0;
	quoted->source = ip.saddr;
	quoted->destination = ip.daddr;
	quoted->protocol = ip.protocol;
	return hr_flow_quoted_ports(skb, quoted, 0);
}

/* The packet an ICMPv6 error quotes: as much of it as fits (RFC 4443, 2.4). */
static __always_inline int hr_flow_quoted_v6(struct __sk_buff *skb, const struct hr_packet *p,
					     struct hr_packet *quoted, struct hr_six *six)
{
	struct hr_ipv6_header *ip = &six->header;

	quoted->ethertype = p->ethertype;
	quoted->l3 = p->l4 + sizeof(struct hr_icmp);
	quoted->end = p->end;
	if (quoted->l3 + sizeof(*ip) > p->end ||
	    bpf_skb_load_bytes(skb, quoted->l3, ip, sizeof(*ip)) < 0 || ip->version >> 4 != 6)
		return 0;
	if (hr_parse_ipv6_headers(skb, quoted, &six->quoted, ip) || quoted->fragment ||
	    quoted->l4 + 8 > p->end)
		return 0;
	return hr_flow_quoted_ports(skb, quoted, &six->quoted);
}

static __always_inline void hr_fragment_key_of(struct hr_fragment_key *key,
					       const struct hr_packet *p, __u32 from, __u32 to)
{
	key->from = from;
	key->to = to;
	key->source = p->source;
	key->destination = p->destination;
	key->id = p->id;
	key->protocol = p->protocol;
	key->pad = 0;
}

/* The same for IPv6, where the identification belongs to the addresses alone (RFC 8200, 4.5). */
static __always_inline void hr_fragment_key_of_v6(struct hr_fragment_key_v6 *key,
						  const struct hr_ipv6 *ip, __u32 from, __u32 to)
{
	key->from = from;
	key->to = to;
	__builtin_memcpy(key->source, ip->source, sizeof(key->source));
	__builtin_memcpy(key->destination, ip->destination, sizeof(key->destination));
	key->id = ip->id;
}

static __always_inline void hr_fragment_remember(const struct hr_packet *p, struct hr_six *six,
						 __u32 from, __u32 to, __u32 now)
{
	struct hr_fragment_key key;
	__u32 expires = now + HR_TIMEOUT_FRAGMENT;

	if (six) {
		hr_fragment_key_of_v6(&six->fragment, &six->ip, from, to);
		bpf_map_update_elem(&fragments_v6, &six->fragment, &expires, BPF_ANY);
		return;
	}
	hr_fragment_key_of(&key, p, from, to);
	bpf_map_update_elem(&fragments, &key, &expires, BPF_ANY);
}

static __always_inline int hr_fragment_passes(const struct hr_packet *p, struct hr_six *six,
					      __u32 from, __u32 to, __u32 now)
{
	struct hr_fragment_key key;
	__u32 *expires;

	if (six) {
		hr_fragment_key_of_v6(&six->fragment, &six->ip, from, to);
		expires = bpf_map_lookup_elem(&fragments_v6, &six->fragment);
	} else {
		hr_fragment_key_of(&key, p, from, to);
		expires = bpf_map_lookup_elem(&fragments, &key);
	}
	return expires && (__s32)(*expires - now) > 0;
}
