/* ICMP errors that the VPC sends itself: too big for the way, time exceeded. */
#pragma once

#define HR_ICMP_FRAGMENTATION_NEEDED 0x0304 /* type << 8 | code */
#define HR_ICMP_TIME_EXCEEDED 0x0b00

struct hr_icmp_head {
	struct iphdr ip;
	struct hr_icmp icmp; /* id and sequence: 0 and the next hop's MTU (RFC 1191) */
};
_Static_assert(sizeof(struct hr_icmp_head) == 28, "no padding");

#define HR_ICMP_QUOTE 68 /* the longest IPv4 header and 8 bytes */

/* Whether an error may be sent about the packet (RFC 1122, 3.2.2). */
static __always_inline int hr_icmp_may_answer(const struct hr_packet *p)
{
	return !p->fragment && !hr_flow_is_icmp_error(p);
}

struct hr_icmp_scratch {
	struct hr_icmp_head head;
	__u8 quote[HR_ICMP_QUOTE];
};

/* An error under way; the stack has no room for it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_icmp_scratch);
} icmp_scratch SEC(".maps");

/* Turns the frame into an error from `source` to `to` about itself. `at` is hr_at's, `what` the
 * error's type << 24 | code << 16 | the next hop's MTU. A global function, as hr_translate.
 * Returns 0, or negative if that fails. */
__attribute__((noinline)) int hr_icmp_answer(struct __sk_buff *skb, __u32 at, __u32 what,
					     __be32 source, __be32 to)
{
	__u32 l3 = at & 255, l4 = at >> 8 & 255, length = l4 - l3 + 8, zero = 0;
	struct hr_icmp_scratch *s = bpf_map_lookup_elem(&icmp_scratch, &zero);
	__s64 sum;

	if (!s || length < 28 || length > HR_ICMP_QUOTE)
		return -1;
	__builtin_memset(s, 0, sizeof(*s));
	if (bpf_skb_load_bytes(skb, l3, s->quote, length) < 0)
		return -1;
	/* Also no longer to be segmented. */
	if (bpf_skb_change_tail(skb, l3 + sizeof(s->head) + length, 0) < 0)
		return -1;
	s->head.ip.version = 4;
	s->head.ip.ihl = 5;
	s->head.ip.tot_len = bpf_htons(sizeof(s->head) + length);
	s->head.ip.ttl = 255;
	s->head.ip.protocol = IPPROTO_ICMP;
	s->head.ip.saddr = source;
	s->head.ip.daddr = to;
	sum = bpf_csum_diff(0, 0, (void *)&s->head.ip, sizeof(s->head.ip), 0);
	s->head.ip.check = hr_icmp_fold(sum);
	s->head.icmp.type = what >> 24;
	s->head.icmp.code = what >> 16;
	s->head.icmp.sequence = bpf_htons(what & 0xffff);
	/* What was not filled is zero, and adds nothing. */
	sum = bpf_csum_diff(0, 0, (void *)&s->head.icmp, sizeof(s->head.icmp) + HR_ICMP_QUOTE, 0);
	s->head.icmp.checksum = hr_icmp_fold(sum);
	if (bpf_skb_store_bytes(skb, l3, &s->head, sizeof(s->head), 0) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, l3 + sizeof(s->head), s->quote, length, 0);
}
