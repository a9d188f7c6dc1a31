/* IPv4 packets that are too large for where they go, and may be fragmented (RFC 791).
 *
 * No helper fragments. The frame is cloned once per fragment to the loopback device, with the
 * receiver's slot and the fragment's number in its mark; there another program cuts the fragment out
 * and hands it on. */
#pragma once

#define HR_SLICE_LOOPBACK 1 /* ifindex of the loopback device in every namespace */
#define HR_SLICE_MOST 64
#define HR_SLICE_CUT 4088 /* bpf_skb_adjust_room takes no more than 4095 at once */
#define HR_SLICE_BLOCK 256

struct hr_slice_block {
	__u64 words[HR_SLICE_BLOCK / 8];
};

/* Bytes whose checksum is taken; the stack has no room for them. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_slice_block);
} slice_scratch SEC(".maps");

/* Whether the packet may be fragmented here. One that is still to be segmented does not come to that
 * with its sender knowing the way; options would have to be sorted (RFC 791, 3.1). */
static __always_inline int hr_slice_may(struct __sk_buff *skb, const struct hr_packet *p)
{
	__be16 field;

	if (skb->gso_size || p->l4 - p->l3 != sizeof(struct iphdr))
		return 0;
	return bpf_skb_load_bytes(skb, p->l3 + __builtin_offsetof(struct iphdr, frag_off), &field,
				  sizeof(field)) == 0 &&
	       !(field & bpf_htons(0x4000));
}

/* Bytes of payload in every fragment but the last. */
static __always_inline __u32 hr_slice_room(__u32 mtu)
{
	return (mtu - sizeof(struct iphdr)) & ~7;
}

/* The one's complement sum of the frame from `from` to `end`, folded. */
static __always_inline __s64 hr_slice_sum(struct __sk_buff *skb, __u32 from, __u32 end, __s64 sum)
{
	__u32 zero = 0;
	struct hr_slice_block *block = bpf_map_lookup_elem(&slice_scratch, &zero);
	__u32 length;

	if (!block)
		return -1;
	for (__u32 n = 0; n < 65536 / HR_SLICE_BLOCK && from + HR_SLICE_BLOCK <= end; n++) {
		if (bpf_skb_load_bytes(skb, from, block, HR_SLICE_BLOCK) < 0)
			return -1;
		sum = bpf_csum_diff(0, 0, (void *)block, HR_SLICE_BLOCK, sum);
		from += HR_SLICE_BLOCK;
	}
	length = end - from;
	/* Lest the compiler compares the two instead, of which the verifier learns nothing. */
	asm volatile("" : "+r"(length));
	if (length < 1 || length >= HR_SLICE_BLOCK)
		return sum;
	__builtin_memset(block, 0, sizeof(*block));
	if (bpf_skb_load_bytes(skb, from, block, length) < 0)
		return -1;
	return bpf_csum_diff(0, 0, (void *)block, HR_SLICE_BLOCK, sum);
}

/* Writes the transport's checksum, which a sender on this machine leaves to its device: no device
 * sees the datagram whole again. A global function, as hr_translate. Returns 0, or negative. */
__attribute__((noinline)) int hr_slice_check(struct __sk_buff *skb, __u32 at, __u32 end)
{
	__u32 l3 = at & 255, l4 = at >> 8 & 255, protocol = at >> 16 & 255, offset = l4;
	struct {
		__be32 source;
		__be32 destination;
		__be16 protocol;
		__be16 length;
	} pseudo;
	__be16 check;
	__s64 sum;

	if (protocol == IPPROTO_TCP)
		offset += __builtin_offsetof(struct tcphdr, check);
	else if (protocol == IPPROTO_UDP)
		offset += __builtin_offsetof(struct udphdr, check);
	else
		return 0;
	if (bpf_skb_load_bytes(skb, offset, &check, sizeof(check)) < 0 ||
	    bpf_skb_load_bytes(skb, l3 + HR_SOURCE, &pseudo, 8) < 0)
		return -1;
	if (protocol == IPPROTO_UDP && !check)
		return 0;
	check = 0;
	if (bpf_skb_store_bytes(skb, offset, &check, sizeof(check), 0) < 0)
		return -1;
	pseudo.protocol = bpf_htons(protocol);
	pseudo.length = bpf_htons(end - l4);
	sum = bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0);
	check = hr_icmp_fold(hr_slice_sum(skb, l4, end, sum));
	if (!check && protocol == IPPROTO_UDP)
		check = 0xffff;
	return bpf_skb_store_bytes(skb, offset, &check, sizeof(check), 0);
}

/* Sends the packet in fragments of at most `mtu` bytes to the interface in `slot`, the frame's
 * addresses being what they shall be. A global function, as hr_translate. */
