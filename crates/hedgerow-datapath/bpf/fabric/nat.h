/* NAT gateways. A gateway is an interface of kind HR_KIND_NAT, and its port one end of a veth pair;
 * at the other end hr_nat translates and sends the packet back in at the port. So routes, network
 * ACLs and flow logs see both legs of a flow, each with its own addresses.
 *
 *   client ──► fabric ──► far end: hr_nat ──► port ──► fabric ──► internet gateway or the VPC
 *
 * As "NAT gateway basics" of the Amazon VPC User Guide has it: TCP, UDP and ICMP queries; of
 * fragments UDP's; a port serves several flows if their destinations differ; idle for 350 s, a flow
 * is forgotten, and TCP is told so by RST. A gateway may have several addresses: each has all ports,
 * a flow keeps its address, and one that drains gets no new flows. */
#pragma once

#define HR_NAT_IDLE HR_TICKS(350)
#define HR_NAT_CLOSED HR_TICKS(10)
#define HR_NAT_TRIES 64

/* A flow by what the inside sends (inward 0) or by what the outside answers (inward 1). */
struct hr_nat_key {
	__u32 gateway; /* interface key, never reused: a gateway's flows end with it */
	__be32 remote;
	__be32 client; /* if inward, the gateway's address */
	__u16 remote_port;
	__u16 port; /* the client's; if inward, the gateway's */
	__u8 protocol;
	__u8 inward;
	__u16 pad;
};
_Static_assert(sizeof(struct hr_nat_key) == 20, "no padding");

struct hr_nat_flow {
	__u32 expires; /* ticks */
	__be32 client;
	__be32 address; /* the gateway's */
	__u16 client_port;
	__u16 port;  /* the gateway's */
	__u32 state; /* HR_NAT_FIN << inward, HR_NAT_RESET */
};

#define HR_NAT_FIN 1
#define HR_NAT_FINS 3
#define HR_NAT_RESET 4

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct hr_nat_key);
	__type(value, struct hr_nat_flow);
} nat_flows SEC(".maps");

struct hr_nat_fragment_key {
	__u32 gateway;
	__be32 source;
	__be32 destination;
	__be16 id;
	__u16 pad;
};

struct hr_nat_fragment {
	__u32 expires;
	__be32 address; /* what stands for the source, or if inward for the destination */
};

/* UDP datagrams whose first fragment was translated. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct hr_nat_fragment_key);
	__type(value, struct hr_nat_fragment);
} nat_fragments SEC(".maps");

/* A packet at a gateway. */
struct hr_nat_passage {
	struct hr_passage x;
	struct hr_nat nat;
	struct hr_nat_key key;
	__u32 inward;
	__u32 now;
};

/* Whether the packet is of a kind that is translated; ports stay 0 for what has none. */
static __always_inline int hr_nat_knows(const struct hr_packet *p)
{
	if (p->fragment || p->more_fragments)
		return p->protocol == IPPROTO_UDP;
	return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP ||
	       p->protocol == IPPROTO_ICMP;
}

/* Fills the key that a packet between these ends has. */
static __always_inline void hr_nat_key_of(struct hr_nat_key *key, const struct hr_nat *nat,
					  const struct hr_packet *p, __u32 inward)
{
	int query = p->protocol == IPPROTO_ICMP;

	__builtin_memset(key, 0, sizeof(*key));
	key->gateway = nat->interface;
	key->remote = inward ? p->source : p->destination;
	key->client = inward ? p->destination : p->source;
	if (query) {
		key->port = p->icmp_id;
	} else {
		key->remote_port = inward ? p->source_port : p->destination_port;
		key->port = inward ? p->destination_port : p->source_port;
	}
	key->protocol = p->protocol;
	key->inward = inward;
}

static __always_inline struct hr_nat_flow *hr_nat_find(const struct hr_nat_key *key, __u32 now)
{
	struct hr_nat_flow *flow = bpf_map_lookup_elem(&nat_flows, key);

	return flow && (__s32)(flow->expires - now) > 0 ? flow : 0;
}

static __always_inline void hr_nat_touch(struct hr_nat_flow *flow, const struct hr_packet *p,
					 __u32 inward, __u32 now)
{
	__u32 state = flow->state;

	if ((p->tcp_flags & (HR_TCP_SYN | HR_TCP_ACK)) == HR_TCP_SYN)
		state = 0;
	if (p->tcp_flags & HR_TCP_FIN)
		state |= HR_NAT_FIN << (inward & 1);
	if (p->tcp_flags & HR_TCP_RST)
		state |= HR_NAT_RESET;
	flow->state = state;
	flow->expires = now + ((state & HR_NAT_FINS) == HR_NAT_FINS || state & HR_NAT_RESET
				       ? HR_NAT_CLOSED
				       : HR_NAT_IDLE);
}

