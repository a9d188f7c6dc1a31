//! What is set on a subnet: one attribute at a time.

use serde::{Deserialize, Serialize};

use super::Context;
use super::interface_modify::check_one;
use super::region::find;
use super::unsupported::{Given, refuse};
use super::vpc::Flag;
use crate::api::Done;
use crate::api::error::Ec2Error;

/// How an instance is called inside its VPC ("EC2 instance hostnames and domains").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaunchNames {
    /// Whether its hostname is made of its id; it is made of its address otherwise.
    pub resource_name: bool,
    /// Whether DNS answers with its IPv4 address to the name made of its id.
    pub a_record: bool,
    /// Whether DNS answers with its IPv6 address to the name made of its id.
    pub aaaa_record: bool,
}

/// Them in answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LaunchNamesItem {
    hostname_type: &'static str,
    #[serde(rename = "enableResourceNameDnsARecord")]
    a_record: bool,
    #[serde(rename = "enableResourceNameDnsAAAARecord")]
    aaaa_record: bool,
}

impl LaunchNames {
    /// EC2's name of the kind of hostname.
    pub fn hostname_type(&self) -> &'static str {
        if self.resource_name { "resource-name" } else { "ip-name" }
    }

    /// Sets the kind of hostname by EC2's name.
    ///
    /// # Errors
    /// `InvalidParameterValue`.
    pub fn set_hostname_type(&mut self, parameter: &str, name: &str) -> Result<(), Ec2Error> {
        self.resource_name = match name {
            "ip-name" => false,
            "resource-name" => true,
            other => {
                let why = "It is ip-name or resource-name.";
                return Err(Ec2Error::value(parameter, other, why));
            }
        };
        Ok(())
    }

    /// For an answer.
    pub fn item(&self) -> LaunchNamesItem {
        LaunchNamesItem {
            hostname_type: self.hostname_type(),
            a_record: self.a_record,
            aaaa_record: self.aaaa_record,
        }
    }
}

/// ModifySubnetAttribute.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ModifySubnetAttribute {
    subnet_id: String,
    map_public_ip_on_launch: Option<Flag>,
    assign_ipv6_address_on_creation: Option<Flag>,
    private_dns_hostname_type_on_launch: Option<String>,
    #[serde(rename = "EnableResourceNameDnsARecordOnLaunch")]
    a_record: Option<Flag>,
    #[serde(rename = "EnableResourceNameDnsAAAARecordOnLaunch")]
    aaaa_record: Option<Flag>,
    enable_dns64: Option<Flag>,
    map_customer_owned_ip_on_launch: Option<Flag>,
    customer_owned_ipv4_pool: Given,
    enable_lni_at_device_index: Given,
    disable_lni_at_device_index: Given,
}

impl ModifySubnetAttribute {
    /// Refuses what cannot be set, and anything but one attribute.
    fn check(&self) -> Result<(), Ec2Error> {
        let on = |flag: Option<Flag>| flag.is_some_and(|flag| flag.value);
        refuse(&[
            ("EnableDns64", on(self.enable_dns64)),
            ("MapCustomerOwnedIpOnLaunch", on(self.map_customer_owned_ip_on_launch)),
            ("CustomerOwnedIpv4Pool", self.customer_owned_ipv4_pool.is_some()),
            ("EnableLniAtDeviceIndex", self.enable_lni_at_device_index.is_some()),
            ("DisableLniAtDeviceIndex", self.disable_lni_at_device_index.is_some()),
        ])?;
        check_one(&[
            ("mapPublicIpOnLaunch", self.map_public_ip_on_launch.is_some()),
            ("assignIpv6AddressOnCreation", self.assign_ipv6_address_on_creation.is_some()),
            ("privateDnsHostnameTypeOnLaunch", self.private_dns_hostname_type_on_launch.is_some()),
            ("enableResourceNameDnsARecordOnLaunch", self.a_record.is_some()),
            ("enableResourceNameDnsAAAARecordOnLaunch", self.aaaa_record.is_some()),
            ("enableDns64", self.enable_dns64.is_some()),
            ("mapCustomerOwnedIpOnLaunch", self.map_customer_owned_ip_on_launch.is_some()),
        ])
    }
}

pub(crate) fn modify(
    cx: &mut Context<'_>,
    request: ModifySubnetAttribute,
) -> Result<Done, Ec2Error> {
    let subnet = find(&cx.region.subnets, &request.subnet_id)?;
    request.check()?;
    let mut names = subnet.names;
    if let Some(name) = &request.private_dns_hostname_type_on_launch {
        names.set_hostname_type("privateDnsHostnameTypeOnLaunch", name)?;
    }
    names.a_record = request.a_record.map_or(names.a_record, |flag| flag.value);
    names.aaaa_record = request.aaaa_record.map_or(names.aaaa_record, |flag| flag.value);
    if request.assign_ipv6_address_on_creation.is_some_and(|flag| flag.value) {
        subnet.with_ipv6()?;
    }
    let record = cx.region.subnets.get_mut(&request.subnet_id).expect("found above");
    record.names = names;
    if let Some(flag) = request.map_public_ip_on_launch {
        record.public_on_launch = flag.value;
    }
    if let Some(flag) = request.assign_ipv6_address_on_creation {
        record.ipv6_on_creation = flag.value;
    }
    Ok(Done::new())
}
