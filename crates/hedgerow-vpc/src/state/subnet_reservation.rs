//! Ranges of a subnet that are set aside: EC2 chooses no address in them ("Subnet CIDR
//! reservations", Amazon VPC User Guide).

use std::net::Ipv4Addr;

use hedgerow_core::sg::{IpPrefix, Ipv4Prefix};
use serde::{Deserialize, Serialize};

use super::interface::described;
use super::region::{Resource, find, not_found};
use super::select::{Field, Filter, Selection, select};
use super::subnet::Subnet;
use super::tags::{TagItem, TagSpecification, requested};
use super::{ACCOUNT, Context, Region};
use crate::api::error::Ec2Error;

const KIND: &str = "subnet-cidr-reservation";

/// A range that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    id: String,
    subnet: String,
    pub range: Ipv4Prefix,
    /// Whether prefixes of interfaces are chosen here; otherwise only what is named is given.
    pub for_prefixes: bool,
    description: Option<String>,
}

impl Resource for Reservation {
    const NOT_FOUND: &'static str = "InvalidSubnetCidrReservationID.NotFound";
    const NOUN: &'static str = "subnet CIDR reservation ID";

    fn id(&self) -> &str {
        &self.id
    }
}

impl Subnet {
    /// Whether the address is set aside.
    pub(crate) fn sets_aside(&self, address: Ipv4Addr) -> bool {
        self.reservations.values().any(|reservation| reservation.range.contains(address))
    }

    /// How many addresses EC2 can choose from.
    pub(super) fn choosable(&self) -> u64 {
        let set_aside = |range: &Ipv4Prefix| {
            let (first, last) = (range.nth(0), range.nth((range.size() - 1) as u32));
            let unusable = self.unusable().into_iter().filter(|a| range.contains(*a)).count();
            let taken = self.taken.range(first..=last).count();
            range.size() - (unusable + taken) as u64
        };
        let reserved = self.reservations.values().map(|reservation| set_aside(&reservation.range));
        self.free() - reserved.sum::<u64>()
    }
}

impl Region {
    /// The reservation with this id.
    ///
    /// # Errors
    /// `InvalidSubnetCidrReservationID.NotFound`
    pub(super) fn reservation(&self, id: &str) -> Result<&Reservation, Ec2Error> {
        let mut found = self.subnets.values().filter_map(|subnet| subnet.reservations.get(id));
        found.next().ok_or_else(|| not_found::<Reservation>(id))
    }
}

/// CreateSubnetCidrReservation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateSubnetCidrReservation {
    subnet_id: String,
    cidr: String,
    reservation_type: String,
    description: Option<String>,
    #[serde(default, rename = "TagSpecification")]
    tag_specifications: Vec<TagSpecification>,
}

/// Answer of CreateSubnetCidrReservation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedReservation {
    subnet_cidr_reservation: ReservationItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationItem {
    subnet_cidr_reservation_id: String,
    subnet_id: String,
    cidr: String,
    reservation_type: &'static str,
    owner_id: &'static str,
    description: Option<String>,
    tag_set: Vec<TagItem>,
}

fn type_name(reservation: &Reservation) -> &'static str {
    if reservation.for_prefixes { "prefix" } else { "explicit" }
}

fn item(region: &Region, reservation: &Reservation) -> ReservationItem {
    ReservationItem {
        subnet_cidr_reservation_id: reservation.id.clone(),
        subnet_id: reservation.subnet.clone(),
        cidr: reservation.range.to_string(),
        reservation_type: type_name(reservation),
        owner_id: ACCOUNT,
        description: reservation.description.clone(),
        tag_set: region.tag_items(&reservation.id),
    }
}

/// A range of the subnet that no other reservation has a part of.
fn wanted_range(subnet: &Subnet, text: &str) -> Result<Ipv4Prefix, Ec2Error> {
    let range = match text.parse() {
        Ok(IpPrefix::V4(range)) => range,
        Ok(IpPrefix::V6(range)) => {
            let message = format!("Ranges of IPv6 are not set aside by this VPC: {range}");
            return Err(Ec2Error::new("UnsupportedOperation", message));
        }
        Err(_) => return Err(Ec2Error::value("cidr", text, "This is not a valid CIDR block.")),
    };
    if !subnet.block.covers(&range) {
        let why = format!("It is not a part of {}, the block of {}.", subnet.block, subnet.id);
        return Err(Ec2Error::value("cidr", text, &why));
    }
    if subnet.reservations.values().any(|present| present.range.overlaps(&range)) {
        let message =
            format!("Reservation CIDR {range} has overlap with existing reserved CIDR block");
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(range)
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateSubnetCidrReservation,
) -> Result<CreatedReservation, Ec2Error> {
    let subnet = find(&cx.region.subnets, &request.subnet_id)?;
    let range = wanted_range(subnet, &request.cidr)?;
    let for_prefixes = match request.reservation_type.as_str() {
        "prefix" => true,
        "explicit" => false,
        other => {
            let why = "It is prefix or explicit.";
            return Err(Ec2Error::value("reservationType", other, why));
        }
    };
    let description = request.description.map(described).transpose()?;
    let tags = requested(&request.tag_specifications, &[KIND], KIND)?;
    let (id, subnet) = (cx.mint.id("scr"), request.subnet_id);
    let reservation =
        Reservation { id: id.clone(), subnet: subnet.clone(), range, for_prefixes, description };
    let record = cx.region.subnets.get_mut(&subnet).expect("found above");
    record.reservations.insert(id.clone(), reservation.clone());
    cx.region.set_tags(&id, tags);
    Ok(CreatedReservation { subnet_cidr_reservation: item(cx.region, &reservation) })
}

/// DeleteSubnetCidrReservation.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteSubnetCidrReservation {
    subnet_cidr_reservation_id: String,
}

/// Answer of DeleteSubnetCidrReservation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletedReservation {
    deleted_subnet_cidr_reservation: ReservationItem,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteSubnetCidrReservation,
) -> Result<DeletedReservation, Ec2Error> {
    let id = request.subnet_cidr_reservation_id;
    let reservation = cx.region.reservation(&id)?;
    let (subnet, deleted) = (reservation.subnet.clone(), item(cx.region, reservation));
    let record = cx.region.subnets.get_mut(&subnet).expect("it has the reservation");
    record.reservations.remove(&id);
    cx.region.tags.remove(&id);
    Ok(DeletedReservation { deleted_subnet_cidr_reservation: deleted })
}

/// GetSubnetCidrReservations.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct GetSubnetCidrReservations {
    subnet_id: String,
    #[serde(default, rename = "Filter")]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

/// Answer of GetSubnetCidrReservations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReservationSet {
    subnet_ipv4_cidr_reservation_set: Vec<ReservationItem>,
    subnet_ipv6_cidr_reservation_set: Vec<ReservationItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<Reservation>] = &[
    ("reservationType", |_, r| vec![type_name(r).into()]),
    ("subnet-id", |_, r| vec![r.subnet.clone()]),
];

pub(crate) fn get(
    cx: &mut Context<'_>,
    request: GetSubnetCidrReservations,
) -> Result<ReservationSet, Ec2Error> {
    let region = &*cx.region;
    let subnet = find(&region.subnets, &request.subnet_id)?;
    let wanted = Selection {
        ids: &[],
        filters: &request.filters,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let (page, next_token) = select(region, &subnet.reservations, FILTERS, &wanted)?;
    Ok(ReservationSet {
        subnet_ipv4_cidr_reservation_set: page.into_iter().map(|r| item(region, r)).collect(),
        subnet_ipv6_cidr_reservation_set: Vec::new(),
        next_token,
    })
}
