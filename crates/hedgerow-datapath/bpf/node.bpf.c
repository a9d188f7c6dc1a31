/* The node's datapath: pods to uplinks and back. src/node.rs has the picture.
 *
 *   node_maps.h     endpoints, prefixes, flows, counters
 *   node_flow.h     flows that went through the host's stack
 *   node_forward.h  marks, MACs, tags, time to live
 *   node_pod.h      from_pod, to_pod: a pod's host veth, clsact
 *   node_wire.h     from_wire, to_wire: ENIs and trunk, tcx
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "reasons.h"
#include "parse.h"
#include "node_maps.h"
#include "node_flow.h"
#include "node_forward.h"
#include "node_pod.h"
#include "node_wire.h"

char LICENSE[] SEC("license") = "GPL";
