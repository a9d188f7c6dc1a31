/* Headers of a frame, bounds-checked: Ethernet, 802.1Q, ARP, IPv4, IPv6, TCP, UDP, ICMP, ICMPv6.
 *
 * Headers are read from the linear part of the packet, which nearly always holds them, or else with
 * bpf_skb_load_bytes: paged (non-linear) and GSO packets need no pull.
 * Offsets count from the MAC header, which is where skb->data is at tc and tcx, ingress and egress.
 * Each parser returns HR_ALLOWED, or the reason for which the frame must be dropped.
 * Include after <linux/bpf.h>, <bpf/bpf_helpers.h>, <bpf/bpf_endian.h> and "reasons.h".
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

/* Fills *to from the packet at offset; 0, or negative past its end. Offsets beyond 255 go the slow
 * way: the verifier wants a bound, and no header that matters lies there. */
#define HR_READ(skb, offset, to)                                                                   \
	({                                                                                         \
		__u32 hr_offset = (offset);                                                        \
		void *hr_at = (void *)(long)(skb)->data + (hr_offset & 255);                       \
		int hr_result = 0;                                                                 \
		if (hr_offset < 256 && hr_at + sizeof(*(to)) <= (void *)(long)(skb)->data_end)     \
			*(to) = *(__typeof__(to))hr_at;                                            \
		else                                                                               \
			hr_result = bpf_skb_load_bytes(skb, hr_offset, to, sizeof(*(to)));         \
		hr_result;                                                                         \
	})

#define HR_UNTAGGED 0xffff /* hr_packet.vlan of a frame without a tag */
#define HR_VLAN_VID 0x0fff

#define HR_TCP_FIN 0x01
#define HR_TCP_SYN 0x02
#define HR_TCP_RST 0x04
#define HR_TCP_ACK 0x10

#define HR_IP_MORE_FRAGMENTS 0x2000
#define HR_IP_OFFSET 0x1fff

/* As struct ethhdr, which is packed and would be read byte by byte. */
struct hr_ethernet {
	__u8 destination[6] __attribute__((aligned(2)));
	__u8 source[6] __attribute__((aligned(2)));
	__be16 ethertype;
};
_Static_assert(sizeof(struct hr_ethernet) == sizeof(struct ethhdr), "no padding");

/* linux/icmp.h drags in libc headers that -target bpf does not have. */
struct hr_icmp {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id; /* of queries */
	__be16 sequence;
};

struct hr_arp {
	__be16 hardware; /* 1: Ethernet */
	__be16 protocol; /* 0x0800 */
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation; /* 1: request, 2: reply */
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};
_Static_assert(sizeof(struct hr_arp) == 28, "ARP for IPv4 over Ethernet is 28 bytes");

struct hr_ipv6_header {
	__u8 version; /* << 4, and half of the traffic class */
	__u8 flow[3];
	__be16 length; /* of what follows the header */
	__u8 next;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};
_Static_assert(sizeof(struct hr_ipv6_header) == 40, "RFC 8200, 3");

/* The start of an extension header. */
struct hr_ipv6_extension {
	__u8 next;
	__u8 length;
	__be16 fragment; /* offset in units of 8 bytes << 3, and whether more follow */
	__be32 id;
};

#define HR_IPV6_EXTENSIONS 6 /* no packet that is meant well has more */

/* What an IPv6 packet has beside a struct hr_packet, in which are the last words of its addresses. */
struct hr_ipv6 {
	__be32 source[4];
	__be32 destination[4];
	__be32 id; /* shared by the fragments of a datagram */
	__u32 hop_limit;
};

