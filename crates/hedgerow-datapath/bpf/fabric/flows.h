/* The table of tracked flows. A flow's hash leads to a set of 32 entries and to the one of them that it
 * likes best, which is a cache line: most look-ups read nothing else. The head of a set, another line of
 * the same page, has a byte of the hash for every entry (its tag; 0: free), which tells where else a
 * flow may be, or that it is not there. See docs/adr/0014-flow-table.md.
 *
 * A new flow takes the entry that it likes best, or another that is free. In a set without any, what
 * has expired is swept; if nothing has, the entry that was used least recently goes.
 *
 * Writers of a set hold its lock. Readers do not: they copy an entry and look whether its version
 * changed meanwhile. So nobody acts on half of one flow and half of another. */
#pragma once

#define HR_FLOW_GROUPS 4 /* words of tags */
#define HR_FLOW_GROUP 8
#define HR_FLOW_WAYS 32
#define HR_FLOW_SETS 4096 /* the first 12 bits of a hash */
#define HR_FLOW_SETS_V6 2048

#define HR_FLOW_BYTES 0x0101010101010101ULL

struct hr_flow {
	/* What was found out when a packet last went the whole way, written in one store:
	 * generation << 34 | sides whose packets did << 32 | slots of both interfaces. */
	__u64 path;
	__u32 expires; /* ticks; see hr_flow_now */
	__u32 state;   /* HR_FLOW_… */
	__u32 used;    /* ticks */
	__u32 version; /* odd: being written */
};
_Static_assert(sizeof(struct hr_flow) == 24, "no padding");

/* A cache line. */
struct hr_flow_entry {
	struct hr_flow flow;
	struct hr_flow_key key;
	__u64 pad[2];
};
_Static_assert(sizeof(struct hr_flow_entry) == 64, "src/fabric/tests.rs");

struct hr_flow_entry_v6 {
	struct hr_flow flow;
	struct hr_flow_key_v6 key;
	__u64 pad[3];
};
_Static_assert(sizeof(struct hr_flow_entry_v6) == 96, "no padding");

/* The head is a cache line, too. */
#define HR_FLOW_SET(name, entry)                                                                   \
	struct name {                                                                              \
		__u64 tags[HR_FLOW_GROUPS];                                                        \
		struct bpf_spin_lock lock;                                                         \
		__u32 pad[7];                                                                      \
		struct entry entries[HR_FLOW_WAYS];                                                \
	}

HR_FLOW_SET(hr_flow_set, hr_flow_entry);
HR_FLOW_SET(hr_flow_set_v6, hr_flow_entry_v6);
_Static_assert(sizeof(struct hr_flow_set) == 33 * 64, "src/fabric/tests.rs");

/* Nobody maps them: the kernel lets the values of an array that could be mapped begin at a page, and
 * so at a cache line (array_map_alloc). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HR_FLOW_SETS);
	__type(key, __u32);
	__type(value, struct hr_flow_set);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, HR_FLOW_SETS_V6);
	__type(key, __u32);
	__type(value, struct hr_flow_set_v6);
} flows_v6 SEC(".maps");

/* A random number of user space, so that nobody can choose flows that share a set. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} flow_seed SEC(".maps");

/* A step of the hash. Its high bits are the good ones, and even out ports that are given in turn (Knuth,
 * The Art of Computer Programming, 6.4, on multiplicative hashing); the factor is one of MurmurHash3's
 * finaliser. */
static __always_inline __u64 hr_flow_mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
	return hash ^ hash >> 32;
}

/* For IPv6 of the key in which `key` is the start. */
static __always_inline __u64 hr_flow_hash(const struct hr_flow_key *key, int is_v6)
{
	const __u64 *words = (const __u64 *)(key + 1);
	__u32 zero = 0;
	const __u64 *seed = bpf_map_lookup_elem(&flow_seed, &zero);
	__u64 hash = seed ? *seed : 0;

	hash = hr_flow_mix(hash, key->ends);
	hash = hr_flow_mix(hash, key->addresses);
	hash = hr_flow_mix(hash, key->rest);
	for (int n = 0; is_v6 && n < 3; n++)
		hash = hr_flow_mix(hash, words[n]);
	return hash;
}

