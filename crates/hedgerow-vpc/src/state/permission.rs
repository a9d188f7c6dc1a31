//! Leave for others to attach an interface. Everything here belongs to one account, so a permission
//! is kept and shown, and nothing asks for it.

use serde::{Deserialize, Serialize};

use super::Context;
use super::interface::Permission;
use super::region::find;
use crate::api::error::Ec2Error;

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
    if request.aws_account_id.is_none() && request.aws_service.is_none() {
        return Err(Ec2Error::missing("awsAccountId"));
    }
    let record = Permission {
        id: cx.mint.id("eni-perm"),
        interface,
        account: request.aws_account_id,
        service: request.aws_service,
        permission: request.permission,
    };
    let interface_permission = PermissionItem {
        network_interface_permission_id: record.id.clone(),
        network_interface_id: record.interface.clone(),
        aws_account_id: record.account.clone(),
        aws_service: record.service.clone(),
        permission: record.permission.clone(),
        permission_state: PermissionState { state: "granted" },
    };
    cx.region.permissions.insert(record.id.clone(), record);
    Ok(CreatedPermission { interface_permission })
}