struct hr_packet {
	__u32 l3;  /* offset of the network header */
	__u32 l4;  /* offset of the transport header; hr_parse_ipv4 and hr_parse_ipv6 set it */
	__u32 end; /* offset just past the datagram; Ethernet padding lies beyond */
	__be32 source;
	__be32 destination;
	__u16 ethertype; /* host order, the tag skipped */
	__u16 vlan;      /* VLAN id, or HR_UNTAGGED */
	__u16 fragment;  /* host order: the fragment offset in units of 8 bytes */
	__be16 id;       /* IPv4 identification, shared by the fragments of a datagram */
	__u16 source_port;      /* host order; 0 unless TCP or UDP */
	__u16 destination_port; /* host order; ICMP, ICMPv6: type << 8 | code; 0 for others */
	__u16 icmp_id;          /* host order; of ICMP and ICMPv6 queries */
	__u8 protocol; /* IPv6: behind the extension headers */
	__u8 ttl;
	__u8 tcp_flags;
	__u8 more_fragments; /* 1: the datagram goes on in another fragment */
	__u8 tag_in_frame;   /* 1: the tag is in the frame, not in skb metadata */
	__u8 pad;
	__u8 destination_mac[6] __attribute__((aligned(2)));
	__u8 source_mac[6] __attribute__((aligned(2)));
};

/* Ethernet and at most one 802.1Q tag, from skb metadata or from the frame itself. */
static __always_inline __u32 hr_parse_ethernet(struct __sk_buff *skb, struct hr_packet *p)
{
	struct hr_ethernet eth;
	struct {
		__be16 tci;
		__be16 ethertype;
	} tag;

	if (HR_READ(skb, 0, &eth) < 0)
		return HR_MALFORMED;
	__builtin_memcpy(p->destination_mac, eth.destination, 6);
	__builtin_memcpy(p->source_mac, eth.source, 6);
	p->ethertype = bpf_ntohs(eth.ethertype);
	p->l3 = sizeof(eth);
	p->vlan = HR_UNTAGGED;
	p->tag_in_frame = 0;
	if (skb->vlan_present) {
		p->vlan = skb->vlan_tci & HR_VLAN_VID;
	} else if (p->ethertype == ETH_P_8021Q) {
		if (HR_READ(skb, p->l3, &tag) < 0)
			return HR_MALFORMED;
		p->vlan = bpf_ntohs(tag.tci) & HR_VLAN_VID;
		p->ethertype = bpf_ntohs(tag.ethertype);
		p->l3 += sizeof(tag);
		p->tag_in_frame = 1;
	}
	return HR_ALLOWED;
}

/* ARP for IPv4 over Ethernet; anything else that calls itself ARP is malformed. */
static __always_inline __u32 hr_parse_arp(struct __sk_buff *skb, const struct hr_packet *p,
					  struct hr_arp *arp)
{
	if (HR_READ(skb, p->l3, arp) < 0)
		return HR_MALFORMED;
	if (arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4)
		return HR_MALFORMED;
	return HR_ALLOWED;
}

/* The IPv4 header; the datagram must lie wholly inside the frame. */
static __always_inline __u32 hr_parse_ipv4(struct __sk_buff *skb, struct hr_packet *p)
{
	struct iphdr ip;
	__u32 header, total;
	__u16 offset;

	if (HR_READ(skb, p->l3, &ip) < 0)
		return HR_MALFORMED;
	header = ip.ihl * 4;
	total = bpf_ntohs(ip.tot_len);
	if (ip.version != 4 || header < sizeof(ip) || total < header || p->l3 + total > skb->len)
		return HR_MALFORMED;
	offset = bpf_ntohs(ip.frag_off);
	p->l4 = p->l3 + header;
	p->end = p->l3 + total;
	p->source = ip.saddr;
	p->destination = ip.daddr;
	p->protocol = ip.protocol;
	p->ttl = ip.ttl;
	p->id = ip.id;
	p->fragment = offset & HR_IP_OFFSET;
	p->more_fragments = (offset & HR_IP_MORE_FRAGMENTS) != 0;
	p->source_port = 0;
	p->destination_port = 0;
	p->icmp_id = 0;
	p->tcp_flags = 0;
	return HR_ALLOWED;
}

static __always_inline int hr_ipv6_is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_AH || next == IPPROTO_DSTOPTS;
}

/* Goes from the header p->protocol at p->l4 on to the first that is no extension (RFC 8200, 4.1).
 * Behind a fragment header that is not the first's is no header. A global function: verified once,
 * not once per call. */
__attribute__((noinline)) int hr_parse_extensions(struct __sk_buff *skb, struct hr_packet *p,
						  struct hr_ipv6 *ip6)
{
	struct hr_ipv6_extension extension;
	__u16 fragment;
	__u8 here;