/* The answering side of an outward key. */
static __always_inline struct hr_nat_key hr_nat_answer(const struct hr_nat_key *key, __be32 address,
						       __u16 port)
{
	struct hr_nat_key answer = *key;

	answer.client = address;
	answer.port = port;
	answer.inward = 1;
	return answer;
}

/* Takes the answering key for `flow` unless a live flow has it; of two processors one gets it. */
static __always_inline int hr_nat_take(const struct hr_nat_key *answer,
				       const struct hr_nat_flow *flow, __u32 now)
{
	struct hr_nat_flow *idle = bpf_map_lookup_elem(&nat_flows, answer);
	__u32 expires;

	if (idle) {
		expires = *(volatile __u32 *)&idle->expires;
		if ((__s32)(expires - now) > 0 ||
		    __sync_val_compare_and_swap(&idle->expires, expires, flow->expires) != expires)
			return 0;
		bpf_map_delete_elem(&nat_flows, answer);
	}
	return bpf_map_update_elem(&nat_flows, answer, flow, BPF_NOEXIST) == 0;
}

/* Gives the flow of an outward key an address and a port of the gateway that no other flow to that
 * destination has, and returns the port; 0: there is none. Ports are tried at all addresses in turn.
 * A global function, as hr_translate. */
__attribute__((noinline)) int hr_nat_allocate(const struct hr_nat_key *key,
					      const struct hr_nat *nat, __u32 now)
{
	__u32 first, span, fresh, at = bpf_get_prandom_u32(), place, port;
	struct hr_nat_flow flow = { .expires = now + HR_NAT_IDLE };
	struct hr_nat_key answer;

	if (!key || !nat)
		return 0;
	first = nat->ports & 0xffff;
	span = (nat->ports >> 16) - first + 1;
	fresh = nat->fresh;
	flow.client = key->client;
	flow.client_port = key->port;
	for (__u32 n = 0; n < HR_NAT_TRIES && n < span * fresh; n++) {
		place = (at + n) % fresh % HR_NAT_ADDRESSES;
		port = first + (at / HR_NAT_ADDRESSES + n / fresh) % span;
		flow.address = nat->addresses[place];
		flow.port = port;
		answer = hr_nat_answer(key, flow.address, port);
		if (!flow.address || !hr_nat_take(&answer, &flow, now))
			continue;
		return bpf_map_update_elem(&nat_flows, key, &flow, BPF_ANY) == 0 ? port : 0;
	}
	return 0;
}

/* Changes a port of the packet at `offset` from l4, and the transport's checksum. */
static __always_inline void hr_nat_port(struct __sk_buff *skb, const struct hr_packet *p,
					__u32 offset, __u16 old, __u16 new)
{
	__be16 from = bpf_htons(old), to = bpf_htons(new);
	__u32 check = p->l4, flags = sizeof(to);

	if (p->protocol == IPPROTO_TCP) {
		check += __builtin_offsetof(struct tcphdr, check);
	} else if (p->protocol == IPPROTO_UDP) {
		check += __builtin_offsetof(struct udphdr, check);
		flags |= BPF_F_MARK_MANGLED_0;
	} else {
		check += __builtin_offsetof(struct hr_icmp, checksum);
	}
	bpf_l4_csum_replace(skb, check, from, to, flags);
	bpf_skb_store_bytes(skb, p->l4 + offset, &to, sizeof(to), 0);
}

/* The same in what an ICMP error quotes; `quoted.l4` is where. The error's checksum follows. */
static __always_inline void hr_nat_quoted_port(struct __sk_buff *skb, const struct hr_packet *p,
					       const struct hr_packet *quoted, __u32 offset,
					       __u16 old, __u16 new)
{
	__be16 from = bpf_htons(old), to = bpf_htons(new);

	bpf_l4_csum_replace(skb, p->l4 + __builtin_offsetof(struct hr_icmp, checksum), from, to,
			    sizeof(to));
	bpf_skb_store_bytes(skb, quoted->l4 + offset, &to, sizeof(to), 0);
}

/* Where a port is: the source's, the destination's, or a query's id. */
static __always_inline __u32 hr_nat_port_at(__u8 protocol, __u32 source)
{
	if (protocol == IPPROTO_ICMP)
		return __builtin_offsetof(struct hr_icmp, id);
	return source ? 0 : 2;
}

