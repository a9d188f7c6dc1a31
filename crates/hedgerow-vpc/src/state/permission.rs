//! Leave for others to attach an interface. Everything here belongs to one account, so a permission
//! is kept, shown and revoked, and nothing asks for it.

use serde::{Deserialize, Serialize};

use super::Context;
use super::interface::Permission;
use super::region::{Resource, find};
use super::select::{Field, describe_request, select_within};
use crate::api::Done;
use crate::api::error::Ec2Error;

impl Resource for Permission {
    const NOT_FOUND: &'static str = "InvalidPermissionID.NotFound";
    const NOUN: &'static str = "networkInterface permission ID";

    fn id(&self) -> &str {
        &self.id
    }
}

/// CreateNetworkInterfacePermission.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateNetworkInterfacePermission {
    network_interface_id: String,
    aws_account_id: Option<String>,
    aws_service: Option<String>,
    permission: String,
}

/// Answer of CreateNetworkInterfacePermission.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedPermission {
    interface_permission: PermissionItem,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionItem {
    network_interface_permission_id: String,
    network_interface_id: String,
    aws_account_id: Option<String>,
    aws_service: Option<String>,
    permission: String,
    permission_state: PermissionState,
}

#[derive(Debug, Serialize)]
struct PermissionState {
    state: &'static str,
}

pub(crate) fn create(
    cx: &mut Context<'_>,
    request: CreateNetworkInterfacePermission,
) -> Result<CreatedPermission, Ec2Error> {
    let interface = find(&cx.region.interfaces, &request.network_interface_id)?.id.clone();
    if !matches!(request.permission.as_str(), "INSTANCE-ATTACH" | "EIP-ASSOCIATE") {
        let why = "Permissions are INSTANCE-ATTACH and EIP-ASSOCIATE.";
        return Err(Ec2Error::value("permission", &request.permission, why));
    }
    match (&request.aws_account_id, &request.aws_service) {
        (None, None) => return Err(Ec2Error::missing("awsAccountId")),
        (Some(_), Some(_)) => {
            let message = "A permission is for an account or for a service, not for both";
            return Err(Ec2Error::new("InvalidParameterCombination", message));
        }
        _ => {}
    }
    let record = Permission {
        id: cx.mint.id("eni-perm"),
        interface,
        account: request.aws_account_id,
        service: request.aws_service,
        permission: request.permission,
    };
    let interface_permission = permission_item(&record);
    cx.region.permissions.insert(record.id.clone(), record);
    Ok(CreatedPermission { interface_permission })
}

fn permission_item(record: &Permission) -> PermissionItem {
    PermissionItem {
        network_interface_permission_id: record.id.clone(),
        network_interface_id: record.interface.clone(),
        aws_account_id: record.account.clone(),
        aws_service: record.service.clone(),
        permission: record.permission.clone(),
        permission_state: PermissionState { state: "granted" },
    }
}

describe_request!(DescribeNetworkInterfacePermissions, "NetworkInterfacePermissionId");

/// Answer of DescribeNetworkInterfacePermissions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PermissionSet {
    network_interface_permissions: Vec<PermissionItem>,
    next_token: Option<String>,
}

const FILTERS: &[Field<Permission>] = &[
    ("network-interface-permission.network-interface-permission-id", |_, p| vec![p.id.clone()]),
    ("network-interface-permission.network-interface-id", |_, p| vec![p.interface.clone()]),
    ("network-interface-permission.aws-account-id", |_, p| p.account.clone().into_iter().collect()),
    ("network-interface-permission.aws-service", |_, p| p.service.clone().into_iter().collect()),
    ("network-interface-permission.permission", |_, p| vec![p.permission.clone()]),
];

pub(crate) fn describe(
    cx: &mut Context<'_>,
    request: DescribeNetworkInterfacePermissions,
) -> Result<PermissionSet, Ec2Error> {
    let region = &*cx.region;
    let (page, next_token) =
        select_within(region, &region.permissions, FILTERS, &request.selection(), 5..=255)?;
    let network_interface_permissions = page.into_iter().map(permission_item).collect();
    Ok(PermissionSet { network_interface_permissions, next_token })
}

/// DeleteNetworkInterfacePermission.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteNetworkInterfacePermission {
    network_interface_permission_id: String,
    /// Matters where the other account attached the interface, which cannot be here.
    #[serde(rename = "Force")]
    _force: Option<bool>,
}

pub(crate) fn delete(
    cx: &mut Context<'_>,
    request: DeleteNetworkInterfacePermission,
) -> Result<Done, Ec2Error> {
    let id = request.network_interface_permission_id;
    find(&cx.region.permissions, &id)?;
    cx.region.permissions.remove(&id);
    Ok(Done::new())
}
