//! The datapath of a node.
