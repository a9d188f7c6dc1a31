/* Who sent a frame, who gets it, and how it leaves; ARP, which the VPC answers by itself (neighbour.h:
 * the same for IPv6). */
#pragma once

/* Both must be aligned to 2. */
static __always_inline int hr_mac_equal(const __u8 *a, const __u8 *b)
{
	const __u16 *x = (const __u16 *)a, *y = (const __u16 *)b;

	return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

/* What is plugged in at a device, read once: it may go meanwhile. False: nothing is. */
static __always_inline int hr_port_at(__u32 ifindex, struct hr_port *port)
{
	const struct hr_port *found = bpf_map_lookup_elem(&near_ports, &ifindex);

	if (found) {
		port->interface = *(volatile const __u32 *)&found->interface;
		port->vpc = found->vpc;
		if (port->interface)
			return 1;
	}
	found = bpf_map_lookup_elem(&ports, &ifindex);
	if (!found)
		return 0;
	*port = *found;
	return 1;
}

/* The record of an interface and its slot, if it exists. */
static __always_inline const struct hr_interface *hr_interface_at(__u32 key, __u32 *slot)
{
	const struct hr_interface *interface;
	__u32 hint = key % HR_HINTS;
	const __u32 *found;

	if (!key)
		return 0;
	found = bpf_map_lookup_elem(&interface_hints, &hint);
	if (found) {
		*slot = *(volatile const __u32 *)found;
		interface = bpf_map_lookup_elem(&interfaces, slot);
		if (interface && interface->key == key)
			return interface;
	}
	found = bpf_map_lookup_elem(&interface_slots, &key);
	if (!found)
		return 0;
	*slot = *found;
	interface = bpf_map_lookup_elem(&interfaces, slot);
	/* The hash element may have been reused between the two steps. */
	return interface && interface->key == key ? interface : 0;
}

/* The record of an interface, if it exists. */
static __always_inline const struct hr_interface *hr_interface_of(__u32 key)
{
	__u32 slot;

	return hr_interface_at(key, &slot);
}

/* Key of the interface that has the address in the VPC, or 0; and since which generation. */
static __always_inline __u32 hr_address_owner(__u32 vpc, __be32 address, __u32 *since)
{
	struct hr_address_key key = { vpc, address };
	const struct hr_address *found;
	__u32 owner;

	found = bpf_map_lookup_elem(&addresses, &key);
	if (!found)
		return 0;
	owner = *(volatile const __u32 *)&found->interface;
	*since = found->since;
	if (found->vpc != vpc || found->address != address)
		return 0;
	return owner;
}

/* The same for an IPv6 address. */
static __always_inline __u32 hr_address_owner_v6(struct hr_six *six, __u32 vpc,
						 const __be32 *address, __u32 *since)
{
	const struct hr_address_v6 *found;

	hr_prefix_key_fill(&six->prefix, vpc, address);
	found = bpf_map_lookup_elem(&addresses_v6, &six->prefix);
	if (!found)
		return 0;
	*since = found->since;
	return found->interface;
}

/* The sender by port and tag, or 0. */
static __always_inline const struct hr_interface *
hr_forward_sender(struct __sk_buff *skb, const struct hr_port *port, const struct hr_packet *p,
		  __u32 *slot)
{
	struct hr_vlan_key key = { port->interface, p->vlan };
	const struct hr_interface *from;
	__u32 interface = port->interface;
	const __u32 *branch;

	if (p->vlan != HR_UNTAGGED) {
		branch = bpf_map_lookup_elem(&vlans, &key);
		if (!branch)
			return 0;
		interface = *branch;
	}
	from = hr_interface_at(interface, slot);
	return from && from->ifindex == skb->ifindex && from->vlan == p->vlan ? from : 0;
}

/* 169.254.169.254 metadata, .253 DNS, .250 the EC2 endpoint. */
static __always_inline int hr_forward_is_service(__be32 address)
{
	return address == bpf_htonl(0xa9fea9fe) || address == bpf_htonl(0xa9fea9fd) ||
	       address == bpf_htonl(0xa9fea9fa);
}

/* The same in IPv6: fd00:ec2::254 metadata, ::253 DNS. */
static __always_inline int hr_forward_is_service_v6(const __be32 *address)
{
	if ((address[0] ^ bpf_htonl(0xfd000ec2)) | address[1] | address[2])
		return 0;
	return address[3] == bpf_htonl(0x254) || address[3] == bpf_htonl(0x253);
}

/* The link-local ones, and the VPC's DNS at its base + 2. A VPC's blocks have 16 addresses at least, so
 * the last four bits of that are 2: most others are told without a look-up. */
static __always_inline int hr_forward_is_service_of(__u32 vpc, __be32 address)
{
	const struct hr_service *service;

	if (hr_forward_is_service(address))
		return 1;
	if ((address & bpf_htonl(0xf)) != bpf_htonl(2))
		return 0;
	service = bpf_map_lookup_elem(&services, &vpc);
	return service && service->dns == address;
}

/* Class D and E, limited broadcast, and the broadcast address of the sender's subnet. */
static __always_inline int hr_forward_is_multicast(const struct hr_interface *from,
						   const struct hr_packet *p)
{
	return p->destination_mac[0] & 1 || (p->destination & bpf_htonl(0xe0000000)) ==
						    bpf_htonl(0xe0000000) ||
	       p->destination == (from->subnet | ~from->mask);
}

static __always_inline int hr_forward_is_multicast_v6(const struct hr_packet *p,
						      const __be32 *destination)
{
	return p->destination_mac[0] & 1 ||
	       (*destination & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* Link-local, fe80::/10, or none. */
static __always_inline int hr_forward_is_local(const __be32 *address)
{
	return (address[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) ||
	       !(address[0] | address[1] | address[2] | address[3]);
}

static __always_inline void hr_forward_macs(struct __sk_buff *skb, const __u8 *to, const __u8 *from)
{
	void *data = (void *)(long)skb->data;
	struct hr_ethernet *eth = data;

	/* The parser has seen the header, but perhaps not in the linear part. */
	if (data + sizeof(*eth) > (void *)(long)skb->data_end) {
		bpf_skb_store_bytes(skb, 0, to, 6, 0);
		bpf_skb_store_bytes(skb, 6, from, 6, 0);
		return;
	}
	__builtin_memcpy(eth->destination, to, 6);
	__builtin_memcpy(eth->source, from, 6);
}

/* Hands the frame to the far end of port `ifindex`, as if it had been sent to this host: the
 * sender's stack addressed it to a MAC that is not the port's. */
static __always_inline int hr_forward_deliver(struct __sk_buff *skb, __u32 ifindex)
{
	if (skb->pkt_type != 0)
		bpf_skb_change_type(skb, 0);
	return bpf_redirect_peer(ifindex, 0);
}

/* Hands the frame to what is behind the interface's port. A NAT gateway is in this namespace. */
static __always_inline int hr_forward_deliver_to(struct __sk_buff *skb,
						 const struct hr_interface *to)
{
	__u32 ifindex = to->ifindex;
	const struct hr_nat *nat;

	if (to->kind != HR_KIND_NAT)
		return hr_forward_deliver(skb, ifindex);
	nat = bpf_map_lookup_elem(&nats, &ifindex);
	return nat ? bpf_redirect(nat->far, BPF_F_INGRESS) : TC_ACT_SHOT;
}

static __always_inline int hr_forward_to_interface(struct __sk_buff *skb, const struct hr_packet *p,
						   const struct hr_interface *to,
						   const __u8 *source_mac)
{
	__u16 vlan = to->vlan;

	hr_forward_macs(skb, to->mac, source_mac);
	if (p->vlan != HR_UNTAGGED && bpf_skb_vlan_pop(skb) < 0)
		return TC_ACT_SHOT;
	if (vlan != HR_UNTAGGED && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), vlan) < 0)
		return TC_ACT_SHOT;
	return hr_forward_deliver_to(skb, to);
}

static __always_inline int hr_forward_same_subnet(const struct hr_interface *a,
						  const struct hr_interface *b)
{
	return a->subnet == b->subnet && a->mask == b->mask;
}

/* In a subnet the sender addressed the receiver itself; across subnets, the router. */
static __always_inline int hr_forward_between(struct __sk_buff *skb, const struct hr_packet *p,
					      const struct hr_interface *from,
					      const struct hr_interface *to)
{
	const __u8 router[6] = HR_ROUTER_MAC;

	if (hr_forward_same_subnet(from, to))
		return hr_forward_to_interface(skb, p, to, from->mac);
	return hr_forward_to_interface(skb, p, to, router);
}

/* The MAC that answers for `target`, or 0: silence. The router is at the subnet's base + 1; the
 * service addresses are behind it, for hosts that think them on-link. */
static __always_inline int hr_arp_answer(const struct hr_interface *from, __be32 target, __u8 *mac)
{
	const __u8 router[6] = HR_ROUTER_MAC;
	const struct hr_interface *owner;
	__u32 since;

	if (target == bpf_htonl(bpf_ntohl(from->subnet) + 1) ||
	    hr_forward_is_service_of(from->vpc, target)) {
		__builtin_memcpy(mac, router, 6);
		return 1;
	}
	if ((target & from->mask) != from->subnet)
		return 0;
	owner = hr_interface_of(hr_address_owner(from->vpc, target, &since));
	/* No answer for an address of one's own: that is a probe for duplicates (RFC 5227). */
	if (!owner || owner->key == from->key)
		return 0;
	__builtin_memcpy(mac, owner->mac, 6);
	return 1;
}

/* Turns a request into its reply and hands it back where it came from, tagged if it was. Past the
 * port's own queue, which drops everything until the kernel has noticed (linkwatch) that the far
 * end of a new veth pair is up; the asker would try again a second later. */
static __always_inline int hr_arp_reply(struct __sk_buff *skb, const struct hr_packet *p,
					struct hr_arp *arp, const struct hr_interface *from)
{
	__u8 mac[6];
	__be32 target, asker;

	__builtin_memcpy(&target, arp->target, 4);
	__builtin_memcpy(&asker, arp->sender, 4);
	if (arp->operation != bpf_htons(1) || !hr_arp_answer(from, target, mac))
		return TC_ACT_SHOT;
	arp->operation = bpf_htons(2);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, 6);
	__builtin_memcpy(arp->target, &asker, 4);
	__builtin_memcpy(arp->sender_mac, mac, 6);
	__builtin_memcpy(arp->sender, &target, 4);
	hr_forward_macs(skb, from->mac, mac);
	if (bpf_skb_store_bytes(skb, p->l3, arp, sizeof(*arp), 0) < 0)
		return TC_ACT_SHOT;
	return hr_forward_deliver(skb, skb->ifindex);
}
