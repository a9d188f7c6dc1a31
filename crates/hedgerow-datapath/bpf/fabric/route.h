/* Where the sender's subnet sends a packet (hr_route), and the lists at the edges of subnets. */
#pragma once

/* Where the version of a route table leads, or 0. */
static __always_inline const __u32 *hr_route_lookup(struct hr_six *six, __u32 version,
						    __be32 destination)
{
	struct hr_route_key key = {
		.prefixlen = 64, .version = version, .destination = destination
	};

	if (!six)
		return bpf_map_lookup_elem(&routes, &key);
	hr_prefix_key_fill(&six->prefix, version, six->ip.destination);
	return bpf_map_lookup_elem(&routes_v6, &six->prefix);
}

/* Whether the destination is in the sender's subnet. Of IPv6 only what somebody has counts: for the
 * rest the VPC's own route says the same. */
static __always_inline int hr_route_is_near(const struct hr_interface *from,
					    const struct hr_six *six, __be32 destination, __u32 owner)
{
	const struct hr_interface *near;

	if (!six)
		return (destination & from->mask) == from->subnet;
	near = owner ? hr_interface_of(owner) : 0;
	return near && hr_forward_same_subnet(from, near);
}

/* Finds the receiver of a packet to another subnet; `owner` is the interface that has the
 * destination address, or 0. Returns a reason or HR_ALLOWED. */
static __always_inline __u32 hr_route(const struct hr_interface *from, struct hr_six *six,
				      __be32 destination, __u32 owner, __u32 *to)
{
	const __u32 *found;
	__u32 table = from->routes;

	*to = owner;
	if (!table || hr_route_is_near(from, six, destination, owner))
		return owner ? HR_ALLOWED : HR_NO_ROUTE;
	found = bpf_map_lookup_elem(&route_versions, &table);
	if (!found)
		return HR_NO_ROUTE;
	found = hr_route_lookup(six, *(volatile const __u32 *)found, destination);
	if (!found || *found == HR_ROUTE_UNSERVED)
		return HR_NO_ROUTE;
	if (*found == HR_ROUTE_BLACKHOLE)
		return HR_BLACKHOLE;
	if (*found != HR_ROUTE_LOCAL)
		*to = *found;
	return *to ? HR_ALLOWED : HR_NO_ROUTE;
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
