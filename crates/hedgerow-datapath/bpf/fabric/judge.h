/* Steps 14 to 18 (fabric.bpf.c): the flow of a packet between two interfaces, the groups of both, and
 * the network ACLs between. */
#pragma once

/* One gate; notes the set and rule that decided. A peer counts as a member of its groups only with
 * addresses of its own, not when it forwards for others. */
static __always_inline int hr_gate(struct hr_passage *x, const struct hr_six *six, __u32 direction,
				   const struct hr_interface *own, const struct hr_interface *peer,
				   __be32 peer_address, __u32 peer_is_owner)
{
	__u32 traffic = hr_rules_traffic(&x->packet, six);
	__u64 verdict;

	if (own->kind != HR_KIND_INSTANCE)
		return 1;
	verdict = hr_rules_judge(own->combination, direction, traffic, peer_address,
				 peer_is_owner ? peer->combination : 0);
	x->sets[direction] = verdict >> 32;
	x->rules[direction] = (__u16)verdict;
	if (verdict & HR_RULES_OPEN)
		x->open |= HR_FLOW_OPEN << ((x->flow.side ^ (direction == HR_INGRESS)) & 1);
	return x->rules[direction] != HR_NO_RULE;
}

static __always_inline int hr_gate_out(struct hr_passage *x, const struct hr_six *six,
				       const struct hr_interface *from,
				       const struct hr_interface *to)
{
	return hr_gate(x, six, HR_EGRESS, from, to, x->packet.destination, x->owners[1] == to->key);
}

static __always_inline int hr_gate_in(struct hr_passage *x, const struct hr_six *six,
				      const struct hr_interface *from,
				      const struct hr_interface *to)
{
	return hr_gate(x, six, HR_INGRESS, to, from, x->packet.source, x->owners[0] == from->key);
}

/* How an end of a flow is called in its key. */
static __always_inline __u32 hr_end(const struct hr_passage *x, __u32 interface, __u32 owner)
{
	return interface == owner ? HR_OWNER | x->vpc : interface;
}

/* Names the flow of a packet between two ends; false: it is not tracked. */
static __always_inline int hr_name(struct hr_named *flow, const struct hr_packet *p,
				   struct hr_six *six, __u32 from, __u32 to)
{
	struct hr_flow_key *key = six ? &six->key.low : &flow->key;

	if (!hr_flow_key_of(key, p, six ? &six->ip : 0, from, to, &flow->side))
		return 0;
	flow->hash = hr_flow_hash(key, !!six);
	return 1;
}

/* Whether the packet belongs to a flow. Its name is filled in if `*tracked`. */
static __always_inline int hr_known(struct hr_passage *x, struct hr_six *six, int *tracked)
{
	__u32 a = hr_end(x, x->from, x->owners[0]), b = hr_end(x, x->to, x->owners[1]);
	const struct hr_packet *p = &x->packet;
	struct hr_named *flow = &x->flow;

	*tracked = 1;
	if (!x->looked_up || a != (HR_OWNER | x->vpc) || b != a) {
		*tracked = hr_name(flow, p, six, a, b);
		if (!*tracked)
			return 0;
		flow->way = hr_flow_find(&flow->key, six ? &six->key : 0, flow->hash,
					 &flow->seen);
	}
	if (flow->way >= HR_FLOW_WAYS || !hr_flow_has(&flow->seen, p, flow->side, x->now))
		return 0;
	return !(a != x->from && hr_flow_outlived(&flow->seen, x->since[0])) &&
	       !(b != x->to && hr_flow_outlived(&flow->seen, x->since[1]));
}

/* Whether an ICMP error quotes a packet that its receiver sent. */
static __always_inline int hr_related_quote(struct __sk_buff *skb, const struct hr_packet *p,
					    struct hr_six *six, struct hr_packet *quoted)
{
	if (!hr_flow_is_icmp_error(p))
		return 0;
	if (six)
		return hr_flow_quoted_v6(skb, p, quoted, six) &&
		       hr_ipv6_equal(six->quoted.source, six->ip.destination);
	return hr_flow_quoted(skb, p, quoted) && quoted->source == p->destination;
}

/* Whether there is a flow that a quoted packet between two ends belongs to; then it is in *seen. */
static __always_inline int hr_related_flow(const struct hr_packet *quoted, struct hr_six *six,
					   __u32 from, __u32 to, struct hr_flow *seen)
{
	struct hr_flow_key short_key, *key = six ? &six->quoted_key.low : &short_key;
	__u32 side;

	if (!hr_flow_key_of(key, quoted, six ? &six->quoted : 0, from, to, &side))
		return 0;
	return hr_flow_find(key, six ? &six->quoted_key : 0, hr_flow_hash(key, !!six), seen) <
	       HR_FLOW_WAYS;
}

