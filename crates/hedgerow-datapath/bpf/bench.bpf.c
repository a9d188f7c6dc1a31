/* The fabric under load from one frame: each run of `spread` sends it as another flow. Only for
 * measurements (src/fabric/bench.rs); nothing else loads this object. */
#include "fabric.bpf.c"

#define HR_BENCH_NEW 0x80000000

static __u32 serial;

/* skb->mark: the flows to choose from at random, less one; or HR_BENCH_NEW: one never seen. */
SEC("classifier")
int spread(struct __sk_buff *skb)
{
	struct udphdr *udp;
	void *data = (void *)(long)skb->data;
	__u32 flow = skb->mark == HR_BENCH_NEW ? serial++ : bpf_get_prandom_u32() & skb->mark;

	udp = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	if ((void *)(udp + 1) > (void *)(long)skb->data_end)
		return TC_ACT_SHOT;
	udp->source = (__u16)flow;
	udp->dest = bpf_htons(9 + ((flow >> 16) & 7));
	return hr_fabric(skb);
}

/* The kernel's share of every number, with what `spread` does itself. */
SEC("classifier")
int nothing(struct __sk_buff *skb)
{
	return skb->mark == HR_BENCH_NEW ? TC_ACT_SHOT : bpf_get_prandom_u32() & 1;
}