static __always_inline int hr_flow_key_equal(const struct hr_flow_key *a,
					     const struct hr_flow_key *b, int is_v6)
{
	const __u64 *x = (const __u64 *)(a + 1), *y = (const __u64 *)(b + 1);
	__u64 differ = (a->ends ^ b->ends) | (a->addresses ^ b->addresses) | (a->rest ^ b->rest);

	if (is_v6)
		differ |= (x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]);
	return !differ;
}

/* The set of a flow; the head of either family's is the same. */
static __always_inline struct hr_flow_set *hr_flow_set_of(__u64 hash, int is_v6)
{
	__u32 number = (hash >> 52) / (HR_FLOW_SETS / (is_v6 ? HR_FLOW_SETS_V6 : HR_FLOW_SETS));

	return is_v6 ? bpf_map_lookup_elem(&flows_v6, &number)
		     : bpf_map_lookup_elem(&flows, &number);
}

/* The entry that the flow likes best. */
static __always_inline __u32 hr_flow_best(__u64 hash)
{
	return hash >> 47 & (HR_FLOW_WAYS - 1);
}

static __always_inline __u8 hr_flow_tag(__u64 hash)
{
	__u8 tag = hash >> 39;

	return tag ? tag : 1;
}

/* The high bit of every byte of `group` that is `tag`; perhaps also of some after the first. */
static __always_inline __u64 hr_flow_tagged(__u64 group, __u8 tag)
{
	__u64 word = group ^ HR_FLOW_BYTES * tag;

	return (word - HR_FLOW_BYTES) & ~word & HR_FLOW_BYTES << 7;
}

/* The first of them. */
static __always_inline __u32 hr_flow_first(__u32 group, __u64 tagged)
{
	return (group * 8 + (hr_rules_lowest(tagged) >> 3)) & (HR_FLOW_WAYS - 1);
}

/* The key follows the flow. */
static __always_inline struct hr_flow *hr_flow_at(struct hr_flow_set *set, __u32 way, int is_v6)
{
	way &= HR_FLOW_WAYS - 1;
	return is_v6 ? &((struct hr_flow_set_v6 *)set)->entries[way].flow
		     : &set->entries[way].flow;
}

#define hr_flow_barrier() asm volatile("" ::: "memory") /* for the compiler; x86 keeps loads in order */

/* Whether the entry is this flow's: then what is in it is copied. */
static __always_inline int hr_flow_read(const struct hr_flow *flow, const struct hr_flow_key *key,
					int is_v6, struct hr_flow *seen)
{
	__u32 version = *(volatile const __u32 *)&flow->version;

	hr_flow_barrier();
	if (!hr_flow_key_equal((const struct hr_flow_key *)(flow + 1), key, is_v6))
		return 0;
	seen->path = flow->path;
	seen->expires = flow->expires;
	seen->state = flow->state;
	hr_flow_barrier();
	return !(version & 1) && *(volatile const __u32 *)&flow->version == version;
}

static __always_inline const struct hr_flow_key *hr_flow_key_at(struct hr_flow_set *set, __u32 way,
								int is_v6)
{
	return (const struct hr_flow_key *)(hr_flow_at(set, way, is_v6) + 1);
}

/* Whether any entry has the tag. */
static __always_inline int hr_flow_anywhere(const struct hr_flow_set *set, __u8 tag)
{
	return (hr_flow_tagged(set->tags[0], tag) | hr_flow_tagged(set->tags[1], tag) |
		hr_flow_tagged(set->tags[2], tag) | hr_flow_tagged(set->tags[3], tag)) != 0;
}