	if (!p || !ip6)
		return HR_MALFORMED;
	for (int n = 0; n < HR_IPV6_EXTENSIONS; n++) {
		here = p->protocol;
		if (!hr_ipv6_is_extension(here))
			return HR_ALLOWED;
		if (p->l4 + sizeof(extension) > p->end ||
		    bpf_skb_load_bytes(skb, p->l4, &extension, sizeof(extension)) < 0)
			return HR_MALFORMED;
		p->protocol = extension.next;
		if (here == IPPROTO_FRAGMENT) {
			fragment = bpf_ntohs(extension.fragment);
			p->fragment = fragment >> 3;
			p->more_fragments = fragment & 1;
			ip6->id = extension.id;
			p->l4 += sizeof(extension);
			if (p->fragment)
				return HR_ALLOWED;
		} else {
			p->l4 += here == IPPROTO_AH ? (extension.length + 2) * 4
						    : (extension.length + 1) * 8;
		}
	}
	return hr_ipv6_is_extension(p->protocol) ? HR_MALFORMED : HR_ALLOWED;
}

/* The IPv6 header at p->l3 and its extension headers, before p->end. */
static __always_inline __u32 hr_parse_ipv6_headers(struct __sk_buff *skb, struct hr_packet *p,
						   struct hr_ipv6 *ip6,
						   const struct hr_ipv6_header *ip)
{
	__builtin_memcpy(ip6->source, ip->source, sizeof(ip->source));
	__builtin_memcpy(ip6->destination, ip->destination, sizeof(ip->destination));
	ip6->id = 0;
	ip6->hop_limit = ip->hop_limit;
	p->source = ip->source[3];
	p->destination = ip->destination[3];
	p->protocol = ip->next;
	p->ttl = ip->hop_limit;
	p->l4 = p->l3 + sizeof(*ip);
	p->id = 0;
	p->fragment = 0;
	p->more_fragments = 0;
	p->source_port = 0;
	p->destination_port = 0;
	p->icmp_id = 0;
	p->tcp_flags = 0;
	return hr_ipv6_is_extension(ip->next) ? hr_parse_extensions(skb, p, ip6) : HR_ALLOWED;
}

/* The IPv6 header, which is left in *ip, and its extension headers; the datagram must lie wholly
 * inside the frame. */
static __always_inline __u32 hr_parse_ipv6(struct __sk_buff *skb, struct hr_packet *p,
					   struct hr_ipv6 *ip6, struct hr_ipv6_header *ip)
{
	if (HR_READ(skb, p->l3, ip) < 0 || ip->version >> 4 != 6)
		return HR_MALFORMED;
	p->end = p->l3 + sizeof(*ip) + bpf_ntohs(ip->length);
	if (p->end > skb->len)
		return HR_MALFORMED;
	return hr_parse_ipv6_headers(skb, p, ip6, ip);
}

static __always_inline __u32 hr_parse_tcp(struct __sk_buff *skb, struct hr_packet *p)
{
	struct tcphdr tcp;
	__u8 flags;

	if (p->l4 + sizeof(tcp) > p->end || HR_READ(skb, p->l4, &tcp) < 0)
		return HR_MALFORMED;
	if (tcp.doff < 5 || p->l4 + tcp.doff * 4 > p->end)
		return HR_MALFORMED;
	flags = ((__u8 *)&tcp)[13];
	p->tcp_flags = flags & (HR_TCP_FIN | HR_TCP_SYN | HR_TCP_RST | HR_TCP_ACK);
	p->source_port = bpf_ntohs(tcp.source);
	p->destination_port = bpf_ntohs(tcp.dest);
	return HR_ALLOWED;
}

static __always_inline __u32 hr_parse_udp(struct __sk_buff *skb, struct hr_packet *p)
{
	struct udphdr udp;
	__u32 len;

	if (p->l4 + sizeof(udp) > p->end || HR_READ(skb, p->l4, &udp) < 0)
		return HR_MALFORMED;
	len = bpf_ntohs(udp.len);
	if (len < sizeof(udp) || (!p->more_fragments && p->l4 + len > p->end))
		return HR_MALFORMED;
	p->source_port = bpf_ntohs(udp.source);
	p->destination_port = bpf_ntohs(udp.dest);
	return HR_ALLOWED;
}

