//! The one attribute of elastic addresses: the domain name that reverse DNS has for them. It is kept
//! and described; nobody asks the DNS here for public addresses.

use serde::{Deserialize, Serialize};

use super::Context;
use super::address::Address;
use super::region::find;
use super::select::{Selection, page_within};
use crate::api::error::Ec2Error;

/// The attribute's name.
const ATTRIBUTE: &str = "domain-name";

/// An address's attribute in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttributeItem {
    public_ip: String,
    allocation_id: String,
    ptr_record: Option<String>,
}

fn item(address: &Address) -> AttributeItem {
    AttributeItem {
        public_ip: address.public.to_string(),
        allocation_id: address.id.clone(),
        ptr_record: address.reverse.clone(),
    }
}

fn check_name(attribute: &str) -> Result<(), Ec2Error> {
    if attribute == ATTRIBUTE {
        return Ok(());
    }
    Err(Ec2Error::value("attribute", attribute, "It can only be domain-name."))
}

/// DescribeAddressesAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAddressesAttribute {
    #[serde(default, rename = "AllocationId")]
    ids: Vec<String>,
    attribute: Option<String>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of DescribeAddressesAttribute.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttributeSet {
    address_set: Vec<AttributeItem>,
    next_token: Option<String>,
}

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeAddressesAttribute,
) -> Result<AttributeSet, Ec2Error> {
    check_name(request.attribute.as_deref().unwrap_or(ATTRIBUTE))?;
    for id in &request.ids {
        find(&cx.region.addresses, id)?;
    }
    let wanted = Selection {
        ids: &request.ids,
        filters: &[],
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let addresses = cx.region.addresses.values();
    let named = addresses.filter(|a| request.ids.is_empty() || request.ids.contains(&a.id));
    let (addresses, next_token) = page_within(named, |address| &address.id, &wanted, 1..=1000)?;
    Ok(AttributeSet { address_set: addresses.into_iter().map(item).collect(), next_token })
}

/// ModifyAddressAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifyAddressAttribute {
    allocation_id: String,
    domain_name: Option<String>,
}

/// Answer of ModifyAddressAttribute and ResetAddressAttribute.
#[derive(Debug, Serialize)]
pub(crate) struct ChangedAttribute {
    address: AttributeItem,
}

fn set(cx: &mut Context<'_>, id: &str, name: Option<String>) -> Result<ChangedAttribute, Ec2Error> {
    find(&cx.region.addresses, id)?;
    let address = cx.region.addresses.get_mut(id).expect("found above");
    address.reverse = name;
    Ok(ChangedAttribute { address: item(address) })
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifyAddressAttribute,
) -> Result<ChangedAttribute, Ec2Error> {
    let name = request.domain_name.ok_or_else(|| Ec2Error::missing("domainName"))?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let text = name.trim_end_matches('.');
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(Ec2Error::value("domainName", &name, "It is not a domain name."));
    }
    let name = format!("{}.", text.to_ascii_lowercase());
    set(cx, &request.allocation_id, Some(name))
}

/// ResetAddressAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ResetAddressAttribute {
    allocation_id: String,
    attribute: String,
}

pub(crate) fn reset(
    cx: &mut Context<'_>,
    request: ResetAddressAttribute,
) -> Result<ChangedAttribute, Ec2Error> {
    check_name(&request.attribute)?;
    set(cx, &request.allocation_id, None)
}