__attribute__((noinline)) int hr_slice_send(struct __sk_buff *skb, __u32 payload, __u32 slot,
					    __u32 mtu)
{
	__u32 room = hr_slice_room(mtu);

	for (__u32 n = 0; n < HR_SLICE_MOST && n * room < payload; n++) {
		skb->mark = slot | n << 16;
		if (bpf_clone_redirect(skb, HR_SLICE_LOOPBACK, BPF_F_INGRESS) < 0)
			break;
	}
	return TC_ACT_SHOT;
}

static __always_inline int hr_slice(struct __sk_buff *skb, const struct hr_packet *p,
				    const struct hr_interface *from, const struct hr_interface *to,
				    __u32 slot)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	__u32 mtu = to->mtu;

	if (!p->fragment && !p->more_fragments && hr_slice_check(skb, hr_at(p), p->end) < 0)
		return TC_ACT_SHOT;
	hr_forward_macs(skb, to->mac, hr_forward_same_subnet(from, to) ? from->mac : router);
	return hr_slice_send(skb, p->end - p->l4, slot, mtu);
}

/* Takes off the first `length` bytes after the IPv4 header. */
static __always_inline int hr_slice_behead(struct __sk_buff *skb, __u32 length)
{
	/* The last eight by themselves: after the step before them the kernel has seen that what it was
	 * to compute a checksum over is gone. */
	__u32 rest = length - 8;

	for (__u32 n = 0; n < 65536 / HR_SLICE_CUT + 1 && rest; n++) {
		__u32 step = rest < HR_SLICE_CUT ? rest : HR_SLICE_CUT;

		if (bpf_skb_adjust_room(skb, -(__s32)step, BPF_ADJ_ROOM_NET, 0) < 0)
			return -1;
		rest -= step;
	}
	return bpf_skb_adjust_room(skb, -8, BPF_ADJ_ROOM_NET, 0);
}

#define HR_SLICE_HEAD 48 /* more than what lies before the transport header, by the eight above */

/* Makes the kernel forget that it was to compute a checksum: it is there. */
static __always_inline int hr_slice_settle(struct __sk_buff *skb, __u32 l4)
{
	__u8 head[HR_SLICE_HEAD];

	if (bpf_skb_load_bytes(skb, l4, head, sizeof(head)) < 0 ||
	    hr_slice_behead(skb, sizeof(head)) < 0 ||
	    bpf_skb_adjust_room(skb, sizeof(head), BPF_ADJ_ROOM_NET, 0) < 0)
		return -1;
	return bpf_skb_store_bytes(skb, l4, head, sizeof(head), 0);
}

/* Makes of a whole packet the fragment of `length` bytes that begins `start` bytes into it. */
static __always_inline int hr_slice_cut(struct __sk_buff *skb, const struct hr_packet *p,
					__u32 start, __u32 length)
{
	__u32 more = p->more_fragments || p->l4 + start + length < p->end;
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, p->l3, &ip, sizeof(ip)) < 0 ||
	    bpf_skb_change_tail(skb, p->l4 + start + length, 0) < 0 ||
	    (start ? hr_slice_behead(skb, start) : hr_slice_settle(skb, p->l4)) < 0)
		return -1;
	ip.tot_len = bpf_htons(sizeof(ip) + length);
	ip.frag_off = bpf_htons((p->fragment + start / 8) | (more ? HR_IP_MORE_FRAGMENTS : 0));
	ip.check = 0;
	ip.check = hr_icmp_fold(bpf_csum_diff(0, 0, (void *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, p->l3, &ip, sizeof(ip), 0);
}

/* At the loopback device: one of the clones. */
static __always_inline int hr_slice_take(struct __sk_buff *skb)
{
	__u32 slot = skb->mark & 0xffff, number = skb->mark >> 16, start, length;
	const struct hr_interface *to = bpf_map_lookup_elem(&interfaces, &slot);
	struct hr_packet p = {};

	/* Nothing else has any business there. */
	if (!to || hr_parse_ethernet(skb, &p) || p.ethertype != ETH_P_IP ||
	    hr_parse_ipv4(skb, &p) || p.l4 - p.l3 != sizeof(struct iphdr))
		return TC_ACT_SHOT;
	skb->mark = 0;
	length = hr_slice_room(to->mtu);
	start = number * length;
	if (p.l4 + start >= p.end)
		return TC_ACT_SHOT;
	if (length > p.end - p.l4 - start)
		length = p.end - p.l4 - start;
	if (hr_slice_cut(skb, &p, start, length) < 0)
		return TC_ACT_SHOT;
	return hr_forward_to_interface(skb, &p, to, p.source_mac);
}