static __always_inline __u8 hr_flow_tag_at(const struct hr_flow_set *set, __u32 way)
{
	return ((const volatile __u8 *)set->tags)[way & (HR_FLOW_WAYS - 1)];
}

/* The way of the flow in the set, or HR_FLOW_WAYS. Like the next loop it begins where the verifier
 * does not know: otherwise it would follow each way by itself. */
static __always_inline __u32 hr_flow_scan(struct hr_flow_set *set, __u64 hash,
					  const struct hr_flow_key *key, int is_v6)
{
	__u32 best = hr_flow_best(hash), way;
	__u8 tag = hr_flow_tag(hash);

	if (!hr_flow_anywhere(set, tag))
		return HR_FLOW_WAYS;
	for (__u32 n = 0; n < HR_FLOW_WAYS; n++) {
		way = (best + n) & (HR_FLOW_WAYS - 1);
		if (hr_flow_tag_at(set, way) == tag &&
		    hr_flow_key_equal(hr_flow_key_at(set, way, is_v6), key, is_v6))
			return way;
	}
	return HR_FLOW_WAYS;
}

/* Searches the set for the flow. What is in the entry is in *seen then; returns its way, or
 * HR_FLOW_WAYS. */
static __always_inline __u32 hr_flow_search(const struct hr_flow_key *key, __u64 hash, int is_v6,
					    struct hr_flow *seen)
{
	struct hr_flow_set *set = hr_flow_set_of(hash, is_v6);
	__u32 way;

	if (!set)
		return HR_FLOW_WAYS;
	way = hr_flow_scan(set, hash, key, is_v6);
	if (way < HR_FLOW_WAYS && hr_flow_read(hr_flow_at(set, way, is_v6), key, is_v6, seen))
		return way;
	return HR_FLOW_WAYS;
}

/* Global functions: verified once. */
__attribute__((noinline)) __u32 hr_flow_search_v4(const struct hr_flow_key *key, __u64 hash,
						  struct hr_flow *seen)
{
	return key && seen ? hr_flow_search(key, hash, 0, seen) : HR_FLOW_WAYS;
}

__attribute__((noinline)) __u32 hr_flow_search_v6(const struct hr_flow_key_v6 *key, __u64 hash,
						  struct hr_flow *seen)
{
	return key && seen ? hr_flow_search(&key->low, hash, 1, seen) : HR_FLOW_WAYS;
}

/* The same, for IPv6 if `six`, whose key is in *six. */
static __always_inline __u32 hr_flow_find(const struct hr_flow_key *key,
					  const struct hr_flow_key_v6 *six, __u64 hash,
					  struct hr_flow *seen)
{
	return six ? hr_flow_search_v6(six, hash, seen) : hr_flow_search_v4(key, hash, seen);
}

/* The same, where a flow most likely is in the entry that it likes best: that is looked at before the
 * head. If there is none, the line that will most likely be written is on its way from memory while
 * the flow is judged. An entry that was swept is still found, having expired. The entry, for changes
 * only, is left in *flow. */
static __always_inline __u32 hr_flow_find_fast(const struct hr_flow_key *key,
					       const struct hr_flow_key_v6 *six, __u64 hash,
					       struct hr_flow *seen, struct hr_flow **flow)
{
	struct hr_flow_set *set = hr_flow_set_of(hash, !!six);
	__u32 way = hr_flow_best(hash);

	if (!set)
		return HR_FLOW_WAYS;
	*flow = hr_flow_at(set, way, !!six);
	if (hr_flow_read(*flow, six ? &six->low : key, !!six, seen))
		return way;
	if (!hr_flow_anywhere(set, hr_flow_tag(hash)))
		return HR_FLOW_WAYS;
	way = hr_flow_find(key, six, hash, seen);
	*flow = hr_flow_at(set, way, !!six);
	return way;
}

