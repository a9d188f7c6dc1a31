#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "reasons.h"

char LICENSE[] SEC("license") = "GPL";
