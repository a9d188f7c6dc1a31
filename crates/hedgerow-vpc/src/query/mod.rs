//! The EC2 query protocol, as bytes: form bodies in, XML out. Nothing here knows an action.
//!
//! ```text
//!   Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1 ──params──► tree ──de──► any Deserialize type
//!   any Serialize type ──xml──► <vpcSet><item><vpcId>vpc-1</vpcId>…</item></vpcSet>
//! ```

pub mod de;
pub mod params;
pub mod xml;

#[cfg(test)]
mod tests;