static __always_inline __u32 hr_parse_icmp(struct __sk_buff *skb, struct hr_packet *p)
{
	struct hr_icmp icmp;

	if (p->l4 + sizeof(icmp) > p->end || HR_READ(skb, p->l4, &icmp) < 0)
		return HR_MALFORMED;
	p->destination_port = (__u16)icmp.type << 8 | icmp.code;
	p->icmp_id = bpf_ntohs(icmp.id);
	return HR_ALLOWED;
}

/* The transport header of an unfragmented datagram or a first fragment (p->fragment == 0), which
 * must hold it whole (RFC 1858). Later fragments have none: ports stay 0. */
static __always_inline __u32 hr_parse_transport(struct __sk_buff *skb, struct hr_packet *p)
{
	if (p->fragment)
		return HR_ALLOWED;
	switch (p->protocol) {
	case IPPROTO_TCP:
		return hr_parse_tcp(skb, p);
	case IPPROTO_UDP:
		return hr_parse_udp(skb, p);
	case IPPROTO_ICMP:
		return p->ethertype == ETH_P_IP ? hr_parse_icmp(skb, p) : HR_ALLOWED;
	case IPPROTO_ICMPV6:
		return p->ethertype == ETH_P_IPV6 ? hr_parse_icmp(skb, p) : HR_ALLOWED;
	}
	return HR_ALLOWED;
}

/* Of a frame of the plainest kind, what hr_parse_ethernet, hr_parse_ipv4 and hr_parse_transport would
 * say, for a fraction of the time: TCP or UDP over IPv4, neither options nor fragments, the headers
 * in the linear part of the packet, a tag in the metadata at most. False: it is of another kind, or
 * they would refuse it; *p is worth nothing then. */
static __always_inline int hr_parse_plain(struct __sk_buff *skb, struct hr_packet *p)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	const struct hr_ethernet *eth = data;
	const struct iphdr *ip = data + sizeof(*eth);
	const struct udphdr *udp = (void *)(ip + 1);
	const struct tcphdr *tcp = (void *)(ip + 1);
	__u32 total, room;

	if ((void *)(udp + 1) > data_end || eth->ethertype != bpf_htons(ETH_P_IP) ||
	    *(const __u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(HR_IP_OFFSET | HR_IP_MORE_FRAGMENTS))
		return 0;
	total = bpf_ntohs(ip->tot_len);
	room = total - sizeof(*ip);
	if (total < sizeof(*ip) || sizeof(*eth) + total > skb->len)
		return 0;
	p->tcp_flags = 0;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > data_end || room < sizeof(*tcp) || tcp->doff < 5 ||
		    tcp->doff * 4 > room)
			return 0;
		p->tcp_flags = ((const __u8 *)tcp)[13] &
			       (HR_TCP_FIN | HR_TCP_SYN | HR_TCP_RST | HR_TCP_ACK);
	} else if (ip->protocol != IPPROTO_UDP || room < sizeof(*udp) ||
		   bpf_ntohs(udp->len) < sizeof(*udp) || bpf_ntohs(udp->len) > room) {
		return 0;
	}
	__builtin_memcpy(p->destination_mac, eth->destination, 6);
	__builtin_memcpy(p->source_mac, eth->source, 6);
	p->ethertype = ETH_P_IP;
	p->vlan = skb->vlan_present ? skb->vlan_tci & HR_VLAN_VID : HR_UNTAGGED;
	p->l3 = sizeof(*eth);
	p->l4 = sizeof(*eth) + sizeof(*ip);
	p->end = sizeof(*eth) + total;
	p->source = ip->saddr;
	p->destination = ip->daddr;
	p->protocol = ip->protocol;
	p->ttl = ip->ttl;
	p->id = ip->id;
	p->source_port = bpf_ntohs(udp->source);
	p->destination_port = bpf_ntohs(udp->dest);
	return 1;
}