/* An ICMP error about a translated flow: header, quoted header and quoted port. */
static __always_inline __u32 hr_nat_error(struct __sk_buff *skb, struct hr_nat_passage *n)
{
	struct hr_packet *p = &n->x.packet, quoted = {}, mirrored;
	const struct hr_nat_flow *flow;
	__be32 client, address;
	__u16 own, port;

	if (!hr_flow_quoted(skb, p, &quoted))
		return HR_NAT_UNSOLICITED;
	/* As a packet the other way would have been. */
	mirrored = quoted;
	mirrored.source = quoted.destination;
	mirrored.destination = quoted.source;
	mirrored.source_port = quoted.destination_port;
	mirrored.destination_port = quoted.source_port;
	hr_nat_key_of(&n->key, &n->nat, &mirrored, n->inward);
	flow = hr_nat_find(&n->key, n->now);
	if (!flow || quoted.source != (n->inward ? p->destination : quoted.source) ||
	    quoted.destination != (n->inward ? quoted.destination : p->source))
		return HR_NAT_UNSOLICITED;
	client = flow->client;
	address = flow->address;
	own = flow->client_port;
	port = flow->port;
	if (n->inward) {
		hr_nat_quoted_port(skb, p, &quoted, hr_nat_port_at(quoted.protocol, 1), port, own);
		hr_translate(skb, hr_at(p), HR_DESTINATION, address, client);
	} else {
		hr_nat_quoted_port(skb, p, &quoted, hr_nat_port_at(quoted.protocol, 0), own, port);
		hr_translate(skb, hr_at(p), HR_SOURCE, client, address);
	}
	return HR_ALLOWED;
}

static __always_inline void hr_nat_fragment_key_of(struct hr_nat_fragment_key *key,
						   const struct hr_nat_passage *n)
{
	const struct hr_packet *p = &n->x.packet;

	key->gateway = n->nat.interface;
	key->source = p->source;
	key->destination = p->destination;
	key->id = p->id;
	key->pad = 0;
}

/* A later fragment: as the first one, if that passed. */
static __always_inline __u32 hr_nat_later(struct __sk_buff *skb, struct hr_nat_passage *n)
{
	const struct hr_packet *p = &n->x.packet;
	const struct hr_nat_fragment *first;
	struct hr_nat_fragment_key key;

	hr_nat_fragment_key_of(&key, n);
	first = bpf_map_lookup_elem(&nat_fragments, &key);
	if (!first || (__s32)(first->expires - n->now) <= 0)
		return HR_FRAGMENT;
	if (n->inward)
		hr_translate(skb, hr_at(p), HR_DESTINATION, p->destination, first->address);
	else
		hr_translate(skb, hr_at(p), HR_SOURCE, p->source, first->address);
	return HR_ALLOWED;
}

static __always_inline void hr_nat_remember(const struct hr_nat_passage *n, __be32 address)
{
	struct hr_nat_fragment first = { .expires = n->now + HR_TIMEOUT_FRAGMENT,
					 .address = address };
	struct hr_nat_fragment_key key;

	hr_nat_fragment_key_of(&key, n);
	bpf_map_update_elem(&nat_fragments, &key, &first, BPF_ANY);
}

/* Whether an ICMP message may start a flow (a query), or belong to one the other way (a reply). */
static __always_inline int hr_nat_query(const struct hr_packet *p, __u32 inward)
{
	__u32 is_reply;

	return p->protocol != IPPROTO_ICMP ||
	       (hr_flow_icmp_request(p->destination_port >> 8, &is_reply) != HR_ICMP_UNTRACKED &&
		is_reply == inward);
}

/* From outside: to whom it was that asked. */
static __always_inline __u32 hr_nat_in(struct __sk_buff *skb, struct hr_nat_passage *n)
{
	const struct hr_packet *p = &n->x.packet;
	struct hr_nat_flow *flow = hr_nat_query(p, 1) ? hr_nat_find(&n->key, n->now) : 0;
	__u16 own, port;
	__be32 client;

	if (!flow)
		return HR_NAT_UNSOLICITED;
	hr_nat_touch(flow, p, 1, n->now);
	client = flow->client;
	own = flow->client_port;
	port = n->key.port;
	if (p->more_fragments)
		hr_nat_remember(n, client);
	hr_translate(skb, hr_at(p), HR_DESTINATION, p->destination, client);
	hr_nat_port(skb, p, hr_nat_port_at(p->protocol, 0), port, own);
	return HR_ALLOWED;
}

