/* What passed and what was dropped, flow by flow, for the flow logs of the API. Only where one of the
 * packet's interfaces wants it (hr_interface.logged); nothing is looked up or written otherwise.
 *
 * Two tables take turns, so that the one that user space empties is not written to: it turns, lets
 * the programs that still run end, and takes everything out of the other one. A packet is counted
 * where it left the sender, once for both ends.
 */
#pragma once

struct hr_account_key {
	__u32 from; /* interface keys, 0: not known */
	__u32 to;
	__be32 source[4]; /* IPv4: the first word */
	__be32 destination[4];
	__u16 source_port; /* host order; 0 unless TCP or UDP */
	__u16 destination_port;
	__u16 ethertype;
	__u8 protocol;
	__u8 reason;
};
_Static_assert(sizeof(struct hr_account_key) == 48, "layout.rs");

struct hr_account {
	__u64 packets; /* as on a wire: segments, where the sender's stack left that to the card */
	__u64 bytes;   /* of their IP packets */
	__u64 first;   /* nanoseconds of CLOCK_MONOTONIC */
	__u64 last;
	__u32 flags;   /* of TCP: HR_TCP_…, all that were seen */
	__u32 pad;
};
_Static_assert(sizeof(struct hr_account) == 40, "layout.rs");

#define HR_ACCOUNTS(name)                                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, 65536);                                                        \
		__type(key, struct hr_account_key);                                                \
		__type(value, struct hr_account);                                                  \
	} name SEC(".maps")

HR_ACCOUNTS(accounts_even);
HR_ACCOUNTS(accounts_odd);

/* Counts the turns. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} account_turn SEC(".maps");

/* Packets that the tables had no room for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} unaccounted SEC(".maps");

/* Length of the headers that every segment of the packet repeats. */
static __always_inline __u32 hr_account_headers(struct __sk_buff *skb, const struct hr_packet *p)
{
	__u32 network = p->l4 - p->l3;
	__u8 length;

	if (p->protocol != IPPROTO_TCP)
		return network + sizeof(struct udphdr);
	if (HR_READ(skb, p->l4 + 12, &length) < 0)
		return network + sizeof(struct tcphdr);
	return network + (length >> 4) * 4;
}

static __always_inline void hr_account_add(void *table, const struct hr_account_key *key,
					   const struct hr_account *more)
{
	struct hr_account *account = bpf_map_lookup_elem(table, key);
	__u32 zero = 0;
	__u64 *lost;

	/* Another processor may make the entry meanwhile: then it is there. */
	if (!account && bpf_map_update_elem(table, key, more, BPF_NOEXIST) == 0)
		return;
	if (!account)
		account = bpf_map_lookup_elem(table, key);
	if (account) {
		__sync_fetch_and_add(&account->packets, more->packets);
		__sync_fetch_and_add(&account->bytes, more->bytes);
		if (more->flags & ~account->flags)
			__sync_fetch_and_or(&account->flags, more->flags);
		account->last = more->last;
		return;
	}
	lost = bpf_map_lookup_elem(&unaccounted, &zero);
	if (lost)
		*lost += 1;
}

/* What is being counted: the stack has no room for it. */
struct hr_account_draft {
	struct hr_account_key key;
	struct hr_account more;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_account_draft);
} account_draft SEC(".maps");

static __always_inline void hr_account_key_of(struct hr_account_key *key, const struct hr_passage *x,
					      __u32 reason)
{
	const struct hr_packet *p = &x->packet;
	const struct hr_six *packet;
	__u32 zero = 0;

	__builtin_memset(key, 0, sizeof(*key));
	key->from = x->from;
	key->to = x->to;
	if (p->ethertype == ETH_P_IPV6) {
		packet = bpf_map_lookup_elem(&six, &zero);
		if (packet) {
			__builtin_memcpy(key->source, packet->ip.source, sizeof(key->source));
			__builtin_memcpy(key->destination, packet->ip.destination,
					 sizeof(key->destination));
		}
	} else {
		key->source[0] = p->source;
		key->destination[0] = p->destination;
	}
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) {
		key->source_port = p->source_port;
		key->destination_port = p->destination_port;
	}
	key->ethertype = p->ethertype;
	key->protocol = p->protocol;
	key->reason = reason;
}

/* Counts a packet of which sender and receiver are noted; `bytes` is the frame's length as it came. */
__attribute__((noinline)) int hr_account(struct __sk_buff *skb, const struct hr_passage *x, __u32 reason,
				 __u32 bytes)
{
	__u32 zero = 0, segments = skb->gso_segs;
	struct hr_account_draft *draft = bpf_map_lookup_elem(&account_draft, &zero);
	const __u32 *turn = bpf_map_lookup_elem(&account_turn, &zero);
	const struct hr_packet *p;
	struct hr_account *more;

	if (!x || !draft || !turn)
		return 0;
	p = &x->packet;
	more = &draft->more;
	hr_account_key_of(&draft->key, x, reason);
	more->packets = 1;
	more->bytes = p->end > p->l3 ? p->end - p->l3 : bytes - p->l3;
	if (segments > 1) {
		more->packets = segments;
		more->bytes = bytes - p->l3 + (segments - 1) * hr_account_headers(skb, p);
	}
	more->first = bpf_ktime_get_ns();
	more->last = more->first;
	/* EC2 reports ACK only with SYN. */
	more->flags = p->tcp_flags & (p->tcp_flags & HR_TCP_SYN ? ~0 : ~HR_TCP_ACK);
	more->pad = 0;
	if (*(volatile const __u32 *)turn & 1)
		hr_account_add(&accounts_odd, &draft->key, more);
	else
		hr_account_add(&accounts_even, &draft->key, more);
	return 0;
}

/* Counts a dropped packet, if an interface that it got to wants to know. */
static __always_inline void hr_account_drop(struct __sk_buff *skb, const struct hr_passage *x,
					    __u32 reason, __u32 bytes)
{
	const struct hr_interface *from = hr_interface_of(x->from);
	const struct hr_interface *to = hr_interface_of(x->to);

	if ((from && from->logged) || (to && to->logged))
		hr_account(skb, x, reason, bytes);
}