/* An ICMP error is related if it quotes a packet of a tracked flow that its receiver sent. */
static __always_inline int hr_related(struct __sk_buff *skb, const struct hr_passage *x,
				      struct hr_six *six, const struct hr_interface *from,
				      const struct hr_interface *to)
{
	struct hr_packet short_quoted = {}, *quoted = six ? &six->quoted_packet : &short_quoted;
	struct hr_flow seen;
	__u32 other, since = 0, end;

	if (!hr_related_quote(skb, &x->packet, six, quoted))
		return 0;
	other = six ? hr_address_owner_v6(six, x->vpc, six->quoted.destination, &since)
		    : hr_address_owner(x->vpc, quoted->destination, &since);
	/* One that forwards reports about a flow that went by it. */
	end = from->check || other == x->from ? HR_OWNER | x->vpc : x->from;
	/* From outside, the flow's gateway may be another than that of the router that reports. */
	if (six && hr_gateway_is(from) && hr_route_back(to, six, six->quoted.destination, &end))
		return 0;
	if (!hr_related_flow(quoted, six, hr_end(x, x->to, x->owners[1]), end, &seen) ||
	    (__s32)(seen.expires - x->now) <= 0 || hr_flow_outlived(&seen, x->since[1]))
		return 0;
	return end != (HR_OWNER | x->vpc) || (other && !hr_flow_outlived(&seen, since));
}

/* Tracks the flow that the packet starts; false: the table refused it. */
static __always_inline int hr_flow_start(const struct hr_passage *x, const struct hr_six *six,
					 const struct hr_interface *from,
					 const struct hr_interface *to)
{
	struct hr_flow flow = { .state = (x->flow.side & HR_FLOW_INITIATOR) | x->open };

	flow.state |= hr_flow_learn(&x->packet, flow.state, x->flow.side);
	flow.expires = x->now + hr_flow_timeout(x->packet.protocol, flow.state, from, to);
	flow.used = x->now;
	flow.path = hr_flow_path(x->generation, x->flow.side, x->slots);
	return six ? hr_flow_write_v6(&six->key, x->flow.hash, &flow)
		   : hr_flow_write_v4(&x->flow.key, x->flow.hash, &flow);
}

/* Steps 15 to 18 for a packet of a flow. */
static __always_inline __u32 hr_judge_tracked(struct hr_passage *x, const struct hr_six *six,
					      const struct hr_interface *from,
					      const struct hr_interface *to)
{
	const struct hr_flow *seen = &x->flow.seen;
	__u32 side = x->flow.side, reason;
	struct hr_flow *flow;

	if (seen->state >> (side & 1) & HR_FLOW_OPEN && !hr_gate_out(x, six, from, to))
		return HR_EGRESS_GROUPS;
	reason = hr_route_edges(&x->packet, six, from, to);
	if (reason)
		return reason;
	if (seen->state >> (~side & 1) & HR_FLOW_OPEN && !hr_gate_in(x, six, from, to))
		return HR_INGRESS_GROUPS;
	flow = hr_flow_entry(x->flow.hash, x->flow.way, !!six);
	if (flow) {
		hr_flow_touch(flow, seen, &x->packet, side, x->now, from, to);
		hr_flow_pave(flow, seen->path, hr_flow_path(x->generation, side, x->slots));
	}
	return HR_ALLOWED;
}

/* Steps 15 to 18 for a packet that belongs to no flow. */
static __always_inline __u32 hr_judge_new(struct __sk_buff *skb, struct hr_passage *x,
					  struct hr_six *six, int tracked,
					  const struct hr_interface *from,
					  const struct hr_interface *to)
{
	__u32 reason;

	if (six && from->kind == HR_KIND_EGRESS)
		return HR_EGRESS_ONLY;
	if (!hr_gate_out(x, six, from, to))
		return HR_EGRESS_GROUPS;
	reason = hr_route_edges(&x->packet, six, from, to);
	if (reason)
		return reason;
	if (!hr_gate_in(x, six, from, to))
		return HR_INGRESS_GROUPS;
	if (tracked && !hr_flow_start(x, six, from, to))
		return HR_FLOW_TABLE_FULL;
	if (!hr_tells())
		return HR_ALLOWED;
	if (six)
		hr_report_v6(x, HR_ALLOWED, skb->len);
	else
		hr_report(x, HR_ALLOWED, skb->len);
	return HR_ALLOWED;
}

/* Steps 14 to 18. */
static __always_inline __u32 hr_judge(struct __sk_buff *skb, struct hr_passage *x,
				      struct hr_six *six, const struct hr_interface *from,
				      const struct hr_interface *to)
{
	struct hr_packet *p = &x->packet;
	__u32 reason;
	int tracked;

	if (p->fragment)
		return hr_fragment_passes(p, six, x->from, x->to, x->now) ? HR_ALLOWED
									  : HR_FRAGMENT;
	if (hr_known(x, six, &tracked))
		reason = hr_judge_tracked(x, six, from, to);
	else if (hr_related(skb, x, six, from, to))
		reason = hr_route_edges(p, six, from, to);
	else
		reason = hr_judge_new(skb, x, six, tracked, from, to);
	if (!reason && p->more_fragments)
		hr_fragment_remember(p, six, x->from, x->to, x->now);
	return reason;
}

/* The judge of each family is a global function: the verifier does not follow every packet that gets
 * here through it, nor every verdict from there on. */
__attribute__((noinline)) __u32 hr_judge_v4(struct __sk_buff *skb, struct hr_passage *x,
					    const struct hr_interface *from,
					    const struct hr_interface *to)
{
	if (!x || !from || !to)
		return HR_MALFORMED;
	return hr_judge(skb, x, 0, from, to);
}

__attribute__((noinline)) __u32 hr_judge_v6(struct __sk_buff *skb, struct hr_passage *x,
					    const struct hr_interface *from,
					    const struct hr_interface *to)
{
	__u32 zero = 0;
	struct hr_six *packet = bpf_map_lookup_elem(&six, &zero);

	if (!x || !from || !to || !packet)
		return HR_MALFORMED;
	return hr_judge(skb, x, packet, from, to);
}
