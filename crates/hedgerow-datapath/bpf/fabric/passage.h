/* A frame on its way through, and what is counted and reported of it. */
#pragma once

/* The flow that a packet belongs to, or would. */
struct hr_named {
	struct hr_flow_key key; /* IPv6: in the map six */
	__u64 hash;
	struct hr_flow seen; /* what was read of it, if there is one */
	__u32 way;	     /* its entry; HR_FLOW_WAYS: there is none */
	__u32 side;	     /* the sender's */
};

/* What is known of a frame on its way through. */
struct hr_passage {
	struct hr_packet packet;
	struct hr_port port;
	struct hr_named flow; /* if looked_up, or hr_known did */
	__u32 looked_up; /* whether hr_shorten has, as between two interfaces of the VPC */
	__u32 generation;
	__u32 now;
	__u32 pad;
	/* From here on cleared for a packet that goes the whole way. */
	__u32 parsed; /* what step 7 will say */
	__u32 vpc;
	__u32 from; /* interface keys, 0: not known yet */
	__u32 to;
	__u32 slots[2];	 /* of the sender and the receiver in interfaces */
	__u32 owners[2]; /* interfaces that have the source and the destination address */
	__u32 since[2];	 /* … in this generation */
	__u32 sets[2];
	__u16 rules[2];
	__u32 open; /* HR_FLOW_OPEN << side: gates that do not track the flow */
	__u32 internal; /* the VPC's own business, as ARP is: no verdict */
	int action; /* of a frame that is not dropped for a reason */
} __attribute__((aligned(8))); /* so that it is cleared in words of that size */

/* The stack has no room for it beside what the functions that it is passed to need. Nor does the
 * verifier follow what is in a map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hr_passage);
} passage SEC(".maps");

static __always_inline void hr_count(__u32 reason)
{
	__u64 *packets = bpf_map_lookup_elem(&verdicts, &reason);

	if (packets)
		*packets += 1;
}

static __always_inline int hr_tells(void)
{
	__u32 zero = 0;
	const __u32 *wanted = bpf_map_lookup_elem(&told, &zero);

	return wanted && *(volatile const __u32 *)wanted;
}

static __always_inline int hr_report_lost(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		*count += 1;
	return 0;
}

static __always_inline void hr_report_fill(struct hr_event *event, const struct hr_passage *x,
					   __u32 reason, __u32 bytes)
{
	__builtin_memset(event, 0, sizeof(*event));
	/* New flows can be many, and the exact clock costs as much as a gate. */
	event->time = reason ? bpf_ktime_get_ns() : bpf_ktime_get_coarse_ns();
	event->vpc = x->vpc;
	event->from = x->from;
	event->to = x->to;
	event->source = x->packet.source;
	event->destination = x->packet.destination;
	event->bytes = bytes;
	event->sets[0] = x->sets[0];
	event->sets[1] = x->sets[1];
	event->rules[0] = x->rules[0];
	event->rules[1] = x->rules[1];
	event->source_port = x->packet.source_port;
	event->destination_port = x->packet.destination_port;
	event->protocol = x->packet.protocol;
	event->reason = reason;
}

__attribute__((noinline)) int hr_report(const struct hr_passage *x, __u32 reason, __u32 bytes)
{
	struct hr_event *event;

	if (!x)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return hr_report_lost();
	hr_report_fill(event, x, reason, bytes);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* The same for a packet of IPv6, whose addresses are in the map six. */
__attribute__((noinline)) int hr_report_v6(const struct hr_passage *x, __u32 reason, __u32 bytes)
{
	struct hr_event_v6 *event;
	const struct hr_six *packet;
	__u32 zero = 0;

	if (!x)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return hr_report_lost();
	hr_report_fill(&event->event, x, reason, bytes);
	__builtin_memset(event->source, 0, sizeof(event->source) + sizeof(event->destination));
	packet = bpf_map_lookup_elem(&six, &zero);
	if (packet) {
		__builtin_memcpy(event->source, packet->ip.source, sizeof(event->source));
		__builtin_memcpy(event->destination, packet->ip.destination,
				 sizeof(event->destination));
	}
	bpf_ringbuf_submit(event, 0);
	return 0;
}