/* Whether the address is one of the gateway's, fresh or not. */
static __always_inline int hr_nat_owns(const struct hr_nat *nat, __be32 address)
{
	__u32 owns = 0;

	/* Without branches, which the verifier would follow: of words of 64 bits, 0 - 1 alone has the
	 * highest bit. */
	for (int place = 0; place < HR_NAT_ADDRESSES; place++)
		owns |= ((__u64)(nat->addresses[place] ^ address) - 1) >> 63;
	return owns;
}

/* The port of the gateway for a packet from inside, and its *address; 0: it has none, for *reason. */
static __always_inline __u32 hr_nat_port_of(struct hr_nat_passage *n, __be32 *address, __u32 *reason)
{
	const struct hr_packet *p = &n->x.packet;
	struct hr_nat_flow *flow = hr_nat_find(&n->key, n->now);
	struct hr_nat_flow *answers;
	struct hr_nat_key answer;
	__u32 port;

	if (flow && !hr_nat_owns(&n->nat, flow->address))
		flow = 0;
	if (flow) {
		port = flow->port;
		*address = flow->address;
		answer = hr_nat_answer(&n->key, *address, port);
		answers = bpf_map_lookup_elem(&nat_flows, &answer);
		/* Each is kept or forgotten by itself: the table is as full as it gets. */
		if (answers && answers->client == n->key.client &&
		    answers->client_port == n->key.port) {
			hr_nat_touch(answers, p, 0, n->now);
			flow->expires = answers->expires;
			return port;
		}
	}
	*reason = HR_NAT_IDLE_FLOW;
	if (!flow && p->protocol == IPPROTO_TCP &&
	    (p->tcp_flags & (HR_TCP_SYN | HR_TCP_ACK)) != HR_TCP_SYN)
		return 0;
	*reason = HR_NAT_PORTS;
	port = hr_nat_allocate(&n->key, &n->nat, n->now);
	flow = port ? bpf_map_lookup_elem(&nat_flows, &n->key) : 0;
	if (!flow)
		return 0;
	*address = flow->address;
	return port;
}

/* From inside: from an address of the gateway and a port of it. */
static __always_inline __u32 hr_nat_out(struct __sk_buff *skb, struct hr_nat_passage *n)
{
	const struct hr_packet *p = &n->x.packet;
	__u32 port, reason = HR_NAT_PROTOCOL;
	__be32 address = 0;

	if (!hr_nat_query(p, 0))
		return reason;
	port = hr_nat_port_of(n, &address, &reason);
	if (!port)
		return reason;
	if (p->more_fragments)
		hr_nat_remember(n, address);
	hr_translate(skb, hr_at(p), HR_SOURCE, p->source, address);
	hr_nat_port(skb, p, hr_nat_port_at(p->protocol, 1), n->key.port, port);
	return HR_ALLOWED;
}

/* Sends the frame in at the gateway's port, from the gateway. */
static __always_inline int hr_nat_send(struct __sk_buff *skb, const struct hr_nat_passage *n)
{
	const __u8 router[6] = HR_ROUTER_MAC;

	hr_forward_macs(skb, router, n->x.packet.destination_mac);
	return bpf_redirect(n->nat.near, BPF_F_INGRESS);
}

