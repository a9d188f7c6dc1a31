/* Where the sender's subnet sends a packet (hr_route), and the lists at the edges of subnets. */
#pragma once

/* Where the present version of a route table leads, or 0. */
static __always_inline const __u32 *hr_route_lookup(__u32 table, __be32 destination)
{
	struct hr_route_key key = { .prefixlen = 64, .destination = destination };
	const __u32 *version = bpf_map_lookup_elem(&route_versions, &table);

	if (!version)
		return 0;
	key.version = *(volatile const __u32 *)version;
	return bpf_map_lookup_elem(&routes, &key);
}

static __always_inline const __u32 *hr_route_lookup_v6(struct hr_six *six, __u32 table,
						       const __be32 *destination)
{
	const __u32 *version = bpf_map_lookup_elem(&route_versions, &table);

	if (!version)
		return 0;
	hr_prefix_key_fill(&six->prefix, *(volatile const __u32 *)version, destination);
	return bpf_map_lookup_elem(&routes_v6, &six->prefix);
}

/* Whether the destination is in the sender's subnet. */
static __always_inline int hr_route_is_near(const struct hr_interface *from,
					    const struct hr_six *six, __be32 destination)
{
	const __be32 *to;

	if (!six)
		return (destination & from->mask) == from->subnet;
	to = six->ip.destination;
	return from->mask_v6[0] && (to[0] & from->mask_v6[0]) == from->subnet_v6[0] &&
	       (to[1] & from->mask_v6[1]) == from->subnet_v6[1];
}

/* Finds the receiver of a packet to another subnet; `owner` is the interface that has the
 * destination address, or 0. Returns a reason or HR_ALLOWED. */
static __always_inline __u32 hr_route(const struct hr_interface *from, struct hr_six *six,
				      __be32 destination, __u32 owner, __u32 *to)
{
	__u32 table = from->routes;
	const __u32 *found;

	*to = owner;
	if (!table || hr_route_is_near(from, six, destination))
		return owner ? HR_ALLOWED : HR_NO_ROUTE;
	found = six ? hr_route_lookup_v6(six, table, six->ip.destination)
		    : hr_route_lookup(table, destination);
	if (!found || *found == HR_ROUTE_UNSERVED)
		return HR_NO_ROUTE;
	if (*found == HR_ROUTE_BLACKHOLE)
		return HR_BLACKHOLE;
	if (*found != HR_ROUTE_LOCAL)
		*to = *found;
	return *to ? HR_ALLOWED : HR_NO_ROUTE;
}

/* Which gateway a packet of IPv6 from outside came in by: that to which the receiver's subnet sends
 * what goes back to its `source`. Returns a reason or HR_ALLOWED. */
static __always_inline __u32 hr_route_back(const struct hr_interface *receiver, struct hr_six *six,
					   const __be32 *source, __u32 *gateway)
{
	const __u32 *found = hr_route_lookup_v6(six, receiver->routes, source);

	if (!found || *found == HR_ROUTE_UNSERVED)
		return HR_NO_ROUTE;
	if (*found == HR_ROUTE_BLACKHOLE)
		return HR_BLACKHOLE;
	if (*found == HR_ROUTE_LOCAL)
		return HR_SOURCE_ADDRESS;
	*gateway = *found;
	return HR_ALLOWED;
}

/* The network ACLs of both subnets, which judge every packet by itself. */
static __always_inline __u32 hr_route_edges(const struct hr_packet *p, const struct hr_six *six,
					    const struct hr_interface *from,
					    const struct hr_interface *to)
{
	if (hr_forward_same_subnet(from, to))
		return HR_ALLOWED;
	if (from->acl && !hr_rules_acl_passes(from->acl, HR_EGRESS, p, six, p->destination))
		return HR_NETWORK_ACL_EGRESS;
	if (to->acl && !hr_rules_acl_passes(to->acl, HR_INGRESS, p, six, p->source))
		return HR_NETWORK_ACL_INGRESS;
	return HR_ALLOWED;
}