/* The entry, for changes only: it may become another flow's at any time. */
static __always_inline struct hr_flow *hr_flow_entry(__u64 hash, __u32 way, int is_v6)
{
	struct hr_flow_set *set = hr_flow_set_of(hash, is_v6);

	if (!set || way >= HR_FLOW_WAYS)
		return 0;
	/* Lest the compiler computes the place before it looks whether there is one. */
	asm volatile("" : "+r"(way));
	return hr_flow_at(set, way, is_v6);
}

/* A free way, as near to the best as may be; HR_FLOW_WAYS: there is none. */
static __always_inline __u32 hr_flow_free(const struct hr_flow_set *set, __u32 best)
{
	__u32 group;
	__u64 free;

	if (!hr_flow_tag_at(set, best))
		return best;
	for (__u32 n = 0; n < HR_FLOW_GROUPS; n++) {
		group = (best / HR_FLOW_GROUP ^ n) & (HR_FLOW_GROUPS - 1);
		free = hr_flow_tagged(set->tags[group], 0);
		if (free)
			return hr_flow_first(group, free);
	}
	return HR_FLOW_WAYS;
}

/* Frees what has expired; returns one of that or else the way that was used least recently. Without
 * branches, each of which the verifier would follow from each turn before it. */
static __always_inline __u32 hr_flow_sweep(struct hr_flow_set *set, __u32 now, int is_v6)
{
	__u64 most = 0, rank, larger;
	const struct hr_flow *flow;
	__u32 way, expired;

	for (__u32 n = 0; n < HR_FLOW_WAYS; n++) {
		way = (now + n) & (HR_FLOW_WAYS - 1);
		flow = hr_flow_at(set, way, is_v6);
		expired = (flow->expires - now - 1) >> 31;
		((volatile __u8 *)set->tags)[way] &= expired - 1;
		rank = (__u64)expired << 40 | (__u64)(now - flow->used) << 8 | way;
		larger = (__s64)(most - rank) >> 63;
		most ^= (most ^ rank) & larger;
	}
	return most & (HR_FLOW_WAYS - 1);
}

/* Makes or replaces the entry of a flow, `made` being what shall be in it. Returns false only if
 * there is no table. */
static __always_inline int hr_flow_write(const struct hr_flow_key *key, __u64 hash, int is_v6,
					 const struct hr_flow *made)
{
	struct hr_flow_set *set = hr_flow_set_of(hash, is_v6);
	__u32 way, version;
	struct hr_flow *flow;

	if (!set)
		return 0;
	bpf_spin_lock(&set->lock);
	way = hr_flow_scan(set, hash, key, is_v6);
	if (way >= HR_FLOW_WAYS)
		way = hr_flow_free(set, hr_flow_best(hash));
	if (way >= HR_FLOW_WAYS)
		way = hr_flow_sweep(set, made->used, is_v6);
	flow = hr_flow_at(set, way, is_v6);
	version = flow->version | 1;
	*(volatile __u32 *)&flow->version = version;
	hr_flow_barrier();
	if (is_v6)
		*(struct hr_flow_key_v6 *)(flow + 1) = *(const struct hr_flow_key_v6 *)key;
	else
		*(struct hr_flow_key *)(flow + 1) = *key;
	flow->path = made->path;
	flow->expires = made->expires;
	flow->state = made->state;
	flow->used = made->used;
	hr_flow_barrier();
	*(volatile __u32 *)&flow->version = version + 1;
	((volatile __u8 *)set->tags)[way & (HR_FLOW_WAYS - 1)] = hr_flow_tag(hash);
	bpf_spin_unlock(&set->lock);
	return 1;
}

__attribute__((noinline)) int hr_flow_write_v4(const struct hr_flow_key *key, __u64 hash,
					       const struct hr_flow *made)
{
	return key && made && hr_flow_write(key, hash, 0, made);
}

__attribute__((noinline)) int hr_flow_write_v6(const struct hr_flow_key_v6 *key, __u64 hash,
					       const struct hr_flow *made)
{
	return key && made && hr_flow_write(&key->low, hash, 1, made);
}