struct hr_nat_reset {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct hr_nat_pseudo {
	__be32 source;
	__be32 destination;
	__u8 zero;
	__u8 protocol;
	__be16 length;
};

/* Makes of a TCP segment the RST that answers it; `at` is hr_at's. A global function, as
 * hr_translate. Returns 0, or negative if that fails. */
__attribute__((noinline)) int hr_nat_reset(struct __sk_buff *skb, __u32 at)
{
	__u32 l3 = at & 255, l4 = at >> 8 & 255;
	struct hr_nat_reset reset = {};
	struct hr_nat_pseudo pseudo = {};
	struct tcphdr tcp;
	struct iphdr ip;
	__s64 sum;

	if (bpf_skb_load_bytes(skb, l3, &ip, sizeof(ip)) < 0 ||
	    bpf_skb_load_bytes(skb, l4, &tcp, sizeof(tcp)) < 0 ||
	    bpf_skb_change_tail(skb, l3 + sizeof(reset), 0) < 0)
		return -1;
	reset.ip.version = 4;
	reset.ip.ihl = 5;
	reset.ip.tot_len = bpf_htons(sizeof(reset));
	reset.ip.ttl = 255;
	reset.ip.protocol = IPPROTO_TCP;
	reset.ip.saddr = ip.daddr;
	reset.ip.daddr = ip.saddr;
	sum = bpf_csum_diff(0, 0, (void *)&reset.ip, sizeof(reset.ip), 0);
	reset.ip.check = hr_icmp_fold(sum);
	reset.tcp.source = tcp.dest;
	reset.tcp.dest = tcp.source;
	reset.tcp.seq = tcp.ack_seq;
	reset.tcp.doff = 5;
	reset.tcp.rst = 1;
	pseudo.source = reset.ip.saddr;
	pseudo.destination = reset.ip.daddr;
	pseudo.protocol = IPPROTO_TCP;
	pseudo.length = bpf_htons(sizeof(reset.tcp));
	sum = bpf_csum_diff(0, 0, (void *)&pseudo, sizeof(pseudo), 0);
	sum = bpf_csum_diff(0, 0, (void *)&reset.tcp, sizeof(reset.tcp), sum);
	reset.tcp.check = hr_icmp_fold(sum);
	return bpf_skb_store_bytes(skb, l3, &reset, sizeof(reset), 0);
}

/* Whether a client is told that the connection of its segment was forgotten. */
static __always_inline int hr_nat_may_reset(const struct hr_packet *p)
{
	return (p->tcp_flags & (HR_TCP_RST | HR_TCP_ACK)) == HR_TCP_ACK;
}

/* A NAT gateway is a hop. */
static __always_inline void hr_nat_age(struct __sk_buff *skb, const struct hr_packet *p)
{
	__be16 old = bpf_htons((__u16)p->ttl << 8 | p->protocol);
	__be16 new = bpf_htons((__u16)(p->ttl - 1) << 8 | p->protocol);

	bpf_l3_csum_replace(skb, p->l3 + __builtin_offsetof(struct iphdr, check), old, new,
			    sizeof(new));
	bpf_skb_store_bytes(skb, p->l3 + __builtin_offsetof(struct iphdr, ttl), &new, sizeof(new), 0);
}

static __always_inline __u32 hr_nat_translate(struct __sk_buff *skb, struct hr_nat_passage *n)
{
	struct hr_packet *p = &n->x.packet;

	if (!hr_nat_knows(p))
		return HR_NAT_PROTOCOL;
	if (p->ttl <= 1)
		return HR_TTL_EXCEEDED;
	if (p->fragment)
		return hr_nat_later(skb, n);
	if (hr_flow_is_icmp_error(p))
		return hr_nat_error(skb, n);
	hr_nat_key_of(&n->key, &n->nat, p, n->inward);
	return n->inward ? hr_nat_in(skb, n) : hr_nat_out(skb, n);
}

static __always_inline int hr_nat(struct __sk_buff *skb)
{
	struct hr_nat_passage n = { .x = { .rules = { HR_NO_RULE, HR_NO_RULE } } };
	__u32 ifindex = skb->ifindex, bytes = skb->len, reason;
	struct hr_packet *p = &n.x.packet;
	const struct hr_nat *known = bpf_map_lookup_elem(&nats, &ifindex);

	if (!known)
		return TC_ACT_SHOT;
	n.nat = *known;
	barrier();
	if (*(const volatile __u32 *)&known->far != ifindex)
		return TC_ACT_SHOT;
	n.x.vpc = n.nat.vpc;
	n.x.from = n.nat.interface;
	n.now = hr_flow_now();
	reason = hr_parse_ethernet(skb, p);
	if (!reason)
		reason = p->ethertype == ETH_P_IP ? hr_parse_datagram(skb, p)
						  : HR_UNSUPPORTED_PROTOCOL;
	n.inward = hr_nat_owns(&n.nat, p->destination);
	if (!reason)
		reason = hr_nat_translate(skb, &n);
	if (!reason) {
		hr_nat_age(skb, p);
		return hr_nat_send(skb, &n);
	}
	hr_count(reason);
	hr_report(&n.x, reason, bytes);
	if (reason == HR_NAT_IDLE_FLOW && hr_nat_may_reset(p) && hr_nat_reset(skb, hr_at(p)) == 0)
		return hr_nat_send(skb, &n);
	if (reason == HR_TTL_EXCEEDED && hr_icmp_may_answer(p) &&
	    hr_icmp_answer(skb, hr_at(p), HR_ICMP_TIME_EXCEEDED << 16,
			   n.nat.addresses[0], p->source) == 0)
		return hr_nat_send(skb, &n);
	return TC_ACT_SHOT;
}
