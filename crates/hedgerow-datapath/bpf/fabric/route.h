/* Where the sender's subnet sends a packet (hr_route), and the lists at the edges of subnets. */
#pragma once

/* Finds the receiver of a packet to another subnet; `owner` is the interface that has the
 * destination address, or 0. Returns a reason or HR_ALLOWED. */
static __always_inline __u32 hr_route(const struct hr_interface *from, __be32 destination,
				      __u32 owner, __u32 *to)
{
	struct hr_route_key key = { .prefixlen = 64, .destination = destination };
	const __u32 *found;
	__u32 table = from->routes;

	*to = owner;
	if (!table || (destination & from->mask) == from->subnet)
		return owner ? HR_ALLOWED : HR_NO_ROUTE;
	found = bpf_map_lookup_elem(&route_versions, &table);
	if (!found)
		return HR_NO_ROUTE;
	key.version = *(volatile const __u32 *)found;
	found = bpf_map_lookup_elem(&routes, &key);
	if (!found || *found == HR_ROUTE_UNSERVED)
		return HR_NO_ROUTE;
	if (*found == HR_ROUTE_BLACKHOLE)
		return HR_BLACKHOLE;
	if (*found != HR_ROUTE_LOCAL)
		*to = *found;
	return *to ? HR_ALLOWED : HR_NO_ROUTE;
}

/* The network ACLs of both subnets, which judge every packet by itself. */
static __always_inline __u32 hr_route_edges(const struct hr_packet *p,
					    const struct hr_interface *from,
					    const struct hr_interface *to)
{
	if (hr_forward_same_subnet(from, to))
		return HR_ALLOWED;
	if (from->acl && !hr_rules_acl_passes(from->acl, HR_EGRESS, p, p->destination))
		return HR_NETWORK_ACL_EGRESS;
	if (to->acl && !hr_rules_acl_passes(to->acl, HR_INGRESS, p, p->source))
		return HR_NETWORK_ACL_INGRESS;
	return HR_ALLOWED;
}
